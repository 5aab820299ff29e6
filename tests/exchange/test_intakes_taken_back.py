"""Taking referrals back: which intakes are open again, and until when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from onward.core.statements import parse_statement
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.publishing import Sending
from onward_server.exchange.receipts import Logged
from onward_server.storage.contract import IntakeRow
from tests.support.world import (
    HOTLINE,
    STATE_POLICE,
    TRUST_DOMAIN,
    Party,
    World,
)

V = vocabulary_pb2
CHILD_WELFARE = f"spiffe://{TRUST_DOMAIN}/agency/ohio-child-welfare"
OPEN = V.INTAKE_STATE_OPEN
PASSED_ON = V.INTAKE_STATE_PASSED_ON
BOTH = (STATE_POLICE, CHILD_WELFARE)
MINOR: dict[str, Any] = {
    "urgency": V.URGENCY_MINOR,
    "subject_age_group": V.AGE_GROUP_13_17,
}
HOUR = 3600
HOUR_MS = HOUR * 1000


@pytest.fixture
async def staffed(world: World) -> World:
    """An exchange with child welfare, too."""
    await world.join(Party(CHILD_WELFARE, V.MEMBER_KIND_CHILD_WELFARE, ("US-OH",)))
    return world


async def publish(world: World, *numbers: int, **fields: Any) -> Sending:
    """Publishes a referral that answers intakes."""
    sending = world.referral(intake_numbers=numbers, **fields)
    await world.publishing.publish(world.caller(HOTLINE), sending)
    return sending


async def retract(world: World, sending: Sending) -> None:
    reason = V.RETRACTION_REASON_CONSENT_WITHDRAWN
    body = statement_pb2.Retraction(reason=reason)
    referral_id = parse_statement(sending.jws).message.id
    await world.answer(HOTLINE, sending.jws, referral_id, retraction=body)


async def erase(world: World, sending: Sending) -> None:
    referral_id = parse_statement(sending.jws).message.id
    await world.erasing.by_publisher(world.caller(HOTLINE), referral_id)


async def fetch(world: World, sending: Sending, recipient: str) -> Logged:
    """The content goes out; returns the handover."""
    referral_id = parse_statement(sending.jws).message.id
    parts = world.delivering.content(world.caller(recipient), referral_id)
    *_, handover = [part async for part in parts]
    assert isinstance(handover, Logged)
    return handover


async def receive(
    world: World, sending: Sending, recipient: str = STATE_POLICE
) -> None:
    """The recipient's machine says what it found."""
    handover = await fetch(world, sending, recipient)
    message = parse_statement(sending.jws).message
    body = statement_pb2.Received(
        content_digest=message.referral.content_digest,
        check=V.CONTENT_CHECK_VERIFIED,
    )
    await world.answer(recipient, handover.jws, message.id, received=body)


async def row(world: World, number: int = 1) -> IntakeRow:
    found = await world.store.intake(HOTLINE, number)
    assert found is not None
    return found


async def said_of(world: World, number: int = 1) -> list[str]:
    """Returns the kinds of what was said about an intake."""
    entries = await world.store.intake_statements(HOTLINE, number)
    return [entry.kind for entry in entries]


@pytest.mark.parametrize("take_back", [retract, erase])
async def test_what_nobody_received_is_open_again(
    staffed: World, take_back: Any
) -> None:
    await staffed.register()
    begun = await row(staffed)
    await take_back(staffed, await publish(staffed, 1))
    again = await row(staffed)
    assert again == begun
    assert (again.state, again.due_ms) == (OPEN, again.received_ms + 24 * HOUR_MS)


async def test_what_expired_unread_is_open_again(staffed: World) -> None:
    await staffed.register()
    end = to_timestamp(staffed.clock.ms + HOUR_MS)
    await publish(staffed, 1, expire_time=end)
    staffed.clock.advance(HOUR)
    await staffed.erasing.sweep()
    assert (await row(staffed)).state == OPEN


@pytest.mark.parametrize("take_back", [retract, erase])
async def test_what_somebody_received_stays_passed_on(
    staffed: World, take_back: Any
) -> None:
    """Of two recipients it was one, and the other one never will."""
    await staffed.register(**MINOR)
    sending = await publish(staffed, 1, recipients=BOTH, **MINOR)
    await receive(staffed, sending)
    await take_back(staffed, sending)
    assert (await row(staffed)).state == PASSED_ON


