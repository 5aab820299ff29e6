"""An exchange that dies where a test wants it to.

The places are those of the ledger's story between a change that is asked for and the
answer to it, and those of a cosignature on its way from a witness to the disk. It dies
by SIGKILL, so it must be a process of its own: one of ``tests.support.lives``, or::

    python -m tests.support.faulty_server POINT AFTER --config FILE
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

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


async def _turn() -> None:
    """Whoever waits for a turn has one."""
    await asyncio.sleep(0)


class Faults:
    """Where and when the process dies, as by a power failure.

    Args:
        point: the place.
        after: at which visit.
        meanwhile: what others do while the exchange is at this place, where it waits.
    """

    def __init__(
        self,
        point: str,
        after: int,
        meanwhile: Callable[[], Awaitable[None]] = _turn,
    ) -> None:
        self._point = point
        self._left = after
        self._meanwhile = meanwhile

    def at(self, point: str) -> None:
        """Dies here if it is time."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    async def waiting_at(self, point: str) -> None:
        """Dies here if it is time, and lets others act before."""
        if point == self._point and self._left == 1:
            await self._meanwhile()
        self.at(point)


class FaultyWriter:
    """A writing transaction."""

    def __init__(self, writer: Writer, faults: Faults) -> None:
        self._writer = writer
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    async def load(self, needs: Any) -> Any:
        loaded = await self._writer.load(needs)
        await self._faults.waiting_at("loaded")
        return loaded

    async def write(self, batch: Any) -> None:
        await self._faults.waiting_at("signed")
        await self._writer.write(batch)

    async def put_cosignatures(self, rows: Any) -> None:
        await self._faults.waiting_at("cosigned")
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
        await self._faults.waiting_at("begun")
        async with self._store.writing() as writer:
            yield FaultyWriter(writer, self._faults)
            await self._faults.waiting_at("written")
        await self._faults.waiting_at("committed")


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


async def _serve(point: str, after: int, config: Path) -> None:
    """Runs an exchange that will die."""
    exchange = await app.build(load(config, os.environ))
    await exchange.start()
    endanger(exchange.ledger, Faults(point, after))
    await exchange.serve_until_stopped()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[4])))
