"""Rounds of a measure, and the lines of the report that they make."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Final, TypeAlias

from bench.figures import MICROSECONDS, MILLISECONDS, Aim, Figure, percentile
from bench.load import Run
from bench.referrals import Prepared
from bench.stage import Stage

MANY_CALLERS: Final = 32
BATCH_CALLERS: Final = 4

Prepare: TypeAlias = Callable[[], Awaitable[list[Prepared]]]
Drive: TypeAlias = Callable[[Sequence[Prepared]], Awaitable[Run[Any]]]
Pair: TypeAlias = tuple[Run[Any], Run[Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done.

    Attributes:
        rounds: of each measure.
        single: referrals of a round with one caller.
        many: referrals of a round with many callers, or in batches.
        few: referrals of a round that must change little in how many are stored.
        paced_seconds: length of a round at a steady rate.
        stored: the numbers of stored referrals of two exchanges that are compared.
        grown: the same, where the second one is as large as any will be.
        entries: the two sizes of the log at which publishing is compared.
        backlog: referrals that wait for one recipient when it comes back.
        repeats: of a computation in a round.
    """

    rounds: int
    single: int
    many: int
    few: int
    paced_seconds: float
    stored: tuple[int, int]
    grown: tuple[int, int]
    entries: tuple[int, int]
    backlog: int
    repeats: int

    def paced(self, rate: float) -> int:
        """Returns how many referrals a round at this rate has."""
        return int(rate * self.paced_seconds)


FULL: Final = Plan(
    rounds=5,
    single=300,
    many=1_500,
    few=500,
    paced_seconds=3.0,
    stored=(1_000, 100_000),
    grown=(1_000, 1_000_000),
    entries=(1_000, 1_000_000),
    backlog=50_000,
    repeats=2_000,
)
QUICK: Final = Plan(
    rounds=3,
    single=80,
    many=400,
    few=200,
    paced_seconds=1.0,
    stored=(500, 3_000),
    grown=(500, 20_000),
    entries=(1_000, 50_000),
    backlog=2_000,
    repeats=300,
)


async def run_rounds(
    count: int, prepare: Prepare, exchange: Drive, echo: Drive
) -> list[Pair]:
    """Lets the exchange and the echo do the same, in turns.

    Args:
        count: of rounds. One more comes first, for warming up, and does not count.
        prepare: makes the referrals of a round.
        exchange: what the exchange does with them.
        echo: what the echo does with them.
    """
    pairs = []
    for number in range(count + 1):
        prepared = await prepare()
        if number % 2:
            baseline = await echo(prepared)
            pairs.append((await exchange(prepared), baseline))
        else:
            pairs.append((await exchange(prepared), await echo(prepared)))
    return pairs[1:]


async def unary_rounds(
    stage: Stage, count: int, referrals: int, callers: int
) -> list[Pair]:
    """Publishes so many referrals in each round, one in each call."""
    return await run_rounds(
        count,
        partial(stage.prepare, referrals, stage.exchange.archive),
        partial(stage.publish, callers=callers),
        partial(stage.echo_back, callers=callers),
    )


def rate_figure(
    name: str, pairs: Sequence[Pair], referrals: int, aim: Aim | None = None
) -> Figure:
    """Returns how many referrals a second went through, and at what cost.

    Args:
        name: what was measured.
        pairs: the rounds.
        referrals: of a round.
        aim: what the ratio is to reach.
    """
    return Figure.compare(
        name,
        "referrals/s",
        [
            (referrals / exchange.seconds, referrals / echo.seconds)
            for exchange, echo in pairs
        ],
        aim=aim,
        facts=_facts(pairs, referrals),
    )


def latency_figure(
    name: str, pairs: Sequence[Pair], percent: float, aim: Aim | None = None
) -> Figure:
    """Returns a percentile of the latencies."""
    return Figure.compare(
        f"{name}, p{percent:g}",
        "ms",
        [
            (
                percentile(exchange.latencies, percent) * MILLISECONDS,
                percentile(echo.latencies, percent) * MILLISECONDS,
            )
            for exchange, echo in pairs
        ],
        aim=aim,
    )


def _facts(pairs: Sequence[Pair], referrals: int) -> dict[str, float]:
    """Returns latencies of calls and the cost of referrals, over all rounds."""
    facts: dict[str, float] = {}
    sides = zip(*pairs, strict=True)
    for side, runs in zip(("exchange", "echo"), sides, strict=True):
        latencies = list(chain.from_iterable(run.latencies for run in runs))
        each = MICROSECONDS / (referrals * len(runs))
        facts |= {
            f"{side}_p50_ms": percentile(latencies, 50) * MILLISECONDS,
            f"{side}_p99_ms": percentile(latencies, 99) * MILLISECONDS,
            f"{side}_cpu_us": sum(run.server_cpu for run in runs) * each,
            f"{side}_load_generator_cpu_us": sum(run.own_cpu for run in runs) * each,
        }
    return facts
