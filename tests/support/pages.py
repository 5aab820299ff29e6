"""Pages of the documentation as shell sessions, so that tests can run them.

The ``sh`` blocks of a page are run in order, in one shell. What a ``text`` block after
one shows is what it printed, but for ids, times and keys; a line ``...`` stands for any
lines.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from textwrap import dedent

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BIN = Path(sys.executable).parent
SECONDS = 150.0
"""How long a page may take."""

ANY_LINES = "..."
_BLOCK = re.compile(r"^( *)```([\w -]+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_PYTHON = "python - <<'END_OF_PYTHON'\n{}END_OF_PYTHON\n"
_END_OF_BLOCK = "=== end of block ===\n"
_VARYING = {
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}": "<id>",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z": "<time>",
    r"log\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}": "<verifier key>",
    r"(?<![\w-])[\w-]{43}(?![\w-])": "<key id>",
    r'_port": \d+': '_port": <port>',
    # How many there are depends on the time; none where nobody is asked.
    r"; timestamps of authorities not trusted here: \d+": "",
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

    def check(self) -> None:
        """Requires that it printed what the page shows, if the page shows anything."""
        if self.shown and not shows(lines(self.shown), lines(self.printed)):
            message = f"{self.commands}\n{self.printed}\nand not\n\n{self.shown}"
            raise AssertionError(message)


def blocks(page: str, language: str) -> list[str]:
    """Returns the blocks of a page in one language."""
    return [text for name, text in _all_blocks(page) if name == language]


def session(
    page: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    languages: Collection[str] = ("sh",),
) -> list[Step]:
    """Runs the blocks of a page in one shell, as a person would.

    Args:
        page: its text.
        folder: where the shell begins.
        environment: further variables; our programs are found in any case.
        languages: the blocks to run: ``sh``, and ``python`` if that is one.
    """
    told = list(_commands(page, languages))
    script = f"\nprintf '{_END_OF_BLOCK}'\n".join(commands for commands, _ in told)
    code, text = run(script, folder, environment or {})
    assert code == 0, text
    printed = text.split(_END_OF_BLOCK)
    return [Step(*step, said) for step, said in zip(told, printed, strict=True)]


def run(script: str, folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Runs a script in a shell of its own, and ends what it leaves behind.

    Returns:
        The exit code, and all that was printed.
    """
    path = f"{BIN}:{os.environ['PATH']}"
    # The width of whoever runs the tests would be that of tables, too.
    inherited = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    with (
        TemporaryFile() as output,
        subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=inherited | {"PATH": path, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as shell,
    ):
        try:
            code = shell.wait(SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
        output.seek(0)
        return code, output.read().decode()


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


def _all_blocks(page: str) -> Iterator[tuple[str, str]]:
    """Yields language and text of each block, those of list items too."""
    for _, language, text in _BLOCK.findall(page):
        yield language, dedent(text)


def _commands(page: str, languages: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yields the commands of each block, and what is shown after it."""
    commands = ""
    for language, text in [*_all_blocks(page), ("sh", "")]:
        if language in languages:
            if commands:
                yield commands, ""
            commands = _PYTHON.format(text) if language == "python" else text
        elif language == "text" and commands:
            yield commands, text
            commands = ""
