"""What a recipient can rely on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import grpc
import pytest

from onward import _channel
from onward.client import Client, Incoming, Invalid, Published, Retracted
from onward.core.errors import (
    ForbiddenError,
    OnwardError,
    Reason,
    StateError,
    UnavailableError,
    VerificationError,
)
from onward.core.keys import StatementPrivateKey
from onward.core.sealing import ContentPrivateKey, seal_content
from onward.core.statements import (
    STATEMENT_TYPE,
    parse_statement,
    sign_jws,
    statement_digest,
)
from onward.testing import sample_routing, sample_tip
from onward.v1 import log_pb2, referral_pb2, statement_pb2, vocabulary_pb2
from tests.support.chain_builder import HOTLINE, NEVADA, OHIO, UTAH
from tests.support.fake_exchange import Failure, FakeExchange, running, to_proto

NOT_OURS = vocabulary_pb2.DECLINE_REASON_NOT_OUR_JURISDICTION
WITHDRAWN = vocabulary_pb2.RETRACTION_REASON_CONSENT_WITHDRAWN
DRAINING = Failure(
    grpc.StatusCode.UNAVAILABLE,
    UnavailableError(Reason.ERROR_REASON_DRAINING, "shutting down"),
)


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[FakeExchange]:
    async with running(tmp_path) as exchange:
        yield exchange


@pytest.fixture
async def hotline(exchange: FakeExchange) -> AsyncIterator[Client]:
    async with opened(exchange, HOTLINE) as client:
        yield client


@pytest.fixture
async def ohio(exchange: FakeExchange) -> AsyncIterator[Client]:
    async with opened(exchange, OHIO) as client:
        yield client


def opened(exchange: FakeExchange, name: str) -> AbstractAsyncContextManager[Client]:
    """Opens a member's client on the exchange's clock."""
    return Client.open(exchange.home(name), clock=lambda: exchange.now, deadline=5)


async def receive_one(
    client: Client, *, confirm: bool = True
) -> Incoming | Invalid | Retracted:
    """Returns what comes first."""
    async with aclosing(client.receive(confirm=confirm)) as items:
        return await anext(items)


async def receive_tip(client: Client, *, confirm: bool = True) -> Incoming:
    """Returns the tip that comes first."""
    item = await receive_one(client, confirm=confirm)
    assert isinstance(item, Incoming)
    return item


def kinds(exchange: FakeExchange, referral_id: str) -> list[str]:
    """Returns the kinds of statement of a custody chain, in the log's order."""
    return [item.statement.body_kind for item in exchange.builder.chain(referral_id)]


def answered(exchange: FakeExchange, referral_id: str) -> list[str]:
    """Returns for each statement of a chain the kind that it answers."""
    chain = exchange.builder.chain(referral_id)
    by_digest = {item.digest: item.statement.body_kind for item in chain}
    return [by_digest.get(item.statement.message.previous, "") for item in chain]


