"""What a publisher can rely on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider

from onward.client import (
    Client,
    DisclosureForbiddenError,
    PreparedReferral,
    Published,
)
from onward.core.errors import (
    ConflictError,
    MalformedError,
    OnwardError,
    QuotaError,
    Reason,
    StateError,
    TooLargeError,
    UnavailableError,
    VerificationError,
)
from onward.core.sealing import ContentPrivateKey, parse_sealed
from onward.core.statements import parse_statement
from onward.testing import sample_routing, sample_tip
from onward.v1 import (
    content_pb2,
    log_pb2,
    referral_pb2,
    statement_pb2,
    vocabulary_pb2,
)
from tests.support.chain_builder import HOTLINE, OHIO, UTAH, timestamp
from tests.support.fake_exchange import Failure, FakeExchange, running

UNAVAILABLE = Failure(
    grpc.StatusCode.UNAVAILABLE,
    UnavailableError(Reason.ERROR_REASON_STORAGE_UNAVAILABLE, "disk full"),
)


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[FakeExchange]:
    async with running(tmp_path) as exchange:
        yield exchange


@pytest.fixture
async def hotline(exchange: FakeExchange) -> AsyncIterator[Client]:
    home = exchange.home(HOTLINE)
    async with Client.open(home, clock=lambda: exchange.now) as client:
        yield client


def entries(exchange: FakeExchange, kind: str) -> list[statement_pb2.Statement]:
    """Returns what was logged of a kind."""
    return [
        item.statement.message
        for item in exchange.builder.log
        if item.statement.body_kind == kind
    ]


async def test_signs_what_the_publisher_decides_and_what_the_tip_says(
    exchange: FakeExchange, hotline: Client
) -> None:
    tip, routing = sample_tip(), sample_routing(OHIO, UTAH)
    routing["markings"] = ["LEI"]
    routing["intake_numbers"] = [7]
    published = await hotline.publish(tip, **routing)
    (statement,) = entries(exchange, "referral")
    body = statement.referral
    assert statement.issuer == HOTLINE
    assert statement.id == statement.referral_id == published.referral_id
    assert list(body.recipients) == [OHIO, UTAH]
    assert body.jurisdiction.code == "US-OH"
    assert body.channel == tip.channel
    assert body.reporter_type == tip.reporter_type
    assert body.tip_received_time == tip.received_time
    assert body.test
    assert list(body.markings) == ["LEI"]
    assert list(body.intake_numbers) == [7]
    assert body.expire_time.ToDatetime(exchange.now.tzinfo) > exchange.now


async def test_the_exchange_cannot_read_what_it_gets(
    exchange: FakeExchange, hotline: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    (content,) = exchange.content.values()
    assert b"Motel" not in content
    assert [key.recipient for key in parse_sealed(content).keys] == [OHIO]


async def test_names_the_newest_checkpoint_that_it_has_checked(
    exchange: FakeExchange, hotline: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    size = len(exchange.builder.log)
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    assert entries(exchange, "referral")[1].seen.size == size


async def test_content_does_not_outlive_the_consent(
    exchange: FakeExchange, hotline: Client
) -> None:
    end = timestamp(exchange.now + timedelta(days=30))
    consent = statement_pb2.Consent(
        state=vocabulary_pb2.CONSENT_STATE_GRANTED, expire_time=end
    )
    routing = sample_routing(OHIO)
    routing["consent"] = consent
    await hotline.publish(sample_tip(), **routing)
    assert entries(exchange, "referral")[0].referral.expire_time == end


async def test_a_tip_that_lacks_something_is_not_sent(
    exchange: FakeExchange, hotline: Client
) -> None:
    tip = sample_tip()
    tip.ClearField("received_time")
    with pytest.raises(MalformedError, match="received_time"):
        await hotline.publish(tip, **sample_routing(OHIO))
    routing = sample_routing(OHIO)
    routing["urgency_reason"] = ""
    with pytest.raises(MalformedError, match="urgency_reason"):
        await hotline.publish(sample_tip(), **routing)
    assert not exchange.calls["Publish"]


async def test_large_content_is_uploaded_first(
    exchange: FakeExchange, hotline: Client
) -> None:
    tip = sample_tip()
    attachment = content_pb2.TipAttachment(data=os.urandom(1_500_000))
    tip.attachments.append(attachment)
    exchange.failures["PutContent"] = [UNAVAILABLE]
    published = await hotline.publish(tip, **sample_routing(OHIO))
    assert exchange.calls["PutContent"] >= 2
    body = published.referral.message.referral
    assert len(exchange.content[body.content_digest]) == body.content_size


async def test_an_upload_that_is_refused_says_why(
    exchange: FakeExchange, hotline: Client
) -> None:
    tip = sample_tip()
    tip.attachments.add(data=os.urandom(1_500_000))
    error = TooLargeError("the content", 1_500_000, 1_000_000)
    refusal = Failure(grpc.StatusCode.INVALID_ARGUMENT, error)
    exchange.failures["PutContent"] = [refusal] * 100
    for _ in range(10):  # the refusal comes at any time of the upload
        with pytest.raises(TooLargeError, match="1000000"):
            await hotline.publish(tip, **sample_routing(OHIO))


async def test_repeats_the_same_bytes_until_it_is_answered(
    exchange: FakeExchange, hotline: Client
) -> None:
    exchange.failures["Publish"] = [UNAVAILABLE] * 6
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    assert exchange.calls["Publish"] == 7
    assert len(entries(exchange, "referral")) == 1


async def test_waits_as_long_as_the_exchange_asks(
    exchange: FakeExchange, hotline: Client
) -> None:
    quota = QuotaError(Reason.ERROR_REASON_QUOTA_EXCEEDED, "slow down", retry_after=60)
    exchange.failures["Publish"] = [Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, quota)]
    # A minute is past the deadline, so there is no use in waiting.
    with pytest.raises(QuotaError) as caught:
        await hotline.publish(sample_tip(), **sample_routing(OHIO))
    assert caught.value.retry_after == 60
    assert exchange.calls["Publish"] == 1


async def test_gives_up_at_the_deadline(exchange: FakeExchange) -> None:
    exchange.failures["Publish"] = [UNAVAILABLE] * 1000
    async with Client.open(
        exchange.home(HOTLINE), deadline=0.5, clock=lambda: exchange.now
    ) as client:
        with pytest.raises(UnavailableError, match="disk full"):
            await client.publish(sample_tip(), **sample_routing(OHIO))


async def test_a_prepared_referral_is_published_once_however_often_it_is_sent(
    exchange: FakeExchange, hotline: Client
) -> None:
    prepared = await hotline.prepare_referral(sample_tip(), **sample_routing(OHIO))
    assert not exchange.calls["Publish"]
    kept = PreparedReferral.from_bytes(prepared.to_bytes())
    first = await hotline.publish_prepared(prepared)
    second = await hotline.publish_prepared(kept)
    assert first == second
    assert len(entries(exchange, "referral")) == 1
    assert len(hotline.home.receipts(first.referral_id)) == 2


def test_other_bytes_are_no_prepared_referral() -> None:
    for data in (b"", b"\xff", b"\x0a\x03a.b"):
        with pytest.raises(MalformedError):
            PreparedReferral.from_bytes(data)


async def test_keeps_receipts_that_hold_without_the_exchange(
    exchange: FakeExchange, hotline: Client
) -> None:
    published = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    kept = hotline.home.receipts(published.referral_id)
    assert [parse_statement(item.statement).body_kind for item in kept] == [
        "referral",
        "acceptance",
    ]
    assert kept == [published.referral.to_proto(), published.acceptance.to_proto()]


async def test_a_batch_says_of_each_item_what_came_of_it(
    exchange: FakeExchange, hotline: Client
) -> None:
    def refuse_second(
        response: referral_pb2.PublishBatchResponse,
    ) -> referral_pb2.PublishBatchResponse:
        error = referral_pb2.ItemError(
            code=grpc.StatusCode.ALREADY_EXISTS.value[0],
            reason=Reason.ERROR_REASON_REFERRAL_ID_REUSED,
            message="the id was used",
        )
        response.results[1].CopyFrom(referral_pb2.PublishResult(error=error))
        return response

    exchange.tamper["PublishBatch"] = refuse_second
    prepared = [
        await hotline.prepare_referral(sample_tip(f"NH-{n}"), **sample_routing(OHIO))
        for n in range(3)
    ]
    first, second, third = await hotline.publish_batch(prepared)
    assert isinstance(first, Published)
    assert isinstance(second, ConflictError)
    assert second.reason == Reason.ERROR_REASON_REFERRAL_ID_REUSED
    assert isinstance(third, Published)
    assert third.referral_id == prepared[2].referral_id


async def test_a_batch_goes_out_in_calls_that_a_server_takes(
    exchange: FakeExchange, hotline: Client
) -> None:
    one = await hotline.prepare_referral(sample_tip(), **sample_routing(OHIO))
    results = await hotline.publish_batch([one] * 101)
    assert len(results) == 101
    assert exchange.calls["PublishBatch"] == 2
    tip = sample_tip()
    tip.attachments.add(data=os.urandom(900_000))
    large = await hotline.prepare_referral(tip, **sample_routing(OHIO))
    assert len(await hotline.publish_batch([large] * 4)) == 4
    assert exchange.calls["PublishBatch"] == 4
    assert await hotline.publish_batch([]) == []


async def test_seals_again_when_a_recipient_has_another_key_meanwhile(
    exchange: FakeExchange, hotline: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    exchange.content_keys[OHIO] = key = ContentPrivateKey.generate()
    exchange._list_content_key(OHIO)
    refused = StateError(Reason.ERROR_REASON_SEALED_KEYS_MISMATCH, "an old key")
    exchange.failures["Publish"] = [
        Failure(grpc.StatusCode.FAILED_PRECONDITION, refused)
    ]
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    *_, content = exchange.content.values()
    assert [seal.key_id for seal in parse_sealed(content).keys] == [key.public.key_id]


async def test_a_refusal_by_policy_comes_with_its_proof(
    exchange: FakeExchange, hotline: Client
) -> None:
    prepared = await hotline.prepare_referral(sample_tip(), **sample_routing(OHIO))
    rejection = exchange.reject(exchange.signed(prepared.referral))
    exchange.failures["Publish"] = [forbidden(rejection)]
    with pytest.raises(DisclosureForbiddenError) as caught:
        await hotline.publish_prepared(prepared)
    assert caught.value.rejection.message.rejection.rule == "victim-declined"
    assert caught.value.rejection.to_proto() in hotline.home.receipts(
        prepared.referral_id
    )


async def test_a_refusal_by_policy_without_proof_is_not_believed(
    exchange: FakeExchange, hotline: Client
) -> None:
    prepared = await hotline.prepare_referral(sample_tip(), **sample_routing(OHIO))
    other = await hotline.prepare_referral(sample_tip(), **sample_routing(OHIO))
    of_another = exchange.reject(exchange.signed(other.referral))
    for rejection in (None, of_another):
        exchange.failures["Publish"] = [forbidden(rejection)]
        with pytest.raises((MalformedError, VerificationError)):
            await hotline.publish_prepared(prepared)


def forbidden(rejection: log_pb2.LoggedStatement | None) -> Failure:
    """Returns the refusal of a referral by policy."""
    error = StateError(Reason.ERROR_REASON_DISCLOSURE_FORBIDDEN, "victim-declined")
    return Failure(grpc.StatusCode.FAILED_PRECONDITION, error, rejection)


@pytest.mark.parametrize("which", ["referral", "acceptance"])
async def test_an_answer_about_something_else_is_not_believed(
    exchange: FakeExchange, hotline: Client, which: str
) -> None:
    first = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    old = getattr(first, which).to_proto()

    def swap(response: referral_pb2.PublishResponse) -> referral_pb2.PublishResponse:
        getattr(response, which).CopyFrom(old)
        return response

    exchange.tamper["Publish"] = swap
    with pytest.raises(VerificationError) as caught:
        await hotline.publish(sample_tip(), **sample_routing(OHIO))
    assert caught.value.reason == Reason.ERROR_REASON_PREVIOUS_MISMATCH


async def test_an_acceptance_by_somebody_else_is_not_believed(
    exchange: FakeExchange, hotline: Client
) -> None:
    def forge(response: referral_pb2.PublishResponse) -> referral_pb2.PublishResponse:
        referral = parse_statement(response.referral.statement)
        forged = exchange.builder.sign(
            UTAH,
            referral_id=referral.message.id,
            previous=exchange.builder.log[-2],
            acceptance=statement_pb2.Acceptance(),
        )
        logged = exchange.builder.append(forged)
        response.acceptance.statement = logged.statement.jws
        response.acceptance.receipt = logged.receipt.format()
        return response

    exchange.tamper["Publish"] = forge
    with pytest.raises(VerificationError, match="not its acceptance"):
        await hotline.publish(sample_tip(), **sample_routing(OHIO))


async def test_a_receipt_that_does_not_hold_is_not_believed(
    exchange: FakeExchange, hotline: Client
) -> None:
    def shift(response: referral_pb2.PublishResponse) -> referral_pb2.PublishResponse:
        response.acceptance.receipt = response.referral.receipt
        return response

    exchange.tamper["Publish"] = shift
    with pytest.raises(VerificationError) as caught:
        await hotline.publish(sample_tip(), **sample_routing(OHIO))
    assert caught.value.reason == Reason.ERROR_REASON_PROOF_INVALID


async def test_the_active_span_goes_with_the_call(
    exchange: FakeExchange, hotline: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    assert "traceparent" not in exchange.metadata["Publish"]
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("publish") as span:
        await hotline.publish(sample_tip(), **sample_routing(OHIO))
    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert exchange.metadata["Publish"]["traceparent"].split("-")[1] == trace_id
    stated = f"00-{'a' * 32}-{'b' * 16}-01"
    await hotline.publish(sample_tip(), **sample_routing(OHIO), traceparent=stated)
    assert exchange.metadata["Publish"]["traceparent"] == stated


async def test_retracts(exchange: FakeExchange, hotline: Client) -> None:
    published = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    reason = vocabulary_pb2.RETRACTION_REASON_CONSENT_WITHDRAWN
    retraction = await hotline.retract(published.referral_id, reason)
    assert retraction.message.previous == published.referral.digest
    assert retraction.message.retraction.reason == reason


async def test_watches_from_where_it_stopped(
    exchange: FakeExchange, hotline: Client
) -> None:
    for number in range(3):
        await hotline.publish(sample_tip(f"NH-{number}"), **sample_routing(OHIO))
    seen = []
    token = ""
    for _ in range(6):  # each time by a new stream, as after a crash
        watching = hotline.watch_own(token)
        watched = await anext(watching)
        await watching.aclose()
        token = watched.resume_token
        seen.append(watched.statement.log_index)
    assert seen == [item.index for item in exchange.builder.log[-6:]]


async def test_watching_outlasts_the_stream(
    exchange: FakeExchange, hotline: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    exchange.failures["WatchOwn"] = [UNAVAILABLE]
    watching = hotline.watch_own()
    seen = [(await anext(watching)).statement.log_index for _ in range(2)]
    # The fake's stream has ended in good order by now; what comes next is not repeated.
    await hotline.publish(sample_tip("NH-2"), **sample_routing(OHIO))
    seen += [(await anext(watching)).statement.log_index for _ in range(2)]
    await watching.aclose()
    assert seen == [item.index for item in exchange.builder.log[-4:]]
    assert exchange.calls["WatchOwn"] >= 3


async def test_a_home_without_a_key_in_force_cannot_sign(
    exchange: FakeExchange, hotline: Client
) -> None:
    exchange.builder.rotate(HOTLINE)
    with pytest.raises(StateError) as caught:
        await hotline.publish(sample_tip(), **sample_routing(OHIO))
    assert caught.value.reason == Reason.ERROR_REASON_KEY_NOT_VALID


async def test_a_recipient_without_content_keys_is_named(
    exchange: FakeExchange, hotline: Client
) -> None:
    entry = exchange.builder.parties[UTAH].entry
    del entry.content_keys[:]
    exchange.builder.change(UTAH, statement_pb2.DIRECTORY_CHANGE_KIND_KEYS_ROTATED)
    with pytest.raises(StateError, match="utah") as caught:
        await hotline.publish(sample_tip(), **sample_routing(UTAH))
    assert caught.value.reason == Reason.ERROR_REASON_RECIPIENT_UNAVAILABLE


async def test_an_error_has_the_class_of_the_tree(
    exchange: FakeExchange, hotline: Client
) -> None:
    error = OnwardError(Reason.ERROR_REASON_INTERNAL, "failed")
    exchange.failures["Publish"] = [Failure(grpc.StatusCode.INTERNAL, error)]
    with pytest.raises(OnwardError) as caught:
        await hotline.publish(sample_tip(), **sample_routing(OHIO))
    assert type(caught.value) is OnwardError
    assert caught.value.reason == Reason.ERROR_REASON_INTERNAL
