"""A TCP proxy that does to a connection what networks do, below TLS.

It sees bytes, and nothing in them. What it may do is in its :class:`Weather`, which a
test changes while connections are open; and it can cut them, hold everything back
without a word, and swap two pieces of one direction, which TCP never would.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

_READ: Final = 64 * 1024
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST, as a router does that forgot us."""


def _flowing() -> asyncio.Event:
    """Returns what connections wait for: set as long as they may go on."""
    event = asyncio.Event()
    event.set()
    return event


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to bytes on their way, in each direction of each connection.

    Attributes:
        delay: each segment is held back for so many seconds at least and at most, by
            itself: what was sent first on one connection may come last.
        piece: each segment is split into pieces of so many bytes at least and at most;
            None leaves it whole.
    """

    delay: tuple[float, float] = (0.0, 0.0)
    piece: tuple[int, int] | None = None


CALM: Final = Weather()


@dataclass(slots=True)
class Proxy:
    """A proxy in front of a port. Make it with :func:`open_proxy`.

    Attributes:
        target: the port behind it.
        chance: what is random about it.
        weather: what happens to bytes at present.
        port: where it listens.
        connections: how many there were.
        cuts: how many of them it has cut while they were open.
        pieces: how many pieces it has passed on.
        swapped: how many pairs of pieces it has swapped.
    """

    target: int
    chance: random.Random
    weather: Weather = CALM
    port: int = 0
    connections: int = 0
    cuts: int = 0
    pieces: int = 0
    swapped: int = 0
    _swap: asyncio.Future[None] | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _flows: asyncio.Event = field(default_factory=_flowing)
    _accepts: bool = True

    def cut(self) -> None:
        """Resets all connections."""
        for writer in list(self._open):
            self.cuts += writer.get_extra_info("sockname")[1] == self.port
            self._reset(writer)

    async def swap(self) -> None:
        """Swaps the next two pieces of some direction; returns when it has."""
        self._swap = asyncio.get_running_loop().create_future()
        await self._swap
        self._swap = None

    def forget(self) -> None:
        """Carries nothing more over what is open, as a router that forgot it."""
        self._flows.clear()
        self._flows = _flowing()

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Holds everything back while the block runs; nobody is told."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    @contextmanager
    def absence(self) -> Iterator[None]:
        """Cuts all connections, and every new one, while the block runs."""
        self._accepts = False
        self.cut()
        try:
            yield
        finally:
            self._accepts = True

    async def pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carries one connection until either side ends it."""
        self.connections += 1
        flows = self._flows
        self._open.add(writer)
        if not self._accepts:
            self._reset(writer)
            return
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            self._reset(writer)
            return
        self._open.add(there[1])
        # What ends one side ends the other; at the end of a test, both.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(
                self._carry(reader, there[1], flows),
                self._carry(there[0], writer, flows),
            )

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flows: asyncio.Event,
    ) -> None:
        """Carries one direction."""
        with suppress(OSError):
            while segment := await reader.read(_READ):
                await asyncio.sleep(self.chance.uniform(*self.weather.delay))
                for piece in self._split(segment):
                    await flows.wait()
                    self.pieces += 1
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        self._open.discard(writer)
        writer.close()

    def _split(self, segment: bytes) -> list[bytes]:
        """Returns a segment in pieces, two of them swapped if that was asked for."""
        sizes = self.weather.piece or (len(segment), len(segment))
        pieces, start = [], 0
        while start < len(segment):
            end = start + self.chance.randint(*sizes)
            pieces.append(segment[start:end])
            start = end
        asked = self._swap
        if asked and not asked.done() and len(pieces) > 1 and pieces[0] != pieces[1]:
            pieces[:2] = pieces[1::-1]
            self.swapped += 1
            asked.set_result(None)
        return pieces

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        """Ends one side of a connection by RST; the other follows."""
        self._open.discard(writer)
        linger: socket.socket = writer.get_extra_info("socket")
        with suppress(OSError):
            linger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()


@asynccontextmanager
async def open_proxy(target: int, seed: int = 2026) -> AsyncIterator[Proxy]:
    """Runs a proxy in front of a port of this machine while the block runs."""
    proxy = Proxy(target, random.Random(seed))
    server = await asyncio.start_server(proxy.pass_on, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await asyncio.sleep(0)
