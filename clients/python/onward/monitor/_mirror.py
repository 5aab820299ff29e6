"""A mirror: a log as a folder of static files, and what its monitor must not forget.

::

    checkpoint             the newest one of which every entry was checked
    cosigned               the same with the monitor's cosignature, if it cosigns
    tile/...               tiles and entries, as the log serves them
    evidence/fork-*/       what proves a fork
    monitor/pending        a newer checkpoint, of which not everything was checked yet
    monitor/state.json     what was told already, and when the log grew last
    monitor/lock           is held by the monitor that works here

``checkpoint`` and ``tile`` are what ``onward-server log export`` writes, for any web
server to serve. Each file is written whole or not at all, and ``checkpoint`` when all
below it is on the disk.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from onward.core.checkpoints import Checkpoint
from onward.core.errors import ForkError, OnwardError, Reason, UnavailableError
from onward.core.merkle import HASH_SIZE
from onward.core.tiles import TileId, TilePath, edge_tiles, tile_width
from onward.core.tree import Tile, Tree

CHECKPOINT: Final = "checkpoint"
COSIGNED: Final = "cosigned"

_PENDING: Final = "monitor/pending"
_STATE: Final = "monitor/state.json"
_LOCK: Final = "monitor/lock"
_EVIDENCE: Final = "evidence"
_README: Final = "README.txt"
_MODE: Final = 0o644
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC

_FORK_TEXT: Final = """\
{why}

`first` and `second` are checkpoints that the log has signed, as it showed them, in this
order. No log that only ever grows signs both.

If they have the same size, they have different roots, and that is all. If not, `tile`
has hashes of the larger one's tree: they fold into the root of the larger one, and what
they have of the smaller one's size folds into another root than it has.

