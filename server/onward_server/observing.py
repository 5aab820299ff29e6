"""Metrics of the ledger, seen from the storage that it writes to.

The domain knows nothing of metrics. What is worth measuring about a commit is in what
it writes, so the store is wrapped, and only its writing transaction is looked at.
Nothing is counted that was not committed.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from onward.core.due import kind_name
from onward.core.statements import parse_statement
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server import telemetry as names
from onward_server.storage.contract import (
    Batch,
    DeliveryRow,
    IntakeRow,
    Loaded,
    Needs,
    ReferralRow,
    Store,
    Writer,
)
from onward_server.telemetry import Telemetry

_RECEIVED = vocabulary_pb2.DELIVERY_STATE_RECEIVED
_DEADLINES = {"warning": names.WARNINGS, "breach": names.BREACHES}


class StorageState:
    """Whether the last attempt to write succeeded, and when that was."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.writable = True
        self._last = monotonic()

    def wrote(self, *, writable: bool) -> None:
        """Takes down how an attempt ended."""
        self.writable, self._last = writable, self._monotonic()

    @property
    def silent_for(self) -> float:
        """Seconds since the last attempt."""
        return self._monotonic() - self._last


def observed(store: Store, telemetry: Telemetry, state: StorageState) -> Store:
    """Returns the store, with its writing transactions observed."""
    return cast("Store", _ObservedStore(store, telemetry, state))


class _ObservedStore:
    """Hands everything on; see :func:`observed`."""

    def __init__(self, store: Store, telemetry: Telemetry, state: StorageState) -> None:
        self._store = store
        self._telemetry = telemetry
        self._state = state

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any method of a store
        return getattr(self._store, name)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Writer]:
        """The writing transaction, observed."""
        begun = time.perf_counter()
        try:
            async with self._store.writing() as writer:
                seen = _ObservedWriter(writer)
                yield cast("Writer", seen)
        except Exception:
            self._state.wrote(writable=False)
            self._telemetry.tell(names.COMMIT_FAILURES, 1)
            raise
        self._state.wrote(writable=True)
        if self._telemetry.enabled:
            self._telemetry.tell(names.COMMIT_DURATION, time.perf_counter() - begun)
            seen.tell(self._telemetry)


class _ObservedWriter:
    """Hands everything on, and remembers what was loaded and written."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._referrals: dict[str, ReferralRow] = {}
        self._deliveries: dict[tuple[str, str], DeliveryRow] = {}
        self._batches: list[Batch] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any method of a writer
        return getattr(self._writer, name)

    async def load(self, needs: Needs) -> Loaded:
        """As the writer does."""
        loaded = await self._writer.load(needs)
        self._referrals |= loaded.referrals
        self._deliveries |= loaded.deliveries
        return loaded

    async def write(self, batch: Batch) -> None:
        """As the writer does."""
        await self._writer.write(batch)
        self._batches.append(batch)

    def tell(self, telemetry: Telemetry) -> None:
        """Counts what was committed."""
        for batch in self._batches:
            telemetry.tell(names.GROUP_SIZE, len(batch.statements))
            self._tell_published(telemetry, batch)
            self._tell_received(telemetry, batch)
            self._tell_deadlines(telemetry, batch)

    def _tell_published(self, telemetry: Telemetry, batch: Batch) -> None:
        """Counts new referrals."""
        for row in batch.referrals.values():
            if row.referral_id not in self._referrals and not row.test:
                facts = {
                    names.URGENCY: urgency_name(row.urgency),
                    names.RESULT: "rejected" if row.rejected else "accepted",
                }
                telemetry.tell(names.PUBLISHED, 1, facts)

    def _tell_received(self, telemetry: Telemetry, batch: Batch) -> None:
        """Records how long deliveries took that have just been received."""
        referrals = self._referrals | batch.referrals
        for key, delivery in batch.deliveries.items():
            before, referral = self._deliveries.get(key), referrals.get(key[0])
            already = before is not None and before.state == _RECEIVED
            if delivery.state != _RECEIVED or already or referral is None:
                continue
            if not referral.test:
                seconds = (delivery.state_ms - referral.accepted_ms) / 1000
                facts = {names.URGENCY: urgency_name(referral.urgency)}
                telemetry.tell(names.RECEIVE_LATENCY, seconds, facts)

    def _tell_deadlines(self, telemetry: Telemetry, batch: Batch) -> None:
        """Counts warnings and breaches."""
        for row in batch.statements:
            if row.kind not in _DEADLINES:
                continue
            due = getattr(parse_statement(row.jws).message, row.kind).due
            about = self._about(due, row.referral_id, batch)
            if not about.test:
                facts = {
                    names.DEADLINE: kind_name(due.kind),
                    names.URGENCY: urgency_name(about.urgency),
                }
                telemetry.tell(_DEADLINES[row.kind], 1, facts)

    def _about(
        self, due: statement_pb2.Due, referral_id: str, batch: Batch
    ) -> ReferralRow | IntakeRow:
        """Returns what a deadline is about, which was loaded to say so."""
        if due.hotline:
            return batch.intakes[due.hotline, due.intake_number]
        return batch.referrals.get(referral_id) or self._referrals[referral_id]


def urgency_name(urgency: int) -> str:
    """Returns an urgency as attributes have it; the number if it is unknown."""
    if urgency not in vocabulary_pb2.Urgency.values():
        return str(urgency)
    name = vocabulary_pb2.Urgency.Name(vocabulary_pb2.Urgency.ValueType(urgency))
    return name.removeprefix("URGENCY_")
