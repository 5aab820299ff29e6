"""All or nothing, one after the other, and for ever."""

from __future__ import annotations

import asyncio

import pytest

from onward.core.errors import Reason, UnavailableError
from onward_server.storage.contract import (
    Batch,
    Needs,
    PolicyRow,
    Store,
    Topic,
    Writer,
)
from tests.storage.conftest import Backend, opened
from tests.storage.scribe import HOTLINE, OHIO, Scribe, digest_of


async def is_untouched(store: Store) -> bool:
    """Whether nothing of the batch of :func:`full` is there."""
    return (
        await store.head() is None
        and await store.statements([0, 1, 2]) == []
        and await store.referral("r1") is None
        and await store.deliveries(["r1"]) == []
        and await store.feed(HOTLINE, Topic.CUSTODY, -1, 9) == []
        and await store.last_intake(HOTLINE) is None
        and await store.policy(b"") is None
        and await store.tiles([(0, 0)]) == {}
        and await store.state_counts() == {}
    )


def full(scribe: Scribe) -> Batch:
    """Returns a batch with something for most tables."""
    scribe.publish("r1", OHIO)
    scribe.register(1)
    scribe.batch.feed.append((HOTLINE, Topic.CUSTODY, 0))
    scribe.batch.policies.append(PolicyRow(0, digest_of("set"), "1", "{}"))
    return scribe.take()


async def test_what_was_committed_is_there_after_reopening(
    backend: Backend, scribe: Scribe
) -> None:
    batch = full(scribe)
    async with opened(backend) as store, store.writing() as writer:
        await writer.write(batch)
    async with opened(backend) as store:
        assert await store.head() == batch.checkpoint
        assert await store.statements([0, 1, 2]) == batch.statements
        assert await store.referral("r1") == batch.referrals["r1"]
        assert await store.deliveries(["r1"]) == list(batch.deliveries.values())
        assert await store.intake(HOTLINE, 1) == batch.intakes[HOTLINE, 1]
        assert await store.policy(b"") == batch.policies[0]
        assert await store.feed(HOTLINE, Topic.CUSTODY, -1, 9) == [0]
        assert await store.content(batch.contents[0][0]) == b"sealed"


async def test_exception_rolls_back_everything(store: Store, scribe: Scribe) -> None:
    batch = full(scribe)

    async def write_and_fail() -> None:
        async with store.writing() as writer:
            await writer.write(batch)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write_and_fail()
    assert await is_untouched(store)
    async with store.writing() as writer:
        await writer.write(batch)
    assert await store.head() == batch.checkpoint


async def test_cancellation_rolls_back_everything(store: Store, scribe: Scribe) -> None:
    batch = full(scribe)
    written = asyncio.Event()

    async def work() -> None:
        async with store.writing() as writer:
            await writer.write(batch)
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await is_untouched(store)
    async with store.writing() as writer:
        await writer.write(batch)
    assert await store.head() == batch.checkpoint


async def test_cancellation_anywhere_leaves_all_or_nothing(
    store: Store, scribe: Scribe
) -> None:
    outcomes = set()
    for steps in range(40):
        scribe.publish(f"r{steps}", OHIO)
        batch = scribe.take()

        async def work(batch: Batch = batch) -> None:
            async with store.writing() as writer:
                await writer.load(Needs(referrals=set(batch.referrals)))
                await writer.write(batch)

        task = asyncio.create_task(work())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        head = await store.head()
        there = head is not None and head == batch.checkpoint
        assert bool(await store.referral(f"r{steps}")) == there
        assert bool(await store.statements([batch.old_size])) == there
        assert there or task.cancelled()
        outcomes.add(there)
        if not there:
            async with store.writing() as writer:
                await writer.write(batch)
    assert False in outcomes


async def test_cancelled_wait_for_the_turn_hinders_nobody(
    store: Store, scribe: Scribe
) -> None:
    async def wait() -> None:
        async with store.writing():
            pytest.fail("it was somebody else's turn")

    async with store.writing() as writer:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await writer.write(full(scribe))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.head() is not None
    async with store.writing() as writer:
        await writer.release_lost()


