"""Readiness that means it: whether a change would be taken now, with proof.

Ready is an exchange whose storage takes writes, whose ledger is sure of its head, whose
certificate is valid, and whose chores are done. Storage that was not written to for a
while is probed with a small write, which goes the whole way through the ledger to the
disk: a full disk is noticed before the first member is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import structlog

from onward_server import telemetry as names
from onward_server.background import Chores
from onward_server.exchange.clock import Clock, to_datetime
from onward_server.exchange.ledger import Ledger
from onward_server.observing import StorageState
from onward_server.services.health import Readiness
from onward_server.services.tls import Certificates
from onward_server.storage.contract import UploadRow
from onward_server.telemetry import Telemetry

PROBE_AFTER = 30.0
"""Seconds without a write after which storage is probed."""

_PROBE = bytes(4096)
_PROBE_DIGEST = hashlib.sha256(b"onward readiness probe").digest()

_log = structlog.get_logger(__name__)


class ReadinessCheck:
    """Finds out whether the exchange is ready, and says so.

    Args:
        ledger: goes the way of every change.
        storage: how the last write ended.
        certificates: of every port.
        chores: what must be done besides.
        readiness: where it is said.
        telemetry: where it is said too.
        clock: judges certificates.
    """

    def __init__(
        self,
        ledger: Ledger,
        storage: StorageState,
        certificates: Sequence[Certificates],
        chores: Chores,
        readiness: Readiness,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._storage = storage
        self._certificates = certificates
        self._chores = chores
        self._readiness = readiness
        self._telemetry = telemetry
        self._clock = clock
        self._last: list[str] = []

    async def examine(self) -> None:
        """Finds out, says so, and logs what has changed."""
        problems = await self._problems()
        self._readiness.set(ready=not problems)
        self._telemetry.tell(names.READY, int(self._readiness.ready))
        if problems != self._last:
            _log.warning("readiness.changed", problems=problems)
            self._last = problems

    async def _problems(self) -> list[str]:
        """Returns what keeps the exchange from being ready."""
        problems = [f"chore {name}" for name in self._chores.ailing]
        now = to_datetime(self._clock.now_ms())
        if any(now >= certificates.not_after for certificates in self._certificates):
            problems.append("certificate expired")
        if not await self._writable():
            problems.append("storage takes no writes")
        return problems

    async def _writable(self) -> bool:
        """Whether storage takes writes; asks it where that is not known."""
        if self._storage.writable and self._storage.silent_for < PROBE_AFTER:
            return True
        row = UploadRow(_PROBE_DIGEST, self._ledger.exchange, self._clock.now_ms())
        try:
            await self._ledger.write(lambda writer: writer.put_chunk(row, 0, _PROBE))
        except Exception as error:  # noqa: BLE001 - whatever it is, it cannot be written
            _log.warning("readiness.probe_failed", kind=type(error).__name__)
            return False
        return True
