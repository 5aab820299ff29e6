"""Waking up who waits: after a commit, open streams of the members concerned.

A wake-up says only that there is something to look at. What there is stands in the
database, so a wake-up that is lost or doubled does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Subscription:
    """One stream's ear. Wake-ups that come while nobody waits are remembered once."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Wakes the stream."""
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Waits for a wake-up; returns False when the time is over instead."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Hub:
    """Subscriptions by member."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, set[Subscription]] = {}

    @contextmanager
    def subscribe(self, member: str) -> Iterator[Subscription]:
        """Listens for one member's wake-ups while the block runs."""
        subscription = Subscription()
        self._subscriptions.setdefault(member, set()).add(subscription)
        try:
            yield subscription
        finally:
            listeners = self._subscriptions[member]
            listeners.discard(subscription)
            if not listeners:
                del self._subscriptions[member]

    def wake(self, members: Iterable[str]) -> None:
        """Wakes every stream of these members."""
        for member in members:
            for subscription in self._subscriptions.get(member, ()):
                subscription.wake()

    def wake_all(self) -> None:
        """Wakes every stream: at shutdown, or when anybody may be concerned."""
        self.wake(list(self._subscriptions))
