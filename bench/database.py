"""Publishing beside the inserts alone, in both databases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from bench.figures import Figure
from bench.inserting import Copy, copy_of_postgres, copy_of_sqlite
from bench.load import Run
from bench.postgres import MISSING, find_program, open_postgres
from bench.referrals import Prepared
from bench.rounds import BATCH_CALLERS, Plan
from bench.stage import BATCH_ITEMS, Stage, open_stage

_NAME: Final = "publish {how} on {database}, beside its inserts alone"

Publish: TypeAlias = Callable[[Sequence[Prepared]], Awaitable[Run[Any]]]


async def measure_database(stage: Stage, plan: Plan) -> list[Figure]:
    """Publishing in batches and by one caller, beside the inserts alone."""
    async with copy_of_sqlite(stage.exchange.database) as copy:
        figures = await _beside(copy, stage, plan, "SQLite")
    if find_program("initdb") is None:
        name = _NAME.format(how="in batches", database="PostgreSQL")
        return [*figures, Figure.missing(name, MISSING)]
    with open_postgres() as postgres:
        database, floor = postgres.create("exchange"), postgres.create("floor")
        async with (
            open_stage(database=database) as other,
            copy_of_postgres(database, floor) as copy,
        ):
            figures += await _beside(copy, other, plan, "PostgreSQL")
            await other.check_log()
    return figures


async def _beside(copy: Copy, stage: Stage, plan: Plan, database: str) -> list[Figure]:
    """Returns both lines about one database."""
    batches = partial(stage.publish_batches, callers=BATCH_CALLERS)
    single = partial(stage.publish, callers=1)
    rounds = partial(_rounds, copy, stage, plan.rounds)
    return [
        Figure.compare(
            _NAME.format(how=how, database=database),
            "referrals/s",
            await rounds(count, publish, commits),
        )
        for how, count, publish, commits in (
            ("in batches", plan.many, batches, plan.many // BATCH_ITEMS),
            ("by 1 caller", plan.single, single, plan.single),
        )
    ]


async def _rounds(
    copy: Copy, stage: Stage, rounds: int, count: int, publish: Publish, commits: int
) -> list[tuple[float, float]]:
    """Publishes, and inserts the same rows; returns the rates of each round.

    One round more comes first, for warming up, and does not count.
    """
    rates = []
    for _ in range(rounds + 1):
        await copy.mark()
        run = await publish(await stage.prepare(count, stage.exchange.archive))
        seconds = await copy.insert(commits)
        rates.append((count / run.seconds, count / seconds))
    return rates[1:]
