"""``onward-server log``: the log as files, and whether all of it is sound."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onward_server.cli.output import (
    REFUSED,
    ConfigOption,
    JsonOption,
    load_config,
    progress,
    put,
    quiet_logs,
    tell,
)

if TYPE_CHECKING:
    from onward_server.config import Config
    from onward_server.log_check import LogCheck
    from onward_server.log_export import Exported

app = typer.Typer(help="Export the log, or check all of it.", no_args_is_help=True)


@app.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to; made if need be.")
    ],
    *,
    config: ConfigOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Write the log as static files, while the exchange runs or not.

    The folder has what the exchange itself answers over HTTP, for any web server to
    serve: digests and hashes, nothing secret. Run again, it writes what is new. Other
    contents of the folder are left alone.
    """
    quiet_logs()
    done = asyncio.run(_export(load_config(config), folder))
    if as_json:
        put({"size": done.size, "before": done.before, "files": done.files})
        return
    tell(f"{folder} has {done.size:,} entries, {done.size - done.before:,} of them new")


@app.command()
def verify(*, config: ConfigOption = Path(), as_json: JsonOption = False) -> None:
    """Recompute the whole log, and compare it with all that is stored and was signed.

    From the bytes of every statement: digests, tree, tiles, checkpoints, guard. It
    changes nothing, and the exchange may run. Exit code 1 when something is wrong.
    """
    quiet_logs()
    found = asyncio.run(_verify(load_config(config)))
    if as_json:
        put(
            {
                "sound": found.sound,
                "size": found.size,
                "root": found.root.hex(),
                "statements": found.statements,
                "tiles": found.tiles,
                "checkpoints": found.checkpoints,
                "problems": found.problems,
                "more_problems": found.more,
            }
        )
    else:
        _show(found)
    sys.exit(0 if found.sound else REFUSED)


def _show(found: LogCheck) -> None:
    """Prints what was found, for people."""
    for problem in found.problems:
        typer.echo(problem)
    if found.more:
        tell(f"and {found.more:,} more")
    tell(
        f"{found.statements:,} of {found.size:,} statements, {found.tiles:,} tiles and "
        f"{found.checkpoints:,} checkpoints were checked: "
        + ("all is sound" if found.sound else "the log is damaged or was tampered with")
    )


async def _export(config: Config, folder: Path) -> Exported:
    """Exports the log with a bar."""
    from onward_server.databases import open_store
    from onward_server.exchange.cosigning import LogCosigner
    from onward_server.log_export import export_log
    from onward_server.material import load_log_cosigner, load_log_signer

    keys, origin = config.keys, config.exchange.origin
    vkey = load_log_signer(keys.log_key_file, origin).vkey
    cosigner = LogCosigner(load_log_cosigner(keys.log_mldsa_key_file, origin))
    store = await open_store(config, beside=True)
    try:
        with progress("exporting") as begin:
            return await export_log(store, vkey, folder, begin, cosigner)
    finally:
        await store.close()


async def _verify(config: Config) -> LogCheck:
    """Checks the log with a bar."""
    from onward_server.databases import open_store
    from onward_server.exchange.guard import read_guard
    from onward_server.log_check import check_log
    from onward_server.material import load_log_signer

    vkey = load_log_signer(config.keys.log_key_file, config.exchange.origin).vkey
    # The guard first: a running exchange moves on between the two.
    guarded = read_guard(config.storage.guard_file)
    store = await open_store(config, beside=True)
    try:
        with progress("checking") as begin:
            return await check_log(store, vkey, guarded, begin)
    finally:
        await store.close()
