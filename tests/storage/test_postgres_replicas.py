"""Several processes on one database; here several stores in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest

from onward.core.errors import StateError, UnavailableError
from onward_server.storage.contract import Batch, Needs
from onward_server.storage.postgres import PostgresStore, open_postgres, place
from onward_server.storage.postgres.queries import QUERIES
from tests.storage.scribe import HOTLINE, OHIO, Scribe
from tests.support import postgres

FACTS = {"log key": "origin+1", "trust domain": "national.example"}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with postgres.database() as url:
        yield url


@pytest.fixture
async def one(url: str) -> AsyncIterator[PostgresStore]:
    store = await open_postgres(url)
    yield store
    await store.close()


@pytest.fixture
async def two(url: str) -> AsyncIterator[PostgresStore]:
    store = await open_postgres(url)
    yield store
    await store.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost place is taken again soon."""
    monkeypatch.setattr(place, "_BEAT_SECONDS", 0.05)


class News:
    """Keeps what a store hears of the others."""

    def __init__(self, store: PostgresStore) -> None:
        self.heard: list[set[str]] = []
        self._arrived = asyncio.Event()
        store.listen(self._hear)

    def _hear(self, members: Collection[str]) -> None:
        self.heard.append(set(members))
        self._arrived.set()

    async def next(self) -> set[str]:
        await asyncio.wait_for(self._arrived.wait(), 10)
        self._arrived.clear()
        return self.heard[-1]


async def lose_place(store: PostgresStore) -> None:
    """Has the server end the connection that holds a store's place."""
    async with store.writing() as writer:
        await writer._run(
            lambda connection: connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks "
                "WHERE classid = 1330534213 AND objid = $1",
                int(store.replica),
            )
        )


