"""``onward-server restore`` and ``log succeed``: after a loss, or for a new key."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onward_server.cli.output import (
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
    from onward_server.succession import Succeeded, Succession


def succeed(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder to make.")
    ],
    *,
    origin: Annotated[
        str, typer.Option(help="The successor's origin, another than the log has.")
    ],
    last: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The newest checkpoint that a mirror, a witness or a member has kept.",
        ),
    ] = None,
    without_lost: Annotated[
        bool,
        typer.Option(
            "--without-lost",
            help="Go on although entries that were signed are in no database.",
        ),
    ] = False,
    config: ConfigOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Begin a successor of the log in a new folder, and retire the log.

    With a new log key, under another origin: to replace the key, to begin a log for the
    next year, or to go on after entries were lost. Stop the exchange first. Everything
    else stays as it was: members, their keys and certificates, referrals, deadlines.
    What the log has signed stays provable with its key.
    """
    from onward_server.material import read_file
    from onward_server.succession import Succession

    quiet_logs()
    kept = read_file(last).decode("utf-8", "replace") if last else ""
    succession = Succession(folder, origin, kept, without_lost=without_lost)
    done = asyncio.run(_succeed(load_config(config), config_file(config), succession))
    if as_json:
        put(
            {
                "config": str(done.config_file),
                "carried": done.carried,
                "lost": done.lost,
                "trust": done.trust,
            }
        )
        return
    tell(f"The log is retired. {origin} goes on in {folder}, with all")
    tell(f"{done.carried:,} entries; {done.lost:,} are lost. Next:\n")
    tell(f"  onward-server doctor --config {done.config_file}")
    tell(f"  onward-server serve --config {done.config_file}\n")
    tell("Keep a copy of its keys/ offline. Give this trust file to all members and to")
    tell("whoever verifies receipts; members run `onward follow FILE`:\n")
    typer.echo(done.trust, nl=False)


async def _succeed(config: Config, file: Path, succession: Succession) -> Succeeded:
    """Begins the successor with a bar."""
    from onward_server.exchange.clock import system_entropy
    from onward_server.settings import clock
    from onward_server.succession import succeed as begin_successor

    with progress("carrying over") as begin:
        return await begin_successor(
            config, file, succession, clock(config), system_entropy, begin
        )
