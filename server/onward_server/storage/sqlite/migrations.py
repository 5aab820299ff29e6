"""Bringing a database file to the present schema.

The file's ``user_version`` is the number of the last migration that it went through. A
new database is made from ``schema.sql`` at once; an older one goes through the numbered
files in ``migrations/`` that it lacks, all in one transaction.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from onward.core.errors import Reason, StateError
from onward_server.storage.faults import unavailable
from onward_server.storage.sqlite.connection import HERE

APPLICATION_ID = 0x4F4E5744
"""Marks the file as an exchange's database: ``ONWD``."""

MOVED_ID = 0x4F4E574D
"""Marks the file of an exchange that goes on in another database: ``ONWM``."""

MIGRATIONS = HERE / "migrations"


def scripts(folder: Path = MIGRATIONS) -> list[Path]:
    """Returns the migrations in order: ``0001_<what>.sql``, ``0002_<what>.sql``, ..."""
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))


def migrate(connection: sqlite3.Connection, folder: Path = MIGRATIONS) -> None:
    """Makes the schema, or brings it up to date; then turns on write-ahead logging.

    Raises:
        UnavailableError: it is another program's file or of a newer release, or the
            file system cannot hold a write-ahead log.
    """
    latest = scripts(folder)
    version = check_version(connection, len(latest))
    if version < len(latest):
        files = latest[version:] if version else [HERE / "schema.sql"]
        _apply(connection, files, len(latest))
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise unavailable(
            f"the file system of {_path(connection)} allows no write-ahead log; put "
            "the database on a local disk"
        )


def check_version(connection: sqlite3.Connection, latest: int) -> int:
    """Returns the file's version, 0 for an empty file.

    Raises:
        StateError: the exchange goes on in another database.
        UnavailableError: it is another program's file, or of a newer release.
    """
    version = _value(connection, "PRAGMA user_version")
    owner = _value(connection, "PRAGMA application_id")
    if owner == MOVED_ID:
        raise StateError(
            Reason.ERROR_REASON_STATE_FORBIDS,
            f"the exchange of {_path(connection)} was moved to PostgreSQL, and goes on "
            "there; name that database as storage.url_file",
        )
    tables = _value(connection, "SELECT count(*) FROM sqlite_schema")
    if owner != APPLICATION_ID and (tables or version):
        raise unavailable(
            f"{_path(connection)} is a database of another program; name the "
            "exchange's own"
        )
    if version > latest:
        raise unavailable(
            f"{_path(connection)} has schema version {version}, and this release knows "
            f"those up to {latest}; run the release that wrote it, or a newer one"
        )
    return version


def check_present(connection: sqlite3.Connection) -> None:
    """Refuses a file whose schema is not the present one.

    Raises:
        UnavailableError: it is another program's file, or of another release.
    """
    latest = len(scripts())
    version = check_version(connection, latest)
    if version < latest:
        raise unavailable(
            f"{_path(connection)} has schema version {version}, and this release needs "
            f"{latest}; start the exchange once, which brings it up to date"
        )


def _apply(connection: sqlite3.Connection, files: list[Path], version: int) -> None:
    """Runs scripts as one transaction, which leaves the file at this version."""
    script = "\n".join(
        [
            "BEGIN IMMEDIATE;",
            *(file.read_text() for file in files),
            f"PRAGMA application_id = {APPLICATION_ID};",
            f"PRAGMA user_version = {version};",
            "COMMIT;",
        ]
    )
    try:
        connection.executescript(script)
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _value(connection: sqlite3.Connection, sql: str) -> int:
    """Returns the one value of a query."""
    row: tuple[int] = connection.execute(sql).fetchone()
    return row[0]


def _path(connection: sqlite3.Connection) -> str:
    """Returns the database's file, for messages."""
    _, _, path = connection.execute("PRAGMA database_list").fetchone()
    return str(path)
