"""Publishing: from a tip to a referral that the exchange has accepted.

1. The tip is sealed to a current content key of each recipient.
2. The referral is signed: the publisher's decisions, and what of the tip the exchange
   and its policy need to know. From here on nothing changes any more.
3. Content that is too large for a request is uploaded.
4. The referral is published. The answer must be the same referral and the exchange's
   acceptance of it, both in the log; their receipts are kept in the home.

Steps 3 and 4 may be repeated with the same bytes for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

import grpc

from onward._channel import trace_metadata
from onward._errors import UnprovenRejectionError, error_of_item
from onward._session import Session
from onward._values import (
    Logged,
    PreparedReferral,
    Published,
    Routing,
    RoutingChanges,
    Tip,
)
from onward.core.errors import MalformedError, OnwardError, Reason, StateError
from onward.core.sealing import ContentPublicKey, seal_content
from onward.v1 import referral_pb2, statement_pb2, vocabulary_pb2

RETENTION: Final = timedelta(days=90)
"""For how long the exchange keeps content, unless the publisher says otherwise."""

MAX_INLINE: Final = 1024 * 1024
"""Bytes of sealed content inside a request (``ReferralService.Publish``)."""

CHUNK: Final = 256 * 1024
"""Bytes of a chunk (``ReferralService.PutContent``)."""

_MAX_BATCH_ITEMS: Final = 100
# Well below what a server takes in one message unless it says otherwise.
_MAX_BATCH_BYTES: Final = 3 * 1024 * 1024

_REQUIRED_OF_TIP: Final = (
    "reference",
    "channel",
    "reporter_type",
    "received_time",
    "narrative",
)
_SUITES_BY_PREFERENCE: Final = (
    vocabulary_pb2.SEALING_SUITE_MLKEM768_X25519,
    vocabulary_pb2.SEALING_SUITE_P384,
)


async def prepare(
    session: Session, tip: Tip, referral: statement_pb2.Referral, *, fresh: bool = False
) -> PreparedReferral:
    """Seals a tip and signs its referral; sends nothing.

    Args:
        session: signs, and knows the recipients' keys.
        tip: the content.
        referral: the publisher's decisions, as :func:`referral_of` returns them.
        fresh: ask for the recipients' keys of this moment.
    """
    referral_id = session.new_id()
    keys = {
        name: await _content_key(session, name, fresh=fresh)
        for name in referral.recipients
    }
    sealed = seal_content(tip.SerializeToString(), referral_id, keys, session.entropy)
    referral.content_digest = sha256(sealed).digest()
    referral.content_size = len(sealed)
    draft = statement_pb2.Statement(
        id=referral_id, referral_id=referral_id, referral=referral
    )
    signed = await session.sign(draft)
    return PreparedReferral(signed.jws, sealed)


def referral_of(tip: Tip, routing: Routing, now: datetime) -> statement_pb2.Referral:
    """Returns the body of a referral, but for its content's digest and size.

    Raises:
        MalformedError: the tip lacks something.
    """
    present = {field.name for field, _ in tip.ListFields()}
    for name in _REQUIRED_OF_TIP:
        if name not in present:
            raise MalformedError(f"a tip needs its {name}", field=f"tip.{name}")
    jurisdiction = routing["jurisdiction"]
    if isinstance(jurisdiction, str):
        jurisdiction = statement_pb2.Jurisdiction(code=jurisdiction)
    consent = routing.get("consent")
    referral = statement_pb2.Referral(
        recipients=routing["recipients"],
        urgency=routing["urgency"],
        urgency_reason=routing.get("urgency_reason", ""),
        jurisdiction=jurisdiction,
        basis=routing["basis"],
        basis_citation=routing.get("basis_citation", ""),
        consent=consent,
        reporter_type=tip.reporter_type,
        subject_age_group=routing["subject_age_group"],
        trafficking_type=tip.trafficking_type,
        channel=tip.channel,
        tip_received_time=tip.received_time,
        links=routing.get("links"),
        intake_numbers=routing.get("intake_numbers"),
        markings=routing.get("markings"),
        test=tip.test,
    )
    referral.expire_time.FromDatetime(
        routing.get("expire_time") or _default_end(consent, now)
    )
    return referral


def child_routing(
    parent: Logged, recipients: Sequence[str], changes: RoutingChanges
) -> Routing:
    """Returns the routing of a referral that passes another one on.

    It is that of the parent, so that what the person concerned permitted goes on to
    hold, but for the changes; and it links back.
    """
    body = parent.message.referral
    link = statement_pb2.ReferralLink(
        kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF,
        referral_id=parent.message.referral_id,
        referral_digest=parent.digest,
    )
    inherited = Routing(
        recipients=recipients,
        urgency=body.urgency,
        urgency_reason=body.urgency_reason,
        jurisdiction=body.jurisdiction,
        basis=body.basis,
        basis_citation=body.basis_citation,
        subject_age_group=body.subject_age_group,
        expire_time=body.expire_time.ToDatetime(tzinfo=UTC),
        markings=body.markings,
    )
    if body.HasField("consent"):
        inherited["consent"] = body.consent
    links = [link, *changes.get("links", ())]
    return {**inherited, **changes, "links": links}


async def publish(
    session: Session, prepared: PreparedReferral, traceparent: str = ""
) -> Published:
    """Publishes a prepared referral, and verifies the acceptance."""
    request = await upload(session, prepared)
    try:
        response = await session.call(
            session.referrals.Publish, request, traceparent=traceparent
        )
    except UnprovenRejectionError as error:
        raise await session.prove_rejection(error, prepared.digest) from None
    return await accepted(session, prepared, response)


async def publish_batch(
    session: Session, prepared: Sequence[PreparedReferral]
) -> list[Published | OnwardError]:
    """Publishes many in as few calls as their sizes allow."""
    requests = [await upload(session, item) for item in prepared]
    results: list[Published | OnwardError] = []
    for part in _parts(requests):
        response = await session.call(
            session.referrals.PublishBatch,
            referral_pb2.PublishBatchRequest(requests=requests[part]),
        )
        if len(response.results) != part.stop - part.start:
            raise MalformedError("the exchange did not answer each item of the batch")
        items = zip(prepared[part], response.results, strict=True)
        results += await asyncio.gather(
            *(_result(session, item, result) for item, result in items)
        )
    return results


async def upload(
    session: Session, prepared: PreparedReferral
) -> referral_pb2.PublishRequest:
    """Returns the request to publish with, after its content, if large, is there."""
    content = prepared.sealed_content
    if len(content) <= MAX_INLINE:
        return referral_pb2.PublishRequest(
            referral=prepared.referral, sealed_content=content
        )
    await session.caller.repeat(lambda left: _put_content(session, content, left))
    return referral_pb2.PublishRequest(referral=prepared.referral)


async def accepted(
    session: Session, prepared: PreparedReferral, response: referral_pb2.PublishResponse
) -> Published:
    """Verifies what the exchange says of a referral that it accepted."""
    published = Published(
        await session.verify_own(response.referral, prepared.referral),
        await session.verify_answer(response.acceptance, "acceptance", prepared.digest),
    )
    await session.keep(published.referral_id, published.referral, published.acceptance)
    return published


async def _result(
    session: Session, prepared: PreparedReferral, result: referral_pb2.PublishResult
) -> Published | OnwardError:
    """Reads what came of one item of a batch."""
    if result.WhichOneof("result") == "response":
        return await accepted(session, prepared, result.response)
    error = error_of_item(result.error)
    if isinstance(error, UnprovenRejectionError):
        return await session.prove_rejection(error, prepared.digest)
    return error


async def _content_key(session: Session, name: str, *, fresh: bool) -> ContentPublicKey:
    """Returns the content key to which a recipient wants content sealed now."""
    entry = await session.directory.member(name, fresh=fresh)
    # The newest key stands last in the directory.
    usable = list(entry.usable_content_keys(session.clock()).values())[::-1]
    for suite in _SUITES_BY_PREFERENCE:
        for key in usable:
            if key.suite == suite:
                return key
    raise StateError(
        Reason.ERROR_REASON_RECIPIENT_UNAVAILABLE,
        f"{name} has no content key in force, so nothing can be sealed to it",
        field="referral.recipients",
        metadata={"member": name},
    )


def _default_end(consent: statement_pb2.Consent | None, now: datetime) -> datetime:
    """Returns when the exchange shall erase content: not after the consent ends."""
    end = now + RETENTION
    if consent is None or not consent.HasField("expire_time"):
        return end
    return min(end, consent.expire_time.ToDatetime(tzinfo=UTC))


def _parts(requests: Sequence[referral_pb2.PublishRequest]) -> Iterator[slice]:
    """Yields the parts of a batch, each within the limits of one call."""
    start = size = 0
    for place, request in enumerate(requests):
        full = place - start == _MAX_BATCH_ITEMS
        if place > start and (full or size + request.ByteSize() > _MAX_BATCH_BYTES):
            yield slice(start, place)
            start, size = place, 0
        size += request.ByteSize()
    if requests:
        yield slice(start, len(requests))


async def _put_content(session: Session, content: bytes, left: float) -> None:
    """Uploads content, within the seconds that are left."""
    call = session.referrals.PutContent(timeout=left, metadata=trace_metadata())
    # What the server answers before it has read everything comes out at the end; the
    # write on which it is noticed fails with something meaningless.
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for part in _upload_parts(content):
            await call.write(part)
        await call.done_writing()
    await call


def _upload_parts(content: bytes) -> Iterator[referral_pb2.PutContentRequest]:
    """Yields the header of an upload, then its chunks."""
    header = referral_pb2.PutContentHeader(
        content_digest=sha256(content).digest(), content_size=len(content)
    )
    yield referral_pb2.PutContentRequest(header=header)
    for start in range(0, len(content), CHUNK):
        yield referral_pb2.PutContentRequest(chunk=content[start : start + CHUNK])
