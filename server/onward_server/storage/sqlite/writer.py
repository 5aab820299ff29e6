"""What happens inside the writing transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from onward_server.storage.contract import (
    Batch,
    CheckpointRow,
    DeliveryRow,
    Loaded,
    Needs,
    ReferralRow,
    StatementRow,
    TokenRow,
    UploadRow,
)
from onward_server.storage.sqlite.connection import QUERIES, Connection, unavailable
from onward_server.storage.sqlite.rows import (
    pack,
    pack_digests,
    pack_rows,
    read_row,
    read_rows,
    read_values,
    to_json,
)

CHUNK_SIZE = 1024 * 1024
"""Content is kept in pieces of at most this many bytes."""

_RUN_SIZE = 8 * CHUNK_SIZE
"""So many bytes of content, or one piece more, are handed to SQLite at once."""


class SqliteWriter:
    """See :class:`~onward_server.storage.contract.Writer`.

    Attributes:
        erased: whether bytes were deleted that must not stay in the write-ahead log.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.erased = False

    async def load(self, needs: Needs) -> Loaded:
        """Returns the state of what is needed, this transaction's writes included."""
        return await self._connection.run(partial(_load, needs))

    async def write(self, batch: Batch) -> None:
        """Writes the batch.

        Raises:
            UnavailableError: the head is not at ``batch.old_size``.
            ValueError: the checkpoint's size is not that of the log with the batch's
                statements.
        """
        self.erased |= bool(batch.erase_contents)
        await self._connection.run(partial(_write, batch))

    async def claim(
        self, recipient: str, holder: str, limit: int, now_ms: int, until_ms: int
    ) -> list[DeliveryRow]:
        """Leases up to ``limit`` waiting deliveries of one recipient to one stream."""

        def work(connection: sqlite3.Connection) -> list[DeliveryRow]:
            text = QUERIES.claimable(
                connection, recipient=recipient, now_ms=now_ms, limit=limit
            )
            rows = read_rows(DeliveryRow, text)
            QUERIES.lease(
                connection,
                recipient=recipient,
                referral_ids=to_json([row.referral_id for row in rows]),
                holder=holder,
                until_ms=until_ms,
            )
            return [
                replace(
                    row,
                    lease_holder=holder,
                    lease_until_ms=until_ms,
                    attempt=row.attempt + 1,
                )
                for row in rows
            ]

        return await self._connection.run(work)

    async def release(self, holder: str) -> None:
        """Ends all leases of one stream."""
        await self._connection.run(partial(QUERIES.release, holder=holder))

    async def release_all(self) -> None:
        """Ends all leases."""
        await self._connection.run(QUERIES.release_all)

    async def put_chunk(self, row: UploadRow, position: int, data: bytes) -> None:
        """Keeps one chunk of an upload that is not complete."""
        upload = {"digest": row.digest, "uploader": row.uploader}

        def work(connection: sqlite3.Connection) -> None:
            QUERIES.begin_upload(connection, uploaded_ms=row.uploaded_ms, **upload)
            QUERIES.put_chunk(connection, position=position, data=data, **upload)

        await self._connection.run(work)

    async def complete_upload(self, row: UploadRow) -> None:
        """Makes the chunks of this uploader's upload the content of that digest."""
        upload = {"digest": row.digest, "uploader": row.uploader}
        now = {"uploaded_ms": row.uploaded_ms}

        def work(connection: sqlite3.Connection) -> None:
            QUERIES.refresh_content(connection, digest=row.digest, **now)
            QUERIES.complete_upload(connection, **upload, **now)
            QUERIES.drop_upload(connection, **upload)

        await self._connection.run(work)

    async def drop_uploads(self, before_ms: int) -> int:
        """Deletes uploads and contents that no referral names, older than this."""
        work = partial(QUERIES.drop_uploads, before_ms=before_ms)
        dropped: int = await self._connection.run(work)
        self.erased |= dropped > 0
        return dropped


