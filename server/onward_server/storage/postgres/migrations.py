"""Bringing a database to the present schema.

``schema_version`` holds the number of the last migration that it went through. A new
database is made from ``schema.sql`` at once; an older one goes through the numbered
files in ``migrations/`` that it lacks. All of that is one transaction, in which nobody
else writes.
"""

from __future__ import annotations

from pathlib import Path

from onward_server.storage.faults import unavailable
from onward_server.storage.postgres.connection import Connection, connect, translating
from onward_server.storage.postgres.queries import HERE, QUERIES

MIGRATIONS = HERE / "migrations"


def scripts(folder: Path = MIGRATIONS) -> list[Path]:
    """Returns the migrations in order: ``0001_<what>.sql``, ``0002_<what>.sql``, ..."""
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))


async def migrate_postgres(url: str, *, check: bool = False) -> tuple[int, int]:
    """Makes the schema, or brings it up to date; no exchange process may run.

    Args:
        url: of the database.
        check: only look.

    Returns:
        From which version to which; 0 is an empty database.

    Raises:
        UnavailableError: it cannot be reached, is another program's, of a newer
            release, or has to change while exchange processes of an older one run.
    """
    connection = await connect(url, "reader" if check else "writer")
    try:
        if check:
            latest = len(scripts())
            return await check_version(connection, latest), latest
        return await migrate(connection)
    finally:
        await connection.close(timeout=1)


async def migrate(connection: Connection, folder: Path = MIGRATIONS) -> tuple[int, int]:
    """The same on a connection."""
    latest = scripts(folder)
    version = await check_version(connection, len(latest))
    if version == len(latest):
        return version, version
    failed = "cannot bring the database up to date"
    async with translating(failed), connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await QUERIES.take_turn(connection)
        version = await check_version(connection, len(latest))
        await _check_alone(connection, version)
        for file in latest[version:] if version else [HERE / "schema.sql"]:
            await connection.execute(file.read_text())
        await QUERIES.forget_replicas(connection)
        await QUERIES.set_version(connection, version=len(latest))
    return version, len(latest)


async def check_version(connection: Connection, latest: int) -> int:
    """Returns the database's version, 0 for an empty one.

    Raises:
        UnavailableError: it is another program's, or another exchange's too, or of a
            newer release.
    """
    async with translating():
        ours, others, elsewhere = await QUERIES.tables(connection)
        version: int = await QUERIES.version(connection) if ours else 0
    if others and not ours:
        raise unavailable(
            "the database has tables of another program; name one of the exchange's own"
        )
    if elsewhere:
        raise unavailable(
            "another schema of the database has an exchange already; name a database "
            "of the exchange's own"
        )
    if version > latest:
        raise unavailable(
            f"the database has schema version {version}, and this release knows those "
            f"up to {latest}; run the release that wrote it, or a newer one"
        )
    return version


async def check_present(connection: Connection) -> None:
    """Refuses a database whose schema is not the present one.

    Raises:
        UnavailableError: it is another program's, or of another release.
    """
    latest = len(scripts())
    version = await check_version(connection, latest)
    if version < latest:
        raise unavailable(
            f"the database has schema version {version}, and this release needs "
            f"{latest}; run `onward-server migrate`"
        )


async def check_whole(connection: Connection) -> None:
    """Refuses a database into which an exchange is still being moved.

    Raises:
        UnavailableError: a move is at work, or was cut off.
    """
    async with translating():
        moving = await QUERIES.is_moving(connection)
    if moving:
        raise unavailable(
            "an exchange is being moved into the database, and not all of it is there; "
            "run `onward-server move` again if that was cut off"
        )


async def _check_alone(connection: Connection, version: int) -> None:
    """Refuses to change the schema below processes that know the old one."""
    if version and await QUERIES.living(connection):
        raise unavailable(
            f"the database has schema version {version}, and exchange processes of the "
            "release that needs it are running; stop them all, then start this one"
        )
