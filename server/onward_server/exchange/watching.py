"""Telling publishers what happens to their referrals, in the log's order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

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


class Watching:
    """Streams of news for publishers."""

    def __init__(
        self, ledger: Ledger, store: Store, clock: Clock, limits: Limits
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._limits = limits

    async def watch(
        self, caller: Caller, after_index: int, recheck: Callable[[], None]
    ) -> AsyncGenerator[tuple[Logged | Beat, int], None]:
        """Streams the statements about the caller's own referrals, and heartbeats.

        Args:
            caller: a publisher.
            after_index: resume after this log index; -1 for all.
            recheck: raises when the caller may no longer be here.

        Yields:
            The event, and the log index to resume after.
        """
        require_role(caller, vocabulary_pb2.ROLE_PUBLISHER)
        place = after_index
        with self._ledger.hub.subscribe(caller.name) as ear:
            quiet_since = self._clock.monotonic()
            while True:
                recheck()
                while indexes := await self._store.feed(
                    caller.name, Topic.CUSTODY, place, _PAGE
                ):
                    for logged in await self._ledger.logged(indexes):
                        place = logged.log_index
                        yield logged, place
                    quiet_since = self._clock.monotonic()
                    recheck()
                await ear.wait(min(self._limits.recheck, self._limits.heartbeat))
                if self._clock.monotonic() - quiet_since >= self._limits.heartbeat:
                    quiet_since = self._clock.monotonic()
                    yield Beat(self._ledger.checkpoint()), place
