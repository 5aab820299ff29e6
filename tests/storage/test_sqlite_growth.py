"""Nothing gets slower as the number of referrals grows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from onward_server.storage.sqlite import SqliteStore, open_sqlite
from onward_server.storage.sqlite.connection import HERE, QUERIES
from tests.storage.growth import READS, WRITES, grow
from tests.storage.scribe import OHIO, TEXAS, Scribe

SCANNED = {
    # What a query is given, and what another part of it found.
    "wanted",
    "json_each",
    "classes",
    "scope",
    "place",
    "sizes",
    # The configured authorities, found one by one in the index.
    "authorities",
    # Tables that do not grow with the number of referrals.
    "delivery_counts",
    "members USING INDEX sqlite_autoindex_members_1",
    # An index of nothing but what is leased now, all of which is asked for.
    "deliveries USING COVERING INDEX deliveries_held",
    # An index of retracted referrals alone: few, and looked through once a minute.
    "parent USING INDEX referrals_retracted",
    # Policy sets that were ever in force: a handful.
    "policies",
}
"""What may be read from one end to the other."""

AUDITS = {"figures", "export_parties"}
"""These look at everything: seldom, on a connection for reading, and nobody waits."""


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_sqlite(str(tmp_path / "exchange.sqlite"), readers=1)
    yield store
    await store.close()


async def work_of(store: SqliteStore, call: Awaitable[Any]) -> int:
    """Returns how many of its instructions SQLite executes for a call."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    async def watch(handler: Callable[[], None] | None) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.set_progress_handler(handler, 1)

        assert store._writer is not None
        await store._writer.run(work)
        await store._readers.run(work)

    await watch(count)
    await call
    await watch(None)
    return steps


async def test_work_does_not_grow(sqlite: SqliteStore, scribe: Scribe) -> None:
    async def measure() -> dict[str, int]:
        calls = READS | WRITES
        work = {
            name: await work_of(sqlite, call(sqlite)) for name, call in calls.items()
        }
        scribe.publish(f"r{len(scribe.referrals)}", OHIO, TEXAS)
        scribe.register(len(scribe.referrals), jurisdiction="US-TX")
        return work | {"write": await work_of(sqlite, scribe.commit(sqlite))}

    await grow(sqlite, scribe, 200)
    before = await measure()
    await grow(sqlite, scribe, 3000)
    after = await measure()
    grown = {
        name: (before[name], after[name])
        for name in after
        if after[name] > 1.1 * before[name] + 20
    }
    assert not grown


async def test_claim_does_not_step_over_what_others_hold(
    sqlite: SqliteStore, scribe: Scribe
) -> None:
    await grow(sqlite, scribe, 2000)

    async def lease(holder: str, limit: int) -> int:
        async with sqlite.writing() as writer:
            return len(await writer.claim(OHIO, holder, limit, 100, 200))

    before = await work_of(sqlite, lease("a", 5))
    assert await lease("b", 1500) == 1500
    assert await work_of(sqlite, lease("a", 5)) < 1.1 * before + 20


def plans() -> dict[str, list[str]]:
    """Returns how SQLite answers each named query."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript((HERE / "schema.sql").read_text())
        connection.executescript((HERE / "views.sql").read_text())
        found = {}
        for name in QUERIES.available_queries:
            if name.endswith("_cursor"):
                continue
            query = getattr(QUERIES, name)
            sql = f"EXPLAIN QUERY PLAN {query.sql}"
            names = re.findall(r":(\w+)", query.sql)
            values = dict.fromkeys(names, 1) if names else [1] * query.sql.count("?")
            found[name] = [row[3] for row in connection.execute(sql, values)]
        return found


@pytest.mark.parametrize(
    ("name", "plan"),
    [(name, plan) for name, plan in plans().items() if name not in AUDITS],
)
def test_query_is_answered_from_an_index(name: str, plan: list[str]) -> None:
    scanned = {
        step.removeprefix("SCAN ").split(" VIRTUAL TABLE")[0]
        for step in plan
        if step.startswith("SCAN ") and not step.startswith(("SCAN (", "SCAN CONSTANT"))
    }
    assert scanned <= SCANNED, plan
