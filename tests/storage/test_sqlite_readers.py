"""Reading connections are few: nobody may keep one, or leave something in it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from onward_server.storage.contract import Batch
from onward_server.storage.sqlite import SqliteStore, open_sqlite

ENDLESS = """
WITH RECURSIVE numbers (n) AS (
  SELECT begun() + count(*) FROM contents UNION ALL SELECT n + 1 FROM numbers
)
SELECT sum(n) FROM numbers
"""


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store with one reading connection."""
    store = await open_sqlite(str(tmp_path / "exchange.sqlite"), readers=1)
    yield store
    await store.close()


class Endless:
    """A query that ends only when it is interrupted."""

    def __init__(self, store: SqliteStore) -> None:
        self._begun = threading.Event()
        self.task = asyncio.create_task(store._readers.run(self._run))

    async def begun(self) -> None:
        """Waits until SQLite is working on it."""
        await asyncio.to_thread(self._begun.wait)

    def _run(self, connection: sqlite3.Connection) -> None:
        def begun() -> int:
            self._begun.set()
            return 0

        connection.create_function("begun", 0, begun)
        connection.execute(ENDLESS).fetchone()


@pytest.fixture
async def endless(sqlite: SqliteStore) -> AsyncIterator[Endless]:
    """Keeps the one connection busy, until it is cancelled."""
    endless = Endless(sqlite)
    await endless.begun()
    yield endless
    endless.task.cancel()


async def test_cancelled_reader_gives_its_connection_back(
    sqlite: SqliteStore, endless: Endless
) -> None:
    waiting = asyncio.create_task(sqlite.head())
    endless.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await endless.task
    assert await waiting is None
    assert await sqlite.members() == []


async def test_cancelled_reader_holds_no_old_state(
    sqlite: SqliteStore, endless: Endless
) -> None:
    async with sqlite.writing() as writer:
        await writer.write(Batch(contents=[(b"\0" * 32, b"sealed")]))
    assert sqlite._unscrubbed
    endless.task.cancel()
    await asyncio.wait([endless.task])
    await sqlite.head()
    async with sqlite.writing() as writer:
        await writer.release_lost()
    assert not sqlite._unscrubbed


async def test_whoever_is_cancelled_in_the_queue_takes_nothing(
    sqlite: SqliteStore, endless: Endless
) -> None:
    waiting = [asyncio.create_task(sqlite.head()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    endless.task.cancel()
    await asyncio.wait([*waiting, endless.task])
    assert waiting[2].result() is None
    assert await sqlite.head() is None


async def test_readers_take_their_turns(sqlite: SqliteStore) -> None:
    order: list[int] = []

    async def read(number: int) -> None:
        await sqlite.head()
        order.append(number)

    await asyncio.gather(*(read(number) for number in range(20)))
    assert order == list(range(20))


async def test_newcomer_does_not_pass_who_waits(
    sqlite: SqliteStore, endless: Endless
) -> None:
    order: list[str] = []

    async def read(name: str) -> None:
        await sqlite.head()
        order.append(name)

    reading = [asyncio.create_task(read("waits"))]
    await asyncio.sleep(0)
    endless.task.cancel()
    while not order:
        reading.append(asyncio.create_task(read("comes later")))
        await asyncio.sleep(0)
    await asyncio.wait(reading)
    assert order[0] == "waits"


async def test_cancelled_backup_leaves_nothing(
    sqlite: SqliteStore, endless: Endless, tmp_path: Path
) -> None:
    backup = asyncio.create_task(sqlite.backup(str(tmp_path / "backup")))
    await asyncio.sleep(0)
    backup.cancel()
    endless.task.cancel()
    await asyncio.wait([backup, endless.task])
    assert backup.cancelled()
    assert not list(tmp_path.glob("backup*"))
    await sqlite.backup(str(tmp_path / "backup"))
