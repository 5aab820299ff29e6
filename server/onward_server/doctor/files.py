"""Are the files there, and for the exchange's user only?"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from onward_server.config import Config
from onward_server.databases import is_server
from onward_server.doctor.findings import Finding, fine, problem, warning
from onward_server.exchange.clock import Clock

_MIB: Final = 1024 * 1024
_LITTLE: Final = 1024 * _MIB
_TOO_LITTLE: Final = 128 * _MIB
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def check_files(config: Config, _: Clock) -> Iterator[Finding]:
    """Looks at each file that the configuration names."""
    public = (
        config.tls.certificate_file,
        config.tls.client_ca_file,
        config.tls.ca_certificate_file,
    )
    private = (
        config.tls.key_file,
        config.tls.ca_key_file,
        config.keys.statement_key_file,
        config.keys.log_key_file,
        *_second_key(config),
        *_database(config),
        *_guard(config),
        *_witness(config),
    )
    wrong = [
        finding
        for path in dict.fromkeys((*public, *private))
        if (finding := _look(path, private=path in private))
    ]
    yield from wrong
    if not wrong:
        yield fine("files", "all are there, and private ones are for their owner only")
    if not is_server(config) and config.storage.guard_file.is_relative_to(
        config.storage.database_file.parent
    ):
        yield warning(
            "place of the guard",
            f"{config.storage.guard_file} is inside the database's folder, and would "
            "be restored together with an old copy of it",
            "set storage.guard_file to a place outside, best on another disk",
        )


def check_disk(config: Config, _: Clock) -> Iterator[Finding]:
    """Looks at the space that is left for the database, or for the guard alone."""
    storage = config.storage
    field = "guard_file" if is_server(config) else "database_file"
    folder: Path = getattr(storage, field).parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield problem(
            "disk space",
            f"{folder}: {error.strerror}",
            f"make the folder, or mend storage.{field}",
        )
        return
    detail = f"{free // _MIB:,} MiB free in {folder}"
    if free < _TOO_LITTLE:
        yield problem("disk space", detail, "free some, or nothing can be written")
    elif free < _LITTLE:
        yield warning("disk space", detail, "free some, or move to a larger disk")
    else:
        yield fine("disk space", detail)


def _database(config: Config) -> list[Path]:
    """Returns the database, or the file with its URL."""
    storage = config.storage
    if not is_server(config):
        return [storage.database_file]
    return [storage.url_file] if storage.url_file else []


def _second_key(config: Config) -> list[Path]:
    """Returns the log's second key, if there is one."""
    path = config.keys.log_mldsa_key_file
    return [path] if path.exists() else []


def _witness(config: Config) -> list[Path]:
    """Returns what is the witness's alone, if the exchange is one."""
    section = config.witness
    return [section.key_file, section.database_file] if section.key_file else []


def _guard(config: Config) -> list[Path]:
    """Returns the guard's file; without it, that is for whoever looks at the log."""
    file = config.storage.guard_file
    return [file] if file.exists() or not file.parent.is_dir() else []


def _look(path: Path, *, private: bool) -> Finding | None:
    """Returns what is wrong with one file, if anything is."""
    try:
        found = path.stat()
    except OSError as error:
        return problem(
            "files",
            f"{path}: {error.strerror}",
            "restore it from where it is kept, or mend the configuration",
        )
    if not os.access(path, os.R_OK):
        return problem(
            "files",
            f"{path} cannot be read by this user",
            "run this as the exchange's user; or give the file to that user",
        )
    if private and found.st_mode & _OTHERS:
        mode = stat.filemode(found.st_mode)
        return problem(
            "files",
            f"{path} is open to other users ({mode})",
            f"chmod 600 {path}",
        )
    return None
