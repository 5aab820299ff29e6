"""Which stream has which delivery."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onward_server.storage.contract import DeliveryRow, Store
from tests.storage.conftest import Backend, opened
from tests.storage.scribe import OHIO, RECEIVED, TEXAS, Scribe


class Desk:
    """Claims for Ohio, unless said otherwise."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def claim(
        self,
        holder: str,
        limit: int = 99,
        *,
        now_ms: int = 100,
        until_ms: int = 200,
        recipient: str = OHIO,
    ) -> list[DeliveryRow]:
        async with self.store.writing() as writer:
            return await writer.claim(recipient, holder, limit, now_ms, until_ms)

    async def ids(
        self, holder: str, limit: int = 99, *, now_ms: int = 100
    ) -> list[str]:
        rows = await self.claim(holder, limit, now_ms=now_ms)
        return [row.referral_id for row in rows]


@pytest.fixture
async def desk(store: Store, scribe: Scribe) -> Desk:
    """Four deliveries to Ohio, of urgencies 4, 1, 4 and 1, and one to Texas."""
    for name, urgency in (("r1", 4), ("r2", 1), ("r3", 4), ("r4", 1)):
        scribe.publish(name, OHIO, urgency=urgency)
    scribe.publish("r5", TEXAS)
    await scribe.commit(store)
    return Desk(store)


async def test_most_urgent_first_then_oldest(desk: Desk) -> None:
    assert await desk.ids("a") == ["r2", "r4", "r1", "r3"]


async def test_claim_says_and_keeps_what_it_leased(desk: Desk, scribe: Scribe) -> None:
    (row,) = await desk.claim("a", 1)
    before = scribe.deliveries["r2", OHIO]
    leased = replace(before, lease_holder="a", lease_until_ms=200, attempt=1)
    assert row == leased
    assert await desk.store.deliveries(["r2"]) == [leased]


async def test_two_streams_share_the_work(desk: Desk) -> None:
    assert await desk.ids("a", 3) == ["r2", "r4", "r1"]
    assert await desk.ids("b", 3) == ["r3"]
    assert await desk.ids("b", 3) == []


async def test_streams_get_only_their_members_deliveries(desk: Desk) -> None:
    rows = await desk.claim("a", recipient=TEXAS)
    assert [row.referral_id for row in rows] == ["r5"]


@pytest.mark.parametrize(("now_ms", "again"), [(199, []), (200, ["r2"]), (999, ["r2"])])
async def test_lapsed_lease_is_given_to_another(
    desk: Desk, now_ms: int, again: list[str]
) -> None:
    await desk.claim("a", 1)
    await desk.claim("c", 3, until_ms=10_000)
    rows = await desk.claim("b", now_ms=now_ms, until_ms=3_000)
    assert [row.referral_id for row in rows] == again
    assert all(row.attempt == 2 and row.lease_holder == "b" for row in rows)


async def test_attempts_are_counted(desk: Desk) -> None:
    for attempt in range(1, 4):
        (row,) = await desk.claim("a", 1, now_ms=1000 * attempt, until_ms=1000)
        assert (row.referral_id, row.attempt) == ("r2", attempt)


async def test_release_ends_the_leases_of_one_stream(desk: Desk) -> None:
    await desk.claim("a", 2)
    await desk.claim("b", 1)
    async with desk.store.writing() as writer:
        await writer.release("a")
    released = await desk.store.deliveries(["r2", "r4"])
    assert {(row.lease_holder, row.lease_until_ms) for row in released} == {("", 0)}
    assert {row.attempt for row in released} == {1}
    assert await desk.ids("c") == ["r2", "r4", "r3"]


async def test_leases_end_with_the_process_that_held_them(
    desk: Desk, backend: Backend
) -> None:
    await desk.claim(f"{desk.store.replica}/a", 2)
    async with desk.store.writing() as writer:
        assert await writer.release_lost() == 0
    await desk.store.close()
    async with opened(backend) as store:
        reopened = Desk(store)
        await reopened.claim(f"{store.replica}/b", 1)
        async with store.writing() as writer:
            assert await writer.release_lost() == 2
        assert await reopened.ids(f"{store.replica}/c") == ["r2", "r4", "r3"]


async def test_nobody_holds_nothing(desk: Desk) -> None:
    await desk.claim("a", 1)
    async with desk.store.writing() as writer:
        await writer.release("")
    assert await desk.ids("b", 1) == ["r4"]


async def test_what_does_not_wait_is_not_given_out(desk: Desk, scribe: Scribe) -> None:
    scribe.change("r2", OHIO, state=RECEIVED, waiting=False)
    await scribe.commit(desk.store)
    assert await desk.ids("a") == ["r4", "r1", "r3"]


async def test_claim_that_was_rolled_back_leases_nothing(desk: Desk) -> None:
    async def claim_and_fail() -> None:
        async with desk.store.writing() as writer:
            assert len(await writer.claim(OHIO, "a", 9, 100, 200)) == 4
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await claim_and_fail()
    assert await desk.ids("b") == ["r2", "r4", "r1", "r3"]


async def test_written_delivery_keeps_its_lease(desk: Desk, scribe: Scribe) -> None:
    (row,) = await desk.claim("a", 1)
    scribe.deliveries["r2", OHIO] = row
    scribe.change("r2", OHIO, state=2)
    await scribe.commit(desk.store)
    (kept,) = await desk.store.deliveries(["r2"])
    assert (kept.lease_holder, kept.lease_until_ms, kept.state) == ("a", 200, 2)


async def test_what_waits_is_what_could_be_claimed(desk: Desk, scribe: Scribe) -> None:
    assert await desk.store.waits(OHIO, 100)
    await desk.claim("a", until_ms=200)
    assert not await desk.store.waits(OHIO, 199)
    assert await desk.store.waits(OHIO, 200)
    assert await desk.store.waits(TEXAS, 100)
    for name in ("r1", "r2", "r3", "r4"):
        scribe.change(name, OHIO, state=RECEIVED, waiting=False)
    await scribe.commit(desk.store)
    assert not await desk.store.waits(OHIO, 10_000)
