r"""The restore guard: what was signed last, kept outside the database.

A database that is restored from a backup is older than the log that it belongs to.
Signing on from there would fork the log. So after every commit the guard keeps the
size and root that were signed, in a small file that is not part of any backup, and at
start the ledger compares. A guard that is *behind* the database is harmless (the
machine stopped between commit and guard); one that is *ahead* means that entries were
lost, and the exchange refuses to sign.

A log that was succeeded by another one is *retired*: its guard names the successor's
key, and nothing is signed any more either.

The file is one line: ``<size> <root in hex>[ <successor's vkey>]\\n``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from onward.core.errors import Reason, StateError

_ROOT_HEX = 64
_LINE = f"{{:020d}} {{:0>{_ROOT_HEX}}}\n"
_MAX_LINE = 1024


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A size and root that were signed.

    Attributes:
        successor: the key of the log that goes on in place of this one; empty while
            this one goes on.
    """

    size: int
    root: bytes
    successor: str = ""


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
        line = os.pread(self._descriptor, _MAX_LINE, 0).decode("utf-8", "replace")
        if not line:
            return None
        size, _, rest = line.rstrip("\n").partition(" ")
        root, _, successor = rest.partition(" ")
        try:
            return SignedHead(int(size), bytes.fromhex(root), successor)
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

    def retire(self, head: SignedHead) -> None:
        """Keeps that nothing may be signed after this head; returns when it is on disk.

        Args:
            head: the last one, with its successor.
        """
        line = f"{_LINE.format(head.size, head.root.hex())[:-1]} {head.successor}\n"
        os.pwrite(self._descriptor, line.encode(), 0)
        os.fsync(self._descriptor)

    def check(self, size: int, root_at: bytes | None) -> None:
        """Refuses a database that is older than what was signed, and a retired log.

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
        if last.successor:
            raise StateError(
                Reason.ERROR_REASON_STATE_FORBIDS,
                f"this log was retired at size {last.size}; the one that goes on is "
                f"that of {last.successor}. Start the exchange in its folder",
            )
        if size < last.size:
            raise entries_lost(size, last.size)
        if root_at != last.root:
            raise another_history(last.size)


def entries_lost(size: int, signed: int) -> StateError:
    """Returns the error for a database that is older than its log."""
    return StateError(
        Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
        f"the database has {size} log entries, but {signed} were signed: it is older "
        f"than the log, and lacks the entries {size} to {signed - 1}. Signing on would "
        "fork the log. Find a newer copy, and put it in place with `onward-server "
        "restore`; if there is none, begin a successor with `onward-server log "
        "succeed`",
    )


def another_history(signed: int) -> StateError:
    """Returns the error for a database that contradicts what was signed."""
    return StateError(
        Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
        "the database has another history than the log that was signed at size "
        f"{signed}. It belongs to another log, or was tampered with",
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
