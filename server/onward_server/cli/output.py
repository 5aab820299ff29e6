"""What commands share: stdout is data, stderr is for people, and how a failure ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from onward_server.config import Config

REFUSED: Final = 1
WRONG_USAGE: Final = 2
TRY_AGAIN: Final = 3
DEFECT: Final = 70
INTERRUPTED: Final = 130

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        envvar="ONWARD_CONFIG",
        help="The configuration file, or the folder that it is in.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object to stdout.")
]


def config_file(path: Path) -> Path:
    """Returns the configuration file that an option names."""
    from onward_server.config import FILE_NAME

    return path / FILE_NAME if path.is_dir() else path


def load_config(path: Path) -> Config:
    """Reads the configuration that an option names.

    Raises:
        MalformedError: it cannot be read, or a value is wrong.
    """
    import os

    from onward_server.config import load

    return load(config_file(path), os.environ)


def tell(text: str) -> None:
    """Says something to the person at the terminal."""
    typer.echo(text, err=True)


def put(data: Mapping[str, object]) -> None:
    """Writes one JSON object to stdout."""
    typer.echo(json.dumps(data, ensure_ascii=False, indent=2))


def put_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table to stdout; nothing is cut off."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        box=None, pad_edge=False, header_style="bold", show_header=any(columns)
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    # Whoever reads a pipe wants each row on one line.
    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False)
    console.print(table)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int], Callable[[int], object]]]:
    """Shows a bar while long work goes on, if a person is watching.

    Yields:
        A function to call with the number of steps; it returns one to call with the
        number of those done since the last call.
    """
    if not sys.stderr.isatty():
        yield lambda _total: lambda _steps: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:

        def begin(total: int) -> Callable[[int], object]:
            task = bars.add_task(what, total=total)
            return lambda steps: bars.advance(task, steps)

        yield begin


def quiet_logs() -> None:
    """Keeps the log messages of the exchange's parts out of a command's output."""
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def exit_code(error: Exception) -> int | None:
    """Returns how a command ends that failed with this; None for a defect of ours."""
    from onward.core.errors import (
        MalformedError,
        OnwardError,
        QuotaError,
        UnavailableError,
    )

    codes = (
        ((QuotaError, UnavailableError), TRY_AGAIN),
        (MalformedError, WRONG_USAGE),
        (OnwardError, REFUSED),
    )
    return next((code for kinds, code in codes if isinstance(error, kinds)), None)
