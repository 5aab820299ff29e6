"""A gRPC client of sockets and bytes, for what no proper client would do.

It speaks just enough HTTP/2 (RFC 9113) and HPACK (RFC 7541) for one unary call with an
empty request: gRPC's own client cannot be told to use an old TLS version.
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import closing
from dataclasses import dataclass

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _GOAWAY = 0, 1, 4, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_EMPTY_MESSAGE = bytes(5)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    tls_version: str
    grpc_status: str
    grpc_message: str


def call_over(context: ssl.SSLContext, port: int, path: str) -> Answer:
    """Makes one call to localhost over TLS as the context has it."""
    with (
        socket.create_connection(("localhost", port), timeout=10) as plain,
        closing(context.wrap_socket(plain, server_hostname="localhost")) as secure,
    ):
        version = secure.version() or ""
        headers = _headers(path)
        secure.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, b"")
            + _frame(_HEADERS, _END_HEADERS, 1, headers)
            + _frame(_DATA, _END_STREAM, 1, _EMPTY_MESSAGE)
        )
        blocks = _header_blocks(secure)
    status, message = (
        _literal(blocks, name) for name in ("grpc-status", "grpc-message")
    )
    return Answer(version, status, message)


def _headers(path: str) -> bytes:
    """Returns the request's headers, each a literal without indexing or Huffman."""
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(
        b"\0" + _string(name) + _string(value) for name, value in fields.items()
    )


def _string(text: str) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text.encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = struct.pack(">I", len(payload))[1:] + bytes([kind, flags])
    return head + struct.pack(">I", stream) + payload


def _header_blocks(secure: ssl.SSLSocket) -> bytes:
    """Reads frames until the answer's end; returns all of its header blocks."""
    blocks = b""
    while True:
        head = _exactly(secure, 9)
        payload = _exactly(secure, int.from_bytes(head[:3], "big"))
        kind, flags = head[3], head[4]
        if kind == _SETTINGS and not flags & _ACK:
            secure.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        if kind == _HEADERS:
            blocks += payload
        if kind == _GOAWAY or (kind in {_HEADERS, _DATA} and flags & _END_STREAM):
            return blocks


def _exactly(secure: ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = secure.recv(size - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def _literal(blocks: bytes, name: str) -> str:
    """Returns a header's value, which gRPC writes as it is."""
    _, found, rest = blocks.partition(name.encode())
    if not found:
        return ""
    size, at = rest[0], 1
    if size == 0x7F:
        size, at = 0x7F + rest[1], 2
        if rest[1] & 0x80:
            size, at = 0x7F + (rest[1] & 0x7F) + (rest[2] << 7), 3
    return rest[at : at + size].decode()
