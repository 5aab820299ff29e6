"""Sealed content: kept, uploaded, named, dropped and erased."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onward_server.storage.contract import Batch, Needs, Store, UploadRow
from tests.storage.scribe import HOTLINE, OHIO, TEXAS, Scribe, digest_of

MEBIBYTE = 1024 * 1024
DIGEST = digest_of("content")


async def keep(store: Store, *contents: tuple[bytes, bytes]) -> None:
    async with store.writing() as writer:
        await writer.write(Batch(contents=list(contents)))


async def erase(store: Store, *digests: bytes, old_size: int = 0) -> None:
    async with store.writing() as writer:
        await writer.write(Batch(erase_contents=list(digests), old_size=old_size))


async def upload(
    store: Store,
    *chunks: bytes,
    digest: bytes = DIGEST,
    uploader: str = HOTLINE,
    uploaded_ms: int = 100,
    complete: bool = True,
) -> None:
    row = UploadRow(digest, uploader, uploaded_ms)
    for position, data in enumerate(chunks):
        async with store.writing() as writer:
            await writer.put_chunk(row, position, data)
    if complete:
        async with store.writing() as writer:
            await writer.complete_upload(row)


async def named(store: Store, *digests: bytes) -> dict[bytes, str]:
    async with store.writing() as writer:
        return dict((await writer.load(Needs(contents=set(digests)))).contents)


async def drop(store: Store, before_ms: int) -> int:
    async with store.writing() as writer:
        return await writer.drop_uploads(before_ms)


@pytest.mark.parametrize(
    "size", [0, 1, 1500, MEBIBYTE, MEBIBYTE + 1, 8 * MEBIBYTE, 9 * MEBIBYTE - 1]
)
async def test_content_comes_back(store: Store, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    await keep(store, (DIGEST, content[:size]), (digest_of("next"), b"next"))
    assert await store.content(DIGEST) == content[:size]
    assert await store.content(digest_of("next")) == b"next"


async def test_unknown_content(store: Store) -> None:
    assert await store.content(DIGEST) is None
    assert await named(store, DIGEST) == {}


async def test_present_content_stays_as_it_is(store: Store) -> None:
    await keep(store, (DIGEST, b"first" * MEBIBYTE))
    await keep(store, (DIGEST, b"second"), (digest_of("new"), b"new"))
    await keep(store, (DIGEST, b"third"))
    assert await store.content(DIGEST) == b"first" * MEBIBYTE
    assert await store.content(digest_of("new")) == b"new"


async def test_content_is_named_by_the_first_accepted_referral(
    store: Store, scribe: Scribe
) -> None:
    scribe.publish("refused", OHIO, rejected=True, content_digest=DIGEST)
    await scribe.commit(store)
    assert await named(store, DIGEST) == {DIGEST: ""}
    scribe.publish("r1", OHIO, content_digest=DIGEST, content=None)
    await scribe.commit(store)
    assert await named(store, DIGEST) == {DIGEST: "r1"}
    scribe.publish("r2", OHIO, content_digest=DIGEST, content=None)
    await scribe.commit(store)
    assert await named(store, DIGEST) == {DIGEST: "r1"}


async def test_uploaded_in_chunks(store: Store) -> None:
    row = UploadRow(DIGEST, HOTLINE, 100)
    async with store.writing() as writer:
        await writer.put_chunk(row, 2, b"c")
        await writer.put_chunk(row, 0, b"a" * MEBIBYTE)
        await writer.put_chunk(row, 1, b"wrong")
        await writer.put_chunk(row, 1, b"b")
    assert await store.content(DIGEST) is None
    assert await named(store, DIGEST) == {}
    async with store.writing() as writer:
        await writer.complete_upload(row)
    assert await store.content(DIGEST) == b"a" * MEBIBYTE + b"bc"
    assert await named(store, DIGEST) == {DIGEST: ""}


async def test_uploads_of_two_members_do_not_touch(store: Store) -> None:
    await upload(store, b"forged", b"more", uploader=TEXAS, complete=False)
    await upload(store, b"true")
    assert await store.content(DIGEST) == b"true"
    await upload(store, b"forged", b"more", uploader=TEXAS)
    assert await store.content(DIGEST) == b"true"


async def test_upload_of_stored_content_leaves_nothing(store: Store) -> None:
    await keep(store, (DIGEST, b"stored"))
    await upload(store, b"again")
    assert await store.content(DIGEST) == b"stored"
    assert await drop(store, 10_000) == 0


async def test_completing_nothing_stores_nothing(store: Store) -> None:
    await upload(store)
    assert await store.content(DIGEST) is None
    assert await named(store, DIGEST) == {}


async def test_old_uploads_are_dropped(store: Store) -> None:
    finished, unfinished = digest_of("finished"), digest_of("unfinished")
    await upload(store, b"a", digest=finished, uploaded_ms=100)
    await upload(store, b"b", digest=unfinished, uploaded_ms=150, complete=False)
    assert await drop(store, 100) == 0
    assert await drop(store, 150) == 1
    assert await store.content(finished) is None
    assert await drop(store, 151) == 1
    await upload(store, b"B", digest=unfinished)
    assert await store.content(unfinished) == b"B"


async def test_named_uploads_are_kept(store: Store, scribe: Scribe) -> None:
    await upload(store, b"uploaded")
    scribe.publish("r1", OHIO, content_digest=DIGEST, content=None)
    await scribe.commit(store)
    assert await drop(store, 10_000) == 0
    assert await store.content(DIGEST) == b"uploaded"


async def test_upload_that_was_refused_is_dropped(store: Store, scribe: Scribe) -> None:
    await upload(store, b"uploaded")
    scribe.publish("r1", OHIO, content_digest=DIGEST, content=None, rejected=True)
    await scribe.commit(store)
    assert await drop(store, 10_000) == 1
    assert await store.content(DIGEST) is None


async def test_uploading_again_makes_it_young(store: Store) -> None:
    await upload(store, b"uploaded", uploaded_ms=100)
    await upload(store, b"uploaded", uploaded_ms=500)
    assert await drop(store, 400) == 0
    assert await store.content(DIGEST) == b"uploaded"
    assert await drop(store, 501) == 1


async def test_erased_content_is_gone_and_its_name_stays(
    store: Store, scribe: Scribe
) -> None:
    row = scribe.publish("r1", OHIO, content=b"x" * 3 * MEBIBYTE)
    other = scribe.publish("r2", OHIO, content=b"other")
    await scribe.commit(store)
    await erase(store, row.content_digest, old_size=2 * 2)
    assert await store.content(row.content_digest) is None
    assert await named(store, row.content_digest) == {row.content_digest: "r1"}
    assert await store.content(other.content_digest) == b"other"


async def test_erased_content_does_not_come_back(store: Store, scribe: Scribe) -> None:
    row = scribe.publish("r1", OHIO, content_digest=DIGEST)
    await scribe.commit(store)
    await erase(store, DIGEST, old_size=2)
    scribe.put_referral(replace(row, erased=True))
    scribe.batch.contents.append((DIGEST, b"sealed"))
    await scribe.commit(store)
    await upload(store, b"sealed")
    assert await store.content(DIGEST) is None
    assert await named(store, DIGEST) == {DIGEST: "r1"}


async def test_erasing_takes_uploads_too(store: Store) -> None:
    await upload(store, b"finished")
    await upload(store, b"unfinished", uploader=TEXAS, complete=False)
    await erase(store, DIGEST, digest_of("never stored"))
    assert await store.content(DIGEST) is None
    assert await named(store, DIGEST) == {}
    assert await drop(store, 10_000) == 0


async def test_kept_and_erased_at_once_is_erased(store: Store, scribe: Scribe) -> None:
    scribe.publish("r1", OHIO, content_digest=DIGEST)
    scribe.batch.erase_contents.append(DIGEST)
    await scribe.commit(store)
    assert await store.content(DIGEST) is None
    assert await named(store, DIGEST) == {DIGEST: "r1"}
