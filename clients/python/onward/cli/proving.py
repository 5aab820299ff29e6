"""Commands that prove something with nothing but files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onward.cli.options import JsonOption, file


def verify(
    bundles: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUNDLE",
            parser=file,
            show_default=False,
            help="Bundles; - is standard input.",
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
    chain: Annotated[
        bool,
        typer.Option("--chain", help="Also print each statement with its times."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify bundles offline: a verdict for each step.

    Needs no home and no network. Ends with 0 when all are proven, 1 when one is not,
    and 2 when one could not be checked.
    """
    from onward.cli._verify import Trusted, verify_files

    trusted = Trusted(trust, tsa_certificates or [])
    raise typer.Exit(verify_files(bundles, trusted, chain=chain, as_json=as_json))


def conformance() -> None:
    """Answer conformance requests, one JSON object a line.

    For those who write a client of their own: see docs/reference/conformance.md.
    """
    from onward.cli._conformance import serve

    serve()
