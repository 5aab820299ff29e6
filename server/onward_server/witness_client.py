"""Asking witnesses over HTTP: the transport of :mod:`onward_server.exchange.asking`."""

from __future__ import annotations

from typing import Self

import structlog

from onward_server.bounded_http import FAILURES, BoundedClient
from onward_server.exchange.asking import MAX_ANSWER, Reply

_log = structlog.get_logger(__name__)


class HttpTransport:
    """Posts to witnesses. Close it at the end.

    Args:
        seconds: how long an answer may take, from the beginning to its last byte.
    """

    def __init__(self, seconds: float) -> None:
        self._client = BoundedClient(
            seconds, MAX_ANSWER, {"Content-Type": "text/plain"}
        )

    async def post(self, url: str, body: bytes) -> Reply | None:
        """Posts a body; returns None when nothing usable came back in time."""
        try:
            answer = await self._client.post(url, body)
        except FAILURES as error:
            _log.debug("witness_client.failed", url=url, kind=type(error).__name__)
            return None
        if answer.content is None:
            _log.warning("witness_client.answer_too_long", url=url, most=MAX_ANSWER)
            return None
        return Reply(answer.status, answer.content_type, answer.content)

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
