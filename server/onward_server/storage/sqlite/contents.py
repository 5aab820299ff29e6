"""Sealed content, kept as ``storage/sealing.py`` says; the secrets never move."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from onward_server.storage.contract import ReferralRow, UploadRow
from onward_server.storage.sealing import encrypt, joined, make_secret, runs
from onward_server.storage.sqlite.connection import QUERIES
from onward_server.storage.sqlite.rows import (
    insert,
    pack,
    pack_digests,
    read_values,
)


def add(
    contents: Sequence[tuple[bytes, bytes]],
    referrals: Iterable[ReferralRow],
    connection: sqlite3.Connection,
) -> None:
    """Adds complete contents, but those that are or ever were stored.

    Keeps as well which accepted referral names which content, added now or before.
    """
    names: dict[bytes, str] = {}
    for row in referrals:
        if not row.rejected:
            names.setdefault(row.content_digest, row.referral_id)
    new = dict(contents)
    if new:
        for digest, _ in read_values(QUERIES.contents(connection, **pack_digests(new))):
            del new[bytes.fromhex(digest)]
    rows = [(digest, "", None, names.pop(digest, "")) for digest in new]
    keys = _allocate(rows, connection)
    for run in runs(zip(keys, new.values(), strict=True)):
        insert(connection, QUERIES.put_content_chunks, run)
    if names:
        QUERIES.name_contents(connection, **pack(names.items()))


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
        found
        or _allocate([(row.digest, row.uploader, row.uploaded_ms, "")], connection)[0]
    )
    piece = (content_id, position, encrypt(secret, data))
    insert(connection, QUERIES.put_content_chunks, [piece])


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
    return joined(pieces) if pieces else None


def _allocate(
    rows: Sequence[tuple[bytes, str, int | None, str]], connection: sqlite3.Connection
) -> list[tuple[int, bytes]]:
    """Adds contents without bytes; returns their ids and secrets.

    Args:
        rows: digest, uploader, time of the upload, and the referral that names it.
        connection: the writing one.
    """
    if not rows:
        return []
    first = (QUERIES.last_content_id(connection) or 0) + 1
    keys = [(first + n, make_secret()) for n in range(len(rows))]
    contents = ((key[0], *row) for key, row in zip(keys, rows, strict=True))
    insert(connection, QUERIES.put_contents, contents)
    insert(connection, QUERIES.put_content_secrets, keys)
    return keys