async def test_opens_and_confirms_what_arrives(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    published = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    item = await receive_tip(ohio)
    assert item.tip == sample_tip()
    assert item.referral.to_proto() == published.referral.to_proto()
    assert item.attempt == 1
    assert item.traceparent.startswith("00-1111")
    received = exchange.builder.log[-1].statement.message.received
    assert received.check == vocabulary_pb2.CONTENT_CHECK_VERIFIED
    assert received.content_digest == published.referral.message.referral.content_digest
    assert kinds(exchange, item.referral_id)[2:] == ["handover", "received"]


async def test_confirms_nothing_that_it_was_told_not_to(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    item = await receive_tip(ohio, confirm=False)
    assert exchange.calls["SubmitStatement"] == 0
    first, second = await item.confirm(), await item.confirm()
    assert first is second is item.received
    assert exchange.calls["SubmitStatement"] == 1


async def test_each_statement_answers_the_one_before(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    item = await receive_tip(ohio)
    await item.acknowledge("watch officer")
    await item.take()
    await item.report_outcome(vocabulary_pb2.OUTCOME_CODE_ASSIGNED)
    await item.report_outcome(
        vocabulary_pb2.OUTCOME_CODE_WELFARE_CHECK_DONE, closes=True
    )
    assert not exchange.calls["GetReferral"]
    links = zip(
        kinds(exchange, item.referral_id),
        answered(exchange, item.referral_id),
        strict=True,
    )
    assert list(links)[3:] == [
        ("received", "handover"),
        ("acknowledgment", "received"),
        ("taking", "acknowledgment"),
        ("outcome", "taking"),
        ("outcome", "outcome"),
    ]


async def test_another_process_goes_on_where_one_stopped(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    referral_id = (await receive_tip(ohio)).referral_id
    async with opened(exchange, OHIO) as other:
        await other.acknowledge(referral_id, "watch officer")
    async with opened(exchange, OHIO) as other:
        await other.take(referral_id)
    async with opened(exchange, OHIO) as other:
        code = vocabulary_pb2.OUTCOME_CODE_UNFOUNDED
        await other.report_outcome(referral_id, code, closes=True)
    assert answered(exchange, referral_id)[-3:] == [
        "received",
        "acknowledgment",
        "taking",
    ]


async def test_goes_on_from_what_another_desk_logged(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    item = await receive_tip(ohio)
    async with opened(exchange, OHIO) as desk:
        await desk.acknowledge(item.referral_id, "detective")
    taking = await item.take()
    acknowledgment = exchange.builder.chain(item.referral_id)[-2]
    assert taking.message.previous == acknowledgment.digest


async def test_a_desk_that_receives_late_changes_nothing(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    item = await receive_tip(ohio)
    await item.acknowledge("watch officer")
    await exchange.deliver(OHIO, item.referral_id)
    async with opened(exchange, OHIO) as desk:
        again = await receive_tip(desk)
        assert again.attempt == 2
        assert kinds(exchange, item.referral_id)[-1] == "received"
        await desk.decline(item.referral_id, NOT_OURS)
    assert answered(exchange, item.referral_id)[-1] == "acknowledgment"


async def test_says_where_a_delivery_stands_when_a_verb_is_too_early(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    published = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    with pytest.raises(StateError, match="ACCEPTED") as caught:
        await ohio.acknowledge(published.referral_id, "watch officer")
    assert caught.value.metadata["state"] == "ACCEPTED"
    await receive_tip(ohio)
    with pytest.raises(StateError, match="RECEIVED"):
        await ohio.take(published.referral_id)
    assert exchange.calls["SubmitStatement"] == 1


async def test_fetches_content_that_does_not_come_along(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    exchange.separate_content = True
    tip = sample_tip()
    tip.attachments.add(data=os.urandom(1_200_000))
    await hotline.publish(tip, **sample_routing(OHIO))
    exchange.failures["GetContent"] = [DRAINING]
    assert (await receive_tip(ohio)).tip == tip
    assert exchange.calls["GetContent"] >= 2


async def test_passes_on_to_the_next_what_was_retracted_while_it_was_fetched(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    exchange.separate_content = True
    await hotline.publish(sample_tip("NH-1"), **sample_routing(OHIO))
    await hotline.publish(sample_tip("NH-2"), **sample_routing(OHIO))
    gone = StateError(Reason.ERROR_REASON_STATE_FORBIDS, "retracted")
    exchange.failures["GetContent"] = [
        Failure(grpc.StatusCode.FAILED_PRECONDITION, gone)
    ]
    assert (await receive_tip(ohio)).tip.reference == "NH-2"


async def test_passes_on_to_the_next_what_another_desk_has_answered_meanwhile(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    await hotline.publish(sample_tip("NH-1"), **sample_routing(OHIO))
    await hotline.publish(sample_tip("NH-2"), **sample_routing(OHIO))
    declined = StateError(Reason.ERROR_REASON_STATE_FORBIDS, "declined")
    exchange.failures["SubmitStatement"] = [
        Failure(grpc.StatusCode.FAILED_PRECONDITION, declined)
    ]
    assert (await receive_tip(ohio)).tip.reference == "NH-2"


# --- what does not hold ---------------------------------------------------------------


async def test_content_that_was_changed_is_reported(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    def change(response: referral_pb2.ReceiveResponse) -> referral_pb2.ReceiveResponse:
        if response.delivery.sealed_content:
            changed = bytearray(response.delivery.sealed_content)
            changed[-1] ^= 1
            response.delivery.sealed_content = bytes(changed)
        return response

    exchange.tamper["Receive"] = change
    published = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    item = await receive_one(ohio)
    assert isinstance(item, Invalid)
    assert item.check == vocabulary_pb2.CONTENT_CHECK_DIGEST_MISMATCH
    received = exchange.builder.log[-1].statement.message.received
    assert received.check == vocabulary_pb2.CONTENT_CHECK_DIGEST_MISMATCH
    assert received.content_digest != published.referral.message.referral.content_digest
    await item.decline(vocabulary_pb2.DECLINE_REASON_UNREADABLE)
    assert answered(exchange, item.referral_id)[-1] == "received"
    assert ohio.home.content(item.referral_id) is None


async def test_content_sealed_to_somebody_else_is_reported(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    exchange.content_keys[OHIO] = ContentPrivateKey.generate()
    exchange._list_content_key(OHIO)
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    item = await receive_one(ohio)
    assert isinstance(item, Invalid)
    assert item.check == vocabulary_pb2.CONTENT_CHECK_CANNOT_OPEN


async def test_content_in_another_format_is_reported(
    exchange: FakeExchange, ohio: Client
) -> None:
    await publish_by_hand(exchange, content=b"\xff not a tip")
    item = await receive_one(ohio)
    assert isinstance(item, Invalid)
    assert item.check == vocabulary_pb2.CONTENT_CHECK_UNREADABLE


async def test_a_publisher_without_a_valid_key_is_reported(
    exchange: FakeExchange, ohio: Client
) -> None:
    await publish_by_hand(exchange, key=StatementPrivateKey.generate())
    item = await receive_one(ohio)
    assert isinstance(item, Invalid)
    assert item.check == vocabulary_pb2.CONTENT_CHECK_SIGNATURE_INVALID
    assert exchange.builder.log[-1].statement.body_kind == "received"


async def publish_by_hand(
    exchange: FakeExchange,
    *,
    content: bytes | None = None,
    key: StatementPrivateKey | None = None,
) -> None:
    """Publishes as the hotline what its client never would."""
    referral_id = exchange.builder.new_id()
    keys = {OHIO: exchange.content_keys[OHIO].public}
    tip = sample_tip().SerializeToString() if content is None else content
    sealed = seal_content(tip, referral_id, keys, os.urandom)
    template = exchange.builder.referral(HOTLINE, OHIO).message.referral
    template.content_digest = sha256(sealed).digest()
    template.content_size = len(sealed)
    referral = exchange.builder.sign(
        HOTLINE, key=key, id=referral_id, referral_id=referral_id, referral=template
    )
    exchange.builder.append(referral, exchange.builder.acceptance(referral))
    exchange.content[template.content_digest] = sealed
    await exchange.deliver(OHIO, referral_id)


@pytest.mark.parametrize(
    "change",
    [
        {"recipient": UTAH},
        {"certificate_fingerprint": bytes(32)},
        {"content_digest": bytes(32)},
    ],
)
async def test_an_exchange_that_logs_another_handover_is_not_believed(
    exchange: FakeExchange, hotline: Client, ohio: Client, change: dict[str, object]
) -> None:
    def forge(response: referral_pb2.ReceiveResponse) -> referral_pb2.ReceiveResponse:
        if response.WhichOneof("event") == "handover":
            honest = parse_statement(response.handover.handover.statement).message
            for name, value in change.items():
                setattr(honest.handover, name, value)
            forged = exchange.builder.sign(
                exchange.builder.exchange,
                referral_id=honest.referral_id,
                previous=exchange.builder.chain(honest.referral_id)[1],
                handover=honest.handover,
            )
            response.handover.handover.CopyFrom(
                to_proto(exchange.builder.append(forged))
            )
        return response

    exchange.tamper["Receive"] = forge
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    with pytest.raises(VerificationError, match="another handover"):
        await receive_one(ohio)
    assert not exchange.calls["SubmitStatement"]


async def test_an_acceptance_of_another_referral_is_not_believed(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    other = await hotline.publish(sample_tip(), **sample_routing(UTAH))

    def swap(response: referral_pb2.ReceiveResponse) -> referral_pb2.ReceiveResponse:
        if response.WhichOneof("event") == "delivery":
            response.delivery.acceptance.CopyFrom(other.acceptance.to_proto())
        return response

    exchange.tamper["Receive"] = swap
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    with pytest.raises(VerificationError, match="answers another"):
        await receive_one(ohio)


# --- streams --------------------------------------------------------------------------


async def test_receives_on_after_the_stream_has_ended(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    items = ohio.receive()
    await hotline.publish(sample_tip("NH-1"), **sample_routing(OHIO))
    first = await anext(items)
    calls = exchange.calls["Receive"]
    exchange.failures["Receive"] = [DRAINING, DRAINING]
    await exchange.end_streams()
    await hotline.publish(sample_tip("NH-2"), **sample_routing(OHIO))
    second = await anext(items)
    await items.aclose()
    assert isinstance(first, Incoming)
    assert isinstance(second, Incoming)
    assert [first.tip.reference, second.tip.reference] == ["NH-1", "NH-2"]
    assert exchange.calls["Receive"] == calls + 3


async def test_a_delivery_without_its_handover_is_forgotten_with_its_stream(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    seen = 0

    def lose_first_handover(
        response: referral_pb2.ReceiveResponse,
    ) -> referral_pb2.ReceiveResponse:
        nonlocal seen
        seen += response.WhichOneof("event") == "handover"
        if response.WhichOneof("event") == "handover" and seen == 1:
            checkpoint = exchange.builder.checkpoint()
            heartbeat = referral_pb2.Heartbeat(checkpoint=checkpoint)
            return referral_pb2.ReceiveResponse(heartbeat=heartbeat)
        return response

    exchange.tamper["Receive"] = lose_first_handover
    published = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    items = ohio.receive()
    waiting = asyncio.ensure_future(anext(items))
    while not seen:  # noqa: ASYNC110 - the fake only counts
        await asyncio.sleep(0.01)
    await exchange.end_streams()
    await exchange.deliver(OHIO, published.referral_id)
    item = await waiting
    await items.aclose()
    assert isinstance(item, Incoming)
    assert item.attempt == 2


async def test_a_silent_stream_is_opened_again(
    exchange: FakeExchange,
    hotline: Client,
    ohio: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_channel, "STREAM_SILENCE", 0.05)
    items = ohio.receive()
    waiting = asyncio.ensure_future(anext(items))
    while exchange.calls["Receive"] < 3:  # noqa: ASYNC110 - the fake only counts
        await asyncio.sleep(0.01)
    monkeypatch.setattr(_channel, "STREAM_SILENCE", 2)
    # A stream with the old patience may be on its way, and the fake delivers once.
    patient = exchange.calls["Receive"] + 2
    while exchange.calls["Receive"] < patient:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    assert isinstance(await waiting, Incoming)
    await items.aclose()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, Reason.ERROR_REASON_ROLE_REQUIRED),
        (grpc.StatusCode.PERMISSION_DENIED, Reason.ERROR_REASON_MEMBER_SUSPENDED),
    ],
)
async def test_a_person_must_look_when_receiving_is_forbidden(
    exchange: FakeExchange,
    ohio: Client,
    code: grpc.StatusCode,
    reason: Reason.ValueType,
) -> None:
    exchange.failures["Receive"] = [Failure(code, OnwardError(reason, "no"))]
    with pytest.raises(ForbiddenError) as caught:
        await receive_one(ohio)
    assert caught.value.reason == reason
    assert exchange.calls["Receive"] == 1


async def test_ends_when_nothing_comes_any_more(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    for number in range(3):
        await hotline.publish(sample_tip(f"NH-{number}"), **sample_routing(OHIO))
    received = [item async for item in ohio.receive(idle_timeout=0.3)]
    assert len(received) == 3


async def test_an_exchange_that_is_not_there_is_not_idle(
    exchange: FakeExchange,
) -> None:
    home = exchange.home(OHIO)
    exchange.failures["GetCheckpoint"] = [DRAINING] * 1000
    async with Client.open(home, deadline=0.3) as client:
        with pytest.raises(UnavailableError):
            await anext(client.receive(idle_timeout=0.1))


async def test_a_heartbeat_is_checked_like_everything_else(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    def beat(response: referral_pb2.ReceiveResponse) -> referral_pb2.ReceiveResponse:
        forged = exchange.builder.checkpoint().replace("national", "international")
        heartbeat = referral_pb2.Heartbeat(checkpoint=forged)
        return referral_pb2.ReceiveResponse(heartbeat=heartbeat)

    exchange.tamper["Receive"] = beat
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    with pytest.raises(VerificationError) as caught:
        await receive_one(ohio)
    assert caught.value.reason == Reason.ERROR_REASON_NOTE_UNTRUSTED


# --- retraction -----------------------------------------------------------------------


async def retracted(hotline: Client, ohio: Client) -> tuple[Published, Retracted]:
    """Publishes, receives and retracts a referral."""
    published = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    await receive_tip(ohio)
    await hotline.retract(published.referral_id, WITHDRAWN)
    item = await receive_one(ohio)
    assert isinstance(item, Retracted)
    return published, item


async def test_a_retraction_is_answered(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    published, item = await retracted(hotline, ohio)
    assert item.referral_id == published.referral_id
    assert item.retraction.message.retraction.reason == WITHDRAWN
    await item.reply(vocabulary_pb2.RETRACTION_ACTION_RESTRICTED)
    assert kinds(exchange, item.referral_id)[-1] == "retraction_reply"
    assert answered(exchange, item.referral_id)[-1] == "retraction"
    assert ohio.home.content(item.referral_id)


async def test_destroying_destroys_the_copy_of_the_home_as_well(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    _, item = await retracted(hotline, ohio)
    action = vocabulary_pb2.RETRACTION_ACTION_DESTROYED
    await ohio.reply_to_retraction(item.referral_id, action)
    assert ohio.home.content(item.referral_id) is None


async def test_a_retraction_is_shown_once_though_each_stream_brings_it(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    await retracted(hotline, ohio)
    items = ohio.receive()
    assert isinstance(await anext(items), Retracted)
    await exchange.end_streams()
    await hotline.publish(sample_tip("NH-2"), **sample_routing(OHIO))
    assert isinstance(await anext(items), Incoming)
    await items.aclose()


async def test_only_the_publisher_retracts(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    published = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    await receive_tip(ohio)
    forged = exchange.builder.sign(
        UTAH,
        referral_id=published.referral_id,
        previous=exchange.builder.chain(published.referral_id)[0],
        retraction=statement_pb2.Retraction(reason=WITHDRAWN),
    )
    exchange.builder.append(forged)
    exchange.retracted[OHIO].append(forged.jws)
    with pytest.raises(VerificationError, match="publisher's retraction"):
        await receive_one(ohio)


# --- passing on -----------------------------------------------------------------------


async def test_passes_a_tip_on(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    published = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    item = await receive_tip(ohio)
    await item.acknowledge("watch officer")
    urgency = vocabulary_pb2.URGENCY_TIME_SENSITIVE
    transferred = await item.transfer([UTAH], urgency=urgency, jurisdiction="US-UT")
    child = transferred.child.referral.message.referral
    (link,) = child.links
    assert link.kind == statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF
    assert link.referral_id == published.referral_id
    assert link.referral_digest == published.referral.digest
    assert child.basis == published.referral.message.referral.basis
    assert child.expire_time == published.referral.message.referral.expire_time
    assert (child.urgency, child.jurisdiction.code) == (urgency, "US-UT")
    assert transferred.transfer.message.transfer.child_digest == (
        transferred.child.referral.digest
    )
    async with opened(exchange, UTAH) as utah:
        assert (await receive_tip(utah)).tip == sample_tip()
    assert ohio.home.content(item.referral_id) is None


async def test_passes_a_tip_on_as_what_was_signed_whatever_its_content_says(
    exchange: FakeExchange, ohio: Client
) -> None:
    tip = sample_tip()
    tip.test = True
    await publish_by_hand(exchange, content=tip.SerializeToString())
    item = await receive_tip(ohio)
    await item.acknowledge("watch officer")
    transferred = await item.transfer([UTAH])
    assert not transferred.child.referral.message.referral.test


async def test_passes_on_after_declining_with_the_copy_that_it_kept(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    item = await receive_tip(ohio)
    await item.acknowledge("watch officer")
    await item.decline(NOT_OURS, suggested_agency=UTAH)
    async with opened(exchange, OHIO) as later:
        await later.transfer(item.referral_id, [UTAH])
    assert answered(exchange, item.referral_id)[-1] == "decline"
    assert not exchange.calls["GetContent"]


async def test_does_not_pass_on_what_it_has_not_read(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    item = await receive_tip(ohio)
    with pytest.raises(StateError, match="RECEIVED"):
        await item.transfer([NEVADA])
    assert exchange.calls["SubmitStatement"] == 1


# --- content --------------------------------------------------------------------------


async def test_fetches_content_again_when_no_copy_is_kept(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    item = await receive_tip(ohio)
    assert await ohio.get_content(item.referral_id) == sample_tip()
    assert exchange.calls["GetContent"] == 0
    ohio.home.forget_content(item.referral_id)
    assert await ohio.get_content(item.referral_id) == sample_tip()
    assert exchange.calls["GetContent"] == 1
    assert ohio.home.content(item.referral_id)


async def test_keeps_content_only_while_it_may_be_needed(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    routing = sample_routing(OHIO)
    routing["expire_time"] = exchange.now + timedelta(days=1)
    await hotline.publish(sample_tip("NH-1"), **routing)
    expiring = await receive_tip(ohio)
    await hotline.publish(sample_tip("NH-2"), **sample_routing(OHIO))
    closing = await receive_tip(ohio)
    await closing.acknowledge("watch officer")
    await closing.take()
    await closing.report_outcome(vocabulary_pb2.OUTCOME_CODE_ASSIGNED)
    assert ohio.home.content(closing.referral_id)
    await closing.report_outcome(
        vocabulary_pb2.OUTCOME_CODE_VICTIM_LOCATED_SAFE, closes=True
    )
    assert ohio.home.content(closing.referral_id) is None
    assert ohio.home.content(expiring.referral_id)
    exchange.builder.wait(days=2)
    assert not [item async for item in ohio.receive(idle_timeout=0.1)]
    assert ohio.home.content(expiring.referral_id) is None


async def test_what_was_confirmed_is_on_disk(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    await hotline.publish(sample_tip(), **sample_routing(OHIO))
    item = await receive_tip(ohio)
    kept = [
        parse_statement(logged.statement).body_kind
        for logged in ohio.home.receipts(item.referral_id)
    ]
    assert kept == ["referral", "acceptance", "handover", "received"]


async def test_shows_what_is_proven(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    published = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    await receive_tip(ohio)
    shown = await hotline.show(published.referral_id)
    assert [item.kind for item in shown.statements] == kinds(
        exchange, published.referral_id
    )

    def add_stranger(
        response: referral_pb2.GetReferralResponse,
    ) -> referral_pb2.GetReferralResponse:
        stranger = log_pb2.LoggedStatement()
        stranger.CopyFrom(to_proto(exchange.builder.publish(HOTLINE, OHIO)))
        response.referral.statements.append(stranger)
        return response

    exchange.tamper["GetReferral"] = add_stranger
    with pytest.raises(VerificationError, match="another referral"):
        await hotline.show(published.referral_id)


async def test_what_a_later_version_says_does_not_hide_the_rest(
    exchange: FakeExchange, hotline: Client, ohio: Client
) -> None:
    published = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    await receive_tip(ohio)
    shown = await hotline.show(published.referral_id)
    last = exchange.builder.log[-1].statement
    message = statement_pb2.Statement()
    message.CopyFrom(last.message)
    message.ClearField("received")
    payload = message.SerializeToString() + b"\xfa\x03\x00"  # body 63, empty
    key = exchange.builder.parties[OHIO].key
    jws = sign_jws(payload, STATEMENT_TYPE, key)
    exchange.builder.append(replace(last, jws=jws, digest=statement_digest(jws)))
    assert (await hotline.show(published.referral_id)).statements == shown.statements
    async with opened(exchange, OHIO) as desk:
        await desk.acknowledge(published.referral_id, "watch officer")
    seen = []
    watching = hotline.watch_own()
    while "acknowledgment" not in seen:
        seen.append((await anext(watching)).statement.kind)
    await watching.aclose()
    assert len(seen) == 5
