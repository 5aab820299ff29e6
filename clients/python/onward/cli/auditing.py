"""Commands of auditors: the report, and the certificate that goes with a bundle."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from onward.cli.options import HOME, HomeOption, JsonOption, file

_DAY = ["%Y-%m-%d"]


def report(
    *,
    jurisdiction: Annotated[
        str,
        typer.Option(
            "--jurisdiction",
            metavar="CODE",
            show_default=False,
            help="ISO 3166-2, such as US-FL; US for all of its parts, * for all.",
        ),
    ],
    first: Annotated[
        datetime,
        typer.Option(
            "--from",
            formats=_DAY,
            show_default=False,
            help="The first day, UTC: of the tips received from then on.",
        ),
    ],
    last: Annotated[
        datetime,
        typer.Option(
            "--to", formats=_DAY, show_default=False, help="The last day, included."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Where the report is written."),
    ] = Path("onward-report"),
    evidence: Annotated[
        Path | None,
        typer.Option(
            "--evidence",
            metavar="DIR",
            show_default=False,
            help="Where statements are downloaded to; 'evidence' in --out if absent.",
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Judge what is there, and download nothing."),
    ] = False,
    trust: Annotated[
        Path | None,
        typer.Option(
            "--trust",
            metavar="FILE",
            envvar="ONWARD_TRUST",
            parser=file,
            show_default=False,
            help="The trust file; the home's own if absent.",
        ),
    ] = None,
    tsa_certificates: Annotated[
        list[Path] | None,
        typer.Option(
            "--tsa-certificates",
            metavar="FILE",
            envvar="ONWARD_TSA_CERTIFICATES",
            parser=file,
            show_default=False,
            help="PEM: the certificates of a timestamp authority that you trust. "
            "Repeatable.",
        ),
    ] = None,
    tip: Annotated[
        str,
        typer.Option(
            "--tip",
            metavar="HOTLINE#N",
            show_default=False,
            help="Show the chain of this tip, such as national-hotline#17.",
        ),
    ] = "",
    sample: Annotated[
        int,
        typer.Option(
            "--verify-sample",
            metavar="N",
            min=0,
            help="Draw so many referrals, fetch their bundles and verify each.",
        ),
    ] = 0,
    seed: Annotated[
        str, typer.Option("--seed", metavar="TEXT", help="Of the draw.")
    ] = "0",
    publish: Annotated[
        bool,
        typer.Option("--publish", help="Leave out numbers under 3, and single tips."),
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Answer the auditor's ten questions from statements that verify.

    Downloads what this auditor may see, which the exchange logs; verifies every
    signature and the whole log; and writes report.html, report.json and a CSV file for
    each list. Nothing in it is the exchange's own word. Ends with 0 when everything is
    proven, 1 when something is not, and 2 when it could not be checked.
    """
    from onward.cli._report import Wish, run

    wish = Wish(
        jurisdiction=jurisdiction,
        first=first,
        last=last,
        out=out,
        evidence=evidence or out / "evidence",
        offline=offline,
        trust=trust,
        authorities=tsa_certificates or [],
        tip=tip,
        sample=sample,
        seed=seed,
        publish=publish,
    )
    raise typer.Exit(run(home, wish, as_json=as_json))


def certificate(
    bundle: Annotated[
        Path,
        typer.Argument(
            metavar="BUNDLE", parser=file, show_default=False, help="The bundle."
        ),
    ],
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
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Where the form is written, HTML."
        ),
    ] = Path("certificate.html"),
) -> None:
    """Make the form for a certificate under FRE 902(13) and 902(14).

    Verifies the bundle first, and refuses with 1 when it is not proven. The form is for
    a qualified person to complete, print and sign; it is no legal advice.
    """
    from onward.cli._report import certify

    raise typer.Exit(certify(bundle, trust, out))
