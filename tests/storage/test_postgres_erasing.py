"""Erased means: the secret is not in the table's file any more.

The write-ahead log and backups have it for as long as the operator keeps them.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import pytest

from onward_server.storage.contract import Batch, UploadRow
from onward_server.storage.postgres import PostgresStore, open_postgres
from tests.storage.scribe import HOTLINE, OHIO, Scribe, digest_of
from tests.support import postgres


@pytest.fixture
async def store() -> AsyncIterator[PostgresStore]:
    async with postgres.database() as url:
        store = await open_postgres(url)
        yield store
        await store.close()


async def secrets(store: PostgresStore) -> dict[bytes, bytes]:
    """The secret of each content."""
    connection = await store._connected()
    return dict(
        await connection.fetch(
            "SELECT digest, secret FROM contents "
            "JOIN content_secrets USING (content_id)"
        )
    )


async def stored(store: PostgresStore) -> bytes:
    """Everything that is in the file of the secrets."""
    connection = await store._connected()
    await connection.execute("CHECKPOINT")
    path = await connection.fetchval("SELECT pg_relation_filepath('content_secrets')")
    return Path(postgres.shared().data / path).read_bytes()


async def erase(
    store: PostgresStore, scribe: Scribe, digests: Collection[bytes]
) -> None:
    async with store.writing() as writer:
        await writer.write(Batch(erase_contents=list(digests), old_size=scribe.size))


async def test_erased_secrets_are_in_the_file_no_more(
    store: PostgresStore, scribe: Scribe
) -> None:
    digests = [
        scribe.publish(f"r{number}", OHIO).content_digest for number in range(200)
    ]
    await scribe.commit(store)
    before = await secrets(store)
    file = await stored(store)
    assert all(secret in file for secret in before.values())
    random.Random(5).shuffle(digests)
    for end in (1, 2, 7, 8, 40, 150, 200):
        await erase(store, scribe, digests[:end])
        file = await stored(store)
        left = {digest for digest, secret in before.items() if secret in file}
        assert left == set(digests[end:])


async def test_secrets_of_dropped_uploads_are_gone_too(store: PostgresStore) -> None:
    digest = digest_of("content")
    async with store.writing() as writer:
        await writer.put_chunk(UploadRow(digest, HOTLINE, 100), 0, b"unfinished")
    secret = (await secrets(store))[digest]
    async with store.writing() as writer:
        assert await writer.drop_uploads(101) == 1
    assert secret not in await stored(store)
