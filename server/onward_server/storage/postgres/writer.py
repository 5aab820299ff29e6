"""What happens inside the writing transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import asyncpg
import msgspec

from onward.core.errors import UnavailableError
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
from onward_server.storage.postgres import contents
from onward_server.storage.postgres.connection import (
    PATIENCE_SECONDS,
    Connection,
    completed,
    translating,
)
from onward_server.storage.postgres.migrations import check_present
from onward_server.storage.postgres.queries import QUERIES
from onward_server.storage.postgres.rows import make_row, make_rows, pack_rows

T = TypeVar("T")

_SETTLE_SECONDS = 2.0
"""How long to wait for a standby that the commit before has waited for already."""

_NEWS_SIZE = 7_000
"""What one notification may hold, in bytes; the server's limit is 8,000."""


class PostgresWriter:
    """See :class:`~onward_server.storage.contract.Writer`.

    The transaction begins with the first work, by waiting for this process's turn. All
    that it asks the server for is done to its end, also when the caller is cancelled.

    Args:
        connection: to the primary.
        replica: the name of this process.
        joined: whether it has joined, and so must still be among those that have.

    Attributes:
        erased: whether something was erased that must be cleaned up.
        doubtful: whether a commit was asked for, and was not promised to last.
    """

    def __init__(
        self,
        connection: Connection,
        replica: str,
        joined: bool,  # noqa: FBT001 - a fact
    ) -> None:
        self._connection = connection
        self._replica = replica
        self._joined = joined
        self._begun = False
        self._failed = False
        self._size: int | None = None
        self.erased = False
        self.doubtful = False

    @property
    def size(self) -> int:
        """The log's size as this transaction knows it; 0 if it has not looked."""
        return self._size or 0

    async def commit(self) -> None:
        """Makes it durable.

        Raises:
            UnavailableError: work failed before, or the commit did. Then the connection
                is closed: the server may be busy with it still.
        """
        if self._failed:
            raise unavailable("the transaction failed; nothing of it was kept")
        if not self._begun:
            return
        self.doubtful = True
        try:
            async with translating():
                await completed(_commit(self._connection, PATIENCE_SECONDS))
        except BaseException:
            self._connection.terminate()
            raise
        self.doubtful = False

    async def roll_back(self) -> None:
        """Undoes everything, if need be by closing the connection."""
        if not self._begun or self._connection.is_closed():
            return
        try:
            async with translating():
                await completed(self._connection.execute("ROLLBACK"))
        except BaseException:
            self._connection.terminate()
            raise

    async def load(self, needs: Needs) -> Loaded:
        """Returns the state of what is needed, this transaction's writes included.

        Raises:
            UnavailableError: also when somebody has joined while this process had no
                place: until it has joined again, it may go by what does not hold now.
        """
        loaded = await self._run(partial(self._load, needs))
        self._size = loaded.head.size if loaded.head else 0
        return loaded

    async def write(self, batch: Batch) -> None:
        """Writes the batch.

        Raises:
            UnavailableError: the head is not at ``batch.old_size``.
            ValueError: the checkpoint's size is not that of the log with the batch's
                statements.
        """
        self.erased |= bool(batch.erase_contents)
        await self._run(partial(self._write, batch))

    async def _load(self, needs: Needs, connection: Connection) -> Loaded:
        found = await _find(needs, self._replica, connection)
        if self._joined and not found["joined"]:
            raise unavailable(
                "this process was away from the database while another one joined; "
                "retry the same call at that one, or later"
            )
        return _loaded(found)

    async def _write(self, batch: Batch, connection: Connection) -> None:
        # Whoever has the turn is alone, so a size that was read stays what it is.
        if self._size is None:
            self._size = await QUERIES.size(connection) or 0
        _check_size(batch, self._size)
        await contents.add(batch.contents, connection)
        await QUERIES.write(
            connection,
            statements=pack_rows(batch.statements),
            referrals=pack_rows(batch.referrals.values()),
            deliveries=pack_rows(batch.deliveries.values()),
            intakes=pack_rows(batch.intakes.values()),
            policies=pack_rows(batch.policies),
            members=pack_rows(batch.members.values()),
            tokens=pack_rows(batch.tokens.values()),
            tiles=pack_rows(batch.tiles),
            feed=batch.feed,
            checkpoints=pack_rows([batch.checkpoint] if batch.checkpoint else []),
            news=_news(batch, self._replica),
        )
        await contents.erase(batch.erase_contents, connection)
        if batch.checkpoint is not None:
            self._size = batch.checkpoint.size

    async def put_cosignatures(self, rows: Sequence[CosignatureRow]) -> None:
        """Keeps verified cosignatures; of several by one key the earliest stays."""
        await self._run(partial(QUERIES.put_cosignatures, rows=pack_rows(rows)))

    async def put_timestamps(self, rows: Sequence[TimestampRow]) -> None:
        """Keeps verified tokens; of several by one authority the earliest stays."""
        await self._run(partial(QUERIES.put_timestamps, rows=pack_rows(rows)))

    async def claim(
        self, recipient: str, holder: str, limit: int, now_ms: int, until_ms: int
    ) -> list[DeliveryRow]:
        """Leases up to ``limit`` waiting deliveries of one recipient to one stream."""
        leased = partial(
            QUERIES.claim,
            recipient=recipient,
            holder=holder,
            limit=limit,
            now_ms=now_ms,
            until_ms=until_ms,
        )
        return make_rows(DeliveryRow, await self._run(leased))

    async def release(self, holder: str) -> None:
        """Ends all leases of one stream."""
        await self._run(partial(QUERIES.release, holder=holder))

    async def release_lost(self) -> int:
        """Ends all leases of streams whose process is gone; returns how many."""
        living = await self._living()
        lost: int = await self._run(partial(QUERIES.release_lost, living=living))
        return lost

    async def join(
        self, facts: dict[str, str], *, again: bool = False
    ) -> list[dict[str, str]]:
        """Takes this process's place beside the others; returns what they joined with.

        Roll back if that is not what it should be.

        Args:
            facts: what must be the same.
            again: whether it has joined before. Then all count who are listed: the last
                one who joined is, whether it lives or not, and whoever was gone then is
                not.

        Raises:
            UnavailableError: also when the schema is another release's by now.
        """
        await self._run(check_present)
        living = await self._living()
        me = {"replica": self._replica, "living": living, "again": again}
        others = await self._run(partial(QUERIES.facts, **me))
        mine = msgspec.json.encode(facts).decode()
        await self._run(partial(QUERIES.join, facts=mine, **me))
        return [msgspec.json.decode(other) for (other,) in others]

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

    async def _living(self) -> list[str]:
        """Returns who has a place, and this process, which may have lost its own."""
        return [*(await self._run(QUERIES.living) or []), self._replica]

    async def _run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Runs work in the transaction; after a failure no more, and no commit."""
        if self._failed:
            raise unavailable("the transaction failed; nothing of it was kept")
        begin, self._begun = not self._begun, True
        try:
            async with translating():
                return await completed(_work(self._connection, work, begin=begin))
        except UnavailableError as error:
            self._failed = True
            if isinstance(error.__cause__, TimeoutError):
                self._connection.terminate()
            raise
        except BaseException:
            self._failed = True
            raise


async def _work(
    connection: Connection,
    work: Callable[[Connection], Awaitable[T]],
    *,
    begin: bool,
) -> T:
    """Does a piece of work, in a new transaction if it is to begin with it."""
    if begin:
        await QUERIES.begin(connection)
    return await work(connection)


async def settle(connection: Connection) -> None:
    """Returns when all that can be read by now lasts.

    It commits something that changes nothing, and yet must be on the standby. It needs
    no turn, which a commit that waits for the standby may still have. When that takes
    too long the server is told to wait no longer, which does no harm here, so that no
    process of the server waits on for nobody.

    Raises:
        UnavailableError: that is not known.
    """
    try:
        async with translating():
            await completed(QUERIES.begin_confirming(connection))
            await completed(_confirm(connection))
    except BaseException as error:
        if not isinstance(error.__cause__, _GivenUpError):
            connection.terminate()
        raise


class _GivenUpError(TimeoutError):
    """The server was told to wait for the standby no longer; it is free again."""


async def _confirm(connection: Connection) -> None:
    """Commits what changes nothing; gives up when that takes too long."""
    try:
        async with asyncio.timeout(_SETTLE_SECONDS):
            await _promised(connection)
    except TimeoutError as error:
        raise _GivenUpError from error


async def _commit(connection: Connection, patience: float) -> None:
    """Commits; closes the connection when that takes too long."""
    promised = asyncio.ensure_future(_promised(connection))
    # No cancelling: that would tell the server to commit without the standby.
    await asyncio.wait([promised], timeout=patience)
    if not promised.done():
        connection.terminate()
    await promised


async def _promised(connection: Connection) -> None:
    """Commits.

    The server commits with a warning, and so without a standby, when somebody tells it
    to wait for that no longer: then it counts as failed.
    """
    severities = set()

    def said(_: object, message: asyncpg.PostgresLogMessage) -> None:
        severities.add(message.severity_en)

    connection.add_log_listener(said)
    try:
        done = await QUERIES.commit(connection)
    finally:
        connection.remove_log_listener(said)
    if done != "COMMIT" or "WARNING" in severities:
        raise unavailable(
            "the database did not promise that the commit lasts; retry the same call "
            "later"
        )


async def _find(
    needs: Needs, replica: str, connection: Connection
) -> Mapping[str, Any]:
    """Reads what is needed."""
    intakes, books = list(needs.intakes), list(needs.books)
    found: Mapping[str, Any] = await QUERIES.load(
        connection,
        replica=replica,
        referral_ids=needs.referrals,
        digests=needs.digests,
        token_ids=needs.tokens,
        contents=needs.contents,
        hotlines=[hotline for hotline, _ in intakes],
        numbers=[number for _, number in intakes],
        intakes_of=needs.intakes_of,
        bookkeepers=[hotline for hotline, _ in books],
        codes=[code for _, code in books],
    )
    return found


def _loaded(found: Mapping[str, Any]) -> Loaded:
    """Makes rows of what was read."""
    referrals = make_rows(ReferralRow, found["referrals"])
    deliveries = make_rows(DeliveryRow, found["deliveries"])
    statements = [_statement_key(*values) for values in found["statements"]]
    return Loaded(
        head=make_row(CheckpointRow, found["head"]) if found["head"] else None,
        referrals={row.referral_id: row for row in referrals},
        deliveries={(row.referral_id, row.recipient): row for row in deliveries},
        statements={row.digest: row for row in statements},
        tokens={row.token_id: row for row in make_rows(TokenRow, found["tokens"])},
        contents=dict(found["contents"]),
        intakes={
            (row.hotline, row.number): row
            for row in make_rows(IntakeRow, found["intakes"])
        },
        last_intakes={
            row.hotline: row for row in make_rows(IntakeRow, found["last_intakes"])
        },
        last_in_jurisdictions={
            (hotline, code): last
            for hotline, code, last in found["last_in_jurisdictions"]
        },
    )


def _statement_key(
    log_index: int,
    digest: bytes,
    kind: str,
    referral_id: str,
    subject: str,
    logged_ms: int,
    places: Sequence[str],
) -> StatementRow:
    """Returns a statement without its JWS."""
    return StatementRow(
        log_index, digest, "", kind, referral_id, subject, logged_ms, tuple(places)
    )


def _check_size(batch: Batch, size: int) -> None:
    """Compares before the swap: the log must be as the batch's planner knew it."""
    if size != batch.old_size:
        raise unavailable(
            f"the log has {size} entries, and {batch.old_size} were expected: another "
            "exchange process wrote to it; retry the same call"
        )
    grown = batch.old_size + len(batch.statements)
    head = batch.checkpoint
    if (head is None and batch.statements) or (head is not None and head.size != grown):
        raise ValueError("the checkpoint does not cover exactly the batch's statements")


def _news(batch: Batch, replica: str) -> str:
    """Returns what other processes are told: who tells it, and the members concerned.

    Empty for nothing. Without members where there are too many, or it may be anybody.
    """
    if batch.checkpoint is None and not batch.concerned:
        return ""
    members = msgspec.json.encode(sorted(batch.concerned)).decode()
    return f"{replica} {members if len(members.encode()) <= _NEWS_SIZE else '[]'}"


def read_news(news: str) -> tuple[str, Collection[str]]:
    """Reads what :func:`_news` wrote: who told it, and the members concerned.

    Whoever may connect may tell something: what cannot be read may concern anybody.
    """
    replica, _, members = news.partition(" ")
    try:
        return replica, msgspec.json.decode(members, type=list[str])
    except msgspec.DecodeError:
        return replica, ()
