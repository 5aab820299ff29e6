"""Latency at a steady rate: until the recipient's machine has it, and a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

from bench.desk import Desk, open_desk
from bench.figures import Aim, Figure
from bench.load import paced
from bench.referrals import Prepared
from bench.rounds import Plan, latency_figure, run_rounds
from bench.stage import PublishRun, Stage
from onward.v1 import referral_pb2
from onward.v1.referral_pb2_grpc import ReferralServiceStub

HIGH_RATE: Final = 200
"""Referrals a second at which the aim is set."""

_RATES: Final = (50, HIGH_RATE)
_PERCENTS: Final = (50, 99)
_AIMS: Final[Mapping[tuple[int, int], Aim]] = MappingProxyType(
    {(HIGH_RATE, 99): Aim(most=10)}
)


async def measure_latency(stage: Stage, plan: Plan) -> list[Figure]:
    """From when a publisher calls until the recipient's ``Received`` is logged."""
    return await _at_rates(stage, plan, "publish to Received", attended=False)


async def measure_human_ack(stage: Stage, plan: Plan) -> list[Figure]:
    """The same until an ``Acknowledgment`` is, by somebody who reads at once."""
    return await _at_rates(stage, plan, "publish to Acknowledgment", attended=True)


async def pass_on(
    stage: Stage, desk: Desk, rate: float, prepared: Sequence[Prepared]
) -> PublishRun:
    """Publishes at a steady rate; a call ends when the desk is done with it."""
    stub = ReferralServiceStub(stage.publishing)

    async def call(item: Prepared) -> referral_pb2.PublishResponse:
        reply = await stub.Publish(item.request)
        await desk.done(item.referral_id)
        return reply

    run = await paced(call, prepared, rate, stage.exchange.server)
    stage.note_published([item.request for item in prepared], run.replies)
    stage.note_received(len(prepared), acknowledged=desk.attended)
    return run


async def _at_rates(
    stage: Stage, plan: Plan, name: str, *, attended: bool
) -> list[Figure]:
    """Passes referrals on at each rate, beside single calls to the echo."""
    home, figures = stage.exchange.desk, []
    async with open_desk(stage, home, attended=attended) as desk:
        for rate in _RATES:
            pairs = await run_rounds(
                plan.rounds,
                partial(stage.prepare, plan.paced(rate), home),
                partial(pass_on, stage, desk, rate),
                partial(stage.echo_paced, rate=rate),
            )
            figures += [
                latency_figure(
                    f"{name}, {rate}/s",
                    pairs,
                    percent,
                    _AIMS.get((rate, percent)) if not attended else None,
                )
                for percent in _PERCENTS
            ]
    return figures
