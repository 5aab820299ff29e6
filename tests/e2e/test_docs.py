"""The tutorial and the README: what they tell people to type is run here.

The tutorial begins a real exchange. The session of the README is a part of it.
"""

from __future__ import annotations

import re

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


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    """The tutorial as it went, with the programs and ports that there are here."""
    page = (DOCS / "tutorial" / "from-zero-to-proof.md").read_text("utf-8")
    page = page.replace("$PWD/.venv/bin", str(BIN))
    for port in ("7443", "7444"):
        page = page.replace(port, str(free_port()))
    return session(page, ROOT, {"HOME": str(tmp_path_factory.mktemp("home"))})


def test_the_tutorial_prints_what_it_shows(tutorial: list[Step]) -> None:
    for step in tutorial:
        assert step.is_as_shown, step


def test_the_readme_shows_a_part_of_the_tutorial(tutorial: list[Step]) -> None:
    (told,) = blocks((ROOT / "README.md").read_text("utf-8"), "console")
    _, *parts = _COMMAND.split(told)
    for command, shown in zip(parts[::2], parts[1::2], strict=True):
        part = [ANY_LINES, *lines(shown), ANY_LINES]
        assert any(
            command in step.commands and shows(part, lines(step.printed))
            for step in tutorial
        ), command
