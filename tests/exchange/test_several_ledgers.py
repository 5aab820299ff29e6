"""Several ledgers on one database: they go on from each other, and never fork."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onward.core.errors import OnwardError, UnavailableError
from onward.core.merkle import verify_consistency
from onward.core.notes import Cosigner
from onward.core.tlog_policy import Policy
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange import catching_up
from onward_server.exchange.asking import key_name
from onward_server.exchange.cosigning import LogCosigner
from onward_server.exchange.delivering import Offer
from onward_server.exchange.guard import Guard
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.policy_files import (
    VERSION,
    default_policy_folder,
    read_policy_files,
)
from onward_server.exchange.witnessed_log import WitnessedLog
from onward_server.storage.contract import CosignatureRow, Standing, Store
from onward_server.storage.sqlite import open_sqlite
from tests.exchange.test_publishing import verify
from tests.support.world import HOTLINE, STATE_POLICE, World


@dataclass(slots=True)
class Wire:
    """Carries word of commits between the replicas, or loses it."""

    heard: list[Callable[[Collection[str]], None]] = field(default_factory=list)
    cut: bool = False

    def say(self, sender: Any, members: Collection[str]) -> None:
        """Tells all others."""
        for hear in self.heard:
            if not self.cut and getattr(hear, "__self__", None) is not sender:
                hear(members)


class SharedStore:
    """One process's view of a store that several work on."""

    def __init__(self, store: Any, wire: Wire) -> None:
        self._store = store
        self._wire = wire
        self.ledger: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def listen(self, heard: Callable[[Collection[str]], None]) -> None:
        """Listens on the wire."""
        self._wire.heard.append(heard)

    def writing(self) -> Any:
        """A writing transaction, of which the others hear."""
        return _Announced(self)


class _Announced:
    """Announces what was committed."""

    def __init__(self, shared: SharedStore) -> None:
        self._shared = shared
        self._transaction = shared._store.writing()
        self._concerned: list[Collection[str]] = []

    async def __aenter__(self) -> Any:
        self._writer = await self._transaction.__aenter__()
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    async def write(self, batch: Any) -> None:
        """Writes, and remembers whom it concerns."""
        await self._writer.write(batch)
        self._concerned.append(batch.concerned)

    async def __aexit__(self, *error: object) -> Any:
        ended = await self._transaction.__aexit__(*error)
        for members in self._concerned:
            self._shared._wire.say(self._shared.ledger, members)
        return ended


@pytest.fixture
def wire() -> Wire:
    """What the replicas hear each other by."""
    return Wire()


@pytest.fixture
async def replicas(
    world: World, wire: Wire, tmp_path: Path
) -> AsyncIterator[tuple[World, World]]:
    """The exchange twice, each with a ledger of its own on the one database."""
    first = world.ledger
    ledgers = []
    worlds = []
    for number in range(2):
        shared = SharedStore(world.store, wire)
        guard = Guard(tmp_path / f"guard-{number}")
        ledger = Ledger(shared, first._signer, first._voice, world.clock, guard)
        shared.ledger = ledger
        await ledger.start()
        ledgers.append(ledger)
        worlds.append(World(shared, ledger, world.clock))
        worlds[-1].parties = world.parties
    yield worlds[0], worlds[1]
    for ledger in ledgers:
        await ledger.stop()


