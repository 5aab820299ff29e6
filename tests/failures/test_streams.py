"""Two thousand streams at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import pytest

from onward.core.statements import parse_statement
from onward.v1 import (
    alert_pb2,
    alert_pb2_grpc,
    referral_pb2,
    referral_pb2_grpc,
    vocabulary_pb2,
)
from tests.failures.conftest import Found
from tests.support.process import HOTLINE, TRUST_DOMAIN, ExchangeProcess
from tests.support.reckoning import reckon
from tests.support.scenarios import LEASED, NOT_DELIVERED, NOT_LOST, Seen, scenario
from tests.support.traffic import PATIENCE, UNHURRIED, open_traffic

AGENCIES = 10
STREAMS = 100
"""Of each agency and each kind, of which there are two."""
EVERY = 2 * AGENCIES * STREAMS
REFERRALS = 5
"""To each agency."""

SETTINGS = UNHURRIED | {
    "ONWARD__LIMITS__HEARTBEAT_SECONDS": "5",
    "ONWARD__QUOTAS__STREAMS": str(2 * STREAMS),
    "ONWARD__ENROLMENT__CALLS_PER_MINUTE": "100000",
}

ENDED = "An exchange that is stopped ends its streams in order, and its calls first."


@dataclass(slots=True)
class Streams:
    """Open streams, and what came on them.

    Attributes:
        alive: on how many something has come.
        came: when each referral came first, by id.
        delivered: how often each came.
        ends: how the streams ended.
    """

    alive: int = 0
    came: dict[str, float] = field(default_factory=dict)
    delivered: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, stream: Any) -> None:
        """Takes what comes on one of them until it ends."""
        alive = False
        try:
            async for event in stream:
                self.alive += not alive
                alive = True
                if event.WhichOneof("event") == "delivery":
                    signed = parse_statement(event.delivery.referral.statement)
                    self.came.setdefault(signed.message.id, time.monotonic())
                    self.delivered[signed.message.id] += 1
                self.news.set()
        except grpc.aio.AioRpcError as error:
            self.ends[error.code().name] += 1

    async def until(self, fulfilled: Callable[[], bool]) -> float:
        """Waits until something has come; returns how many seconds it took."""
        begun = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            while not fulfilled():
                self.news.clear()
                await self.news.wait()
        return round(time.monotonic() - begun, 2)


def agency(number: int) -> str:
    """Returns the name of an agency."""
    return f"spiffe://{TRUST_DOMAIN}/agency/agency-{number}"


@asynccontextmanager
async def open_streams(exchange: ExchangeProcess) -> AsyncIterator[Streams]:
    """Opens all streams, over one connection for each agency; waits for their ends."""
    streams = Streams()
    receive = referral_pb2.ReceiveRequest(max_outstanding=1)
    watch = alert_pb2.WatchAlertsRequest()
    async with AsyncExitStack() as channels, asyncio.TaskGroup() as tasks:
        for number in range(AGENCIES):
            opening = exchange.channel(agency(number))
            channel = await channels.enter_async_context(opening)
            referrals = referral_pb2_grpc.ReferralServiceStub(channel)
            alerts = alert_pb2_grpc.AlertServiceStub(channel)
            for _ in range(STREAMS):
                tasks.create_task(streams.follow(referrals.Receive(receive)))
                tasks.create_task(streams.follow(alerts.WatchAlerts(watch)))
        yield streams


def resident_mib(exchange: ExchangeProcess) -> float:
    """Returns the memory of the process, in MiB."""
    assert exchange.process is not None
    text = Path(f"/proc/{exchange.process.pid}/status").read_text("ascii")
    (line,) = (line for line in text.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.failures
@scenario(
    f"{EVERY:,} streams are open at once",
    promised=[NOT_LOST, NOT_DELIVERED, LEASED, ENDED],
    done=f"{AGENCIES} agencies open {STREAMS} streams each to receive, {STREAMS} for "
    f"alerts, all to one process. {REFERRALS} referrals go to each agency. Then the "
    "exchange is stopped by SIGTERM, and started again.",
)
async def test_streams(found: Found, seen: Seen) -> None:
    exchange = found(SETTINGS)
    exchange.start()
    kind = vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT
    homes = [await exchange.join(agency(number), kind) for number in range(AGENCIES)]
    hotline, before = exchange.home(HOTLINE), resident_mib(exchange)
    async with AsyncExitStack() as open_ones:
        traffics = [
            await open_ones.enter_async_context(
                open_traffic(hotline, home, callers=0, desks=0)
            )
            for home in homes
        ]
        async with open_streams(exchange) as streams:
            alive = await streams.until(lambda: streams.alive == EVERY)
            seen["all streams alive after, s"] = alive
            memory = (resident_mib(exchange) - before) * 1024 / EVERY
            seen["memory of a stream, KiB"] = round(memory, 1)
            begun = {}
            for one in [*traffics] * REFERRALS:
                prepared = await one.prepare()
                begun[prepared.referral_id] = time.monotonic()
                await one.send(prepared)
            await streams.until(lambda: streams.came.keys() == begun.keys())
            waits = [streams.came[name] - begun[name] for name in begun]
            ending = time.monotonic()
            assert await asyncio.to_thread(exchange.stop) == 0
        seen["streams that ended in order"] = streams.ends["UNAVAILABLE"]
        seen["all ended and the exchange stopped in, s"] = round(
            time.monotonic() - ending, 2
        )
        seen["usually delivered after, s"] = round(median(waits), 3)
        seen["delivered after at most, s"] = round(max(waits), 3)
        seen["given to more than one stream"] = sum(
            count > 1 for count in streams.delivered.values()
        )
        exchange.start()
        for one in traffics:
            await one.staff(1)
    seen |= await reckon(exchange, *traffics)
    assert streams.ends == {"UNAVAILABLE": EVERY}
    assert seen["given to more than one stream"] == 0
