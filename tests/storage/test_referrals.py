"""Referrals, deliveries, and the lists that members ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onward.v1 import vocabulary_pb2
from onward_server.storage.contract import Store, Topic
from tests.storage.scribe import (
    ACCEPTED,
    HOTLINE,
    OHIO,
    RECEIVED,
    RETRACTION_PENDING,
    TEXAS,
    Scribe,
)

EVERYTHING = 2**60


def test_states_are_the_contracts() -> None:
    state = vocabulary_pb2.DeliveryState
    assert state.DELIVERY_STATE_RETRACTION_PENDING == RETRACTION_PENDING


async def test_every_field_comes_back(store: Store, scribe: Scribe) -> None:
    row = scribe.publish(
        "r1",
        OHIO,
        rejected=True,
        watchers=(HOTLINE, TEXAS),
        parent_id="r0",
        urgency=1,
        erased=True,
        retracted=True,
        test=True,
        traceparent='00-"quoted"\\ \N{SNOWMAN}',
        expire_ms=2**50,
    )
    await scribe.commit(store)
    found = await store.referral("r1")
    assert found == row
    assert [type(getattr(found, name)) for name in ("erased", "test", "rejected")] == [
        bool
    ] * 3


async def test_what_is_known_of_a_referral_changes(
    store: Store, scribe: Scribe
) -> None:
    row = scribe.publish("r1", OHIO)
    await scribe.commit(store)
    changed = replace(row, erased=True, retracted=True, answer_index=7, watchers=())
    scribe.put_referral(changed)
    await scribe.commit(store)
    assert await store.referral("r1") == changed
    assert [row.referral_id for row in await store.published(HOTLINE, 99, 9)] == ["r1"]


async def test_what_is_known_of_a_delivery_changes(
    store: Store, scribe: Scribe
) -> None:
    scribe.publish("r1", OHIO, TEXAS)
    await scribe.commit(store)
    row = scribe.change("r1", OHIO, state=RECEIVED, state_ms=77, waiting=False)
    await scribe.commit(store)
    rows = {row.recipient: row for row in await store.deliveries(["r1", "r1", "none"])}
    assert rows == {OHIO: row, TEXAS: scribe.deliveries["r1", TEXAS]}


async def test_delivery_needs_its_referral(store: Store, scribe: Scribe) -> None:
    scribe.publish("r1", OHIO)
    batch = scribe.take()
    batch.referrals.clear()
    with pytest.raises(Exception, match=r"(?i)null"):
        async with store.writing() as writer:
            await writer.write(batch)
    assert await store.head() is None


async def test_children_oldest_first(store: Store, scribe: Scribe) -> None:
    scribe.publish("parent", OHIO)
    for name in ("z", "a", "m"):
        scribe.publish(name, TEXAS, parent_id="parent")
    await scribe.commit(store)
    assert await store.children("parent") == ["z", "a", "m"]
    assert await store.children("z") == []
    assert await store.children("") == []


async def test_published_in_pages_newest_first(store: Store, scribe: Scribe) -> None:
    for number in range(5):
        scribe.publish(f"r{number}", OHIO, rejected=number == 3)
    scribe.publish("other", OHIO, publisher=TEXAS)
    await scribe.commit(store)
    first = await store.published(HOTLINE, EVERYTHING, 2)
    assert [row.referral_id for row in first] == ["r4", "r2"]
    second = await store.published(HOTLINE, first[-1].log_index, 2)
    assert [row.referral_id for row in second] == ["r1", "r0"]
    assert await store.published(HOTLINE, second[-1].log_index, 2) == []


async def test_received_in_pages_newest_first(store: Store, scribe: Scribe) -> None:
    scribe.publish("r0", OHIO)
    scribe.publish("r1", TEXAS)
    scribe.publish("r2", OHIO, TEXAS)
    await scribe.commit(store)
    scribe.publish("r3", OHIO)
    scribe.change("r0", OHIO, state=RECEIVED, waiting=False)
    await scribe.commit(store)
    first = await store.received(OHIO, EVERYTHING, 2)
    assert [row.referral_id for row in first] == ["r3", "r2"]
    second = await store.received(OHIO, first[-1].log_index, 2)
    assert second == [scribe.referrals["r0"]]


async def test_jurisdictions_and_their_countries(store: Store, scribe: Scribe) -> None:
    codes = ["US-OH", "US-TX", "CA-ON", "US", "US-OH", "USX-A", "US-O"]
    for number, code in enumerate(codes):
        scribe.publish(f"r{number}", OHIO, jurisdiction=code, rejected=number == 4)
    await scribe.commit(store)

    async def found(*wanted: str, after: int = -1, limit: int = 99) -> list[str]:
        rows = await store.in_jurisdictions(wanted, after, limit)
        return [row.referral_id for row in rows]

    assert await found("US-OH") == ["r0", "r4"]
    assert await found("US") == ["r0", "r1", "r3", "r4", "r6"]
    assert await found("CA", "US-TX") == ["r1", "r2"]
    assert await found("US", "US-OH", "US-OH") == ["r0", "r1", "r3", "r4", "r6"]
    assert await found("OH") == []
    assert await found() == []


async def test_jurisdictions_in_pages_oldest_first(
    store: Store, scribe: Scribe
) -> None:
    for number in range(9):
        code = ("US-OH", "US-TX", "CA-ON")[number % 3]
        scribe.publish(f"r{number}", OHIO, jurisdiction=code)
    await scribe.commit(store)
    after, pages = -1, []
    while rows := await store.in_jurisdictions(["US-OH", "CA"], after, 4):
        pages.append([row.referral_id for row in rows])
        after = rows[-1].log_index
    assert pages == [["r0", "r2", "r3", "r5"], ["r6", "r8"]]


async def test_jurisdiction_stays_when_a_referral_changes(
    store: Store, scribe: Scribe
) -> None:
    row = scribe.publish("r1", OHIO)
    await scribe.commit(store)
    changed = replace(row, retracted=True)
    scribe.put_referral(changed)
    await scribe.commit(store)
    assert await store.in_jurisdictions(["US"], -1, 9) == [changed]


async def test_retractions_that_wait_for_an_answer(
    store: Store, scribe: Scribe
) -> None:
    for name in ("r1", "r2", "r3"):
        scribe.publish(name, OHIO, TEXAS)
    for name in ("r3", "r1"):
        scribe.change(name, OHIO, state=RETRACTION_PENDING)
    await scribe.commit(store)
    assert await store.retractions_pending(OHIO) == ["r1", "r3"]
    assert await store.retractions_pending(TEXAS) == []
    scribe.change("r1", OHIO, state=12)
    await scribe.commit(store)
    assert await store.retractions_pending(OHIO) == ["r3"]


async def test_feed_in_pages(store: Store, scribe: Scribe) -> None:
    for _ in range(6):
        scribe.say("taking")
    for member, index in ((HOTLINE, 4), (HOTLINE, 1), (OHIO, 2), (HOTLINE, 5)):
        scribe.batch.feed.append((member, Topic.CUSTODY, index))
    scribe.batch.feed += [(HOTLINE, Topic.CUSTODY, 4), (HOTLINE, Topic.ALERT, 3)]
    await scribe.commit(store)
    assert await store.feed(HOTLINE, Topic.CUSTODY, -1, 2) == [1, 4]
    assert await store.feed(HOTLINE, Topic.CUSTODY, 4, 2) == [5]
    assert await store.feed(TEXAS, Topic.CUSTODY, -1, 2) == []
    assert await store.feed(HOTLINE, Topic.ALERT, -1, 2) == [3]
    assert await store.feed(HOTLINE, Topic.AUDIT, -1, 2) == []


async def test_feed_in_pages_newest_first(store: Store, scribe: Scribe) -> None:
    for _ in range(6):
        scribe.say("taking")
    scribe.batch.feed += [(HOTLINE, Topic.AUDIT, index) for index in (0, 2, 5)]
    scribe.batch.feed += [(OHIO, Topic.AUDIT, 3), (HOTLINE, Topic.ALERT, 4)]
    await scribe.commit(store)
    assert await store.feed_before(HOTLINE, Topic.AUDIT, 99, 2) == [5, 2]
    assert await store.feed_before(HOTLINE, Topic.AUDIT, 2, 2) == [0]
    assert await store.feed_before(TEXAS, Topic.AUDIT, 99, 2) == []


async def test_expired_content_longest_due_first(store: Store, scribe: Scribe) -> None:
    scribe.publish("later", OHIO, expire_ms=300)
    scribe.publish("first", OHIO, expire_ms=100)
    scribe.publish("second", OHIO, expire_ms=200)
    scribe.publish("rejected", OHIO, expire_ms=50, rejected=True)
    row = scribe.publish("erased", OHIO, expire_ms=50)
    await scribe.commit(store)
    scribe.put_referral(replace(row, erased=True))
    await scribe.commit(store)
    assert await store.expired(99, 9) == []
    assert await store.expired(200, 9) == ["first", "second"]
    assert await store.expired(200, 1) == ["first"]


async def test_retracted_referrals_whose_children_do_not_say_so_yet(
    store: Store, scribe: Scribe
) -> None:
    parent = scribe.publish("parent", OHIO)
    child = scribe.publish("child", TEXAS, parent_id="parent")
    scribe.publish("refused", TEXAS, parent_id="parent", rejected=True)
    scribe.publish("childless", OHIO)
    await scribe.commit(store)
    assert await store.retracted_parents(9) == []
    scribe.put_referral(replace(parent, retracted=True))
    await scribe.commit(store)
    assert await store.retracted_parents(9) == ["parent"]
    scribe.put_referral(replace(child, erased=True))
    await scribe.commit(store)
    assert await store.retracted_parents(9) == ["parent"]
    scribe.put_referral(replace(child, erased=True, retracted=True))
    await scribe.commit(store)
    assert await store.retracted_parents(9) == []


async def test_states_are_counted(store: Store, scribe: Scribe) -> None:
    assert await store.state_counts() == {}
    scribe.publish("r1", OHIO, TEXAS)
    scribe.publish("r2", OHIO)
    await scribe.commit(store)
    assert await store.state_counts() == {ACCEPTED: 3}
    scribe.change("r1", OHIO, state=RECEIVED)
    scribe.change("r2", OHIO, state=ACCEPTED, attempt=5)
    await scribe.commit(store)
    assert await store.state_counts() == {ACCEPTED: 2, RECEIVED: 1}
    scribe.change("r1", TEXAS, state=RECEIVED)
    scribe.change("r2", OHIO, state=RECEIVED)
    await scribe.commit(store)
    assert await store.state_counts() == {RECEIVED: 3}


async def test_oldest_that_waits_of_each_urgency(store: Store, scribe: Scribe) -> None:
    assert await store.oldest_waiting() == {}
    scribe.publish("r1", OHIO, urgency=4, accepted_ms=10)
    scribe.publish("r2", OHIO, TEXAS, urgency=1, accepted_ms=20)
    scribe.publish("r3", OHIO, urgency=4, accepted_ms=30)
    await scribe.commit(store)
    assert await store.oldest_waiting() == {1: 20, 4: 10}
    scribe.change("r1", OHIO, waiting=False)
    scribe.change("r2", OHIO, waiting=False)
    await scribe.commit(store)
    assert await store.oldest_waiting() == {1: 20, 4: 30}
    scribe.change("r2", TEXAS, waiting=False)
    await scribe.commit(store)
    assert await store.oldest_waiting() == {4: 30}


async def test_unknown_referral(store: Store) -> None:
    assert await store.referral("r1") is None
    assert await store.deliveries([]) == []