async def test_one_writer_at_a_time(store: Store, scribe: Scribe) -> None:
    events = []

    async def write(name: str) -> None:
        async with store.writing() as writer:
            events.append(f"{name} begins")
            await writer.load(Needs())
            await asyncio.sleep(0)
            events.append(f"{name} ends")

    await asyncio.gather(write("a"), write("b"), write("c"))
    assert events == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


async def test_readers_see_only_what_was_committed(
    store: Store, scribe: Scribe
) -> None:
    batch = full(scribe)
    async with store.writing() as writer:
        await writer.write(batch)
        assert await is_untouched(store)
    assert await store.head() == batch.checkpoint


async def test_transaction_sees_its_own_writes(store: Store, scribe: Scribe) -> None:
    batch = full(scribe)
    needs = Needs(referrals={"r1"}, digests={batch.statements[1].digest})
    async with store.writing() as writer:
        before = await writer.load(needs)
        await writer.write(batch)
        after = await writer.load(needs)
    assert (before.head, before.referrals, before.statements) == (None, {}, {})
    assert after.head == batch.checkpoint
    assert after.referrals == batch.referrals
    assert after.deliveries == batch.deliveries
    assert [row.log_index for row in after.statements.values()] == [1]


async def test_head_moves_only_from_where_the_planner_saw_it(
    store: Store, scribe: Scribe
) -> None:
    rival = Scribe()
    rival.publish("theirs", OHIO)
    scribe.publish("ours", OHIO)
    head = (await rival.commit(store)).checkpoint
    with pytest.raises(UnavailableError) as caught:
        await scribe.commit(store)
    assert caught.value.reason == Reason.ERROR_REASON_STORAGE_UNAVAILABLE
    assert caught.value.retry_after
    assert await store.head() == head
    assert await store.referral("ours") is None


@pytest.mark.parametrize("old_size", [1, 3, 7])
async def test_batch_from_another_size_is_refused(
    store: Store, scribe: Scribe, old_size: int
) -> None:
    await scribe.commit(store)
    scribe.publish("r1", OHIO)
    batch = scribe.take()
    batch.old_size = old_size
    with pytest.raises(UnavailableError):
        async with store.writing() as writer:
            await writer.write(batch)
    assert await is_untouched(store)


async def test_head_that_is_not_the_logs_is_refused(
    store: Store, scribe: Scribe
) -> None:
    scribe.publish("r1", OHIO)
    batch = scribe.take()
    batch.statements.pop()
    with pytest.raises(ValueError, match="checkpoint"):
        async with store.writing() as writer:
            await writer.write(batch)
    batch.checkpoint = None
    with pytest.raises(ValueError, match="checkpoint"):
        async with store.writing() as writer:
            await writer.write(batch)
    assert await is_untouched(store)


async def test_failure_that_was_ignored_is_not_committed(
    store: Store, scribe: Scribe
) -> None:
    scribe.publish("r1", OHIO)
    batch = scribe.take()
    batch.statements[1] = batch.statements[0]

    async def write_and_look(writer: Writer) -> None:
        await writer.write(batch)
        await writer.load(Needs())  # at the latest here it is seen

    async def write_and_ignore() -> None:
        async with store.writing() as writer:
            with pytest.raises(Exception, match=r"(?i)unique"):
                await write_and_look(writer)

    with pytest.raises(UnavailableError, match="nothing of it was kept"):
        await write_and_ignore()
    assert await is_untouched(store)


async def test_closed_store_says_so(backend: Backend) -> None:
    store = await backend.open()
    await store.close()
    with pytest.raises(UnavailableError, match="closed"):
        await store.head()
    with pytest.raises(UnavailableError, match="not open"):
        async with store.writing():
            pytest.fail("there is nothing to write to")


async def test_closing_lets_running_work_end(backend: Backend, scribe: Scribe) -> None:
    store = await backend.open()
    scribe.publish("r1", OHIO)
    written = asyncio.create_task(scribe.commit(store))
    reading = [asyncio.create_task(store.head()) for _ in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(written, *reading)
    async with opened(backend) as store:
        assert await store.referral("r1") is not None
