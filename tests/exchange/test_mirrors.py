"""Mirrors that somebody else serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onward.core.errors import MalformedError
from onward.core.notes import NoteSigner
from onward_server.mirrors import Mirror

MEGABYTE = 1024 * 1024


class Endless(BaseHTTPRequestHandler):
    """Answers with more than anybody can keep."""

    sent = 0

    def do_GET(self) -> None:
        assert self.headers["Accept-Encoding"] == "identity"
        self.send_response(200)
        self.end_headers()
        with suppress(ConnectionError):
            while Endless.sent < 256 * MEGABYTE:
                Endless.sent += self.wfile.write(bytes(MEGABYTE))

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def endless() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_no_more_is_read_than_a_file_can_have(endless: str) -> None:
    signer = NoteSigner("national.example/log", Ed25519PrivateKey.generate())
    with pytest.raises(MalformedError, match="more bytes"):
        Mirror.open(endless, signer.vkey)
    assert Endless.sent < 64 * MEGABYTE
