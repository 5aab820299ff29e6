"""Commands that say what must not wait, and who looked."""

from __future__ import annotations

from typing import Annotated

import typer

from onward.cli.options import (
    HOME,
    PROGRAM_TIMEOUT,
    HomeOption,
    JsonOption,
    ProgramTimeoutOption,
)


def alerts(
    *,
    program: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="Run this for each warning and breach, with the statement as JSON on "
            "its standard input and facts such as ONWARD_DEADLINE in its environment. "
            "It is dealt with when the command ends with 0, else it runs again.",
        ),
    ] = None,
    timeout: ProgramTimeoutOption = PROGRAM_TIMEOUT,
    once: Annotated[
        bool,
        typer.Option("--once", help="End after the first; one try of the command."),
    ] = False,
    drain: Annotated[
        bool, typer.Option("--drain", help="End when nothing more waits.")
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Follow warnings and breaches of deadlines that concern this member.

    Goes on until it is stopped, and through lost connections, unless --once or --drain
    is given. What was dealt with is kept in the home, so that it begins where it ended,
    and nothing is left out; at first with the log's beginning.
    """
    import shlex

    from onward.cli._alerts import Wish, follow
    from onward.cli._program import Program

    found = None if program is None else Program.find(shlex.split(program), timeout)
    raise typer.Exit(follow(home, Wish(found, once, drain, as_json)))


def looks(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the looks of auditors that concern this member, the newest first."""
    from onward.cli._alerts import list_looks

    list_looks(home, as_json=as_json)
