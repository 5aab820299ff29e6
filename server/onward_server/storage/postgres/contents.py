"""Sealed content, kept as ``storage/sealing.py`` says."""

from __future__ import annotations

from collections.abc import Sequence

from onward_server.storage.contract import UploadRow
from onward_server.storage.postgres.connection import Connection
from onward_server.storage.postgres.queries import QUERIES
from onward_server.storage.sealing import encrypt, joined, make_secret, runs


async def add(contents: Sequence[tuple[bytes, bytes]], connection: Connection) -> None:
    """Adds complete contents, but those that are or ever were stored."""
    if not contents:
        return
    wanted = dict(contents)
    keys = await _allocate(list(wanted), "", None, connection)
    for run in runs((keys[digest], wanted[digest]) for digest in keys):
        await QUERIES.put_content_chunks(connection, rows=run)


async def erase(digests: Sequence[bytes], connection: Connection) -> None:
    """Erases contents and all uploads of them; remembers which referrals name them."""
    if digests:
        await QUERIES.drop_contents(connection, digests=digests)
        await QUERIES.erase_contents(connection, digests=digests)


async def put_chunk(
    row: UploadRow, position: int, data: bytes, connection: Connection
) -> None:
    """Keeps one chunk of an unfinished upload."""
    found = await QUERIES.upload(connection, digest=row.digest, uploader=row.uploader)
    if found is None:
        keys = await _allocate([row.digest], row.uploader, row.uploaded_ms, connection)
        found = keys[row.digest]
    content_id, secret = found
    piece = (content_id, position, encrypt(secret, data))
    await QUERIES.put_content_chunks(connection, rows=[piece])


async def complete_upload(row: UploadRow, connection: Connection) -> None:
    """Makes an upload the content, unless that is or ever was stored."""
    upload = {"digest": row.digest, "uploader": row.uploader}
    await QUERIES.complete_upload(connection, **upload, uploaded_ms=row.uploaded_ms)
    await QUERIES.drop_upload(connection, **upload)


async def read(digest: bytes, connection: Connection) -> bytes | None:
    """Returns complete content, or None when it is not stored.

    Raises:
        UnavailableError: the stored bytes are damaged.
    """
    pieces = await QUERIES.content(connection, digest=digest)
    return joined(pieces) if pieces else None


async def _allocate(
    digests: Sequence[bytes],
    uploader: str,
    uploaded_ms: int | None,
    connection: Connection,
) -> dict[bytes, tuple[int, bytes]]:
    """Adds contents without bytes, but those that there are.

    Returns id and secret of each that was added.
    """
    secrets = {make_secret(): digest for digest in digests}
    added = await QUERIES.put_contents(
        connection,
        digests=list(secrets.values()),
        uploader=uploader,
        uploaded_ms=uploaded_ms,
        secrets=list(secrets),
    )
    return {secrets[secret]: (content_id, secret) for content_id, secret in added}
