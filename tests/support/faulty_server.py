"""An exchange that dies where a test wants it to.

The places are those of the ledger's story between a change that is asked for and the
answer to it, and those of a cosignature on its way from a witness to the disk. In a
process of its own it dies by SIGKILL; inside a test :class:`Killed` goes through
everything, as no error does, and nothing happens after it::

    python -m tests.support.faulty_server POINT AFTER --config FILE
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

from onward_server import app
from onward_server.config import load
from onward_server.exchange.ledger import Ledger
from onward_server.storage.contract import Writer

LEDGER_POINTS = {
    "begun": "a group was taken from the queue",
    "loaded": "what it needs was read",
    "signed": "the checkpoint was signed, and nothing written",
    "written": "everything was written, and nothing committed",
    "committed": "it is durable, and the guard does not know",
    "guarded": "the guard knows, and nobody was answered",
    "told": "the answers are on their way",
}

WITNESS_POINTS = {
    "answered": "the witness has cosigned, and the answer was not looked at",
    "cosigned": "the cosignature was verified, and nothing written",
}


class Killed(BaseException):
    """The process is dead."""


class Faults:
    """Where and when to die.

    Args:
        point: the place.
        after: at which visit.
        die: how.
    """

    def __init__(self, point: str, after: int, die: Callable[[], NoReturn]) -> None:
        self.point = point
        self.left = after
        self.dead = asyncio.Event()
        self._die = die

    def at(self, point: str) -> None:
        """Dies here if it is time, and stays dead."""
        if point == self.point and not self.dead.is_set():
            self.left -= 1
            if self.left == 0:
                self.dead.set()
        if self.dead.is_set():
            self._die()


class FaultyWriter:
    """A writing transaction."""

    def __init__(self, writer: Writer, faults: Faults) -> None:
        self._writer = writer
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    async def load(self, needs: Any) -> Any:
        loaded = await self._writer.load(needs)
        self._faults.at("loaded")
        return loaded

    async def write(self, batch: Any) -> None:
        self._faults.at("signed")
        await self._writer.write(batch)

    async def put_cosignatures(self, rows: Any) -> None:
        self._faults.at("cosigned")
        await self._writer.put_cosignatures(rows)


class FaultyStore:
    """A store."""

    def __init__(self, store: Any, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Any]:
        self._faults.at("begun")
        async with self._store.writing() as writer:
            yield FaultyWriter(writer, self._faults)
            self._faults.at("written")
        self._faults.at("committed")


class FaultyGuard:
    """A restore guard."""

    def __init__(self, guard: Any, faults: Faults) -> None:
        self._guard = guard
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guard, name)

    def record(self, size: int, root: bytes) -> None:
        self._guard.record(size, root)
        self._faults.at("guarded")


class FaultyHub:
    """What wakes streams, after the answers."""

    def __init__(self, hub: Any, faults: Faults) -> None:
        self._hub = hub
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub, name)

    def wake(self, members: Any) -> None:
        self._faults.at("told")
        self._hub.wake(members)


def endanger(ledger: Ledger, faults: Faults) -> None:
    """Puts the places of faults under and around a ledger."""
    parts: Any = ledger
    parts._store = FaultyStore(parts._store, faults)
    parts._guard = FaultyGuard(parts._guard, faults)
    parts.hub = FaultyHub(parts.hub, faults)


def raise_killed() -> NoReturn:
    """Dies inside of a test."""
    raise Killed


def kill_process() -> NoReturn:
    """Dies as by a power failure."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise Killed


async def _serve(point: str, after: int, config: Path) -> None:
    """Runs an exchange that will die."""
    exchange = await app.build(load(config, os.environ))
    await exchange.start()
    endanger(exchange.ledger, Faults(point, after, kill_process))
    await exchange.serve_until_stopped()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[4])))
