"""Commands of those who receive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onward.cli import words
from onward.cli.options import (
    HOME,
    BasisOption,
    CitationOption,
    ConsentOption,
    HomeOption,
    JsonOption,
    JurisdictionOption,
    ReasonOption,
    ReferralFileOption,
    ReferralId,
    SubjectOption,
    UrgencyOption,
)


def receive(
    *,
    program: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="Run this for each delivery, with the tip as JSON on its standard "
            "input and facts such as ONWARD_REFERRAL_ID in its environment. It is "
            "received when the command ends with 0, else it comes again.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            parser=Path,
            help="Write each tip to DIR/<referral id>.json before it is received.",
        ),
    ] = None,
    max_outstanding: Annotated[
        int | None,
        typer.Option(
            "--max-outstanding",
            metavar="N",
            min=1,
            max=1000,
            help="How many deliveries may be out, and so commands run, at once. "
            "[default: 1 with --exec, else 16]",
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End after the first delivery.")
    ] = False,
    drain: Annotated[
        bool, typer.Option("--drain", help="End when nothing more waits.")
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Take in what the exchange has for this agency.

    The most urgent comes first. Each tip is stored before Received is logged: by the
    --exec command, in the --out directory, or else (sealed) in the home, where 'onward
    content' reads it. Goes on until it is stopped, and through lost connections, unless
    --once or --drain is given. It may run at several desks of one agency: they share
    the work.

    With --json, tips are printed only if they are not stored elsewhere.
    """
    import shlex

    from onward.cli._program import Program
    from onward.cli._receive import Wish
    from onward.cli._receive import receive as receive_all

    found = None if program is None else Program.find(shlex.split(program))
    places = max_outstanding or (1 if found else 16)
    wish = Wish(found, out, places, once=once, drain=drain, as_json=as_json)
    raise typer.Exit(receive_all(home, wish))


def content(
    referral_id: ReferralId, home: HomeOption = HOME, as_json: JsonOption = False
) -> None:
    """Print the tip of a referral that was received, as JSON."""
    from onward.cli._connection import connected
    from onward.cli._messages import to_members
    from onward.cli._output import print_json

    tip = connected(home, lambda client: client.get_content(referral_id))
    print_json(to_members(tip), indent=None if as_json else 2)


def ack(
    referral_id: ReferralId,
    role: Annotated[
        str,
        typer.Option("--role", metavar="ROLE", help="The reader's role, never a name."),
    ],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Acknowledge: a person has read the tip."""
    from onward.cli import _act

    _act.log(
        home, lambda client: client.acknowledge(referral_id, role), as_json=as_json
    )


def take(
    referral_id: ReferralId, home: HomeOption = HOME, as_json: JsonOption = False
) -> None:
    """Take responsibility for a referral."""
    from onward.cli import _act

    _act.log(home, lambda client: client.take(referral_id), as_json=as_json)


def decline(
    referral_id: ReferralId,
    reason: Annotated[words.DeclineReason, typer.Option("--reason", help="Why.")],
    suggest: Annotated[
        str,
        typer.Option(
            "--suggest", metavar="NAME", help="SPIFFE ID of who should have it."
        ),
    ] = "",
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Decline responsibility for a referral, with the reason."""
    from onward.cli import _act
    from onward.cli._messages import value_of
    from onward.v1.vocabulary_pb2 import DeclineReason

    value = value_of(DeclineReason, reason)
    _act.log(
        home,
        lambda client: client.decline(referral_id, value, suggest),
        as_json=as_json,
    )


def transfer(
    referral_id: ReferralId,
    to: Annotated[
        list[str],
        typer.Option(
            "--to", metavar="NAME", show_default=False, help="A recipient; repeat."
        ),
    ],
    *,
    urgency: UrgencyOption = None,
    urgency_reason: ReasonOption = None,
    jurisdiction: JurisdictionOption = None,
    basis: BasisOption = None,
    basis_citation: CitationOption = None,
    consent: ConsentOption = None,
    subject: SubjectOption = None,
    referral: ReferralFileOption = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Pass a tip on to other agencies.

    It makes a child referral that links back. What no option states is as in the
    referral received.
    """
    from onward.cli import _routing, _transfer

    options = _routing.members_of_options(
        urgency=urgency,
        urgency_reason=urgency_reason,
        jurisdiction=jurisdiction,
        basis=basis,
        basis_citation=basis_citation,
        consent=consent,
        subject_age_group=subject,
    )
    members = _routing.laid_over(_routing.members_of_file(referral), options)
    changes = _routing.changes_of(members)
    _transfer.transfer(home, referral_id, to, changes, as_json=as_json)


def outcome(
    referral_id: ReferralId,
    code: Annotated[words.OutcomeCode, typer.Option("--code", help="What came of it.")],
    closes: Annotated[
        bool, typer.Option("--close", help="Nothing more is to come.")
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Report what came of a referral, as often as it changes."""
    from onward.cli import _act
    from onward.cli._messages import value_of
    from onward.v1.vocabulary_pb2 import OutcomeCode

    value = value_of(OutcomeCode, code)
    _act.log(
        home,
        lambda client: client.report_outcome(referral_id, value, closes=closes),
        as_json=as_json,
    )


def reply(
    referral_id: ReferralId,
    action: Annotated[
        words.RetractionAction,
        typer.Option("--action", help="What was done; DESTROYED empties the home too."),
    ],
    citation: Annotated[
        str,
        typer.Option(
            "--citation", metavar="TEXT", help="The law, for RETAINED_LEGAL_DUTY."
        ),
    ] = "",
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Answer a retraction: what was done with the tip."""
    from onward.cli import _act
    from onward.cli._messages import value_of
    from onward.v1.vocabulary_pb2 import RetractionAction

    value = value_of(RetractionAction, action)
    _act.log(
        home,
        lambda client: client.reply_to_retraction(referral_id, value, citation),
        as_json=as_json,
    )
