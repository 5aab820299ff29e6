"""Streams: their conversations over the wire, and when they end."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest

from onward.core.statements import parse_statement, statement_digest
from onward.v1 import log_pb2, referral_pb2, statement_pb2, vocabulary_pb2
from tests.support.service import Refused, Service, first, open_service, refused
from tests.support.world import HOTLINE, NEVADA, STATE_POLICE

CHUNK = 256 * 1024
MIB = 1024 * 1024


def id_of(request: referral_pb2.PublishRequest) -> str:
    return parse_statement(request.referral).message.id


def to_nevada(service: Service, **fields: Any) -> referral_pb2.PublishRequest:
    place = statement_pb2.Jurisdiction(code="US-NV")
    return service.publish_request(recipients=[NEVADA], jurisdiction=place, **fields)


def receive(service: Service, who: str = STATE_POLICE, places: int = 16) -> Any:
    request = referral_pb2.ReceiveRequest(max_outstanding=places)
    return service.referrals(who).Receive(request)


def statement(
    service: Service, who: str, previous: log_pb2.LoggedStatement, **body: Any
) -> referral_pb2.SubmitStatementRequest:
    """Returns a statement that answers another."""
    answered = parse_statement(previous.statement).message
    signed = service.world.sign(
        who,
        referral_id=answered.referral_id,
        previous=statement_digest(previous.statement),
        **body,
    )
    return referral_pb2.SubmitStatementRequest(statement=signed.jws)


def received(
    service: Service, delivery: Any, handover: log_pb2.LoggedStatement
) -> referral_pb2.SubmitStatementRequest:
    digest = hashlib.sha256(delivery.sealed_content).digest()
    body = statement_pb2.Received(
        content_digest=digest, check=vocabulary_pb2.CONTENT_CHECK_VERIFIED
    )
    return statement(service, STATE_POLICE, handover, received=body)


async def upload(content: bytes) -> AsyncIterator[referral_pb2.PutContentRequest]:
    header = referral_pb2.PutContentHeader(
        content_digest=hashlib.sha256(content).digest(), content_size=len(content)
    )
    yield referral_pb2.PutContentRequest(header=header)
    for start in range(0, len(content), CHUNK):
        yield referral_pb2.PutContentRequest(chunk=content[start : start + CHUNK])


# --- receiving ------------------------------------------------------------------------


async def test_the_conversation_of_receive(service: Service) -> None:
    stream = receive(service)
    request = service.publish_request()
    published = await service.referrals(HOTLINE).Publish(request)
    delivery = (await first(stream)).delivery
    assert delivery.referral == published.referral
    assert delivery.acceptance == published.acceptance
    assert delivery.sealed_content == request.sealed_content
    assert (delivery.attempt, delivery.content_separate) == (1, False)
    lease = delivery.lease_expire_time.seconds - service.clock.now_ms() / 1000
    assert 50 < lease <= 60
    notice = (await first(stream)).handover
    assert notice.referral_id == id_of(request)
    said = parse_statement(notice.handover.statement).message.handover
    assert said.certificate_fingerprint == service.identity(STATE_POLICE).fingerprint
    assert service.verify(notice.handover) > 0
    submit = service.referrals(STATE_POLICE).SubmitStatement
    answer = await submit(received(service, delivery, notice.handover))
    assert service.verify(answer.statement) > 0


async def test_the_most_urgent_comes_first(service: Service) -> None:
    urgencies = [
        vocabulary_pb2.URGENCY_INFORMATIONAL,
        vocabulary_pb2.URGENCY_IMMINENT_DANGER,
        vocabulary_pb2.URGENCY_ROUTINE,
    ]
    requests = [service.publish_request(urgency=urgency) for urgency in urgencies]
    for request in requests:
        await service.referrals(HOTLINE).Publish(request)
    stream = receive(service)
    came = [(await first(stream)).delivery.referral.statement for _ in requests]
    assert came == [requests[place].referral for place in (1, 2, 0)]


async def test_what_was_not_received_comes_again_to_another_stream(
    service: Service,
) -> None:
    published = await service.referrals(HOTLINE).Publish(service.publish_request())
    lost = receive(service)
    assert (await first(lost)).delivery.attempt == 1
    other = receive(service)
    lost.cancel()
    async with asyncio.timeout(20):
        again = (await first(other)).delivery
    assert (again.referral, again.attempt) == (published.referral, 2)


async def test_two_streams_of_one_agency_share_the_work(service: Service) -> None:
    requests = [service.publish_request() for _ in range(4)]
    batch = referral_pb2.PublishBatchRequest(requests=requests)
    await service.referrals(HOTLINE).PublishBatch(batch)
    streams = [receive(service, places=2) for _ in range(2)]
    came = [
        (await first(stream)).delivery.referral.statement
        for stream in streams
        for _ in range(2)
    ]
    assert sorted(came) == sorted(request.referral for request in requests)


async def test_large_content_is_uploaded_and_fetched_apart(service: Service) -> None:
    request = service.publish_request(content=os.urandom(2 * MIB))
    sealed, request.sealed_content = request.sealed_content, b""
    hotline = service.referrals(HOTLINE)
    answer = await refused(hotline.Publish(request))
    assert answer.reason == "CONTENT_UNKNOWN"
    await hotline.PutContent(upload(sealed))
    await hotline.Publish(request)
    police = service.referrals(STATE_POLICE)
    delivery = (await first(receive(service))).delivery
    assert delivery.content_separate
    assert not delivery.sealed_content
    get = referral_pb2.GetContentRequest(referral_id=id_of(request))
    *chunks, last = [part async for part in police.GetContent(get)]
    assert b"".join(part.chunk for part in chunks) == sealed
    assert max(len(part.chunk) for part in chunks) <= CHUNK
    assert service.verify(last.handover) > 0


async def test_content_over_the_limit_is_refused_inline_and_as_upload(
    service: Service,
) -> None:
    stub = service.referrals(HOTLINE)
    inline = service.publish_request(content=os.urandom(MIB))
    assert (await refused(stub.Publish(inline))).reason == "TOO_LARGE"
    parts = [part async for part in upload(b"x" * 100)]
    parts[0].header.content_size = 26 * MIB
    assert (await refused(stub.PutContent(iter(parts)))).reason == "TOO_LARGE"
    for digest, size in ((bytes(32), 100), (hashlib.sha256(b"x" * 100).digest(), 99)):
        parts[0].header.content_digest, parts[0].header.content_size = digest, size
        answer = await refused(stub.PutContent(iter(parts)))
        assert answer.reason == "CONTENT_MISMATCH"


async def test_a_retraction_is_told_until_it_is_answered(service: Service) -> None:
    published = await service.referrals(HOTLINE).Publish(service.publish_request())
    stream = receive(service)
    await first(stream)
    await first(stream)
    retraction = statement_pb2.Retraction(
        reason=vocabulary_pb2.RETRACTION_REASON_SENT_IN_ERROR
    )
    logged = await service.referrals(HOTLINE).SubmitStatement(
        statement(service, HOTLINE, published.referral, retraction=retraction)
    )
    telling = (stream, receive(service))
    notices = [(await first(told)).retraction for told in telling]
    for notice in notices:
        assert notice.retraction.statement == logged.statement.statement
    reply = statement_pb2.RetractionReply(
        action=vocabulary_pb2.RETRACTION_ACTION_DESTROYED
    )
    await service.referrals(STATE_POLICE).SubmitStatement(
        statement(service, STATE_POLICE, notices[0].retraction, retraction_reply=reply)
    )
    for told in telling:
        told.cancel()
    await service.referrals(HOTLINE).Publish(service.publish_request())
    assert (await first(receive(service))).WhichOneof("event") == "delivery"


async def test_silence_is_broken_by_heartbeats(tmp_path: Path) -> None:
    settings = {"ONWARD__LIMITS__HEARTBEAT_SECONDS": "0.05"}
    async with open_service(tmp_path, settings) as service:
        checkpoint = service.app.ledger.checkpoint()
        stream = receive(service)
        assert (await first(stream)).heartbeat.checkpoint == checkpoint
        watch = service.referrals(HOTLINE).WatchOwn(referral_pb2.WatchOwnRequest())
        beat = await first(watch)
        assert beat.heartbeat.checkpoint == checkpoint
        assert beat.resume_token


@pytest.mark.parametrize("places", [-1, 1001])
async def test_places_of_a_stream_are_bounded(service: Service, places: int) -> None:
    answer = await refused(receive(service, places=places).read())
    assert answer.reason == "MALFORMED"


# --- statements in order --------------------------------------------------------------


async def test_statements_of_one_chain_are_logged_in_the_order_given(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = service.app._domain.referral.submission
    submit = submission.submit

    async def slower_for_what_comes_first(caller: Any, jws: str, child: Any) -> Any:
        slow = parse_statement(jws).body_kind == "received" if len(jws) > 1 else False
        for _ in range(100 * slow):
            await asyncio.sleep(0)
        return await submit(caller, jws, child)

    monkeypatch.setattr(submission, "submit", slower_for_what_comes_first)
    requests = [service.publish_request() for _ in range(5)]
    batch = referral_pb2.PublishBatchRequest(requests=requests)
    await service.referrals(HOTLINE).PublishBatch(batch)
    stream = receive(service)
    deliveries = [(await first(stream)).delivery for _ in requests]
    handovers = [(await first(stream)).handover.handover for _ in requests]
    items = []
    for delivery, handover in zip(deliveries, handovers, strict=True):
        items.append(received(service, delivery, handover))
        for body in (
            {"acknowledgment": statement_pb2.Acknowledgment(reader_role="officer")},
            {"taking": statement_pb2.Taking()},
        ):
            before = log_pb2.LoggedStatement(statement=items[-1].statement)
            items.append(statement(service, STATE_POLICE, before, **body))
    items.insert(4, referral_pb2.SubmitStatementRequest(statement="x"))
    many = referral_pb2.SubmitStatementsRequest(requests=items)
    answer = await service.referrals(STATE_POLICE).SubmitStatements(many)
    kinds = [result.WhichOneof("result") for result in answer.results]
    assert kinds == ["response"] * 4 + ["error"] + ["response"] * 11
    for item, result in zip(items, answer.results, strict=True):
        if result.HasField("response"):
            assert result.response.statement.statement == item.statement
            assert service.verify(result.response.statement) > 0


async def read_in_nevada(
    service: Service, request: referral_pb2.PublishRequest
) -> log_pb2.LoggedStatement:
    """Publishes a tip that a person in Nevada reads; returns the acknowledgment."""
    await service.referrals(HOTLINE).Publish(request)
    stream = receive(service, NEVADA)
    delivery = (await first(stream)).delivery
    handover = (await first(stream)).handover.handover
    submit = service.referrals(NEVADA).SubmitStatement
    digest = hashlib.sha256(delivery.sealed_content).digest()
    verified = vocabulary_pb2.CONTENT_CHECK_VERIFIED
    body = statement_pb2.Received(content_digest=digest, check=verified)
    last = await submit(statement(service, NEVADA, handover, received=body))
    acknowledgment = statement_pb2.Acknowledgment(reader_role="officer")
    last = await submit(
        statement(service, NEVADA, last.statement, acknowledgment=acknowledgment)
    )
    answer: log_pb2.LoggedStatement = last.statement
    return answer


def transfer_to_ohio(
    service: Service,
    parent: referral_pb2.PublishRequest,
    read: log_pb2.LoggedStatement,
) -> referral_pb2.SubmitStatementRequest:
    """Returns Nevada's transfer of a tip with its child referral."""
    link = statement_pb2.ReferralLink(
        kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF,
        referral_id=id_of(parent),
        referral_digest=statement_digest(parent.referral),
    )
    child = service.publish_request(
        publisher=NEVADA,
        links=[link],
        basis=vocabulary_pb2.DISCLOSURE_BASIS_AGENCY_TO_AGENCY,
    )
    transfer = statement_pb2.Transfer(
        child_referral_id=id_of(child), child_digest=statement_digest(child.referral)
    )
    item = statement(service, NEVADA, read, transfer=transfer)
    item.child.CopyFrom(child)
    return item


