"""The reading connections, which are few, and shared by all who read."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from onward_server.storage.faults import unavailable
from onward_server.storage.sqlite.connection import Connection

T = TypeVar("T")


class ReaderPool:
    """Hands connections out in the order of asking."""

    def __init__(self) -> None:
        self._idle: deque[Connection] = deque()
        self._free = asyncio.Semaphore(0)  # fair, which a queue is not
        self._size = 0
        self._closed = False

    def add(self, connection: Connection) -> None:
        """Takes one more connection into the pool."""
        self._size += 1
        self._put_back(connection)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs work on the next free connection.

        When the caller is cancelled, the work is interrupted.

        Raises:
            UnavailableError: the pool was closed, or the disk failed.
        """
        if self._closed:
            raise unavailable("the database was closed; open it again")
        await self._free.acquire()
        connection = self._idle.popleft()
        try:
            return await connection.run(work)
        except asyncio.CancelledError:
            await connection.interrupt()
            raise
        finally:
            self._put_back(connection)

    async def close(self) -> None:
        """Lets all work end that was asked for, and closes all connections."""
        self._closed = True
        for _ in range(self._size):
            await self._free.acquire()
            await self._idle.popleft().close()

    def _put_back(self, connection: Connection) -> None:
        self._idle.append(connection)
        self._free.release()
