"""An older release's database, opened by this one."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest

from onward_server.storage.contract import (
    EVERYBODY,
    WHOLE,
    DeliveryRow,
    Figures,
    IntakeRow,
    Needs,
    Topic,
)
from onward_server.storage.sqlite import SqliteStore, migrate_sqlite, open_sqlite
from onward_server.storage.sqlite.connection import HERE
from onward_server.storage.sqlite.migrations import APPLICATION_ID, scripts
from tests.storage.scribe import ACCEPTED, HOTLINE, OHIO, TEXAS, Scribe, digest_of
from tests.storage.test_sqlite_files import schema_of

LINEAGE = [
    ("parent", "", "US-OH", ("US-OH",)),
    ("child", "parent", "US-TX", ("US-TX", "US-OH")),
    ("grandchild", "child", "US-OH", ("US-OH", "US-TX")),
    ("back", "grandchild", "CA-ON", ("CA-ON", "US-OH", "US-TX")),
    ("stranger", "", "US-FL", ("US-FL",)),
]
"""Referrals of the old database: id, parent, jurisdiction; then the places they get."""


def insert(connection: sqlite3.Connection, table: str, **values: object) -> None:
    """Adds a row."""
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    connection.execute(
        f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608 - names of ours
        list(values.values()),
    )


def say(connection: sqlite3.Connection, kind: str, referral_id: str = "") -> int:
    """Appends a statement; returns its log index."""
    (index,) = connection.execute("SELECT count(*) FROM statements").fetchone()
    insert(
        connection,
        "statements",
        log_index=index,
        digest=digest_of("old", index),
        jws=f"old-{index}",
        kind=kind,
        referral_id=referral_id,
        subject="",
        logged_ms=index,
    )
    insert(
        connection,
        "checkpoints",
        size=index + 1,
        root=digest_of("root", index),
        note="",
        signed_ms=index,
    )
    return int(index)


def publish(
    connection: sqlite3.Connection, referral_id: str, parent_id: str, code: str
) -> None:
    """Appends a referral with a delivery to Ohio, of which the hotline hears."""
    index = say(connection, "referral", referral_id)
    answer_index = say(connection, "acceptance", referral_id)
    insert(
        connection,
        "referrals",
        log_index=index,
        referral_id=referral_id,
        digest=digest_of("old", index),
        answer_index=answer_index,
        rejected=0,
        publisher=HOTLINE,
        watchers=f'["{HOTLINE}"]',
        parent_id=parent_id,
        urgency=4,
        jurisdiction=code,
        accepted_ms=7,
        expire_ms=8,
        content_digest=digest_of("content", index),
        content_size=6,
        erased=0,
        retracted=0,
        test=0,
        traceparent="",
    )
    insert(
        connection,
        "deliveries",
        referral_id=referral_id,
        recipient=OHIO,
        log_index=index,
        state=ACCEPTED,
        state_ms=7,
        urgency=4,
        order_index=answer_index,
        waiting=1,
        lease_holder="",
        lease_until_ms=0,
        attempt=2,
    )
    insert(connection, "feed", member=HOTLINE, log_index=answer_index)


@pytest.fixture
async def old(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A database of the first schema, opened by this release."""
    path = tmp_path / "exchange.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(scripts()[0].read_text())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        say(connection, "key_change")
        for referral_id, parent_id, code, _ in LINEAGE:
            publish(connection, referral_id, parent_id, code)
        say(connection, "audit_access")
    store = await open_sqlite(str(path))
    yield store
    await store.close()


@pytest.mark.parametrize("version", range(1, len(scripts()) + 1))
async def test_every_schema_becomes_the_present_one(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "exchange.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        for script in scripts()[:version]:
            connection.executescript(script.read_text())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
    assert await migrate_sqlite(str(path)) == (version, len(scripts()))
    with (
        closing(sqlite3.connect(path)) as migrated,
        closing(sqlite3.connect(":memory:")) as present,
    ):
        present.executescript((HERE / "schema.sql").read_text())
        assert schema_of(migrated) == schema_of(present)


async def test_referrals_are_seen_from_where_they_came(old: SqliteStore) -> None:
    for referral_id, _, _, places in LINEAGE:
        referral = await old.referral(referral_id)
        assert referral is not None
        assert referral.places == places
        assert {row.places for row in await old.chain(referral_id)} == {places}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("US-OH", ["parent", "child", "grandchild", "back"]),
        ("US-TX", ["child", "grandchild", "back"]),
        ("US", ["parent", "child", "grandchild", "back", "stranger"]),
        ("CA", ["back"]),
        (WHOLE, ["parent", "child", "grandchild", "back", "stranger"]),
    ],
)
async def test_referrals_are_listed_where_they_are_seen(
    old: SqliteStore, code: str, expected: list[str]
) -> None:
    rows = await old.in_jurisdictions([code], -1, 99)
    assert [row.referral_id for row in rows] == expected


async def test_places_of_what_is_about_no_referral(old: SqliteStore) -> None:
    rows = await old.statements([0, 11])
    assert [(row.kind, row.places) for row in rows] == [
        ("key_change", EVERYBODY),
        ("audit_access", (WHOLE,)),
    ]
    assert [row.log_index for row in await old.export(["US-FL"], 0, 99, 99)] == [
        0,
        9,
        10,
    ]


async def test_feed_is_of_custody(old: SqliteStore) -> None:
    assert await old.feed(HOTLINE, Topic.CUSTODY, -1, 99) == [2, 4, 6, 8, 10]
    assert await old.feed(HOTLINE, Topic.ALERT, -1, 99) == []


async def test_deliveries_have_no_deadline(old: SqliteStore) -> None:
    assert await old.deliveries(["parent"]) == [
        DeliveryRow("parent", OHIO, ACCEPTED, 7, 4, 2, waiting=True, attempt=2)
    ]
    assert await old.next_alarm() is None
    assert await old.state_counts() == {ACCEPTED: 5}


async def test_whom_an_intake_has_reached_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "exchange.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        for script in scripts()[:4]:
            connection.executescript(script.read_text())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 4")
        names = [field.name for field in fields(IntakeRow)]
        for number, bits in enumerate((0, 3, 5), start=1):
            values: dict[str, object] = dict.fromkeys(names, number)
            values |= {"hotline": HOTLINE, "jurisdiction": "US-OH", "digest": bytes(32)}
            insert(connection, "intakes", **values | {"reached": bits})
    store = await open_sqlite(str(path))
    rows = await store.intakes(HOTLINE, 0, 0, 99)
    await store.close()
    assert [row.reached for row in rows] == [(0, 0, 0), (1, 1, 0), (1, 0, 1)]
    assert [row.due_ms for row in rows] == [1, 2, 3]


async def test_it_goes_on(old: SqliteStore, scribe: Scribe) -> None:
    rows = await old.statements(range(12))
    scribe.statements += rows
    scribe.size = len(rows)
    scribe.publish("new", TEXAS, parent_id="child", places=("US-WY", "US-TX"))
    scribe.register(1, jurisdiction="US-WY")
    await scribe.commit(old)
    assert await old.figures(["US-WY"]) == Figures(
        15, {(HOTLINE, 4, 1): 1}, {(TEXAS, 4, ACCEPTED): 1}
    )
    async with old.writing() as writer:
        loaded = await writer.load(Needs(referrals={"parent", "new"}))
    assert set(loaded.referrals) == {"parent", "new"}
    assert len(await old.in_jurisdictions(["US-TX"], -1, 99)) == 4
