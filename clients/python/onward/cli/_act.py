"""Commands that log one statement."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from onward.cli._connection import connected
from onward.cli._records import print_logged
from onward.client import Client, Logged


def log(
    home: Path, say: Callable[[Client], Awaitable[Logged]], *, as_json: bool
) -> None:
    """Has the client of a home log a statement, and prints its place in the log."""
    print_logged(connected(home, say), as_json=as_json)
