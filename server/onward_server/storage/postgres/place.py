"""A process's place among those that work on one database.

It is held by a connection of its own: while that lives, the server knows that the
process does. The same connection hears of what the others commit, and holds the lead in
chores. When it is lost, it is made again, and the place is taken
again under the same name; leads are then open to all, and as anything may have happened
in between, whoever listens is told to look at everything.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from hashlib import sha256

from onward.core.errors import OnwardError
from onward_server.storage.faults import unavailable
from onward_server.storage.postgres.connection import (
    FAILURES,
    Connection,
    connect,
    translating,
)
from onward_server.storage.postgres.queries import QUERIES
from onward_server.storage.postgres.writer import read_news

_CHANNEL = "onward"
_NUMBERS = 2**31
"""How many names there are: what the server takes as the second number of a lock."""

_BEAT_SECONDS = 3.0
"""How often the connection is tried, and how soon it is made again."""

_ANSWER_SECONDS = 5.0


class Place:
    """The place of this process. Take it; then keep it, in a task.

    Args:
        url: of the database.

    Attributes:
        replica: this process's name.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._number = secrets.randbelow(_NUMBERS)
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()
        self._leads: set[str] = set()
        self._heard: list[Callable[[Collection[str]], None]] = []

    @property
    def replica(self) -> str:
        """The name of this process among those on the database."""
        return str(self._number)

    def listen(self, heard: Callable[[Collection[str]], None]) -> None:
        """Has ``heard`` called after commits of other processes."""
        self._heard.append(heard)

    async def take(self) -> None:
        """Takes the place.

        Raises:
            UnavailableError: the database cannot be reached, or somebody has the place.
        """
        connection = await connect(self._url, "place")
        try:
            async with translating(), asyncio.timeout(_ANSWER_SECONDS):
                free = await QUERIES.take_place(connection, number=self._number)
                await connection.add_listener(_CHANNEL, self._hear)
            _check_free(free)
        except BaseException:
            connection.terminate()
            raise
        self._leads.clear()
        self._connection = connection

    async def leads(self, chore: str) -> bool:
        """Whether this process is the one of all that does a chore."""
        number = int.from_bytes(sha256(chore.encode()).digest()[:4]) % _NUMBERS
        async with self._turn:
            if self._connection is None:
                return False
            if chore not in self._leads:
                async with translating(), asyncio.timeout(_ANSWER_SECONDS):
                    if await QUERIES.lead(self._connection, number=number):
                        self._leads.add(chore)
            return chore in self._leads

    async def keep(self, retaken: Callable[[], Awaitable[None]]) -> None:
        """Keeps the place for ever; after it was lost and taken again, says so.

        Args:
            retaken: is called until it succeeds.
        """
        settled = True
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            with suppress(*FAILURES, OnwardError):
                if not await self._beats():
                    settled = False
                    async with self._turn:
                        await self.take()
                if not settled:
                    await retaken()
                    settled = True
                    self._tell(())

    async def close(self) -> None:
        """Gives the place up."""
        async with self._turn:
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close(timeout=1)

    async def _beats(self) -> bool:
        """Whether the connection is alive; ends it if it does not answer."""
        async with self._turn:
            connection = self._connection
            if connection is None or connection.is_closed():
                self._connection = None
                return False
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await connection.execute("SELECT 1")
            except BaseException:
                self._connection = None
                connection.terminate()
                raise
            return True

    def _hear(self, _connection: object, _pid: int, _channel: str, news: str) -> None:
        """Is called for each notification, those of this process too."""
        replica, members = read_news(news)
        if replica != self.replica:
            self._tell(members)

    def _tell(self, members: Collection[str]) -> None:
        for heard in self._heard:
            heard(members)


def _check_free(free: bool) -> None:  # noqa: FBT001 - what a query said
    """Refuses a place that somebody has: perhaps a lost connection of ours."""
    if not free:
        raise unavailable("this process's place on the database is not free yet; wait")
