"""Exports of a log, and what ``log verify`` finds: sound logs, and one wrong bit."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onward.core.checkpoints import Checkpoint
from onward.core.errors import StateError
from onward.core.merkle import leaf_hash
from onward.core.notes import Cosigner, NoteSigner, Vkey, open_note
from onward.core.tiles import parse_entries, tile_paths
from onward.core.tree import Tree
from onward_server.exchange.guard import SignedHead, read_guard
from onward_server.log_check import LogCheck, check_log
from onward_server.log_export import Exported, export_log
from onward_server.storage.contract import CosignatureRow
from onward_server.storage.sqlite import open_sqlite
from tests.support.world import World, open_world, populate


def quietly(_total: int) -> Callable[[int], object]:
    return lambda _steps: None


class CutOffError(Exception):
    """The process ended here."""


def cut_after(files: int) -> Callable[[int], Callable[[int], object]]:
    """Ends an export after some files."""
    done = count()

    def advance(_steps: int) -> None:
        if next(done) == files:
            raise CutOffError

    return lambda _total: advance


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """An exchange whose log has some entries, in commits of several sizes."""
    async with open_world(tmp_path / "exchange") as opened:
        await populate(opened)
        for _ in range(5):
            await opened.register()
        yield opened


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    (tmp_path / "exchange").mkdir()


def vkey(world: World) -> Vkey:
    return world.ledger._signer.vkey


async def grown(world: World, size: int) -> None:
    while world.ledger.head().size < size:
        await world.register()


async def exported(world: World, folder: Path) -> Exported:
    return await export_log(world.store, vkey(world), folder, quietly)


async def checked(world: World, guarded: SignedHead | None = None) -> LogCheck:
    return await check_log(world.store, vkey(world), guarded, quietly)


def served(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_complete(folder: Path, key: Vkey) -> int:
    """Rebuilds the tree from the files alone; returns its size."""
    head = Checkpoint.parse(open_note((folder / "checkpoint").read_text(), [key]).text)
    entries: list[bytes] = []
    for path in tile_paths(head.size):
        data = (folder / path).read_bytes()
        if path.startswith("tile/entries/"):
            entries += parse_entries(data)
    tree = Tree().extend([leaf_hash(entry) for entry in entries])
    assert tree.size == head.size
    assert tree.root == head.root
    for (level, index), tile in tree.changed_tiles(0).items():
        width = "" if tile.width == 256 else f".p/{tile.width}"
        assert (folder / f"tile/{level}/{index:03}{width}").read_bytes() == tile.data
    return head.size


async def test_an_export_is_all_that_a_verifier_needs(
    world: World, tmp_path: Path
) -> None:
    folder = tmp_path / "static"
    done = await exported(world, folder)
    size = assert_complete(folder, vkey(world))
    assert done == Exported(size, 0, 3)
    assert set(served(folder)) == {"checkpoint", *tile_paths(size)}
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o004, "a web server can read it"


async def test_an_export_grows_with_the_log(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "static"
    done = Exported(0, 0, 0)
    for size in (0, 200, 256, 270, 270):
        await grown(world, size)
        before, done = done, await exported(world, folder)
        assert assert_complete(folder, vkey(world)) == done.size
        assert done.before == before.size
    assert done.files == 1, "of an export without anything new, the checkpoint"
    # Partial tiles go when the full one is there, and not before.
    assert not (folder / "tile/0/000.p").exists()
    assert (folder / f"tile/0/001.p/{done.size - 256}").exists()


async def test_an_export_has_what_witnesses_cosigned(
    world: World, tmp_path: Path
) -> None:
    witness = Cosigner("witness.example", Ed25519PrivateKey.generate())
    await world.register()
    head = world.ledger.head()
    text = Checkpoint(vkey(world).name, head.size, head.root).text
    line = witness.sign(text, 1_790_000_000).format()
    row = CosignatureRow(head.size, "witness.example", line, 1_790_000_000_000)
    await world.ledger.write(lambda writer: writer.put_cosignatures([row]))
    folder = tmp_path / "static"
    for _ in range(2):
        await exported(world, folder)
        opened = open_note(
            (folder / "checkpoint").read_text(), [vkey(world), witness.vkey]
        )
        assert [signed.time for signed in opened.signatures] == [None, 1_790_000_000]


async def test_an_export_that_was_cut_off_goes_on(world: World, tmp_path: Path) -> None:
    await grown(world, 300)
    whole, folder = tmp_path / "whole", tmp_path / "static"
    await exported(world, whole)
    for cut in range(4):
        with pytest.raises(CutOffError):
            await export_log(world.store, vkey(world), folder, cut_after(cut))
        assert not (folder / "checkpoint").exists()
        (folder / "tile/0/.000.tmp").write_bytes(b"half of a til")
    done = await exported(world, folder)
    assert done.files < 6
    (folder / "tile/0/.000.tmp").unlink(missing_ok=True)
    assert served(folder) == served(whole)


async def test_no_folder_is_mixed_from_two_logs(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "static"
    await exported(world, folder)
    before = served(folder)
    (tmp_path / "other").mkdir()
    async with open_world(tmp_path / "other") as other:
        await populate(other)
        await grown(other, 30)
        # The same key and origin, and another history: a fork.
        with pytest.raises(StateError, match="does not hold a part of this log"):
            await exported(other, folder)
    assert served(folder) == before
    # Without a checkpoint the files themselves tell.
    (folder / "checkpoint").unlink()
    (tmp_path / "third").mkdir()
    async with open_world(tmp_path / "third") as third:
        await populate(third)
        await grown(third, world.ledger.head().size)
        with pytest.raises(StateError, match="another one than this log's"):
            await exported(third, folder)


async def test_an_old_database_does_not_shorten_an_export(
    world: World, tmp_path: Path
) -> None:
    old = tmp_path / "old.sqlite"
    await world.store.backup(str(old))
    await world.register()
    folder = tmp_path / "static"
    await exported(world, folder)
    store = await open_sqlite(str(old), readers=1, read_only=True)
    try:
        with pytest.raises(StateError, match="none that this log has signed"):
            await export_log(store, vkey(world), folder, quietly)
    finally:
        await store.close()


@pytest.mark.parametrize("size", [0, 256, 300, 1024, 1030])
async def test_a_sound_log_is_sound(world: World, tmp_path: Path, size: int) -> None:
    await grown(world, size)
    found = await checked(world, read_guard(tmp_path / "exchange/guard"))
    assert found.problems == []
    head = world.ledger.head()
    assert (found.size, found.root) == (head.size, head.root)
    assert found.statements == head.size
    rows = await world.store.checkpoints_covering(range(head.size))
    assert found.checkpoints == len({row.size for row in rows.values()})
    assert found.tiles == len(Tree(0).extend([b"\0" * 32] * head.size).changed_tiles(0))


FLIP = "UPDATE {table} SET {column} = :value WHERE {where}"


def flipped(
    folder: Path, table: str, column: str, where: str, at: int, bit: int = 1
) -> None:
    """Flips one bit of one value in a database that nobody has open."""
    place = folder / "exchange.sqlite"
    with closing(sqlite3.connect(place)) as connection:
        (value,) = connection.execute(
            f"SELECT {column} FROM {table} WHERE {where}"  # noqa: S608
        ).fetchone()
        data = bytearray(value.encode() if isinstance(value, str) else value)
        data[at] ^= bit
        changed = data.decode() if isinstance(value, str) else bytes(data)
        connection.execute(
            FLIP.format(table=table, column=column, where=where), {"value": changed}
        )
        connection.commit()


async def check_stored(folder: Path, key: Vkey) -> LogCheck:
    path = str(folder / "exchange.sqlite")
    store = await open_sqlite(path, readers=1, read_only=True)
    try:
        return await check_log(store, key, read_guard(folder / "guard"), quietly)
    finally:
        await store.close()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Vkey]:
    """A log of 300 entries, and its key."""
    folder = tmp_path_factory.mktemp("original")

    async def make() -> Vkey:
        async with open_world(folder) as world:
            await populate(world)
            await grown(world, 300)
            return vkey(world)

    return folder, asyncio.run(make())


@pytest.fixture
def stored(original: tuple[Path, Vkey], tmp_path: Path) -> tuple[Path, Vkey]:
    """A copy of it, which nobody has open."""
    folder, key = original
    return Path(shutil.copytree(folder, tmp_path / "stored")), key


@pytest.mark.parametrize(
    ("table", "column", "where", "at", "problem"),
    [
        ("statements", "jws", "log_index = 17", 200, "entry 17: the statement's bytes"),
        ("statements", "jws", "log_index = 299", -1, "entry 299: the statement's"),
        ("statements", "digest", "log_index = 5", 31, "entry 5: the statement's bytes"),
        ("tiles", "data", "level = 0 AND tile_index = 0", 33, "tile 0/0: hash 1 is"),
        ("tiles", "data", "level = 0 AND tile_index = 1", 0, "tile 0/1: hash 0 is"),
        ("tiles", "data", "level = 1 AND tile_index = 0", 31, "tile 1/0: hash 0 is"),
        ("checkpoints", "root", "size = 100", 0, "checkpoint of size 100: the tree"),
        ("checkpoints", "note", "size = 200", 25, "checkpoint of size 200: "),
        ("checkpoints", "note", "size = 300", -5, "checkpoint of size 300: "),
    ],
)
async def test_one_wrong_bit_is_found_and_named(
    stored: tuple[Path, Vkey],
    table: str,
    column: str,
    where: str,
    at: int,
    problem: str,
) -> None:
    folder, key = stored
    flipped(folder, table, column, where, at)
    found = await check_stored(folder, key)
    assert not found.sound
    assert found.problems[0].startswith(problem)
    if column != "digest":
        assert len(found.problems) == 1, "one wrong bit is one problem"
    assert len(found.problems) <= 50


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("DELETE FROM statements WHERE log_index = 42", "entry 42: it is missing"),
        ("DELETE FROM tiles WHERE level = 1", "tile 1/0: it is missing"),
        (
            "DELETE FROM checkpoints WHERE size > 290",
            "guard: 300 entries were signed, and the log has 290",
        ),
    ],
)
async def test_what_was_removed_is_missed(
    stored: tuple[Path, Vkey], change: str, problem: str
) -> None:
    folder, key = stored
    with closing(sqlite3.connect(folder / "exchange.sqlite")) as connection:
        connection.execute(change)
        connection.commit()
    found = await check_stored(folder, key)
    assert any(said.startswith(problem) for said in found.problems)


async def test_another_key_and_another_history_are_told(
    world: World, tmp_path: Path
) -> None:
    size = world.ledger.head().size
    signer = NoteSigner(vkey(world).name, Ed25519PrivateKey.generate())
    found = await check_log(world.store, signer.vkey, None, quietly)
    assert found.problems[0] == "checkpoint of size 1: no known key signed the note"
    for guarded, problem in (
        (SignedHead(size + 1, b"\0" * 32), f"guard: {size + 1} entries were signed"),
        (SignedHead(3, b"\0" * 32), "guard: another root was signed at size 3"),
    ):
        (said,) = (await checked(world, guarded)).problems
        assert said.startswith(problem)
