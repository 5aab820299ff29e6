"""Telling members what concerns them, in the log's order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import TypeAlias

from onward.v1 import vocabulary_pb2
from onward_server.exchange.clock import Clock
from onward_server.exchange.delivering import Beat
from onward_server.exchange.directory import Caller
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.limits import Limits
from onward_server.exchange.publishing import require_role
from onward_server.exchange.receipts import Logged
from onward_server.storage.contract import Store, Topic

_PAGE = 256


News: TypeAlias = AsyncGenerator[tuple[Logged | Beat, int], None]
"""Events, each with the log index to resume after."""


class Watching:
    """Streams of news. Each resumes after a log index; -1 is before everything."""

    def __init__(
        self, ledger: Ledger, store: Store, clock: Clock, limits: Limits
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._limits = limits

    def watch(
        self, caller: Caller, after_index: int, recheck: Callable[[], None]
    ) -> News:
        """Streams the statements about the caller's own referrals, and heartbeats.

        Args:
            caller: a publisher.
            after_index: resume after this log index.
            recheck: raises when the caller may no longer be here.
        """
        require_role(caller, vocabulary_pb2.ROLE_PUBLISHER)
        return self._follow(caller.name, Topic.CUSTODY, after_index, recheck)

    def alerts(
        self, caller: Caller, after_index: int, recheck: Callable[[], None]
    ) -> News:
        """Streams the warnings and breaches that concern the caller, and heartbeats.

        Operators hear of all, since all concern the exchange.
        """
        operates = vocabulary_pb2.ROLE_OPERATOR in caller.entry.roles
        feed = self._ledger.exchange if operates else caller.name
        return self._follow(feed, Topic.ALERT, after_index, recheck)

    async def _follow(
        self, feed: str, topic: Topic, after_index: int, recheck: Callable[[], None]
    ) -> News:
        """Streams what one feed holds and will hold."""
        place = after_index
        with self._ledger.hub.subscribe(feed) as ear:
            quiet_since = self._clock.monotonic()
            while True:
                recheck()
                while indexes := await self._store.feed(feed, topic, place, _PAGE):
                    for logged in await self._ledger.logged(indexes):
                        place = logged.log_index
                        yield logged, place
                    quiet_since = self._clock.monotonic()
                    recheck()
                await ear.wait(min(self._limits.recheck, self._limits.heartbeat))
                if self._clock.monotonic() - quiet_since >= self._limits.heartbeat:
                    quiet_since = self._clock.monotonic()
                    yield Beat(self._ledger.checkpoint()), place