@pytest.fixture(params=["near", "far"])
def apart(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many entries are too many to be appended one by one: a thousand, or one."""
    if request.param == "far":
        monkeypatch.setattr(catching_up, "_NEAR", 0)


@pytest.mark.usefixtures("apart")
async def test_both_publish_at_once_and_the_log_is_one(
    replicas: tuple[World, World],
) -> None:
    heads = []
    for _ in range(4):
        done = await asyncio.gather(
            *(
                replica.publishing.publish(replica.caller(HOTLINE), replica.referral())
                for replica in replicas
                for _ in range(5)
            )
        )
        heads += [replica.ledger.head() for replica in replicas]
        for number, entry in enumerate(done):
            verify(replicas[number // 5], entry.acceptance)
    newest = max(heads, key=lambda head: head.size)
    for head in heads:
        path = await replicas[0].ledger.receipts.consistency(head.size, newest.size)
        verify_consistency(head.size, newest.size, head.root, newest.root, path)
    digests = await replicas[0].store.digests(0, 1000)
    assert len(digests) == len(set(digests)) == newest.size


async def test_a_retry_at_the_other_replica_gets_the_first_answer(
    replicas: tuple[World, World], wire: Wire
) -> None:
    first, second = replicas
    wire.cut = True
    sending = first.referral()
    done = await first.publishing.publish(first.caller(HOTLINE), sending)
    again = await second.publishing.publish(second.caller(HOTLINE), sending)
    assert (again.referral, again.acceptance) == (done.referral, done.acceptance)


async def test_a_stream_gets_what_was_published_at_the_other_replica(
    replicas: tuple[World, World],
) -> None:
    first, second = replicas
    caller = second.caller(STATE_POLICE)
    async with aclosing(second.delivering.receive(caller, 1, lambda: None)) as stream:
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        sending = first.referral()
        done = await first.publishing.publish(first.caller(HOTLINE), sending)
        async with asyncio.timeout(second.limits.recheck / 2):
            offer = await waiting
    assert isinstance(offer, Offer)
    assert offer.referral == done.referral


async def test_a_member_suspended_at_one_may_do_nothing_at_the_other(
    replicas: tuple[World, World], wire: Wire
) -> None:
    first, second = replicas
    wire.cut = True
    member = second.parties[STATE_POLICE].entry(second.clock.ms)
    member.status = vocabulary_pb2.MEMBER_STATUS_SUSPENDED
    await first.change(statement_pb2.DIRECTORY_CHANGE_KIND_SUSPENDED, member)
    with pytest.raises(OnwardError):  # the recipient is not active
        await second.publishing.publish(second.caller(HOTLINE), second.referral())
    assert not second.ledger.directory.entry(STATE_POLICE).active


async def test_the_turn_of_each_second_finds_what_nobody_told(
    replicas: tuple[World, World], wire: Wire
) -> None:
    first, second = replicas
    wire.cut = True
    with second.ledger.hub.subscribe(STATE_POLICE) as ear:
        await first.publishing.publish(first.caller(HOTLINE), first.referral())
        await second.ledger.follow()
        assert second.ledger.head() == first.ledger.head()
        await second.ledger.follow()
        assert await ear.wait(0.01)
        await second.ledger.follow()
        assert not await ear.wait(0.01)


async def test_what_was_told_wakes_those_whom_it_concerns_and_nobody_else(
    replicas: tuple[World, World],
) -> None:
    first, second = replicas
    hub = second.ledger.hub
    with hub.subscribe(STATE_POLICE) as police, hub.subscribe("nobody") as nobody:
        await first.publishing.publish(first.caller(HOTLINE), first.referral())
        assert await police.wait(5)
        for _ in range(3):
            await second.ledger.follow()
        assert not await nobody.wait(0.01)


async def test_what_is_told_while_a_replica_looks_is_looked_at_too(
    replicas: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = replicas
    store, looking, go_on = second.ledger._store, asyncio.Event(), asyncio.Event()
    read = store.standing

    async def standing() -> Standing:
        found = await read()
        looking.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(store, "standing", standing, raising=False)
    with second.ledger.hub.subscribe(STATE_POLICE) as ear:
        await first.publishing.publish(first.caller(HOTLINE), first.referral())
        await looking.wait()
        await first.publishing.publish(first.caller(HOTLINE), first.referral())
        go_on.set()
        while second.ledger.head() != first.ledger.head():
            assert await ear.wait(5)


async def test_a_policy_applied_at_one_is_in_force_at_the_other(
    replicas: tuple[World, World], wire: Wire
) -> None:
    first, second = replicas
    wire.cut = True
    caller = first.caller(HOTLINE)
    files = {**read_policy_files(default_policy_folder()), VERSION: "ours-1\n"}
    before = second.ledger.policy.digest
    await first.policies.apply(caller, files, before)
    await second.publishing.publish(second.caller(HOTLINE), second.referral())
    assert second.ledger.policy.digest == first.ledger.policy.digest != before


async def test_a_bundle_at_the_other_replica_lacks_nothing(
    replicas: tuple[World, World], wire: Wire
) -> None:
    first, second = replicas
    wire.cut = True
    sending = first.referral()
    await first.publishing.publish(first.caller(HOTLINE), sending)
    referral_id = (await first.store.published(HOTLINE, 10**6, 1))[0].referral_id
    whole = await first.records.bundle(first.caller(HOTLINE), referral_id)
    assert await second.records.bundle(second.caller(HOTLINE), referral_id) == whole


async def test_what_witnesses_told_one_replica_counts_at_the_other(
    replicas: tuple[World, World],
) -> None:
    first, second = replicas
    await first.publishing.publish(first.caller(HOTLINE), first.referral())
    await second.ledger.follow()
    vkey = Cosigner("w", Ed25519PrivateKey.generate()).vkey
    policy = Policy.parse(f"witness w {vkey.format()} http://w\nquorum w")
    here, there = (
        WitnessedLog(world.ledger, world.store, policy, LogCosigner(None), world.clock)
        for world in replicas
    )
    head = first.ledger.head()
    waiting = asyncio.ensure_future(there.wait(head.size - 1, 5))
    await asyncio.sleep(0)
    line = CosignatureRow(head.size, key_name(vkey), "\u2014 w AAAA\n", 1)
    await here.keep(head, line)
    assert there.witnessed() == ""
    await there.refresh()
    assert (await waiting).row == head
    assert there.witnessed() == here.witnessed() != ""


@dataclass(slots=True)
class Promoted:
    """A copy of the database that lacks what was written after it was taken."""

    store: Store

    def serve(self, ledger: Ledger) -> None:
        """Has a ledger work on it from here on."""
        ledger._store = self.store
        ledger.receipts._store = self.store


@pytest.fixture
async def promoted(world: World, tmp_path: Path) -> AsyncIterator[Promoted]:
    """A standby that was promoted too early."""
    older = str(tmp_path / "older.sqlite")
    await world.store.backup(older)
    store = await open_sqlite(older)
    yield Promoted(store)
    await store.close()


async def refuses(replica: World) -> None:
    """Checks that a replica signs nothing, again and again."""
    head = replica.ledger.head()
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await replica.publishing.publish(
                replica.caller(HOTLINE), replica.referral()
            )
    assert replica.ledger.head() == head


async def test_a_database_that_lost_entries_is_not_signed_on(
    replicas: tuple[World, World], promoted: Promoted
) -> None:
    first, second = replicas
    await first.publishing.publish(first.caller(HOTLINE), first.referral())
    await second.ledger.follow()
    before = await promoted.store.head()
    promoted.serve(second.ledger)
    await refuses(second)
    assert await promoted.store.head() == before


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("more", [0, 1])
async def test_a_database_with_another_history_is_not_signed_on(
    replicas: tuple[World, World], promoted: Promoted, tmp_path: Path, more: int
) -> None:
    first, second = replicas
    await first.publishing.publish(first.caller(HOTLINE), first.referral())
    await second.ledger.follow()
    guard = Guard(tmp_path / "forgetful")
    forgetful = Ledger(
        promoted.store, first.ledger._signer, first.ledger._voice, first.clock, guard
    )
    await forgetful.start()
    other = World(promoted.store, forgetful, first.clock)
    other.parties = first.parties
    for _ in range(1 + more):
        await other.publishing.publish(other.caller(HOTLINE), other.referral())
    await forgetful.stop()
    promoted.serve(second.ledger)
    await refuses(second)
