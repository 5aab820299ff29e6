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
from typing import Final, TypeAlias, TypeVar

from onward._clock import Clock, system_clock
from onward.client import Client, Incoming, Logged, PreparedReferral, Published
from onward.core.errors import (
    OnwardError,
    Reason,
    UnavailableError,
    UnknownError,
)
from onward.home import Home
from onward.testing import sample_tip
from onward.v1 import vocabulary_pb2

PATIENCE: Final = 60.0
"""Seconds after which a scenario fails that should have ended long before."""

_PAUSE: Final = 0.1
"""Seconds between two calls that are refused for the moment."""

UNHURRIED: Final = {
    f"ONWARD__QUOTAS__{resource}_{kind}": "1000000"
    for resource in ("PUBLISH", "STATEMENTS", "READS")
    for kind in ("PER_SECOND", "BURST")
} | {"ONWARD__LIMITS__HEARTBEAT_SECONDS": "1"}
"""Settings of an exchange where no quota is what fails, and silence is soon heard."""

Urgency: TypeAlias = vocabulary_pb2.Urgency.ValueType

_ROUTINE: Final = vocabulary_pb2.URGENCY_ROUTINE

Value = TypeVar("Value")


@dataclass(slots=True)
class Traffic:
    """What members send and are told. Make it with :func:`open_traffic`.

    Attributes:
        hotline: publishes.
        passing: reasons for which the exchange refuses until the failure is over.
        sent: what was signed and sent at least once, by referral id.
        accepted: what the exchange said of it, verified by the SDK.
        stored: how often a desk was given each referral.
        confirmed: the ``Received`` statements of the desks, by referral id.
        given_up: calls that the SDK gave up, and that were made again.
        refused: calls that were refused for one of these reasons, and made again.
        unanswered: what had no answer when publishing ended.
        known: how many of these the exchange had accepted all the same.
        waits: seconds from the first call for each referral to its acceptance.
        journeys: the same until it was confirmed, by referral id.
        settling: seconds from the end of publishing until all was settled.
    """

    hotline: Client
    _agency: Home
    _tasks: asyncio.TaskGroup
    _clients: AsyncExitStack
    _clock: Clock
    passing: frozenset[Reason.ValueType] = frozenset()
    sent: dict[str, PreparedReferral] = field(default_factory=dict)
    accepted: dict[str, Published] = field(default_factory=dict)
    stored: Counter[str] = field(default_factory=Counter)
    confirmed: dict[str, Logged] = field(default_factory=dict)
    given_up: int = 0
    refused: int = 0
    unanswered: int = 0
    known: int = 0
    waits: list[float] = field(default_factory=list)
    journeys: dict[str, float] = field(default_factory=dict)
    settling: float = 0.0
    _begun: dict[str, float] = field(default_factory=dict)
    _publishing: list[asyncio.Task[None]] = field(default_factory=list)
    _receiving: list[asyncio.Task[None]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, urgency: Urgency = _ROUTINE) -> None:
        """Publishes one new referral."""
        begun = time.monotonic()
        await self.send(await self.prepare(urgency), begun)

    async def send(
        self, prepared: PreparedReferral, begun: float | None = None
    ) -> None:
        """Publishes a referral, however often that must be tried."""
        begun = begun or time.monotonic()
        self._begun[prepared.referral_id] = begun
        self.accepted[prepared.referral_id] = await self.insist(
            lambda: self.hotline.publish_prepared(prepared)
        )
        self.waits.append(time.monotonic() - begun)
        self._news.set()

    async def prepare(self, urgency: Urgency = _ROUTINE) -> PreparedReferral:
        """Signs and seals a referral, and sends nothing; it counts as sent."""
        prepared = await self.insist(
            lambda: self.hotline.prepare_referral(
                sample_tip(),
                recipients=[self._agency.settings.member],
                urgency=urgency,
                jurisdiction="US-OH",
                basis=vocabulary_pb2.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
                subject_age_group=vocabulary_pb2.AGE_GROUP_ADULT,
            )
        )
        self.sent[prepared.referral_id] = prepared
        self._begun[prepared.referral_id] = time.monotonic()
        return prepared

    def begin(self, callers: int) -> None:
        """Has so many more callers publish one referral after the other."""
        tasks = [self._tasks.create_task(self._publish_on()) for _ in range(callers)]
        self._publishing += tasks

    async def staff(self, desks: int) -> None:
        """Has so many more desks receive, each over a connection of its own."""
        for _ in range(desks):
            opening = Client.open(self._agency, clock=self._clock)
            desk = await self._clients.enter_async_context(opening)
            self._receiving.append(self._tasks.create_task(self._receive_on(desk)))

    async def end(self) -> None:
        """Ends publishing, and receiving once all is settled."""
        for task in self._publishing:
            task.cancel()
        begun = time.monotonic()
        await self.settled()
        self.settling = time.monotonic() - begun
        for task in self._receiving:
            task.cancel()

    async def insist(self, attempt: Callable[[], Awaitable[Value]]) -> Value:
        """Makes a call again when it was not answered, or refused for the moment."""
        while True:
            try:
                return await attempt()
            except UnavailableError:
                self.given_up += 1
            except OnwardError as error:
                if error.reason not in self.passing:
                    raise
                self.refused += 1
                await asyncio.sleep(_PAUSE)

    async def recovered(self) -> float:
        """Waits for an answer and a confirmation; returns how many seconds it took."""
        begun = time.monotonic()
        enough = len(self.accepted), len(self.confirmed)
        await self.until(
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
        await self.until(lambda: self.sent.keys() == self.confirmed.keys())

    async def until(self, fulfilled: Callable[[], bool]) -> None:
        """Waits for what comes by answers and confirmations."""
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

    async def _publish_on(self) -> None:
        """Publishes until it is cancelled; what is under way is not answered then."""
        while True:
            await self.publish()

    async def _receive_on(self, desk: Client) -> None:
        """Receives until it is cancelled."""
        while True:
            await self.insist(lambda: self._receive(desk))

    async def _receive(self, desk: Client) -> None:
        """Receives as one who connects anew."""
        async for item in desk.receive(confirm=False):
            assert isinstance(item, Incoming), item
            self.stored[item.referral_id] += 1
            name = item.referral_id
            self.confirmed[name] = await item.confirm()
            self.journeys[name] = time.monotonic() - self._begun[name]
            self._news.set()


@asynccontextmanager
async def open_traffic(
    hotline: Home,
    agency: Home,
    *,
    callers: int = 4,
    desks: int = 2,
    clock: Clock = system_clock,
) -> AsyncIterator[Traffic]:
    """Publishes and receives while the block runs, and then until all is settled.

    Args:
        hotline: the publisher's home.
        agency: the home that the desks share.
        callers: how many publish at once.
        desks: how many receive, each over a connection of its own.
        clock: the members' clock.
    """
    async with AsyncExitStack() as clients, asyncio.TaskGroup() as tasks:
        publisher = await clients.enter_async_context(Client.open(hotline, clock=clock))
        traffic = Traffic(publisher, agency, tasks, clients, clock)
        traffic.begin(callers)
        await traffic.staff(desks)
        yield traffic
        await traffic.end()
