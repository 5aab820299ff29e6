"""Asking witnesses over HTTP: the transport of :mod:`onward_server.exchange.asking`.

What comes back is somebody else's: it is read up to a bound, redirects are not
followed, and whoever takes too long is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Self

import httpx
import structlog

from onward_server.exchange.asking import MAX_ANSWER, Reply

_CONNECTIONS: Final = 32
_HEADERS: Final[Mapping[str, str]] = {
    "User-Agent": "onward",
    "Content-Type": "text/plain",
    # What comes is not to grow on arrival, past the bound.
    "Accept-Encoding": "identity",
}

_log = structlog.get_logger(__name__)


class HttpTransport:
    """Posts to witnesses. Close it at the end.

    Args:
        seconds: how long an answer may take, from the beginning to its last byte.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._client = httpx.AsyncClient(
            timeout=seconds,
            limits=httpx.Limits(max_connections=_CONNECTIONS),
            headers=_HEADERS,
            follow_redirects=False,
            trust_env=False,
        )

    async def post(self, url: str, body: bytes) -> Reply | None:
        """Posts a body; returns None when nothing usable came back in time."""
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream("POST", url, content=body) as answer,
            ):
                content = await _read(answer)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            _log.debug("witness_client.failed", url=url, kind=type(error).__name__)
            return None
        if content is None:
            _log.warning("witness_client.answer_too_long", url=url, most=MAX_ANSWER)
            return None
        content_type = answer.headers.get("content-type", "")
        return Reply(answer.status_code, content_type, content)

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _read(answer: httpx.Response) -> bytes | None:
    """Reads an answer as it is; None if it is longer than it may be."""
    content = b""
    async for part in answer.aiter_raw():
        content += part
        if len(content) > MAX_ANSWER:
            return None
    return content
