"""``python -m bench.big_log``: what an operator waits for with a million entries.

Starting and a proof must not take longer than with a small log, and checking all of it
must not take more memory. How fast such an exchange publishes is the measure ``log`` of
``python -m bench``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.exchange import seconds_to_start
from bench.filling import fill_log
from bench.processes import BIN
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward_server.bootstrap import Founding, found
from onward_server.cli.output import quiet_logs
from onward_server.config import Config, load
from onward_server.exchange.clock import SystemClock, system_entropy
from onward_server.exchange.receipts import Receipts
from onward_server.material import load_log_signer
from onward_server.storage.sqlite import open_sqlite

ENTRIES: Final = 1_000_000
SMALL: Final = 1_000

_PROOFS: Final = 500
_LOOK: Final = 0.05


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.big_log", description=__doc__
    )
    parser.add_argument("--entries", type=int, default=ENTRIES)
    entries = parser.parse_args().entries
    quiet_logs()
    with TemporaryDirectory(prefix="onward-big-log-") as folder:
        figures = {
            f"{size} entries": asyncio.run(measure(Path(folder) / str(size), size))
            for size in (SMALL, entries)
        }
    print(json.dumps(figures, indent=2))


async def measure(folder: Path, entries: int) -> dict[str, float]:
    """Makes a log, and measures it; seconds, milliseconds and MiB."""
    founding = Founding(
        folder, "big.example", listen="127.0.0.1:0", enrolment_listen="127.0.0.1:0"
    )
    made = await found(founding, SystemClock(), system_entropy)
    await fill_log(folder, entries)
    config = load(made.config_file, {})
    seconds_to_start(folder)  # compiles what is not
    verify_s, verify_mib = run(config, "log", "verify", "--json")
    export_s, export_mib = run(config, "log", "export", f"{folder}-static")
    again_s, _ = run(config, "log", "export", f"{folder}-static")
    return {
        "start_s": seconds_to_start(folder),
        "proof_ms": await prove(config),
        "verify_s": verify_s,
        "verify_mib": verify_mib,
        "export_s": export_s,
        "export_mib": export_mib,
        "export_again_s": again_s,
    }


def run(config: Config, *words: str) -> tuple[float, float]:
    """Runs ``onward-server``; returns seconds, and MiB at the most."""
    where = ("--config", str(config.exchange.data_dir))
    begun, peak = time.perf_counter(), 0
    with subprocess.Popen(
        [BIN / "onward-server", *words, *where], stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            peak = max(peak, _peak(process.pid))
            time.sleep(_LOOK)
    if process.returncode:
        raise SystemExit(f"onward-server {' '.join(words)} failed")
    return time.perf_counter() - begun, peak / 1024


async def prove(config: Config) -> float:
    """Makes and verifies receipts of random entries; returns milliseconds for each."""
    path, keys = str(config.storage.database_file), config.keys
    store = await open_sqlite(path, read_only=True)
    try:
        receipts, head = Receipts(store), await store.head()
        assert head is not None  # noqa: S101 - it was filled
        vkey = load_log_signer(keys.log_key_file, config.exchange.origin).vkey
        policy = Policy.for_log(vkey)
        chosen = random.Random(1).sample(range(head.size), _PROOFS)  # noqa: S311
        rows = await store.statements(chosen)
        begun = time.perf_counter()
        for row in rows:
            (logged,) = await receipts.up_to([row], head)
            TlogProof.parse(logged.receipt).verify(row.digest, policy)
        return (time.perf_counter() - begun) / len(rows) * 1000
    finally:
        await store.close()


def _peak(process: int) -> int:
    """Returns the most KiB that a process had in memory so far."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
