"""A recipient comes back to all that waited for it, while others go on as usual."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from functools import partial
from itertools import chain, pairwise
from typing import Final

from bench.desk import Desk, open_desk
from bench.figures import MICROSECONDS, Aim, Figure
from bench.latency import pass_on
from bench.rounds import BATCH_CALLERS, MANY_CALLERS, Plan, latency_figure
from bench.spent import CommandFailedError
from bench.stage import PublishRun, Stage
from onward.home import Home

_USUAL_RATE: Final = 20
"""Referrals a second to somebody else, before and meanwhile."""

_PUBLISHED_AT_ONCE: Final = 2_000

_RATE_AIM: Final = Aim(least=0.3)
_LATENCY_AIM: Final = Aim(most=2)


async def measure_drain(stage: Stage, plan: Plan) -> list[Figure]:
    """How fast a backlog is received, and what others notice of it."""
    home = stage.exchange.archive
    await pile_up(stage, home, plan.backlog)
    echo = [await _echo_rate(stage, plan.many) for _ in range(plan.rounds + 1)][1:]
    async with open_desk(stage, stage.exchange.desk) as desk:
        others = partial(_pass_on, stage, desk, plan)
        usual = [await others() for _ in range(plan.rounds + 1)][1:]
        before = stage.exchange.server.cpu_seconds
        draining = asyncio.create_task(drain(stage, home, plan.backlog, plan.rounds))
        meanwhile = [await others()]
        while not draining.done():
            meanwhile.append(await others())
        times = await draining
        spent = stage.exchange.server.cpu_seconds - before
    meanwhile = meanwhile[:-1] or meanwhile  # when the last one ended, it was over
    stage.note_received(plan.backlog)
    part = plan.backlog / plan.rounds
    rates = [part / (end - begun) for begun, end in pairwise(times)]
    pairs = list(zip(_shared_out(meanwhile, plan.rounds), usual, strict=True))
    name = f"publish to Received by another, {_USUAL_RATE}/s, while it drains"
    return [
        Figure.compare(
            f"drain of {plan.backlog:,} for one recipient",
            "referrals/s",
            list(zip(rates, echo, strict=True)),
            aim=_RATE_AIM,
            facts={"exchange_cpu_us": spent * MICROSECONDS / plan.backlog},
        ),
        *(latency_figure(name, pairs, percent, _LATENCY_AIM) for percent in (50, 99)),
    ]


async def pile_up(stage: Stage, home: Home, count: int) -> None:
    """Publishes so many referrals to a recipient that is not there."""
    for begun in range(0, count, _PUBLISHED_AT_ONCE):
        prepared = await stage.prepare(min(_PUBLISHED_AT_ONCE, count - begun), home)
        await stage.publish_batches(prepared, BATCH_CALLERS)


async def _echo_rate(stage: Stage, count: int) -> float:
    """Returns how many single calls a second the echo answers."""
    prepared = await stage.prepare(count, stage.exchange.desk)
    return count / (await stage.echo_back(prepared, MANY_CALLERS)).seconds


async def _pass_on(stage: Stage, desk: Desk, plan: Plan) -> PublishRun:
    """Passes referrals on to somebody else for a round."""
    prepared = await stage.prepare(plan.paced(_USUAL_RATE), stage.exchange.desk)
    return await pass_on(stage, desk, _USUAL_RATE, prepared)


async def drain(stage: Stage, home: Home, count: int, parts: int = 1) -> list[float]:
    """Lets the recipient take all; returns when it began, and when each part was done.

    Raises:
        CommandFailedError: not all of it was received as it should be.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.drainer", str(home.path)),
        *(stage.exchange.server.address, str(count), str(parts)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise CommandFailedError(f"the recipient failed: {process.returncode}")
    times: list[float] = json.loads(said)
    return times


def _shared_out(runs: Sequence[PublishRun], rounds: int) -> list[PublishRun]:
    """Returns so many runs that have the latencies of all, in turns."""
    latencies = list(chain.from_iterable(run.latencies for run in runs))
    return [PublishRun(latencies=latencies[at::rounds]) for at in range(rounds)]