def _load(needs: Needs, connection: sqlite3.Connection) -> Loaded:
    """Reads what is needed; asks only for what there is to ask."""
    referrals = deliveries = statements = tokens = contents = None
    if needs.referrals:
        ids = to_json(list(needs.referrals))
        referrals = QUERIES.referrals(connection, referral_ids=ids)
        deliveries = QUERIES.deliveries(connection, referral_ids=ids)
    if needs.digests:
        statements = QUERIES.statement_keys(connection, **pack_digests(needs.digests))
    if needs.tokens:
        tokens = QUERIES.tokens(connection, token_ids=to_json(list(needs.tokens)))
    if needs.contents:
        contents = QUERIES.contents(connection, **pack_digests(needs.contents))
    return Loaded(
        head=read_row(CheckpointRow, QUERIES.head(connection)),
        referrals={row.referral_id: row for row in read_rows(ReferralRow, referrals)},
        deliveries={
            (row.referral_id, row.recipient): row
            for row in read_rows(DeliveryRow, deliveries)
        },
        statements={row.digest: row for row in read_rows(StatementRow, statements)},
        tokens={row.token_id: row for row in read_rows(TokenRow, tokens)},
        contents={
            bytes.fromhex(digest): referral_id
            for digest, referral_id in read_values(contents)
        },
    )


def _write(batch: Batch, connection: sqlite3.Connection) -> None:
    """Writes a batch, table by table; referrals come before their deliveries."""
    _check_size(batch, connection)
    for put, rows in (
        (QUERIES.put_statements, batch.statements),
        (QUERIES.put_referrals, batch.referrals.values()),
        (QUERIES.put_deliveries, batch.deliveries.values()),
        (QUERIES.put_members, batch.members.values()),
        (QUERIES.put_tokens, batch.tokens.values()),
        (QUERIES.put_tiles, batch.tiles),
    ):
        if rows:
            put(connection, **pack_rows(rows))
    if batch.feed:
        QUERIES.put_feed(connection, **pack(batch.feed))
    _write_contents(batch, connection)
    head = batch.checkpoint
    if head is not None:
        QUERIES.put_checkpoint(
            connection,
            size=head.size,
            root=head.root,
            note=head.note,
            signed_ms=head.signed_ms,
        )


def _check_size(batch: Batch, connection: sqlite3.Connection) -> None:
    """Compares before the swap: the log must be as the batch's planner knew it."""
    size = QUERIES.size(connection) or 0
    if size != batch.old_size:
        raise unavailable(
            f"the log has {size} entries, and {batch.old_size} were expected: another "
            "exchange process wrote to it; retry the same call"
        )
    grown = batch.old_size + len(batch.statements)
    head = batch.checkpoint
    if (head is None and batch.statements) or (head is not None and head.size != grown):
        raise ValueError("the checkpoint does not cover exactly the batch's statements")


def _write_contents(batch: Batch, connection: sqlite3.Connection) -> None:
    """Adds content that was never there, keeps who names what, and erases."""
    contents = dict(batch.contents)
    if contents:
        known = read_values(QUERIES.contents(connection, **pack_digests(contents)))
        for digest, _ in known:
            del contents[bytes.fromhex(digest)]
    if contents:
        QUERIES.put_contents(connection, **pack_digests(contents))
        for run in _runs(contents):
            QUERIES.put_content_chunks(connection, **pack(run))
    named = [
        (row.content_digest, row.referral_id)
        for row in batch.referrals.values()
        if not row.rejected
    ]
    if named:
        QUERIES.name_contents(connection, **pack(named))
    if batch.erase_contents:
        erased = pack_digests(batch.erase_contents)
        QUERIES.drop_contents(connection, **erased)
        QUERIES.erase_contents(connection, **erased)


def _runs(contents: dict[bytes, bytes]) -> Iterator[list[tuple[bytes, int, bytes]]]:
    """Cuts contents into pieces (digest, position, data), so many bytes at a time."""
    run: list[tuple[bytes, int, bytes]] = []
    size = 0
    for digest, content in contents.items():
        for start in range(0, len(content) or 1, CHUNK_SIZE):
            piece = content[start : start + CHUNK_SIZE]
            run.append((digest, start // CHUNK_SIZE, piece))
            size += len(piece)
            if size >= _RUN_SIZE:
                yield run
                run, size = [], 0
    yield run
