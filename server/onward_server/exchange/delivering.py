"""Giving referrals to their recipients (DESIGN.md section 9).

What waits for a recipient stands in the database: deliveries whose state says that
the content must still be given out. A stream *leases* some of them, sends each, and
logs the ``Handover`` when the content has gone out in full. The recipient's
``Received`` moves the delivery on, which ends the lease. A lease that lapses, or whose
stream ends, makes the delivery available again. So nothing depends on a stream's
memory:

* a lost stream loses nothing, since its leases end;
* several desks of one agency share the work, since a lease is exclusive;
* a restarted exchange begins with no leases, and offers everything again.

The stream learns of news by the hub, and by its own timer where a wake-up is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from onward.core import custody
from onward.core.errors import Reason, StateError, UnavailableError
from onward.core.statements import statement_digest
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.clock import Clock, Entropy
from onward_server.exchange.directory import Caller
from onward_server.exchange.draft import Draft
from onward_server.exchange.hub import Subscription
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.limits import Limits
from onward_server.exchange.moving import moved, referral_unknown
from onward_server.exchange.publishing import require_role
from onward_server.exchange.receipts import Logged
from onward_server.storage.contract import DeliveryRow, Needs, ReferralRow, Store

_RECIPIENT = vocabulary_pb2.ROLE_RECIPIENT
_MAX_BATCH = 64

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """A delivery that goes out; ``sealed`` is empty when it is fetched separately."""

    referral_id: str
    referral: Logged
    acceptance: Logged
    sealed: bytes
    separate: bool
    lease_until_ms: int
    attempt: int
    traceparent: str


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The content of an offer went out in full."""

    referral_id: str
    handover: Logged


@dataclass(frozen=True, slots=True)
class Retracted:
    """A referral that the recipient has was retracted."""

    referral_id: str
    retraction: Logged


@dataclass(frozen=True, slots=True)
class Beat:
    """Nothing to say; ``checkpoint`` is the newest."""

    checkpoint: str


@dataclass(frozen=True, slots=True)
class HandoverChange:
    """The change: content of a delivery went out to a caller."""

    referral_id: str
    acceptance_digest: bytes
    caller: Caller

    @property
    def needs(self) -> Needs:
        """The referral and its delivery."""
        return Needs(referrals={self.referral_id})

    def plan(self, draft: Draft) -> Sequence[int]:
        """Logs a ``Handover``."""
        referral = draft.referral(self.referral_id)
        delivery = draft.delivery(self.referral_id, self.caller.name)
        if referral is None or delivery is None:
            raise referral_unknown(self.referral_id)
        draft.put_delivery(moved(draft, referral, delivery, custody.Event.HANDOVER))
        statement = draft.say(
            referral_id=self.referral_id,
            previous=self.acceptance_digest,
            handover=statement_pb2.Handover(
                recipient=self.caller.name,
                certificate_fingerprint=self.caller.fingerprint,
                content_digest=referral.content_digest,
            ),
        )
        return [
            draft.log(
                statement,
                places=referral.places,
                subject=self.caller.name,
                watchers=referral.watchers,
            )
        ]


@dataclass(slots=True)
class _Desk:
    """One open stream: who it is, and what it has out."""

    caller: Caller
    holder: str
    places: int
    out: dict[str, int] = field(default_factory=dict)
    """Referral id to the end of its lease, for what was sent and not yet received."""
    told: set[str] = field(default_factory=set)
    """Referrals whose retraction this stream was told of."""


