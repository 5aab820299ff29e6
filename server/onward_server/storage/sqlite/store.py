"""The store: one writing transaction at a time, and the life of the file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from onward.core.errors import MalformedError, UnavailableError
from onward_server.storage.faults import unavailable
from onward_server.storage.sqlite.connection import (
    BUSY_MS,
    Connection,
    Glance,
    connect,
)
from onward_server.storage.sqlite.files import (
    claim_database,
    prepare_copy,
    publish_copy,
    remove_copy,
)
from onward_server.storage.sqlite.migrations import (
    check_present,
    check_version,
    migrate,
    scripts,
)
from onward_server.storage.sqlite.pool import ReaderPool
from onward_server.storage.sqlite.reader import SqliteReader
from onward_server.storage.sqlite.writer import SqliteWriter

_SCRUB_MS = 250
"""How long a commit that erased waits for readers of an older state. Only a backup
takes longer, and that is not waited for."""


async def open_sqlite(
    path: str, *, readers: int = 4, read_only: bool = False
) -> SqliteStore:
    """Opens the database file, makes it if there is none, and brings its schema here.

    Close the store, also after an error: its threads keep the process alive.

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
            with suppress(UnavailableError):
                await writer.run(partial(_truncate_log, _SCRUB_MS))
        pool = ReaderPool()
        resources.push_async_callback(pool.close)
        for _ in range(readers):
            pool.add(await connect(path, "reader"))
        if read_only:
            await pool.run(check_present)
        glance = Glance(path)
        resources.callback(glance.close)
        return SqliteStore(writer, pool, glance, resources.pop_all())


async def migrate_sqlite(path: str, *, check: bool = False) -> tuple[int, int]:
    """Brings a file's schema here; no exchange process may run.

    Args:
        path: the file; it must exist.
        check: only look.

    Returns:
        From which version to which; 0 is an empty file.

    Raises:
        StateError: its exchange was moved elsewhere.
        UnavailableError: it cannot be opened, is in use, belongs to another program, or
            has a newer schema.
    """
    latest = len(scripts())
    connection = await connect(path, "reader")
    try:
        present = await connection.run(partial(check_version, latest=latest))
    finally:
        await connection.close()
    if not check:
        await (await open_sqlite(path)).close()
    return present, latest


class SqliteStore(SqliteReader):
    """See :class:`~onward_server.storage.contract.Store`; made by :func:`open_sqlite`.

    Erasing
    -------
    Erasing overwrites the content's secret (``contents.py``) in the database. Older
    pages that hold it stay in the write-ahead log until that is overwritten. So a
    commit that erased is followed by moving the whole log into the database and
    truncating it. A reader of an older state can prevent that; then it is tried again
    after each commit and each backup, and at every start.
    """

    def __init__(
        self,
        writer: Connection | None,
        readers: ReaderPool,
        glance: Glance,
        resources: AsyncExitStack,
    ) -> None:
        super().__init__(readers, glance)
        self._writer = writer
        self._resources = resources
        self._turn = asyncio.Lock()
        self._unscrubbed = True
        self.replica = os.urandom(8).hex()

    async def join(self, facts: Mapping[str, str]) -> None:
        """Nothing to compare with: the file is locked, so no other process runs."""

    def listen(self, heard: Callable[[Collection[str]], None]) -> None:
        """Nothing to hear, for the same reason."""

    async def leads(self, chore: str) -> bool:  # noqa: ARG002 - alone with all of them
        """It does everything itself."""
        return True

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
            writer = SqliteWriter(connection, self.replica)
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
            await self._scrub(_SCRUB_MS if writer.erased else 0)

    async def _scrub(self, wait_ms: int) -> None:
        """Truncates the write-ahead log, if it may hold something erased.

        Only for whoever has the turn. If it fails, it is for the next one to do.
        """
        if self._unscrubbed and self._writer is not None:
            work = partial(_truncate_log, wait_ms)
            with suppress(UnavailableError):
                self._unscrubbed = not await self._writer.run(work)

    async def backup(self, target: str) -> None:
        """Writes a consistent copy of the database to a new file.

        It is complete when it has its name; until then it is ``<target>.partial``.

        Raises:
            MalformedError: there is such a file already.
            UnavailableError: it cannot be written.
        """
        try:
            await self._readers.run(partial(_copy, target))
        except FileExistsError:
            raise MalformedError(
                f"{target} exists; name a new file", field="target"
            ) from None
        except OSError as error:
            raise unavailable(f"cannot write {target}: {error.strerror}") from error
        finally:
            async with self._turn:
                await self._scrub(0)


def _truncate_log(wait_ms: int, connection: sqlite3.Connection) -> bool:
    """Empties the write-ahead log; returns whether no reader was in the way."""
    connection.execute(f"PRAGMA busy_timeout = {wait_ms}")
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    return not busy


def _copy(target: str, connection: sqlite3.Connection) -> None:
    """Copies the database into a new file, under another name until it is complete."""
    unfinished = f"{target}.partial"
    prepare_copy(unfinished, target)
    try:
        connection.execute("VACUUM INTO ?", (unfinished,))
        publish_copy(unfinished, target)
    finally:
        remove_copy(unfinished)
