"""The tutorial and the README: what they tell people to type is run here.

The tutorial is one shell session: its ``sh`` blocks are run in order, in one shell, and
begin a real exchange. What a ``text`` block after one shows is what it printed, but for
ids, times and keys; a line ``...`` stands for any lines. The session of the README is a
part of the tutorial's.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.process import free_port

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial" / "from-zero-to-proof.md"
README = ROOT / "README.md"

ANY_LINES = "..."
_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SESSION = re.compile(r"^```console\n(\$ onward .*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n", re.MULTILINE)
_END_OF_BLOCK = "=== end of block ===\n"
_SECONDS = 150.0
_VARYING = {
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}": "<id>",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z": "<time>",
    r"log\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}": "<verifier key>",
    r"(?<![\w-])[\w-]{43}(?![\w-])": "<key id>",
    r'_port": \d+': '_port": <port>',
}


@dataclass(frozen=True, slots=True)
class Step:
    """One block of commands.

    Attributes:
        commands: as they stand on the page.
        shown: what the page says that they print; empty if it says nothing.
        printed: what they printed.
    """

    commands: str
    shown: str
    printed: str


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Yields the commands of each block of a page, and what is shown after it."""
    commands = ""
    for language, text in [*_BLOCK.findall(page), ("sh", "")]:
        if language == "sh":
            if commands:
                yield commands, ""
            commands = text
        else:
            yield commands, text
            commands = ""


def session(page: str, home: Path) -> list[Step]:
    """Runs the blocks of a page in one shell, as a person would."""
    told = list(blocks(page))
    script = f"\nprintf '{_END_OF_BLOCK}'\n".join(commands for commands, _ in told)
    output = home / "session.txt"
    code = run(script, home, output)
    text = output.read_text("utf-8")
    assert code == 0, text
    printed = text.split(_END_OF_BLOCK)
    return [Step(*step, said) for step, said in zip(told, printed, strict=True)]


def run(script: str, home: Path, output: Path) -> int:
    """Runs a script in a shell of its own; ends what it leaves behind."""
    with (
        output.open("wb") as file,
        subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=ROOT,
            env=os.environ | {"HOME": str(home)},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as shell,
    ):
        try:
            return shell.wait(_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)


def lines(text: str) -> list[str]:
    """Returns lines without what differs from one run to the next."""
    for pattern, name in _VARYING.items():
        text = re.sub(pattern, name, text)
    return [line.rstrip() for line in text.strip().splitlines()]


def shows(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether lines are those printed, where ``...`` stands for any lines."""
    pattern = "".join(
        r"(.*\n)*" if line == ANY_LINES else re.escape(f"{line}\n") for line in shown
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    """The tutorial as it went, with the programs and ports that there are here."""
    page = TUTORIAL.read_text("utf-8")
    page = page.replace("$PWD/.venv/bin", str(Path(sys.executable).parent))
    for port in ("7443", "7444"):
        page = page.replace(port, str(free_port()))
    return session(page, tmp_path_factory.mktemp("home"))


@pytest.mark.timeout(_SECONDS + 30)
def test_the_tutorial_prints_what_it_shows(tutorial: list[Step]) -> None:
    for step in tutorial:
        if step.shown:
            assert shows(lines(step.shown), lines(step.printed)), step


@pytest.mark.timeout(_SECONDS + 30)
def test_the_readme_shows_a_part_of_the_tutorial(tutorial: list[Step]) -> None:
    (text,) = _SESSION.findall(README.read_text("utf-8"))
    _, *parts = _COMMAND.split(text)
    commands = zip(parts[::2], parts[1::2], strict=True)
    for command, shown in commands:
        assert any(
            command in step.commands
            and shows([ANY_LINES, *lines(shown), ANY_LINES], lines(step.printed))
            for step in tutorial
        ), command
