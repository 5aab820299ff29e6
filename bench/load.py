"""The load generator: calls in a closed loop, or at a steady rate.

It does the same for the exchange and for the echo: generated stubs, messages that exist
before the clock runs, replies that are looked at when it has stopped. What it costs
itself is thus in both figures, and pulls every ratio towards 1.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from bench.processes import cpu_seconds

Request = TypeVar("Request")
Reply = TypeVar("Reply")

Call = Callable[[Request], Awaitable[Reply]]


class Busy(Protocol):
    """A server, or several of them."""

    @property
    def cpu_seconds(self) -> float:
        """Seconds on a CPU until now."""


@dataclass(slots=True)
class Run(Generic[Reply]):
    """What came of one run.

    Attributes:
        seconds: from the first call to the last answer.
        latencies: of the calls, in seconds.
        replies: in the order of the requests.
        server_cpu: seconds that the server was on a CPU.
        own_cpu: seconds that the load generator was.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    server_cpu: float = 0.0
    own_cpu: float = 0.0


async def closed(
    call: Call[Request, Reply],
    requests: Sequence[Request],
    callers: int,
    server: Busy,
) -> Run[Reply]:
    """Lets callers call, each again as soon as it has its answer.

    Args:
        call: makes one call.
        requests: what to call with; the callers share them.
        callers: how many there are.
        server: whose time is taken.
    """
    run: Run[Reply] = Run()
    replies: list[Reply | None] = [None] * len(requests)
    waiting = iter(enumerate(requests))

    async def caller() -> None:
        for place, request in waiting:
            begun = time.perf_counter()
            replies[place] = await call(request)
            run.latencies.append(time.perf_counter() - begun)

    with _timed(run, server):
        await asyncio.gather(*(caller() for _ in range(callers)))
    run.replies = [reply for reply in replies if reply is not None]
    return run


async def paced(
    call: Call[Request, Reply],
    requests: Sequence[Request],
    rate: float,
    server: Busy,
) -> Run[Reply]:
    """Begins calls at a steady rate, whether or not earlier ones were answered.

    Latencies count from when a call was due, so a server that falls behind is seen to.

    Args:
        call: makes one call; its latency ends when it returns.
        requests: what to call with.
        rate: calls a second.
        server: whose time is taken.
    """
    run: Run[Reply] = Run()
    loop = asyncio.get_running_loop()

    async def one(request: Request, due: float) -> Reply:
        reply = await call(request)
        run.latencies.append(loop.time() - due)
        return reply

    with _timed(run, server):
        start, tasks = loop.time(), []
        for place, request in enumerate(requests):
            due = start + place / rate
            await asyncio.sleep(due - loop.time())
            tasks.append(asyncio.create_task(one(request, due)))
        run.replies = await asyncio.gather(*tasks)
    return run


@contextmanager
def _timed(run: Run[Reply], server: Busy) -> Iterator[None]:
    """Takes the times of a run, undisturbed by our own garbage collector."""
    gc.collect()
    gc.disable()
    try:
        own, served = cpu_seconds(os.getpid()), server.cpu_seconds
        begun = time.perf_counter()
        yield
        run.seconds = time.perf_counter() - begun
        run.own_cpu = cpu_seconds(os.getpid()) - own
        run.server_cpu = server.cpu_seconds - served
    finally:
        gc.enable()
