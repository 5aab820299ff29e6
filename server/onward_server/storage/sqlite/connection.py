"""One SQLite connection, and what its errors mean.

Work on a connection is a plain function that runs as a whole on the connection's own
thread, in the order in which it was asked for. So a transaction costs few changes of
thread, and nothing can come between the statements of one piece of work.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import aiosql
import aiosqlite

from onward.core.errors import Reason, UnavailableError

T = TypeVar("T")

HERE = Path(__file__).parent

QUERIES: Any = aiosql.from_path(HERE / "queries", "sqlite3")
"""The named queries; each takes a ``sqlite3.Connection`` and its named parameters."""

BUSY_MS = 5000
"""How long a statement waits for a lock that some other program holds."""

_CACHED_STATEMENTS = 256
"""More than there are queries, so that each is compiled once per connection."""

_RETRY_SECONDS = 5.0

_CAUSES = {
    sqlite3.SQLITE_BUSY: "another program has locked it",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_INTERRUPT: "the work was interrupted",
    sqlite3.SQLITE_IOERR: "reading or writing the disk failed",
    sqlite3.SQLITE_LOCKED: "it is locked",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_NOTADB: "it is not a database",
    sqlite3.SQLITE_PERM: "access to it is denied",
    sqlite3.SQLITE_READONLY: "it cannot be written",
}
"""Failures of the machine, by primary result code. All others are defects of ours."""

_WRITER = (
    # Durable when COMMIT returns, on macOS too, where fsync alone does not suffice.
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
    # What is deleted is overwritten with zeros.
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA cache_size = -65536",
    # After a long reader, the write-ahead log shrinks again.
    "PRAGMA journal_size_limit = 67108864",
)


class Connection(aiosqlite.Connection):
    """A connection that runs whole functions on its thread."""

    stopped: asyncio.Future[object] | None = None
    """Is done when the thread is about to end; known once it was told to."""

    def stop(self) -> asyncio.Future[object] | None:
        """Tells the thread to close the connection and end."""
        self.stopped = super().stop()
        return self.stopped

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs work on the connection's thread, after all work asked for before.

        When the caller is cancelled, the work is still done.

        Raises:
            UnavailableError: the disk or the operating system failed.
        """
        try:
            # aiosqlite offers one change of thread per statement; what its statements
            # are made of, below, takes any function.
            result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        except sqlite3.Error as error:
            raise translated(error) from error
        return result


async def connect(path: str, role: Literal["writer", "reader"]) -> Connection:
    """Opens an existing file; a reader cannot change it.

    Raises:
        UnavailableError: it cannot be opened.
    """
    uri = f"{to_uri(path)}?mode={'rw' if role == 'writer' else 'ro'}"
    pragmas = _WRITER if role == "writer" else ()

    def connector() -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri,
            uri=True,
            timeout=BUSY_MS / 1000,
            isolation_level=None,
            cached_statements=_CACHED_STATEMENTS,
        )
        try:
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.executescript((HERE / "views.sql").read_text())
            for pragma in pragmas:
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
        return connection

    connection = Connection(connector, iter_chunk_size=64)
    try:
        await connection
    except sqlite3.Error as error:
        if connection.stopped:
            await connection.stopped
        raise translated(error) from error
    return connection


def to_uri(path: str) -> str:
    """Returns a file's URI, in which SQLite takes options."""
    return Path(path).absolute().as_uri()


def translated(error: sqlite3.Error) -> Exception:
    """Returns what an error of SQLite is here: a failure of the machine, or itself."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    cause = _CAUSES.get(code & 0xFF)
    if cause is None:
        return error
    return unavailable(
        f"the exchange cannot use its database at present: {cause}; "
        "retry the same call later"
    )


def unavailable(message: str) -> UnavailableError:
    """Returns the error for storage that cannot be used at present."""
    return UnavailableError(
        Reason.ERROR_REASON_STORAGE_UNAVAILABLE, message, retry_after=_RETRY_SECONDS
    )


class ReaderPool:
    """A few reading connections, handed out in the order of asking."""

    def __init__(self) -> None:
        self._idle: asyncio.Queue[Connection] = asyncio.Queue()
        self._size = 0
        self._closed = False

    def add(self, connection: Connection) -> None:
        """Takes one more connection into the pool."""
        self._size += 1
        self._idle.put_nowait(connection)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs work on the next free connection.

        When the caller is cancelled, the work is interrupted, and its connection comes
        back when it has ended.

        Raises:
            UnavailableError: the pool was closed, or the disk failed.
        """
        if self._closed:
            raise unavailable("the database was closed; connect again")
        connection = await self._idle.get()
        task = asyncio.ensure_future(connection.run(work))
        task.add_done_callback(lambda _: self._idle.put_nowait(connection))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_forget)
            await connection.interrupt()
            raise

    async def close(self) -> None:
        """Lets running work end, and closes all connections."""
        self._closed = True
        for _ in range(self._size):
            connection = await self._idle.get()
            await connection.close()


def _forget(task: asyncio.Task[object]) -> None:
    """Takes note of how work ended that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
