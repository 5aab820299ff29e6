"""Which schema a database has, and how it comes to the present one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from onward.core.errors import UnavailableError
from onward_server.storage.postgres import migrate_postgres, open_postgres
from onward_server.storage.postgres.connection import connect
from onward_server.storage.postgres.migrations import MIGRATIONS, migrate, scripts
from tests.storage.scribe import OHIO, Scribe
from tests.support import postgres

LATEST = len(scripts())

SCHEMA = """
SELECT 'column', table_name || '.' || column_name, concat_ws(
  ' ', data_type, udt_name, collation_name, is_nullable, column_default
) FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL
SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function', proname, pg_get_functiondef(oid)
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'storage', concat_ws('.', relname, attname), concat_ws(
  ' ', attstorage, reloptions::text
)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND NOT attisdropped
"""


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with postgres.database(empty=True) as url:
        yield url


async def run(url: str, sql: str) -> list[tuple[str, ...]]:
    connection = await postgres.connected(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def test_empty_database_is_made(url: str, scribe: Scribe) -> None:
    assert await migrate_postgres(url) == (0, LATEST)
    assert await migrate_postgres(url) == (LATEST, LATEST)
    store = await open_postgres(url)
    scribe.publish("r1", OHIO)
    await scribe.commit(store)
    await store.close()


async def test_migrations_lead_to_the_schema(url: str) -> None:
    connection = await postgres.connected(url)
    for script in scripts():
        await connection.execute(script.read_text())
    await connection.close()
    async with postgres.database() as made_at_once:
        migrated, made = await run(url, SCHEMA), await run(made_at_once, SCHEMA)
    assert len(made) > 200
    assert sorted(migrated) == sorted(made)


async def test_columns_are_those_of_migrations_in_order(url: str) -> None:
    # Rows travel as values of their table's type, so that the order counts as well.
    columns = (
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    )
    connection = await postgres.connected(url)
    for script in scripts():
        await connection.execute(script.read_text())
    await connection.close()
    async with postgres.database() as made_at_once:
        assert await run(url, columns) == await run(made_at_once, columns)


async def test_many_may_make_it_at_once(url: str) -> None:
    versions = await asyncio.gather(*(migrate_postgres(url) for _ in range(3)))
    assert sorted(versions) == [(0, LATEST), (LATEST, LATEST), (LATEST, LATEST)]


async def test_newer_schema_is_refused(url: str) -> None:
    await migrate_postgres(url)
    await run(url, "UPDATE schema_version SET version = version + 1")
    for read_only in (False, True):
        with pytest.raises(UnavailableError, match=f"version {LATEST + 1}.* newer one"):
            await open_postgres(url, read_only=read_only)


async def test_tools_change_no_schema(url: str) -> None:
    with pytest.raises(UnavailableError, match="onward-server migrate"):
        await open_postgres(url, read_only=True)
    assert await run(url, SCHEMA) == []


async def test_two_exchanges_do_not_share_a_database(url: str) -> None:
    await migrate_postgres(url)
    connection = await postgres.connected(url)
    await connection.execute("CREATE SCHEMA other")
    await connection.close()
    with pytest.raises(UnavailableError, match="another schema"):
        await open_postgres(f"{url}&options=-csearch_path%3Dother")


async def test_database_of_another_program_is_refused(url: str) -> None:
    await run(url, "CREATE TABLE theirs (id integer)")
    with pytest.raises(UnavailableError, match="another program"):
        await open_postgres(url)
    assert len(await run(url, SCHEMA)) == 2


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The migrations of a release that is to come."""
    for script in scripts():
        (tmp_path / script.name).write_text(script.read_text())
    (tmp_path / f"{LATEST + 1:04}_more.sql").write_text(
        "ALTER TABLE members ADD COLUMN more integer NOT NULL DEFAULT 0"
    )
    return tmp_path


async def test_older_schema_is_brought_up_to_date(url: str, newer: Path) -> None:
    await migrate_postgres(url)
    connection = await connect(url, "writer")
    assert await migrate(connection, newer) == (LATEST, LATEST + 1)
    assert await migrate(connection, newer) == (LATEST + 1, LATEST + 1)
    await connection.close()
    assert await run(url, "SELECT more FROM members") == []


async def test_schema_does_not_change_below_running_processes(
    url: str, newer: Path
) -> None:
    running = await open_postgres(url)
    connection = await connect(url, "writer")
    with pytest.raises(UnavailableError, match="stop them all"):
        await migrate(connection, newer)
    await running.close()

    async def succeeds() -> bool:
        try:
            return bool(await migrate(connection, newer))
        except UnavailableError:
            return False

    assert await postgres.until(succeeds)
    await connection.close()


async def test_migration_that_fails_changes_nothing(url: str, newer: Path) -> None:
    await migrate_postgres(url)
    (newer / f"{LATEST + 1:04}_more.sql").write_text(
        "ALTER TABLE members ADD COLUMN more integer; SELECT 1/0"
    )
    before = await run(url, SCHEMA)
    connection = await connect(url, "writer")
    with pytest.raises(Exception, match="division by zero"):
        await migrate(connection, newer)
    await connection.close()
    assert sorted(await run(url, SCHEMA)) == sorted(before)


def test_migrations_are_numbered_without_gaps() -> None:
    assert [int(script.name[:4]) for script in scripts(MIGRATIONS)] == list(
        range(1, LATEST + 1)
    )
