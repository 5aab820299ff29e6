"""The floor under what is stored: the same rows, written in bulk and by nobody else.

What the exchange has just stored is copied into an empty database with the same schema:
plain inserts of all columns, table by table, nothing read and nothing computed, each
commit on disk before the next one begins. An exchange that did nothing but store could
hardly be faster.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol, TypeAlias

import asyncpg

from onward_server.storage.postgres import migrate_postgres
from onward_server.storage.sqlite import open_sqlite

_TABLES: Final = (
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

_GROWS: Final = "tiles"
"""The table whose newest row grows before there is another one."""

_DURABLE: Final = ("PRAGMA synchronous = FULL", "PRAGMA wal_autocheckpoint = 4000")
"""As the exchange has it."""

_OLD: Final = "SELECT coalesce(max({column}), -1) FROM {table}"
_NEW: Final = "SELECT * FROM {table} WHERE {column} > {mark} ORDER BY {column}"
_GROWN: Final = (
    "INSERT INTO tiles (level, tile_index, data) VALUES ($1, $2, $3) "
    "ON CONFLICT (level, tile_index) DO UPDATE SET data = excluded.data"
)

Rows: TypeAlias = Mapping[str, Sequence[tuple[Any, ...]]]


class Copy(Protocol):
    """An exchange's database, seen from beside it, and an empty one."""

    async def mark(self) -> None:
        """Regards all rows that there are as old."""

    async def insert(self, commits: int) -> float:
        """Inserts the rows that came since in so many commits; returns seconds."""


class _SqliteCopy:
    """See :class:`Copy`."""

    def __init__(self, source: Path, target: sqlite3.Connection) -> None:
        self._source = f"{source.as_uri()}?mode=ro"
        self._target = target
        self._marks: dict[str, int] = {}

    async def mark(self) -> None:
        """Regards all rows that there are as old."""
        with closing(sqlite3.connect(self._source, uri=True)) as source:
            for table, query in _queries(_OLD).items():
                (self._marks[table],) = source.execute(query).fetchone()

    async def insert(self, commits: int) -> float:
        """Inserts the rows that came since in so many commits; returns seconds."""
        with closing(sqlite3.connect(self._source, uri=True)) as source:
            new = {
                table: source.execute(query).fetchall()
                for table, query in _queries(_NEW, self._marks).items()
            }
        columns = {table: ", ".join("?" * len(new[table][0])) for table, _ in _TABLES}
        begun = time.perf_counter()
        for turn in range(commits):
            self._target.execute("BEGIN IMMEDIATE")
            for table, rows in new.items():
                query = f"INSERT OR REPLACE INTO {table} VALUES ({columns[table]})"  # noqa: S608 - our tables
                self._target.executemany(query, _share(rows, turn, commits))
            self._target.execute("COMMIT")
        return time.perf_counter() - begun


class _PostgresCopy:
    """See :class:`Copy`."""

    def __init__(self, source: asyncpg.Connection, target: asyncpg.Connection) -> None:
        self._source = source
        self._target = target
        self._marks: dict[str, int] = {}

    async def mark(self) -> None:
        """Regards all rows that there are as old."""
        for table, query in _queries(_OLD).items():
            self._marks[table] = await self._source.fetchval(query)

    async def insert(self, commits: int) -> float:
        """Inserts the rows that came since in so many commits; returns seconds."""
        new = {
            table: [tuple(row) for row in await self._source.fetch(query)]
            for table, query in _queries(_NEW, self._marks).items()
        }
        begun = time.perf_counter()
        for turn in range(commits):
            async with self._target.transaction():
                for table, rows in new.items():
                    await self._put(table, _share(rows, turn, commits))
        return time.perf_counter() - begun

    async def _put(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Inserts rows, in the quickest way that there is."""
        if table == _GROWS:
            await self._target.executemany(_GROWN, rows)
        elif rows:
            await self._target.copy_records_to_table(table, records=rows)


@asynccontextmanager
async def copy_of_sqlite(source: Path) -> AsyncGenerator[Copy, None]:
    """Makes an empty SQLite database beside an exchange's, while the block runs."""
    with TemporaryDirectory(prefix="bench-floor-") as folder:
        path = Path(folder) / "floor.sqlite"
        await (await open_sqlite(str(path))).close()
        with closing(sqlite3.connect(path, isolation_level=None)) as target:
            for pragma in _DURABLE:
                target.execute(pragma)
            yield _SqliteCopy(source, target)


@asynccontextmanager
async def copy_of_postgres(source: str, target: str) -> AsyncGenerator[Copy, None]:
    """The same with PostgreSQL.

    Args:
        source: the URL of an exchange's database.
        target: the URL of an empty one.
    """
    await migrate_postgres(target)
    async with AsyncExitStack() as resources:
        connections = []
        for url in (source, target):
            connections.append(await asyncpg.connect(url))
            resources.push_async_callback(connections[-1].close)
        yield _PostgresCopy(*connections)


def _queries(query: str, marks: Mapping[str, int] | None = None) -> dict[str, str]:
    """Returns a query for each table; of what grows, the newest old row is new."""
    return {
        table: query.format(
            table=table,
            column=column,
            mark=marks[table] - (table == _GROWS) if marks else "",
        )
        for table, column in _TABLES
    }


def _share(
    rows: Sequence[tuple[Any, ...]], turn: int, turns: int
) -> Sequence[tuple[Any, ...]]:
    """Returns those rows whose turn it is, when each turn has about as many."""
    return rows[len(rows) * turn // turns : len(rows) * (turn + 1) // turns]
