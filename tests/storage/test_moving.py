"""What is moved from one backend to another: all tables, under the same names."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from typing import Final

import asyncpg

from onward_server.storage.moving import COUNTED, PLACES, TABLES
from onward_server.storage.sqlite.connection import HERE as SQLITE
from tests.support import postgres

OF_THE_SERVER: Final = {"schema_version", "replicas"}
"""Tables that say nothing about an exchange, and that only a server has."""

COLUMNS: Final = """
SELECT relname, attname, array_position(indkey::int2[], attnum)
FROM pg_class
JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_index ON indrelid = pg_class.oid AND indisprimary
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""

Columns = Mapping[str, Mapping[str, int]]
"""By table and name, the place in the primary key; -1 outside of it."""


def embedded() -> Columns:
    """Returns the columns of SQLite's tables."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript((SQLITE / "schema.sql").read_text())
        tables = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        return {
            table: {
                name: place - 1
                for _, name, *_, place in database.execute(
                    f"PRAGMA table_info({table})"
                )
            }
            for (table,) in tables.fetchall()
        }


async def served() -> Columns:
    """Returns the columns of PostgreSQL's."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    async with postgres.database() as url:
        connection = await asyncpg.connect(url)
        try:
            for table, name, place in await connection.fetch(COLUMNS):
                found[table][name] = -1 if place is None else place
        finally:
            await connection.close()
    return {table: found[table] for table in found.keys() - OF_THE_SERVER}


def test_no_table_is_forgotten() -> None:
    moved = [table.name for table in (*TABLES, PLACES)]
    assert sorted([*moved, *COUNTED]) == sorted(embedded())


async def test_both_backends_have_the_same_columns_and_keys() -> None:
    ours, theirs = embedded(), await served()
    assert ours == theirs
    for table in (*TABLES, PLACES):
        key = {name: at for name, at in ours[table.name].items() if at >= 0}
        assert sorted(key, key=key.__getitem__) == list(table.key)
