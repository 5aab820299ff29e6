r"""The restore guard: what was signed last, kept outside the database.

A database that is restored from a backup is older than the log that it belongs to.
Signing on from there would fork the log. So after every commit the guard keeps the
size and root that were signed, in a small file that is not part of any backup, and at
start the ledger compares. A guard that is *behind* the database is harmless (the
machine stopped between commit and guard); one that is *ahead* means that entries were
lost, and the exchange refuses to sign.

The file is one line: ``<size> <root in hex>\\n``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from onward.core.errors import Reason, StateError

_ROOT_HEX = 64
_LINE = f"{{:020d}} {{:0>{_ROOT_HEX}}}\n"


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A size and root that were signed."""

    size: int
    root: bytes


class Guard:
    """Keeps the last signed head in a file.

    Args:
        path: the file. Put it on another disk than the database, or at least outside
            of what is backed up.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Flushes and closes the file."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def last(self) -> SignedHead | None:
        """Returns the last recorded head, or None when there is none yet.

        Raises:
            StateError: the file is damaged; a person must look at it.
        """
        line = os.pread(self._descriptor, 200, 0).decode("ascii", "replace")
        if not line:
            return None
        size, _, root = line.rstrip("\n").partition(" ")
        try:
            return SignedHead(int(size), bytes.fromhex(root))
        except ValueError:
            raise StateError(
                Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
                f"the restore guard {self._path} is damaged: it does not hold a size "
                "and a root. Compare the database with a witness or a recent receipt "
                "before you remove the file",
            ) from None

    def record(self, size: int, root: bytes) -> None:
        """Keeps a head that was committed.

        One write of fixed length, so that it is never half there after a crash of the
        process. It is not flushed to disk each time: after a power failure the guard
        may be behind, which is harmless.
        """
        os.pwrite(self._descriptor, _LINE.format(size, root.hex()).encode(), 0)

    def check(self, size: int, root_at: bytes | None) -> None:
        """Refuses a database that is older than what was signed.

        Args:
            size: the size of the database's head.
            root_at: the root that the database has at the guard's size, if it is that
                long.

        Raises:
            StateError: the database is behind, or has another history. Nothing
                may be signed.
        """
        last = self.last()
        if last is None:
            return
        if size < last.size:
            raise StateError(
                Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
                f"the database has {size} log entries, but {last.size} were signed: it "
                "is older than the log. Restore a newer copy; signing on would fork "
                "the log. `onward-server doctor` explains the ways out",
            )
        if root_at != last.root:
            raise StateError(
                Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
                "the database has another history than the log that was signed at "
                f"size {last.size}. It belongs to another log, or was tampered with",
            )


def read_guard(path: Path) -> SignedHead | None:
    """Returns what a guard holds; makes none where there is none.

    Raises:
        StateError: the file is damaged.
    """
    if not path.exists():
        return None
    guard = Guard(path)
    try:
        return guard.last()
    finally:
        guard.close()
