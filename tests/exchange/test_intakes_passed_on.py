"""Passing tips on: which referrals end which intakes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from onward.core.errors import MalformedError, OnwardError, Reason
from onward.core.statements import SignedStatement, parse_statement, statement_digest
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.publishing import DisclosureForbiddenError, Sending
from onward_server.storage.contract import IntakeRow
from tests.support.world import (
    HOTLINE,
    NEVADA,
    STATE_POLICE,
    TRUST_DOMAIN,
    Party,
    World,
)

V = vocabulary_pb2
CHILD_WELFARE = f"spiffe://{TRUST_DOMAIN}/agency/ohio-child-welfare"
SHELTER = f"spiffe://{TRUST_DOMAIN}/agency/shelter"
OPEN = V.INTAKE_STATE_OPEN
PASSED_ON = V.INTAKE_STATE_PASSED_ON
WITHHELD = V.INTAKE_STATE_WITHHELD
MINOR: dict[str, Any] = {
    "urgency": V.URGENCY_MINOR,
    "subject_age_group": V.AGE_GROUP_13_17,
}
AT_WISH: dict[str, Any] = {
    "reporter_type": V.REPORTER_TYPE_POTENTIAL_VICTIM,
    "basis": V.DISCLOSURE_BASIS_VICTIM_WRITTEN_RELEASE,
    "consent": statement_pb2.Consent(state=V.CONSENT_STATE_GRANTED),
}


@pytest.fixture
async def staffed(world: World) -> World:
    """An exchange with child welfare and a service provider, too."""
    await world.join(Party(CHILD_WELFARE, V.MEMBER_KIND_CHILD_WELFARE, ("US-OH",)))
    await world.join(Party(SHELTER, V.MEMBER_KIND_SERVICE_PROVIDER, ("US-OH",)))
    return world


async def publish(world: World, *numbers: int, **fields: Any) -> Sending:
    """Publishes a referral that answers intakes."""
    sending = world.referral(intake_numbers=numbers, **fields)
    await world.publishing.publish(world.caller(HOTLINE), sending)
    return sending


async def row(world: World, number: int = 1) -> IntakeRow:
    found = await world.store.intake(HOTLINE, number)
    assert found is not None
    return found


async def withhold(world: World, intake: SignedStatement, **fields: Any) -> None:
    values: dict[str, Any] = {
        "intake_number": intake.message.intake.number,
        "reason": V.WITHHOLD_REASON_NO_TRAFFICKING_INDICATORS,
        "approver_role": "lead",
    }
    body = statement_pb2.Withholding(**(values | fields))
    await world.decide(intake, withholding=body)


async def refused(world: World, sending: Sending) -> OnwardError:
    """Publishes what must be refused; nothing of it may be logged."""
    size = world.ledger.head().size
    with pytest.raises(OnwardError) as caught:
        await world.publishing.publish(world.caller(HOTLINE), sending)
    assert world.ledger.head().size == size
    return caught.value


async def test_a_referral_ends_the_intakes_that_it_answers(staffed: World) -> None:
    for _ in range(3):
        await staffed.register()
    await publish(staffed, 3, 1)
    states = [(await row(staffed, number)).state for number in (1, 2, 3)]
    assert states == [PASSED_ON, OPEN, PASSED_ON]
    assert (await row(staffed)).due_ms == (await row(staffed)).alarm_ms == 0
    assert (await row(staffed, 2)).alarm_ms > 0


async def test_a_tip_about_a_minor_stays_open_until_both_have_it(
    staffed: World,
) -> None:
    await staffed.register(**MINOR)
    begun = await row(staffed)
    await publish(staffed, 1, **MINOR)
    between = await row(staffed)
    assert between.state == OPEN
    assert (between.due_ms, between.alarm_ms) == (begun.due_ms, begun.alarm_ms)
    await publish(staffed, 1, recipients=(CHILD_WELFARE,), **MINOR)
    assert (await row(staffed)).state == PASSED_ON


async def test_one_referral_to_both_ends_it_at_once(staffed: World) -> None:
    await staffed.register(**MINOR)
    await publish(staffed, 1, recipients=(STATE_POLICE, CHILD_WELFARE), **MINOR)
    assert (await row(staffed)).state == PASSED_ON


async def test_what_the_hotline_registered_decides_who_must_have_it(
    staffed: World,
) -> None:
    """A referral that calls a minor an adult does not end the intake."""
    await staffed.register(**MINOR)
    await publish(staffed, 1)
    assert (await row(staffed)).state == OPEN


async def test_services_do_not_end_what_is_withheld_from_the_police(
    staffed: World,
) -> None:
    intake = await staffed.register()
    await withhold(staffed, intake, reason=V.WITHHOLD_REASON_VICTIM_DECLINED)
    await publish(staffed, 1, recipients=(SHELTER,), **AT_WISH)
    assert (await row(staffed)).state == WITHHELD
    await publish(staffed, 1, **AT_WISH)
    assert (await row(staffed)).state == PASSED_ON


async def test_what_was_due_before_it_was_passed_on_is_said_first(
    staffed: World,
) -> None:
    await staffed.register(urgency=V.URGENCY_TIME_SENSITIVE)
    staffed.clock.advance(5 * 3600)
    sending = await publish(staffed, 1)
    referral = await staffed.store.find_statement(statement_digest(sending.jws))
    (_, breach) = await staffed.store.intake_statements(HOTLINE, 1)
    assert breach.kind == "breach"
    assert referral is not None
    assert breach.log_index < referral.log_index
    assert (await row(staffed)).state == PASSED_ON


async def test_a_late_referral_finds_a_missed_review(staffed: World) -> None:
    intake = await staffed.register()
    review = staffed.clock.ms + 3_600_000
    await withhold(
        staffed,
        intake,
        reason=V.WITHHOLD_REASON_SAFETY_RISK,
        review_time=to_timestamp(review),
    )
    staffed.clock.advance(3600)
    await publish(staffed, 1, recipients=(SHELTER,), **AT_WISH)
    assert (await row(staffed)).state == PASSED_ON


async def test_an_unknown_number_is_refused_and_nothing_is_logged(
    staffed: World,
) -> None:
    await staffed.register()
    answer = await refused(staffed, staffed.referral(intake_numbers=[1, 2]))
    assert answer.reason == Reason.ERROR_REASON_INTAKE_UNKNOWN
    assert answer.field == "referral.intake_numbers"
    assert answer.metadata["number"] == "2"
    assert (await row(staffed)).state == OPEN


async def test_nobody_answers_the_intakes_of_another(staffed: World) -> None:
    await staffed.register()
    basis = V.DISCLOSURE_BASIS_AGENCY_TO_AGENCY
    sending = staffed.referral(publisher=NEVADA, basis=basis, intake_numbers=[1])
    with pytest.raises(OnwardError) as caught:
        await staffed.publishing.publish(staffed.caller(NEVADA), sending)
    assert caught.value.reason == Reason.ERROR_REASON_INTAKE_UNKNOWN


@pytest.mark.parametrize("test", [True, False])
async def test_tests_and_tips_do_not_mix(staffed: World, test: bool) -> None:
    await staffed.register(test=test)
    sending = staffed.referral(intake_numbers=[1], test=not test)
    answer = await refused(staffed, sending)
    assert isinstance(answer, MalformedError)
    assert answer.field == "referral.intake_numbers"
    await publish(staffed, 1, test=test)


async def test_an_urgent_referral_is_not_refused_for_bookkeeping(
    staffed: World,
) -> None:
    await publish(staffed)


async def test_a_referral_that_the_policy_refuses_ends_nothing(staffed: World) -> None:
    await staffed.register()
    before = await row(staffed)
    with pytest.raises(DisclosureForbiddenError):
        await publish(staffed, 1, recipients=(SHELTER,))
    assert await row(staffed) == before


async def test_50_concurrent_retries_pass_on_once(staffed: World) -> None:
    await staffed.register()
    sending, caller = staffed.referral(intake_numbers=[1]), staffed.caller(HOTLINE)
    size = staffed.ledger.head().size
    done = await asyncio.gather(
        *(staffed.publishing.publish(caller, sending) for _ in range(50))
    )
    assert len(set(done)) == 1
    assert staffed.ledger.head().size == size + 2


async def test_auditors_of_an_intakes_state_see_the_referral_that_ends_it(
    staffed: World,
) -> None:
    for code in ("US-NV", "US-OH", "US-UT"):
        await staffed.register(code=code)
    sending = await publish(staffed, 1, 3)
    chain = await staffed.store.chain(parse_statement(sending.jws).message.id)
    assert {entry.places for entry in chain} == {("US-OH", "US-NV", "US-UT")}


async def test_a_child_referral_answers_no_intake(staffed: World) -> None:
    sending = await publish(staffed)
    parent = parse_statement(sending.jws)
    link = statement_pb2.ReferralLink(
        kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF,
        referral_id=parent.message.id,
        referral_digest=parent.digest,
    )
    child = staffed.referral(
        publisher=STATE_POLICE, recipients=(NEVADA,), links=(link,), intake_numbers=[1]
    )
    transfer = staffed.sign(
        STATE_POLICE,
        referral_id=parent.message.id,
        previous=parent.digest,
        transfer=statement_pb2.Transfer(
            child_referral_id=parse_statement(child.jws).message.id,
            child_digest=statement_digest(child.jws),
        ),
    )
    with pytest.raises(MalformedError) as caught:
        await staffed.submission.submit(
            staffed.caller(STATE_POLICE), transfer.jws, child
        )
    assert caught.value.field == "child.referral.intake_numbers"
