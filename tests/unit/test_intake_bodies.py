"""The shape of what is said about intakes, and of what is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.bodies import MAX_REVIEW, PROVISIONAL, check_body
from onward.core.errors import MalformedError
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.support.chain_builder import HOTLINE, NEVADA, OHIO, established, timestamp

EXCHANGE = established().exchange
V = vocabulary_pb2
MADE = datetime(2026, 11, 2, 3, tzinfo=UTC)
ONE, OTHER = (f"019a4220-0000-7000-8000-00000000000{n}" for n in (1, 2))
DIGEST = bytes(32)
NEVER = Timestamp(seconds=2**62)


def intake(**fields: Any) -> statement_pb2.Statement:
    right: dict[str, Any] = {
        "number": 7,
        "number_in_jurisdiction": 2,
        "urgency": V.URGENCY_ROUTINE,
        "channel": V.CHANNEL_CALL,
        "reporter_type": V.REPORTER_TYPE_ANONYMOUS,
        "subject_age_group": V.AGE_GROUP_ADULT,
        "trafficking_type": V.TRAFFICKING_TYPE_LABOR,
        "jurisdiction": statement_pb2.Jurisdiction(code="US-OH"),
        "received_time": timestamp(MADE - timedelta(hours=1)),
        "content_commitment": DIGEST,
    }
    body = statement_pb2.Intake(**(right | fields))
    return statement_pb2.Statement(issuer=HOTLINE, previous=DIGEST, intake=body)


def about(**body: Any) -> statement_pb2.Statement:
    """Returns a statement about an intake."""
    return statement_pb2.Statement(
        issuer=HOTLINE, made_time=timestamp(MADE), previous=DIGEST, **body
    )


def withholding(**fields: Any) -> statement_pb2.Statement:
    right: dict[str, Any] = {
        "intake_number": 7,
        "reason": V.WITHHOLD_REASON_VICTIM_DECLINED,
        "approver_role": "shift supervisor",
    }
    return about(withholding=statement_pb2.Withholding(**(right | fields)))


def hold(**fields: Any) -> statement_pb2.Statement:
    right: dict[str, Any] = {
        "intake_number": 7,
        "approver_role": "shift supervisor",
        "reason": "the caller rings back in the morning",
    }
    return about(hold=statement_pb2.Hold(**(right | fields)))


def link(**fields: Any) -> statement_pb2.Statement:
    """Returns that an intake is a duplicate of an earlier one."""
    right: dict[str, Any] = {
        "intake_number": 7,
        "same_as": DIGEST,
        "same_as_intake_number": 4,
    }
    return about(link=statement_pb2.Link(**(right | fields)))


def link_of_referrals(**fields: Any) -> statement_pb2.Statement:
    right: dict[str, Any] = {"same_as": DIGEST, "same_as_referral_id": OTHER}
    body = statement_pb2.Link(**(right | fields))
    return statement_pb2.Statement(referral_id=ONE, previous=DIGEST, link=body)


def due_of_a_delivery(**fields: Any) -> statement_pb2.Due:
    right: dict[str, Any] = {
        "kind": V.DEADLINE_KIND_DELIVER,
        "due_time": timestamp(MADE),
        "holder": OHIO,
        "holder_role": V.HOLDER_ROLE_RECIPIENT,
        "recipient": OHIO,
    }
    return statement_pb2.Due(**(right | fields))


def due_of_an_intake(**fields: Any) -> statement_pb2.Due:
    right: dict[str, Any] = {
        "kind": V.DEADLINE_KIND_PASS_ON,
        "due_time": timestamp(MADE),
        "holder": HOTLINE,
        "holder_role": V.HOLDER_ROLE_PUBLISHER,
        "hotline": HOTLINE,
        "intake_number": 7,
    }
    return statement_pb2.Due(**(right | fields))


def alarm(kind: str, due: statement_pb2.Due) -> statement_pb2.Statement:
    """Returns a warning or a breach."""
    body = {"warning": statement_pb2.Warning, "breach": statement_pb2.Breach}[kind]
    message = statement_pb2.Statement(
        issuer=EXCHANGE,
        previous=DIGEST,
        referral_id="" if due.intake_number else ONE,
    )
    getattr(message, kind).CopyFrom(body(due=due))
    return message


def refusal(message: statement_pb2.Statement) -> str:
    """Returns the field for which a statement is refused."""
    with pytest.raises(MalformedError) as error:
        check_body(message)
    return error.value.field


# --- intakes


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"number": 1, "number_in_jurisdiction": 1},
        {"jurisdiction": statement_pb2.Jurisdiction(code="US")},
        {"jurisdiction": statement_pb2.Jurisdiction(code="US-OH", county_fips="39049")},
        {"urgency": V.URGENCY_MINOR, "urgency_reason": "a pupil of fifteen"},
        {"urgency": 99, "channel": 99},
        {"test": True},
    ],
)
def test_what_an_intake_may_be(fields: dict[str, Any]) -> None:
    check_body(intake(**fields))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"number": 0}, "number"),
        ({"number": -1}, "number"),
        ({"number": 2**53}, "number"),
        ({"number_in_jurisdiction": 0}, "number_in_jurisdiction"),
        ({"number_in_jurisdiction": 2**53}, "number_in_jurisdiction"),
        ({"urgency": 0}, "urgency"),
        ({"channel": 0}, "channel"),
        ({"reporter_type": 0}, "reporter_type"),
        ({"subject_age_group": 0}, "subject_age_group"),
        ({"trafficking_type": 0}, "trafficking_type"),
        ({"urgency": V.URGENCY_IMMINENT_DANGER}, "urgency_reason"),
        ({"urgency": V.URGENCY_MINOR, "urgency_reason": " "}, "urgency_reason"),
        ({"urgency_reason": "x" * 201}, "urgency_reason"),
        ({"jurisdiction": None}, "jurisdiction.code"),
        (
            {"jurisdiction": statement_pb2.Jurisdiction(code="Ohio")},
            "jurisdiction.code",
        ),
        ({"jurisdiction": statement_pb2.Jurisdiction(code="*")}, "jurisdiction.code"),
        (
            {"jurisdiction": statement_pb2.Jurisdiction(code="US", county_fips="1")},
            "jurisdiction.county_fips",
        ),
        ({"received_time": None}, "received_time"),
        ({"received_time": NEVER}, "received_time"),
        ({"content_commitment": b""}, "content_commitment"),
        ({"content_commitment": bytes(31)}, "content_commitment"),
    ],
)
def test_what_an_intake_may_not_be(fields: dict[str, Any], field: str) -> None:
    assert refusal(intake(**fields)) == f"intake.{field}"


def test_an_intake_has_no_referral_and_the_first_answers_nothing() -> None:
    message = intake()
    message.previous = b""
    check_body(message)
    message.referral_id = ONE
    assert refusal(message) == "referral_id"


# --- withholdings and holds


def test_provisional_reasons_are_those_that_may_end() -> None:
    names = {V.WithholdReason.Name(reason) for reason in PROVISIONAL}
    assert names == {
        "WITHHOLD_REASON_CONSENT_PENDING",
        "WITHHOLD_REASON_SAFETY_RISK",
        "WITHHOLD_REASON_INSUFFICIENT_LOCATION",
        "WITHHOLD_REASON_DECONFLICTION_HOLD",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"reason": V.WITHHOLD_REASON_LEGAL_BAR, "citation": "34 USC 12291(b)(2)"},
        {"reason": V.WITHHOLD_REASON_PRIVILEGED, "citation": "Ohio R. Evid. 501"},
        {"reason": 99},
        {"review_time": timestamp(MADE + timedelta(days=1))},
        *(
            {"reason": reason, "review_time": timestamp(MADE + timedelta(days=3))}
            for reason in sorted(PROVISIONAL)
        ),
    ],
)
def test_what_a_withholding_may_be(fields: dict[str, Any]) -> None:
    check_body(withholding(**fields))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"intake_number": 0}, "intake_number"),
        ({"reason": 0}, "reason"),
        ({"reason": V.WITHHOLD_REASON_DUPLICATE}, "reason"),
        ({"approver_role": ""}, "approver_role"),
        ({"approver_role": "  "}, "approver_role"),
        ({"approver_role": "x" * 65}, "approver_role"),
        ({"reason": V.WITHHOLD_REASON_LEGAL_BAR}, "citation"),
        ({"reason": V.WITHHOLD_REASON_PRIVILEGED, "citation": " "}, "citation"),
        ({"citation": "x" * 201}, "citation"),
        *(({"reason": reason}, "review_time") for reason in sorted(PROVISIONAL)),
        ({"review_time": NEVER}, "review_time"),
    ],
)
def test_what_a_withholding_may_not_be(fields: dict[str, Any], field: str) -> None:
    assert refusal(withholding(**fields)) == f"withholding.{field}"


@pytest.mark.parametrize(
    ("after", "allowed"),
    [
        (timedelta(days=-1), False),
        (timedelta(0), False),
        (timedelta(seconds=1), True),
        (timedelta(days=180), True),
        (timedelta(days=180, seconds=1), False),
    ],
)
@pytest.mark.parametrize(
    "reason",
    [V.WITHHOLD_REASON_SAFETY_RISK, V.WITHHOLD_REASON_VICTIM_DECLINED],
)
def test_a_review_comes_after_the_withholding_and_within_half_a_year(
    after: timedelta, allowed: bool, reason: V.WithholdReason.ValueType
) -> None:
    assert timedelta(days=180) == MAX_REVIEW
    message = withholding(reason=reason, review_time=timestamp(MADE + after))
    if allowed:
        check_body(message)
    else:
        assert refusal(message) == "withholding.review_time"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"intake_number": -1}, "intake_number"),
        ({"approver_role": ""}, "approver_role"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"reason": "two\nlines"}, "reason"),
    ],
)
def test_what_a_hold_may_not_be(fields: dict[str, Any], field: str) -> None:
    check_body(hold())
    assert refusal(hold(**fields)) == f"hold.{field}"


# --- links


def test_links_of_both_uses() -> None:
    check_body(link())
    check_body(link(same_as_intake_number=0, same_as_referral_id=OTHER))
    check_body(link_of_referrals())


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (link(same_as=b""), "same_as"),
        (link(same_as_intake_number=0), "same_as_referral_id"),
        (link(same_as_referral_id=OTHER), "same_as_referral_id"),
        (link(intake_number=-7), "intake_number"),
        (link(same_as_intake_number=7), "same_as_intake_number"),
        (link(same_as_intake_number=8), "same_as_intake_number"),
        (link(same_as_intake_number=-1), "same_as_intake_number"),
        (
            link(same_as_intake_number=0, same_as_referral_id="x"),
            "same_as_referral_id",
        ),
        (link_of_referrals(same_as=bytes(31)), "same_as"),
        (link_of_referrals(same_as_referral_id=ONE), "same_as_referral_id"),
        (link_of_referrals(same_as_referral_id=""), "same_as_referral_id"),
        (
            link_of_referrals(same_as_referral_id="", same_as_intake_number=4),
            "same_as_intake_number",
        ),
    ],
)
def test_links_of_neither(message: statement_pb2.Statement, field: str) -> None:
    assert refusal(message) == f"link.{field}"


# --- what is due


@pytest.mark.parametrize("kind", ["warning", "breach"])
@pytest.mark.parametrize(
    "due",
    [
        due_of_a_delivery(),
        due_of_a_delivery(holder=EXCHANGE, holder_role=V.HOLDER_ROLE_EXCHANGE),
        due_of_a_delivery(holder=HOTLINE, holder_role=V.HOLDER_ROLE_PUBLISHER),
        due_of_a_delivery(kind=V.DEADLINE_KIND_OUTCOME),
        due_of_a_delivery(kind=99),
        due_of_an_intake(),
        due_of_an_intake(kind=V.DEADLINE_KIND_REVIEW),
    ],
)
def test_what_may_be_due(kind: str, due: statement_pb2.Due) -> None:
    check_body(alarm(kind, due))


@pytest.mark.parametrize("kind", ["warning", "breach"])
@pytest.mark.parametrize(
    ("due", "field"),
    [
        (due_of_a_delivery(kind=0), "kind"),
        (due_of_a_delivery(kind=V.DEADLINE_KIND_PASS_ON), "kind"),
        (due_of_an_intake(kind=V.DEADLINE_KIND_DELIVER), "kind"),
        (due_of_a_delivery(due_time=None), "due_time"),
        (due_of_an_intake(due_time=NEVER), "due_time"),
        (due_of_a_delivery(holder_role=0), "holder_role"),
        (due_of_a_delivery(holder=NEVADA), "holder"),
        (
            due_of_a_delivery(holder=OHIO, holder_role=V.HOLDER_ROLE_EXCHANGE),
            "holder",
        ),
        (due_of_an_intake(holder=OHIO), "holder"),
        (
            due_of_an_intake(holder=HOTLINE, holder_role=V.HOLDER_ROLE_RECIPIENT),
            "holder",
        ),
        (due_of_a_delivery(recipient=EXCHANGE), "recipient"),
        (due_of_an_intake(recipient=OHIO), "recipient"),
        (due_of_a_delivery(hotline=HOTLINE), "hotline"),
        (due_of_an_intake(intake_number=-7), "intake_number"),
    ],
)
def test_what_cannot_be_due(kind: str, due: statement_pb2.Due, field: str) -> None:
    assert refusal(alarm(kind, due)) == f"{kind}.due.{field}"


# --- what each is about


def rejection(number: int) -> statement_pb2.Statement:
    return about(rejection=statement_pb2.Rejection(intake_number=number))


@pytest.mark.parametrize(
    "message",
    [
        withholding(),
        hold(),
        link(),
        alarm("warning", due_of_an_intake()),
        alarm("breach", due_of_an_intake()),
        rejection(7),
    ],
)
def test_what_is_about_an_intake_answers_it_and_no_referral(
    message: statement_pb2.Statement,
) -> None:
    check_body(message)
    with_referral, first = copy(message), copy(message)
    with_referral.referral_id = ONE
    assert refusal(with_referral) == "referral_id"
    first.ClearField("previous")
    assert refusal(first) == "previous"


@pytest.mark.parametrize(
    "message",
    [
        link_of_referrals(),
        alarm("warning", due_of_a_delivery()),
        alarm("breach", due_of_a_delivery()),
    ],
)
def test_what_is_about_a_referral_names_it_and_answers_something(
    message: statement_pb2.Statement,
) -> None:
    check_body(message)
    without_referral, first = copy(message), copy(message)
    without_referral.ClearField("referral_id")
    assert refusal(without_referral) == "referral_id"
    first.ClearField("previous")
    assert refusal(first) == "previous"


def test_a_rejection_is_of_one_of_both() -> None:
    assert refusal(rejection(0)) == "referral_id"
    assert refusal(rejection(-7)) == "rejection.intake_number"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"policy_digest": DIGEST}, "policy_version"),
        ({"policy_version": "2026-11"}, "policy_digest"),
    ],
)
def test_a_policy_has_a_version_and_a_digest(
    fields: dict[str, Any], field: str
) -> None:
    right = statement_pb2.PolicyChange(policy_version="2026-11", policy_digest=DIGEST)
    check_body(statement_pb2.Statement(policy_change=right))
    wrong = statement_pb2.PolicyChange(**fields)
    found = refusal(statement_pb2.Statement(policy_change=wrong))
    assert found == f"policy_change.{field}"


def copy(message: statement_pb2.Statement) -> statement_pb2.Statement:
    copied = statement_pb2.Statement()
    copied.CopyFrom(message)
    return copied
