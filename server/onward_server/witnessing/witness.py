"""A witness: it cosigns what continues what it has cosigned, and nothing else.

What it looks at and how it decides is in :mod:`onward.core.witness`, with the numbers
of the steps. Here it reads what it has cosigned, replaces it, and only then signs: what
has left this process is on the disk.

What a log signed and cannot be true is kept as evidence, and told to the operator. The
witness goes on with the history that it has seen first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from onward.core.notes import Cosigner
from onward.core.witness import AddCheckpoint, SignedCheckpoint, Verdict, judge
from onward_server import telemetry as names
from onward_server.exchange.clock import Clock
from onward_server.telemetry import Telemetry
from onward_server.witnessing.logs import KnownLogs
from onward_server.witnessing.store import Evidence, EvidenceKind, WitnessStore

_EVENTS: Final = {
    EvidenceKind.FORK: "witness.fork",
    EvidenceKind.UNPROVEN: "witness.unproven",
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answers to a request that a known log signed.

    Attributes:
        verdict: what it found.
        size: the size from which it goes on.
        lines: the cosignatures, each with its newline; empty unless it is consistent.
    """

    verdict: Verdict
    size: int
    lines: str = ""


class Witness:
    """Cosigns the checkpoints of known logs. Its methods block, and need no turns.

    Args:
        cosigner: the witness's key. It must never be used with another store.
        logs: the logs that it knows.
        store: what it has cosigned.
        clock: tells the time of cosignatures.
        telemetry: where it tells about itself.

    Attributes:
        cosigner: the same.
        logs: the same.
        store: the same.
    """

    def __init__(
        self,
        cosigner: Cosigner,
        logs: KnownLogs,
        store: WitnessStore,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self.cosigner = cosigner
        self.logs = logs
        self.store = store
        self._clock = clock
        self._telemetry = telemetry

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answers the request of a log; the numbers are those of the core's module.

        Raises:
            MalformedError: rule 1 or the last of rule 2 does not hold.
            UnknownError: the log is not known.
            VerificationError: no key of the log signed, or a signature of one fails
                (``NOTE_UNTRUSTED``); or it claims to be empty with entries
                (``PROOF_INVALID``).
            UnavailableError: the database cannot be used; nothing was cosigned.
        """
        request = AddCheckpoint.parse(body)  # 1
        signed = request.open(self.logs.vkeys())  # 2
        time = self._clock.now_ms() // 1000
        while True:
            head = self.store.head(request.origin)
            last = head.signed if head else None
            verdict = judge(request, signed, last)  # 3
            if verdict is not Verdict.CONSISTENT:
                return self._refuse(verdict, signed, last, time)
            # A repeated cosignature of the same second would be the same bytes.
            known = head is not None and (last, head.time) == (signed, time)
            if known or self.store.advance(last, signed, time):  # 4
                return self._cosign(signed, time)

    def close(self) -> None:
        """Closes the store."""
        self.store.close()

    def _cosign(self, signed: SignedCheckpoint, time: int) -> Answer:
        """Cosigns what is on the disk."""
        checkpoint = signed.checkpoint
        line = self.cosigner.sign(checkpoint.text, time).format()
        facts = {names.LOG: checkpoint.origin}
        self._telemetry.tell(names.WITNESS_COSIGNED, 1, facts)
        return Answer(Verdict.CONSISTENT, checkpoint.size, line)

    def _refuse(
        self,
        verdict: Verdict,
        signed: SignedCheckpoint,
        last: SignedCheckpoint | None,
        time: int,
    ) -> Answer:
        """Refuses, and keeps what the log has signed wrongly."""
        if last is None:
            return Answer(verdict, 0)
        size = last.checkpoint.size
        if signed.contradicts(last):
            self._keep(Evidence(EvidenceKind.FORK, last, signed, time))
        elif verdict is Verdict.INCONSISTENT and 0 < size < signed.checkpoint.size:
            self._keep(Evidence(EvidenceKind.UNPROVEN, last, signed, time))
        return Answer(verdict, size)

    def _keep(self, evidence: Evidence) -> None:
        """Keeps evidence; what is new is told to the operator."""
        if not self.store.keep(evidence):
            return
        first, second = evidence.first.checkpoint, evidence.second.checkpoint
        facts = {names.LOG: second.origin, names.EVIDENCE: evidence.kind.value}
        self._telemetry.tell(names.WITNESS_EVIDENCE, 1, facts)
        _log.error(
            _EVENTS[evidence.kind],
            log=second.origin,
            cosigned_size=first.size,
            cosigned_root=first.root.hex(),
            refused_size=second.size,
            refused_root=second.root.hex(),
        )
