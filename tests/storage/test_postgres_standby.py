"""A commit is one once the standby has it, whatever ends the wait for that."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from onward.core.errors import UnavailableError
from onward_server.storage.contract import Batch
from onward_server.storage.postgres import PostgresStore, open_postgres
from tests.storage.scribe import OHIO, Scribe
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


async def publish(store: PostgresStore, scribe: Scribe, referral_id: str) -> Batch:
    scribe.publish(referral_id, OHIO)
    batch = scribe.take()
    async with store.writing() as writer:
        await writer.write(batch)
    return batch


async def test_what_no_standby_has_is_not_gone_on_from(
    pair: Pair, store: PostgresStore, scribe: Scribe
) -> None:
    await publish(store, scribe, "r1")
    pair.standby.stop(signal.SIGQUIT)
    publishing = asyncio.create_task(publish(store, scribe, "r2"))
    waiting = await pair.waiting()
    # Somebody who does not know better ends the wait: the commit is visible now.
    await pair.primary.execute(f"SELECT pg_cancel_backend({waiting})")
    with pytest.raises(UnavailableError, match="did not promise"):
        await publishing
    found = asyncio.create_task(store.checkpoint(scribe.size))
    await pair.waiting()
    assert not found.done()
    pair.standby.start()
    head = await found
    await pair.fail_over()
    assert head == await store.head()
    assert head is not None
    assert head.size == scribe.size
