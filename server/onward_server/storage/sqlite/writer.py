"""What happens inside the writing transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from onward_server.storage.contract import (
    Batch,
    CheckpointRow,
    CosignatureRow,
    DeliveryRow,
    IntakeRow,
    Loaded,
    Needs,
    ReferralRow,
    StatementRow,
    TimestampRow,
    TokenRow,
    UploadRow,
)
from onward_server.storage.faults import unavailable
from onward_server.storage.sqlite import contents
from onward_server.storage.sqlite.connection import (
    QUERIES,
    Connection,
)
from onward_server.storage.sqlite.rows import (
    Row,
    insert,
    pack_digests,
    read_row,
    read_rows,
    read_values,
    to_json,
    values_of,
)

T = TypeVar("T")


class SqliteWriter:
    """See :class:`~onward_server.storage.contract.Writer`.

    A change of thread costs as much as the work that it is for. So the transaction
    begins with its first work, a batch is written with whatever comes next, which
    mostly is the commit, and what is loaded before any work is read by the event loop
    itself: there is no other writer, so the last commit is what the transaction sees.

    Attributes:
        erased: whether something was erased that must not stay in the write-ahead log.
    """

    def __init__(self, connection: Connection, replica: str) -> None:
        self._connection = connection
        self._replica = replica
        self._waiting: Batch | None = None
        self._begun = False
        self._failed = False
        self.erased = False

    async def commit(self) -> None:
        """Makes it durable.

        Raises:
            UnavailableError: work failed before, or the commit did.
        """
        if self._begun or self._waiting:
            await self._run(_commit)

    async def roll_back(self) -> None:
        """Undoes everything."""
        if self._begun:
            await self._connection.run(_roll_back)

    async def load(self, needs: Needs) -> Loaded:
        """Returns the state of what is needed, this transaction's writes included."""
        work = partial(_load, needs)
        if self._begun or self._waiting:
            return await self._run(work)
        return self._connection.run_here(work)

    async def write(self, batch: Batch) -> None:
        """Writes the batch.

        Raises:
            UnavailableError: the head is not at ``batch.old_size``.
            ValueError: the checkpoint's size is not that of the log with the batch's
                statements.
        """
        self.erased |= bool(batch.erase_contents)
        if self._begun or self._waiting:
            await self._run(partial(_write, batch))
        else:
            self._connection.run_here(partial(_check_size, batch))
            self._waiting = batch

    async def put_cosignatures(self, rows: Sequence[CosignatureRow]) -> None:
        """Keeps verified cosignatures; of several by one key the earliest stays."""
        await self._put(QUERIES.put_cosignatures, rows)

    async def put_timestamps(self, rows: Sequence[TimestampRow]) -> None:
        """Keeps verified tokens; of several by one authority the earliest stays."""
        await self._put(QUERIES.put_timestamps, rows)

    async def claim(
        self, recipient: str, holder: str, limit: int, now_ms: int, until_ms: int
    ) -> list[DeliveryRow]:
        """Leases up to ``limit`` waiting deliveries of one recipient to one stream."""

        def work(connection: sqlite3.Connection) -> list[DeliveryRow]:
            text = QUERIES.claimable(
                connection, recipient=recipient, now_ms=now_ms, limit=limit
            )
            rows = read_rows(DeliveryRow, text)
            if not rows:
                return rows
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

        return await self._run(work)

    async def release(self, holder: str) -> None:
        """Ends all leases of one stream."""
        await self._run(partial(QUERIES.release, holder=holder))

    async def release_lost(self) -> int:
        """Ends all leases of streams whose process is gone; returns how many."""
        lost: int = await self._run(
            partial(QUERIES.release_lost, replica=self._replica)
        )
        return lost

    async def put_chunk(self, row: UploadRow, position: int, data: bytes) -> None:
        """Keeps one chunk of an upload that is not complete."""
        await self._run(partial(contents.put_chunk, row, position, data))

    async def complete_upload(self, row: UploadRow) -> None:
        """Makes the chunks of this uploader's upload the content of that digest."""
        await self._run(partial(contents.complete_upload, row))

    async def drop_uploads(self, before_ms: int) -> int:
        """Deletes uploads and contents that no referral names, older than this."""
        work = partial(QUERIES.drop_uploads, before_ms=before_ms)
        dropped: int = await self._run(work)
        self.erased |= dropped > 0
        return dropped

    async def _put(self, query: Any, rows: Sequence[Row]) -> None:  # noqa: ANN401 - of aiosql
        """Adds rows."""
        values = values_of(rows)
        await self._run(lambda connection: insert(connection, query, values))

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs work in the transaction; after a failure no more, and no commit."""
        if self._failed:
            raise unavailable("the transaction failed; nothing of it was kept")
        begin, self._begun = not self._begun, True
        batch, self._waiting = self._waiting, None

        def together(connection: sqlite3.Connection) -> T:
            if begin:
                _begin(connection)
            if batch is not None:
                _write(batch, connection)
            return work(connection)

        try:
            return await self._connection.run(together)
        except BaseException:
            self._failed = True
            raise


def _begin(connection: sqlite3.Connection) -> None:
    """Begins a transaction; ends one before whose rollback failed."""
    _roll_back(connection)
    connection.execute("BEGIN IMMEDIATE")


def _commit(connection: sqlite3.Connection) -> None:
    connection.execute("COMMIT")


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _load(needs: Needs, connection: sqlite3.Connection) -> Loaded:
    """Reads what is needed."""
    ask = partial(_ask, connection)
    ask_digests = partial(_ask_digests, connection)
    hotlines = {hotline for hotline, _ in needs.books}
    referrals = read_rows(
        ReferralRow, ask(QUERIES.referrals, referral_ids=needs.referrals)
    )
    found = {row.referral_id for row in referrals}
    deliveries = ask(QUERIES.deliveries, referral_ids=found)
    statements = ask_digests(QUERIES.statement_keys, needs.digests)
    tokens = ask(QUERIES.tokens, token_ids=needs.tokens)
    stored = ask_digests(QUERIES.contents, needs.contents)
    intakes = ask(QUERIES.intakes, numbers=needs.all_intakes(referrals))
    lasts = ask(QUERIES.last_intakes, hotlines=hotlines)
    places = ask(QUERIES.last_in_jurisdictions, books=needs.books)
    return Loaded(
        head=read_row(CheckpointRow, QUERIES.head(connection)),
        referrals={row.referral_id: row for row in referrals},
        deliveries={
            (row.referral_id, row.recipient): row
            for row in read_rows(DeliveryRow, deliveries)
        },
        statements={row.digest: row for row in read_rows(StatementRow, statements)},
        tokens={row.token_id: row for row in read_rows(TokenRow, tokens)},
        contents={bytes.fromhex(digest): name for digest, name in read_values(stored)},
        intakes={
            (row.hotline, row.number): row for row in read_rows(IntakeRow, intakes)
        },
        last_intakes={row.hotline: row for row in read_rows(IntakeRow, lasts)},
        last_in_jurisdictions={
            (hotline, code): last for hotline, code, last in read_values(places)
        },
    )


def _ask(
    connection: sqlite3.Connection,
    query: Callable[..., str | None],
    **wanted: Collection[object],
) -> str | None:
    """Runs a query that takes one list, unless there is nothing to ask."""
    ((name, keys),) = wanted.items()
    return query(connection, **{name: to_json(list(keys))}) if keys else None


def _ask_digests(
    connection: sqlite3.Connection,
    query: Callable[..., str | None],
    digests: Collection[bytes],
) -> str | None:
    """The same, for a query that takes digests."""
    return query(connection, **pack_digests(digests)) if digests else None


def _write(batch: Batch, connection: sqlite3.Connection) -> None:
    """Writes a batch, table by table; referrals come before their deliveries."""
    _check_size(batch, connection)
    put: Any
    rows: Collection[Row]
    for put, rows in (
        (QUERIES.put_statements, batch.statements),
        (QUERIES.put_referrals, batch.referrals.values()),
        (QUERIES.put_intakes, batch.intakes.values()),
        (QUERIES.put_policies, batch.policies),
        (QUERIES.put_members, batch.members.values()),
        (QUERIES.put_tokens, batch.tokens.values()),
        (QUERIES.put_tiles, batch.tiles),
    ):
        insert(connection, put, values_of(rows))
    deliveries = ((*row, row[0]) for row in values_of(batch.deliveries.values()))
    insert(connection, QUERIES.put_deliveries, deliveries)
    feed = ((member, int(topic), index) for member, topic, index in batch.feed)
    insert(connection, QUERIES.put_feed, feed)
    contents.add(batch.contents, batch.referrals.values(), connection)
    contents.erase(batch.erase_contents, connection)
    if batch.checkpoint is not None:
        insert(connection, QUERIES.put_checkpoint, values_of([batch.checkpoint]))


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
