"""The floor under what is stored: the same rows, written in bulk and by nobody else.

What the exchange has just stored is copied into an empty database with the same schema:
plain inserts of all columns, table by table, nothing read and nothing computed, each
commit on disk before the next one begins. An exchange that did nothing but store could
hardly be faster.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

from bench.figures import Figure
from bench.load import Run
from bench.referrals import Prepared
from bench.rounds import BATCH_CALLERS, Plan
from bench.stage import BATCH_ITEMS, Stage
from onward_server.storage.sqlite import open_sqlite

TABLES: Final = (
    ("statements", "log_index"),
    ("checkpoints", "size"),
    ("tiles", "tile_index"),
    ("referrals", "log_index"),
    ("deliveries", "log_index"),
    ("feed", "log_index"),
    ("contents", "content_id"),
    ("content_secrets", "content_id"),
    ("content_chunks", "content_id"),
)
"""What a referral adds rows to, and the column whose values tell old rows from new."""

_GROWS = "tiles"
"""The table whose newest row grows before there is another one."""

_DURABLE: Final = ("PRAGMA synchronous = FULL", "PRAGMA wal_autocheckpoint = 4000")
"""As the exchange has it."""

Rows: TypeAlias = Mapping[str, Sequence[tuple[Any, ...]]]
Publish: TypeAlias = Callable[[Sequence[Prepared]], Awaitable[Run[Any]]]


async def measure_database(stage: Stage, plan: Plan) -> list[Figure]:
    """Publishing in batches and by one caller, beside the inserts alone."""
    batches = partial(stage.publish_batches, callers=BATCH_CALLERS)
    single = partial(stage.publish, callers=1)
    return [
        Figure.compare(
            f"publish {name}, beside inserts alone",
            "referrals/s",
            await _rounds(stage, plan.rounds, count, publish, commits),
        )
        for name, count, publish, commits in (
            ("in batches", plan.many, batches, plan.many // BATCH_ITEMS),
            ("by 1 caller", plan.single, single, plan.single),
        )
    ]


async def _rounds(
    stage: Stage, rounds: int, count: int, publish: Publish, commits: int
) -> list[tuple[float, float]]:
    """Publishes, and inserts the same rows; returns the rates of each round.

    One round more comes first, for warming up, and does not count.
    """
    source, rates = Source(stage.exchange.database), []
    async with _empty_database() as target:
        for _ in range(rounds + 1):
            source.mark()
            run = await publish(await stage.prepare(count, stage.exchange.archive))
            seconds = insert(target, source.new_rows(), commits)
            rates.append((count / run.seconds, count / seconds))
    return rates[1:]


class Source:
    """What an exchange has stored, seen from beside it."""

    def __init__(self, database: Path) -> None:
        self._uri = f"{database.as_uri()}?mode=ro"
        self._marks: dict[str, int] = {}

    def mark(self) -> None:
        """Regards all rows that there are as old."""
        with closing(sqlite3.connect(self._uri, uri=True)) as connection:
            for table, column in TABLES:
                query = f"SELECT coalesce(max({column}), -1) FROM {table}"  # noqa: S608
                (self._marks[table],) = connection.execute(query).fetchone()

    def new_rows(self) -> Rows:
        """Returns the rows of each table that came since, in order."""
        with closing(sqlite3.connect(self._uri, uri=True)) as connection:
            return {
                table: connection.execute(
                    f"SELECT * FROM {table} WHERE {column} > ? ORDER BY {column}",  # noqa: S608
                    (self._marks[table] - (table == _GROWS),),
                ).fetchall()
                for table, column in TABLES
            }


def insert(connection: sqlite3.Connection, rows: Rows, commits: int) -> float:
    """Inserts rows in so many commits; returns seconds."""
    places = {table: ", ".join("?" * len(new[0])) for table, new in rows.items() if new}
    begun = time.perf_counter()
    for turn in range(commits):
        connection.execute("BEGIN IMMEDIATE")
        for table, marks in places.items():
            query = f"INSERT OR REPLACE INTO {table} VALUES ({marks})"  # noqa: S608
            connection.executemany(query, share(rows[table], turn, commits))
        connection.execute("COMMIT")
    return time.perf_counter() - begun


def share(
    rows: Sequence[tuple[Any, ...]], turn: int, turns: int
) -> Sequence[tuple[Any, ...]]:
    """Returns those rows whose turn it is, when each turn has about as many."""
    return rows[len(rows) * turn // turns : len(rows) * (turn + 1) // turns]


@asynccontextmanager
async def _empty_database() -> AsyncGenerator[sqlite3.Connection, None]:
    """Makes a database with the exchange's schema, and removes it at the end."""
    with TemporaryDirectory(prefix="bench-floor-") as folder:
        path = Path(folder) / "floor.sqlite"
        await (await open_sqlite(str(path))).close()
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for pragma in _DURABLE:
                connection.execute(pragma)
            yield connection
