"""Standard output is data, standard error is for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE: Final = 180
"""Columns of a table that goes into a file or a pipe."""

_STYLES: Final = {
    "PROVEN": "green",
    "NOT_PROVEN": "bold red",
    "NOT_CHECKED": "yellow",
    "fine": "green",
    "warning": "yellow",
    "problem": "bold red",
}


def print_json(value: object, indent: int | None = None) -> None:
    """Prints one JSON value, at once; on one line unless it is to be indented."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=indent) + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """Prints one line of data for people, at once."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = ""
) -> None:
    """Prints a table for people; to a terminal in colour."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    console = _console()
    with console.capture() as capture:
        if title:
            console.print(Text(printable(title), "bold"))
        console.print(table)
    lines = capture.get().splitlines()
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in lines))
    sys.stdout.flush()


def say(text: str) -> None:
    """Tells people something, in one line."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def printable(text: str) -> str:
    """Returns text that cannot steer a terminal, whoever wrote it."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Shows a bar while long work goes on, if a person is watching.

    Args:
        what: the work, such as ``publishing``.
        total: how many steps it has; None when nobody knows.

    Yields:
        A function to call with the number of steps done since the last call.
    """
    if total in {0, 1} or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import Progress

    # What goes to a file must not come out on the terminal, as it would otherwise.
    bars = Progress(
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
    with bars:
        task = bars.add_task(what, total=total)
        yield lambda steps: bars.advance(task, steps)


def _cell(value: object) -> Text:
    text = "" if value is None else printable(str(value))
    return Text(text, _STYLES.get(text, ""))


def _console() -> Console:
    """Returns the console of standard output, as wide as the reader can read."""
    fixed = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if fixed else _WIDE, highlight=False)
