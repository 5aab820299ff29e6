"""The port for strangers: HTTP, or HTTPS where it has a certificate.

It runs in the event loop of the exchange, beside the ports for members. Whoever can
reach it may ask, so everything is bounded: connections, the time that a request may
take to come and to be answered, and the size of its head. Bodies are bounded by who
reads them. What goes wrong inside is logged, and never told.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from onward.core.errors import (
    MalformedError,
    OnwardError,
    QuotaError,
    RangeError,
    UnavailableError,
    UnknownError,
)
from onward_server.web.tls import WebCertificate

MAX_CONNECTIONS: Final = 512
"""Connections at once; more are answered 503, and twice as many are not taken."""

REQUEST_SECONDS: Final = 30.0
"""How long a request may take from its head to the end of its answer."""

IDLE_SECONDS: Final = 15.0
"""How long a connection may be without a complete head of a request."""

MAX_BODY: Final = 64 * 1024
"""Bytes of a request's body; more are answered 413."""

_MAX_HEAD: Final = 16 * 1024
_BACKLOG: Final = 256
_LAST_PORT: Final = 65535

_STATUS: Final = (
    (MalformedError, 400),
    (RangeError, 404),
    (UnknownError, 404),
    (QuotaError, 429),
    (UnavailableError, 503),
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WebPort:
    """What the port is like.

    Attributes:
        address: ``host:port``; port 0 takes a free one.
        certificate: for HTTPS; None for plain HTTP.
    """

    address: str
    certificate: WebCertificate | None = None


def web_app(routes: Sequence[BaseRoute], prefix: str = "") -> ASGIApp:
    """Returns an application of routes.

    Args:
        routes: what it answers; all else is 404.
        prefix: the path before all of theirs, such as ``/log``; or empty.
    """
    app = Starlette(
        routes=[Mount(prefix, app=Router(routes, redirect_slashes=False))],
        exception_handlers={HTTPException: _refuse, OnwardError: _refuse_domain},
        max_body_size=MAX_BODY,
    )
    app.router.redirect_slashes = False
    return _Bounded(app)


class WebServer:
    """A server that listens from the beginning, and answers once it was started.

    Args:
        app: answers.
        port: where.

    Attributes:
        number: the port's number.

    Raises:
        MalformedError: the address cannot be listened on.
    """

    def __init__(self, app: ASGIApp, port: WebPort) -> None:
        self._socket = _listen(port.address)
        self.number: int = self._socket.getsockname()[1]
        self._server = _Server(_settings(app, port.certificate))
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to answer."""
        self._serving = asyncio.create_task(
            self._server.serve(sockets=[self._socket]), name="web"
        )
        await self._server.answering.wait()

    async def stop(self, grace: float) -> None:
        """Ends it.

        Args:
            grace: seconds that requests may go on.
        """
        if self._serving is None:
            self._socket.close()
            return
        # Of whole seconds is only its type; the waiting takes any.
        self._server.config.timeout_graceful_shutdown = grace  # type: ignore[assignment]
        self._server.should_exit = True
        await self._serving


class _Server(uvicorn.Server):
    """Leaves the signals to the exchange, and says when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answering = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does not."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins, and says so."""
        await super().startup(sockets)
        self.answering.set()


class _Protocol(H11Protocol):
    """Ends connections on which no request comes, or only ever a part of its head."""

    _idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first request."""
        super().connection_made(transport)
        if len(self.connections) > 2 * MAX_CONNECTIONS:
            # Without a word: each open file is one that members cannot have.
            transport.abort()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the waiting."""
        if self._idle is not None:
            self._idle.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Begins to wait for the next request."""
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self.loop.call_later(IDLE_SECONDS, self._end_if_idle)

    def _end_if_idle(self) -> None:
        # Before the first request there is no cycle, whatever its type says.
        if getattr(self.cycle, "response_complete", True):
            self.transport.close()


class _Bounded:
    """Bounds the time of each request, and keeps what goes wrong inside."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await self._app(scope, receive, watched)
        except TimeoutError:
            if not begun:
                answer = PlainTextResponse("it took too long\n", 503)
                await answer(scope, receive, send)
        except Exception:  # noqa: BLE001 - nobody else would log it
            # Starlette has answered 500, without a reason.
            _log.exception("web.failed", path=scope.get("path", ""))


def _settings(app: ASGIApp, certificate: WebCertificate | None) -> uvicorn.Config:
    """Returns how the server is to be run."""
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=int(IDLE_SECONDS),
        h11_max_incomplete_event_size=_MAX_HEAD,
        backlog=_BACKLOG,
        ssl_context_factory=(lambda *_: certificate.context) if certificate else None,
    )


def _listen(address: str) -> socket.socket:
    """Takes the port."""
    host, _, number = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if int(number) <= _LAST_PORT:
        with suppress(OSError):
            listening = socket.create_server((host, int(number)), family=family)
            # Connections inherit it. Without it each answer's body would wait for the
            # acknowledgment of its head, some 40 ms.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return listening
    raise MalformedError(
        f"cannot listen on {address}: it is taken by another program, perhaps this "
        "exchange itself, or is no address of this machine",
        field="web.listen",
    )


async def _refuse(_request: Request, error: Exception) -> Response:
    """Answers what the routes refuse: no such path, or not by this method."""
    refused = cast("HTTPException", error)
    headers = {"Cache-Control": "no-store", **(refused.headers or {})}
    text = f"{refused.detail.lower()}\n"
    return PlainTextResponse(text, refused.status_code, headers)


async def _refuse_domain(_request: Request, error: Exception) -> Response:
    """Answers what the domain refuses."""
    refused = cast("OnwardError", error)
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 403)
    headers = {"Cache-Control": "no-store"}
    if refused.retry_after:
        headers["Retry-After"] = f"{refused.retry_after:.0f}"
    return PlainTextResponse(f"{refused.message}\n", status, headers)
