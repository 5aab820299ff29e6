"""PostgreSQL fails, or a process on it."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import grpc
import pytest

from onward._errors import error_of_call
from onward.client import Client
from onward.v1 import referral_pb2, referral_pb2_grpc
from tests.support import postgres
from tests.support.postgres import PostgresServer
from tests.support.process import HOTLINE, POLICE, ExchangeProcess
from tests.support.proxy import open_proxy
from tests.support.reckoning import reckon
from tests.support.replicas import found
from tests.support.scenarios import (
    LEASED,
    NO_SECOND,
    NOT_DELIVERED,
    NOT_LOST,
    REPEATED,
    Seen,
    scenario,
)
from tests.support.traffic import UNHURRIED, Traffic, open_traffic

RESTARTS = 3
ENDED = 20
CUTS = 15
DEADLOCKS = 4
REFERRALS = 60
HELD = 40
SECONDS_OF_A_LEASE = 60
DATABASE = "exchange"

REFUSED = (
    "What cannot be written is refused (STORAGE_UNAVAILABLE) and may be repeated. As "
    "soon as the database is there, the exchange goes on, without a restart."
)
ANY_REPLICA = (
    "Any replica takes any call: the death of one costs its callers a retry, and the "
    "others give out what it had leased."
)
GIVES_WAY = (
    "A transaction that waits longer than ten seconds gives way, and is refused as any "
    "other that cannot be written."
)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of our own, with a database, that is durable."""
    with postgres.running({"fsync": "on"}, tcp=True) as running:
        asyncio.run(running.execute(f"CREATE DATABASE {DATABASE}"))
        yield running


@pytest.fixture(scope="module")
def made(
    server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ExchangeProcess]:
    """An exchange on it, with a few members."""
    folder = tmp_path_factory.mktemp("first")
    first = found(folder, server.url(DATABASE, tcp=True), UNHURRIED)
    first.start()
    try:
        asyncio.run(first.populate())
        yield first
    finally:
        first.kill()


@pytest.fixture
def exchange(made: ExchangeProcess) -> ExchangeProcess:
    """The same, running."""
    if made.process is None:
        made.start()
    return made


@asynccontextmanager
async def traffic_at(exchange: ExchangeProcess) -> AsyncIterator[Traffic]:
    """Publishes and receives while the block runs."""
    homes = exchange.home(HOTLINE), exchange.home(POLICE)
    async with open_traffic(*homes) as traffic:
        await traffic.recovered()
        yield traffic


@pytest.mark.failures
@scenario(
    "PostgreSQL is restarted",
    promised=[NOT_LOST, NO_SECOND, NOT_DELIVERED, REFUSED, REPEATED],
    done=f"Under load, PostgreSQL is stopped {RESTARTS} times as by a crash (immediate "
    "shutdown), and started again half a second later.",
)
async def test_restarted(
    exchange: ExchangeProcess, server: PostgresServer, seen: Seen
) -> None:
    again = []
    async with traffic_at(exchange) as traffic:
        for _ in range(RESTARTS):
            await asyncio.to_thread(server.stop, signal.SIGQUIT)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.start)
            again.append(await traffic.recovered())
    seen["restarts"] = RESTARTS
    seen["at work again after each, at most, s"] = max(again)
    seen |= await reckon(exchange, traffic)


@pytest.mark.failures
@scenario(
    "Connections to PostgreSQL end in the midst of transactions",
    promised=[NOT_LOST, NO_SECOND, NOT_DELIVERED, REFUSED, REPEATED],
    done=f"Under load, the server is told to end whatever session is within a "
    f"transaction (pg_terminate_backend), until it has ended {ENDED}. Then a proxy "
    f"between the exchange and the server resets all connections {CUTS} times: also "
    "between a COMMIT and its answer, where nobody can know whether it counts.",
)
async def test_cut(
    exchange: ExchangeProcess, server: PostgresServer, seen: Seen
) -> None:
    chance = random.Random(3)
    url = exchange.folder / "database.url"
    direct = url.read_text()
    exchange.stop()
    async with open_proxy(server.port) as proxy:
        url.write_text(direct.replace(f":{server.port}/", f":{proxy.port}/"))
        await asyncio.to_thread(exchange.start)
        async with traffic_at(exchange) as traffic:
            seen["sessions that were ended within a transaction"] = await end(server)
            seen["at work again, s"] = await traffic.recovered()
            for _ in range(CUTS):
                await asyncio.sleep(chance.uniform(0.02, 0.2))  # when it is cut
                proxy.cut()
            seen["at work again after the last cut, s"] = await traffic.recovered()
        seen["connections that were cut"] = proxy.cuts
        url.write_text(direct)
        seen |= await reckon(exchange, traffic)
        exchange.kill()


