"""Copying an exchange, while it runs or not, without its secrets or with them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from onward._files import make_private_dir, write_atomically
from onward.core.errors import MalformedError
from onward_server.bootstrap import OPERATOR_HOME
from onward_server.config import FILE_NAME, Config
from onward_server.databases import open_store, require_file
from onward_server.material import read_file

_BY_THE_SERVER: Final = (
    "Archive it continuously by the server's own means (point-in-time recovery), and "
    "copy this folder without guard/; docs/how-to/replicas.md says how"
)


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A backup.

    Attributes:
        folder: where it is.
        entries: how many log entries the copy of the database has.
        keep: files that are not in it, and without which it cannot be restored; each
            with what is lost without it.
    """

    folder: Path
    entries: int
    keep: Mapping[Path, str]


async def back_up(
    config: Config, config_file: Path, target: Path, *, with_keys: bool
) -> BackedUp:
    """Copies an exchange into a new folder, laid out as a data folder is.

    The database is copied as of one moment, beside a running exchange too. The restore
    guard never is: restored together with the database it could notice nothing.

    Args:
        config: of the exchange.
        config_file: where it was read.
        target: the folder; must not exist.
        with_keys: copy private keys too. Then the backup is as secret as they are.

    Raises:
        MalformedError: the folder exists, or a file cannot be read.
        StateError: the database is on a server.
        UnavailableError: the database cannot be read, or the folder not be written.
    """
    require_file(config, _BY_THE_SERVER)
    _make_new(target)
    store = await open_store(config, beside=True)
    try:
        database = target / place_in_backup(config, config.storage.database_file)
        make_private_dir(database.parent)
        # Before the copy: entries that come meanwhile may be in it, and are a surplus.
        head = await store.head()
        await store.backup(str(database))
    finally:
        await store.close()
    _copy_files(config, config_file, target, with_keys=with_keys)
    keep = {} if with_keys else _secrets(config)
    return BackedUp(target, head.size if head else 0, keep)


def _make_new(folder: Path) -> None:
    """Makes the folder of a backup."""
    if folder.exists():
        raise MalformedError(f"{folder} exists; name a new folder")
    make_private_dir(folder)


def _copy_files(
    config: Config, config_file: Path, target: Path, *, with_keys: bool
) -> None:
    """Copies what is beside the database."""
    write_atomically(target / FILE_NAME, read_file(config_file))
    for path in [*_certificates(config), *(_secrets(config) if with_keys else ())]:
        copy = target / place_in_backup(config, path)
        make_private_dir(copy.parent)
        write_atomically(copy, read_file(path))
    home = config.exchange.data_dir / OPERATOR_HOME
    if with_keys and home.is_dir():
        shutil.copytree(home, target / OPERATOR_HOME)


def _certificates(config: Config) -> list[Path]:
    """Returns the public files, each once."""
    tls = config.tls
    names = (tls.certificate_file, tls.client_ca_file, tls.ca_certificate_file)
    return list(dict.fromkeys(names))


def _secrets(config: Config) -> dict[Path, str]:
    """Returns the private files, and what is lost without each."""
    second = config.keys.log_mldsa_key_file
    optional = {
        second: "checkpoints have one signature only, and trust files a key too many"
    }
    return {
        **(optional if second.exists() else {}),
        config.keys.log_key_file: "the log cannot go on, and a new one must be begun",
        config.keys.statement_key_file: "the exchange cannot make statements",
        config.tls.ca_key_file: "no certificate can be issued; all members must enrol "
        "again with a new authority",
        config.tls.key_file: "the exchange needs a new certificate",
    }


def place_in_backup(config: Config, path: Path) -> Path:
    """Returns where a file belongs in a backup, as a relative path."""
    data_dir = config.exchange.data_dir
    if path.is_relative_to(data_dir):
        return path.relative_to(data_dir)
    return Path("elsewhere") / path.name