async def test_a_transfer_is_logged_with_its_child(service: Service) -> None:
    request = to_nevada(service)
    item = transfer_to_ohio(service, request, await read_in_nevada(service, request))
    submit = service.referrals(NEVADA).SubmitStatement
    alone = referral_pb2.SubmitStatementRequest(statement=item.statement)
    assert (await refused(submit(alone))).reason == "MALFORMED"
    answer = await submit(item)
    assert answer.child.referral.statement == item.child.referral
    assert service.verify(answer.child.acceptance) > 0
    assert (await first(receive(service))).delivery.referral == answer.child.referral


async def test_a_transfer_beyond_the_release_is_refused_with_proof(
    service: Service,
) -> None:
    granted = vocabulary_pb2.CONSENT_STATE_GRANTED
    request = to_nevada(
        service,
        basis=vocabulary_pb2.DISCLOSURE_BASIS_VICTIM_WRITTEN_RELEASE,
        consent=statement_pb2.Consent(state=granted, recipients=[NEVADA]),
    )
    item = transfer_to_ohio(service, request, await read_in_nevada(service, request))
    answer = await refused(service.referrals(NEVADA).SubmitStatement(item))
    assert answer.reason == "DISCLOSURE_FORBIDDEN"
    logged = answer.detail(log_pb2.LoggedStatement)
    assert service.verify(logged) > 0
    rejection = parse_statement(logged.statement).message.rejection
    assert rejection.rule == "transfer-within-consent"
    assert rejection.recipient == STATE_POLICE


