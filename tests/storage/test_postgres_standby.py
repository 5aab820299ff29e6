"""A commit is one once the standby has it, whatever ends the wait for that."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from onward.core.errors import UnavailableError
from onward_server.storage.contract import Batch, Needs
from onward_server.storage.postgres import PostgresStore, open_postgres, writer
from tests.storage.scribe import OHIO, Scribe
from tests.support import postgres
from tests.support.standby import Pair, running_pair


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    with running_pair() as pair:
        await pair.in_step()
        yield pair


@pytest.fixture
async def store(pair: Pair) -> AsyncIterator[PostgresStore]:
    store = await open_postgres(pair.url("postgres"))
    yield store
    await store.close()


@pytest.fixture
async def other(pair: Pair) -> AsyncIterator[PostgresStore]:
    store = await open_postgres(pair.url("postgres"))
    yield store
    await store.close()


async def publish_in_doubt(pair: Pair, store: PostgresStore, scribe: Scribe) -> None:
    """Publishes something that all can see, and that no standby has."""
    await publish(store, scribe, "r1")
    pair.standby.stop(signal.SIGQUIT)
    publishing = asyncio.create_task(publish(store, scribe, "r2"))
    waiting = await pair.waiting()
    # Somebody who does not know better ends the wait: the commit is visible now.
    await pair.primary.execute(f"SELECT pg_cancel_backend({waiting})")
    with pytest.raises(UnavailableError, match="did not promise"):
        await publishing


async def publish(store: PostgresStore, scribe: Scribe, referral_id: str) -> Batch:
    scribe.publish(referral_id, OHIO)
    batch = scribe.take()
    async with store.writing() as turn:
        await turn.write(batch)
    return batch


async def test_what_no_standby_has_is_not_gone_on_from(
    pair: Pair, store: PostgresStore, scribe: Scribe
) -> None:
    await publish_in_doubt(pair, store, scribe)
    found = asyncio.create_task(store.checkpoint(scribe.size))
    await pair.waiting()
    assert not found.done()
    pair.standby.start()
    head = await found
    await pair.fail_over()
    assert head == await store.head()
    assert head is not None
    assert head.size == scribe.size


async def look(store: PostgresStore) -> int:
    """The size of the log as a ledger sees it between its commits."""
    head = (await store.standing()).head
    return head.size if head else 0


async def answer(store: PostgresStore) -> int:
    """The size of the log as a ledger sees it that has nothing to write: a retry."""
    async with store.writing() as turn:
        head = (await turn.load(Needs())).head
    return head.size if head else 0


@pytest.mark.parametrize("ask", [look, answer])
async def test_what_no_standby_has_is_not_told_by_another_replica(
    pair: Pair,
    store: PostgresStore,
    other: PostgresStore,
    scribe: Scribe,
    ask: Callable[[PostgresStore], Coroutine[None, None, int]],
) -> None:
    await publish_in_doubt(pair, store, scribe)
    found = asyncio.create_task(ask(other))
    await pair.waiting()
    assert not found.done()
    pair.standby.start()
    size = await found
    await pair.fail_over()
    assert size == scribe.size == await look(other)


async def test_nobody_is_left_waiting_at_the_server(
    pair: Pair,
    store: PostgresStore,
    scribe: Scribe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, "_SETTLE_SECONDS", 0.1)
    await publish_in_doubt(pair, store, scribe)
    for _ in range(3):
        with pytest.raises(UnavailableError):
            await look(store)

    async def nobody_waits() -> bool:
        return not await pair.is_waiting()

    await postgres.until(nobody_waits)
