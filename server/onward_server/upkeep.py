"""What the exchange does by itself: it says and erases what is due, and keeps well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from onward.v1 import vocabulary_pb2
from onward_server import telemetry as names
from onward_server.background import Chore
from onward_server.exchange.alarming import Alarming
from onward_server.exchange.clock import Clock, to_datetime
from onward_server.exchange.erasing import Erasing
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.quotas import Place, Quotas
from onward_server.exchange.records import Records
from onward_server.exchange.timestamps import Timestamps
from onward_server.exchange.witnesses import Witnesses
from onward_server.observing import urgency_name
from onward_server.readiness import ReadinessCheck
from onward_server.services.tls import Certificates
from onward_server.telemetry import Telemetry
from onward_server.web.tls import WebCertificate

_DAY = timedelta(days=1)
_WITNESSING = "witnesses"
_STAMPING = "timestamps"
_DELIVERY_STATES = {
    state: name.removeprefix("DELIVERY_STATE_")
    for name, state in vocabulary_pb2.DeliveryState.items()
    if state
}
_URGENCIES = [urgency for urgency in vocabulary_pb2.Urgency.values() if urgency]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Looks after a running exchange; see :meth:`chores`.

    Attributes:
        leads: says whether this replica has a lead.
        shared: whether there may be other replicas.
    """

    ledger: Ledger
    erasing: Erasing
    alarming: Alarming
    records: Records
    certificates: Sequence[Certificates | WebCertificate]
    quotas: Quotas
    readiness: ReadinessCheck
    telemetry: Telemetry
    clock: Clock
    leads: Callable[[str], Awaitable[bool]]
    shared: bool
    witnesses: Witnesses | None = None
    timestamps: Timestamps | None = None

    def chores(self) -> list[Chore]:
        """Returns what is to be done again and again."""
        return [
            Chore("alarms", 1, self.alarming.turn, lead="alarms"),
            Chore("readiness", 5, self.readiness.examine),
            Chore("certificates", 10, self.watch_certificates),
            Chore("gauges", 15, self.gauge),
            Chore("retention", 60, self.sweep, lead="retention"),
            *self._sharing(),
            *self._witnessing(),
            *self._stamping(),
        ]

    def _sharing(self) -> Iterator[Chore]:
        """Yields what is done since there may be other replicas."""
        if not self.shared:
            return
        yield Chore("head", 1, self.ledger.follow)
        yield Chore("leases", 1, self.ledger.release_lost, lead="leases")
        if self.witnesses is not None:
            seconds = self.witnesses.rhythm.proposal
            yield Chore("cosignatures", seconds, self.witnesses.refresh)

    def _witnessing(self) -> Iterator[Chore]:
        """Yields what is done to be witnessed."""
        if self.witnesses is None:
            return
        proposal = self.witnesses.rhythm.proposal
        yield Chore("proposals", proposal, self.witnesses.propose, lead=_WITNESSING)
        for name in self.witnesses.askings:
            turn = partial(self.witnesses.follow, name)
            # A turn waits for a proposal itself.
            yield Chore(f"witness {name}", proposal / 4, turn, lead=_WITNESSING)

    def _stamping(self) -> Iterator[Chore]:
        """Yields what is done to have the log's checkpoints stamped."""
        if self.timestamps is None:
            return
        for name in self.timestamps.names:
            turn = partial(self.timestamps.stamp, name)
            seconds = self.timestamps.interval
            yield Chore(f"timestamps {name}", seconds, turn, lead=_STAMPING)

    async def sweep(self) -> None:
        """Erases contents whose time is over, and uploads that nobody named."""
        erased = await self.erasing.sweep()
        if erased:
            self.telemetry.tell(names.ERASED, erased)
            _log.info("retention.erased", contents=erased)

    async def watch_certificates(self) -> None:
        """Takes over changed certificates early, and tells how long they last."""
        for certificates in self.certificates:
            certificates.refresh()
        ends = min(certificates.not_after for certificates in self.certificates)
        left = ends - to_datetime(self.clock.now_ms())
        self.telemetry.tell(names.CERTIFICATE_LEFT, left / _DAY)

    async def gauge(self) -> None:
        """Tells what there is, and what waits."""
        tell, now = self.telemetry.tell, self.clock.now_ms()
        tell(names.LOG_SIZE, self.ledger.head().size)
        tell(names.ALARMS_LATE, await self.alarming.late())
        if await self.leads(_WITNESSING):
            await self._gauge_witnesses()
        if await self.leads(_STAMPING):
            self._gauge_timestamps()
        tell(names.STREAMS_OPEN, self.quotas.taken(Place.STREAM))
        status = await self.records.status()
        for state, name in _DELIVERY_STATES.items():
            facts = {names.STATE: name}
            tell(names.DELIVERIES, status.deliveries.get(state, 0), facts)
        for urgency in _URGENCIES:
            waiting = now - status.oldest_waiting.get(urgency, now)
            facts = {names.URGENCY: urgency_name(urgency)}
            tell(names.OLDEST_WAITING, waiting / 1000, facts)

    def _gauge_timestamps(self) -> None:
        """Tells how far the timestamp authorities are behind."""
        behind = self.timestamps.behind() if self.timestamps else {}
        for name, seconds in behind.items():
            facts = {names.AUTHORITY: name}
            self.telemetry.tell(names.TIMESTAMPS_BEHIND, seconds, facts)

    async def _gauge_witnesses(self) -> None:
        """Tells how the witnesses of the log are."""
        if self.witnesses is None:
            return
        tell = self.telemetry.tell
        tell(names.WITNESSES_ACCUSATIONS, await self.witnesses.accusations.count())
        for name, seconds in self.witnesses.silence().items():
            tell(names.WITNESSES_SILENT, seconds, {names.WITNESS: name})
