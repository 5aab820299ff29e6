"""The database's files: private to one user, and to one exchange process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from onward_server.storage.faults import unavailable

_PRIVATE = 0o600


def claim_database(path: str) -> int:
    """Locks the database for this process, and makes its file if there is none.

    Returns the lock, a file descriptor; closing it gives the database free.

    Raises:
        UnavailableError: another process has it, or its files cannot be made.
    """
    try:
        lock = _open_private(f"{os.path.realpath(path)}.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(_open_private(path))
        except BaseException:
            os.close(lock)
            raise
    except BlockingIOError as error:
        raise unavailable(
            f"{path} is in use by another exchange process; stop that one first, or "
            "ask it to do what you want"
        ) from error
    except OSError as error:
        raise unavailable(f"cannot open {path}: {error.strerror}") from error
    return lock


def prepare_copy(path: str, target: str) -> None:
    """Makes an empty private file for a copy, in place of one left behind.

    Raises:
        FileExistsError: the name that the copy is to have is taken.
    """
    if Path(target).exists():
        raise FileExistsError(target)
    remove_copy(path)
    os.close(_open_private(path))


def remove_copy(path: str) -> None:
    """Removes a copy that is not complete, or has its name by now."""
    Path(path).unlink(missing_ok=True)


def publish_copy(path: str, target: str) -> None:
    """Gives a complete copy its name, durably.

    Raises:
        FileExistsError: the name is taken.
    """
    _sync(path)
    os.link(path, target)
    _sync(str(Path(target).absolute().parent))


def _sync(path: str) -> None:
    """Waits until a file, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_private(path: str) -> int:
    """Opens a file for the present user only, and makes it if there is none."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
    os.fchmod(descriptor, _PRIVATE)
    return descriptor
