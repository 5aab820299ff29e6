"""Sealed content: fetching it, judging it, opening it, and for how long it is kept."""

from __future__ import annotations

import asyncio
from datetime import UTC
from hashlib import sha256

from google.protobuf.message import DecodeError

from onward._channel import trace_metadata
from onward._custody import Custody
from onward._session import Session
from onward._values import Logged, Tip
from onward.core.errors import (
    MalformedError,
    Reason,
    TooLargeError,
    VerificationError,
)
from onward.core.sealing import MAX_SEALED_SIZE, open_content, parse_sealed
from onward.core.statements import parse_statement
from onward.home import Home
from onward.v1 import log_pb2, referral_pb2, vocabulary_pb2

Check = vocabulary_pb2.ContentCheck


class InvalidContentError(VerificationError):
    """Content is not what was signed, or cannot be opened or read.

    Attributes:
        check: which of these, as ``Received`` says it.
    """

    def __init__(self, check: Check.ValueType) -> None:
        name = Check.Name(check).removeprefix("CONTENT_CHECK_")
        super().__init__(
            Reason.ERROR_REASON_CANNOT_OPEN,
            f"the content is not usable: {name}",
            metadata={"check": name},
        )
        self.check = check


async def open_tip(session: Session, referral: Logged, sealed: bytes) -> Tip:
    """Opens the content of a referral that was sealed to us.

    Raises:
        InvalidContentError: it is not what the publisher signed, does not open with a
            key of ours, or is no ``Tip``.
    """
    if sha256(sealed).digest() != referral.message.referral.content_digest:
        raise InvalidContentError(Check.CONTENT_CHECK_DIGEST_MISMATCH)
    content = await _open(session, referral.message.id, sealed)
    if content is None:
        raise InvalidContentError(Check.CONTENT_CHECK_CANNOT_OPEN)
    try:
        return Tip.FromString(content)
    except DecodeError:
        raise InvalidContentError(Check.CONTENT_CHECK_UNREADABLE) from None


async def fetch_content(
    session: Session, referral_id: str
) -> tuple[bytes, log_pb2.LoggedStatement]:
    """Fetches sealed content, with the handover that is logged for it; not verified.

    Raises:
        TooLargeError: it has more bytes than any content may have.
        OnwardError: why it was refused.
    """
    request = referral_pb2.GetContentRequest(referral_id=referral_id)
    metadata = trace_metadata()

    async def attempt(left: float) -> tuple[bytes, log_pb2.LoggedStatement]:
        stream = session.referrals.GetContent(request, timeout=left, metadata=metadata)
        content, handover = bytearray(), log_pb2.LoggedStatement()
        async for response in stream:
            content += response.chunk
            handover = response.handover
            if len(content) > MAX_SEALED_SIZE:
                stream.cancel()
                raise TooLargeError("the content", len(content), MAX_SEALED_SIZE)
        return bytes(content), handover

    return await session.caller.repeat(attempt)


async def get_content(session: Session, custody: Custody) -> Tip:
    """Returns the tip of a referral received; see ``Client.get_content``."""
    referral = await custody.referral()
    content = await asyncio.to_thread(session.home.content, custody.referral_id)
    if content is not None:
        return await open_tip(session, referral, content)
    content, handed_over = await fetch_content(session, custody.referral_id)
    handover = await session.verify(handed_over)
    about = (handover.kind, handover.issuer, handover.message.referral_id)
    if about != ("handover", session.exchange, custody.referral_id):
        raise VerificationError(
            Reason.ERROR_REASON_PREVIOUS_MISMATCH,
            "what the exchange sent with the content is not its handover",
        )
    tip = await open_tip(session, referral, content)
    await session.keep(custody.referral_id, handover)
    await asyncio.to_thread(session.home.keep_content, custody.referral_id, content)
    return tip


def forget_expired(home: Home, now: float) -> None:
    """Removes the content of referrals that the exchange must have erased by now.

    Args:
        home: where the content is.
        now: POSIX seconds.
    """
    for referral_id in home.contents():
        for item in home.receipts(referral_id):
            message = parse_statement(item.statement).message
            end = message.referral.expire_time
            if message.id == referral_id and end.ToDatetime(UTC).timestamp() <= now:
                home.forget_content(referral_id)


async def _open(session: Session, referral_id: str, sealed: bytes) -> bytes | None:
    """Opens sealed content with the first of our keys that does, if one does."""
    try:
        seals = parse_sealed(sealed).keys
    except MalformedError:
        return None
    for seal in seals:
        key = await session.content_key(seal.key_id)
        if key is None or seal.recipient != session.member:
            continue
        try:
            return await asyncio.to_thread(
                open_content, sealed, key, referral_id, session.member
            )
        except VerificationError:
            continue
    return None
