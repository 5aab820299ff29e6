"""The loads that can be looked at under a profiler, by the measures that they are of.

Each is made ready first, and begins when the look does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias

from bench.desk import open_desk
from bench.draining import drain, pile_up
from bench.latency import HIGH_RATE, pass_on
from bench.rounds import BATCH_CALLERS, MANY_CALLERS
from bench.stage import Stage

Begin: TypeAlias = Callable[[], Awaitable[object]]
Load: TypeAlias = Callable[[Stage, int], Awaitable[Begin]]


async def publish(stage: Stage, count: int, callers: int = MANY_CALLERS) -> Begin:
    """Publishes so many referrals, one in each call."""
    prepared = await stage.prepare(count, stage.exchange.archive)
    return partial(stage.publish, prepared, callers)


async def _publish_batches(stage: Stage, count: int) -> Begin:
    prepared = await stage.prepare(count, stage.exchange.archive)
    return partial(stage.publish_batches, prepared, BATCH_CALLERS)


async def _pass_on(stage: Stage, count: int) -> Begin:
    home = stage.exchange.desk
    prepared = await stage.prepare(count, home)

    async def begin() -> None:
        async with open_desk(stage, home) as desk:
            await pass_on(stage, desk, HIGH_RATE, prepared)

    return begin


async def _drain(stage: Stage, count: int) -> Begin:
    home = stage.exchange.archive
    await pile_up(stage, home, count)
    return partial(drain, stage, home, count)


LOADS: Final[Mapping[str, Load]] = MappingProxyType(
    {
        "unary": publish,
        "single": partial(publish, callers=1),
        "batch": _publish_batches,
        "latency": _pass_on,
        "drain": _drain,
    }
)
