"""Where the exchange's time goes under a load.

Two looks at the same load:

1. Without a profiler: how long each kind of thread was on a CPU, from the kernel; and
   the same of the echo.
2. Under a profiler: in which functions the threads of Python were on a CPU.

A profiler makes code of many small functions look dearer than it is. What it cost is
the difference between the two looks, and is taken off again, from each function by how
often it was called. What gRPC and asyncio have compiled shows as one number.
"""

from __future__ import annotations

import pstats
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

from rich import box
from rich.console import Console
from rich.table import Table

from bench.figures import MICROSECONDS
from bench.kinds import Function, Stats, kinds_of
from bench.loads import Load, publish
from bench.processes import thread_seconds
from bench.rounds import MANY_CALLERS, Plan
from bench.stage import open_stage

_SHOWN: Final = 25
_WARM_UP: Final = 300
_HALVINGS: Final = 40

_LOOP: Final = "event loop"
_PYTHON: Final = "Python's other threads"
_NATIVE: Final = "gRPC's own threads"


@dataclass(frozen=True, slots=True)
class Spent:
    """What a function took for one referral, the profiler's own cost taken off.

    Attributes:
        function: file, line and name.
        calls: of it.
        own: microseconds in it, and not in what it called.
        kinds: of which kind it is, in parts that sum to 1.
    """

    function: Function
    calls: float
    own: float
    kinds: Mapping[str, float]


async def show_profile(console: Console, plan: Plan, load: Load) -> None:
    """Takes both looks, and prints what they show."""
    exchange, echo = await _look_at_threads(plan.many, load)
    console.print(_thread_table(exchange, echo))
    with TemporaryDirectory(prefix="bench-") as folder:
        await _profile(Path(folder), plan.many, load)
        files = {
            _LOOP: _files(folder, "main.prof"),
            _PYTHON: _files(folder, "thread-*.prof"),
        }
        found = {
            thread: _spent(_read(paths), plan.many, exchange[thread])
            for thread, paths in files.items()
        }
    console.print(_kind_table(found))
    for thread, functions in found.items():
        console.print(_function_table(thread, functions))


async def _look_at_threads(
    referrals: int, load: Load
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Returns microseconds per referral, of the exchange and of the echo's calls."""
    async with open_stage() as stage:
        await (await publish(stage, _WARM_UP))()
        prepared = await stage.prepare(referrals, stage.exchange.archive)
        taken = []
        for begin, server in (
            (await load(stage, referrals), stage.exchange.server),
            (partial(stage.echo_back, prepared, MANY_CALLERS), stage.echo),
        ):
            before = Counter(_by_kind_of_thread(server.process.pid))
            await begin()
            after = Counter(_by_kind_of_thread(server.process.pid))
            after.subtract(before)
            each = MICROSECONDS / referrals
            taken.append({thread: after[thread] * each for thread in after})
        return taken[0], taken[1]


async def _profile(folder: Path, referrals: int, load: Load) -> None:
    """Loads an exchange that writes its profiles into a folder."""
    serve = (sys.executable, "-m", "bench.profiled", folder, "serve")
    async with open_stage(serve) as stage:
        await (await publish(stage, _WARM_UP))()
        begin = await load(stage, referrals)
        stage.exchange.server.process.send_signal(signal.SIGUSR1)
        await begin()


def _by_kind_of_thread(pid: int) -> dict[str, float]:
    """Returns the seconds that each kind of thread was on a CPU until now.

    Python does not name its threads to the kernel, so they have the process's name.
    """
    threads = thread_seconds(pid)
    process_name, _ = threads[pid]
    found: Counter[str] = Counter()
    for thread, (name, seconds) in threads.items():
        kind = _PYTHON if name == process_name else _NATIVE
        found[_LOOP if thread == pid else kind] += seconds  # type: ignore[assignment]
    return dict(found)


def _files(folder: str, pattern: str) -> list[Path]:
    """Returns the files of a folder with such names."""
    return list(Path(folder).glob(pattern))


def _read(paths: Sequence[Path]) -> Stats:
    """Returns the profiles of some threads as one."""
    merged = pstats.Stats(*map(str, paths))
    # The standard library has no other way to what it keeps.
    return cast("Stats", vars(merged)["stats"])


def _spent(stats: Stats, referrals: int, cpu: float) -> list[Spent]:
    """Returns what functions took, dearest first, and in sum what the kernel says.

    Args:
        stats: of threads of one kind.
        referrals: of the load.
        cpu: microseconds of these threads for a referral without a profiler.
    """
    kinds = dict(kinds_of(stats))
    each = MICROSECONDS / referrals
    calls = {function: stats[function][1] / referrals for function in kinds}
    own = {function: stats[function][2] * each for function in kinds}
    cost = _profiler_cost([(own[function], calls[function]) for function in kinds], cpu)
    found = [
        Spent(function, calls[function], own[function] - calls[function] * cost, parts)
        for function, parts in kinds.items()
    ]
    dearest = sorted(found, key=lambda spent: -spent.own)
    return list(takewhile(lambda spent: spent.own > 0, dearest))


def _profiler_cost(functions: Sequence[tuple[float, float]], cpu: float) -> float:
    """Returns what the profiler takes for a call, in microseconds.

    Args:
        functions: the time of each, in microseconds, and its calls.
        cpu: what must be left in sum; nothing of a function is less than nothing.
    """
    low, high = 0.0, max(own for own, _ in functions)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        left = sum(max(own - calls * middle, 0.0) for own, calls in functions)
        low, high = (middle, high) if left > cpu else (low, middle)
    return high


def _thread_table(exchange: Mapping[str, float], echo: Mapping[str, float]) -> Table:
    """Returns the first look."""
    table = _table("CPU time of a referral, us", "threads", "exchange", "echo")
    for thread in (_LOOP, _PYTHON, _NATIVE):
        table.add_row(
            thread, f"{exchange.get(thread, 0):.0f}", f"{echo.get(thread, 0):.0f}"
        )
    table.add_row("all", f"{sum(exchange.values()):.0f}", f"{sum(echo.values()):.0f}")
    return table


def _kind_table(found: Mapping[str, Sequence[Spent]]) -> Table:
    """Returns the second look, summed up by kinds of work."""
    sums: dict[str, Counter[str]] = {}
    for thread, functions in found.items():
        sums[thread] = Counter()
        for spent in functions:
            for kind, part in spent.kinds.items():
                sums[thread][kind] += part * spent.own  # type: ignore[assignment]
    table = _table("What it is spent on, us", "work", *found)
    for kind, _ in sum(sums.values(), Counter()).most_common():
        table.add_row(kind, *(f"{sums[thread][kind]:.0f}" for thread in found))
    return table


def _function_table(thread: str, functions: Sequence[Spent]) -> Table:
    """Returns the dearest functions of a kind of thread."""
    table = _table(f"Functions: {thread}", "function", "own us", "calls")
    for spent in functions[:_SHOWN]:
        file, line, name = spent.function
        place = f"{'/'.join(Path(file).parts[-2:])}:{line} " if line else ""
        table.add_row(place + name, f"{spent.own:.1f}", f"{spent.calls:.2f}")
    return table


def _table(title: str, first: str, *others: str) -> Table:
    """Returns an empty table: a column of names, and columns of numbers."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, justify="right")
    return table
