"""A hotline that publishes and an agency that receives, by the SDK, whatever fails.

Each call is repeated until it is answered, as members are told to do, with the same
bytes. A desk stores what comes before it has ``Received`` logged. What each was told is
kept, and :mod:`tests.support.reckoning` compares it with the log in the end.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

from onward._clock import Clock, system_clock
from onward.client import Client, Incoming, Logged, PreparedReferral, Published
from onward.core.errors import UnavailableError, UnknownError
from onward.home import Home
from onward.testing import sample_tip
from onward.v1 import vocabulary_pb2
from tests.support.process import POLICE

PATIENCE: Final = 60.0
"""Seconds after which a scenario fails that should have ended long before."""

UNHURRIED: Final = {
    f"ONWARD__QUOTAS__{resource}_{kind}": "1000000"
    for resource in ("PUBLISH", "STATEMENTS", "READS")
    for kind in ("PER_SECOND", "BURST")
} | {"ONWARD__LIMITS__HEARTBEAT_SECONDS": "1"}
"""Settings of an exchange where no quota is what fails, and silence is soon heard."""

Value = TypeVar("Value")


@dataclass(slots=True)
class Traffic:
    """What members send and are told. Make it with :func:`open_traffic`.

    Attributes:
        hotline: publishes.
        sent: what was signed and sent at least once, by referral id.
        accepted: what the exchange said of it, verified by the SDK.
        stored: how often a desk was given each referral.
        confirmed: the ``Received`` statements of the desks, by referral id.
        given_up: calls that the SDK gave up, and that were made again.
        unanswered: what had no answer when publishing ended.
        known: how many of these the exchange had accepted all the same.
        waits: seconds from the first try of each referral to its answer.
    """

    hotline: Client
    sent: dict[str, PreparedReferral] = field(default_factory=dict)
    accepted: dict[str, Published] = field(default_factory=dict)
    stored: Counter[str] = field(default_factory=Counter)
    confirmed: dict[str, Logged] = field(default_factory=dict)
    given_up: int = 0
    unanswered: int = 0
    known: int = 0
    waits: list[float] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self) -> None:
        """Publishes one referral, however often that must be tried."""
        prepared = await self.insist(lambda: prepare(self.hotline))
        self.sent[prepared.referral_id] = prepared
        begun = time.monotonic()
        self.accepted[prepared.referral_id] = await self.insist(
            lambda: self.hotline.publish_prepared(prepared)
        )
        self.waits.append(time.monotonic() - begun)
        self._news.set()

    async def publish_on(self) -> None:
        """Publishes until it is cancelled; what is under way is not answered then."""
        while True:
            await self.publish()

    async def receive_on(self, desk: Client) -> None:
        """Receives until it is cancelled."""
        while True:
            await self.insist(lambda: self._receive(desk))

    async def insist(self, attempt: Callable[[], Awaitable[Value]]) -> Value:
        """Makes a call again whenever the exchange could not be reached in time."""
        while True:
            try:
                return await attempt()
            except UnavailableError:
                self.given_up += 1

    async def recovered(self) -> float:
        """Waits for an answer and a confirmation; returns how many seconds it took."""
        begun = time.monotonic()
        enough = len(self.accepted), len(self.confirmed)
        await self._until(
            lambda: len(self.accepted) > enough[0] and len(self.confirmed) > enough[1]
        )
        return round(time.monotonic() - begun, 2)

    async def settled(self) -> None:
        """Waits until a desk has confirmed everything that was sent.

        What was sent and not answered is sent again before, so that it is there.
        """
        async with asyncio.timeout(PATIENCE):
            for name in self.sent.keys() - self.accepted.keys():
                await self._answer(self.sent[name])
        await self._until(lambda: self.sent.keys() == self.confirmed.keys())

    async def _until(self, fulfilled: Callable[[], bool]) -> None:
        """Waits for what answers and confirmations lead to."""
        async with asyncio.timeout(PATIENCE):
            while not fulfilled():
                self._news.clear()
                await self._news.wait()

    async def _answer(self, prepared: PreparedReferral) -> None:
        """Sends again what was not answered, after a look whether it is there."""
        self.unanswered += 1
        with suppress(UnknownError):
            await self.insist(lambda: self.hotline.receipt(prepared.digest))
            self.known += 1
        self.accepted[prepared.referral_id] = await self.insist(
            lambda: self.hotline.publish_prepared(prepared)
        )

    async def _receive(self, desk: Client) -> None:
        """Receives as one who connects anew."""
        async for item in desk.receive(confirm=False):
            assert isinstance(item, Incoming), item
            self.stored[item.referral_id] += 1
            self.confirmed[item.referral_id] = await item.confirm()
            self._news.set()


async def prepare(
    hotline: Client,
    urgency: vocabulary_pb2.Urgency.ValueType = vocabulary_pb2.URGENCY_ROUTINE,
    recipient: str = POLICE,
) -> PreparedReferral:
    """Signs and seals a referral, and sends nothing."""
    return await hotline.prepare_referral(
        sample_tip(),
        recipients=[recipient],
        urgency=urgency,
        jurisdiction="US-OH",
        basis=vocabulary_pb2.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
        subject_age_group=vocabulary_pb2.AGE_GROUP_ADULT,
    )


@asynccontextmanager
async def open_traffic(
    hotline: Home,
    police: Home,
    *,
    callers: int = 4,
    desks: int = 2,
    deadline: float = 30.0,
    clock: Clock = system_clock,
) -> AsyncIterator[Traffic]:
    """Publishes and receives while the block runs, and until all of it is settled.

    Args:
        hotline: the publisher's home.
        police: the home that the desks share.
        callers: how many publish at once.
        desks: how many receive, each over a connection of its own.
        deadline: of each call of the SDK, in seconds.
        clock: the members' clock.
    """
    async with AsyncExitStack() as clients, asyncio.TaskGroup() as tasks:

        async def client(home: Home) -> Client:
            opened = Client.open(home, deadline=deadline, clock=clock)
            return await clients.enter_async_context(opened)

        traffic = Traffic(await client(hotline))
        receiving = [
            tasks.create_task(traffic.receive_on(await client(police)))
            for _ in range(desks)
        ]
        publishing = [tasks.create_task(traffic.publish_on()) for _ in range(callers)]
        yield traffic
        for task in publishing:
            task.cancel()
        await traffic.settled()
        for task in receiving:
            task.cancel()
