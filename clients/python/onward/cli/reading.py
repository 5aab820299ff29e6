"""Commands that show what the exchange has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from onward.cli.options import HOME, HomeOption, JsonOption, ReferralId, digest_of


def show(
    referral_id: ReferralId, home: HomeOption = HOME, as_json: JsonOption = False
) -> None:
    """Show the custody chain of a referral: who said what and when.

    Each statement is verified. With the chain go those of the referrals into which it
    was transferred. Times are what each party claims; 'onward verify' says what bounds
    them.
    """
    from onward.cli._chain import show_chain
    from onward.cli._connection import connected

    connected(home, lambda client: show_chain(client, referral_id, as_json=as_json))


def list_(
    side: Annotated[
        Literal["published", "received"], typer.Argument(help="Which referrals.")
    ],
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")
    ] = 50,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """List the referrals that this agency published or received.

    The newest come first. What is listed is what the exchange says, and not proven;
    see 'onward show'.
    """
    from onward.cli._lists import list_referrals
    from onward.cli._messages import value_of
    from onward.v1.referral_pb2 import ReferralSide

    value = value_of(ReferralSide, side.upper())
    list_referrals(home, value, limit, as_json=as_json)


def bundle(
    referral_id: ReferralId,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Where to write it; - is standard output.",
        ),
    ],
    with_content: Annotated[
        bool,
        typer.Option(
            "--content", help="Attach the sealed content that the home keeps of it."
        ),
    ] = False,
    home: HomeOption = HOME,
) -> None:
    """Fetch the bundle of a referral: its chain with all proof.

    It is verified with the home's trust file before it is written.
    """
    from onward.cli._bundle import fetch

    fetch(home, referral_id, out, content=with_content)


def receipt(
    digest: Annotated[
        bytes,
        typer.Argument(
            metavar="DIGEST",
            parser=digest_of,
            show_default=False,
            help="The statement's digest, 64 hexadecimal digits, as --json shows it.",
        ),
    ],
    wait: Annotated[
        float | None,
        typer.Option(
            "--wait",
            metavar="SECONDS",
            min=0,
            help="How long the exchange's witnesses may take. Without it, a receipt up "
            "to the newest checkpoint, which they may not have seen yet.",
        ),
    ] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Fetch a receipt of one entry of the log, in the tlog-proof format.

    It is verified before it is printed. With --wait it leads to the first checkpoint
    with the entry that a quorum of witnesses has cosigned: it says by when the entry
    was there, and whoever trusts the witnesses needs not trust the exchange.
    """
    from onward.cli._records import print_receipt

    print_receipt(home, digest, wait, as_json=as_json)


def chains(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the referrals of this auditor's jurisdictions; logged."""
    from onward.cli._lists import list_chains

    list_chains(home, as_json=as_json)


def members(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the members of the exchange, as it says."""
    from onward.cli._lists import list_members

    list_members(home, as_json=as_json)
