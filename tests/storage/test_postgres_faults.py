"""What stays true when the server, a connection or another process fails."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from onward.core.errors import MalformedError, Reason, UnavailableError
from onward_server.exchange.authority import CertificateAuthority
from onward_server.storage.contract import Batch, Needs
from onward_server.storage.postgres import (
    PostgresStore,
    connection,
    open_postgres,
    pool,
    writer,
)
from tests.storage.scribe import OHIO, Scribe
from tests.support import postgres
from tests.support.proxy import open_proxy


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with postgres.database() as url:
        yield url


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    store = await open_postgres(url, connections=1)
    yield store
    await store.close()


@pytest.fixture
async def other(url: str) -> AsyncIterator[PostgresStore]:
    store = await open_postgres(url)
    yield store
    await store.close()


def planned(scribe: Scribe, referral_id: str) -> Batch:
    """Plans a referral."""
    scribe.publish(referral_id, OHIO)
    return scribe.take()


async def commit(store: PostgresStore, batch: Batch) -> None:
    async with store.writing() as writer:
        await writer.write(batch)


async def set_writer(store: PostgresStore, setting: str) -> None:
    """Changes a setting of the writing connection."""
    await (await store._connected()).execute(f"SET {setting}")


async def end_sessions(store: PostgresStore) -> None:
    """Has the server end all connections but one of a tool."""
    connection = await postgres.connected(store._url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()


def authority() -> CertificateAuthority:
    return CertificateAuthority.create("other.example", datetime.now(UTC))


async def encrypt(server: postgres.PostgresServer) -> None:
    """Has a server show a certificate that only it knows."""
    own = authority()
    owner = server.data.stat()
    for name, pem in (
        ("server.crt", own.certificate_pem.encode()),
        ("server.key", own.key_pem()),
    ):
        (server.data / name).write_bytes(pem)
        (server.data / name).chmod(0o600)
        os.chown(server.data / name, owner.st_uid, owner.st_gid)
    try:
        await server.execute("ALTER SYSTEM SET ssl = on")
    except asyncpg.PostgresError:
        pytest.skip("PostgreSQL was built without TLS")
    await server.execute("SELECT pg_reload_conf()")


async def test_connection_lost_in_a_transaction_undoes_it(
    store: PostgresStore, scribe: Scribe
) -> None:
    batch = planned(scribe, "r1")

    async def lose_connection_and_go_on() -> None:
        async with store.writing() as writer:
            await writer.write(batch)
            await end_sessions(store)
            await writer.load(Needs())

    with pytest.raises(UnavailableError) as caught:
        await lose_connection_and_go_on()
    assert caught.value.reason == Reason.ERROR_REASON_STORAGE_UNAVAILABLE
    assert caught.value.retry_after
    assert await store.head() is None
    await commit(store, batch)
    assert await store.head() == batch.checkpoint


async def test_connection_lost_before_the_commit_is_an_error(
    store: PostgresStore, scribe: Scribe
) -> None:
    batch = planned(scribe, "r1")

    async def lose_connection() -> None:
        async with store.writing() as writer:
            await writer.write(batch)
            await end_sessions(store)

    with pytest.raises(UnavailableError):
        await lose_connection()
    assert await store.head() is None
    await commit(store, batch)


async def test_readers_do_not_notice_lost_connections(
    store: PostgresStore, scribe: Scribe
) -> None:
    await commit(store, batch := planned(scribe, "r1"))
    for _ in range(2):
        assert await store.head() == batch.checkpoint
        await end_sessions(store)


async def test_cancelled_reader_leaves_its_connection_usable(
    store: PostgresStore, scribe: Scribe
) -> None:
    await commit(store, batch := planned(scribe, "r1"))
    slow = asyncio.create_task(
        store._readers.run(lambda connection: connection.execute("SELECT pg_sleep(60)"))
    )
    await asyncio.sleep(0.05)
    slow.cancel()
    assert await store.head() == batch.checkpoint
    assert slow.cancelled()


async def test_process_that_hangs_in_a_transaction_loses_its_turn(
    store: PostgresStore, other: PostgresStore, scribe: Scribe
) -> None:
    await set_writer(store, "idle_in_transaction_session_timeout = '100ms'")
    mine, theirs = planned(Scribe(), "mine"), planned(scribe, "theirs")

    async def hang() -> None:
        async with store.writing() as writer:
            await writer.write(mine)
            await commit(other, theirs)

    with pytest.raises(UnavailableError):
        await hang()
    assert await store.head() == theirs.checkpoint
    assert await store.referral("mine") is None


async def test_nobody_waits_for_the_turn_for_ever(
    store: PostgresStore, other: PostgresStore, scribe: Scribe
) -> None:
    await set_writer(other, "lock_timeout = '100ms'")
    async with store.writing() as writer:
        await writer.load(Needs())
        with pytest.raises(UnavailableError, match="another exchange process"):
            await commit(other, Batch())
        await writer.write(planned(scribe, "r1"))
    await commit(other, planned(scribe, "r2"))


async def test_patience_is_limited(store: PostgresStore) -> None:
    connection = await store._connected()
    for setting in (
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
    ):
        assert await connection.fetchval(f"SHOW {setting}") == "10s"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ],
)
async def test_commits_are_durable_whatever_the_default(
    url: str, theirs: str, ours: str
) -> None:
    connection = await postgres.connected(url)
    await connection.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = "
        f"{theirs}', current_database()); END $$"
    )
    await connection.close()
    store = await open_postgres(url)
    assert await (await store._connected()).fetchval("SHOW synchronous_commit") == ours
    await store.close()


async def test_server_that_was_restarted_is_found_again(scribe: Scribe) -> None:
    with postgres.running() as server:
        store = await open_postgres(server.url())
        await commit(store, first := planned(scribe, "r1"))
        assert await store.head() == first.checkpoint
        server.stop()
        second = planned(scribe, "r2")
        with pytest.raises(UnavailableError, match=r"cannot be reached|was lost"):
            await store.head()
        with pytest.raises(UnavailableError):
            await commit(store, second)
        server.start()
        assert await store.head() == first.checkpoint
        await commit(store, second)
        assert await store.head() == second.checkpoint
        await store.close()


async def test_commit_without_its_standby_is_no_promise(
    scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.running() as server:
        store = await open_postgres(server.url())
        other = await open_postgres(server.url())
        await commit(store, planned(scribe, "r1"))
        await server.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        await server.execute("SELECT pg_reload_conf()")
        # Whoever tells the server not to wait makes it say that it has committed.
        task = asyncio.create_task(commit(store, planned(scribe, "r2")))
        await postgres.until(
            lambda: server.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
                "WHERE wait_event = 'SyncRep'"
            )
        )
        with pytest.raises(UnavailableError, match="did not promise"):
            await task
        # What has been promised to nobody is not built upon.
        monkeypatch.setattr(writer, "_SETTLE_SECONDS", 0.2)
        third = planned(scribe, "r3")
        with pytest.raises(UnavailableError):
            await commit(store, third)
        # When the promise takes too long, we do not tell the server not to wait.
        monkeypatch.setattr(writer, "PATIENCE_SECONDS", 0.2)
        with pytest.raises(UnavailableError):
            await commit(other, third)
        assert await server.execute(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        )
        assert await store.referral("r3") is None
        await server.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await server.execute("SELECT pg_reload_conf()")
        found = await postgres.until(lambda: store.referral("r3"))
        assert found == scribe.referrals["r3"]
        await store.close()
        await other.close()


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        ("postgresql://onward:secret@127.0.0.1:1/none", "cannot be reached"),
        ("postgresql://onward:secret@{folder}/none", "no database of this name"),
        ("postgresql://nobody:secret@{folder}/postgres", "role or password"),
    ],
)
async def test_database_that_cannot_be_opened(broken: str, cause: str) -> None:
    server = postgres.shared()
    socket = f"%2F{str(server.folder)[1:].replace('/', '%2F')}:{server.port}"
    with pytest.raises(UnavailableError, match=cause) as caught:
        await open_postgres(broken.format(folder=socket))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "/var/exchange.sqlite", "http://user:secret@host/x", "postgresql://h:x"]
)
async def test_url_that_is_none(url: str) -> None:
    with pytest.raises(MalformedError, match="URL") as caught:
        await open_postgres(url)
    assert "secret" not in str(caught.value)


async def test_queries_at_a_server_that_is_gone_are_asked_again(
    scribe: Scribe,
) -> None:
    with postgres.running(tcp=True) as server:
        async with open_proxy(server.port) as proxy:
            url = f"postgresql://{postgres.ROLE}@127.0.0.1:{proxy.port}/postgres"
            store = await open_postgres(url)
            await commit(store, first := planned(scribe, "r1"))
            assert await store.head() == first.checkpoint

            async def is_asked() -> bool:
                return bool(store._readers._busy)

            with proxy.silence():
                asking = asyncio.create_task(store.head())
                await postgres.until(is_asked)
                store._readers.renew()  # as after the place was lost and taken again
            assert await asyncio.wait_for(asking, 20) == first.checkpoint
            await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://{role}@127.0.0.1:{mute},127.0.0.1:{port}/postgres",
        "postgresql://{role}@/postgres?host=127.0.0.1,127.0.0.1&port={mute},{port}",
    ],
)
async def test_host_that_is_gone_without_a_word_is_passed_over(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 0.5)
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        port = mute.getsockname()[1]
        with postgres.running(tcp=True) as server:
            store = await open_postgres(
                url.format(role=postgres.ROLE, mute=port, port=server.port)
            )
            assert await store.head() is None
            await store.close()


async def test_certificate_that_is_not_trusted_is_no_malformed_url(
    tmp_path: Path,
) -> None:
    (tmp_path / "root.pem").write_text(authority().certificate_pem)
    with postgres.running(tcp=True) as server:
        await encrypt(server)
        with pytest.raises(UnavailableError, match="certificate"):
            await open_postgres(
                f"postgresql://{postgres.ROLE}@localhost:{server.port}/postgres"
                f"?sslmode=verify-full&sslrootcert={tmp_path / 'root.pem'}"
            )


async def test_backups_are_the_servers_own(store: PostgresStore) -> None:
    with pytest.raises(MalformedError, match="pg_dump"):
        await store.backup("copy")


async def test_server_that_says_nothing_is_not_waited_for(
    scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(pool, "_READ_SECONDS", 0.3)
    with postgres.running(tcp=True) as server:
        async with open_proxy(server.port) as proxy:
            url = f"postgresql://{postgres.ROLE}@127.0.0.1:{proxy.port}/postgres"
            store = await open_postgres(url)
            await commit(store, first := planned(scribe, "r1"))
            assert await store.head() == first.checkpoint
            second = planned(scribe, "r2")
            with proxy.silence():
                with pytest.raises(UnavailableError, match="in time"):
                    await store.head()
                with pytest.raises(UnavailableError, match="in time"):
                    await commit(store, second)
            await commit(store, second)
            assert await store.head() == second.checkpoint
            await store.close()