@pytest.mark.failures
@scenario(
    "Another program locks the exchange's tables",
    promised=[NOT_LOST, NO_SECOND, NOT_DELIVERED, GIVES_WAY, REFUSED, REPEATED],
    done=f"Under load, a foreign session locks tables against the order in which the "
    f"exchange does, {DEADLOCKS} times, and PostgreSQL ends one side of each deadlock. "
    "At last it keeps them locked until a call is refused. Serialization failures are "
    "not to be had: transactions are READ COMMITTED, and take turns.",
)
async def test_locked(
    exchange: ExchangeProcess, server: PostgresServer, seen: Seen
) -> None:
    async with traffic_at(exchange) as traffic:
        ended = [await deadlock(server) for _ in range(DEADLOCKS)]
        seen["deadlocks in which the exchange gave way"] = ended.count(True)
        seen["deadlocks in which the other did"] = ended.count(False)
        seen["at work again, s"] = await traffic.recovered()
        prepared = await traffic.prepare()
        request = referral_pb2.PublishRequest.FromString(prepared.to_bytes())
        begun = time.monotonic()
        async with locked(server), exchange.channel(HOTLINE) as channel:
            stub = referral_pb2_grpc.ReferralServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Publish(request)
        seen["refused after, s"] = round(time.monotonic() - begun, 2)
        seen["what was told"] = error_of_call(refused.value).reason_name
        seen["at work again after that, s"] = await traffic.recovered()
    seen |= await reckon(exchange, traffic)


async def deadlock(server: PostgresServer) -> bool:
    """Locks tables against the order of the exchange; says whether it gave way."""
    try:
        async with locked(server):
            return True
    except asyncpg.DeadlockDetectedError:
        return False


@asynccontextmanager
async def locked(server: PostgresServer) -> AsyncIterator[None]:
    """Locks tables, the one that the exchange writes last before the others."""
    connection = await postgres.connected(server.url(DATABASE))
    try:
        async with connection.transaction():
            for table in ("tiles", "contents"):
                await connection.execute(f"LOCK TABLE {table}")
                await asyncio.sleep(0.1)  # somebody comes in between
            yield
    finally:
        await connection.close()


async def end(server: PostgresServer) -> int:
    """Ends sessions that are within a transaction; returns how many it were."""
    connection = await postgres.connected(server.url(DATABASE))
    ended = 0
    try:
        while ended < ENDED:
            ended += await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND xact_start IS NOT NULL AND application_name = 'onward'"
            )
            await asyncio.sleep(0.01)
    finally:
        await connection.close()
    return ended


@pytest.mark.failures
@scenario(
    "A replica is killed while a desk holds its leases",
    promised=[NOT_LOST, NO_SECOND, NOT_DELIVERED, LEASED, ANY_REPLICA],
    done=f"Two replicas share a database. A desk at the second is given {HELD} of "
    f"{REFERRALS} referrals and confirms none; four callers publish on, and two desks "
    "receive at either. The second replica is killed by SIGKILL.",
)
async def test_replica_killed_holding_leases(
    exchange: ExchangeProcess, tmp_path: Path, seen: Seen
) -> None:
    second = exchange.copied(tmp_path / "second", exchange.environment)
    second.start()
    either = [exchange.moved_home(name, second.port) for name in (HOTLINE, POLICE)]
    for home in either:
        ports = second.port, exchange.port
        address = ",".join(f"127.0.0.1:{port}" for port in ports)
        settings = replace(home.settings, address=address)
        (home.path / "member.toml").write_text(settings.format())
    async with (
        open_traffic(*either, callers=0, desks=0) as traffic,
        Client.open(second.home(POLICE)) as slow,
        aclosing(slow.receive(max_outstanding=HELD, confirm=False)) as waiting,
    ):
        for _ in range(REFERRALS):
            await traffic.publish()
        held = [await anext(waiting) for _ in range(HELD)]
        begun, earlier = time.monotonic(), len(traffic.waits)
        second.kill()
        traffic.begin(4)
        await traffic.staff(2)
        leased = {item.referral_id for item in held}
        await traffic.until(lambda: leased <= traffic.confirmed.keys())
        seen["given out by the other and confirmed after, s"] = round(
            time.monotonic() - begun, 2
        )
    seen["held when it was killed"] = len(leased)
    seen["longest wait for an answer since, s"] = round(max(traffic.waits[earlier:]), 2)
    seen |= await reckon(exchange, traffic)
