"""What grows with an exchange: a full one beside one that has just begun, in turns.

Both run, and one of them is at work at a time. So whatever else the machine does at
that moment, it does to both.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from bench.desk import Desk, open_desk
from bench.exchange import Exchange, Past, seconds_to_start
from bench.figures import MIB, Aim, Figure
from bench.latency import HIGH_RATE, pass_on
from bench.load import Run
from bench.processes import end
from bench.referrals import Prepared
from bench.rounds import (
    BATCH_CALLERS,
    MANY_CALLERS,
    Pair,
    Plan,
    latency_figure,
    run_rounds,
)
from bench.stage import Stage, open_stage

_RATE_AIM: Final = Aim(least=0.90)
_LATENCY_AIM: Final = Aim(most=1.10)
_MEMORY_AIM: Final = Aim(most=100, of="growth")
_START_AIM: Final = Aim(most=2, of="value")


@dataclass(frozen=True, slots=True)
class _Office:
    """An exchange with somebody at the desk."""

    stage: Stage
    desk: Desk


_Stages: TypeAlias = tuple[Stage, Stage]
Act: TypeAlias = Callable[[_Office], Awaitable[Run[Any]]]


async def measure_growth(_: Stage, plan: Plan) -> list[Figure]:
    """Speed, memory and start, with few and with many referrals stored."""
    return await _compare(plan, *plan.stored)


async def measure_growth_million(_: Stage, plan: Plan) -> list[Figure]:
    """The same with as many as there will ever be."""
    return await _compare(plan, *plan.grown)


async def measure_log(_: Stage, plan: Plan) -> list[Figure]:
    """Publishing with a long log beside publishing with a short one."""
    short, long = plan.entries
    async with _both(Past(entries=short), Past(entries=long)) as stages:
        async with _attended(stages) as (small, big):
            pairs = await _in_turns(plan, partial(_publish, plan.many), small, big)
        await _check_logs(stages)
    name = f"publish, {MANY_CALLERS} callers, {long:,} beside {short:,} entries"
    return [_rates(name, pairs, plan.many)]


async def _compare(plan: Plan, few: int, many: int) -> list[Figure]:
    """Measures an exchange with many referrals stored beside one with few."""
    beside = f"{many:,} beside {few:,} stored"
    async with _both(Past(referrals=few), Past(referrals=many)) as stages:
        async with _attended(stages) as (small, big):
            figures = await _speed(plan, small, big, beside)
        await _check_logs(stages)
        small_exchange, big_exchange = (stage.exchange for stage in stages)
        memory = (
            big_exchange.server.resident_bytes / MIB,
            small_exchange.server.resident_bytes / MIB,
        )
        starts = [
            (_start_again(big_exchange), _start_again(small_exchange))
            for _ in range(plan.rounds)
        ]
    return [
        *figures,
        Figure.compare(f"memory, {beside}", "MiB", [memory], aim=_MEMORY_AIM),
        Figure.compare(f"start, {beside}", "s", starts, aim=_START_AIM),
    ]


async def _speed(plan: Plan, small: _Office, big: _Office, beside: str) -> list[Figure]:
    """Measures how fast both are."""
    turns = partial(_in_turns, plan, small=small, big=big)
    one = await turns(partial(_publish, plan.single, callers=1))
    unary = await turns(partial(_publish, plan.many))
    batch = await turns(partial(_publish_batches, plan.many))
    passed = await turns(partial(_pass_on, plan.paced(HIGH_RATE)))
    passing = f"publish to Received, {HIGH_RATE}/s, {beside}"
    return [
        latency_figure(f"publish, 1 caller, {beside}", one, 50, _LATENCY_AIM),
        _rates(f"publish, {MANY_CALLERS} callers, {beside}", unary, plan.many),
        _rates(f"publish in batches, {beside}", batch, plan.many),
        latency_figure(passing, passed, 99, _LATENCY_AIM),
    ]


@asynccontextmanager
async def _both(little: Past, much: Past) -> AsyncGenerator[_Stages, None]:
    """Opens two exchanges while the block runs."""
    async with open_stage(past=little) as small, open_stage(past=much) as big:
        yield small, big


@asynccontextmanager
async def _attended(stages: _Stages) -> AsyncGenerator[tuple[_Office, _Office], None]:
    """Has somebody at the desk of each while the block runs."""
    small, big = stages
    async with (
        open_desk(small, small.exchange.desk) as first,
        open_desk(big, big.exchange.desk) as second,
    ):
        yield _Office(small, first), _Office(big, second)


async def _check_logs(stages: _Stages) -> None:
    """Checks that the logs have what was published, and nothing else."""
    for stage in stages:
        await stage.check_log()


def _start_again(exchange: Exchange) -> float:
    """Ends an exchange, and starts it again; returns seconds until it answers."""
    end(exchange.server.process)
    return seconds_to_start(exchange.folder)


async def _in_turns(plan: Plan, act: Act, small: _Office, big: _Office) -> list[Pair]:
    """Lets both do the same; each has its own referrals to do it with."""
    return await run_rounds(
        plan.rounds, _nothing, lambda _: act(big), lambda _: act(small)
    )


async def _nothing() -> list[Prepared]:
    return []


async def _publish(
    count: int, office: _Office, callers: int = MANY_CALLERS
) -> Run[Any]:
    """Publishes new referrals, one in each call."""
    prepared = await office.stage.prepare(count, office.stage.exchange.archive)
    return await office.stage.publish(prepared, callers)


async def _publish_batches(count: int, office: _Office) -> Run[Any]:
    """Publishes new referrals in batches."""
    prepared = await office.stage.prepare(count, office.stage.exchange.archive)
    return await office.stage.publish_batches(prepared, BATCH_CALLERS)


async def _pass_on(count: int, office: _Office) -> Run[Any]:
    """Passes new referrals on at a steady rate."""
    prepared = await office.stage.prepare(count, office.stage.exchange.desk)
    return await pass_on(office.stage, office.desk, HIGH_RATE, prepared)


def _rates(name: str, pairs: Sequence[Pair], count: int) -> Figure:
    """Returns the rates of both."""
    rates = [(count / big.seconds, count / small.seconds) for big, small in pairs]
    return Figure.compare(name, "referrals/s", rates, aim=_RATE_AIM)
