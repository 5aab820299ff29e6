"""Deciding about tips: withheld, held, or a duplicate."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from onward.core.errors import MalformedError, OnwardError, Reason
from onward.core.statements import SignedStatement, parse_statement, statement_digest
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.deciding import WithholdingForbiddenError
from onward_server.storage.contract import IntakeRow, intake_subject
from tests.support.world import (
    HOTLINE,
    NEVADA,
    STATE_POLICE,
    World,
    open_world,
    populate,
)

V = vocabulary_pb2
HOUR = 3600.0
OPEN = V.INTAKE_STATE_OPEN
WITHHELD = V.INTAKE_STATE_WITHHELD
DUPLICATE = V.INTAKE_STATE_DUPLICATE


def withholding(
    number: int = 1,
    reason: V.WithholdReason.ValueType = V.WITHHOLD_REASON_NO_TRAFFICKING_INDICATORS,
    **fields: Any,
) -> statement_pb2.Withholding:
    return statement_pb2.Withholding(
        intake_number=number, reason=reason, approver_role="shift supervisor", **fields
    )


def hold(number: int = 1) -> statement_pb2.Hold:
    return statement_pb2.Hold(
        intake_number=number, approver_role="shift supervisor", reason="an interpreter"
    )


def repeats(number: int, other: SignedStatement, **fields: Any) -> statement_pb2.Link:
    """Returns the link by which an intake repeats another intake."""
    values: dict[str, Any] = {
        "intake_number": number,
        "same_as": other.digest,
        "same_as_intake_number": other.message.intake.number,
    }
    return statement_pb2.Link(**(values | fields))


async def row(world: World, number: int = 1) -> IntakeRow:
    found = await world.store.intake(HOTLINE, number)
    assert found is not None
    return found


async def kinds(world: World, number: int = 1) -> list[str]:
    statements = await world.store.intake_statements(HOTLINE, number)
    return [one.kind for one in statements]


async def refusal(world: World, intake: SignedStatement, **body: Any) -> OnwardError:
    """Decides what must be refused; nothing of it may be logged."""
    size = world.ledger.head().size
    with pytest.raises(OnwardError) as caught:
        await world.decide(intake, **body)
    assert world.ledger.head().size == size
    return caught.value


async def test_a_withheld_tip_is_closed_until_it_is_decided_again(
    world: World,
) -> None:
    intake = await world.register()
    await world.decide(intake, withholding=withholding())
    found = await row(world)
    assert found.state == WITHHELD
    assert found.due_ms == found.alarm_ms == 0
    said = (await world.store.intake_statements(HOTLINE, 1))[-1]
    assert said.places == ("US-OH",)
    assert said.subject == intake_subject(HOTLINE, 1)
    assert said.referral_id == ""


async def test_a_provisional_withholding_is_due_at_its_review(world: World) -> None:
    intake = await world.register()
    review = world.clock.ms + 5 * 24 * 3600 * 1000
    body = withholding(
        reason=V.WITHHOLD_REASON_SAFETY_RISK, review_time=to_timestamp(review)
    )
    await world.decide(intake, withholding=body)
    assert (await row(world)).due_ms == review
    record = await world.intakes.get(world.caller(HOTLINE), 1)
    assert not record.overdue


async def test_a_review_that_is_missed_opens_the_tip_again(world: World) -> None:
    intake = await world.register()
    review = world.clock.ms + int(HOUR * 1000)
    body = withholding(
        reason=V.WITHHOLD_REASON_SAFETY_RISK, review_time=to_timestamp(review)
    )
    await world.decide(intake, withholding=body)
    world.clock.advance(HOUR)
    # Whoever decides late says first that the time was over.
    await world.decide(intake, withholding=withholding())
    assert await kinds(world) == ["intake", "withholding", "breach", "withholding"]
    assert (await row(world)).state == WITHHELD


async def test_a_review_that_is_over_when_it_is_stated_gives_no_more_time(
    world: World,
) -> None:
    intake = await world.register()
    body = withholding(
        reason=V.WITHHOLD_REASON_SAFETY_RISK,
        review_time=to_timestamp(world.clock.ms + 1000),
    )
    signed = world.sign(HOTLINE, previous=intake.digest, withholding=body)
    world.clock.advance(1)
    with pytest.raises(MalformedError) as caught:
        await world.deciding.decide(world.caller(HOTLINE), signed.jws)
    assert caught.value.reason == Reason.ERROR_REASON_TIME_IMPLAUSIBLE
    assert caught.value.field == "withholding.review_time"
    assert (await row(world)).state == OPEN


async def test_a_withholding_that_the_policy_forbids_is_logged_with_its_refusal(
    world: World,
) -> None:
    intake = await world.register(
        urgency=V.URGENCY_MINOR, subject_age_group=V.AGE_GROUP_13_17
    )
    before = await row(world)
    forbidden = withholding(reason=V.WITHHOLD_REASON_VICTIM_DECLINED)
    with pytest.raises(WithholdingForbiddenError) as caught:
        await world.decide(intake, withholding=forbidden)
    answer = caught.value
    assert answer.reason == Reason.ERROR_REASON_WITHHOLDING_FORBIDDEN
    assert answer.metadata["rule"] == "withholding-needs-reason"
    rejection = parse_statement(answer.rejection.jws).message
    statements = await world.store.intake_statements(HOTLINE, 1)
    assert [one.kind for one in statements] == ["intake", "withholding", "rejection"]
    assert rejection.previous == statements[1].digest
    assert rejection.referral_id == ""
    assert rejection.rejection.intake_number == 1
    assert rejection.rejection.policy_digest == world.ledger.policy.digest
    assert await row(world) == before


async def test_a_retry_of_a_forbidden_withholding_gets_the_first_refusal(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path) as world:
        await populate(world)
        intake = await world.register(subject_age_group=V.AGE_GROUP_MIXED)
        body = withholding(reason=V.WITHHOLD_REASON_CONSENT_WITHDRAWN)
        signed = world.sign(HOTLINE, previous=intake.digest, withholding=body)
        caller = world.caller(HOTLINE)
        size = world.ledger.head().size
        results = await asyncio.gather(
            *(world.deciding.decide(caller, signed.jws) for _ in range(50)),
            return_exceptions=True,
        )
        assert world.ledger.head().size == size + 2
        refused = [one for one in results if isinstance(one, WithholdingForbiddenError)]
        assert len(refused) == 50
        assert len({one.rejection for one in refused}) == 1
        clock, parties = world.clock, world.parties
    clock.advance(3 * 365 * 24 * 3600)  # every key has expired since
    async with open_world(tmp_path, clock) as world:
        world.parties = parties
        with pytest.raises(WithholdingForbiddenError) as caught:
            await world.deciding.decide(world.caller(HOTLINE), signed.jws)
        assert caught.value.rejection == refused[0].rejection


async def test_a_permitted_withholding_before_a_forbidden_one_stays_permitted(
    world: World,
) -> None:
    intake = await world.register(subject_age_group=V.AGE_GROUP_MIXED)
    body = withholding(
        reason=V.WITHHOLD_REASON_SAFETY_RISK,
        review_time=to_timestamp(world.clock.ms + 60_000),
    )
    signed = world.sign(HOTLINE, previous=intake.digest, withholding=body)
    first = await world.deciding.decide(world.caller(HOTLINE), signed.jws)
    with pytest.raises(WithholdingForbiddenError):
        await world.decide(
            intake,
            withholding=withholding(reason=V.WITHHOLD_REASON_VICTIM_DECLINED),
        )
    again = await world.deciding.decide(world.caller(HOTLINE), signed.jws)
    assert again == first


async def test_50_concurrent_retries_log_one_decision(world: World) -> None:
    intake = await world.register()
    for body in ({"hold": hold()}, {"withholding": withholding()}):
        signed = world.sign(HOTLINE, previous=intake.digest, **body)
        caller, size = world.caller(HOTLINE), world.ledger.head().size
        done = await asyncio.gather(
            *(world.deciding.decide(caller, signed.jws) for _ in range(50))
        )
        assert len(set(done)) == 1
        assert world.ledger.head().size == size + 1


async def test_a_supervisor_takes_more_time_for_a_routine_tip(world: World) -> None:
    intake = await world.register()
    received = world.clock.ms
    world.clock.advance(23 * HOUR)
    await world.decide(intake, hold=hold())
    found = await row(world)
    assert found.state == OPEN
    assert found.due_ms == received + 72 * 3600 * 1000


@pytest.mark.parametrize(
    "urgency",
    [
        V.URGENCY_IMMINENT_DANGER,
        V.URGENCY_MINOR,
        V.URGENCY_TIME_SENSITIVE,
        V.URGENCY_INFORMATIONAL,
    ],
)
async def test_tips_of_other_classes_cannot_be_held(
    world: World, urgency: V.Urgency.ValueType
) -> None:
    intake = await world.register(urgency=urgency)
    answer = await refusal(world, intake, hold=hold())
    assert answer.reason == Reason.ERROR_REASON_STATE_FORBIDS
    assert "allow no hold" in answer.message


async def test_what_is_overdue_cannot_be_held(world: World) -> None:
    intake = await world.register()
    world.clock.advance(24 * HOUR)
    answer = await refusal(world, intake, hold=hold())
    assert answer.reason == Reason.ERROR_REASON_STATE_FORBIDS
    assert "was over" in answer.message


async def test_a_withheld_tip_cannot_be_held(world: World) -> None:
    intake = await world.register()
    await world.decide(intake, withholding=withholding())
    answer = await refusal(world, intake, hold=hold())
    assert answer.reason == Reason.ERROR_REASON_INTAKE_DECIDED
    assert answer.metadata["state"] == "WITHHELD"


async def test_a_tip_that_repeats_another_ends_as_a_duplicate(world: World) -> None:
    first, second = await world.register(), await world.register()
    await world.decide(second, link=repeats(2, first))
    assert (await row(world, 2)).state == DUPLICATE
    assert (await row(world, 2)).alarm_ms == 0
    assert (await row(world, 1)).state == OPEN


async def test_a_tip_may_repeat_what_came_from_somebody_else(world: World) -> None:
    basis = V.DISCLOSURE_BASIS_AGENCY_TO_AGENCY
    sending = world.referral(publisher=NEVADA, recipients=(HOTLINE,), basis=basis)
    answer = await world.publishing.publish(world.caller(NEVADA), sending)
    referral = parse_statement(answer.referral.jws).message
    link = statement_pb2.Link(
        intake_number=1,
        same_as=statement_digest(sending.jws),
        same_as_referral_id=referral.id,
    )
    await world.decide(await world.register(), link=link)
    assert (await row(world)).state == DUPLICATE


async def test_a_link_names_a_tip_that_the_hotline_knows(world: World) -> None:
    first, second, third = [await world.register() for _ in range(3)]
    strange = world.referral(publisher=NEVADA, recipients=(STATE_POLICE,))
    await world.publishing.publish(world.caller(NEVADA), strange)
    foreign = parse_statement(strange.jws).message.id
    unknown = Reason.ERROR_REASON_INTAKE_UNKNOWN
    for link, reason in (
        (repeats(3, first, same_as=second.digest), unknown),
        (repeats(3, first, same_as_intake_number=2), unknown),
        (repeats(2, third), Reason.ERROR_REASON_MALFORMED),
        (repeats(2, second), Reason.ERROR_REASON_MALFORMED),
        (
            statement_pb2.Link(
                intake_number=3,
                same_as=statement_digest(strange.jws),
                same_as_referral_id=foreign,
            ),
            Reason.ERROR_REASON_REFERRAL_UNKNOWN,
        ),
    ):
        answer = await refusal(world, third, link=link)
        assert answer.reason == reason


async def test_a_duplicate_repeats_no_duplicate(world: World) -> None:
    first, second, third = [await world.register() for _ in range(3)]
    await world.decide(second, link=repeats(2, first))
    answer = await refusal(world, third, link=repeats(3, second))
    assert answer.reason == Reason.ERROR_REASON_INTAKE_DECIDED
    assert answer.field == "link.same_as_intake_number"


MINOR: dict[str, Any] = {
    "urgency": V.URGENCY_MINOR,
    "subject_age_group": V.AGE_GROUP_13_17,
}


async def test_a_tip_about_a_minor_does_not_end_behind_one_that_was_withheld(
    world: World,
) -> None:
    adult = await world.register()
    await world.decide(
        adult, withholding=withholding(reason=V.WITHHOLD_REASON_VICTIM_DECLINED)
    )
    minor = await world.register(**MINOR)
    answer = await refusal(world, minor, link=repeats(2, adult))
    assert answer.reason == Reason.ERROR_REASON_STATE_FORBIDS
    assert answer.field == "link.same_as"
    assert (await row(world, 2)).state == OPEN


async def test_a_tip_about_a_minor_may_repeat_another_one(world: World) -> None:
    first, second = [await world.register(**MINOR) for _ in range(2)]
    await world.decide(second, link=repeats(2, first))
    assert (await row(world, 2)).state == DUPLICATE


@pytest.mark.parametrize("taken_back", [False, True])
async def test_a_tip_of_imminent_danger_repeats_a_referral_that_the_police_have(
    world: World,
    taken_back: bool,
) -> None:
    sending = world.referral()
    await world.publishing.publish(world.caller(HOTLINE), sending)
    referral = parse_statement(sending.jws)
    if taken_back:
        error = {"reason": V.RETRACTION_REASON_SENT_IN_ERROR}
        name = referral.message.id
        await world.answer(HOTLINE, sending.jws, name, retraction=error)
    link = statement_pb2.Link(
        intake_number=1,
        same_as=referral.digest,
        same_as_referral_id=referral.message.id,
    )
    tip = await world.register(urgency=V.URGENCY_IMMINENT_DANGER)
    if taken_back:
        answer = await refusal(world, tip, link=link)
        assert answer.reason == Reason.ERROR_REASON_STATE_FORBIDS
    else:
        await world.decide(tip, link=link)
        assert (await row(world)).state == DUPLICATE


async def test_a_tip_does_not_end_as_the_duplicate_of_a_test(world: World) -> None:
    trial = await world.register(test=True)
    tip = await world.register()
    answer = await refusal(world, tip, link=repeats(2, trial))
    assert answer.field == "link.same_as"
    assert (await row(world, 2)).state == OPEN


async def test_a_decision_answers_an_intake_of_the_hotline(world: World) -> None:
    first, second = await world.register(), await world.register()
    answer = await refusal(world, first, withholding=withholding(2))
    assert answer.reason == Reason.ERROR_REASON_PREVIOUS_MISMATCH
    answer = await refusal(world, second, withholding=withholding(3))
    assert answer.reason == Reason.ERROR_REASON_INTAKE_UNKNOWN
    with pytest.raises(MalformedError):
        await world.deciding.decide(world.caller(HOTLINE), first.jws)


async def test_a_tip_that_was_passed_on_is_decided(world: World) -> None:
    first, second = await world.register(), await world.register()
    sending = world.referral(intake_numbers=[2])
    await world.publishing.publish(world.caller(HOTLINE), sending)
    for body in (
        {"withholding": withholding(2)},
        {"hold": hold(2)},
        {"link": repeats(2, first)},
    ):
        answer = await refusal(world, second, **body)
        assert answer.reason == Reason.ERROR_REASON_INTAKE_DECIDED
        assert answer.metadata["state"] == "PASSED_ON"


async def test_a_link_of_referrals_is_no_decision(world: World) -> None:
    intake = await world.register()
    link = statement_pb2.Link(same_as=bytes(32), same_as_referral_id=intake.message.id)
    answer = await refusal(world, intake, link=link)
    assert answer.reason == Reason.ERROR_REASON_MALFORMED
