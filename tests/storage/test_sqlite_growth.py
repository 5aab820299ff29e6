"""Nothing gets slower as the number of referrals grows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from onward_server.storage.contract import Needs, Topic
from onward_server.storage.sqlite import SqliteStore, open_sqlite
from onward_server.storage.sqlite.connection import HERE, QUERIES
from tests.storage.scribe import HOTLINE, OHIO, PASSED_ON, TEXAS, Scribe

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

END = 10**9

RARE = "spiffe://national.example/agency/rare"

READS: dict[str, Callable[[SqliteStore], Awaitable[Any]]] = {
    "head": lambda store: store.head(),
    "checkpoint": lambda store: store.checkpoint(2),
    "checkpoints_covering": lambda store: store.checkpoints_covering([0, 3]),
    "tiles": lambda store: store.tiles([(0, 0)]),
    "statements": lambda store: store.statements([0, 1, 2, 3]),
    "find_statement": lambda store: store.find_statement(b"\0" * 32),
    "digests": lambda store: store.digests(4, 8),
    "chain": lambda store: store.chain("r2"),
    "history": lambda store: store.history("directory_change", RARE),
    "referral": lambda store: store.referral("r2"),
    "children": lambda store: store.children("r2"),
    "deliveries": lambda store: store.deliveries(["r1", "r2"]),
    "published": lambda store: store.published(HOTLINE, END, 5),
    "published, rarely": lambda store: store.published(RARE, END, 5),
    "received": lambda store: store.received(OHIO, END, 5),
    "received, rarely": lambda store: store.received(RARE, END, 5),
    "in_jurisdictions": lambda store: store.in_jurisdictions(["US", "US-OH"], 0, 5),
    "in_jurisdictions, rare": lambda store: store.in_jurisdictions(["CA"], -1, 5),
    "in_jurisdictions, all": lambda store: store.in_jurisdictions(["*"], 0, 5),
    "retractions_pending": lambda store: store.retractions_pending(OHIO),
    "feed": lambda store: store.feed(HOTLINE, Topic.CUSTODY, 0, 5),
    "feed, rarely": lambda store: store.feed(RARE, Topic.CUSTODY, -1, 5),
    "feed_before": lambda store: store.feed_before(HOTLINE, Topic.CUSTODY, END, 5),
    "intake": lambda store: store.intake(HOTLINE, 2),
    "last_intake": lambda store: store.last_intake(HOTLINE),
    "last_in_jurisdiction": lambda store: store.last_in_jurisdiction(RARE, "CA-ON"),
    "intakes": lambda store: store.intakes(HOTLINE, 0, 1, 5),
    "intakes, of a rare state": lambda store: store.intakes(HOTLINE, PASSED_ON, 0, 5),
    "intake_statements": lambda store: store.intake_statements(HOTLINE, 2),
    "due": lambda store: store.due(5, 5),
    "due, all of it": lambda store: store.due(END, 5),
    "next_alarm": lambda store: store.next_alarm(),
    "policies": lambda store: store.policies(),
    "policy": lambda store: store.policy(b"\0" * 32),
    "export": lambda store: store.export(["US-OH"], 4, 40, 5),
    "export, rarely": lambda store: store.export(["CA"], 4, 40, 5),
    "export_digests": lambda store: store.export_digests(["CA"], 4, 40),
    "content": lambda store: store.content(b"\0" * 32),
    "expired": lambda store: store.expired(END, 5),
    "expired, rarely": lambda store: store.expired(10, 5),
    "members": lambda store: store.members(),
    "token": lambda store: store.token("t1"),
    "member_tokens": lambda store: store.member_tokens(OHIO),
    "state_counts": lambda store: store.state_counts(),
    "oldest_waiting": lambda store: store.oldest_waiting(),
}


async def claim(store: SqliteStore) -> None:
    async with store.writing() as writer:
        await writer.claim(OHIO, "a", 5, 100, 200)
        await writer.claim(RARE, "b", 5, 100, 200)
        await writer.release("a")
        await writer.release_lost()


async def load(store: SqliteStore) -> None:
    async with store.writing() as writer:
        await writer.load(
            Needs(
                {"r1", "r2"},
                {b"\0" * 32},
                {"t1"},
                {b"\0" * 32, b"\1" * 32},
                {(HOTLINE, 1), (RARE, 1)},
                {(HOTLINE, "US-OH"), (RARE, "CA-ON")},
            )
        )


async def drop(store: SqliteStore) -> None:
    async with store.writing() as writer:
        await writer.drop_uploads(50)


WRITES = {"claim": claim, "load": load, "drop": drop}


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_sqlite(str(tmp_path / "exchange.sqlite"), readers=1)
    yield store
    await store.close()


async def grow(store: SqliteStore, scribe: Scribe, size: int) -> None:
    """Publishes referrals, and registers as many intakes; some are rare."""
    if not scribe.referrals:
        scribe.say("directory_change", subject=RARE)
        scribe.publish("r0", RARE, publisher=RARE, jurisdiction="CA-ON", expire_ms=5)
        scribe.batch.feed.append((RARE, Topic.CUSTODY, 0))
        scribe.change("r0", RARE, alarm_ms=5)
        scribe.register(1, RARE, jurisdiction="CA-ON", alarm_ms=5)
        scribe.register(1, state=PASSED_ON)
    while len(scribe.referrals) < size:
        for _ in range(100):
            number = len(scribe.referrals)
            scribe.publish(f"r{number}", OHIO, TEXAS, urgency=number % 5 + 1)
            scribe.change(f"r{number}", OHIO, alarm_ms=END - number)
            scribe.register(number + 1, alarm_ms=END - number)
            scribe.batch.feed.append((HOTLINE, Topic.CUSTODY, 2 * number))
        await scribe.commit(store)


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
