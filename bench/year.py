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
from bench.stage import Stage
from bench.synthetic import BEGIN, Year
from onward._evidence import Folder

INTAKES: Final = 50_000
QUICK_INTAKES: Final = 2_000
SEED: Final = 2026

_DAY: Final = 86_400_000
_PAUSE: Final = 0.1
_PERIOD: Final = ("--from", "2026-01-01", "--to", "2026-12-31")


class UnprovenYearError(Exception):
    """The report did not find the year proven, which it is."""


async def measure_year(_: Stage, plan: Plan) -> list[Figure]:
    """How long ``onward report`` takes for a year, and how much memory in all."""
    quick = plan is QUICK
    with TemporaryDirectory(prefix="onward-year-") as temporary:
        folder = Folder(Path(temporary) / "evidence")
        count = QUICK_INTAKES if quick else INTAKES
        scribe = await asyncio.to_thread(write_year, folder, count)
        trust = Path(temporary) / "trust.txt"
        trust.write_text(scribe.trust())
        runs = [
            await _report(folder, trust, Path(temporary) / "out")
            for _ in range(1 if quick else 3)
        ]
    seconds, memory = zip(*runs, strict=True)
    name = f"{count:,} tips, {scribe.roots.size:,} log entries"
    return [
        Figure.alone(f"report over {name}", "s", seconds),
        Figure.alone("its memory, all processes", "MiB", memory),
    ]


def write_year(folder: Folder, intakes: int, seed: int = SEED) -> Scribe:
    """Writes the export of a year."""
    scribe = Scribe(folder, milliseconds(BEGIN) - _DAY)
    Year(scribe, intakes, seed).write()
    return scribe


async def _report(folder: Folder, trust: Path, out: Path) -> tuple[float, float]:
    """Makes a report; returns seconds, and MiB at most in all its processes."""
    loop = asyncio.get_running_loop()
    begun, most = loop.time(), 0
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "onward", "report", "--jurisdiction", "US", *_PERIOD),
        *("--offline", "--evidence", folder.path, "--trust", trust, "--out", out),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    ending = asyncio.ensure_future(process.wait())
    while not ending.done():
        most = max(most, _memory(process.pid))
        await asyncio.wait([ending], timeout=_PAUSE)
    if ending.result():
        raise UnprovenYearError
    return loop.time() - begun, most / MIB


def _memory(session: int) -> int:
    """Returns the memory of a session's processes; what they share counts once."""
    return sum(_proportional(path) for path in _processes(session))


def _processes(session: int) -> Sequence[Path]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[3]) == session:
            found.append(path)
    return found


def _proportional(path: Path) -> int:
    try:
        lines = (path / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    kilobytes = (line.split()[1] for line in lines if line.startswith("Pss:"))
    return sum(int(number) for number in kilobytes) * 1024
