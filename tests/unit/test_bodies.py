"""The shape of each body: what is required, and how long it may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.bodies import check_body, check_jurisdiction
from onward.core.errors import MalformedError
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.support.chain_builder import HOTLINE, OHIO, established

EXCHANGE = established()
REFERRAL = EXCHANGE.publish(HOTLINE, OHIO)
OTHER_ID = EXCHANGE.new_id()


def link(**fields: Any) -> statement_pb2.ReferralLink:
    right: dict[str, Any] = {
        "kind": statement_pb2.REFERRAL_LINK_KIND_SUPPLEMENT_OF,
        "referral_id": OTHER_ID,
        "referral_digest": bytes(32),
    }
    return statement_pb2.ReferralLink(**(right | fields))


def answer(**body: Any) -> statement_pb2.Statement:
    """Returns a statement of a chain with a body."""
    return statement_pb2.Statement(referral_id=OTHER_ID, previous=bytes(32), **body)


def referral(edit: Callable[[Any], object]) -> statement_pb2.Statement:
    """Returns a well-formed referral after an edit of its body."""
    message = statement_pb2.Statement()
    message.CopyFrom(REFERRAL.statement.message)
    edit(message.referral)
    return message


def setting(**fields: Any) -> Callable[[Any], object]:
    """Returns an edit that sets plain fields."""

    def edit(body: Any) -> None:
        for name, value in fields.items():
            setattr(body, name, value)

    return edit


def refusal(message: statement_pb2.Statement) -> str:
    """Returns the field for which a statement is refused."""
    with pytest.raises(MalformedError) as error:
        check_body(message)
    assert error.value.reason_name == "MALFORMED"
    return error.value.field


def test_a_referral_that_is_well_formed() -> None:
    check_body(REFERRAL.statement.message)


IMMINENT = vocabulary_pb2.URGENCY_IMMINENT_DANGER
MINOR = vocabulary_pb2.URGENCY_MINOR
STATUTE = vocabulary_pb2.DISCLOSURE_BASIS_STATUTE


@pytest.mark.parametrize(
    "edit",
    [
        setting(urgency=IMMINENT, urgency_reason="companion holds her ID"),
        setting(basis=STATUTE, basis_citation="22 USC 7105"),
        setting(urgency=99),
        setting(urgency_reason="x" * 200),
        lambda body: body.recipients.extend(f"{OHIO}-{n}" for n in range(15)),
        lambda body: body.links.extend([link()] * 16),
        lambda body: body.links.append(
            link(kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF)
        ),
        lambda body: body.intake_numbers.extend(range(1, 65)),
        lambda body: body.markings.extend(["IVIC"] * 16),
        lambda body: body.markings.append("M" * 32),
        lambda body: setattr(body.jurisdiction, "county_fips", "39049"),
        lambda body: setattr(body.jurisdiction, "code", "GB-ENG"),
        lambda body: body.consent.recipients.append(OHIO),
    ],
)
def test_what_a_referral_may_be(edit: Callable[[Any], object]) -> None:
    check_body(referral(edit))


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (lambda body: body.ClearField("recipients"), "recipients"),
        (
            lambda body: body.recipients.extend(f"{OHIO}-{n}" for n in range(16)),
            "recipients",
        ),
        (lambda body: body.recipients.append(OHIO), "recipients"),
        (lambda body: body.recipients.append(EXCHANGE.exchange), "recipients[1]"),
        (setting(urgency=0), "urgency"),
        (setting(basis=0), "basis"),
        (setting(reporter_type=0), "reporter_type"),
        (setting(subject_age_group=0), "subject_age_group"),
        (setting(trafficking_type=0), "trafficking_type"),
        (setting(channel=0), "channel"),
        (setting(urgency=IMMINENT), "urgency_reason"),
        (setting(urgency=MINOR, urgency_reason="  "), "urgency_reason"),
        (setting(urgency_reason="x" * 201), "urgency_reason"),
        (setting(urgency_reason="two\nlines"), "urgency_reason"),
        (setting(basis=STATUTE), "basis_citation"),
        (
            setting(basis=vocabulary_pb2.DISCLOSURE_BASIS_COURT_ORDER),
            "basis_citation",
        ),
        (setting(basis_citation="x" * 201), "basis_citation"),
        (lambda body: setattr(body.consent, "scope", "x" * 65), "consent.scope"),
        (
            lambda body: body.consent.recipients.extend([OHIO] * 17),
            "consent.recipients",
        ),
        (lambda body: body.ClearField("jurisdiction"), "jurisdiction.code"),
        (lambda body: setattr(body.jurisdiction, "code", "Ohio"), "jurisdiction.code"),
        (lambda body: setattr(body.jurisdiction, "code", "US"), "jurisdiction.code"),
        (
            lambda body: setattr(body.jurisdiction, "county_fips", "3904"),
            "jurisdiction.county_fips",
        ),
        (setting(content_digest=bytes(31)), "content_digest"),
        (setting(content_size=0), "content_size"),
        (setting(content_size=-1), "content_size"),
        (lambda body: body.ClearField("expire_time"), "expire_time"),
        (lambda body: body.ClearField("tip_received_time"), "tip_received_time"),
        (
            lambda body: body.expire_time.CopyFrom(Timestamp(seconds=2**62)),
            "expire_time",
        ),
        (
            lambda body: body.tip_received_time.CopyFrom(Timestamp(nanos=-1)),
            "tip_received_time",
        ),
        (
            lambda body: body.consent.expire_time.CopyFrom(Timestamp(seconds=2**62)),
            "consent.expire_time",
        ),
        (lambda body: body.links.extend([link()] * 17), "links"),
        (
            lambda body: body.links.extend(
                [link(kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF)] * 2
            ),
            "links",
        ),
        (lambda body: body.links.append(link(kind=0)), "links[0].kind"),
        (lambda body: body.links.append(link(referral_id="x")), "links[0].referral_id"),
        (
            lambda body: body.links.append(link(referral_id=OTHER_ID.upper())),
            "links[0].referral_id",
        ),
        (
            lambda body: body.links.append(link(referral_digest=b"")),
            "links[0].referral_digest",
        ),
        (lambda body: body.intake_numbers.extend(range(1, 66)), "intake_numbers"),
        (lambda body: body.intake_numbers.extend([1, 2, 1]), "intake_numbers"),
        (lambda body: body.intake_numbers.extend([1, 0]), "intake_numbers[1]"),
        (lambda body: body.markings.extend(["M"] * 17), "markings"),
        (lambda body: body.markings.append("M" * 33), "markings[0]"),
    ],
)
def test_what_a_referral_may_not_be(edit: Callable[[Any], object], field: str) -> None:
    assert refusal(referral(edit)) == f"referral.{field}"


def test_a_referral_begins_its_own_chain() -> None:
    message = referral(lambda _: None)
    message.referral_id = OTHER_ID
    assert refusal(message) == "referral_id"
    message.referral_id, message.previous = message.id, bytes(32)
    assert refusal(message) == "previous"


DIGEST_MISMATCH = vocabulary_pb2.CONTENT_CHECK_DIGEST_MISMATCH
RETAINED = vocabulary_pb2.RETRACTION_ACTION_RETAINED_LEGAL_DUTY
RESTRICTED = vocabulary_pb2.RETRACTION_ACTION_RESTRICTED
CONSENT = vocabulary_pb2.RETRACTION_REASON_CONSENT_WITHDRAWN
LATER = vocabulary_pb2.OutcomeCode.ValueType(99)
NO_CAPACITY = vocabulary_pb2.DECLINE_REASON_NO_CAPACITY

Received = statement_pb2.Received
Acknowledgment = statement_pb2.Acknowledgment
Decline = statement_pb2.Decline
Transfer = statement_pb2.Transfer
RetractionReply = statement_pb2.RetractionReply


@pytest.mark.parametrize(
    "body",
    [
        {"received": Received(content_digest=bytes(32), check=DIGEST_MISMATCH)},
        {"acknowledgment": Acknowledgment(reader_role="watch officer")},
        {"taking": statement_pb2.Taking()},
        {"decline": Decline(reason=NO_CAPACITY)},
        {"decline": Decline(reason=NO_CAPACITY, suggested_agency=OHIO)},
        {"transfer": Transfer(child_referral_id=OTHER_ID, child_digest=bytes(32))},
        {"outcome": statement_pb2.Outcome(code=LATER)},
        {"retraction": statement_pb2.Retraction(reason=CONSENT)},
        {"retraction_reply": RetractionReply(action=RESTRICTED)},
        {"retraction_reply": RetractionReply(action=RETAINED, citation="28 CFR 23")},
    ],
)
def test_answers_that_are_well_formed(body: dict[str, Any]) -> None:
    check_body(answer(**body))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (
            {"received": Received(content_digest=b"", check=DIGEST_MISMATCH)},
            "received.content_digest",
        ),
        ({"received": Received(content_digest=bytes(32))}, "received.check"),
        ({"acknowledgment": Acknowledgment()}, "acknowledgment.reader_role"),
        (
            {"acknowledgment": Acknowledgment(reader_role=" ")},
            "acknowledgment.reader_role",
        ),
        (
            {"acknowledgment": Acknowledgment(reader_role="x" * 65)},
            "acknowledgment.reader_role",
        ),
        ({"decline": Decline()}, "decline.reason"),
        (
            {"transfer": Transfer(child_referral_id="x", child_digest=bytes(32))},
            "transfer.child_referral_id",
        ),
        (
            {"transfer": Transfer(child_referral_id=OTHER_ID, child_digest=bytes(31))},
            "transfer.child_digest",
        ),
        ({"outcome": statement_pb2.Outcome(closes=True)}, "outcome.code"),
        ({"retraction": statement_pb2.Retraction()}, "retraction.reason"),
        ({"retraction_reply": RetractionReply()}, "retraction_reply.action"),
        (
            {"retraction_reply": RetractionReply(action=RETAINED)},
            "retraction_reply.citation",
        ),
        (
            {
                "retraction_reply": RetractionReply(
                    action=RESTRICTED, citation="x" * 201
                )
            },
            "retraction_reply.citation",
        ),
    ],
)
def test_answers_that_are_not(body: dict[str, Any], field: str) -> None:
    assert refusal(answer(**body)) == field


def test_a_suggested_agency_is_a_name() -> None:
    with pytest.raises(MalformedError, match="SPIFFE"):
        check_body(answer(decline=Decline(reason=NO_CAPACITY, suggested_agency="FBI")))


@pytest.mark.parametrize(
    "kind", ["acceptance", "rejection", "handover", "taking", "erasure"]
)
def test_every_answer_names_its_referral_and_what_it_answers(kind: str) -> None:
    message = statement_pb2.Statement(previous=bytes(32))
    getattr(message, kind).SetInParent()
    assert refusal(message) == "referral_id"
    message.referral_id = OTHER_ID
    check_body(message)
    message.previous = b""
    assert refusal(message) == "previous"


@pytest.mark.parametrize("kind", ["directory_change", "key_change", "audit_access"])
def test_statements_about_no_referral_need_none(kind: str) -> None:
    message = statement_pb2.Statement()
    getattr(message, kind).SetInParent()
    check_body(message)


@pytest.mark.parametrize("code", ["US-OH", "GB-ENG", "FR-75", "US-1"])
def test_codes_of_subdivisions(code: str) -> None:
    check_jurisdiction(code, "jurisdiction")


@pytest.mark.parametrize(
    "code", ["", "US", "us-oh", "US-", "US-OHIO", "US_OH", "US-OH\n"]
)
def test_codes_of_nothing(code: str) -> None:
    with pytest.raises(MalformedError) as error:
        check_jurisdiction(code, "jurisdiction")
    assert error.value.field == "jurisdiction"
