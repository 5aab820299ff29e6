"""The ledger: durability, failures of both kinds, and no fork."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from onward.core.errors import OnwardError, Reason, StateError, UnavailableError
from onward.core.merkle import verify_consistency
from onward.core.statements import statement_digest
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange import ledger
from onward_server.exchange.auditing import AuditAccessChange
from onward_server.storage.contract import Loaded, Needs, Writer
from tests.exchange.test_publishing import verify
from tests.support.world import (
    AUDITOR,
    HOTLINE,
    STATE_POLICE,
    World,
    open_world,
    populate,
)


class FailingStore:
    """A store whose commits fail on demand, in one of the two ways there are."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.fail = ""
        self.head_fails = 0
        self.stale: Loaded | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Writer]:
        """Commits, or fails to, or commits and says that it failed."""
        fail, self.fail = self.fail, ""
        async with self._store.writing() as writer:
            if self.stale:
                writer.load = AsyncMock(return_value=self.stale)
            yield writer
            if fail == "not persisted":
                raise _broken()
        if fail == "persisted but reported failed":
            raise _broken()

    async def checkpoint(self, size: int) -> Any:
        """Returns a checkpoint, unless it shall not be readable."""
        self._may_fail()
        return await self._store.checkpoint(size)

    async def standing(self) -> Any:
        """Returns how far all is, unless it shall not be readable."""
        self._may_fail()
        return await self._store.standing()

    def _may_fail(self) -> None:
        if self.head_fails:
            self.head_fails -= 1
            raise _broken()


def _broken() -> UnavailableError:
    return UnavailableError(Reason.ERROR_REASON_STORAGE_UNAVAILABLE, "broken")


@pytest.fixture
def failing(world: World) -> FailingStore:
    """Puts a failing store under the ledger."""
    store = FailingStore(world.ledger._store)
    world.ledger._store = store
    return store


async def test_a_commit_that_was_not_persisted_leaves_nothing_and_can_be_retried(
    world: World, failing: FailingStore
) -> None:
    sending, caller = world.referral(), world.caller(HOTLINE)
    before = world.ledger.checkpoint()
    failing.fail = "not persisted"
    with pytest.raises(UnavailableError):
        await world.publishing.publish(caller, sending)
    assert world.ledger.checkpoint() == before
    done = await world.publishing.publish(caller, sending)
    verify(world, done.acceptance)


async def test_a_commit_that_was_persisted_though_reported_failed_counts(
    world: World, failing: FailingStore
) -> None:
    sending, caller = world.referral(), world.caller(HOTLINE)
    failing.fail = "persisted but reported failed"
    done = await world.publishing.publish(caller, sending)
    verify(world, done.acceptance)
    assert await world.publishing.publish(caller, sending) == done


async def test_nothing_is_planned_on_a_state_older_than_the_last_commit(
    world: World, failing: FailingStore
) -> None:
    async with failing._store.writing() as writer:
        older = await writer.load(Needs())
    look = AuditAccessChange(statement_pb2.AuditAccess(auditor=AUDITOR), [HOTLINE])
    await world.ledger.apply(look)
    size, failing.stale = world.ledger.head().size, older
    with pytest.raises(UnavailableError):
        await world.ledger.apply(look)
    failing.stale = None
    (logged,) = await world.ledger.apply(look)
    assert logged.log_index == size


async def test_an_unsure_ledger_reads_the_head_before_it_signs_again(
    world: World, failing: FailingStore
) -> None:
    first, second = world.referral(), world.referral()
    caller = world.caller(HOTLINE)
    failing.fail, failing.head_fails = "persisted but reported failed", 2
    with pytest.raises(UnavailableError):
        await world.publishing.publish(caller, first)
    with pytest.raises(UnavailableError):  # the head is still not readable
        await world.publishing.publish(caller, second)
    again = await world.publishing.publish(caller, first)
    later = await world.publishing.publish(caller, second)
    assert verify(world, later.referral) > verify(world, again.referral)
    digests = await world.store.digests(0, 1000)
    assert len(digests) == len(set(digests)) == world.ledger.head().size


async def test_a_suspension_holds_though_its_commit_was_reported_failed(
    world: World, failing: FailingStore
) -> None:
    member = world.parties[STATE_POLICE].entry(world.clock.ms)
    member.status = vocabulary_pb2.MEMBER_STATUS_SUSPENDED
    failing.fail, failing.head_fails = "persisted but reported failed", 1
    with pytest.raises(UnavailableError):
        await world.change(statement_pb2.DIRECTORY_CHANGE_KIND_SUSPENDED, member)
    with pytest.raises(OnwardError):  # the recipient is not active
        await world.publishing.publish(world.caller(HOTLINE), world.referral())
    await world.ledger.write(lambda writer: writer.release("nobody"))
    assert not world.ledger.directory.entry(STATE_POLICE).active


async def lease(world: World, holder: str) -> int:
    """Leases what waits for the state police; returns how many deliveries."""
    now = world.clock.ms
    rows = await world.ledger.write(
        lambda writer: writer.claim(STATE_POLICE, holder, 10, now, now + 60_000)
    )
    return len(rows)


