"""Making the database of a successor log from a copy of its predecessor's."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from onward_server.storage.sqlite.connection import HERE, to_uri, translated


def make_successor(path: str) -> None:
    """Takes the log out of a database, and makes room for one entry before it.

    What refers to entry ``n`` refers to ``n + 1`` afterwards. The entries themselves
    are for the caller to write again, one place up.

    Args:
        path: a copy of a database, of the present schema, that nobody uses.

    Raises:
        UnavailableError: it cannot be written.
    """
    try:
        with closing(sqlite3.connect(f"{to_uri(path)}?mode=rw", uri=True)) as database:
            database.execute("PRAGMA synchronous = FULL")
            database.executescript((HERE / "successor.sql").read_text())
    except sqlite3.Error as error:
        raise translated(error) from error
