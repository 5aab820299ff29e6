"""The auditor's report over a year at national scale, from files to files."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.figures import MIB, Figure
from bench.rounds import QUICK, Plan
from bench.scribe import Scribe, milliseconds
from bench.spent import Spent
from bench.stage import Stage
from bench.synthetic import BEGIN, tell_year
from onward._evidence import Folder

INTAKES: Final = 50_000
QUICK_INTAKES: Final = 2_000
SEED: Final = 2026

_DAY: Final = 86_400_000
_PERIOD: Final = ("--from", "2026-01-01", "--to", "2026-12-31")


async def measure_year(_: Stage, plan: Plan) -> list[Figure]:
    """How long ``onward report`` takes for a year, and how much memory in all."""
    quick = plan is QUICK
    with TemporaryDirectory(prefix="onward-year-") as temporary:
        folder = Folder(Path(temporary) / "evidence")
        count = QUICK_INTAKES if quick else INTAKES
        scribe = await asyncio.to_thread(write_year, folder, count)
        trust = Path(temporary) / "trust.txt"
        trust.write_text(scribe.trust())
        command = _command(folder, trust, Path(temporary) / "out")
        runs = [await Spent.by(*command) for _ in range(1 if quick else 3)]
    seconds, memory = zip(
        *((run.seconds, run.memory / MIB) for run in runs), strict=True
    )
    name = f"{count:,} tips, {scribe.roots.size:,} log entries"
    return [
        Figure.alone(f"report over {name}", "s", seconds),
        Figure.alone("its memory, all processes", "MiB", memory),
    ]


def write_year(folder: Folder, intakes: int, seed: int = SEED) -> Scribe:
    """Writes the export of a year."""
    scribe = Scribe(folder, milliseconds(BEGIN) - _DAY)
    tell_year(scribe, intakes, seed)
    return scribe


def _command(folder: Folder, trust: Path, out: Path) -> Sequence[str]:
    """Returns the command that makes the report; it ends with 0 if all is proven."""
    files = ("--evidence", folder.path, "--trust", trust, "--out", out)
    onward = (sys.executable, "-m", "onward", "report", "--jurisdiction", "US")
    return *onward, *_PERIOD, "--offline", *map(str, files)
