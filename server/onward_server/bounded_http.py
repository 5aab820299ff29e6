"""Posting to strangers over HTTP: witnesses, and timestamp authorities.

What comes back is somebody else's: it is read up to a bound, redirects are not
followed, proxies of the environment are not used, and whoever takes too long is given
up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

FAILURES: Final = (httpx.HTTPError, httpx.InvalidURL, TimeoutError)
"""What :meth:`BoundedClient.post` raises where no answer came in time."""

_CONNECTIONS: Final = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """What a stranger answered.

    Attributes:
        content: the bytes as they came; None if they were more than allowed.
    """

    status: int
    content_type: str
    content: bytes | None


class BoundedClient:
    """Posts, and reads no more than it must. Close it at the end.

    Args:
        seconds: how long an answer may take, from the beginning to its last byte.
        most: bytes of an answer.
        headers: of each request.
    """

    def __init__(self, seconds: float, most: int, headers: Mapping[str, str]) -> None:
        self._seconds = seconds
        self._most = most
        self._client = httpx.AsyncClient(
            timeout=seconds,
            limits=httpx.Limits(max_connections=_CONNECTIONS),
            # What comes is not to grow on arrival, past the bound.
            headers={"User-Agent": "onward", "Accept-Encoding": "identity", **headers},
            follow_redirects=False,
            trust_env=False,
        )

    async def post(self, url: str, body: bytes) -> Answer:
        """Posts a body.

        Raises:
            One of :data:`FAILURES`: no answer came in time.
        """
        async with (
            asyncio.timeout(self._seconds),
            self._client.stream("POST", url, content=body) as answer,
        ):
            content_type = answer.headers.get("content-type", "")
            return Answer(answer.status_code, content_type, await self._read(answer))

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.aclose()

    async def _read(self, answer: httpx.Response) -> bytes | None:
        """Reads an answer as it is; None if it is longer than it may be."""
        content = b""
        async for part in answer.aiter_raw():
            content += part
            if len(content) > self._most:
                return None
        return content
