"""Receiving: from a delivery on the wire to a tip that was verified and opened.

For each delivery:

1. The acceptance and the handover are the exchange's, are in the log, and are about
   this referral, this content and us. If not, the exchange cannot be believed, and
   receiving ends with the error.
2. The publisher's signature holds, with a key of that place of the log.
3. What arrived is what the publisher signed.
4. One of our content keys opens it.
5. It is a ``Tip``.

What fails in 2 to 5 is logged in our ``Received`` and handed out as ``Invalid``. What
holds is kept in the home, sealed as it came, before ``Received`` is logged: what we
have confirmed, we have.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256
from typing import Final, TypeAlias

import grpc

from onward._channel import trace_metadata
from onward._content import (
    InvalidContentError,
    fetch_content,
    forget_expired,
    open_tip,
)
from onward._custody import Custody
from onward._incoming import Incoming, Invalid, Retracted
from onward._session import Session
from onward._values import Logged
from onward.core.errors import (
    OnwardError,
    Reason,
    VerificationError,
)
from onward.core.statements import UnverifiedStatement, parse_statement
from onward.v1 import log_pb2, referral_pb2, vocabulary_pb2

Item: TypeAlias = Incoming | Invalid | Retracted
_Events: TypeAlias = AsyncGenerator[referral_pb2.ReceiveResponse, None]

_logger = logging.getLogger("onward")

# With these it is the publisher's statement that does not hold, not the log's proof.
_PUBLISHERS_FAULT: Final = frozenset(
    {
        Reason.ERROR_REASON_SIGNATURE_INVALID,
        Reason.ERROR_REASON_KEY_NOT_VALID,
        Reason.ERROR_REASON_MEMBER_UNKNOWN,
    }
)
# With these a delivery is over: retracted, erased, or another desk's meanwhile.
_OVER: Final = frozenset(
    {
        Reason.ERROR_REASON_STATE_FORBIDS,
        Reason.ERROR_REASON_CONTENT_ERASED,
        Reason.ERROR_REASON_REFERRAL_UNKNOWN,
    }
)


async def receive(
    session: Session,
    *,
    max_outstanding: int,
    confirm: bool,
    idle_timeout: float | None,
) -> AsyncGenerator[Item, None]:
    """Yields what the exchange has for this agency; see ``Client.receive``."""
    now = session.clock().timestamp()
    await asyncio.to_thread(forget_expired, session.home, now)
    if idle_timeout is not None:
        await session.log.latest()  # not to be reached is not to be idle
    inbox = _Inbox(session)
    request = referral_pb2.ReceiveRequest(max_outstanding=max_outstanding)

    def open_stream() -> grpc.aio.UnaryStreamCall[
        referral_pb2.ReceiveRequest, referral_pb2.ReceiveResponse
    ]:
        inbox.clear()
        return session.referrals.Receive(request, metadata=trace_metadata())

    async with (
        aclosing(session.caller.reopened(open_stream)) as responses,
        aclosing(_until_idle(responses, idle_timeout)) as events,
    ):
        async for event in events:
            item = await inbox.put(event)
            if item is not None and (not confirm or await _confirmed(item)):
                yield item


async def _until_idle(events: _Events, idle_timeout: float | None) -> _Events:
    """Yields events until nothing but heartbeats has come for some seconds."""
    loop = asyncio.get_running_loop()

    def end() -> float | None:
        return None if idle_timeout is None else loop.time() + idle_timeout

    idle_at = end()
    while True:
        try:
            async with asyncio.timeout_at(idle_at):
                event = await anext(events)
        except TimeoutError:
            return
        yield event
        if event.WhichOneof("event") != "heartbeat":
            idle_at = end()


async def _confirmed(item: Item) -> bool:
    """Logs ``Received`` of an item; says whether the item is still ours."""
    if isinstance(item, Retracted):
        return True
    try:
        await item.confirm()
    except OnwardError as error:
        if error.reason not in _OVER:
            raise
        _logger.info("a delivery is over", extra={"reason": error.reason_name})
        return False
    return True


class _Inbox:
    """Puts together what belongs to one delivery, on one stream."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: dict[str, referral_pb2.Delivery] = {}
        self._retractions: set[bytes] = set()

    def clear(self) -> None:
        """Forgets deliveries without a handover: on a new stream they come again."""
        self._waiting.clear()

    async def put(self, event: referral_pb2.ReceiveResponse) -> Item | None:
        """Takes one message of the stream; returns what it completes, if anything."""
        match event.WhichOneof("event"):
            case "delivery" if event.delivery.content_separate:
                return await self._fetch(event.delivery)
            case "delivery":
                self._waiting[_referral_id(event.delivery)] = event.delivery
            case "handover":
                delivery = self._waiting.pop(event.handover.referral_id, None)
                if delivery:
                    content = delivery.sealed_content
                    return await self._open(delivery, content, event.handover.handover)
            case "retraction":
                return await self._retracted(event.retraction)
            case "heartbeat":
                await self._session.log.observe(event.heartbeat.checkpoint)
        return None

    async def _fetch(self, delivery: referral_pb2.Delivery) -> Item | None:
        """Fetches the content of a delivery that did not come with it."""
        try:
            content, handover = await fetch_content(
                self._session, _referral_id(delivery)
            )
        except OnwardError as error:
            if error.reason not in _OVER:
                raise
            _logger.info("a delivery is over", extra={"reason": error.reason_name})
            return None
        return await self._open(delivery, content, handover)

    async def _open(
        self,
        delivery: referral_pb2.Delivery,
        content: bytes,
        handed_over: log_pb2.LoggedStatement,
    ) -> Incoming | Invalid:
        """Verifies and opens a delivery; the numbers are those above."""
        session = self._session
        claimed = parse_statement(delivery.referral.statement)
        acceptance = await session.verify_answer(  # 1
            delivery.acceptance, "acceptance", claimed.digest
        )
        handover = await session.verify_answer(
            handed_over, "handover", acceptance.digest
        )
        self._check_for_us(claimed, handover)
        custody = Custody(session, claimed.message.id, [acceptance, handover])
        try:
            referral = await self._verify_referral(delivery.referral)  # 2
            tip = await open_tip(session, referral, content)  # 3, 4, 5
        except InvalidContentError as error:
            return Invalid(
                claimed.message.id,
                error.check,
                delivery.attempt,
                sha256(content).digest(),
                custody,
            )
        custody.know(referral)
        await self._keep(referral, acceptance, handover, content)
        return Incoming(
            tip,
            referral,
            acceptance,
            handover,
            delivery.attempt,
            delivery.traceparent,
            custody,
        )

    async def _verify_referral(self, logged: log_pb2.LoggedStatement) -> Logged:
        """Verifies the publisher's statement.

        Raises:
            InvalidContentError: its signature does not hold.
            VerificationError: the log does not prove it.
        """
        try:
            return await self._session.verify(logged)
        except OnwardError as error:
            if error.reason not in _PUBLISHERS_FAULT:
                raise
            raise InvalidContentError(
                vocabulary_pb2.CONTENT_CHECK_SIGNATURE_INVALID
            ) from error

    def _check_for_us(self, referral: UnverifiedStatement, handover: Logged) -> None:
        """Requires that the exchange gave us a referral, and said that it was us."""
        ours = (self._session.member, self._session.fingerprint)
        body = handover.message.handover
        if (
            (body.recipient, body.certificate_fingerprint) != ours
            or body.content_digest != referral.message.referral.content_digest
            or self._session.member not in referral.message.referral.recipients
            or handover.message.referral_id != referral.message.id
        ):
            raise VerificationError(
                Reason.ERROR_REASON_PREVIOUS_MISMATCH,
                "the exchange logged another handover than the one of this content to "
                "this member with this certificate",
            )

    async def _keep(
        self, referral: Logged, acceptance: Logged, handover: Logged, content: bytes
    ) -> None:
        """Keeps content and receipts, so that a confirmed delivery is never lost."""
        referral_id = referral.message.id
        await self._session.keep(referral_id, referral, acceptance, handover)
        await asyncio.to_thread(self._session.home.keep_content, referral_id, content)

    async def _retracted(
        self, notice: referral_pb2.RetractionNotice
    ) -> Retracted | None:
        """Verifies a retraction; returns it once, though each stream brings it."""
        session = self._session
        retraction = await session.verify(notice.retraction)
        if retraction.digest in self._retractions:
            return None
        custody = Custody(session, notice.referral_id)
        await custody.load()
        custody.know(retraction)
        referral = await custody.referral()
        if (
            retraction.kind != "retraction"
            or retraction.issuer != referral.issuer
            or retraction.message.previous != referral.digest
        ):
            raise VerificationError(
                Reason.ERROR_REASON_PREVIOUS_MISMATCH,
                "what the exchange sent is not the publisher's retraction",
            )
        self._retractions.add(retraction.digest)
        await session.keep(notice.referral_id, retraction)
        return Retracted(referral, retraction, custody)


def _referral_id(delivery: referral_pb2.Delivery) -> str:
    return parse_statement(delivery.referral.statement).message.id
