"""Nothing gets slower as the number of referrals grows, not even without statistics."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import asyncpg
import pytest

from onward_server.storage.postgres import PostgresStore, open_postgres
from onward_server.storage.postgres.connection import Connection
from tests.storage.growth import READS, WRITES, grow
from tests.storage.scribe import OHIO, TEXAS, Scribe
from tests.support import postgres


@pytest.fixture
async def store() -> AsyncIterator[PostgresStore]:
    async with postgres.database() as url:
        store = await open_postgres(url, connections=1)
        yield store
        await store.close()


class Pages:
    """Counts the pages that the server looks at."""

    def __init__(self) -> None:
        self.count = 0

    async def watch(self, store: PostgresStore) -> None:
        await self._watch(await store._connected())
        await store._readers.run(self._watch)

    async def _watch(self, connection: Connection) -> None:
        try:
            await connection.execute(
                "LOAD 'auto_explain';"
                "SET auto_explain.log_min_duration = 0;"
                "SET auto_explain.log_analyze = on;"
                "SET auto_explain.log_buffers = on;"
                "SET auto_explain.log_format = json;"
                "SET auto_explain.log_level = notice;"
                # One plan for all that is asked with a query, whatever is asked.
                "SET plan_cache_mode = force_generic_plan"
            )
        except asyncpg.UndefinedFileError:
            pytest.skip("this PostgreSQL has no auto_explain")
        connection.add_log_listener(self._hear)

    def _hear(self, _connection: object, message: Any) -> None:
        _, _, plan = message.message.partition("plan:")
        if plan:
            top = json.loads(plan)["Plan"]
            self.count += top["Shared Hit Blocks"] + top["Shared Read Blocks"]

    async def of(self, call: Awaitable[Any]) -> int:
        self.count = 0
        await call
        return self.count


async def test_work_does_not_grow(store: PostgresStore, scribe: Scribe) -> None:
    pages = Pages()
    await pages.watch(store)

    async def measure() -> dict[str, int]:
        calls = READS | WRITES
        work = {name: await pages.of(call(store)) for name, call in calls.items()}
        scribe.publish(f"r{len(scribe.referrals)}", OHIO, TEXAS)
        scribe.register(len(scribe.referrals), jurisdiction="US-TX")
        return work | {"write": await pages.of(scribe.commit(store))}

    await grow(store, scribe, 200)
    before = await measure()
    await grow(store, scribe, 3000)
    after = await measure()
    assert all(after.values())
    # The plans are those of the small tables still.
    grown = {
        name: (before[name], after[name])
        for name in after
        if after[name] > 1.5 * before[name] + 20
    }
    assert not grown
