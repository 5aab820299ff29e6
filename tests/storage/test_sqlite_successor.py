"""The database of a successor log: all that names an entry moves one place up."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from onward_server.storage.sqlite import make_successor, open_sqlite
from onward_server.storage.sqlite.connection import HERE
from tests.storage.scribe import Scribe

PLACES: Final = {
    ("referrals", "log_index"),
    ("referrals", "answer_index"),
    ("places", "log_index"),
    ("deliveries", "log_index"),
    ("deliveries", "order_index"),
    ("feed", "log_index"),
    ("intakes", "log_index"),
    ("members", "log_index"),
    ("policies", "log_index"),
    ("tokens", "log_index"),
}
"""Columns that name an entry of the log."""

OF_THE_LOG: Final = {"statements", "checkpoints", "tiles", "cosignatures", "timestamps"}


def columns(database: sqlite3.Connection) -> set[tuple[str, str]]:
    """Returns the columns of a database that count something in the log, or may."""
    tables = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    return {
        (table, column)
        for (table,) in tables.fetchall()
        for _, column, *_ in database.execute(f"PRAGMA table_info({table})")
        if re.search("index|size", column)
    }


def numbers(database: sqlite3.Connection, table: str, column: str) -> list[int]:
    query = f"SELECT {column} FROM {table} ORDER BY {column}"  # noqa: S608 - our names
    rows = database.execute(query)
    return [number for (number,) in rows]


async def test_every_reference_to_an_entry_moves_and_the_log_is_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "exchange.sqlite"
    store = await open_sqlite(str(path))
    scribe = Scribe()
    for name in ("r1", "r2", "r3"):
        scribe.publish(name)
    await scribe.commit(store)
    await store.close()
    with closing(sqlite3.connect(path)) as database, database:
        for at in (-1, 0, 5):
            values = (f"token {at}", "somebody", 0, b"", "", at, 0)
            database.execute("INSERT INTO tokens VALUES (?,?,?,?,?,?,?)", values)
    with closing(sqlite3.connect(path)) as database:
        before = {place: numbers(database, *place) for place in PLACES}
    make_successor(str(path))
    with closing(sqlite3.connect(path)) as database:
        for place, were in before.items():
            moved = [number + 1 if number >= 0 else number for number in were]
            assert numbers(database, *place) == moved, place
        for table in OF_THE_LOG:
            assert not numbers(database, table, "1")
        kept = {table for table, _ in PLACES}
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert before["referrals", "log_index"]
    assert kept.isdisjoint(OF_THE_LOG)


def test_no_column_that_names_an_entry_is_forgotten() -> None:
    schema = (HERE / "schema.sql").read_text()
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(schema)
        found = {place for place in columns(database) if place[0] not in OF_THE_LOG}
    assert found - PLACES == {("referrals", "content_size")}
