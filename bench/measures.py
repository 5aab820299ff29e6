"""What is measured. :data:`MEASURES` names them; each returns its lines of the report.

Each measure has an exchange and an echo of its own, and nothing before it has made them
warm or full.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias

from bench.desk import Desk, open_desk
from bench.figures import MIB, Aim, Figure
from bench.load import paced
from bench.loaded import measure_loaded
from bench.offline import measure_floor, measure_verify
from bench.referrals import Prepared, Recipient, seen_of
from bench.rounds import (
    MANY_CALLERS,
    Plan,
    latency_figure,
    rate_figure,
    run_rounds,
    unary_rounds,
)
from bench.stage import PublishRun, Stage, open_stage
from bench.year import measure_year
from onward.v1 import referral_pb2
from onward.v1.referral_pb2_grpc import ReferralServiceStub

_CALLERS: Final = (1, MANY_CALLERS, 128)
_BATCH_CALLERS: Final = 4
_RATES: Final = (50, 200)
_PERCENTS: Final = (50, 99)
_FILL: Final = 2_000

_UNARY_AIMS: Final = MappingProxyType({MANY_CALLERS: Aim(least=0.40)})
_BATCH_AIM: Final = Aim(least=0.80)
_LOG_AIM: Final = Aim(least=0.90)


async def measure_unary(stage: Stage, plan: Plan) -> list[Figure]:
    """One referral in each call, by one caller and by many at once."""
    figures = []
    for callers in _CALLERS:
        count = plan.single if callers == 1 else plan.many
        pairs = await unary_rounds(stage, plan.rounds, count, callers)
        name = f"publish, {callers} caller{'s' if callers > 1 else ''}"
        figure = rate_figure(name, pairs, count, _UNARY_AIMS.get(callers))
        figures.append(replace(figure, facts={**figure.facts, **_sizes(stage)}))
    return figures


async def measure_batch(stage: Stage, plan: Plan) -> list[Figure]:
    """A hundred referrals in each call, beside single calls to the echo."""
    pairs = await run_rounds(
        plan.rounds,
        partial(stage.prepare, plan.many, stage.exchange.archive),
        partial(stage.publish_batches, callers=_BATCH_CALLERS),
        partial(stage.echo_back, callers=MANY_CALLERS),
    )
    name = f"publish in batches, {_BATCH_CALLERS} callers"
    return [rate_figure(name, pairs, plan.many, _BATCH_AIM)]


async def measure_latency(stage: Stage, plan: Plan) -> list[Figure]:
    """From when a publisher calls until the recipient's ``Received`` is logged."""
    home, figures = stage.exchange.desk, []
    seen = seen_of(await stage.checkpoint())
    async with (
        stage.channel(home) as channel,
        open_desk(ReferralServiceStub(channel), Recipient.open(home), seen) as desk,
    ):
        for rate in _RATES:
            count = int(rate * plan.paced_seconds)
            pairs = await run_rounds(
                plan.rounds,
                partial(stage.prepare, count, home),
                partial(_pass_on, stage, desk, rate),
                partial(stage.echo_paced, rate=rate),
            )
            name = f"publish to Received, {rate}/s"
            figures += [latency_figure(name, pairs, part) for part in _PERCENTS]
    return figures


async def measure_growth(stage: Stage, plan: Plan) -> list[Figure]:
    """Publishing and memory, with few and with many referrals stored."""
    figures, memory = [], []
    for stored in plan.stored:
        await _fill(stage, stored)
        memory.append(stage.exchange.server.resident_bytes / MIB)
        pairs = await unary_rounds(stage, plan.rounds, plan.few, MANY_CALLERS)
        name = f"publish, {MANY_CALLERS} callers, {stored:,} stored"
        figures.append(rate_figure(name, pairs, plan.few))
    few, many = (figure.ratio.median for figure in figures if figure.ratio)
    span = f"{plan.stored[0]:,} to {plan.stored[1]:,} stored"
    return [
        *figures,
        Figure.compare(f"change of publish, {span}", "of echo", [(many, few)]),
        Figure.compare(f"change of memory, {span}", "MiB", [(memory[1], memory[0])]),
    ]


async def measure_log(_stage: Stage, plan: Plan) -> list[Figure]:
    """Publishing with a long log beside publishing with a short one, in turns."""
    short, long = plan.entries
    async with open_stage(entries=short) as small, open_stage(entries=long) as big:
        pairs = await run_rounds(
            plan.rounds,
            _nothing,
            partial(_publish, big, plan.many),
            partial(_publish, small, plan.many),
        )
        for stage in (small, big):
            await stage.check_log()
    rates = [(plan.many / run.seconds, plan.many / base.seconds) for run, base in pairs]
    name = f"publish, {MANY_CALLERS} callers, {long:,} beside {short:,} entries"
    return [Figure.compare(name, "1/s", rates, aim=_LOG_AIM)]


Measure: TypeAlias = Callable[[Stage, Plan], Awaitable[list[Figure]]]

MEASURES: Final[Mapping[str, Measure]] = MappingProxyType(
    {
        "unary": measure_unary,
        "batch": measure_batch,
        "latency": measure_latency,
        "growth": measure_growth,
        "log": measure_log,
        "verify": measure_verify,
        "floor": measure_floor,
        "year": measure_year,
        "loaded-year": measure_loaded,
    }
)
"""All of them, by the names that the command line takes."""

AT_LENGTH: Final = frozenset({"year", "loaded-year"})
"""Those that take many minutes, and are made only when they are named."""


def _sizes(stage: Stage) -> dict[str, float]:
    """Returns the sizes of messages, which are the same to the echo."""
    return {
        "request_bytes": stage.request.ByteSize(),
        "reply_bytes": stage.reply.ByteSize(),
    }


async def _pass_on(
    stage: Stage, desk: Desk, rate: float, prepared: Sequence[Prepared]
) -> PublishRun:
    """Publishes at a steady rate; a call ends when its ``Received`` is logged."""
    stub = ReferralServiceStub(stage.publishing)

    async def pass_on(item: Prepared) -> referral_pb2.PublishResponse:
        reply = await stub.Publish(item.request)
        await desk.received(item.referral_id)
        return reply

    run = await paced(pass_on, prepared, rate, stage.exchange.server)
    stage.note_published([item.request for item in prepared], run.replies)
    stage.note_received(len(prepared))
    return run


async def _nothing() -> list[Prepared]:
    """Prepares nothing: each exchange of :func:`measure_log` has its own referrals."""
    return []


async def _publish(
    stage: Stage, count: int, _prepared: Sequence[Prepared]
) -> PublishRun:
    """Publishes new referrals, one in each call."""
    prepared = await stage.prepare(count, stage.exchange.archive)
    return await stage.publish(prepared, MANY_CALLERS)


async def _fill(stage: Stage, stored: int) -> None:
    """Publishes until so many referrals are stored."""
    while stage.stored < stored:
        count = min(stored - stage.stored, _FILL)
        prepared = await stage.prepare(count, stage.exchange.archive)
        await stage.publish_batches(prepared, _BATCH_CALLERS)
