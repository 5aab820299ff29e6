"""Commands of those who publish."""

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
    file,
)


def publish(
    tip: Annotated[
        Path | None,
        typer.Argument(
            metavar="TIP",
            parser=file,
            show_default=False,
            help="The tip as JSON (onward.v1.Tip); - is standard input.",
        ),
    ] = None,
    *,
    batch: Annotated[
        Path | None,
        typer.Option(
            "--batch",
            metavar="FILE",
            parser=file,
            help='Publish many: a JSON object {"tip": ..., "referral": ...} a line. '
            "What a line states wins over the options.",
        ),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="NAME", help="A recipient's SPIFFE ID; repeat."),
    ] = None,
    urgency: UrgencyOption = None,
    urgency_reason: ReasonOption = None,
    jurisdiction: JurisdictionOption = None,
    basis: BasisOption = None,
    basis_citation: CitationOption = None,
    consent: ConsentOption = None,
    subject: SubjectOption = None,
    intake: Annotated[
        list[int] | None,
        typer.Option(
            "--intake",
            metavar="N",
            min=1,
            help="The number of an own intake that it answers; repeat.",
        ),
    ] = None,
    referral: ReferralFileOption = None,
    test: Annotated[
        bool, typer.Option("--test", help="Mark it as a test, whatever the tip says.")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="PATH",
            parser=Path,
            help="Keep the signed referral in this file (with --batch: in this "
            "directory). Run again with it, the same bytes are published again: "
            "nothing is lost, and nothing doubled.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", metavar="FILE", parser=Path, help="Write the bundle here."
        ),
    ] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Seal a tip to its recipients, and publish the referral.

    Prints its id, its place in the log and its deadlines. When it ends with 3, it is
    not known whether the referral was published: run it again with the same --keep.
    """
    if (tip is None) == (batch is None):
        raise typer.BadParameter("name a TIP or a --batch, and not both")
    if batch and bundle:
        raise typer.BadParameter("--bundle is for one TIP; see 'onward bundle'")
    from onward.cli import _publish, _routing

    options = _routing.members_of_options(
        recipients=to,
        urgency=urgency,
        urgency_reason=urgency_reason,
        jurisdiction=jurisdiction,
        basis=basis,
        basis_citation=basis_citation,
        consent=consent,
        subject_age_group=subject,
        intake_numbers=intake,
    )
    layers = [_routing.members_of_file(referral), options]
    job = _publish.Job(layers, test=test, keep=keep, as_json=as_json)
    if tip:
        _publish.publish_one(home, tip, job, bundle=bundle)
    if batch:
        raise typer.Exit(_publish.publish_many(home, batch, job))


def retract(
    referral_id: ReferralId,
    reason: Annotated[
        words.RetractionReason, typer.Option("--reason", help="Why it is taken back.")
    ],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Take a referral back. Its recipients must answer what they did about it."""
    from onward.cli import _act
    from onward.cli._messages import value_of
    from onward.v1.vocabulary_pb2 import RetractionReason

    value = value_of(RetractionReason, reason)
    _act.log(home, lambda client: client.retract(referral_id, value), as_json=as_json)


def erase(
    referral_id: ReferralId, home: HomeOption = HOME, as_json: JsonOption = False
) -> None:
    """Have the exchange erase the content of a referral. The proofs stay."""
    from onward.cli import _act

    _act.log(home, lambda client: client.erase_content(referral_id), as_json=as_json)


def watch(
    resume: Annotated[
        str,
        typer.Option(
            "--resume", metavar="TOKEN", help="Go on after this resume_token (--json)."
        ),
    ] = "",
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Follow what is logged about own referrals and intakes, without end."""
    from onward.cli import _lists

    _lists.watch(home, resume, as_json=as_json)