async def leave(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a store lose its place, and not get it back by itself."""
    monkeypatch.setattr(store._place, "_url", "postgresql://onward@/none?host=/nowhere")
    await lose_place(store)

    async def is_gone() -> bool:
        return not await has_place(store, store.replica)

    await postgres.until(is_gone)


async def has_place(store: PostgresStore, replica: str) -> bool:
    """Whether somebody is among those that work on the database."""
    return replica in (await store._readers.run(QUERIES.living) or ())


async def in_vain(store: PostgresStore) -> bool:
    """Whether a store cannot write at present."""
    try:
        async with store.writing() as writer:
            await writer.load(Needs())
    except UnavailableError:
        return True
    return False


async def is_refused(store: PostgresStore) -> bool:
    """Whether a store writes no more, since others go by something else."""
    try:
        async with store.writing():
            return False
    except StateError as error:
        return "another log key" in error.message


async def joins(store: PostgresStore, facts: dict[str, str]) -> bool:
    """Whether a store may join, or is refused."""
    try:
        await store.join(facts)
    except StateError:
        return False
    return True


async def joined(store: PostgresStore) -> set[str]:
    """Who is listed as working on the database."""
    rows = await store._readers.run(lambda c: c.fetch("SELECT replica FROM replicas"))
    return {replica for (replica,) in rows}


async def test_all_have_names_of_their_own(
    one: PostgresStore, two: PostgresStore
) -> None:
    assert one.replica != two.replica
    assert "/" not in one.replica


async def test_each_sees_what_the_other_committed(
    one: PostgresStore, two: PostgresStore, scribe: Scribe
) -> None:
    for number, store in enumerate([one, two, two, one]):
        async with store.writing() as writer:
            loaded = await writer.load(Needs())
            assert (loaded.head.size if loaded.head else 0) == scribe.size
            scribe.publish(f"r{number}", OHIO)
            await writer.write(scribe.take())
    assert await one.digests(0, 99) == [row.digest for row in scribe.statements]


async def test_writers_take_turns(
    one: PostgresStore, two: PostgresStore, scribe: Scribe
) -> None:
    async def publish(store: PostgresStore, number: int) -> None:
        async with store.writing() as writer:
            loaded = await writer.load(Needs())
            # Whoever has the turn is alone between this and the commit.
            assert (loaded.head.size if loaded.head else 0) == scribe.size
            scribe.publish(f"r{number}", OHIO)
            batch = scribe.take()
            await asyncio.sleep(0)
            await writer.write(batch)

    await asyncio.gather(
        *(publish(store, n) for n, store in enumerate([one, two] * 10))
    )
    head = await two.head()
    assert head is not None
    assert head.size == len(scribe.statements) == 40


async def test_commits_are_heard_of_by_the_others(
    one: PostgresStore, two: PostgresStore, scribe: Scribe
) -> None:
    mine, theirs = News(one), News(two)
    scribe.publish("r1", OHIO)
    scribe.batch.concerned = {OHIO, HOTLINE}
    await scribe.commit(one)
    assert await theirs.next() == {OHIO, HOTLINE}
    scribe.publish("r2", OHIO)
    scribe.batch.concerned = {f"{OHIO}{number}" for number in range(1000)}
    await scribe.commit(one)
    assert await theirs.next() == set()
    async with two.writing() as writer:
        await writer.write(Batch(old_size=scribe.size, concerned={OHIO}))
    assert await mine.next() == {OHIO}
    assert len(mine.heard) == 1


@pytest.mark.parametrize("news", ["", "nonsense", "1 5", "1 [5]"])
async def test_news_that_nobody_understands_may_concern_anybody(
    one: PostgresStore, url: str, news: str
) -> None:
    mine = News(one)
    stranger = await postgres.connected(url)
    await stranger.execute("SELECT pg_notify('onward', $1)", news)
    await stranger.close()
    assert await mine.next() == set()


async def test_what_was_rolled_back_is_not_heard_of(
    one: PostgresStore, two: PostgresStore, scribe: Scribe
) -> None:
    theirs = News(two)
    scribe.publish("r1", OHIO)

    async def write_and_fail() -> None:
        async with one.writing() as writer:
            await writer.write(scribe.take())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write_and_fail()
    async with one.writing() as writer:
        await writer.write(Batch(concerned={OHIO}))
    assert await theirs.next() == {OHIO}
    assert len(theirs.heard) == 1


async def test_one_does_a_chore_until_it_ends(
    one: PostgresStore, two: PostgresStore
) -> None:
    assert await one.leads("alarms")
    assert not await two.leads("alarms")
    assert await two.leads("retention")
    assert await one.leads("alarms")
    await one.close()
    await postgres.until(lambda: two.leads("alarms"))
    assert not await one.leads("alarms")


async def test_leases_of_the_living_stay(
    one: PostgresStore, two: PostgresStore, scribe: Scribe
) -> None:
    for number in range(3):
        scribe.publish(f"r{number}", OHIO)
    await scribe.commit(one)
    for store, limit in ((one, 1), (two, 2)):
        async with store.writing() as writer:
            await writer.claim(OHIO, f"{store.replica}/stream", limit, 100, 200)
    async with two.writing() as writer:
        assert await writer.release_lost() == 0
    await one.close()

    async def release_lost() -> int:
        async with two.writing() as writer:
            return await writer.release_lost()

    assert await postgres.until(release_lost) == 1
    (row,) = await two.deliveries(["r0"])
    assert (row.lease_holder, row.lease_until_ms, row.attempt) == ("", 0, 1)


async def test_same_facts_may_join(one: PostgresStore, two: PostgresStore) -> None:
    await one.join(FACTS)
    await two.join(FACTS)
    assert await joined(one) == {one.replica, two.replica}


@pytest.mark.parametrize(
    "facts", [FACTS | {"log key": "other+2"}, {"trust domain": "national.example"}]
)
async def test_another_fact_is_refused_by_name(
    one: PostgresStore, two: PostgresStore, facts: dict[str, str]
) -> None:
    await one.join(FACTS)
    with pytest.raises(StateError, match="another log key") as caught:
        await two.join(facts)
    assert "+" not in caught.value.message
    assert await joined(one) == {one.replica}


async def test_the_gone_do_not_count(one: PostgresStore, two: PostgresStore) -> None:
    await one.join(FACTS)
    await one.close()
    changed = FACTS | {"log key": "other+2"}
    await postgres.until(lambda: joins(two, changed))
    assert await joined(two) == {two.replica}


async def test_lost_place_is_taken_again(
    impatient: None, one: PostgresStore, two: PostgresStore
) -> None:
    mine = News(one)
    await one.join(FACTS)
    assert await one.leads("alarms")
    await lose_place(one)
    assert await mine.next() == set()  # it may have missed something
    assert await two.leads("alarms") != await one.leads("alarms")
    await two.join(FACTS)
    assert await joined(two) == {one.replica, two.replica}


async def test_who_came_back_too_late_writes_no_more(
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    one: PostgresStore,
    two: PostgresStore,
) -> None:
    await one.join(FACTS)
    monkeypatch.setattr(one._place, "_url", "postgresql://onward@/none?host=/nowhere")
    await lose_place(one)
    changed = FACTS | {"log key": "other+2"}
    await postgres.until(lambda: joins(two, changed))
    monkeypatch.setattr(one._place, "_url", one._url)
    await postgres.until(lambda: is_refused(one))


async def test_who_could_not_join_again_at_once_is_refused_later(
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    one: PostgresStore,
    two: PostgresStore,
) -> None:
    await one.join(FACTS)
    await leave(one, monkeypatch)
    await postgres.until(lambda: joins(two, FACTS | {"log key": "other+2"}))
    writer = await one._connected()
    await writer.execute("SET lock_timeout = '10ms'")
    async with two.writing() as busy:
        await busy.load(Needs())
        monkeypatch.setattr(one._place, "_url", one._url)
        await postgres.until(lambda: has_place(two, one.replica))
        await postgres.until(lambda: in_vain(one))
    await postgres.until(lambda: is_refused(one))


async def test_who_was_away_writes_only_after_joining_again(
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    one: PostgresStore,
    two: PostgresStore,
) -> None:
    await one.join(FACTS)
    await leave(one, monkeypatch)
    await two.join(FACTS)
    assert await in_vain(one)
    monkeypatch.setattr(one._place, "_url", one._url)

    async def writes() -> bool:
        return not await in_vain(one)

    await postgres.until(writes)


async def test_who_was_away_while_another_worked_alone_writes_no_more(
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    one: PostgresStore,
    two: PostgresStore,
) -> None:
    await one.join(FACTS)
    await leave(one, monkeypatch)
    await two.join(FACTS | {"log key": "alone"})
    await two.close()
    monkeypatch.setattr(one._place, "_url", one._url)
    await postgres.until(lambda: is_refused(one))


async def test_who_is_of_another_release_does_not_join(one: PostgresStore) -> None:
    async with one.writing() as writer:
        await writer._run(
            lambda connection: connection.execute(
                "UPDATE schema_version SET version = version + 1"
            )
        )
    with pytest.raises(UnavailableError, match="or a newer one"):
        await one.join(FACTS)


async def test_who_hangs_gives_its_leads_away(
    one: PostgresStore, two: PostgresStore
) -> None:
    assert await one.leads("alarms")
    held = one._place._connection
    assert held is not None
    assert await held.fetchval("SHOW idle_session_timeout") == "15s"
    await held.execute("SET idle_session_timeout = '10ms'")
    await postgres.until(lambda: two.leads("alarms"))


async def test_tools_read_beside_running_exchanges(
    one: PostgresStore, url: str, scribe: Scribe
) -> None:
    scribe.publish("r1", OHIO)
    await scribe.commit(one)
    tool = await open_postgres(url, read_only=True)
    assert await tool.referral("r1") == scribe.referrals["r1"]
    with pytest.raises(UnavailableError, match="not open for writing"):
        async with tool.writing():
            pytest.fail("it is for reading")
    await tool.close()
