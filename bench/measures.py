"""What is measured. :data:`MEASURES` names them; each returns its lines of the report.

Each measure has an exchange and an echo of its own, and nothing before it has made them
warm or full.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias

from bench.database import measure_database
from bench.draining import measure_drain
from bench.figures import Aim, Figure
from bench.growth import measure_growth, measure_growth_million, measure_log
from bench.latency import measure_human_ack, measure_latency
from bench.loaded import measure_loaded
from bench.offline import measure_floor, measure_verify
from bench.peers import measure_peers
from bench.replicas import measure_replicas
from bench.rounds import (
    BATCH_CALLERS,
    MANY_CALLERS,
    Plan,
    latency_figure,
    rate_figure,
    run_rounds,
    unary_rounds,
)
from bench.stage import BATCH_ITEMS, Stage
from bench.year import measure_year

_CALLERS: Final = (1, MANY_CALLERS, 128)
_BATCH_CALLERS: Final = (1, BATCH_CALLERS, MANY_CALLERS)

_UNARY_AIMS: Final = MappingProxyType({MANY_CALLERS: Aim(least=0.5)})
_SINGLE_AIM: Final = Aim(most=3)
_BATCH_AIMS: Final = MappingProxyType({BATCH_CALLERS: Aim(least=1.0)})


async def measure_unary(stage: Stage, plan: Plan) -> list[Figure]:
    """One referral in each call, by one caller and by many at once."""
    figures = []
    for callers in _CALLERS:
        count = plan.single if callers == 1 else plan.many
        pairs = await unary_rounds(stage, plan.rounds, count, callers)
        name = f"publish, {_people(callers)}"
        figure = rate_figure(name, pairs, count, _UNARY_AIMS.get(callers))
        figures.append(replace(figure, facts={**figure.facts, **_sizes(stage)}))
        if callers == 1:
            figures.append(latency_figure(name, pairs, 50, _SINGLE_AIM))
    return figures


async def measure_batch(stage: Stage, plan: Plan) -> list[Figure]:
    """A hundred referrals in each call, beside single calls to the echo."""
    figures = []
    for callers in _BATCH_CALLERS:
        count = max(plan.many, callers * BATCH_ITEMS)
        pairs = await run_rounds(
            plan.rounds,
            partial(stage.prepare, count, stage.exchange.archive),
            partial(stage.publish_batches, callers=callers),
            partial(stage.echo_back, callers=MANY_CALLERS),
        )
        name = f"publish in batches, {_people(callers)}"
        figures.append(rate_figure(name, pairs, count, _BATCH_AIMS.get(callers)))
    return figures


Measure: TypeAlias = Callable[[Stage, Plan], Awaitable[list[Figure]]]

MEASURES: Final[Mapping[str, Measure]] = MappingProxyType(
    {
        "unary": measure_unary,
        "batch": measure_batch,
        "latency": measure_latency,
        "human-ack": measure_human_ack,
        "drain": measure_drain,
        "growth": measure_growth,
        "growth-million": measure_growth_million,
        "log": measure_log,
        "verify": measure_verify,
        "replicas": measure_replicas,
        "floor": measure_floor,
        "database": measure_database,
        "peers": measure_peers,
        "year": measure_year,
        "loaded-year": measure_loaded,
    }
)
"""All of them, by the names that the command line takes."""

AT_LENGTH: Final = frozenset({"drain", "growth-million", "log", "year", "loaded-year"})
"""Those that take many minutes, and are made only when they are named."""


def _people(callers: int) -> str:
    """Returns so many callers, in words."""
    return f"{callers} caller{'s' if callers > 1 else ''}"


def _sizes(stage: Stage) -> dict[str, float]:
    """Returns the sizes of messages, which are the same to the echo."""
    return {
        "request_bytes": stage.request.ByteSize(),
        "reply_bytes": stage.reply.ByteSize(),
    }
