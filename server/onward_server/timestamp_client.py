"""Asking timestamp authorities over HTTP (RFC 3161 3.4).

The transport of :mod:`onward_server.exchange.timestamps`.
"""

from __future__ import annotations

from typing import Final

import httpx
import structlog

from onward.core.timestamps import MAX_TOKEN_SIZE
from onward_server.bounded_http import FAILURES, BoundedClient

_QUERY: Final = "application/timestamp-query"
_REPLY: Final = "application/timestamp-reply"

_log = structlog.get_logger(__name__)


class TimestampClient:
    """Posts queries to authorities. Close it at the end.

    Args:
        seconds: how long an answer may take, from the beginning to its last byte.
    """

    def __init__(self, seconds: float) -> None:
        headers = {"Content-Type": _QUERY, "Accept": _REPLY}
        self._client = BoundedClient(seconds, MAX_TOKEN_SIZE, headers)

    async def post(self, url: str, query: bytes) -> bytes | None:
        """Posts a query; returns None when nothing usable came back in time."""
        try:
            answer = await self._client.post(url, query)
        except FAILURES as error:
            _log.debug("timestamp_client.failed", url=url, kind=type(error).__name__)
            return None
        kind = answer.content_type.partition(";")[0].strip().lower()
        if answer.status != httpx.codes.OK or kind != _REPLY:
            _log.debug("timestamp_client.refused", status=answer.status, kind=kind)
            return None
        return answer.content

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.close()
