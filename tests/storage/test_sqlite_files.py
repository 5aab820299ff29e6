"""The database file: who may open it, and which schema it has."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from onward.core.errors import MalformedError, UnavailableError
from onward_server.storage.sqlite import open_sqlite
from onward_server.storage.sqlite.migrations import (
    APPLICATION_ID,
    MIGRATIONS,
    migrate,
    scripts,
)
from tests.storage.scribe import OHIO, Scribe


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exchange.sqlite"


async def make(path: Path, scribe: Scribe) -> None:
    """Makes a database with one referral."""
    store = await open_sqlite(str(path))
    scribe.publish("r1", OHIO)
    await scribe.commit(store)
    await store.close()


def schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Returns what defines the schema, without comments and layout."""
    found = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
    )
    return {
        name: re.sub(
            r" (?=[,)])|(?<=\() ",
            "",
            " ".join(line.split("--")[0].strip() for line in sql.splitlines()),
        )
        for name, sql in found
    }


# ---------------------------------------------------------------------- access


async def test_files_are_private(path: Path, scribe: Scribe) -> None:
    path.touch(0o666)
    before = os.umask(0)
    try:
        store = await open_sqlite(str(path))
        scribe.publish("r1", OHIO)
        await scribe.commit(store)
        await store.backup(str(path.with_name("backup")))
        modes = {
            file.name: stat.S_IMODE(file.stat().st_mode)
            for file in path.parent.iterdir()
        }
        await store.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(
        [path.name, *(path.name + end for end in ("-wal", "-shm", ".lock")), "backup"],
        0o600,
    )


async def test_second_process_is_refused(path: Path, scribe: Scribe) -> None:
    program = (
        "import asyncio, sys\n"
        "from onward_server.storage.sqlite import open_sqlite\n"
        "asyncio.run(open_sqlite(sys.argv[1]))\n"
    )
    store = await open_sqlite(str(path))
    try:
        second = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        await store.close()
    assert second.returncode == 1
    assert "in use by another exchange process" in second.stderr


async def test_closing_gives_the_database_free(path: Path) -> None:
    store = await open_sqlite(str(path))
    with pytest.raises(UnavailableError, match="in use"):
        await open_sqlite(str(path))
    await store.close()
    await store.close()
    again = await open_sqlite(str(path))
    await again.close()


async def test_refused_opening_leaves_no_lock(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="not a database"):
            await open_sqlite(str(path))


async def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="nowhere"):
        await open_sqlite(str(tmp_path / "nowhere" / "exchange.sqlite"))


async def test_odd_names(tmp_path: Path) -> None:
    path = tmp_path / "ex change?mode=memory#%41.sqlite"
    store = await open_sqlite(str(path))
    await store.close()
    assert path.stat().st_size > 0


# ---------------------------------------------------------------------- reading only


async def test_tools_read_beside_a_running_exchange(path: Path, scribe: Scribe) -> None:
    store = await open_sqlite(str(path))
    try:
        scribe.publish("r1", OHIO)
        await scribe.commit(store)
        tool = await open_sqlite(str(path), read_only=True)
        scribe.publish("r2", OHIO)
        await scribe.commit(store)
        assert await tool.referral("r2") == scribe.referrals["r2"]
        await tool.backup(str(path.with_name("backup")))
        await tool.close()
        scribe.publish("r3", OHIO)
        await scribe.commit(store)
    finally:
        await store.close()
    copy = await open_sqlite(str(path.with_name("backup")))
    assert await copy.referral("r2") == scribe.referrals["r2"]
    await copy.close()


async def test_tools_cannot_write(path: Path, scribe: Scribe) -> None:
    await make(path, scribe)
    tool = await open_sqlite(str(path), read_only=True)
    with pytest.raises(UnavailableError, match="not open for writing"):
        async with tool.writing():
            pytest.fail("opened for reading")
    await tool.close()


async def test_readers_cannot_write(path: Path) -> None:
    store = await open_sqlite(str(path))
    with pytest.raises(UnavailableError, match="cannot be written"):
        await store._readers.run(lambda reader: reader.execute("DELETE FROM contents"))
    await store.close()


