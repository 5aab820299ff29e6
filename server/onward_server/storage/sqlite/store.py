"""The store: who may use which connection, and when."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from onward.core.errors import MalformedError, UnavailableError
from onward_server.storage.contract import (
    CheckpointRow,
    DeliveryRow,
    MemberRow,
    ReferralRow,
    StatementRow,
    TileRow,
    TokenRow,
)
from onward_server.storage.sqlite import contents
from onward_server.storage.sqlite.connection import (
    BUSY_MS,
    QUERIES,
    Connection,
    ReaderPool,
    connect,
    unavailable,
)
from onward_server.storage.sqlite.files import (
    claim_database,
    prepare_copy,
    publish_copy,
    remove_copy,
)
from onward_server.storage.sqlite.migrations import check_version, migrate, scripts
from onward_server.storage.sqlite.rows import (
    R,
    make_row,
    read_digests,
    read_row,
    read_rows,
    read_values,
    to_json,
)
from onward_server.storage.sqlite.writer import SqliteWriter

T = TypeVar("T")

_SCRUB_MS = 250
"""How long a commit that erased waits for readers of an older state: they are short,
but for backups."""


async def open_sqlite(
    path: str, *, readers: int = 4, read_only: bool = False
) -> SqliteStore:
    """Opens the database file, makes it if there is none, and brings its schema here.

    Args:
        path: the file; beside it SQLite keeps ``-wal`` and ``-shm``, and we ``.lock``.
            All are readable by the present user only. The folder must exist, on a
            local disk.
        readers: how many calls can read at the same time.
        read_only: for tools beside a running exchange, such as a backup. Then the file
            must exist and have the present schema, and ``writing`` is refused.

    Raises:
        UnavailableError: it cannot be opened, is in use by another process, belongs to
            another program, or has a newer schema.
    """
    async with AsyncExitStack() as resources:
        writer = None
        if not read_only:
            resources.callback(os.close, claim_database(path))
            writer = await connect(path, "writer")
            resources.push_async_callback(writer.close)
            await writer.run(migrate)
        pool = ReaderPool()
        resources.push_async_callback(pool.close)
        for _ in range(readers):
            pool.add(await connect(path, "reader"))
        if read_only:
            await pool.run(_check_present)
        store = SqliteStore(writer, pool, resources.pop_all())
    await store.scrub()
    return store


class SqliteStore:
    """See :class:`~onward_server.storage.contract.Store`; made by :func:`open_sqlite`.

    Erasing
    -------
    Erasing overwrites the content's secret (``contents.py``) in the database. Older
    pages that hold it stay in the write-ahead log until that is overwritten. So a
    commit that erased is followed by moving the whole log into the database and
    truncating it. A reader of an older state can prevent that; then it is tried again
    after each commit and each backup, and at the next start.
    """

    def __init__(
        self, writer: Connection | None, readers: ReaderPool, resources: AsyncExitStack
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._resources = resources
        self._turn = asyncio.Lock()
        self._unscrubbed = writer is not None

    async def close(self) -> None:
        """Ends all work and closes the database."""
        async with self._turn:
            self._writer = None
            await self._resources.aclose()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SqliteWriter]:
        """The one writing transaction."""
        async with self._turn:
            connection = self._writer
            if connection is None:
                raise unavailable("the database is not open for writing")
            writer = SqliteWriter(connection)
            try:
                yield writer
                self._unscrubbed |= writer.erased
                await writer.commit()
            except BaseException:
                # When this is cancelled too, the rollback is done all the same: it is
                # in the connection's queue, before whatever comes next.
                with suppress(UnavailableError):
                    await writer.roll_back()
                raise
            await self._scrub()

    async def scrub(self) -> None:
        """Removes erased bytes from the write-ahead log, if there may be any."""
        async with self._turn:
            await self._scrub()

    async def _scrub(self) -> None:
        """Does so for whoever has the turn; tries again another time if it fails."""
        if self._unscrubbed and self._writer is not None:
            with suppress(UnavailableError):
                self._unscrubbed = not await self._writer.run(_truncate_log)

    # ------------------------------------------------------------------ the log

    async def head(self) -> CheckpointRow | None:
        """The newest checkpoint, or None before the first entry."""
        return await self._row(CheckpointRow, QUERIES.head)

    async def checkpoint(self, size: int) -> CheckpointRow | None:
        """The checkpoint of exactly this size, if one was signed."""
        return await self._row(CheckpointRow, QUERIES.checkpoint, size=size)

    async def checkpoints_covering(
        self, indexes: Iterable[int]
    ) -> Mapping[int, CheckpointRow]:
        """For each index, the first checkpoint that covers the entry."""
        wanted = to_json(list(indexes))
        found = await self._values(QUERIES.checkpoints_covering, indexes=wanted)
        return {index: make_row(CheckpointRow, values) for index, values in found}

    async def tiles(
        self, coordinates: Iterable[tuple[int, int]]
    ) -> Mapping[tuple[int, int], bytes]:
        """Hash tiles by (level, index); a missing one is absent."""
        wanted = to_json(list(coordinates))
        rows = await self._rows(TileRow, QUERIES.tiles, coordinates=wanted)
        return {(row.level, row.index): row.data for row in rows}

    async def statements(self, indexes: Sequence[int]) -> list[StatementRow]:
        """Entries by log index, in the order asked; unknown ones are left out."""
        wanted = to_json(list(set(indexes)))
        rows = await self._rows(StatementRow, QUERIES.statements, indexes=wanted)
        found = {row.log_index: row for row in rows}
        return [found[index] for index in indexes if index in found]

    async def find_statement(self, digest: bytes) -> StatementRow | None:
        """The entry with this digest."""
        return await self._row(StatementRow, QUERIES.find_statement, digest=digest)

    async def digests(self, first: int, limit: int) -> list[bytes]:
        """Consecutive entries' digests, from index ``first``."""
        query = partial(QUERIES.digests, first=first, past=first + limit)
        return read_digests(await self._readers.run(query))

    async def chain(self, referral_id: str) -> list[StatementRow]:
        """All statements about one referral, in the log's order."""
        return await self._rows(StatementRow, QUERIES.chain, referral_id=referral_id)

    async def history(self, kind: str, subject: str) -> list[StatementRow]:
        """All statements of one kind about one subject, in the log's order."""
        return await self._rows(
            StatementRow, QUERIES.history, kind=kind, subject=subject
        )

    # ------------------------------------------------------------------ referrals

    async def referral(self, referral_id: str) -> ReferralRow | None:
        """One referral."""
        return await self._row(
            ReferralRow, QUERIES.referrals, referral_ids=to_json([referral_id])
        )

    async def children(self, referral_id: str) -> list[str]:
        """Ids of the referrals into which this one was transferred, oldest first."""
        return await self._values(QUERIES.children, referral_id=referral_id)

    async def deliveries(self, referral_ids: Sequence[str]) -> list[DeliveryRow]:
        """The deliveries of these referrals."""
        wanted = to_json(list(set(referral_ids)))
        return await self._rows(DeliveryRow, QUERIES.deliveries, referral_ids=wanted)

    async def published(
        self, publisher: str, before_index: int, limit: int
    ) -> list[ReferralRow]:
        """Accepted referrals of a publisher with a smaller log index, newest first."""
        return await self._rows(
            ReferralRow,
            QUERIES.published,
            publisher=publisher,
            before=before_index,
            limit=limit,
        )

    async def received(
        self, recipient: str, before_index: int, limit: int
    ) -> list[ReferralRow]:
        """Accepted referrals to a recipient with a smaller log index, newest first."""
        return await self._rows(
            ReferralRow,
            QUERIES.received,
            recipient=recipient,
            before=before_index,
            limit=limit,
        )

    async def in_jurisdictions(
        self, jurisdictions: Sequence[str], after_index: int, limit: int
    ) -> list[ReferralRow]:
        """Referrals of these codes with a larger log index, oldest first."""
        return await self._rows(
            ReferralRow,
            QUERIES.in_jurisdictions,
            codes=to_json(list(jurisdictions)),
            after=after_index,
            limit=limit,
        )

    async def retractions_pending(self, recipient: str) -> list[str]:
        """Ids of referrals whose retraction this recipient has not answered."""
        return await self._values(QUERIES.retractions_pending, recipient=recipient)

    async def feed(self, member: str, after_index: int, limit: int) -> list[int]:
        """Log indexes that the member is to hear of, larger than this, in order."""
        return await self._values(
            QUERIES.feed, member=member, after=after_index, limit=limit
        )

    async def content(self, digest: bytes) -> bytes | None:
        """Sealed content, or None when it is not stored (or erased)."""
        return await self._readers.run(partial(contents.read, digest))

    async def expired(self, now_ms: int, limit: int) -> list[str]:
        """Ids of accepted referrals whose content is due for erasure."""
        return await self._values(QUERIES.expired, now_ms=now_ms, limit=limit)

    async def state_counts(self) -> Mapping[int, int]:
        """How many deliveries are in each state."""
        return dict(await self._values(QUERIES.state_counts))

    async def oldest_waiting(self) -> Mapping[int, int]:
        """For each urgency, when its longest waiting delivery was accepted."""
        return dict(await self._values(QUERIES.oldest_waiting))

    # ------------------------------------------------------------------ members

    async def members(self) -> list[MemberRow]:
        """All present directory entries, ordered by name."""
        return await self._rows(MemberRow, QUERIES.members)

    async def token(self, token_id: str) -> TokenRow | None:
        """One enrolment token."""
        return await self._row(TokenRow, QUERIES.tokens, token_ids=to_json([token_id]))

    async def member_tokens(self, member: str) -> list[TokenRow]:
        """Enrolment tokens of one member."""
        return await self._rows(TokenRow, QUERIES.member_tokens, member=member)

    # ------------------------------------------------------------------ the file

    async def backup(self, target: str) -> None:
        """Writes a consistent copy of the database to a new file.

        It is complete when it has its name; until then it is ``<target>.partial``.

        Raises:
            MalformedError: there is such a file already.
            UnavailableError: it cannot be written.
        """
        unfinished = f"{target}.partial"
        try:
            prepare_copy(unfinished, target)
            await self._readers.run(partial(_copy_into, unfinished))
            publish_copy(unfinished, target)
        except FileExistsError:
            raise MalformedError(
                f"{target} exists; name a new file", field="target"
            ) from None
        except OSError as error:
            raise unavailable(f"cannot write {target}: {error.strerror}") from error
        finally:
            remove_copy(unfinished)
            await self.scrub()

    # ------------------------------------------------------------------ reading

    async def _row(
        self, row_type: type[R], query: Callable[..., str | None], **parameters: object
    ) -> R | None:
        """Runs a query that returns one row or none."""
        return read_row(row_type, await self._readers.run(partial(query, **parameters)))

    async def _rows(
        self, row_type: type[R], query: Callable[..., str | None], **parameters: object
    ) -> list[R]:
        """Runs a query that returns rows."""
        return read_rows(
            row_type, await self._readers.run(partial(query, **parameters))
        )

    async def _values(
        self, query: Callable[..., str | None], **parameters: object
    ) -> list[Any]:
        """Runs a query that returns other values."""
        return read_values(await self._readers.run(partial(query, **parameters)))


def _truncate_log(connection: sqlite3.Connection) -> bool:
    """Empties the write-ahead log; returns whether no reader was in the way."""
    connection.execute(f"PRAGMA busy_timeout = {_SCRUB_MS}")
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    return not busy


def _check_present(connection: sqlite3.Connection) -> None:
    """Refuses a file whose schema is not the present one."""
    latest = len(scripts())
    version = check_version(connection, latest)
    if version < latest:
        raise unavailable(
            f"the database has schema version {version} and this release needs "
            f"{latest}; start the exchange once, which brings it up to date"
        )


def _copy_into(target: str, connection: sqlite3.Connection) -> None:
    connection.execute("VACUUM INTO ?", (target,))
