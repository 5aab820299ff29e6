"""``onward-server migrate`` and ``move``: a newer schema, another database."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onward_server.cli.output import (
    REFUSED,
    ConfigOption,
    JsonOption,
    config_file,
    load_config,
    progress,
    put,
    quiet_logs,
    tell,
)

if TYPE_CHECKING:
    from onward_server.config import Config
    from onward_server.moving import Moved


def migrate(
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Change nothing; exit code 1 if there is something to do."
        ),
    ] = False,
    config: ConfigOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Bring the database's schema to this release.

    A start of the exchange does it too. Do it before, to see how long it takes, or to
    give the exchange's role no right to change tables. Stop the exchange first. A
    schema of a newer release is refused: there is no way back but a backup.
    """
    from onward_server.databases import migrate_database

    quiet_logs()
    present, latest = asyncio.run(migrate_database(load_config(config), check=check))
    if as_json:
        put({"from": present, "to": latest})
    elif present == latest:
        tell(f"The database has schema version {latest}; there is nothing to do.")
    elif check:
        tell(f"The database has schema version {present}; this release needs {latest}.")
    else:
        tell(f"The database was brought from schema version {present} to {latest}.")
    sys.exit(REFUSED if check and present < latest else 0)


def move(
    *,
    to_url_file: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Holds the URL of a PostgreSQL database, which is empty; it may hold "
            "a password, and so is a file.",
        ),
    ],
    config: ConfigOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Move the exchange from its SQLite file into a PostgreSQL database.

    Stop the exchange first. Everything is checked, copied, read back and compared, and
    the log is recomputed on both sides; then the file is marked, so that no exchange
    runs on it any more, and the configuration names the database. If it is cut off, run
    it again: it goes on where it was.
    """
    from onward_server.databases import read_url

    quiet_logs()
    file = config_file(config)
    done = asyncio.run(_move(load_config(config), read_url(to_url_file)))
    named = _name_database(file, to_url_file.absolute())
    if as_json:
        put({"entries": done.entries, "source": str(done.source), "configured": named})
        return
    tell(f"All {done.entries:,} log entries, and all that goes with them, are moved.")
    if not named:
        tell(f"{file} cannot be edited; write into it, and then:\n")
        tell(f'  [storage]\n  url_file = "{to_url_file.absolute()}"\n')
    tell("Next:\n")
    tell(f"  onward-server doctor --config {file}")
    tell(f"  onward-server serve --config {file}\n")
    tell(f"Nothing opens {done.source} any more. It still holds")
    tell("contents, which nobody will erase there: when the new database has a backup,")
    tell("delete the file, and its backups.")


def _name_database(file: Path, url_file: Path) -> bool:
    """Has the configuration name a database; says whether it could be written."""
    from onward._files import write_atomically
    from onward.core.errors import MalformedError, UnavailableError
    from onward_server.config_pages import with_value
    from onward_server.material import read_file

    try:
        text = read_file(file).decode()
        changed = with_value(text, "storage", "url_file", url_file)
        if changed != text:
            write_atomically(file, changed.encode())
    except (MalformedError, UnavailableError):
        return False
    return True


async def _move(config: Config, url: str) -> Moved:
    """Moves an exchange with bars."""
    from onward_server.exchange.clock import system_entropy
    from onward_server.moving import move as move_exchange

    return await move_exchange(config, url, system_entropy, progress)