async def test_tools_do_not_make_a_database(path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot open"):
        await open_sqlite(str(path), read_only=True)
    assert not path.exists()


# ---------------------------------------------------------------------- backups


async def test_backup_is_the_state_of_one_moment(path: Path, scribe: Scribe) -> None:
    await make(path, scribe)
    target = str(path.with_name("backup"))
    store = await open_sqlite(str(path))
    before = await store.head()
    await store.backup(target)
    scribe.publish("r2", OHIO)
    await scribe.commit(store)
    await store.close()
    copy = await open_sqlite(target)
    row = scribe.referrals["r1"]
    assert await copy.head() == before
    assert await copy.referral("r1") == row
    assert await copy.referral("r2") is None
    assert await copy.content(row.content_digest) == b"sealed"
    await copy.close()


async def test_backup_replaces_nothing(path: Path, scribe: Scribe) -> None:
    await make(path, scribe)
    target = path.with_name("backup")
    target.write_text("yesterday's")
    store = await open_sqlite(str(path))
    with pytest.raises(MalformedError, match="exists"):
        await store.backup(str(target))
    await store.close()
    assert target.read_text() == "yesterday's"
    assert not Path(f"{target}.partial").exists()


async def test_backup_that_fails_leaves_nothing(path: Path, scribe: Scribe) -> None:
    await make(path, scribe)
    store = await open_sqlite(str(path))
    with pytest.raises(UnavailableError, match="cannot write"):
        await store.backup(str(path.with_name("nowhere") / "backup"))
    await store.close()


async def test_backup_replaces_what_a_crash_left(path: Path, scribe: Scribe) -> None:
    await make(path, scribe)
    target = path.with_name("backup")
    Path(f"{target}.partial").write_bytes(b"half of it")
    store = await open_sqlite(str(path))
    await store.backup(str(target))
    await store.close()
    copy = await open_sqlite(str(target))
    assert await copy.referral("r1") == scribe.referrals["r1"]
    await copy.close()


# ---------------------------------------------------------------------- schema


def test_migrations_lead_to_the_schema() -> None:
    with (
        closing(sqlite3.connect(":memory:")) as migrated,
        closing(sqlite3.connect(":memory:")) as present,
    ):
        for script in scripts():
            migrated.executescript(script.read_text())
        present.executescript((MIGRATIONS.parent / "schema.sql").read_text())
        assert schema_of(migrated) == schema_of(present)


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [int(script.name[:4]) for script in scripts()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(list(MIGRATIONS.iterdir())) == len(numbers)


async def test_newer_schema_is_refused(path: Path, scribe: Scribe) -> None:
    await make(path, scribe)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9999")
    for read_only in (False, True):
        with pytest.raises(UnavailableError, match="sqlite has schema version 9999"):
            await open_sqlite(str(path), read_only=read_only)


async def test_older_schema_is_not_read_by_tools(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA journal_mode = WAL")
    with pytest.raises(UnavailableError, match="schema version 0"):
        await open_sqlite(str(path), read_only=True)


async def test_other_programs_database_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(UnavailableError, match="another program"):
        await open_sqlite(str(path))
    assert path.read_bytes() == before


def test_older_database_goes_through_what_it_lacks(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_initial.sql").write_text("CREATE TABLE never (a);")
    (folder / "0002_second.sql").write_text("CREATE TABLE second (a);")
    (folder / "0003_third.sql").write_text("ALTER TABLE second ADD COLUMN b;")
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        migrate(connection, folder)
        assert schema_of(connection) == {"second": "CREATE TABLE second (a, b)"}
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        migrate(connection, folder)


def test_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_initial.sql").write_text("CREATE TABLE never (a);")
    (folder / "0002_second.sql").write_text("CREATE TABLE second (a);")
    (folder / "0003_third.sql").write_text("CREATE TABLE third (a); nonsense;")
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        with pytest.raises(sqlite3.OperationalError, match="nonsense"):
            migrate(connection, folder)
        assert schema_of(connection) == {}
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert not connection.in_transaction
