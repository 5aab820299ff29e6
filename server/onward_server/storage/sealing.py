"""Sealed content, encrypted so that it can be erased beyond recovery.

The bytes of each content are encrypted with a secret of its own. A database leaves
copies of what it held in places that it no longer knows: unused parts of pages, its
write-ahead log, blocks of the disk. Erasing the secret, 32 bytes, makes all of these
copies worthless.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from onward_server.storage.faults import unavailable

CHUNK_SIZE = 1024 * 1024
"""Content is kept in pieces of at most this many bytes."""

_RUN_SIZE = 8 * CHUNK_SIZE
"""So many bytes of content, or one piece more, are handed to the database at once."""

_SECRET_SIZE = 32
_NONCE_SIZE = 12

Piece = tuple[int, int, bytes]
"""Content id, position, encrypted bytes."""


def make_secret() -> bytes:
    """Returns a secret for one content."""
    return os.urandom(_SECRET_SIZE)


def encrypt(secret: bytes, data: bytes) -> bytes:
    """Encrypts a piece."""
    nonce = os.urandom(_NONCE_SIZE)
    return nonce + AESGCM(secret).encrypt(nonce, data, None)


def runs(contents: Iterable[tuple[tuple[int, bytes], bytes]]) -> Iterator[list[Piece]]:
    """Cuts contents into encrypted pieces, and yields so many bytes of them at once.

    Args:
        contents: content id and secret; then the bytes.
    """
    run: list[Piece] = []
    size = 0
    for (content_id, secret), content in contents:
        for start in range(0, len(content) or 1, CHUNK_SIZE):
            data = encrypt(secret, content[start : start + CHUNK_SIZE])
            run.append((content_id, start // CHUNK_SIZE, data))
            size += len(data)
            if size >= _RUN_SIZE:
                yield run
                run, size = [], 0
    if run:
        yield run


def joined(pieces: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Decrypts all pieces of a content, each of which comes with its secret.

    Raises:
        UnavailableError: the stored bytes are damaged.
    """
    try:
        return b"".join(_decrypt(secret, data) for secret, data in pieces)
    except InvalidTag as error:
        raise unavailable(
            "stored content is damaged; restore the database from a backup"
        ) from error


def _decrypt(secret: bytes, data: bytes) -> bytes:
    return AESGCM(secret).decrypt(data[:_NONCE_SIZE], data[_NONCE_SIZE:], None)
