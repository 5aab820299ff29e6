"""Statements of recipients, transfers, retractions, and who may see them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest

from onward.core.errors import (
    MalformedError,
    OnwardError,
    StateError,
    UnknownError,
)
from onward.core.statements import parse_statement, statement_digest
from onward.v1 import referral_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.delivering import HandedOver, Offer
from onward_server.exchange.publishing import DisclosureForbiddenError, Sending
from onward_server.exchange.receipts import Logged
from onward_server.exchange.submission import Submitted
from tests.support.world import AUDITOR, HOTLINE, NEVADA, STATE_POLICE, World

Code = vocabulary_pb2.OutcomeCode


@dataclass(frozen=True, slots=True)
class Chain:
    """A referral that a recipient received and a person acknowledged."""

    referral_id: str
    referral: str
    received: str
    acknowledged: str


async def acknowledged(
    world: World, recipient: str = STATE_POLICE, **fields: Any
) -> Chain:
    """Publishes, delivers, and acknowledges a referral."""
    caller = world.caller(HOTLINE)
    place = world.parties[recipient].jurisdictions[0]
    referral = world.referral(
        recipients=(recipient,),
        jurisdiction=statement_pb2.Jurisdiction(code=place),
        **fields,
    )
    done = await world.publishing.publish(caller, referral)
    message = parse_statement(done.referral.jws).message
    events = world.delivering.receive(world.caller(recipient), 16, lambda: None)
    async with aclosing(events) as stream:
        offer, handover = await anext(stream), await anext(stream)
    assert isinstance(offer, Offer)
    assert isinstance(handover, HandedOver)
    got = await world.answer(
        recipient,
        handover.handover.jws,
        message.id,
        received={
            "content_digest": message.referral.content_digest,
            "check": vocabulary_pb2.CONTENT_CHECK_VERIFIED,
        },
    )
    read = await world.answer(
        recipient, got, message.id, acknowledgment={"reader_role": "watch officer"}
    )
    return Chain(message.id, done.referral.jws, got, read)


def transfer_of(
    world: World, chain: Chain, issuer: str, to: str, **fields: Any
) -> Sending:
    """Returns a child referral that passes a chain on."""
    return world.referral(
        issuer,
        (to,),
        links=[
            statement_pb2.ReferralLink(
                kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF,
                referral_id=chain.referral_id,
                referral_digest=statement_digest(chain.referral),
            )
        ],
        **{"basis": vocabulary_pb2.DISCLOSURE_BASIS_AGENCY_TO_AGENCY} | fields,
    )


def transfer(world: World, chain: Chain, issuer: str, child: Sending) -> str:
    """Returns the signed ``Transfer``."""
    return world.sign(
        issuer,
        referral_id=chain.referral_id,
        previous=statement_digest(chain.acknowledged),
        transfer={
            "child_referral_id": parse_statement(child.jws).message.id,
            "child_digest": statement_digest(child.jws),
        },
    ).jws


async def test_a_chain_ends_with_a_closing_outcome_and_may_be_reopened(
    world: World,
) -> None:
    chain = await acknowledged(world)
    place = chain.referral_id
    taken = await world.answer(STATE_POLICE, chain.acknowledged, place, taking={})
    outcome = {"code": Code.OUTCOME_CODE_WELFARE_CHECK_DONE, "closes": True}
    closed = await world.answer(STATE_POLICE, taken, place, outcome=outcome)
    further = {"code": Code.OUTCOME_CODE_ARREST_MADE}
    await world.answer(STATE_POLICE, closed, place, outcome=further)
    (delivery,) = await world.store.deliveries([place])
    assert delivery.state == vocabulary_pb2.DELIVERY_STATE_TAKEN


async def test_the_same_bytes_again_return_the_first_answer(world: World) -> None:
    chain = await acknowledged(world)
    caller = world.caller(STATE_POLICE)
    again = [
        await world.submission.submit(caller, chain.acknowledged, None)
        for _ in range(2)
    ]
    assert again[0] == again[1]
    assert again[0].statement.jws == chain.acknowledged


@pytest.mark.parametrize(
    ("body", "answers", "reason"),
    [
        ({"outcome": {"code": 1}}, "acknowledged", "PREVIOUS_MISMATCH"),
        ({"taking": {}}, "received", "PREVIOUS_MISMATCH"),
        ({"taking": {}}, "referral", "PREVIOUS_MISMATCH"),
        ({"acknowledgment": {"reader_role": "x"}}, "received", "STATE_FORBIDS"),
        ({"acknowledgment": {"reader_role": ""}}, "received", "MALFORMED"),
        ({"decline": {"reason": 0}}, "acknowledged", "MALFORMED"),
        ({"retraction_reply": {"action": 1}}, "referral", "PREVIOUS_MISMATCH"),
    ],
)
async def test_what_the_tables_do_not_allow_is_refused_and_not_logged(
    world: World, body: dict[str, object], answers: str, reason: str
) -> None:
    chain = await acknowledged(world)
    size = world.ledger.head().size
    with pytest.raises(OnwardError) as refused:
        await world.answer(
            STATE_POLICE, getattr(chain, answers), chain.referral_id, **body
        )
    assert refused.value.reason_name == reason
    assert world.ledger.head().size == size


async def test_only_a_party_may_speak_and_others_learn_nothing(world: World) -> None:
    chain = await acknowledged(world)
    for issuer, body in (
        (NEVADA, {"taking": {}}),
        (HOTLINE, {"taking": {}}),
        (STATE_POLICE, {"retraction": {"reason": 1}}),
    ):
        with pytest.raises(UnknownError) as refused:
            await world.answer(issuer, chain.acknowledged, chain.referral_id, **body)
        assert refused.value.reason_name == "REFERRAL_UNKNOWN"


async def test_a_received_of_other_content_is_refused(world: World) -> None:
    chain = await acknowledged(world)
    handover = parse_statement(chain.received).message.previous
    row = await world.store.find_statement(handover)
    assert row is not None
    body = {"content_digest": b"\0" * 32, "check": 1}
    with pytest.raises(OnwardError) as refused:
        await world.answer(STATE_POLICE, row.jws, chain.referral_id, received=body)
    assert refused.value.reason_name == "CONTENT_MISMATCH"


async def test_a_transfer_logs_child_and_transfer_together(world: World) -> None:
    chain = await acknowledged(world, NEVADA)
    child = transfer_of(world, chain, NEVADA, STATE_POLICE)
    jws = transfer(world, chain, NEVADA, child)
    size = world.ledger.head().size
    done = await world.submission.submit(world.caller(NEVADA), jws, child)
    assert world.ledger.head().size == size + 3
    assert done.child is not None
    again = await world.submission.submit(world.caller(NEVADA), jws, child)
    assert again == Submitted(done.statement, done.child)
    record = await world.records.get(world.caller(HOTLINE), chain.referral_id)
    assert record.deliveries[0].state == vocabulary_pb2.DELIVERY_STATE_TRANSFERRED


async def test_the_first_publisher_follows_the_tip_into_the_child(
    world: World,
) -> None:
    chain = await acknowledged(world, NEVADA)
    child = transfer_of(world, chain, NEVADA, STATE_POLICE)
    jws = transfer(world, chain, NEVADA, child)
    await world.submission.submit(world.caller(NEVADA), jws, child)
    child_id = parse_statement(child.jws).message.id
    seen = await world.records.get(world.caller(HOTLINE), child_id)
    assert seen.row.publisher == NEVADA
    with pytest.raises(UnknownError):
        await world.records.get(world.caller(STATE_POLICE), chain.referral_id)
    news = world.watching.watch(world.caller(HOTLINE), -1, lambda: None)
    async with aclosing(news) as stream:
        kinds = []
        while "transfer" not in kinds:
            event, _ = await anext(stream)
            assert isinstance(event, Logged)
            kinds.append(parse_statement(event.jws).body_kind)
    assert kinds.count("referral") == 2


@pytest.mark.parametrize("wrong", ["no child", "other child", "no link", "direct"])
async def test_a_transfer_that_does_not_fit_leaves_nothing(
    world: World, wrong: str
) -> None:
    chain = await acknowledged(world, NEVADA)
    child = transfer_of(world, chain, NEVADA, STATE_POLICE)
    jws = transfer(world, chain, NEVADA, child)
    size = world.ledger.head().size
    caller = world.caller(NEVADA)
    unlinked = world.referral(
        NEVADA,
        (STATE_POLICE,),
        basis=vocabulary_pb2.DISCLOSURE_BASIS_AGENCY_TO_AGENCY,
    )
    other = transfer_of(world, chain, NEVADA, STATE_POLICE)
    attempts: dict[str, Callable[[], Awaitable[object]]] = {
        "no child": lambda: world.submission.submit(caller, jws, None),
        "other child": lambda: world.submission.submit(caller, jws, other),
        "no link": lambda: world.submission.submit(
            caller, transfer(world, chain, NEVADA, unlinked), unlinked
        ),
        "direct": lambda: world.publishing.publish(caller, child),
    }
    with pytest.raises((MalformedError, UnknownError)):
        await attempts[wrong]()
    assert world.ledger.head().size == size


async def test_a_transfer_whose_child_the_policy_forbids_is_not_logged(
    world: World,
) -> None:
    chain = await acknowledged(world, NEVADA)
    child = world.referral(
        NEVADA,
        (STATE_POLICE,),
        basis=vocabulary_pb2.DISCLOSURE_BASIS_VICTIM_VERBAL_REQUEST,
        reporter_type=vocabulary_pb2.REPORTER_TYPE_POTENTIAL_VICTIM,
        consent=statement_pb2.Consent(state=vocabulary_pb2.CONSENT_STATE_WITHDRAWN),
        links=parse_statement(
            transfer_of(world, chain, NEVADA, STATE_POLICE).jws
        ).message.referral.links,
    )
    jws = transfer(world, chain, NEVADA, child)
    with pytest.raises(DisclosureForbiddenError):
        await world.submission.submit(world.caller(NEVADA), jws, child)
    (delivery,) = await world.store.deliveries([chain.referral_id])
    assert delivery.state == vocabulary_pb2.DELIVERY_STATE_ACKNOWLEDGED


async def test_a_second_retraction_is_refused(world: World) -> None:
    chain = await acknowledged(world)
    body = {"reason": vocabulary_pb2.RETRACTION_REASON_SENT_IN_ERROR}
    await world.answer(HOTLINE, chain.referral, chain.referral_id, retraction=body)
    with pytest.raises(StateError):
        await world.answer(HOTLINE, chain.referral, chain.referral_id, retraction=body)


async def test_lists_page_through_what_a_member_published_and_received(
    world: World,
) -> None:
    ids = [(await acknowledged(world)).referral_id for _ in range(5)]
    for name, side in (
        (HOTLINE, referral_pb2.REFERRAL_SIDE_PUBLISHED),
        (STATE_POLICE, referral_pb2.REFERRAL_SIDE_RECEIVED),
    ):
        got, before = [], 2**62
        while page := await world.records.page(world.caller(name), side, before, 2):
            got += [record.row.referral_id for record in page]
            before = page[-1].row.log_index
        assert got == ids[::-1]


async def test_an_auditor_sees_its_jurisdictions_and_each_look_is_logged(
    world: World,
) -> None:
    chain = await acknowledged(world)
    auditor = world.caller(AUDITOR)
    ids, more = await world.records.chains(auditor, -1, 100)
    assert (ids, more) == ([chain.referral_id], -1)
    bundle = json.loads(await world.records.bundle(auditor, chain.referral_id))
    assert "content" not in bundle
    looks = await world.store.history("audit_access", AUDITOR)
    assert [parse_statement(row.jws).message.audit_access.method for row in looks] == [
        "ListChains",
        "GetBundle",
    ]
    member = world.parties[AUDITOR].entry(world.clock.ms)
    member.jurisdictions[:] = ["US-TX"]
    await world.change(statement_pb2.DIRECTORY_CHANGE_KIND_UPDATED, member)
    with pytest.raises(UnknownError):
        await world.records.bundle(world.caller(AUDITOR), chain.referral_id)