Keep this folder, and give it to whoever relies on the log. Monitoring goes on when it
is moved away from here.
"""


class Mirror:
    """A mirror's folder, for one monitor at a time. Use it as a context manager.

    Methods block. Several threads may read and write tiles.

    Args:
        path: where; it is made if it does not exist.

    Raises:
        UnavailableError: another monitor works there, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._touched: set[Path] = set()
        with _explained(path):
            (path / _LOCK).parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._lock = os.open(path / _LOCK, flags, _MODE)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise _unusable(path, "another monitor works there") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets another monitor work there."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # --- checkpoints ----------------------------------------------------------------

    @property
    def checkpoint(self) -> str:
        """The newest checkpoint of which everything is there, a note; or nothing."""
        return self._text(CHECKPOINT)

    @property
    def pending(self) -> str:
        """The checkpoint of which not everything was checked, a note; or nothing."""
        return self._text(_PENDING)

    def begin(self, note: str) -> None:
        """Keeps a checkpoint whose entries are to be copied."""
        self._replace(_PENDING, note.encode())
        self._sync()

    def complete(self, note: str, before: int) -> None:
        """Replaces the checkpoint: everything that it covers is there.

        Args:
            note: the checkpoint.
            before: the size of the one that it replaces; its partial tiles go that are
                full now.
        """
        self._sync()
        self._replace(CHECKPOINT, note.encode())
        self._sync()
        self._forget_pending()
        for tile in edge_tiles(before):
            for entries in (False, True):
                full = self.path / TilePath(tile, entries=entries).format()
                if full.is_file():
                    _remove_folder(full.with_name(f"{full.name}.p"))

    def put_cosigned(self, note: str) -> None:
        """Keeps the checkpoint with the monitor's cosignature."""
        self._replace(COSIGNED, note.encode())
        self._sync()

    # --- tiles ----------------------------------------------------------------------

    def tile(self, path: TilePath) -> bytes | None:
        """Returns a tile or bundle if it is there. It can be damaged."""
        return self._bytes(path.format())

    def put_tile(self, path: TilePath, data: bytes) -> None:
        """Writes a tile or bundle that was checked."""
        self._replace(path.format(), data)

    def tiles(self, size: int, wanted: frozenset[TileId]) -> dict[TileId, bytes]:
        """Returns tiles as they are at the size of the mirror's checkpoint.

        Raises:
            UnavailableError: one is missing, or has another length.
        """
        found: dict[TileId, bytes] = {}
        for tile in wanted:
            width = tile_width(tile, size)
            data = self.tile(TilePath(tile, width))
            if data is None or len(data) != width * HASH_SIZE:
                raise self.damaged()
            found[tile] = data
        return found

    def check(self, checkpoint: Checkpoint) -> None:
        """Checks that the mirror has the end of the tree of its checkpoint.

        Raises:
            UnavailableError: it has not; it was damaged here.
        """
        size = checkpoint.size
        try:
            root = Tree.load(size, self.tiles(size, edge_tiles(size))).root
        except OnwardError as error:
            raise self.damaged() from error
        if root != checkpoint.root:
            raise self.damaged()

    def damaged(self) -> UnavailableError:
        """Returns the error that says so."""
        return _unusable(
            self.path,
            "its files are not those of its checkpoint, so it was damaged here; keep "
            "its checkpoint, move the folder away, and begin a new one",
        )

    # --- what must not be forgotten -------------------------------------------------

    def state(self) -> dict[str, object]:
        """Returns what was kept; nothing if that cannot be read."""
        try:
            state = json.loads(self._text(_STATE) or "{}")
        except ValueError:
            state = None
        return state if isinstance(state, dict) else {}

    def put_state(self, **changes: object) -> None:
        """Keeps values beside those that are there."""
        before = self.state()
        if before | changes != before:
            text = json.dumps(before | changes, indent=1, sort_keys=True)
            self._replace(_STATE, f"{text}\n".encode())
            self._sync()

    def keep_fork(self, error: ForkError, tiles: Mapping[TileId, Tile]) -> Path:
        """Keeps the evidence of a fork, and returns its folder.

        A checkpoint of which not everything was checked is forgotten: it is evidence
        now, and not what the log is measured by when a person has looked at it.

        Args:
            error: has both checkpoints.
            tiles: of the larger tree, which prove it; none if the sizes are the same.
        """
        mark = sha256(f"{error.first}\n{error.second}".encode()).hexdigest()[:16]
        folder = f"{_EVIDENCE}/fork-{mark}"
        for tile, held in tiles.items():
            path = TilePath(tile, held.width).format()
            self._replace(f"{folder}/{path}", held.data)
        self._replace(f"{folder}/first", error.first.encode())
        self._replace(f"{folder}/second", error.second.encode())
        self._sync()
        text = _FORK_TEXT.format(why=error.message)
        self._replace(f"{folder}/{_README}", text.encode())
        self._sync()
        self._forget_pending()
        return self.path / folder

    def fork(self) -> Path | None:
        """Returns the folder with evidence of a fork, if there is one."""
        found = sorted((self.path / _EVIDENCE).glob(f"fork-*/{_README}"))
        return found[0].parent if found else None

    # --- files ----------------------------------------------------------------------

    def _text(self, name: str) -> str:
        try:
            return (self._bytes(name) or b"").decode()
        except UnicodeDecodeError:
            raise self.damaged() from None

    def _bytes(self, name: str) -> bytes | None:
        path = self.path / name
        with _explained(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def _forget_pending(self) -> None:
        with _explained(self.path):
            (self.path / _PENDING).unlink(missing_ok=True)

    def _replace(self, name: str, data: bytes) -> None:
        """Writes a file, whole or not at all."""
        path = self.path / name
        temporary = path.with_name(f".{path.name}.tmp")
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(temporary, _NEW, _MODE), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        self._touched.update(self.path / above for above in Path(name).parents)

    def _sync(self) -> None:
        """Waits until the names of all files that were written are on the disk."""
        for folder in self._touched:
            with _explained(folder):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        self._touched.clear()


def _remove_folder(folder: Path) -> None:
    """Removes a folder of files, as far as that can be done."""
    with suppress(OSError):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns what the system says of a file into an error of Onward."""
    try:
        yield
    except OSError as error:
        cause = (error.strerror or "it cannot be used").lower()
        raise _unusable(path, f"{cause}; mend that and try again") from error


def _unusable(path: Path, why: str) -> UnavailableError:
    return UnavailableError(
        Reason.ERROR_REASON_STORAGE_UNAVAILABLE, f"{path} cannot be used: {why}"
    )
