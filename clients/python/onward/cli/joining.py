"""Commands about being a member: enrolling, keys, what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from onward.cli.options import (
    HOME,
    AlgorithmOption,
    HomeOption,
    JsonOption,
    SuiteOption,
)

keys = typer.Typer(
    name="keys",
    help="See and replace the member's keys and certificate.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def enroll(
    token: Annotated[
        str,
        typer.Argument(
            metavar="TOKEN",
            show_default=False,
            help="The one-time token from the operator; - is standard input.",
        ),
    ],
    algorithm: AlgorithmOption = None,
    suite: SuiteOption = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Become a member: make keys, and get a certificate for them.

    The private keys never leave the home. If it is cut off, run it again with the same
    token and home: it goes on with the same keys.
    """
    from onward.cli import _member

    text = sys.stdin.readline().strip() if token == "-" else token  # noqa: S105 - no secret
    _member.enroll(home, text, algorithm, suite, as_json=as_json)


def follow(
    trust: Annotated[
        Path, typer.Argument(metavar="FILE", help="The exchange's new trust file.")
    ],
    home: HomeOption = HOME,
) -> None:
    """Go over to the log that succeeds the exchange's log.

    Whoever gave you the file must be the one whom you trust for it: it says which log
    is believed from now on. What was seen of the log before is kept, and keeps
    verifying if the file lists that log too.
    """
    from onward.cli import _member

    _member.follow(home, trust)


@keys.command("list")
def list_keys(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the keys in the home, and what the directory says of each."""
    from onward.cli import _member

    _member.list_keys(home, as_json=as_json)


@keys.command()
def rotate(
    algorithm: AlgorithmOption = None,
    suite: SuiteOption = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Replace the statement key and the content key. Without options: by the same kind.

    Old content keys stay in the home, for what was sealed to them.
    """
    from onward.cli import _member

    _member.rotate(home, algorithm, suite, as_json=as_json)


@keys.command()
def renew(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Get a new certificate for the same key, before the old one expires."""
    from onward.cli import _member

    _member.renew(home, as_json=as_json)


def doctor(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Find what is wrong with this set-up, and how to mend it.

    Ends with 1 when there is a problem.
    """
    from onward.cli._doctor import examine

    raise typer.Exit(examine(home, as_json=as_json))


def version(as_json: JsonOption = False) -> None:
    """Print the version."""
    from importlib.metadata import version as version_of

    from onward.cli._output import print_json, print_line

    number = version_of("onward")
    if as_json:
        print_json({"version": number})
    else:
        print_line(f"onward {number}")
