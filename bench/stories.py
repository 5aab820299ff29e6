"""Time that passes at once when nobody has anything to do.

A story is a coroutine: what somebody does, and in between how long it sleeps. While
any story is awake, time stands still; when all sleep, it goes on to the next moment at
which one of them wakes or an alarm of the exchange is due. So a year takes as long as
what happens in it, everything in it has a true time, and all that is done at one moment
is done at once, as by different members.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine
from itertools import count
from typing import Final, Protocol

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

_GRIDS: Final = (HOUR, 15 * MINUTE, 5 * MINUTE, MINUTE)
_FINE: Final = 2
"""Into how many steps of its grid a span is divided, unless it is very short."""


class Alarms(Protocol):
    """What the exchange says when its time has come."""

    async def next(self) -> int | None:
        """Returns when there is something to say next, in milliseconds."""

    async def sound(self) -> None:
        """Says everything that is due."""


class Stories:
    """Tells stories, and the time. It is the exchange's clock, too.

    Args:
        begin_ms: when time begins.
    """

    def __init__(self, begin_ms: int) -> None:
        self._ms = begin_ms
        self._sleeping: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._awake = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._group = asyncio.TaskGroup()

    def now_ms(self) -> int:
        """The time in milliseconds since 1970."""
        return self._ms

    def monotonic(self) -> float:
        """The same in seconds: this time never goes back."""
        return self._ms / 1000

    def tell(self, story: Coroutine[object, object, None]) -> None:
        """Begins a story; only while :meth:`until` runs, or one of its stories."""
        self._wake()
        self._group.create_task(self._follow(story))

    async def sleep(self, span_ms: int) -> None:
        """Sleeps for a while.

        Whoever waits for days does not mind the minute: the end is put off to the next
        round hour, minute or so. So many wake together, and share a commit.
        """
        fitting = (grid for grid in _GRIDS if grid * _FINE <= span_ms)
        grid = next(fitting, _GRIDS[-1])
        await self.sleep_until(rounded(self._ms + span_ms, grid))

    async def sleep_until(self, ms: int) -> None:
        """Sleeps until a time; not at all if it is over."""
        if ms <= self._ms:
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleeping, (ms, next(self._order), future))
        self._rest()
        await future

    async def until(
        self, end_ms: int, alarms: Alarms, *stories: Coroutine[object, object, None]
    ) -> None:
        """Tells stories and what they begin until a time; cuts off what goes on then.

        Raises:
            ExceptionGroup: a story failed.
        """
        async with self._group:
            for story in stories:
                self.tell(story)
            while await self._on(end_ms, alarms):
                pass
            for _, _, future in self._sleeping:
                future.cancel()

    async def _on(self, end_ms: int, alarms: Alarms) -> bool:
        """Goes on to the next moment; returns whether there was one before the end."""
        await self._quiet.wait()
        at = min(self._sleeping[0][0], end_ms) if self._sleeping else end_ms
        due = await alarms.next()
        if due is not None and due <= at:
            self._ms = max(self._ms, due)
            await alarms.sound()
            return True
        self._ms = at
        while self._sleeping and self._sleeping[0][0] <= at:
            heapq.heappop(self._sleeping)[2].set_result(None)
            self._wake()
        return at < end_ms

    async def _follow(self, story: Coroutine[object, object, None]) -> None:
        """Follows a story to its end."""
        await story
        self._rest()

    def _wake(self) -> None:
        self._awake += 1
        self._quiet.clear()

    def _rest(self) -> None:
        self._awake -= 1
        if not self._awake:
            self._quiet.set()


def rounded(ms: int, grid: int) -> int:
    """Returns the next time of a grid that is not before a time."""
    return -(-ms // grid) * grid
