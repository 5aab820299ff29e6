"""Where a monitor reads a log: over HTTP.

What comes is somebody else's, so nothing is read past the size that it can have, and
whoever takes too long is given up. What fails for a moment is tried again.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final, Protocol, Self

import httpx

from onward.core.errors import (
    MalformedError,
    Reason,
    UnavailableError,
    VerificationError,
)

SECONDS: Final = 30.0
"""How long an answer may take, from the beginning to its last byte."""

PAUSES: Final = (0.5, 2.0)
"""Seconds before each further try."""

_CONNECTIONS: Final = 16
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_NONE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class Source(Protocol):
    """Answers what stands at a path of the log."""

    async def get(self, path: str, most: int, *, fresh: bool = False) -> bytes | None:
        """Returns a file of the log, or None if it says that there is none.

        Args:
            path: below the log's URL.
            most: how many bytes it can have.
            fresh: whether caches on the way are to ask the log itself.

        Raises:
            UnavailableError: there was no answer.
            VerificationError: it has more bytes than it can have.
        """


class HttpSource:
    """Reads a log over HTTP. Use it as an async context manager.

    Proxies and authorities of the environment count, such as ``HTTPS_PROXY`` and
    ``SSL_CERT_FILE``.

    Args:
        url: the log's URL.
        pauses: seconds before each further try.
        seconds: how long an answer may take.

    Raises:
        MalformedError: it is no HTTP URL.
    """

    def __init__(
        self, url: str, *, pauses: Sequence[float] = PAUSES, seconds: float = SECONDS
    ) -> None:
        self._base = _base(url)
        self._pauses = pauses
        self._seconds = seconds
        self._client = httpx.AsyncClient(
            timeout=seconds,
            limits=httpx.Limits(max_connections=_CONNECTIONS),
            # Digests do not get smaller, and what comes is not to grow on arrival.
            headers={"User-Agent": "onward-monitor", "Accept-Encoding": "identity"},
        )

    async def get(self, path: str, most: int, *, fresh: bool = False) -> bytes | None:
        """As :meth:`Source.get` says."""
        for pause in (*self._pauses, None):
            try:
                async with asyncio.timeout(self._seconds):
                    return await self._get(path, most, fresh=fresh)
            except (httpx.HTTPError, _AgainError, TimeoutError) as error:
                if pause is None:
                    raise UnavailableError(
                        Reason.ERROR_REASON_UNSPECIFIED,
                        f"{self._base}/{path} cannot be read: {_told(error)}",
                    ) from error
                await asyncio.sleep(pause)
        raise AssertionError  # the last try has returned or raised

    async def _get(self, path: str, most: int, *, fresh: bool) -> bytes | None:
        """Tries once."""
        headers = {"Cache-Control": "no-cache"} if fresh else {}
        url = f"{self._base}/{path}"
        async with self._client.stream("GET", url, headers=headers) as answer:
            if answer.status_code in _NONE:
                return None
            if answer.status_code in _AGAIN:
                raise _AgainError(f"it answers {answer.status_code}")
            if answer.status_code != HTTPStatus.OK:
                raise UnavailableError(
                    Reason.ERROR_REASON_UNSPECIFIED,
                    f"{url} answers {answer.status_code}; check the log's URL",
                )
            return await _read(answer, path, most)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()


class _AgainError(Exception):
    """The log is not well at the moment."""


async def _read(answer: httpx.Response, path: str, most: int) -> bytes:
    """Reads an answer, unpacked if it comes packed, up to a bound."""
    unpack = _unpacking(answer)
    content = bytearray()
    async for part in answer.aiter_raw():
        content += unpack(part, most + 1 - len(content))
        if len(content) > most:
            raise VerificationError(
                Reason.ERROR_REASON_PROOF_INVALID,
                f"{path} has more than the {most} bytes that it can have",
                metadata={"path": path},
            )
    return bytes(content)


def _unpacking(answer: httpx.Response) -> Callable[[bytes, int], bytes]:
    """Returns what makes the content of the parts of an answer, so much at most.

    Logs may pack with gzip without being asked to (C2SP tlog-tiles).
    """
    coding = answer.headers.get("content-encoding", "identity").strip().lower()
    if coding == "identity":
        return lambda part, _most: part
    if coding not in _GZIP:
        raise _AgainError(f"it answers in the coding {coding}, which was not asked for")
    packed = zlib.decompressobj(_GZIP_WINDOW)

    def unpack(part: bytes, most: int) -> bytes:
        try:
            return packed.decompress(part, most)
        except zlib.error:
            raise _AgainError("it answers what cannot be unpacked") from None

    return unpack


def _base(url: str) -> str:
    """Returns a log's URL without what ends it."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.query:
        raise MalformedError(
            f"{url} is no URL of a log; it is what stands before /checkpoint, such as "
            "https://log.national.example"
        )
    return url.rstrip("/")


def _told(error: Exception) -> str:
    """Returns what people are told of a failure."""
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "it takes too long"
    return str(error) or type(error).__name__
