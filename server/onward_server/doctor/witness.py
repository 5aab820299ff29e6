"""Can the exchange witness others, if it is to, and what did it see?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from onward_server.config import Config
from onward_server.doctor.findings import Finding, fine, problem, warning
from onward_server.exchange.clock import Clock
from onward_server.witnessing.founding import load_cosigner
from onward_server.witnessing.logs import read_logs
from onward_server.witnessing.store import EvidenceKind, WitnessStore

_SAID: Final = {
    EvidenceKind.FORK: (
        problem,
        "keep what `onward-server witness evidence` shows, and tell who relies on it",
    ),
    EvidenceKind.UNPROVEN: (
        warning,
        "ask that log's operator to prove what `onward-server witness evidence` shows",
    ),
}


def check_witness(config: Config, _: Clock) -> Iterator[Finding]:
    """Looks at the witness's key, logs, memory and evidence."""
    section = config.witness
    if section.key_file is None:
        return
    cosigner, logs = load_cosigner(section), read_logs(section.logs_file)
    store = WitnessStore.open(section.database_file)
    evidence = store.evidence()
    store.close()
    found = Counter((item.kind, item.second.checkpoint.origin) for item in evidence)
    if logs:
        origins = {log.vkey.name for log in logs}
        yield fine("witness", f"{cosigner.name} witnesses {', '.join(sorted(origins))}")
    else:
        yield warning(
            "witness",
            f"{section.logs_file} names no log",
            "add one with `onward-server witness add-log`, or empty witness.key_file",
        )
    for (kind, origin), count in found.items():
        say, remedy = _SAID[kind]
        yield say("witness", f"{origin}: {count} {kind.value}", remedy)