class Delivering:
    """Streams of deliveries, and downloads of content."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        clock: Clock,
        entropy: Entropy,
        limits: Limits,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._limits = limits

    async def receive(
        self, caller: Caller, max_outstanding: int, recheck: Callable[[], None]
    ) -> AsyncGenerator[Offer | HandedOver | Retracted | Beat, None]:
        """Streams what waits for the caller's agency; ends only with an error.

        Being resumed after an event means that its message was written in full to the
        caller's channel.

        Args:
            caller: a recipient.
            max_outstanding: how many deliveries may be out without a ``Received``.
            recheck: raises when the caller may no longer be here.
        """
        require_role(caller, _RECIPIENT)
        holder = f"{self._store.replica}/{self._entropy(16).hex()}"
        desk = _Desk(caller, holder, max_outstanding)
        with self._ledger.hub.subscribe(caller.name) as ear:
            try:
                quiet_since = self._clock.monotonic()
                while True:
                    recheck()
                    async for event in self._round(desk):
                        quiet_since = self._clock.monotonic()
                        yield event
                    await self._pause(desk, ear)
                    if self._clock.monotonic() - quiet_since >= self._limits.heartbeat:
                        quiet_since = self._clock.monotonic()
                        yield Beat(self._ledger.checkpoint())
            finally:
                self._ledger.release(desk.holder)

    async def content(
        self, caller: Caller, referral_id: str
    ) -> AsyncGenerator[bytes | Logged, None]:
        """Streams one delivery's sealed content in chunks, then its ``Handover``.

        Raises:
            UnknownError: ``REFERRAL_UNKNOWN``.
            StateError: ``CONTENT_ERASED``, also when its time is over and it waits to
                be erased; or ``STATE_FORBIDS`` when the delivery is over.
        """
        require_role(caller, _RECIPIENT)
        row, sealed = await self._content_for(caller, referral_id)
        (acceptance,) = await self._store.statements([row.answer_index])
        for start in range(0, len(sealed), self._limits.chunk):
            present = await self._store.referral(referral_id) or row
            _check_given(present, self._clock.now_ms())
            yield sealed[start : start + self._limits.chunk]
        (handover,) = await self._ledger.apply(
            HandoverChange(referral_id, acceptance.digest, caller)
        )
        yield handover

    async def _round(
        self, desk: _Desk
    ) -> AsyncIterator[Offer | HandedOver | Retracted]:
        """Sends all that there is to send now."""
        await self._forget_settled(desk)
        async for retracted in self._retractions(desk):
            yield retracted
        while rows := await self._lease(desk):
            handovers: list[tuple[Offer, asyncio.Task[list[Logged]]]] = []
            for row in rows:
                offer = await self._offer(desk, row)
                if offer is None:
                    continue
                yield offer
                if not offer.separate:  # it went out in full, whatever happens next
                    change = self._ledger.apply(_handover(offer, desk.caller))
                    handovers.append((offer, asyncio.create_task(change)))
            for offer, task in handovers:
                (handover,) = await task
                yield HandedOver(offer.referral_id, handover)
            await self._forget_settled(desk)

    async def _pause(self, desk: _Desk, ear: Subscription) -> None:
        """Waits for news, the next lapse of a lease, or the next recheck."""
        now = self._clock.now_ms()
        lapse = min((until - now for until in desk.out.values()), default=None)
        seconds = min(self._limits.recheck, self._limits.heartbeat)
        if lapse is not None:
            seconds = min(seconds, max(lapse / 1000, 0.05))
        await ear.wait(seconds)

    async def _lease(self, desk: _Desk) -> list[DeliveryRow]:
        """Leases as many deliveries as this stream has places for."""
        free = min(desk.places - len(desk.out), _MAX_BATCH)
        if free <= 0:
            return []
        now = self._clock.now_ms()
        if not await self._store.waits(desk.caller.name, now):  # spares a commit
            return []
        until = now + int(self._limits.lease * 1000)
        rows = await self._ledger.write(
            lambda writer: writer.claim(desk.caller.name, desk.holder, free, now, until)
        )
        desk.out |= {row.referral_id: row.lease_until_ms for row in rows}
        return rows

    async def _offer(self, desk: _Desk, delivery: DeliveryRow) -> Offer | None:
        """Returns what goes out for a delivery, as things are at this moment.

        The reader of a stream may be slow: what was leased with others is looked at
        again just before it goes out. Returns None, and frees its place, when it was
        erased or retracted meanwhile, its time or its lease is over, or it cannot be
        read.
        """
        row = await self._store.referral(delivery.referral_id)
        sealed = None
        if row is not None and not (row.erased or row.retracted):
            sealed = await self._sealed(row)
        now = self._clock.now_ms()
        if (
            row is None
            or sealed is None
            or min(row.expire_ms, delivery.lease_until_ms) <= now
        ):
            desk.out.pop(delivery.referral_id, None)
            return None
        separate = row.content_size > self._limits.inline_content
        referral, acceptance = await self._ledger.logged(
            [row.log_index, row.answer_index]
        )
        return Offer(
            row.referral_id,
            referral,
            acceptance,
            sealed,
            separate,
            delivery.lease_until_ms,
            delivery.attempt,
            row.traceparent,
        )

    async def _sealed(self, row: ReferralRow) -> bytes | None:
        """Returns content to go out inline; None when it cannot be read.

        One content that is damaged does not keep the others from their recipient.
        """
        if row.content_size > self._limits.inline_content:
            return b""
        try:
            return await self._store.content(row.content_digest)
        except UnavailableError:
            _log.exception("delivering.content_unreadable", referral=row.referral_id)
            return None

    async def _forget_settled(self, desk: _Desk) -> None:
        """Frees the places of deliveries that this stream no longer has out."""
        if not desk.out:
            return
        rows = await self._store.deliveries(list(desk.out))
        now = self._clock.now_ms()
        kept = {
            row.referral_id
            for row in rows
            if row.recipient == desk.caller.name
            and row.lease_holder == desk.holder
            and row.lease_until_ms > now
        }
        desk.out = {name: until for name, until in desk.out.items() if name in kept}

    async def _retractions(self, desk: _Desk) -> AsyncIterator[Retracted]:
        """Tells of retractions that wait for a reply, once on each stream."""
        pending = await self._store.retractions_pending(desk.caller.name)
        for referral_id in pending:
            if referral_id in desk.told:
                continue
            chain = await self._store.chain(referral_id)
            index = next(row.log_index for row in chain if row.kind == "retraction")
            (retraction,) = await self._ledger.logged([index])
            yield Retracted(referral_id, retraction)
            desk.told.add(referral_id)

    async def _content_for(
        self, caller: Caller, referral_id: str
    ) -> tuple[ReferralRow, bytes]:
        """Returns the content of a delivery that the exchange begins to give out."""
        row = await self._store.referral(referral_id)
        deliveries = await self._store.deliveries([referral_id])
        mine = next((d for d in deliveries if d.recipient == caller.name), None)
        if row is None or mine is None:
            raise referral_unknown(referral_id)
        sealed = None if row.erased else await self._store.content(row.content_digest)
        if sealed is None:
            raise _erased(row)
        if mine.state not in custody.GIVES_CONTENT:
            state = custody.state_name(
                vocabulary_pb2.DeliveryState.ValueType(mine.state)
            )
            raise StateError(
                Reason.ERROR_REASON_STATE_FORBIDS,
                f"the delivery is {state}; its content is not given out any more",
                metadata={"state": state},
            )
        return row, sealed


def _handover(offer: Offer, caller: Caller) -> HandoverChange:
    digest = statement_digest(offer.acceptance.jws)
    return HandoverChange(offer.referral_id, digest, caller)


def _check_given(row: ReferralRow, now_ms: int) -> None:
    """Checks, while content goes out, that the rest of it may."""
    if row.erased:
        raise _erased(row)
    if row.expire_ms <= now_ms:
        raise StateError(
            Reason.ERROR_REASON_CONTENT_ERASED,
            f"the time for which {row.referral_id} may be given out is over; its "
            "content is being erased, and its proofs remain",
        )
    if row.retracted:
        raise StateError(
            Reason.ERROR_REASON_STATE_FORBIDS,
            "the referral was retracted while its content went out",
            metadata={"state": "RETRACTED"},
        )


def _erased(row: ReferralRow) -> StateError:
    return StateError(
        Reason.ERROR_REASON_CONTENT_ERASED,
        f"the content of {row.referral_id} was erased; its proofs remain",
    )
