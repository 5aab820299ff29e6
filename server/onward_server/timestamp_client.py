"""Asking timestamp authorities over HTTP (RFC 3161 3.4).

The transport of :mod:`onward_server.exchange.timestamps`. What comes back is somebody
else's: it is read up to a bound, redirects are not followed, and whoever takes too long
is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import httpx
import structlog

from onward.core.timestamps import MAX_TOKEN_SIZE

_QUERY: Final = "application/timestamp-query"
_REPLY: Final = "application/timestamp-reply"
_HEADERS: Final[Mapping[str, str]] = {
    "User-Agent": "onward",
    "Content-Type": _QUERY,
    "Accept": _REPLY,
    # What comes is not to grow on arrival, past the bound.
    "Accept-Encoding": "identity",
}

_log = structlog.get_logger(__name__)


class TimestampClient:
    """Posts queries to authorities. Close it at the end.

    Args:
        seconds: how long an answer may take, from the beginning to its last byte.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._client = httpx.AsyncClient(
            timeout=seconds,
            headers=_HEADERS,
            follow_redirects=False,
            trust_env=False,
        )

    async def post(self, url: str, query: bytes) -> bytes | None:
        """Posts a query; returns None when nothing usable came back in time."""
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream("POST", url, content=query) as answer,
            ):
                return await _read(answer)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            _log.debug("timestamp_client.failed", url=url, kind=type(error).__name__)
            return None

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.aclose()


async def _read(answer: httpx.Response) -> bytes | None:
    """Reads an answer as it is; None if it is of another kind, or too long."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if answer.status_code != httpx.codes.OK or kind != _REPLY:
        _log.debug("timestamp_client.refused", status=answer.status_code, kind=kind)
        return None
    content = b""
    async for part in answer.aiter_raw():
        content += part
        if len(content) > MAX_TOKEN_SIZE:
            return None
    return content