# --- watching -------------------------------------------------------------------------


async def test_watching_resumes_without_gap_or_repetition(service: Service) -> None:
    stub = service.referrals(HOTLINE)
    for _ in range(3):
        await stub.Publish(service.publish_request())
    whole = stub.WatchOwn(referral_pb2.WatchOwnRequest())
    news = [await first(whole) for _ in range(6)]
    resumed = stub.WatchOwn(
        referral_pb2.WatchOwnRequest(resume_token=news[2].resume_token)
    )
    assert [await first(resumed) for _ in range(3)] == news[3:]
    await stub.Publish(service.publish_request())
    assert await first(whole) == await first(resumed)
    theirs = service.referrals(NEVADA).WatchOwn(
        referral_pb2.WatchOwnRequest(resume_token=news[2].resume_token)
    )
    assert (await refused(theirs.read())).reason == "MALFORMED"


# --- ends -----------------------------------------------------------------------------


async def end_of(stream: Any) -> Refused:
    """Reads a stream to its end, which is an error."""

    async def all_of_it() -> None:
        async for _ in stream:
            pass

    async with asyncio.timeout(20):
        return await refused(all_of_it())


LockOut: TypeAlias = Callable[[Service, str], Coroutine[Any, Any, None]]


async def suspend(service: Service, name: str) -> None:
    await service.suspend(name)