@pytest.mark.parametrize(("take_back", "after"), [(retract, OPEN), (erase, PASSED_ON)])
async def test_what_had_gone_out_may_still_be_received_unless_it_is_retracted(
    staffed: World, take_back: Any, after: int
) -> None:
    await staffed.register()
    sending = await publish(staffed, 1)
    await fetch(staffed, sending, STATE_POLICE)
    await take_back(staffed, sending)
    assert (await row(staffed)).state == after


async def test_a_receipt_after_the_retraction_passes_nothing_on(staffed: World) -> None:
    await staffed.register()
    sending = await publish(staffed, 1)
    handover = await fetch(staffed, sending, STATE_POLICE)
    await retract(staffed, sending)
    message = parse_statement(sending.jws).message
    body = statement_pb2.Received(
        content_digest=message.referral.content_digest, check=V.CONTENT_CHECK_VERIFIED
    )
    await staffed.answer(STATE_POLICE, handover.jws, message.id, received=body)
    assert (await row(staffed)).state == OPEN


async def test_another_referral_that_reaches_as_many_keeps_it_passed_on(
    staffed: World,
) -> None:
    await staffed.register()
    first, second = await publish(staffed, 1), await publish(staffed, 1)
    await retract(staffed, first)
    assert (await row(staffed)).state == PASSED_ON
    await retract(staffed, second)
    assert (await row(staffed)).state == OPEN


async def test_both_must_have_a_tip_about_a_minor(staffed: World) -> None:
    await staffed.register(**MINOR)
    await publish(staffed, 1, recipients=(CHILD_WELFARE,), **MINOR)
    await retract(staffed, await publish(staffed, 1, **MINOR))
    assert (await row(staffed)).state == OPEN
    await publish(staffed, 1, **MINOR)
    assert (await row(staffed)).state == PASSED_ON


async def test_it_is_taken_back_once_from_all_its_intakes(staffed: World) -> None:
    """Erased first and retracted then, it is counted no less than once less."""
    for _ in range(2):
        await staffed.register()
    first, second = await publish(staffed, 1, 2), await publish(staffed, 1)
    await erase(staffed, first)
    await retract(staffed, first)
    assert [(await row(staffed, n)).state for n in (1, 2)] == [PASSED_ON, OPEN]
    await retract(staffed, second)
    assert (await row(staffed)).state == OPEN


async def test_its_time_runs_from_when_the_tip_was_received(staffed: World) -> None:
    await staffed.register(**MINOR)
    sending = await publish(staffed, 1, recipients=BOTH, **MINOR)
    staffed.clock.advance(25 * HOUR)
    await retract(staffed, sending)
    await staffed.alarming.turn()
    assert await said_of(staffed) == ["intake", "breach"]
    breach = (await staffed.store.intake_statements(HOTLINE, 1))[-1]
    due = parse_statement(breach.jws).message.breach.due
    assert due.due_time == to_timestamp((await row(staffed)).received_ms + 24 * HOUR_MS)
    assert due.kind == V.DEADLINE_KIND_PASS_ON


async def test_it_is_decided_again(staffed: World) -> None:
    """Consent was withdrawn: the tip is withheld then, and that ends it."""
    intake = await staffed.register()
    await retract(staffed, await publish(staffed, 1))
    body = statement_pb2.Withholding(
        intake_number=1,
        reason=V.WITHHOLD_REASON_CONSENT_WITHDRAWN,
        approver_role="lead",
    )
    await staffed.decide(intake, withholding=body)
    assert (await row(staffed)).state == V.INTAKE_STATE_WITHHELD


async def test_publishing_and_retracting_at_once_leave_it_open(staffed: World) -> None:
    await staffed.register()
    sending = staffed.referral(intake_numbers=[1])
    done = await asyncio.gather(
        staffed.publishing.publish(staffed.caller(HOTLINE), sending),
        retract(staffed, sending),
    )
    assert len(done) == 2
    assert (await row(staffed)).state == OPEN
