"""Files that survive a crash: written whole or not at all, and only for their owner."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from onward.core.errors import Reason, UnavailableError

PRIVATE_DIR: Final = 0o700
PRIVATE_FILE: Final = 0o600

_PAUSE: Final = 0.05


def make_private_dir(path: Path) -> None:
    """Makes a directory, and those above it, that only its owner may enter."""
    with _explained(path):
        path.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
        path.chmod(PRIVATE_DIR)


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a file, durably. A reader sees the old bytes or the new ones.

    Raises:
        UnavailableError: it cannot be written; the old file is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _explained(path):
        try:
            _write(temporary, data, os.O_TRUNC)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_dir(path.parent)


def append_durably(path: Path, data: bytes) -> None:
    """Appends to a file. Nothing is promised to concurrent callers: hold a lock.

    Raises:
        UnavailableError: it cannot be written; a part of ``data`` may be there.
    """
    with _explained(path):
        is_new = not path.exists()
        _write(path, data, os.O_APPEND)
        if is_new:
            _sync_dir(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an advisory lock among processes and threads; blocks until it is free."""
    descriptor = _open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def held(path: Path) -> AsyncIterator[None]:
    """As :func:`locked`, among tasks too; the loop goes on while it waits and works."""
    descriptor = _open_lock(path)
    try:
        while not _taken(descriptor):  # noqa: ASYNC110 - another process frees it
            await asyncio.sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)


def remove_durably(path: Path) -> None:
    """Removes a file, so that it does not come back after a crash."""
    with _explained(path):
        path.unlink(missing_ok=True)
        _sync_dir(path.parent)


def move_durably(path: Path, to: Path) -> None:
    """Moves a file within a file system; it is never in neither place."""
    with _explained(to):
        path.rename(to)
        _sync_dir(to.parent)
        _sync_dir(path.parent)


def point_durably(path: Path, target: str) -> None:
    """Makes a symbolic link, unless there is a file of that name."""
    with _explained(path):
        with suppress(FileExistsError):
            path.symlink_to(target)
        _sync_dir(path.parent)


def _open_lock(path: Path) -> int:
    with _explained(path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | mode
    with os.fdopen(os.open(path, flags, PRIVATE_FILE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_dir(path: Path) -> None:
    """Makes a file's name as durable as its bytes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns what the system says of a file into an error of Onward."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
            f"{path} cannot be written: {error.strerror}; mend that and try again",
        ) from error
