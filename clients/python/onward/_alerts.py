"""Alerts: warnings and breaches, each dealt with at least once.

Where the reader stands is kept in the home, in ``state/alerts``, and moves only when an
alert was dealt with. So what came while nobody was reading, or while the machine was
down, comes when somebody reads again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import grpc

from onward._channel import trace_metadata
from onward._session import Session
from onward._values import Logged
from onward.core.errors import Reason, VerificationError
from onward.home import Home
from onward.v1 import alert_pb2, statement_pb2
from onward.v1.alert_pb2_grpc import AlertServiceStub

_KINDS = frozenset({"warning", "breach"})


@dataclass(frozen=True, slots=True)
class Alert:
    """A ``Warning`` or ``Breach`` that concerns the member.

    Attributes:
        statement: the statement with its receipt.
        resume_token: watching from it continues after this alert.
    """

    statement: Logged
    resume_token: str
    _home: Home = field(repr=False, compare=False)

    @property
    def kind(self) -> str:
        """``warning`` or ``breach``."""
        return self.statement.kind

    @property
    def due(self) -> statement_pb2.Due:
        """What is due, when, and who holds the tip."""
        body: statement_pb2.Warning | statement_pb2.Breach = getattr(
            self.statement.message, self.kind
        )
        return body.due

    async def done(self) -> None:
        """Says that it was dealt with: the next reader of this home goes on after it.

        Raises:
            UnavailableError: the home cannot be written; it comes again.
        """
        await asyncio.to_thread(self._home.save_alerts_token, self.resume_token)


async def watch_alerts(
    session: Session, resume_token: str | None
) -> AsyncGenerator[Alert, None]:
    """Yields alerts; see ``Client.alerts``."""
    home, stub = session.home, AlertServiceStub(session.channel)
    kept = await asyncio.to_thread(home.alerts_token)
    token = kept if resume_token is None else resume_token

    def open_stream() -> grpc.aio.UnaryStreamCall[
        alert_pb2.WatchAlertsRequest, alert_pb2.WatchAlertsResponse
    ]:
        request = alert_pb2.WatchAlertsRequest(resume_token=token)
        return stub.WatchAlerts(request, metadata=trace_metadata())

    async with aclosing(session.caller.reopened(open_stream)) as responses:
        async for response in responses:
            if response.WhichOneof("event") == "heartbeat":
                await session.log.observe(response.heartbeat.checkpoint)
            elif response.HasField("alert"):
                logged = await session.verify_known(response.alert)
                if logged:
                    _check(logged, session.exchange)
                    yield Alert(logged, response.resume_token, home)
            token = response.resume_token or token


def _check(logged: Logged, exchange: str) -> None:
    """Requires that the exchange itself says it."""
    if logged.kind not in _KINDS or logged.issuer != exchange:
        raise VerificationError(
            Reason.ERROR_REASON_ISSUER_MISMATCH,
            "what the exchange sent is not its warning or breach",
        )
