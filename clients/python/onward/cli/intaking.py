"""Commands of hotlines: the book of the tips that came in."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from onward.cli import words
from onward.cli.options import (
    HOME,
    ApproverOption,
    HomeOption,
    IntakeNumber,
    JsonOption,
    JurisdictionOption,
    ReasonOption,
    ReferralId,
    SubjectOption,
    UrgencyOption,
    file,
    time,
)


def intake(
    tip: Annotated[
        Path | None,
        typer.Argument(
            metavar="TIP",
            parser=file,
            show_default=False,
            help="The tip as JSON (onward.v1.Tip); - is standard input. Or any other "
            "file, such as a recording, which options describe.",
        ),
    ] = None,
    *,
    batch: Annotated[
        Path | None,
        typer.Option(
            "--batch",
            metavar="FILE",
            parser=file,
            help='Register many: a JSON object {"tip": FILE, "intake": ...} a line. '
            "What a line states wins over the options.",
        ),
    ] = None,
    urgency: UrgencyOption = None,
    urgency_reason: ReasonOption = None,
    jurisdiction: JurisdictionOption = None,
    subject: SubjectOption = None,
    channel: Annotated[
        words.Channel | None, typer.Option("--channel", help="How it came in.")
    ] = None,
    reporter: Annotated[
        words.ReporterType | None, typer.Option("--reporter", help="Who told it.")
    ] = None,
    trafficking: Annotated[
        words.TraffickingType | None,
        typer.Option("--trafficking", help="The kind of trafficking."),
    ] = None,
    received: Annotated[
        datetime | None,
        typer.Option(
            "--received", metavar="TIME", parser=time, help="When it came in, RFC 3339."
        ),
    ] = None,
    first_number: Annotated[
        int,
        typer.Option(
            "--first-number",
            metavar="N",
            min=1,
            help="For a hotline without any intake: the number to begin with.",
        ),
    ] = 1,
    test: Annotated[
        bool, typer.Option("--test", help="Mark it as a test, whatever the tip says.")
    ] = False,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Keep it in the queue, and do not connect."),
    ] = False,
    flush: Annotated[
        bool, typer.Option("--flush", help="Register what waits in the queue.")
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Register a tip that came in, before anything is decided about it.

    Logs a commitment to the bytes of the file, which stay here: keep the file as it is,
    for 'onward reveal'. What the tip says of itself (channel, reporter, trafficking
    type, time) need not be said by options.

    When the exchange cannot be reached, the intake is kept in the queue of the home,
    and it ends with 3; the next run that reaches the exchange registers it, with its
    true time. Running the same again is safe: it is one intake.
    """
    if sum(map(bool, (tip, batch, flush))) != 1:
        raise typer.BadParameter("name a TIP, a --batch or --flush, and one only")
    from onward.cli import _intake

    if flush:
        raise typer.Exit(_intake.flush(home, as_json=as_json))
    members = _intake.members_of_options(
        urgency=urgency,
        urgency_reason=urgency_reason,
        jurisdiction=jurisdiction,
        subject_age_group=subject,
        channel=channel,
        reporter_type=reporter,
        trafficking_type=trafficking,
        received_time=received,
        test=test,
    )
    items = _intake.of_file(tip, members) if tip else _intake.of_batch(batch, members)
    raise typer.Exit(
        _intake.register(
            home, items, offline=offline, first_number=first_number, as_json=as_json
        )
    )


def withhold(
    number: IntakeNumber,
    reason: Annotated[
        words.WithholdReason,
        typer.Option("--reason", help="Why; for DUPLICATE see 'onward duplicate'."),
    ],
    approver_role: ApproverOption,
    citation: Annotated[
        str,
        typer.Option(
            "--citation", metavar="TEXT", help="The law, for LEGAL_BAR and PRIVILEGED."
        ),
    ] = "",
    review: Annotated[
        datetime | None,
        typer.Option(
            "--review",
            metavar="TIME",
            parser=time,
            help="When it is decided again, such as 2026-12-01; from then on the "
            "intake is open again.",
        ),
    ] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Withhold a tip: it is not passed on, or not yet, for a stated reason."""
    from onward.cli import _act
    from onward.cli._messages import value_of
    from onward.v1.vocabulary_pb2 import WithholdReason

    value = value_of(WithholdReason, reason)
    _act.log(
        home,
        lambda client: client.intakes.withhold(
            number, value, approver_role, citation=citation, review_time=review
        ),
        as_json=as_json,
    )


def hold(
    number: IntakeNumber,
    approver_role: ApproverOption,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why. No personal data.")
    ],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Take more time for a tip, where the deadlines of its class allow that."""
    from onward.cli import _act

    _act.log(
        home,
        lambda client: client.intakes.hold(number, approver_role, reason),
        as_json=as_json,
    )


def duplicate(
    number: IntakeNumber,
    of: Annotated[
        str,
        typer.Option(
            "--of",
            metavar="N|ID",
            help="An earlier intake's number, or the id of an own referral.",
        ),
    ],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """End an intake as the duplicate of another tip."""
    from onward.cli import _act

    other = int(of) if of.isdecimal() else of
    _act.log(
        home, lambda client: client.intakes.duplicate(number, other), as_json=as_json
    )


def link(
    first: ReferralId,
    second: Annotated[
        str, typer.Argument(metavar="OTHER", help="The other's id.", show_default=False)
    ],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Link two referrals that are about the same tip. It merges nothing."""
    from onward.cli._connection import connected
    from onward.cli._records import print_logged

    for logged in connected(home, lambda client: client.link(first, second)):
        print_logged(logged, as_json=as_json)


def book(
    number: Annotated[
        int | None,
        typer.Argument(
            metavar="N", min=1, show_default=False, help="Show this intake, verified."
        ),
    ] = None,
    state: Annotated[
        words.IntakeState | None,
        typer.Option("--state", help="List only those in this state."),
    ] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """List the intakes of this hotline, the oldest first, or show one.

    The list is what the exchange says; of one intake each statement is verified.
    """
    from onward.cli import _book

    if number is None:
        _book.list_intakes(home, state, as_json=as_json)
    else:
        _book.show_intake(home, number, as_json=as_json)


def reveal(
    number: Annotated[
        int | None,
        typer.Argument(
            metavar="N", min=1, show_default=False, help="The intake to reveal."
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            parser=Path,
            help="Where to write the opening; - is standard output.",
        ),
    ] = Path("-"),
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", metavar="OPENING", parser=file, help="Check this opening."
        ),
    ] = None,
    content: Annotated[
        Path | None,
        typer.Option(
            "--content", metavar="FILE", parser=file, help="What is said to be the tip."
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            "--trust",
            metavar="FILE",
            envvar="ONWARD_TRUST",
            parser=file,
            help="The trust file: the keys of the log and its witnesses.",
        ),
    ] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Reveal what an intake committed to, or check such an opening.

    The opening holds the secret salt and the proofs, and not the content: treat it as
    confidential all the same. It is made in the home that registered the intake.

    With --check, --content and --trust it needs no home and no network, and says
    whether these bytes are what the hotline registered: it ends with 0 when that is
    proven, 1 when it is not, and 2 when it could not be checked.
    """
    from onward.cli import _reveal

    if check and content and trust and number is None:
        raise typer.Exit(_reveal.check(check, content, trust, as_json=as_json))
    if number is None or check or content:
        raise typer.BadParameter("name an N, or --check with --content and --trust")
    _reveal.reveal(home, number, out)
