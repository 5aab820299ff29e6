"""The database that a configuration names: a file of SQLite, or a PostgreSQL server."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from onward.core.errors import MalformedError, Reason, StateError
from onward_server.config import Config
from onward_server.material import read_file
from onward_server.storage.contract import Store
from onward_server.storage.sqlite import migrate_sqlite, open_sqlite


async def open_store(config: Config, *, beside: bool = False) -> Store:
    """Opens the database of an exchange.

    Args:
        config: names it.
        beside: for a tool that only reads, beside the exchange or without it. The
            database must then have the schema of this release.

    Raises:
        MalformedError: the file with its URL cannot be read, or holds none.
        UnavailableError: the database cannot be opened.
    """
    if is_server(config):
        from onward_server.storage.postgres import open_postgres  # noqa: PLC0415 - SQLite does without

        return await open_postgres(database_url(config), read_only=beside)
    file = str(config.storage.database_file)
    if beside:
        return await open_sqlite(file, readers=1, read_only=True)
    return await open_sqlite(file)


async def migrate_database(config: Config, *, check: bool = False) -> tuple[int, int]:
    """Brings the schema of an exchange's database here; the exchange must not run.

    Args:
        config: names the database, which must exist.
        check: only look.

    Returns:
        From which version to which; 0 is an empty database.

    Raises:
        MalformedError: the file with its URL cannot be read, or holds none.
        StateError: the exchange was moved elsewhere.
        UnavailableError: it cannot be opened, is in use, belongs to another program, or
            has a newer schema.
    """
    if is_server(config):
        from onward_server.storage.postgres import migrate_postgres  # noqa: PLC0415 - only where it is used

        return await migrate_postgres(database_url(config), check=check)
    return await migrate_sqlite(str(config.storage.database_file), check=check)


def is_server(config: Config) -> bool:
    """Says whether the database is on a server, where several replicas may use it."""
    return bool(config.storage.url or config.storage.url_file)


def database_url(config: Config) -> str:
    """Returns the URL of a database on a server. It may hold a password: never show it.

    Raises:
        MalformedError: the file with it cannot be read, or holds none.
    """
    storage = config.storage
    return read_url(storage.url_file) if storage.url_file else storage.url


def read_url(path: Path) -> str:
    """Reads a file with the URL of a PostgreSQL database.

    Raises:
        MalformedError: it cannot be read, or holds none.
    """
    url = read_file(path).decode("utf-8", "replace").strip()
    if not url.startswith(("postgres://", "postgresql://")) or len(url.split()) != 1:
        raise MalformedError(
            f"{path} holds no URL such as postgresql://role@host/database, in one line",
            field="storage.url_file",
        )
    return url


def describe(config: Config) -> str:
    """Returns what people call the database, without role or password."""
    if not is_server(config):
        return str(config.storage.database_file)
    parts = urlsplit(database_url(config))
    hosts = parts.netloc.rpartition("@")[2] or "the local server"
    return f"{parts.path.strip('/') or 'the default database'} on {hosts}"


def require_file(config: Config, remedy: str) -> None:
    """Refuses what can be done with a file only.

    Args:
        config: names the database.
        remedy: what to do instead, a sentence.

    Raises:
        StateError: the database is on a server.
    """
    if is_server(config):
        raise StateError(
            Reason.ERROR_REASON_STATE_FORBIDS,
            f"the database is {describe(config)}, and no file. {remedy}",
        )
