"""Deadlines: what is due, and when the next thing is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onward_server.storage.contract import Alarms, Store
from tests.storage.scribe import HOTLINE, OHIO, TEXAS, Scribe

NOTHING = Alarms([], [])


@pytest.fixture
async def alarms(store: Store, scribe: Scribe) -> Scribe:
    """Two deliveries with an alarm and one without; the same of intakes."""
    scribe.publish("r1", OHIO, TEXAS)
    scribe.publish("r2", OHIO)
    scribe.change("r1", OHIO, alarm_ms=300)
    scribe.change("r2", OHIO, alarm_ms=100)
    scribe.register(1, alarm_ms=400)
    scribe.register(2)
    scribe.register(3, alarm_ms=200)
    await scribe.commit(store)
    return scribe


async def test_deadlines_of_a_delivery_come_back(store: Store, scribe: Scribe) -> None:
    scribe.publish("r1", OHIO)
    row = scribe.change(
        "r1",
        OHIO,
        deliver_by_ms=2**50,
        acknowledge_within_ms=2,
        outcome_within_ms=3,
        received_ms=4,
        told=5,
        alarm_ms=6,
    )
    await scribe.commit(store)
    assert await store.deliveries(["r1"]) == [row]
    row = scribe.change("r1", OHIO, told=7, alarm_ms=0, received_ms=8)
    await scribe.commit(store)
    assert await store.deliveries(["r1"]) == [row]


async def test_due_at_the_moment_and_not_before(store: Store, alarms: Scribe) -> None:
    assert await store.due(99, 9) == NOTHING
    assert await store.due(100, 9) == Alarms([("r2", OHIO)], [])
    assert await store.due(200, 9) == Alarms([("r2", OHIO)], [(HOTLINE, 3)])


async def test_longest_due_first(store: Store, alarms: Scribe) -> None:
    assert await store.due(999, 9) == Alarms(
        [("r2", OHIO), ("r1", OHIO)], [(HOTLINE, 3), (HOTLINE, 1)]
    )
    assert await store.due(999, 1) == Alarms([("r2", OHIO)], [(HOTLINE, 3)])


async def test_what_was_told_is_not_due_again(store: Store, alarms: Scribe) -> None:
    alarms.change("r2", OHIO, told=1, alarm_ms=0)
    alarms.put_intake(replace(alarms.intakes[HOTLINE, 3], told=1, alarm_ms=500))
    await alarms.commit(store)
    assert await store.due(450, 9) == Alarms([("r1", OHIO)], [(HOTLINE, 1)])


async def test_next_alarm_of_both(store: Store, alarms: Scribe) -> None:
    assert await store.next_alarm() == 100
    alarms.change("r2", OHIO, alarm_ms=0)
    await alarms.commit(store)
    assert await store.next_alarm() == 200


async def test_no_alarm(store: Store, scribe: Scribe) -> None:
    assert await store.next_alarm() is None
    scribe.publish("r1", OHIO)
    scribe.register(1)
    await scribe.commit(store)
    assert await store.next_alarm() is None
    assert await store.due(2**60, 9) == NOTHING
