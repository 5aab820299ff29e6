"""What stays true when the disk or the process fails."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from onward.core.errors import Reason, UnavailableError
from onward_server.storage.contract import Batch
from onward_server.storage.sqlite import SqliteStore, open_sqlite
from tests.storage.scribe import OHIO, TEXAS, Scribe, digest_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exchange.sqlite"


@pytest.fixture
async def sqlite(path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_sqlite(str(path))
    yield store
    await store.close()


def committer(path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts a process that commits; see its module."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.storage.committer", str(path), *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/clients/python:{ROOT}/server"},
        stdout=subprocess.PIPE,
        text=True,
    )


async def set_page_limit(store: SqliteStore, pages: int) -> None:
    """Makes the disk full at this size, as far as SQLite knows."""
    assert store._writer is not None
    await store._writer.run(
        lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}")
    )


async def test_full_disk_is_an_error_and_loses_nothing(
    sqlite: SqliteStore, scribe: Scribe
) -> None:
    scribe.publish("r1", OHIO)
    before = await scribe.commit(sqlite)
    await set_page_limit(sqlite, 1)
    scribe.publish("r2", OHIO, content=b"x" * 500_000)
    batch = scribe.take()
    for _ in range(2):
        with pytest.raises(UnavailableError, match="disk is full") as caught:
            async with sqlite.writing() as writer:
                await writer.write(batch)
        assert caught.value.reason == Reason.ERROR_REASON_STORAGE_UNAVAILABLE
        assert caught.value.retry_after
    assert await sqlite.head() == before.checkpoint
    assert await sqlite.chain("r2") == []
    assert await sqlite.content(before.contents[0][0]) == b"sealed"
    await set_page_limit(sqlite, 2**30)
    async with sqlite.writing() as writer:
        await writer.write(batch)
    assert await sqlite.head() == batch.checkpoint


async def test_content_can_be_erased_on_a_full_disk(sqlite: SqliteStore) -> None:
    digest = digest_of("content")
    async with sqlite.writing() as writer:
        await writer.write(Batch(contents=[(digest, b"x" * 500_000)]))
    await set_page_limit(sqlite, 1)
    async with sqlite.writing() as writer:
        await writer.write(Batch(erase_contents=[digest]))
    assert await sqlite.content(digest) is None


@pytest.mark.parametrize("limit", [200_000, 300_001, 1_000_000])
def test_files_that_may_not_grow(path: Path, limit: int) -> None:
    process = committer(path, str(limit))
    output, _ = process.communicate(timeout=60)
    full, head, again = (line.split(maxsplit=2) for line in output.splitlines())
    assert process.returncode == 0
    assert full[0] == "full"
    assert "cannot use its database at present" in full[2]
    assert head == ["head", full[1]]
    assert again == ["again", str(int(full[1]) + 2), "None"]


@pytest.mark.parametrize("commits", [1, 2, 5, 17, 40])
async def test_what_was_reported_survives_kill(path: Path, commits: int) -> None:
    process = committer(path)
    assert process.stdout is not None
    with process, process.stdout as lines:
        reported = [int(next(lines)) for _ in range(commits)]
        process.send_signal(signal.SIGKILL)
        reported += [int(line) for line in lines]
    store = await open_sqlite(str(path))
    head = await store.head()
    assert head is not None
    assert head.size >= reported[-1]
    assert head.root == digest_of("root", head.size)
    assert len(await store.digests(0, 10_000)) == head.size
    for number in range(head.size // 2):
        row = await store.referral(f"r{number}")
        assert row is not None
        assert await store.content(row.content_digest) == b"sealed" * 3333
    assert await store.referral(f"r{head.size // 2}") is None
    assert await store.state_counts() == {1: head.size}
    deliveries = await store.deliveries(["r0"])
    assert {row.recipient for row in deliveries} == {OHIO, TEXAS}
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_commits_wait_for_the_disk(sqlite: SqliteStore) -> None:
    assert sqlite._writer is not None
    for pragma, value in (("journal_mode", "wal"), ("synchronous", 2)):
        cursor = await sqlite._writer.execute(f"PRAGMA {pragma}")
        assert await cursor.fetchone() == (value,)
        await cursor.close()


async def test_writer_locked_out_by_another_program(
    path: Path, sqlite: SqliteStore, scribe: Scribe
) -> None:
    assert sqlite._writer is not None
    await sqlite._writer.run(lambda writer: writer.execute("PRAGMA busy_timeout = 1"))
    scribe.publish("r1", OHIO)
    batch = scribe.take()
    with closing(sqlite3.connect(path, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="another program has locked it"):
            async with sqlite.writing() as writer:
                await writer.write(batch)
    async with sqlite.writing() as writer:
        await writer.write(batch)
    assert await sqlite.head() == batch.checkpoint


async def test_damaged_content_is_not_given_out(
    path: Path, sqlite: SqliteStore
) -> None:
    digest = digest_of("content")
    async with sqlite.writing() as writer:
        await writer.write(Batch(contents=[(digest, b"sealed")]))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE content_chunks SET data = zeroblob(length(data))")
    with pytest.raises(UnavailableError, match="damaged"):
        await sqlite.content(digest)
