"""The tutorial and the README: what they tell people to type is run here.

The tutorial begins a real exchange. The session of the README is a part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pages import (
    ANY_LINES,
    BIN,
    DOCS,
    ROOT,
    SECONDS,
    Step,
    blocks,
    lines,
    session,
    shows,
)
from tests.support.process import free_port

_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n", re.MULTILINE)

pytestmark = pytest.mark.timeout(SECONDS + 30)


@pytest.fixture
def tutorial(tmp_path: Path) -> list[Step]:
    """The tutorial as it went, with the programs and ports that there are here."""
    page = (DOCS / "tutorial" / "from-zero-to-proof.md").read_text("utf-8")
    page = page.replace("$PWD/.venv/bin", str(BIN))
    for port in ("7443", "7444"):
        page = page.replace(port, str(free_port()))
    return session(page, ROOT, {"HOME": str(tmp_path)})


def test_the_tutorial_and_the_readme_show_what_is_printed(tutorial: list[Step]) -> None:
    for step in tutorial:
        step.check()
    for command, shown in commands_of_readme():
        part = [ANY_LINES, *lines(shown), ANY_LINES]
        assert any(
            command in step.commands and shows(part, lines(step.printed))
            for step in tutorial
        ), command


def commands_of_readme() -> Iterator[tuple[str, str]]:
    """Returns each command of the README's session, and what is shown below it."""
    (told,) = blocks((ROOT / "README.md").read_text("utf-8"), "console")
    _, *parts = _COMMAND.split(told)
    return zip(parts[::2], parts[1::2], strict=True)


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    linked = {
        (DOCS / target.partition("#")[0]).resolve()
        for target in re.findall(r"\]\(([^)]+)\)", index)
    }
    pages = {page for page in DOCS.rglob("*.md") if page.parent.name != "adr"}
    assert pages - {DOCS / "README.md"} <= linked
