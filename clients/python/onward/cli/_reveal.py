"""Revealing what an intake committed to, and checking what was revealed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from onward._files import write_atomically
from onward.cli._connection import connected
from onward.cli._output import print_json, say
from onward.cli._verify import show_report
from onward.cli.exits import Exit
from onward.core.opening import verify_opening

_STDIO: Final = Path("-")


def reveal(home: Path, number: int, file: Path) -> None:
    """Writes the opening of an intake, readable for its owner only."""
    opening = connected(home, lambda client: client.intakes.reveal(number))
    if file == _STDIO:
        sys.stdout.buffer.write(opening)
        sys.stdout.buffer.flush()
        return
    write_atomically(file, opening)
    say(f"intake {number}: its opening is written to {file}; it is confidential")


def check(opening: Path, content: Path, trust: Path, *, as_json: bool) -> Exit:
    """Checks an opening, prints the report, and returns what to end with."""
    keys = trust.read_text(encoding="utf-8", errors="replace")
    report = verify_opening(_read(opening), _read(content), keys)
    if as_json:
        print_json({"opening": str(opening), **report.to_dict()})
    else:
        show_report(opening, report, chain=True)
    return Exit(report.exit_code)


def _read(path: Path) -> bytes:
    return sys.stdin.buffer.read() if path == _STDIO else path.read_bytes()
