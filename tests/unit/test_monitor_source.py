"""How a monitor reads a log over HTTP: bounded, patient, and to the byte."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from onward.core.errors import MalformedError, UnavailableError, VerificationError
from onward.monitor import HttpSource
from tests.support.process import free_port
from tests.support.served_log import ServedLog, digests, serving

TILE = "tile/0/000.p/3"


class Flaky(ServedLog):
    """A log that is down for some requests."""

    times = 0

    @property
    def down(self) -> bool:
        self.times -= 1
        return self.times >= 0

    @down.setter
    def down(self, _: bool) -> None:
        """Is as it is."""


@pytest.fixture
def log() -> Flaky:
    return Flaky(digests(3))


@pytest.fixture
def source(log: Flaky) -> Iterator[HttpSource]:
    with serving(log) as url:
        yield HttpSource(f"{url}/", pauses=(0, 0))


async def test_what_is_there_comes_to_the_byte(log: Flaky, source: HttpSource) -> None:
    async with source:
        assert await source.get(TILE, 96) == log.file(TILE)
        assert await source.get("tile/0/001", 96) is None


async def test_a_short_failure_is_not_told(log: Flaky, source: HttpSource) -> None:
    async with source:
        log.times = 2
        assert await source.get(TILE, 96) == log.file(TILE)
        log.times = 3
        with pytest.raises(UnavailableError, match="503"):
            await source.get(TILE, 96)


async def test_nothing_is_read_past_its_size(source: HttpSource) -> None:
    async with source:
        with pytest.raises(VerificationError, match="95 bytes"):
            await source.get(TILE, 95)


@contextmanager
def answering(coding: str, content: bytes) -> Iterator[str]:
    """Answers everybody in a coding that nobody has asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Encoding", coding)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(ConnectionError):
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", " GZip"])
async def test_what_comes_packed_unasked_is_unpacked(
    log: ServedLog, coding: str
) -> None:
    tile = log.file(TILE)
    assert tile is not None
    with answering(coding, gzip.compress(tile)) as url:
        async with HttpSource(url, pauses=()) as source:
            assert await source.get(TILE, 96) == tile


async def test_what_comes_packed_does_not_grow_past_its_size() -> None:
    with answering("gzip", gzip.compress(bytes(64 * 1024 * 1024))) as url:
        tracemalloc.start()
        async with HttpSource(url, pauses=()) as source:
            with pytest.raises(VerificationError, match="96 bytes"):
                await source.get(TILE, 96)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("coding", "content"), [("br", b"x"), ("gzip", b"no gzip"), ("gzip, gzip", b"x")]
)
async def test_what_cannot_be_unpacked_proves_nothing(
    coding: str, content: bytes
) -> None:
    with answering(coding, content) as url:
        async with HttpSource(url, pauses=()) as source:
            with pytest.raises(UnavailableError):
                await source.get(TILE, 96)


async def test_nobody_answers() -> None:
    async with HttpSource(f"http://127.0.0.1:{free_port()}", pauses=()) as source:
        with pytest.raises(UnavailableError, match="cannot be read"):
            await source.get(TILE, 96)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "log.example",
        "ftp://log.example",
        "http://",
        "https://a.example/?a=b",
        "a\0",
    ],
)
def test_what_is_no_url_of_a_log(url: str) -> None:
    with pytest.raises(MalformedError, match="no URL of a log"):
        HttpSource(url)
