"""``onward-server``: set up, serve, back up, look for problems."""

from __future__ import annotations

import asyncio
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from onward_server.cli import certificates, log, members, move, policy, restore, witness
from onward_server.cli.output import (
    DEFECT,
    INTERRUPTED,
    REFUSED,
    ConfigOption,
    JsonOption,
    config_file,
    exit_code,
    load_config,
    put,
    put_table,
    quiet_logs,
    tell,
)

app = typer.Typer(
    name="onward-server",
    help="Run an Onward exchange: signed referrals, delivered and provable.",
    epilog="Exit codes: 0 done; 1 refused, or problems found; 2 wrong usage or "
    "configuration; 3 not possible at present, try again; 70 a defect of Onward.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(members.app, name="member")
app.add_typer(certificates.app, name="certificate")
app.add_typer(policy.app, name="policy")
app.add_typer(log.app, name="log")
log.app.command()(restore.succeed)
app.command()(restore.restore)
app.command()(move.migrate)
app.command()(move.move)
app.add_typer(witness.app, name="witness")


def main() -> None:
    """Runs the command line, and explains what it refuses."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last resort ends with its code
        code = exit_code(error)
        if code is None:
            traceback.print_exc()
            sys.exit(DEFECT)
        tell(f"error: {error}")
        sys.exit(code)


@app.command()
def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="The folder to make it in.")
    ],
    *,
    trust_domain: Annotated[
        str,
        typer.Option(
            envvar="ONWARD_TRUST_DOMAIN",
            help="The part after spiffe:// in every name, such as national.example.",
        ),
    ],
    server_name: Annotated[
        str,
        typer.Option(
            envvar="ONWARD_SERVER_NAME",
            help="The DNS name under which members connect.",
        ),
    ] = "localhost",
    also_host: Annotated[
        list[str] | None,
        typer.Option(help="A further DNS name or IP address for the certificate."),
    ] = None,
    listen: Annotated[
        str, typer.Option(envvar="ONWARD_LISTEN", help="Address and port for members.")
    ] = "0.0.0.0:7443",
    enrolment_listen: Annotated[
        str,
        typer.Option(
            envvar="ONWARD_ENROLMENT_LISTEN", help="Address and port for enrolment."
        ),
    ] = "0.0.0.0:7444",
    operator: Annotated[
        str, typer.Option(help="The first operator's name, last in its SPIFFE ID.")
    ] = "admin",
    algorithm: Annotated[
        str, typer.Option(help="Of the exchange's statement key: ES256, ES384, EdDSA.")
    ] = "ES256",
    origin: Annotated[
        str, typer.Option(help="The log's origin, if not <trust domain>/log.")
    ] = "",
    test_clock: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="For demonstrations: the file that sets the clock. Only where the "
            "trust domain ends in .example or .test.",
        ),
    ] = "",
    database_url_file: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="The file with the URL of an empty PostgreSQL database, if it is not "
            "to be a file in the folder.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a new exchange in a folder.

    Makes keys, certificates, database, configuration and the first operator's home.
    Nothing is overwritten. The folder is for its owner only.
    """
    from onward_server.bootstrap import Founding, found
    from onward_server.exchange.clock import system_entropy

    quiet_logs()
    founding = Founding(
        directory=directory,
        trust_domain=trust_domain,
        server_name=server_name,
        other_hosts=also_host or (),
        listen=listen,
        enrolment_listen=enrolment_listen,
        operator=operator,
        algorithm=algorithm,
        origin=origin,
        test_clock=test_clock,
        database_url_file=database_url_file,
    )
    made = asyncio.run(found(founding, None, system_entropy))
    if as_json:
        put(
            {
                "config": str(made.config_file),
                "operator": made.operator,
                "operator_home": str(made.operator_home),
                "authority_sha256": made.authority.hex(),
                "trust": made.trust,
            }
        )
        return
    where = f"--config {made.config_file}"
    tell(f"The exchange of {trust_domain} is set up in {directory}. Next:\n")
    tell(f"  onward-server doctor {where}")
    tell(f"  onward-server serve {where}")
    tell(
        f"  onward-server member add {where} agency/NAME --kind HOTLINE \\\n"
        "      --display-name 'What people call it' --jurisdiction US\n"
    )
    tell("Keep a copy of keys/ and tls/ offline: without them no backup can go on.")
    tell("Give this trust file to whoever will verify receipts:\n")
    typer.echo(made.trust, nl=False)


@app.command()
def serve(config: ConfigOption = Path()) -> None:
    """Serve members until told to stop.

    SIGTERM and Ctrl-C end it gracefully: it says that it is not ready, ends the
    streams, and gives running calls their time.
    """
    import uvloop

    from onward_server.app import run
    from onward_server.rotation import check_finished

    loaded = load_config(config)
    check_finished(loaded)
    uvloop.run(run(loaded))


@app.command()
def backup(
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="The folder to make, or to check.")
    ],
    *,
    config: ConfigOption = Path(),
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Check a backup instead: recompute all of it, and compare it with "
            "what was signed. Exit code 1 when something is wrong.",
        ),
    ] = False,
    mirror: restore.MirrorOption = "",
    checkpoint: restore.CheckpointOption = None,
    with_keys: Annotated[
        bool,
        typer.Option(
            "--with-keys",
            help="Copy private keys too. Then the copy is as secret as they are.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy the exchange, while it runs.

    The restore guard is not copied, on purpose: it notices that an old copy was
    restored.
    """
    from onward_server.backup import back_up
    from onward_server.restoring import Sources

    quiet_logs()
    if verify:
        sources = Sources(mirror, checkpoint)
        restore.verify_backup(load_config(config), target, sources, as_json=as_json)
    done = asyncio.run(
        back_up(load_config(config), config_file(config), target, with_keys=with_keys)
    )
    if as_json:
        keep = {str(path): without for path, without in done.keep.items()}
        put({"folder": str(done.folder), "entries": done.entries, "keep": keep})
        return
    tell(f"{done.folder} has the first {done.entries:,} log entries, or a few more.")
    if done.keep:
        tell("Not in it, and to be kept elsewhere; without it:")
        put_table(
            ("file", "if it is lost"),
            [(str(path), without) for path, without in done.keep.items()],
        )
    else:
        tell("It holds the private keys: keep it as you keep those.")


@app.command()
def rotate_key(
    *,
    config: ConfigOption = Path(),
    algorithm: Annotated[
        str, typer.Option(help="Of the new key: ES256, ES384, EdDSA.")
    ] = "ES256",
) -> None:
    """Replace the exchange's statement key.

    Stop the exchange first. What the old key has signed stays valid; enrolment tokens
    that were not used do not.
    """
    from onward_server.exchange.clock import SystemClock, system_entropy
    from onward_server.rotation import replace_statement_key

    quiet_logs()
    loaded = load_config(config)
    key_id = asyncio.run(
        replace_statement_key(loaded, algorithm, SystemClock(), system_entropy)
    )
    tell(f"key {key_id} is in force; start the exchange, and back the new key up")


@app.command()
def doctor(*, config: ConfigOption = Path(), as_json: JsonOption = False) -> None:
    """Find what is wrong with the setup.

    Each finding comes with what mends it.
    Run it as the exchange's user, beside a running exchange or without. Exit code 1
    when there are problems; warnings alone are 0.
    """
    quiet_logs()
    sys.exit(asyncio.run(_doctor(config_file(config), as_json=as_json)))


@app.command()
def version() -> None:
    """Print the software's version."""
    from importlib.metadata import version as installed

    typer.echo(installed("onward"))


async def _doctor(path: Path, *, as_json: bool) -> int:
    """Prints what the doctor finds; returns the exit code."""
    import os

    from onward_server.doctor import Verdict, examine
    from onward_server.exchange.clock import SystemClock

    found = [item async for item in examine(path, os.environ, SystemClock())]
    if as_json:
        names = ("subject", "verdict", "detail", "remedy")
        shown = [{name: getattr(item, name) for name in names} for item in found]
        put({"findings": shown})
    else:
        put_table(
            ("", "what", "found", "to mend it"),
            [(item.verdict, item.subject, item.detail, item.remedy) for item in found],
        )
    problems = any(item.verdict is Verdict.PROBLEM for item in found)
    return REFUSED if problems else 0
