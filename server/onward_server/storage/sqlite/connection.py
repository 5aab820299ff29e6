"""One SQLite connection, and what its errors mean.

Work on a connection is a plain function that runs as a whole on the connection's own
thread, in the order in which it was asked for. So a transaction costs few changes of
thread, and nothing can come between the statements of one piece of work.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import aiosql
import aiosqlite

from onward_server.storage.faults import unavailable

T = TypeVar("T")

HERE = Path(__file__).parent

QUERIES: Any = aiosql.from_path(HERE / "queries", "sqlite3")
"""The named queries; each takes a ``sqlite3.Connection`` and its named parameters."""

BUSY_MS = 5000
"""How long a statement waits for a lock that some other program holds."""

_CACHED_STATEMENTS = 256
"""More than there are queries, so that each is compiled once per connection."""

_CAUSES = {
    sqlite3.SQLITE_BUSY: "another program has locked it",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore a backup",
    sqlite3.SQLITE_CANTOPEN: "there is no such file, or access is denied",
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
    "PRAGMA cache_size = -65536",
    # Pages that change in many commits are moved into the database less often: 16 MiB.
    "PRAGMA wal_autocheckpoint = 4000",
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
            # Each public method of aiosqlite hands one statement to the thread. What
            # they are made of, and what we inherit, takes any function.
            result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        except sqlite3.Error as error:
            raise translated(error) from error
        return result

    def run_here(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs work at once on this thread, while the connection's own is idle.

        Only for looking up a few rows that are mostly in the connection's memory: then
        it takes less than the two changes of thread.

        Raises:
            UnavailableError: the disk or the operating system failed.
        """
        try:
            return work(self._conn)
        except sqlite3.Error as error:
            raise translated(error) from error


async def connect(path: str, role: Literal["writer", "reader"]) -> Connection:
    """Opens an existing file; a reader cannot change it.

    Close it, also after an error: its thread keeps the process alive.

    Raises:
        UnavailableError: it cannot be opened.
    """
    connection = Connection(partial(_connected, path, role), iter_chunk_size=64)
    try:
        await connection
    except sqlite3.Error as error:
        if connection.stopped:
            await connection.stopped
        raise unavailable(f"cannot open {path}: {_cause(error) or error}") from error
    return connection


class Glance:
    """A reading connection without a thread of its own: for the event loop itself.

    Only for looking up a few rows by their keys. That takes less than the two changes
    of thread that it would take elsewhere, and never waits: a reader of SQLite's
    write-ahead log is held up by nobody.

    Raises:
        UnavailableError: the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._closed = False
        try:
            self._connection = _connected(path, "reader")
        except sqlite3.Error as error:
            cause = _cause(error) or error
            raise unavailable(f"cannot open {path}: {cause}") from error

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does work at once.

        Raises:
            UnavailableError: it was closed, or the disk or the operating system failed.
        """
        if self._closed:
            raise unavailable("the database was closed; open it again")
        try:
            return work(self._connection)
        except sqlite3.Error as error:
            raise translated(error) from error

    def close(self) -> None:
        """Closes the connection."""
        self._closed = True
        self._connection.close()


def _connected(path: str, role: Literal["writer", "reader"]) -> sqlite3.Connection:
    """Returns a connection of this thread."""
    connection = sqlite3.connect(
        f"{to_uri(path)}?mode={'rw' if role == 'writer' else 'ro'}",
        uri=True,
        timeout=BUSY_MS / 1000,
        isolation_level=None,
        cached_statements=_CACHED_STATEMENTS,
        check_same_thread=role != "writer",
    )
    try:
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.executescript((HERE / "views.sql").read_text())
        for pragma in _WRITER if role == "writer" else ():
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def to_uri(path: str) -> str:
    """Returns a file's URI, in which SQLite takes options."""
    return Path(path).absolute().as_uri()


def translated(error: sqlite3.Error) -> Exception:
    """Returns what an error of SQLite is here: a failure of the machine, or itself."""
    cause = _cause(error)
    if cause is None:
        return error
    return unavailable(
        f"the exchange cannot use its database at present: {cause}; "
        "retry the same call later"
    )


def _cause(error: sqlite3.Error) -> str | None:
    """Returns what of the machine failed, or None."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return _CAUSES.get(code & 0xFF)
