"""The standard health service (``grpc.health.v1``): whether work should be sent here.

All services of a server share one state, since they share the ledger that each of them
needs; the empty name is the server as a whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import TypeAlias

from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]

from onward.core.errors import Reason, UnknownError
from onward_server.services.interceptor import Context

_Response: TypeAlias = health_pb2.HealthCheckResponse

_UNKNOWN: int = _Response.SERVICE_UNKNOWN
_STATES: dict[bool, int] = {
    True: _Response.SERVING,
    False: _Response.NOT_SERVING,
}


class Readiness:
    """Whether the exchange is ready. Begins with no; ends for ever by :meth:`close`."""

    def __init__(self) -> None:
        self.ready = False
        self.closed = False
        self._changed = asyncio.Event()

    def set(self, *, ready: bool) -> None:
        """Says whether it is ready, unless it was closed."""
        if ready != self.ready and not self.closed:
            self.ready = ready
            self._wake()

    def close(self) -> None:
        """It is not ready any more, and will not be: the exchange shuts down."""
        self.ready, self.closed = False, True
        self._wake()

    async def watch(self) -> AsyncGenerator[bool, None]:
        """Yields whether it is ready, now and at each change, until the close."""
        told = None
        while not (self.closed and told == self.ready):
            # Taken before the state is read, so that no change falls between.
            changed = self._changed
            if told != self.ready:
                told = self.ready
                yield told
            else:
                await changed.wait()

    def _wake(self) -> None:
        """Wakes everybody who waits now."""
        self._changed.set()
        self._changed = asyncio.Event()


class HealthService:
    """Tells the readiness.

    Args:
        readiness: what to tell.
        services: full names of the services of this server.
    """

    def __init__(self, readiness: Readiness, services: Iterable[str]) -> None:
        self._readiness = readiness
        self._services = frozenset({"", *services})

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> _Response:
        """Returns the state of a service; fails with NOT_FOUND for an unknown one."""
        if request.service not in self._services:
            raise UnknownError(
                Reason.ERROR_REASON_METHOD_UNKNOWN, "there is no such service here"
            )
        return _Response(status=self._status(request.service))

    async def List(
        self, request: health_pb2.HealthListRequest, context: Context
    ) -> health_pb2.HealthListResponse:
        """Returns the state of every service."""
        statuses = {
            name: _Response(status=self._status(name)) for name in self._services
        }
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncGenerator[_Response, None]:
        """Streams the state, now and whenever it changes, until the shutdown."""
        async with aclosing(self._readiness.watch()) as changes:
            async for _ in changes:
                yield _Response(status=self._status(request.service))

    def _status(self, service: str) -> int:
        """Returns the state of a service."""
        if service not in self._services:
            return _UNKNOWN
        return _STATES[self._readiness.ready]
