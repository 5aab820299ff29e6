"""``python -m bench``: measures, prints a table, and writes JSON if asked to."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.figures import Figure
from bench.loads import LOADS
from bench.machine import Machine, Others
from bench.measures import AT_LENGTH, MEASURES
from bench.profiling import show_profile
from bench.report import Report
from bench.rounds import FULL, QUICK, Plan
from bench.stage import open_stage
from bench.table import insert_tables

_WIDTH = 200
_INTERRUPTED = 130
_FAILED = "failed:"


def main() -> None:
    """Runs the command line."""
    options = _parser().parse_args()
    console = _console()
    if options.table:
        insert_tables(options.table)
        return
    plan = QUICK if options.quick else FULL
    if options.profile:
        asyncio.run(show_profile(console, plan, LOADS[options.profile]))
        return
    machine, others = Machine.examine(datetime.now(UTC)), Others()
    begun = time.monotonic()
    names = options.only or [name for name in MEASURES if name not in AT_LENGTH]
    figures = asyncio.run(_measure(names, plan, console))
    seconds = time.monotonic() - begun
    report = Report(machine, others.part, options.quick, seconds, figures)
    report.show(console)
    if options.json:
        report.write(options.json)
    if any(figure.note.startswith(_FAILED) for figure in figures):
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a look, in some minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    parser.add_argument(
        "--only", nargs="+", choices=MEASURES, metavar="NAME", help=", ".join(MEASURES)
    )
    parser.add_argument(
        "--table",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="put results that were written before into bench/README.md",
    )
    parser.add_argument(
        "--profile",
        nargs="?",
        const=next(iter(LOADS)),
        choices=LOADS,
        metavar="LOAD",
        help=f"show where the exchange's time goes: {', '.join(LOADS)}",
    )
    return parser


def _console() -> Console:
    """Returns standard output, as wide as the table needs where it is a file."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    return console


async def _measure(names: Sequence[str], plan: Plan, console: Console) -> list[Figure]:
    """Runs the measures of these names; one that fails does not cost the others."""
    figures = []
    for name in names:
        try:
            with console.status(f"measuring {name}"):
                figures += await _measure_one(name, plan)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
            traceback.print_exc()
            figures.append(Figure.missing(name, f"{_FAILED} {error}"))
    return figures


async def _measure_one(name: str, plan: Plan) -> list[Figure]:
    """Runs a measure on a stage of its own; its figures count if the log is right."""
    async with open_stage() as stage:
        figures = await MEASURES[name](stage, plan)
        await stage.check_log()
    return figures


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
