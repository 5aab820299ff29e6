"""Options and arguments that several commands take."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from onward.cli import words

HOME: Final = Path("~/.config/onward")

_DIGEST: Final = re.compile("[0-9a-fA-F]{64}")


def file(text: str) -> Path:
    """Reads an argument that names a file; ``-`` is standard input.

    Raises:
        typer.BadParameter: there is no such file.
    """
    path = Path(text)
    if text != "-" and not path.is_file():
        raise typer.BadParameter(f"there is no file {text}")
    return path


def time(text: str) -> datetime:
    """Reads an option that is a time: a date, or RFC 3339; UTC where it says nothing.

    Raises:
        typer.BadParameter: it is neither.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text} is neither a date nor a time such as 2026-12-01T08:00:00Z"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def digest_of(text: str) -> bytes:
    """Reads an argument that is a statement's digest.

    Raises:
        typer.BadParameter: it is none.
    """
    if not _DIGEST.fullmatch(text):
        raise typer.BadParameter("a digest has 64 hexadecimal digits")
    return bytes.fromhex(text)


ProgramTimeoutOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--exec-timeout",
        metavar="SECONDS",
        min=0.1,
        help="When a command that has not ended is ended; it runs again then.",
    ),
]
PROGRAM_TIMEOUT: Final = 60.0

HomeOption: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--home",
        metavar="DIR",
        envvar="ONWARD_HOME",
        parser=Path,
        help="The member's home directory.",
    ),
]

JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of a table.")
]

ReferralId: TypeAlias = Annotated[
    str, typer.Argument(metavar="ID", help="The referral's id.", show_default=False)
]

IntakeNumber: TypeAlias = Annotated[
    int,
    typer.Argument(
        metavar="N", min=1, help="The number of the intake.", show_default=False
    ),
]

ApproverOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--approver-role",
        metavar="ROLE",
        help="The role of who approved it, such as 'shift supervisor'; never a name.",
    ),
]

AlgorithmOption: TypeAlias = Annotated[
    words.StatementAlgorithm | None,
    typer.Option(
        "--algorithm", help="Of the statement key: ES256 if a new member names none."
    ),
]

SuiteOption: TypeAlias = Annotated[
    words.SealingSuite | None,
    typer.Option("--suite", help="Of the content key; P384 is for NIST curves only."),
]

UrgencyOption: TypeAlias = Annotated[
    words.Urgency | None, typer.Option("--urgency", help="How fast it must move.")
]

ReasonOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--urgency-reason",
        metavar="TEXT",
        help="Required for IMMINENT_DANGER and MINOR. No personal data.",
    ),
]

JurisdictionOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--jurisdiction", metavar="CODE", help="ISO 3166-2, such as US-OH."),
]

BasisOption: TypeAlias = Annotated[
    words.DisclosureBasis | None,
    typer.Option("--basis", help="Why the tip may be passed on."),
]

CitationOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--basis-citation",
        metavar="TEXT",
        help="Required for COURT_ORDER and STATUTE.",
    ),
]

ConsentOption: TypeAlias = Annotated[
    words.ConsentState | None,
    typer.Option("--consent", help="What the person concerned permits."),
]

SubjectOption: TypeAlias = Annotated[
    words.AgeGroup | None,
    typer.Option("--subject", help="The age of the person concerned."),
]

ReferralFileOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--referral",
        metavar="FILE",
        parser=file,
        help="More of the referral, as JSON (onward.v1.Referral). Options win over it.",
    ),
]
