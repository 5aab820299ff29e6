"""Copies of the database: checked, put in place, and never an old one."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from http.server import (
    SimpleHTTPRequestHandler,
    ThreadingHTTPServer,
)
from pathlib import Path
from threading import Thread

import pytest

from onward.core.errors import MalformedError, UnavailableError
from onward_server.backup import back_up
from onward_server.config import Config, load
from onward_server.log_export import export_log
from onward_server.material import load_log_signer
from onward_server.restoring import Examined, Sources, database_of, examine, restore
from onward_server.storage.sqlite import open_sqlite
from tests.support.enrolling import OHIO, description
from tests.support.founding import new_exchange, running
from tests.support.world import TRUST_DOMAIN, SettableClock

TEXAS = f"spiffe://{TRUST_DOMAIN}/agency/texas-bureau"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return new_exchange(tmp_path / "exchange")


def config_of(made: Path) -> Config:
    return load(made / "exchange.toml", {})


def begin(_: int) -> Callable[[int], object]:
    return lambda _: None


async def grow(made: Path, name: str = OHIO) -> None:
    """Logs one more entry."""
    async with running(made, SettableClock()) as (registry, admin):
        await registry.add_member(admin, description(name))


async def copied(made: Path, target: Path) -> Path:
    await back_up(config_of(made), made / "exchange.toml", target, with_keys=False)
    return target


async def mirrored(made: Path, target: Path) -> Path:
    """Exports the log as a mirror of today."""
    config = config_of(made)
    vkey = load_log_signer(config.keys.log_key_file, config.exchange.origin).vkey
    database = str(config.storage.database_file)
    store = await open_sqlite(database, readers=1, read_only=True)
    try:
        await export_log(store, vkey, target, begin)
    finally:
        await store.close()
    return target


async def put_back(
    made: Path, copy: Path, sources: Sources | None = None
) -> tuple[Examined, Path | None]:
    return await restore(config_of(made), copy, sources or Sources(), begin)


async def examined(made: Path, copy: Path, sources: Sources) -> Examined:
    config = config_of(made)
    return await examine(config, database_of(config, copy), sources, begin)


def digests(made: Path) -> list[bytes]:
    """Reads the entries of a log, past all our code."""
    with closing(sqlite3.connect(made / "db" / "exchange.sqlite")) as database:
        rows = database.execute("SELECT digest FROM statements ORDER BY log_index")
        return [digest for (digest,) in rows]


def spoil(database: Path, change: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(change)


async def test_the_newest_copy_comes_in_the_place_of_a_damaged_database(
    made: Path, tmp_path: Path
) -> None:
    await grow(made)
    copy = await copied(made, tmp_path / "copy")
    database = made / "db" / "exchange.sqlite"
    entries, damaged = digests(made), b"no database at all" * 1000
    database.write_bytes(damaged)
    found, before = await put_back(made, copy)
    assert (found.check.sound, found.behind) == (True, 0)
    assert before is not None
    assert before.read_bytes() == damaged
    assert digests(made) == entries
    await grow(made, TEXAS)
    assert digests(made)[:-1] == entries


async def test_a_database_that_is_gone_is_replaced(made: Path, tmp_path: Path) -> None:
    copy = await copied(made, tmp_path / "copy")
    entries = digests(made)
    shutil.rmtree(made / "db")
    found, before = await put_back(made, copy)
    assert found.check.sound
    assert before is None
    assert digests(made) == entries


@pytest.mark.parametrize("who_knows", ["guard", "database", "mirror", "checkpoint"])
async def test_whoever_knows_of_more_keeps_an_old_copy_out(
    made: Path, tmp_path: Path, who_knows: str
) -> None:
    copy = await copied(made, tmp_path / "copy")
    await grow(made)
    mirror = await mirrored(made, tmp_path / "mirror")
    if who_knows != "guard":
        (made / "guard" / "head").unlink()
    if who_knows != "database":
        shutil.rmtree(made / "db")
    sources = {
        "mirror": Sources(mirror=str(mirror)),
        "checkpoint": Sources(checkpoint=mirror / "checkpoint"),
    }
    found, before = await put_back(made, copy, sources.get(who_knows, Sources()))
    assert (found.check.size, found.behind, before) == (4, 1, None)
    assert found.newest is not None
    assert who_knows in found.newest.source
    if who_knows == "database":
        assert len(digests(made)) == 5


async def test_where_nobody_knows_somebody_must_have_asked(
    made: Path, tmp_path: Path
) -> None:
    copy = await copied(made, tmp_path / "copy")
    mirror = await mirrored(made, tmp_path / "mirror")
    await grow(made)
    # The machine is lost, with its guard.
    shutil.rmtree(made / "db")
    shutil.rmtree(made / "guard")
    found, _ = await put_back(made, copy)
    assert (found.check.sound, found.behind, found.newest) == (True, 0, None)
    assert not (made / "db" / "exchange.sqlite").stat().st_size
    for sources in (Sources(mirror=str(mirror)), Sources(asked_others=True)):
        shutil.rmtree(made / "db")
        await put_back(made, copy, sources)
        assert len(digests(made)) == 4


async def test_a_mirror_names_what_is_missing(made: Path, tmp_path: Path) -> None:
    copy = await copied(made, tmp_path / "copy")
    await grow(made)
    await grow(made, TEXAS)
    mirror = await mirrored(made, tmp_path / "mirror")
    found, _ = await put_back(made, copy, Sources(mirror=str(mirror)))
    assert found.lacking == digests(made)[4:]


async def test_a_mirror_may_be_a_url(made: Path, tmp_path: Path) -> None:
    copy = await copied(made, tmp_path / "copy")
    await grow(made)
    mirror = await mirrored(made, tmp_path / "mirror")
    handler = partial(SimpleHTTPRequestHandler, directory=str(mirror))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        found = await examined(made, copy, Sources(mirror=url))
        with pytest.raises(MalformedError, match="404"):
            await examined(made, copy, Sources(mirror=f"{url}/nothing"))
        server.shutdown()
    assert (found.check.sound, found.behind) == (True, 1)
    assert found.lacking == digests(made)[4:]


async def test_a_backup_that_is_older_than_the_log_is_sound(
    made: Path, tmp_path: Path
) -> None:
    copy = await copied(made, tmp_path / "copy")
    await grow(made)
    mirror = await mirrored(made, tmp_path / "mirror")
    found = await examined(made, copy, Sources(mirror=str(mirror)))
    assert (found.check.sound, found.behind) == (True, 1)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE statements SET jws = replace(jws, 'a', 'b') WHERE log_index = 2",
        "UPDATE tiles SET data = zeroblob(length(data))",
        "UPDATE checkpoints SET root = zeroblob(32) WHERE size = 2",
        "DELETE FROM statements WHERE log_index = 3",
    ],
)
async def test_a_copy_that_was_altered_is_not_put_in_place(
    made: Path, tmp_path: Path, change: str
) -> None:
    copy = await copied(made, tmp_path / "copy")
    spoil(copy / "db" / "exchange.sqlite", change)
    entries = digests(made)
    found, before = await put_back(made, copy)
    assert found.check.problems
    assert before is None
    assert digests(made) == entries


async def test_a_copy_with_another_history_is_not_put_in_place(
    made: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(made, tmp_path / "other"))
    await grow(other, TEXAS)
    copy = await copied(other, tmp_path / "copy")
    await grow(made)
    mirror = await mirrored(made, tmp_path / "mirror")
    for source in (Sources(), Sources(mirror=str(mirror))):
        found, before = await put_back(made, copy, source)
        assert any("another root" in problem for problem in found.check.problems)
        assert before is None


async def test_a_mirror_that_was_altered_is_not_believed(
    made: Path, tmp_path: Path
) -> None:
    copy = await copied(made, tmp_path / "copy")
    await grow(made)
    mirror = await mirrored(made, tmp_path / "mirror")
    bundle = mirror / "tile" / "entries" / "000.p" / "5"
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"\0")
    found = await examined(made, copy, Sources(mirror=str(mirror)))
    assert not found.check.sound
    assert found.lacking == []


async def test_a_running_exchange_keeps_its_database(
    made: Path, tmp_path: Path
) -> None:
    copy = await copied(made, tmp_path / "copy")
    async with running(made, SettableClock()):
        with pytest.raises(UnavailableError, match="in use"):
            await put_back(made, copy)


async def test_what_is_no_copy_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="no file"):
        await put_back(made, tmp_path / "nothing")
