"""The store: this process's turns to write, and its place among the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress

from onward.core.errors import (
    MalformedError,
    OnwardError,
    Reason,
    StateError,
    UnavailableError,
)
from onward_server.storage.contract import CheckpointRow, Standing
from onward_server.storage.faults import unavailable
from onward_server.storage.postgres.connection import Connection, connect, translating
from onward_server.storage.postgres.migrations import (
    check_present,
    check_whole,
    migrate,
)
from onward_server.storage.postgres.place import Place
from onward_server.storage.postgres.pool import ReaderPool
from onward_server.storage.postgres.queries import QUERIES
from onward_server.storage.postgres.reader import PostgresReader
from onward_server.storage.postgres.writer import PostgresWriter, settle


async def open_postgres(
    url: str, *, connections: int = 4, read_only: bool = False
) -> PostgresStore:
    """Opens a database, fills an empty one, and brings its schema here.

    Close the store, also after an error: its place is kept as long as it is open.

    Args:
        url: ``postgresql://role:password@host:port/database?sslmode=...``, with several
            hosts where there are standbys: the one that is the primary is taken. It is
            shown to nobody.
        connections: how many calls can read at the same time; two more connections are
            for writing, and for the place.
        read_only: for tools beside a running exchange. Then the database must have the
            present schema, and ``writing`` is refused.

    Raises:
        MalformedError: that is no such URL.
        UnavailableError: it cannot be reached, does not let us in, belongs to another
            program, has another schema, or an exchange is still being moved into it.
    """
    writer = await connect(url, "reader" if read_only else "writer")
    try:
        await (check_present if read_only else migrate)(writer)
        store = PostgresStore(url, connections, None if read_only else writer)
        if not read_only:
            await check_whole(writer)
            await store.take_place()
    except BaseException:
        writer.terminate()
        raise
    if read_only:
        await writer.close(timeout=1)
    return store


class PostgresStore(PostgresReader):
    """See :class:`~onward_server.storage.contract.Store`; see :func:`open_postgres`.

    Writing
    -------
    All processes on the database take turns: a transaction begins by waiting for an
    advisory lock, which the server gives free when the transaction ends, whatever
    becomes of the process. Nobody keeps the turn, or waits for it, longer than
    ``PATIENCE_SECONDS``. A connection that was lost is made again by whoever writes
    next.

    A commit of unknown outcome may be visible although no standby has it: when the wait
    for the standby was ended from outside, or the server was started again meanwhile.
    So before anybody goes on from there, and before another process tells of it,
    something more is committed: what comes later in the server's log is on the standby
    later too.

    Erasing
    -------
    The server keeps a row as it was before it was erased until it is cleaned up. So a
    commit that erased is followed by a VACUUM of the secrets, and while an older
    transaction prevents that, so is each later one. The write-ahead log and backups
    have the old row for as long as the operator keeps them.
    """

    def __init__(self, url: str, connections: int, writer: Connection | None) -> None:
        super().__init__(ReaderPool(url, connections))
        self._url = url
        self._open = writer is not None
        self._place = Place(url)
        self._keeper: asyncio.Task[None] | None = None
        self._writer = writer
        self._turn = asyncio.Lock()
        self._facts: Mapping[str, str] | None = None
        self._refused: OnwardError | None = None
        self._doubtful = False
        self._lasting = 0
        self._inside: asyncio.Task[object] | None = None

    @property
    def replica(self) -> str:
        """The name of this process among those on the database."""
        return self._place.replica

    async def take_place(self) -> None:
        """Takes this process's place, and keeps it until the store is closed."""
        await self._place.take()
        self._keeper = asyncio.create_task(self._place.keep(self._rejoin))

    async def join(self, facts: Mapping[str, str]) -> None:
        """Takes a place among the processes that work on the database.

        Raises:
            StateError: one that runs differs; says in what.
        """
        await self._join(facts)
        self._facts = facts

    def listen(self, heard: Callable[[Collection[str]], None]) -> None:
        """Has ``heard`` called after commits of other processes."""
        self._place.listen(heard)

    async def leads(self, chore: str) -> bool:
        """Whether this process is the one of all that does a chore."""
        try:
            return await self._place.leads(chore)
        except UnavailableError:
            return False

    async def close(self) -> None:
        """Ends all work and closes the database."""
        async with self._turn:
            self._open = False
            if self._keeper is not None:
                self._keeper.cancel()
                await asyncio.wait([self._keeper])
            await self._place.close()
            await self._readers.close()
            if self._writer is not None:
                await self._writer.close(timeout=1)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[PostgresWriter]:
        """The one writing transaction."""
        async with self._turn:
            if self._refused is not None:
                raise self._refused
            await self._settle()
            joined = self._facts is not None
            writer = PostgresWriter(await self._connected(), self.replica, joined)
            self._inside = asyncio.current_task()
            try:
                yield writer
                await writer.commit()
            except BaseException:
                self._doubtful |= writer.doubtful
                with suppress(UnavailableError):
                    await writer.roll_back()
                raise
            finally:
                self._inside = None
            self._lasting = max(self._lasting, writer.size)
            if writer.erased:
                with suppress(UnavailableError):
                    await self._clean_up()

    async def standing(self) -> Standing:
        """How far the log, the directory and the policy are.

        Inside a transaction it may say what its commit makes last.
        """
        await self._settled()
        standing = await super().standing()
        size = standing.head.size if standing.head else 0
        inside = self._inside is asyncio.current_task()
        if size > self._lasting and self._open and not inside:
            async with self._turn:
                await settle(await self._connected())
            self._lasting = max(self._lasting, size)
        return standing

    async def checkpoint(self, size: int) -> CheckpointRow | None:
        """The checkpoint of exactly this size, if one was signed."""
        await self._settled()
        return await super().checkpoint(size)

    async def backup(self, target: str) -> None:
        """Refuses: PostgreSQL has its own ways.

        Raises:
            MalformedError: always.
        """
        raise MalformedError(
            f"{target} is not written: back PostgreSQL up with its own tools, such as "
            "pg_basebackup with the write-ahead log, or pg_dump",
            field="target",
        )

    async def _settle(self) -> None:
        """Makes what is visible last; only for whoever has the turn."""
        if self._doubtful:
            await settle(await self._connected())
            self._doubtful = False

    async def _settled(self) -> None:
        """The same for whoever has no turn. In a transaction nothing is in doubt."""
        if self._doubtful:
            async with self._turn:
                await self._settle()

    async def _connected(self) -> Connection:
        """Returns the writing connection, made again if it was lost."""
        if not self._open:
            raise unavailable("the database is not open for writing")
        if self._writer is None or self._writer.is_closed():
            self._writer = await connect(self._url, "writer")
        return self._writer

    async def _clean_up(self) -> None:
        """Removes erased secrets from the table, if no older reader is in the way."""
        async with translating():
            await QUERIES.vacuum_secrets(await self._connected())

    async def _join(self, facts: Mapping[str, str], *, again: bool = False) -> None:
        async with self.writing() as writer:
            for other in await writer.join(dict(facts), again=again):
                _check_same(facts, other)

    async def _rejoin(self) -> None:
        """Joins again, after the others may have believed this process to be gone.

        Whoever joined meanwhile may have changed what it goes by, and be gone by now.
        """
        self._readers.renew()
        if self._facts is not None:
            try:
                await self._join(self._facts, again=True)
            except StateError as error:
                self._refused = error


def _check_same(facts: Mapping[str, str], other: Mapping[str, str]) -> None:
    """Compares what must be the same in all processes; values are not shown."""
    for name in sorted(facts.keys() | other.keys()):
        if facts.get(name) != other.get(name):
            raise StateError(
                Reason.ERROR_REASON_STATE_FORBIDS,
                f"an exchange process with another {name} works on this database; give "
                "all of them the same configuration, or stop the others first",
                metadata={"fact": name},
            )
