"""The reading connections, which are few, and shared by all who read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from onward_server.storage.faults import unavailable
from onward_server.storage.postgres.connection import (
    FAILURES,
    Connection,
    connect,
    translating,
)

T = TypeVar("T")

_READ_SECONDS = 60.0
"""How long one reading query may take."""


class ReaderPool:
    """Hands connections out in the order of asking.

    They are opened when they are first needed, and again when they were lost.

    Args:
        url: of the database.
        size: how many calls can read at the same time.
    """

    def __init__(self, url: str, size: int) -> None:
        self._url = url
        self._size = size
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._free = asyncio.Semaphore(size)  # fair, which a queue is not
        self._closed = False

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Runs one query on the next free connection.

        When the caller is cancelled, the query is interrupted. When its connection was
        lost, it is asked again on a new one, once.

        Raises:
            UnavailableError: the pool was closed, or the database cannot be used.
        """
        if self._closed:
            raise unavailable("the database was closed; open it again")
        async with self._free, translating():
            if self._idle:
                connection = self._idle.pop()
                try:
                    return await self._ask(connection, work)
                except FAILURES as error:
                    if isinstance(error, TimeoutError) or not connection.is_closed():
                        raise
            return await self._ask(await connect(self._url, "reader"), work)

    def renew(self) -> None:
        """Ends all connections: they may be as dead as others were.

        Queries that run are asked again, as after any connection that was lost.
        """
        for connection in (*self._idle, *self._busy):
            connection.terminate()
        self._idle.clear()

    async def close(self) -> None:
        """Lets all work end that was asked for, and closes all connections."""
        if self._closed:
            return
        self._closed = True
        for _ in range(self._size):
            await self._free.acquire()
        for connection in self._idle:
            await connection.close(timeout=1)

    async def _ask(
        self, connection: Connection, work: Callable[[Connection], Awaitable[T]]
    ) -> T:
        """Runs a query on a connection, which then is free for others."""
        self._busy.add(connection)
        try:
            async with asyncio.timeout(_READ_SECONDS):
                return await work(connection)
        except (asyncpg.InternalClientError, TimeoutError):
            connection.terminate()
            raise
        finally:
            self._busy.discard(connection)
            if not connection.is_closed():
                self._idle.append(connection)