async def revoke(service: Service, name: str) -> None:
    await service.revoke_certificate(name, service.identity(name).fingerprint)


async def drain(service: Service, name: str) -> None:
    # Not so long that the streams would find out by themselves.
    await service.app.drain(3)


@pytest.mark.parametrize(
    ("lock_out", "reason"),
    [
        (suspend, "MEMBER_SUSPENDED"),
        (revoke, "CERTIFICATE_REVOKED"),
        (drain, "DRAINING"),
    ],
)
async def test_open_streams_end_at_once(
    service: Service, lock_out: LockOut, reason: str
) -> None:
    stub = service.referrals(STATE_POLICE)
    await stub.Publish(to_nevada(service, publisher=STATE_POLICE))
    receiving, watching = (
        receive(service),
        stub.WatchOwn(referral_pb2.WatchOwnRequest()),
    )
    await service.referrals(HOTLINE).Publish(service.publish_request())
    for stream in (receiving, watching):
        # Two messages each; then there is nothing more to say.
        await first(stream)
        await first(stream)
    ending = asyncio.create_task(lock_out(service, STATE_POLICE))
    for stream in (receiving, watching):
        assert (await end_of(stream)).reason == reason
    await ending


async def test_a_stream_ends_with_its_certificate_without_anybody_doing_anything(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.referrals(HOTLINE).Publish(service.publish_request())
    stream = receive(service)
    await first(stream)
    service.clock.advance(31 * 24 * 3600)
    assert (await end_of(stream)).reason == "NOT_AUTHENTICATED"


async def test_a_download_stops_in_the_middle_when_its_caller_is_suspended(
    service: Service,
) -> None:
    request = service.publish_request(content=os.urandom(20 * MIB))
    sealed, request.sealed_content = request.sealed_content, b""
    hotline = service.referrals(HOTLINE)
    await hotline.PutContent(upload(sealed))
    await hotline.Publish(request)
    get = referral_pb2.GetContentRequest(referral_id=id_of(request))
    download = service.referrals(STATE_POLICE).GetContent(get)
    await first(download)
    await service.suspend(STATE_POLICE)
    assert (await end_of(download)).reason == "MEMBER_SUSPENDED"
    get_view = referral_pb2.GetReferralRequest(referral_id=id_of(request))
    (delivery,) = (await hotline.GetReferral(get_view)).referral.deliveries
    assert delivery.state == vocabulary_pb2.DELIVERY_STATE_ACCEPTED


async def test_an_upload_stops_when_its_caller_is_suspended(service: Service) -> None:
    async def slowly() -> AsyncIterator[referral_pb2.PutContentRequest]:
        parts = upload(os.urandom(MIB))
        yield await anext(parts)
        yield await anext(parts)
        await service.suspend(HOTLINE)
        async for part in parts:
            yield part

    answer = await refused(service.referrals(HOTLINE).PutContent(slowly()))
    assert answer.reason == "MEMBER_SUSPENDED"


async def test_a_role_that_was_taken_away_ends_the_stream(service: Service) -> None:
    await service.referrals(HOTLINE).Publish(service.publish_request())
    stream = receive(service)
    await first(stream)
    entry = service.app.ledger.directory.entry(STATE_POLICE).proto
    del entry.roles[:]
    entry.roles.append(vocabulary_pb2.ROLE_PUBLISHER)
    kind = statement_pb2.DIRECTORY_CHANGE_KIND_UPDATED
    await service.world.change(kind, entry)
    answer = await end_of(stream)
    assert (answer.code, answer.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "ROLE_REQUIRED",
    )
