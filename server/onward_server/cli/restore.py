"""``onward-server restore`` and ``log succeed``: after a loss, or for a new key."""

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
    from onward_server.restoring import Examined, Sources
    from onward_server.succession import Succeeded, Succession

MirrorOption = Annotated[
    str,
    typer.Option(
        metavar="PLACE", help="A mirror of the log: a folder, or its URL over HTTP."
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The newest checkpoint that a member or a witness has kept.",
    ),
]


def restore(
    copy: Annotated[
        Path, typer.Argument(metavar="COPY", help="A backup, or a database file.")
    ],
    *,
    mirror: MirrorOption = "",
    checkpoint: CheckpointOption = None,
    asked_others: Annotated[
        bool,
        typer.Option(
            "--asked-others",
            help="Go on although nobody here knows what was signed last.",
        ),
    ] = False,
    config: ConfigOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Put a copy of the database in place, if nothing was signed after it.

    Stop the exchange first. All of the copy is recomputed, and compared with the guard,
    the database in place, and what --mirror and --checkpoint know. A copy that is older
    than the log is not put in place: exit code 1, and what is missing is listed, with
    --mirror by digest. What was in place is kept under another name.

    Where there is no guard and no database any more, as on a new machine, --mirror or
    --checkpoint must say what was signed last, or you must have asked others.
    """
    from onward_server.restoring import Sources

    quiet_logs()
    loaded, sources = load_config(config), Sources(mirror, checkpoint, asked_others)
    found, before = asyncio.run(_restore(loaded, copy, sources))
    done = found.may_replace(sources)
    if as_json:
        put(_as_json(found) | {"restored": done, "before": str(before or "")})
    else:
        _show(found)
        _show_end(found, before, done=done)
    sys.exit(0 if done else REFUSED)


def verify_backup(
    config: Config, copy: Path, sources: Sources, *, as_json: bool
) -> None:
    """Checks a backup, and ends with 1 if it is not sound: ``backup --verify``.

    That a backup is older than the log is what backups are: it is told, and no fault.
    """
    found = asyncio.run(_examine(config, copy, sources))
    if as_json:
        put(_as_json(found))
    else:
        _show(found)
    sys.exit(0 if found.check.sound else REFUSED)


def _as_json(found: Examined) -> dict[str, object]:
    """Returns what was found about a copy."""
    size = found.check.size
    return {
        "database": str(found.database),
        "sound": found.check.sound,
        "problems": found.check.problems,
        "size": size,
        "signed": found.newest.size if found.newest else size,
        "source": found.newest.source if found.newest else "",
        "missing": [
            {"index": index, "digest": digest.hex()}
            for index, digest in enumerate(found.lacking, size)
        ],
    }


def _show(found: Examined) -> None:
    """Prints what was found about a copy, for people."""
    for problem in found.check.problems:
        typer.echo(problem)
    for index, digest in enumerate(found.lacking, found.check.size):
        typer.echo(f"missing: entry {index}, {digest.hex()}")
    sound = "is sound" if found.check.sound else "is damaged or was tampered with"
    tell(f"{found.database} {sound}; it has {found.check.size:,} entries")
    if found.behind and found.newest:
        first, last = found.check.size, found.newest.size - 1
        tell(
            f"{found.newest.source} knows of {found.newest.size:,}: the entries "
            f"{first} to {last} were signed after it"
        )


def _show_end(found: Examined, before: Path | None, *, done: bool) -> None:
    """Says what was done, and what is to do next."""
    if done:
        tell("It is in place now; start the exchange.")
        if before:
            tell(f"What was there before is {before}.")
    elif found.check.sound and found.newest is None:
        tell("It was not put in place: nobody here knows what was signed last, and an")
        tell("exchange that goes on from an old copy forks its log. Name a mirror or a")
        tell(
            "checkpoint (--mirror, --checkpoint), or say --asked-others when witnesses"
        )
        tell("and members have told you that nothing was signed after it.")
    elif found.check.sound:
        tell("It was not put in place: an exchange that signs on would fork its log.")
        tell("Look for a newer copy: on the disk that failed, in a later backup. If")
        tell("there is none, begin a successor with `onward-server log succeed`.")
    else:
        tell("It was not put in place. Try another copy.")


def succeed(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder to make.")
    ],
    *,
    origin: Annotated[
        str, typer.Option(help="The successor's origin, another than the log has.")
    ],
    checkpoint: CheckpointOption = None,
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
    kept = read_file(checkpoint).decode("utf-8", "replace") if checkpoint else ""
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


async def _restore(
    config: Config, copy: Path, sources: Sources
) -> tuple[Examined, Path | None]:
    """Restores a copy with a bar."""
    from onward_server.restoring import restore as put_in_place

    with progress("checking") as begin:
        return await put_in_place(config, copy, sources, begin)


async def _examine(config: Config, copy: Path, sources: Sources) -> Examined:
    """Examines a copy with a bar."""
    from onward_server.restoring import database_of, examine

    with progress("checking") as begin:
        return await examine(config, database_of(config, copy), sources, begin)


async def _succeed(config: Config, file: Path, succession: Succession) -> Succeeded:
    """Begins the successor with a bar."""
    from onward_server.exchange.clock import system_entropy
    from onward_server.settings import clock
    from onward_server.succession import succeed as begin_successor

    with progress("carrying over") as begin:
        return await begin_successor(
            config, file, succession, clock(config), system_entropy, begin
        )
