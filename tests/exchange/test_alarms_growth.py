"""What is not due costs nothing, however much of it there is."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from onward_server.storage.sqlite import SqliteStore, open_sqlite
from tests.storage.test_sqlite_growth import plans, work_of

NOW = 1_790_000_000_000

DELIVERIES = """
WITH RECURSIVE numbers (n) AS (
  SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last
)
INSERT INTO deliveries (
  referral_id, recipient, log_index, state, state_ms, urgency, order_index, waiting,
  lease_holder, lease_until_ms, attempt, alarm_ms
)
SELECT 'r' || n, 'police', n, 1, 0, 4, n, 1, '', 0, 0, :now_ms + n
FROM numbers
"""

INTAKES = """
WITH RECURSIVE numbers (n) AS (
  SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last
)
INSERT INTO intakes (
  hotline, number, jurisdiction, number_in_jurisdiction, log_index, digest, urgency,
  age_group, test, received_ms, state, reached, warn_ms, due_ms, told, alarm_ms
)
SELECT 'h', n, 'US-OH', n, n, zeroblob(32), 4, 4, 0, 0, 1, 0, 0, 0, 0, :now_ms + n
FROM numbers
"""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_sqlite(str(tmp_path / "exchange.sqlite"), readers=1)
    yield opened
    await opened.close()


def open_until(path: Path, first: int, last: int) -> None:
    """Adds deliveries and intakes whose deadlines come after ``NOW``."""
    values = {"first": first, "last": last, "now_ms": NOW}
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(DELIVERIES, values)
        connection.execute(INTAKES, values)


async def test_100000_open_deadlines_cost_what_100_cost(
    store: SqliteStore, tmp_path: Path
) -> None:
    async def work() -> list[int]:
        return [
            await work_of(store, store.due(NOW, 128)),
            await work_of(store, store.due(NOW + 3, 128)),
            await work_of(store, store.next_alarm()),
        ]

    file = tmp_path / "exchange.sqlite"
    open_until(file, 1, 100)
    few = await work()
    open_until(file, 101, 100_000)
    assert await work() == few
    assert await store.next_alarm() == NOW + 1
    alarms = await store.due(NOW + 3, 128)
    assert [number for _, number in alarms.intakes] == [1, 2, 3]
    assert [key for key, _ in alarms.deliveries] == ["r1", "r2", "r3"]


def test_alarms_are_found_by_indexes_of_what_has_one() -> None:
    for name in ("due", "next_alarm"):
        steps = " ".join(plans()[name])
        assert "deliveries_due" in steps
        assert "intakes_due" in steps
