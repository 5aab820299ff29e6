"""The log as a folder of static files, which any web server can serve.

The folder has what the port for strangers answers, path for path (C2SP tlog-tiles). It
grows from export to export: only what is new is written, each file whole or not at all,
and ``checkpoint`` last, so that it never promises what is not there. An export that was
cut off goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from onward.core.checkpoints import Checkpoint
from onward.core.errors import OnwardError, Reason, StateError, UnavailableError
from onward.core.notes import Vkey, open_note
from onward.core.tiles import TilePath, edge_tiles, tile_width, tiles
from onward_server.exchange.cosigning import LogCosigner
from onward_server.exchange.log_files import read_tile
from onward_server.exchange.receipts import Receipts
from onward_server.storage.contract import CheckpointRow, Store

CHECKPOINT: Final = "checkpoint"

_MODE: Final = 0o644
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC

Advance = Callable[[int], object]
"""Is told how many steps were done since the last time."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did.

    Attributes:
        size: entries of the log that the folder has now.
        before: entries that it had.
        files: how many files were written.
    """

    size: int
    before: int
    files: int


async def export_log(
    store: Store,
    vkey: Vkey,
    folder: Path,
    begin: Callable[[int], Advance],
    cosigner: LogCosigner | None = None,
) -> Exported:
    """Writes what a folder lacks of a log. The exchange may run meanwhile.

    Args:
        store: where the log is; reading suffices.
        vkey: the log's key.
        folder: is made if it does not exist.
        begin: is told how many files there are to look at.
        cosigner: adds the log's second signature, where it has one.

    Raises:
        StateError: the folder holds another log, or one that is ahead of this one.
        UnavailableError: the database cannot be read, or the folder not be written.
    """
    head = await store.head()
    if head is None:
        raise StateError(
            Reason.ERROR_REASON_STORAGE_UNAVAILABLE, "the log has no entry yet"
        )
    before = await _before(store, vkey, folder, head)
    advance = begin(sum(1 for _ in _paths(head.size, before)))
    written = _Folder(folder)
    for path in _paths(head.size, before):
        written.put(path.format(), await read_tile(store, head.size, path))
        advance(1)
    written.sync()
    lines = "".join(row.line for row in await store.cosignatures([head.size]))
    note = cosigner.cosigned(head.note) if cosigner else head.note
    written.replace(CHECKPOINT, f"{note}{lines}".encode())
    written.sync()
    _remove_partial(folder, before)
    return Exported(head.size, before, written.files)


def _paths(size: int, before: int) -> Iterator[TilePath]:
    """Yields what a log of one size has that it did not have at another."""
    for tile in tiles(size, before):
        width = tile_width(tile, size)
        yield TilePath(tile, width)
        if tile[0] == 0:
            yield TilePath(tile, width, entries=True)


async def _before(store: Store, vkey: Vkey, folder: Path, head: CheckpointRow) -> int:
    """Returns the size of the log that a folder has, which must be a part of this."""
    try:
        note = (folder / CHECKPOINT).read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        raise _unwritable(folder / CHECKPOINT, error) from error
    try:
        found = Checkpoint.parse(open_note(note, [vkey]).text)
        if found.size <= head.size:
            tree = await Receipts(store).tree(found.size, ())
            if tree.root == found.root:
                return found.size
    except OnwardError as error:
        raise _other(folder, error.message) from error
    raise _other(
        folder, f"its checkpoint of size {found.size} is none that this log has signed"
    )


def _remove_partial(folder: Path, before: int) -> None:
    """Removes partial tiles of the export before that are full by now."""
    for tile in edge_tiles(before):
        for entries in (False, True):
            full = folder / TilePath(tile, entries=entries).format()
            if full.is_file():
                _remove_folder(full.with_name(f"{full.name}.p"))


def _remove_folder(folder: Path) -> None:
    """Removes a folder of files, as far as that can be done."""
    with suppress(OSError):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


@dataclass(slots=True)
class _Folder:
    """Writes files, and in the end makes their names durable too.

    Attributes:
        files: how many were written.
    """

    path: Path
    files: int = 0
    _touched: set[Path] = field(default_factory=set)

    def put(self, name: str, data: bytes) -> None:
        """Writes a file that never changes, unless it is there.

        Raises:
            StateError: another file of that name is there.
        """
        path = self.path / name
        if not path.exists():
            self.replace(name, data)
        elif path.read_bytes() != data:
            raise _other(self.path, f"{name} is another one than this log's")

    def replace(self, name: str, data: bytes) -> None:
        """Writes a file, whole or not at all."""
        path = self.path / name
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(temporary, _NEW, _MODE), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from error
        self.files += 1
        self._touched.update(self.path / above for above in Path(name).parents)

    def sync(self) -> None:
        """Waits until the names of all files that were written are on disk."""
        for folder in self._touched:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._touched.clear()


def _other(folder: Path, why: str) -> StateError:
    return StateError(
        Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
        f"{folder} does not hold a part of this log: {why}. Name a new folder; keep "
        "this one if nobody can say how it came about",
    )


def _unwritable(path: Path, error: Exception) -> UnavailableError:
    cause = error.strerror if isinstance(error, OSError) else "it is not text"
    return UnavailableError(
        Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
        f"{path} cannot be used: {cause}; mend that and try again",
    )
