"""Sealed content, kept so that it can be erased beyond recovery.

The bytes of each content are encrypted with a secret of its own. A database leaves
copies of what it held in places that it no longer knows: unused parts of pages, pages
of the write-ahead log, blocks of the disk. Erasing the secret, 32 bytes which are never
moved, makes all of these copies worthless.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from onward_server.storage.contract import ReferralRow, UploadRow
from onward_server.storage.sqlite.connection import QUERIES, unavailable
from onward_server.storage.sqlite.rows import pack, pack_digests, read_values

CHUNK_SIZE = 1024 * 1024
"""Content is kept in pieces of at most this many bytes."""

_RUN_SIZE = 8 * CHUNK_SIZE
"""So many bytes of content, or one piece more, are handed to SQLite at once."""

_SECRET_SIZE = 32
_NONCE_SIZE = 12

Piece = tuple[int, int, bytes]
"""Content id, position, encrypted bytes."""


def add(
    contents: Sequence[tuple[bytes, bytes]], connection: sqlite3.Connection
) -> None:
    """Adds complete contents, but those that are or ever were stored."""
    if not contents:
        return
    new = dict(contents)
    for digest, _ in read_values(QUERIES.contents(connection, **pack_digests(new))):
        del new[bytes.fromhex(digest)]
    keys = _allocate([(digest, "", None) for digest in new], connection)
    for run in _runs(zip(keys, new.values(), strict=True)):
        QUERIES.put_content_chunks(connection, **pack(run))


def name(referrals: Iterable[ReferralRow], connection: sqlite3.Connection) -> None:
    """Keeps which accepted referral names which content."""
    named = [
        (row.content_digest, row.referral_id) for row in referrals if not row.rejected
    ]
    if named:
        QUERIES.name_contents(connection, **pack(named))


def erase(digests: Sequence[bytes], connection: sqlite3.Connection) -> None:
    """Erases contents and all uploads of them; remembers which referrals name them."""
    if not digests:
        return
    erased = pack_digests(digests)
    QUERIES.drop_contents(connection, **erased)
    QUERIES.erase_contents(connection, **erased)
    QUERIES.delete_content_chunks(connection, **erased)


def put_chunk(
    row: UploadRow, position: int, data: bytes, connection: sqlite3.Connection
) -> None:
    """Keeps one chunk of an unfinished upload."""
    found = QUERIES.upload(connection, digest=row.digest, uploader=row.uploader)
    content_id, secret = (
        found or _allocate([(row.digest, row.uploader, row.uploaded_ms)], connection)[0]
    )
    piece = (content_id, position, _encrypt(secret, data))
    QUERIES.put_content_chunks(connection, **pack([piece]))


def complete_upload(row: UploadRow, connection: sqlite3.Connection) -> None:
    """Makes an upload the content, unless that is or ever was stored."""
    upload = {"digest": row.digest, "uploader": row.uploader}
    now = {"uploaded_ms": row.uploaded_ms}
    QUERIES.refresh_content(connection, digest=row.digest, **now)
    QUERIES.complete_upload(connection, **upload, **now)
    QUERIES.drop_upload(connection, **upload)


def read(digest: bytes, connection: sqlite3.Connection) -> bytes | None:
    """Returns complete content, or None when it is not stored.

    Raises:
        UnavailableError: the stored bytes are damaged.
    """
    pieces = list(QUERIES.content(connection, digest=digest))
    if not pieces:
        return None
    try:
        return b"".join(_decrypt(secret, data) for secret, data in pieces)
    except InvalidTag as error:
        raise unavailable(
            "stored content is damaged; restore the database from a backup"
        ) from error


def _allocate(
    rows: Sequence[tuple[bytes, str, int | None]], connection: sqlite3.Connection
) -> list[tuple[int, bytes]]:
    """Adds contents without bytes; returns their ids and secrets.

    Args:
        rows: digest, uploader, time of the upload.
        connection: the writing one.
    """
    if not rows:
        return []
    first = (QUERIES.last_content_id(connection) or 0) + 1
    keys = [(first + n, os.urandom(_SECRET_SIZE)) for n in range(len(rows))]
    contents = ((key[0], *row) for key, row in zip(keys, rows, strict=True))
    QUERIES.put_contents(connection, **pack(contents))
    QUERIES.put_content_secrets(connection, **pack(keys))
    return keys


def _runs(contents: Iterable[tuple[tuple[int, bytes], bytes]]) -> Iterator[list[Piece]]:
    """Cuts contents into encrypted pieces, and yields so many bytes of them at once."""
    run: list[Piece] = []
    size = 0
    for (content_id, secret), content in contents:
        for start in range(0, len(content) or 1, CHUNK_SIZE):
            data = _encrypt(secret, content[start : start + CHUNK_SIZE])
            run.append((content_id, start // CHUNK_SIZE, data))
            size += len(data)
            if size >= _RUN_SIZE:
                yield run
                run, size = [], 0
    if run:
        yield run


def _encrypt(secret: bytes, data: bytes) -> bytes:
    nonce = os.urandom(_NONCE_SIZE)
    return nonce + AESGCM(secret).encrypt(nonce, data, None)


def _decrypt(secret: bytes, data: bytes) -> bytes:
    return AESGCM(secret).decrypt(data[:_NONCE_SIZE], data[_NONCE_SIZE:], None)
