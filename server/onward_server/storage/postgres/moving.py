"""Filling a PostgreSQL database with the rows of another backend.

While that goes on, the table ``moving`` is there: it says of which log, by which move,
and how far each table has come; no exchange opens the database meanwhile. Each group
of rows is one transaction with the key that it reaches, so each row arrives once.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from onward.core.errors import Reason, StateError
from onward_server.storage.faults import unavailable
from onward_server.storage.moving import COUNTED, PLACES, TABLES, Key, Row, Table
from onward_server.storage.postgres.connection import Connection, connect, translating

_LOCK: Final = 0x4F4E574D
"""The advisory lock of whoever fills the database."""

_LOG: Final = "log"
_MOVE: Final = "move"


@asynccontextmanager
async def open_target(url: str) -> AsyncIterator[PostgresTarget]:
    """Opens a database to fill it; meanwhile nobody else can.

    Raises:
        UnavailableError: it cannot be reached, or somebody fills it already.
    """
    connection = await connect(url, "writer")
    try:
        async with translating():
            await connection.execute("SET statement_timeout = 0")  # there is much to do
            alone = await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK)
        if not alone:
            raise unavailable("another move into this database is at work; wait for it")
        yield PostgresTarget(connection)
    finally:
        await connection.close()


class PostgresTarget:
    """A database that is filled; made by :func:`open_target`.

    Raises:
        UnavailableError: from every method: the database cannot be used.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def check_free(self, log: str) -> None:
        """Requires that the database is empty, or that this log is moved into it.

        Args:
            log: the log's vkey.

        Raises:
            StateError: it holds something else.
        """
        if await self._exists("moving"):
            if await self._reached(_LOG) != log:
                raise _taken("another log is being moved into this database")
        elif await self._holds_rows():
            raise _taken("this database holds an exchange already")

    async def begin(self, log: str, move: str) -> str:
        """Takes the database, or goes on where the last move was cut off.

        Args:
            log: the log's vkey.
            move: a name for the move, letters and digits, if it begins here.

        Returns:
            The name of the move that goes on.
        """
        async with translating(), self._connection.transaction():
            if not await self._exists("moving"):
                await self._connection.execute(
                    "CREATE TABLE moving (what text PRIMARY KEY, reached text NOT NULL)"
                )
                await self._reach(_LOG, log)
                await self._reach(_MOVE, move)
        return str(await self._reached(_MOVE))

    async def going_on(self) -> str:
        """Returns the name of the move that is not finished; empty if none is."""
        return await self._reached(_MOVE) if await self._exists("moving") else ""

    async def finished(self) -> str:
        """Returns the name of the move that brought what is here; empty for none."""
        found = await self._fetch("SELECT obj_description(to_regclass('checkpoints'))")
        return found[0][0] or ""

    async def reached(self, table: Table) -> Key | None:
        """Returns the key up to which a table was copied; None for none of it."""
        key = await self._reached(table.name)
        return tuple(key) if key else None

    async def put(
        self, table: Table, columns: Sequence[str], rows: Sequence[Row]
    ) -> None:
        """Adds the next rows of a table, in the order of their keys: all or none."""
        adapted = await self.adapt(table, columns, rows)
        async with translating(), self._connection.transaction():
            await self._connection.copy_records_to_table(
                table.name, records=adapted, columns=list(columns)
            )
            await self._reach(table.name, table.key_of(columns, rows[-1]))

    async def adapt(
        self, table: Table, columns: Sequence[str], rows: Sequence[Row]
    ) -> list[Row]:
        """Returns rows that were read from SQLite as :meth:`rows` would."""
        types = await self._types(table)
        readers = [_reader(types[name]) for name in columns]
        return [
            tuple(read(value) for read, value in zip(readers, row, strict=True))
            for row in rows
        ]

    async def rows(
        self, table: Table, columns: Sequence[str], after: Key | None
    ) -> list[Row]:
        """Returns the next rows of a table by key, none at its end."""
        key = ", ".join(table.key)
        marks = ", ".join(f"${at}" for at, _ in enumerate(table.key, 1))
        beyond = f"WHERE ({key}) > ({marks})" if after else ""
        found = await self._fetch(
            f"SELECT {', '.join(columns)} FROM {table.name} "  # noqa: S608 - our names
            f"{beyond} ORDER BY {key} LIMIT {table.rows}",
            *(after or ()),
        )
        return [tuple(row) for row in found]

    async def count(self, table: Table) -> int:
        """Returns how many rows a table has."""
        ((count,),) = await self._fetch(f"SELECT count(*) FROM {table.name}")  # noqa: S608
        return int(count)

    async def clear(self) -> None:
        """Takes out again what was copied, to begin from nothing."""
        names = [table.name for table in (*TABLES, PLACES)]
        async with translating(), self._connection.transaction():
            await self._connection.execute(f"TRUNCATE {', '.join((*names, *COUNTED))}")
            await self._connection.execute(
                "DELETE FROM moving WHERE what NOT IN ($1, $2)", _LOG, _MOVE
            )

    async def settle(self) -> None:
        """Has the server learn what is in its tables, and which rows all see."""
        async with translating():
            names = ", ".join(table.name for table in (*TABLES, PLACES))
            await self._connection.execute(f"VACUUM (ANALYZE) {names}")

    async def finish(self) -> None:
        """Opens the database for exchanges; returns when that is durable."""
        move = await self.going_on()
        async with translating(), self._connection.transaction():
            await self._connection.execute(f"COMMENT ON TABLE checkpoints IS '{move}'")
            await self._connection.execute("DROP TABLE moving")

    async def _exists(self, name: str) -> bool:
        ((found,),) = await self._fetch("SELECT to_regclass($1) IS NOT NULL", name)
        return bool(found)

    async def _holds_rows(self) -> bool:
        """Says whether any table that there is has a row."""
        for table in TABLES:
            if await self._exists(table.name) and await self._fetch(
                f"SELECT 1 FROM {table.name} LIMIT 1"  # noqa: S608 - our names
            ):
                return True
        return False

    async def _types(self, table: Table) -> dict[str, str]:
        """Returns the types of a table's columns, by name."""
        found = await self._fetch(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
            "WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
            table.name,
        )
        return dict(map(tuple, found))

    async def _reached(self, what: str) -> Any:  # noqa: ANN401 - what _reach was given
        found = await self._fetch("SELECT reached FROM moving WHERE what = $1", what)
        return json.loads(found[0]["reached"]) if found else None

    async def _reach(self, what: str, reached: str | Key) -> None:
        await self._fetch(
            "INSERT INTO moving (what, reached) VALUES ($1, $2) "
            "ON CONFLICT (what) DO UPDATE SET reached = excluded.reached",
            what,
            json.dumps(reached),
        )

    async def _fetch(self, sql: str, *values: object) -> list[asyncpg.Record]:
        async with translating():
            found: list[asyncpg.Record] = await self._connection.fetch(sql, *values)
        return found


def _reader(column_type: str) -> Callable[[Any], Any]:
    """Returns what makes a value of a column's type of SQLite's."""
    if column_type.endswith("[]"):
        return json.loads
    return bool if column_type == "boolean" else lambda value: value


def _taken(what: str) -> StateError:
    return StateError(
        Reason.ERROR_REASON_STATE_FORBIDS,
        f"{what}; name one that is empty, or was left by an earlier attempt at the "
        "same move",
    )
