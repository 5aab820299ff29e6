"""Reading a database file row by row, to copy it elsewhere; and retiring it after that.

The file belongs to whoever has opened it with :func:`open_sqlite`; here is a second
connection of the same process. Each method may be called from any thread, one at a
time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing

from onward_server.storage.moving import Key, Row, Table
from onward_server.storage.sqlite.connection import to_uri, translated
from onward_server.storage.sqlite.migrations import MOVED_ID


class SqliteSource:
    """The rows of a file that nobody changes meanwhile.

    Args:
        path: of a database of the present schema.

    Raises:
        UnavailableError: from every method: the file cannot be read.
    """

    def __init__(self, path: str) -> None:
        self._connection = _connect(path, "ro")

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def columns(self, table: Table) -> list[str]:
        """Returns the names of a table's columns."""
        found = self._read("SELECT name FROM pragma_table_info(?)", (table.name,))
        return [name for (name,) in found]

    def count(self, table: Table) -> int:
        """Returns how many rows a table has."""
        ((count,),) = self._read(f"SELECT count(*) FROM {table.name}")  # noqa: S608
        return int(count)

    def rows(
        self, table: Table, columns: Sequence[str], after: Key | None
    ) -> list[Row]:
        """Returns the next rows of a table by key, none at its end."""
        key, marks = ", ".join(table.key), ", ".join("?" * len(table.key))
        beyond = f"WHERE ({key}) > ({marks})" if after else ""
        return self._read(
            f"SELECT {', '.join(columns)} FROM {table.name} "  # noqa: S608 - our names
            f"{beyond} ORDER BY {key} LIMIT {table.rows}",
            after or (),
        )

    def stored_contents(self) -> list[bytes]:
        """Returns the digests of all contents that are complete and not erased."""
        found = self._read(
            "SELECT digest FROM contents WHERE uploader = '' AND EXISTS ("
            "SELECT 1 FROM content_chunks AS chunk "
            "WHERE chunk.content_id = contents.content_id) ORDER BY content_id"
        )
        return [digest for (digest,) in found]

    def _read(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise translated(error) from error


def mark_moved(path: str, move: str) -> None:
    """Keeps in a file that its exchange goes on elsewhere; returns when it is on disk.

    From then on every release refuses to open it.

    Args:
        path: of the file.
        move: the name of the move that took it there.

    Raises:
        UnavailableError: it cannot be written.
    """
    try:
        with closing(_connect(path, "rw")) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE moved AS SELECT ? AS move", (move,))
            connection.execute(f"PRAGMA application_id = {MOVED_ID}")
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise translated(error) from error


def moved_by(path: str) -> str:
    """Returns the name of the move that took the exchange of a file elsewhere.

    Empty for a file whose exchange is still there.

    Raises:
        UnavailableError: it cannot be read.
    """
    try:
        with closing(_connect(path, "ro")) as connection:
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            if owner != MOVED_ID:
                return ""
            (move,) = connection.execute("SELECT move FROM moved").fetchone()
    except sqlite3.Error as error:
        raise translated(error) from error
    return str(move)


def _connect(path: str, mode: str) -> sqlite3.Connection:
    """Opens a second connection, for any thread, without transactions of its own."""
    uri = f"{to_uri(path)}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
