"""``onward-server migrate``: which schema a database has, and the one it gets."""

from __future__ import annotations

import json
import sqlite3
from asyncio import to_thread
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from onward_server.cli import app
from onward_server.storage.postgres.migrations import scripts as postgres_scripts
from onward_server.storage.sqlite.migrations import APPLICATION_ID, scripts
from tests.support import postgres
from tests.support.founding import new_exchange

LATEST = len(scripts())


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """An exchange whose database is of the first release."""
    folder = new_exchange(tmp_path / "exchange")
    database = folder / "db" / "exchange.sqlite"
    database.unlink()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(scripts()[0].read_text())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    return folder


def migrate(folder: Path, *options: str, **environment: str) -> tuple[int, Any]:
    """Runs the command; returns its exit code, and what it says."""
    arguments = ["migrate", "--config", str(folder), "--json", *options]
    done = CliRunner().invoke(app, arguments, env=environment)
    return done.exit_code, json.loads(done.stdout)


def test_a_check_tells_and_changes_nothing(made: Path) -> None:
    for _ in range(2):
        assert migrate(made, "--check") == (1, {"from": 1, "to": LATEST})


def test_an_old_database_gets_the_present_schema_once(made: Path) -> None:
    assert migrate(made) == (0, {"from": 1, "to": LATEST})
    assert migrate(made) == (0, {"from": LATEST, "to": LATEST})
    assert migrate(made, "--check") == (0, {"from": LATEST, "to": LATEST})


async def test_a_database_on_a_server_does_too(made: Path) -> None:
    latest = len(postgres_scripts())
    async with postgres.database(empty=True) as url:
        named = {"ONWARD__STORAGE__URL": url}
        before, after = {"from": 0, "to": latest}, {"from": latest, "to": latest}
        assert await to_thread(migrate, made, "--check", **named) == (1, before)
        assert await to_thread(migrate, made, **named) == (0, before)
        assert await to_thread(migrate, made, "--check", **named) == (0, after)
