"""The command that follows a log from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onward.cli.options import PROGRAM_TIMEOUT, JsonOption, ProgramTimeoutOption, file


def monitor(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            show_default=False,
            help="The log's URL: what stands before /checkpoint.",
        ),
    ],
    *,
    trust: Annotated[
        Path,
        typer.Option(
            "--trust",
            metavar="FILE",
            envvar="ONWARD_TRUST",
            parser=file,
            show_default=False,
            help="The trust file: the keys of the log and its witnesses.",
        ),
    ],
    mirror: Annotated[
        Path | None,
        typer.Option(
            "--mirror",
            metavar="DIR",
            parser=Path,
            help="Where the copy of the log, and evidence, are kept. By default in "
            "~/.local/state/onward/monitor, a folder for each URL.",
        ),
    ] = None,
    interval: Annotated[
        float,
        typer.Option(min=1.0, metavar="SECONDS", help="From one round to the next."),
    ] = 60.0,
    once: Annotated[
        bool, typer.Option("--once", help="End after one round, with what it found.")
    ] = False,
    cosign_key: Annotated[
        Path | None,
        typer.Option(
            "--cosign-key",
            metavar="FILE",
            parser=Path,
            help="Cosign what was checked, with the key in this file.",
        ),
    ] = None,
    cosign_name: Annotated[
        str | None,
        typer.Option(
            "--cosign-name",
            metavar="NAME",
            help="Make that key first, with a name such as auditor.example/monitor.",
        ),
    ] = None,
    stale_after: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="How long a checkpoint is recent: since a quorum of the trust file "
            "cosigned it; without witnesses, since the log grew. 0: for ever.",
        ),
    ] = 300.0,
    program: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="Run this once for each condition, with what was found as JSON on its "
            "standard input and facts such as ONWARD_CONDITION in its environment. "
            "Until it ends with 0, it runs again in each round.",
        ),
    ] = None,
    timeout: ProgramTimeoutOption = PROGRAM_TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Follow a log over HTTP: check every entry, keep a copy, and alarm.

    Needs no home: only the log's URL and a trust file that came another way. Goes on
    until it is stopped, or the log forked. Ends with 0 when the log is as it must be, 1
    with evidence of misbehaviour (FORK, SHRUNK, BAD_TILE), and 3 when it could not be
    checked (UNTRUSTED, STALE, UNREACHABLE).
    """
    from onward.cli._monitor import Wish, follow

    wish = Wish(
        url, trust, mirror, interval, stale_after, once, program, timeout, as_json
    ).with_key(cosign_key, cosign_name)
    raise typer.Exit(follow(wish))
