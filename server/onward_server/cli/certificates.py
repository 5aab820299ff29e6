"""``onward-server certificate``: what only the authority's key can make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onward_server.cli.output import ConfigOption, load_config, quiet_logs, tell

app = typer.Typer(
    help="Renew certificates with the authority's key.",
    no_args_is_help=True,
)


@app.command()
def server(
    *,
    config: ConfigOption = Path(),
    also_host: Annotated[
        list[str] | None,
        typer.Option(help="A further DNS name or IP address for the certificate."),
    ] = None,
) -> None:
    """Issue the exchange a new certificate.

    A running exchange takes it over. The key stays; to replace it too, remove its file
    first.
    """
    from onward_server.exchange.clock import SystemClock
    from onward_server.renewal import renew_server_certificate

    quiet_logs()
    loaded = load_config(config)
    renew_server_certificate(loaded, also_host or (), SystemClock())
    tell(f"{loaded.tls.certificate_file} is new")


@app.command()
def operator(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="The operator's name, last in its SPIFFE ID."
        ),
    ] = "admin",
    *,
    config: ConfigOption = Path(),
    home: Annotated[
        Path | None,
        typer.Option(
            envvar="ONWARD_OPERATOR_HOME",
            help="The operator's home; `operator` beside the data if not given.",
        ),
    ] = None,
) -> None:
    """Issue an operator a new certificate.

    With a new key; for a certificate that expired or was revoked, or a home that was
    lost. The name must be that of an operator in the directory: no other one gets in.
    """
    from onward_server.bootstrap import OPERATOR_HOME
    from onward_server.exchange.clock import SystemClock
    from onward_server.renewal import renew_operator_certificate

    quiet_logs()
    loaded = load_config(config)
    path = home or loaded.exchange.data_dir / OPERATOR_HOME
    renew_operator_certificate(loaded, name, path, SystemClock())
    tell(f"{path} has a new certificate; if the old one leaked, revoke it")