async def test_leases_are_ended_as_soon_as_something_can_be_written(
    world: World, failing: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_RELEASE_SECONDS", 0.0)
    await world.publishing.publish(world.caller(HOTLINE), world.referral())
    assert [await lease(world, name) for name in ("lost", "other")] == [1, 0]
    failing.fail = "not persisted"
    world.ledger.release("lost")
    async with asyncio.timeout(10):
        with pytest.raises(UnavailableError):
            await lease(world, "other")  # by the same commit
        while not await lease(world, "other"):
            pass


async def test_leases_that_a_stream_still_waited_for_are_ended_with_it(
    world: World,
) -> None:
    await world.publishing.publish(world.caller(HOTLINE), world.referral())
    leasing = asyncio.create_task(lease(world, "lost"))
    await asyncio.sleep(0)  # it has its place in the queue
    world.ledger.release("lost")
    assert await leasing == 1
    assert await lease(world, "other") == 1


async def test_all_checkpoints_ever_signed_are_consistent(world: World) -> None:
    caller = world.caller(HOTLINE)
    heads = []
    for count in (1, 3, 7, 40):
        await asyncio.gather(
            *(world.publishing.publish(caller, world.referral()) for _ in range(count))
        )
        heads.append(world.ledger.head())
    for older in heads:
        for newer in heads:
            if older.size <= newer.size:
                path = await world.ledger.receipts.consistency(older.size, newer.size)
                verify_consistency(older.size, newer.size, older.root, newer.root, path)


async def test_one_refused_change_does_not_harm_the_others_of_its_group(
    world: World,
) -> None:
    caller = world.caller(HOTLINE)
    good = [world.referral() for _ in range(20)]
    used = world.referral()
    await world.publishing.publish(caller, used)
    bad = world.referral(recipients=(STATE_POLICE,), urgency_reason="x")
    results = await asyncio.gather(
        *(world.publishing.publish(caller, sending) for sending in [*good, bad]),
        world.publishing.publish(world.caller(STATE_POLICE), used),
        return_exceptions=True,
    )
    failures = [result for result in results if isinstance(result, Exception)]
    assert len(failures) == 1
    assert isinstance(failures[0], OnwardError)


async def test_a_defect_does_not_harm_the_others_of_its_group(world: World) -> None:
    class Defect:
        def needs(self) -> None:
            """Is no property, as it should be."""

    async def break_down(_: Writer) -> None:
        raise ValueError("a defect")

    access = statement_pb2.AuditAccess(auditor=AUDITOR, method="GetBundle")
    look = AuditAccessChange(access, [HOTLINE])
    defect: Any = Defect()
    results = await asyncio.gather(
        world.ledger.apply(look),
        world.ledger.apply(defect),
        *(world.ledger.apply(look) for _ in range(5)),
        world.ledger.write(break_down),
        lease(world, "other"),
        return_exceptions=True,
    )
    failed = [n for n, result in enumerate(results) if isinstance(result, Exception)]
    assert failed == [1, 7]
    assert all(isinstance(results[n], UnavailableError) for n in failed)
    logged = [entry for (entry,) in (results[0], *results[2:7])]  # type: ignore[misc]
    assert all(verify(world, entry) for entry in logged)
    assert len({entry.log_index for entry in logged}) == len(logged)


async def test_a_restarted_exchange_goes_on_with_the_same_log(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await populate(world)
        done = await world.publishing.publish(world.caller(HOTLINE), world.referral())
        before, parties = world.ledger.head(), world.parties
    async with open_world(tmp_path) as world:
        world.parties = parties
        assert world.ledger.head() == before
        await world.publishing.publish(world.caller(HOTLINE), world.referral())
        after = world.ledger.head()
        path = await world.ledger.receipts.consistency(before.size, after.size)
        verify_consistency(before.size, after.size, before.root, after.root, path)
        vkey = world.ledger._signer.vkey.format()
        TlogProof.parse(done.referral.receipt).verify(
            statement_digest(done.referral.jws),
            Policy.parse(f"log {vkey}\nquorum none\n"),
        )


async def test_a_database_older_than_what_was_signed_is_refused(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path) as world:
        await populate(world)
        await world.store.backup(str(tmp_path / "old.sqlite"))
        await world.publishing.publish(world.caller(HOTLINE), world.referral())
    for leftover in tmp_path.glob("exchange.sqlite*"):
        leftover.unlink()
    (tmp_path / "old.sqlite").rename(tmp_path / "exchange.sqlite")
    with pytest.raises(StateError) as refused:
        async with open_world(tmp_path):
            pass
    assert "older than the log" in refused.value.message


async def test_a_database_with_another_history_is_refused(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await populate(world)
    guard = tmp_path / "guard"
    size = guard.read_text().split()[0]
    guard.write_text(f"{size} {'ab' * 32}\n")
    with pytest.raises(StateError) as refused:
        async with open_world(tmp_path):
            pass
    assert "another history" in refused.value.message
