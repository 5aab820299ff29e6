"""``onward-server witness``: cosigning other logs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from onward_server.cli.output import (
    REFUSED,
    JsonOption,
    config_file,
    put,
    put_table,
    quiet_logs,
    tell,
)

if TYPE_CHECKING:
    from onward.core.tlog_policy import Log
    from onward_server.config import WitnessConfig
    from onward_server.witnessing.store import Evidence, Head, WitnessStore

_SHOWN_TIME: Final = "%Y-%m-%d %H:%M:%SZ"

app = typer.Typer(
    help="Witness other logs: cosign that they only ever grow.",
    no_args_is_help=True,
)

WitnessOption = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        envvar="ONWARD_WITNESS_CONFIG",
        help="The witness's configuration file or its folder; or those of the exchange "
        "that it is part of.",
    ),
]


@app.command()
def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="The folder to make it in.")
    ],
    *,
    name: Annotated[
        str,
        typer.Option(
            envvar="ONWARD_WITNESS_NAME",
            help="The name in its key, such as witness.example/w1. Never changes.",
        ),
    ],
    listen: Annotated[
        str, typer.Option(envvar="ONWARD_WITNESS_LISTEN", help="Address and port.")
    ] = "0.0.0.0:8090",
    url: Annotated[
        str,
        typer.Option(
            envvar="ONWARD_WITNESS_URL",
            help="The URL under which logs find it, such as https://witness.example.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a new witness in a folder, and print its key's vkey.

    Makes the key, the file of logs, the database and the configuration. Nothing is
    overwritten. The folder is for its owner only.
    """
    from onward_server.witnessing.founding import WitnessFounding, found_witness

    quiet_logs()
    founding = WitnessFounding(directory, name, listen, url)
    vkey = found_witness(founding).vkey.format()
    if as_json:
        put({"folder": str(directory), "name": name, "vkey": vkey})
        return
    tell(f"The witness {name} is set up in {directory}. Next:\n")
    tell(f"  onward-server witness add-log --config {directory} VKEY")
    tell(f"  onward-server witness serve --config {directory}\n")
    tell("Never restore an older copy of witness.sqlite: make a new witness instead.")
    tell("Give this to the logs that it is to witness, and to who relies on it:\n")
    typer.echo(vkey)


@app.command()
def serve(config: WitnessOption = Path()) -> None:
    """Answer logs until told to stop.

    For a witness that is no exchange. One that is part of an exchange answers while
    the exchange runs, on the port of `web`.
    """
    import uvloop

    from onward_server.witness_app import run_witness

    uvloop.run(run_witness(_load(config)))


@app.command()
def add_log(
    vkey: Annotated[
        str, typer.Argument(metavar="VKEY", help="The log's key, from its operator.")
    ],
    *,
    url: Annotated[
        str, typer.Option(help="Where the log can be read, for people to know.")
    ] = "",
    config: WitnessOption = Path(),
) -> None:
    """Witness a log from now on.

    A running witness knows it with the next request. To end it, remove the log's line
    from the file; what was cosigned is not forgotten.
    """
    from onward.core.notes import Vkey
    from onward_server.witnessing.logs import add_log as add

    quiet_logs()
    path = _load(config).witness.logs_file
    log = Vkey.parse(vkey)
    added = add(path, log, url)
    tell(f"{log.name} {'is' if added else 'was already'} in {path}")


@app.command()
def logs(*, config: WitnessOption = Path(), as_json: JsonOption = False) -> None:
    """List the logs that are witnessed, and how far each was cosigned."""
    from onward_server.witnessing.logs import read_logs

    quiet_logs()
    loaded = _load(config)
    store = _open(loaded)
    heads = {head.signed.checkpoint.origin: head for head in store.heads()}
    store.close()
    known = [
        (log, heads.get(log.vkey.name)) for log in read_logs(loaded.witness.logs_file)
    ]
    if as_json:
        put({"logs": [_log_as_dict(log, head) for log, head in known]})
        return
    put_table(
        ("log", "size", "cosigned last", "where"),
        [
            (
                log.vkey.name,
                f"{head.signed.checkpoint.size:,}" if head else "",
                _shown(head.time) if head else "never",
                log.url or "",
            )
            for log, head in known
        ],
    )


@app.command()
def key(
    *,
    config: WitnessOption = Path(),
    as_ed25519: Annotated[
        bool,
        typer.Option(
            "--as-ed25519",
            help="Write it as a key of type 01, as Tessera 1.0 and others want it.",
        ),
    ] = False,
) -> None:
    """Print the vkey that verifies the witness's cosignatures."""
    from onward.core.notes import NoteSigner
    from onward_server.witnessing.founding import load_cosigner

    cosigner = load_cosigner(_load(config).witness)
    plain = NoteSigner(cosigner.name, cosigner.private_key)
    typer.echo((plain if as_ed25519 else cosigner).vkey.format())


@app.command()
def evidence(*, config: WitnessOption = Path(), as_json: JsonOption = False) -> None:
    """Show what logs signed that does not go together.

    A `fork` proves that a log has two histories: keep both checkpoints, and tell all
    who rely on the log. `unproven` is a checkpoint that was sent with a proof that
    fails, which anybody can do with a checkpoint of the log; it disappears when the
    log proves it. Exit code 1 when there is a fork.
    """
    from onward_server.witnessing.store import EvidenceKind

    quiet_logs()
    store = _open(_load(config))
    found = store.evidence()
    store.close()
    if as_json:
        put({"evidence": [_evidence_as_dict(item) for item in found]})
    else:
        for item in found:
            _show(item)
        if not found:
            tell("nothing was signed that does not go together")
    sys.exit(REFUSED if any(item.kind is EvidenceKind.FORK for item in found) else 0)


def _file(path: Path) -> Path:
    """Returns the configuration file that an option names."""
    from onward_server.witnessing.founding import FILE_NAME

    own = path / FILE_NAME
    return own if own.is_file() else config_file(path)


def _load(path: Path) -> WitnessConfig:
    """Reads the configuration that an option names."""
    import os

    from onward_server.config import load_witness

    return load_witness(_file(path), os.environ)


def _open(config: WitnessConfig) -> WitnessStore:
    """Opens the database."""
    from onward_server.witnessing.store import WitnessStore

    return WitnessStore.open(config.witness.database_file)


def _log_as_dict(log: Log, head: Head | None) -> dict[str, object]:
    """Returns what is known of a log."""
    checkpoint = head.signed.checkpoint if head else None
    return {
        "origin": log.vkey.name,
        "vkey": log.vkey.format(),
        "url": log.url,
        "size": checkpoint.size if checkpoint else None,
        "root": checkpoint.root.hex() if checkpoint else None,
        "time": head.time if head else None,
    }


def _evidence_as_dict(item: Evidence) -> dict[str, object]:
    """Returns evidence with both notes, for whoever checks them."""
    return {
        "kind": item.kind.value,
        "origin": item.second.checkpoint.origin,
        "time": item.time,
        "cosigned": item.first.note,
        "refused": item.second.note,
    }


def _show(item: Evidence) -> None:
    """Prints evidence: what it is to people, both notes to stdout."""
    first, second = item.first.checkpoint, item.second.checkpoint
    tell(
        f"{item.kind.value}: {second.origin} at {_shown(item.time)}: cosigned size "
        f"{first.size:,}, refused size {second.size:,}"
    )
    typer.echo(f"{item.first.note}\n{item.second.note}")


def _shown(time: int) -> str:
    """Returns POSIX seconds for people."""
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(time, UTC):{_SHOWN_TIME}}"
