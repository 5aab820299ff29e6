"""Vectors of ``body``: the shape of a body, as the comments of the contract ask for it.

And of ``commitment``, by which an intake is bound to what was told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any

from onward.core.statements import SignedStatement
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.conformance.case import Case, base64
from tests.conformance.cases.bundle_parts import small
from tests.support.chain_builder import HOTLINE, OHIO, START, timestamp

V = vocabulary_pb2
_SALT = bytes(range(32))
_MOTEL = b"A motel clerk says that a guest asked for help."
_ONE, _OTHER = (f"019a4220-0000-7000-8000-00000000000{n}" for n in (1, 2))
_DIGEST = sha256(b"digest").digest()
_DAY = timedelta(days=1)


@dataclass(slots=True)
class _Bodies:
    """Functions that make statements: their names and docstrings are the vectors'."""

    makers: list[tuple[Callable[[], SignedStatement], bool]] = field(
        default_factory=list
    )

    def right(self, maker: Callable[[], SignedStatement]) -> object:
        """Registers a statement that is well-formed."""
        self.makers.append((maker, True))
        return maker

    def wrong(self, maker: Callable[[], SignedStatement]) -> object:
        """Registers one that is not."""
        self.makers.append((maker, False))
        return maker

    def cases(self) -> Iterator[Case]:
        """Yields the vectors."""
        for maker, right in self.makers:
            name = maker.__name__.replace("_", "-")
            why = " ".join((maker.__doc__ or "").split())
            error = "" if right else "MALFORMED"
            yield Case("body", name, why, {"jws": maker().jws}, error)


_bodies = _Bodies()


def cases() -> Iterator[Case]:
    """Yields the vectors."""
    yield from _bodies.cases()
    yield from _commitments()


def _intake(**fields: Any) -> SignedStatement:
    right: dict[str, Any] = {
        "number": 8,
        "number_in_jurisdiction": 3,
        "urgency": V.URGENCY_ROUTINE,
        "channel": V.CHANNEL_CALL,
        "reporter_type": V.REPORTER_TYPE_ANONYMOUS,
        "subject_age_group": V.AGE_GROUP_ADULT,
        "trafficking_type": V.TRAFFICKING_TYPE_LABOR,
        "jurisdiction": statement_pb2.Jurisdiction(code="US-OH"),
        "received_time": timestamp(START - timedelta(minutes=5)),
        "content_commitment": _DIGEST,
    }
    return _about(intake=statement_pb2.Intake(**(right | fields)))


def _about(
    issuer: str = HOTLINE, referral_id: str = "", **body: Any
) -> SignedStatement:
    """Returns a statement that answers something."""
    exchange = small()
    return exchange.sign(
        issuer, previous=exchange.log[0], referral_id=referral_id, **body
    )


def _withholding(referral_id: str = "", **fields: Any) -> SignedStatement:
    right: dict[str, Any] = {
        "intake_number": 8,
        "reason": V.WITHHOLD_REASON_VICTIM_DECLINED,
        "approver_role": "shift supervisor",
    }
    body = statement_pb2.Withholding(**(right | fields))
    return _about(referral_id=referral_id, withholding=body)


def _link(referral_id: str = "", **fields: Any) -> SignedStatement:
    body = statement_pb2.Link(**({"same_as": _DIGEST} | fields))
    return _about(referral_id=referral_id, link=body)


def _breach(referral_id: str = "", **fields: Any) -> SignedStatement:
    due = statement_pb2.Due(**({"due_time": timestamp(START)} | fields))
    return _about(small().exchange, referral_id, breach=statement_pb2.Breach(due=due))


_OF_A_DELIVERY: dict[str, Any] = {
    "kind": V.DEADLINE_KIND_DELIVER,
    "holder": OHIO,
    "holder_role": V.HOLDER_ROLE_RECIPIENT,
    "recipient": OHIO,
}
_OF_AN_INTAKE: dict[str, Any] = {
    "kind": V.DEADLINE_KIND_PASS_ON,
    "holder": HOTLINE,
    "holder_role": V.HOLDER_ROLE_PUBLISHER,
    "hotline": HOTLINE,
    "intake_number": 8,
}


# --- intakes


@_bodies.right
def intake_of_a_state() -> SignedStatement:
    """A tip that points to a state."""
    return _intake()


@_bodies.right
def intake_of_a_country() -> SignedStatement:
    """A tip that names no part of the country."""
    return _intake(jurisdiction=statement_pb2.Jurisdiction(code="US"))


@_bodies.right
def intake_that_is_the_first() -> SignedStatement:
    """The first one answers nothing, and goes on counting where the hotline stood."""
    body = _intake(number=4711, number_in_jurisdiction=1).message.intake
    return small().sign(HOTLINE, intake=body)


@_bodies.wrong
def intake_without_a_number() -> SignedStatement:
    """Numbers begin at 1."""
    return _intake(number=0)


@_bodies.wrong
def intake_without_a_number_in_its_state() -> SignedStatement:
    """Each jurisdiction is counted for itself as well."""
    return _intake(number_in_jurisdiction=0)


@_bodies.wrong
def intake_without_an_age() -> SignedStatement:
    """What is not known is said to be unknown."""
    return _intake(subject_age_group=0)


@_bodies.wrong
def intake_of_a_minor_without_a_reason() -> SignedStatement:
    """The class MINOR is stated with why."""
    return _intake(urgency=V.URGENCY_MINOR)


@_bodies.wrong
def intake_of_everywhere() -> SignedStatement:
    """An asterisk is for auditors, and no place."""
    return _intake(jurisdiction=statement_pb2.Jurisdiction(code="*"))


@_bodies.wrong
def intake_that_was_never_received() -> SignedStatement:
    """The time at which the tip came in is missing."""
    return _intake(received_time=None)


@_bodies.wrong
def intake_with_a_short_commitment() -> SignedStatement:
    """The commitment has 31 bytes."""
    return _intake(content_commitment=bytes(31))


@_bodies.wrong
def intake_in_a_chain() -> SignedStatement:
    """An intake names a referral: there is none yet."""
    body = _intake().message.intake
    return _about(referral_id=_ONE, intake=body)


# --- what is decided


@_bodies.right
def withholding_for_good() -> SignedStatement:
    """The person concerned declined, and a supervisor approved."""
    return _withholding()


@_bodies.right
def withholding_until_a_review() -> SignedStatement:
    """Consent is pending: it is decided again within 180 days."""
    review = timestamp(START + 179 * _DAY)
    reason = V.WITHHOLD_REASON_CONSENT_PENDING
    return _withholding(reason=reason, review_time=review)


@_bodies.wrong
def withholding_without_an_approver() -> SignedStatement:
    """Nobody approved it."""
    return _withholding(approver_role=" ")


@_bodies.wrong
def withholding_without_a_reason() -> SignedStatement:
    """The reason is missing."""
    return _withholding(reason=0)


@_bodies.wrong
def withholding_of_a_duplicate() -> SignedStatement:
    """A link says what an intake repeats; a withholding does not."""
    return _withholding(reason=V.WITHHOLD_REASON_DUPLICATE)


@_bodies.wrong
def withholding_without_its_citation() -> SignedStatement:
    """A legal bar is cited."""
    return _withholding(reason=V.WITHHOLD_REASON_LEGAL_BAR)


@_bodies.wrong
def withholding_without_its_review() -> SignedStatement:
    """A reason that may end, and no time to look again."""
    return _withholding(reason=V.WITHHOLD_REASON_SAFETY_RISK)


@_bodies.wrong
def withholding_reviewed_too_late() -> SignedStatement:
    """The review is more than 180 days after the statement was made."""
    review = timestamp(START + 181 * _DAY)
    return _withholding(reason=V.WITHHOLD_REASON_SAFETY_RISK, review_time=review)


@_bodies.wrong
def withholding_reviewed_before() -> SignedStatement:
    """The review is before the statement was made."""
    review = timestamp(START - _DAY)
    return _withholding(reason=V.WITHHOLD_REASON_SAFETY_RISK, review_time=review)


@_bodies.wrong
def withholding_in_a_chain() -> SignedStatement:
    """It is about an intake, and names a referral."""
    return _withholding(referral_id=_ONE)


@_bodies.wrong
def withholding_that_answers_nothing() -> SignedStatement:
    """Its previous is empty: it names no intake's digest."""
    body = _withholding().message.withholding
    return small().sign(HOTLINE, withholding=body)


@_bodies.right
def hold_by_a_supervisor() -> SignedStatement:
    """More time, with who approved it and why."""
    body = statement_pb2.Hold(
        intake_number=8, approver_role="shift supervisor", reason="caller rings back"
    )
    return _about(hold=body)


@_bodies.wrong
def hold_without_a_reason() -> SignedStatement:
    """Nobody says why it takes more time."""
    body = statement_pb2.Hold(intake_number=8, approver_role="shift supervisor")
    return _about(hold=body)


# --- links


@_bodies.right
def link_to_an_earlier_intake() -> SignedStatement:
    """An intake repeats an earlier one of the hotline."""
    return _link(intake_number=8, same_as_intake_number=5)


@_bodies.right
def link_to_a_referral() -> SignedStatement:
    """An intake repeats what a referral has passed on."""
    return _link(intake_number=8, same_as_referral_id=_OTHER)


@_bodies.right
def link_of_two_referrals() -> SignedStatement:
    """Two referrals concern the same tip."""
    return _link(_ONE, same_as_referral_id=_OTHER)


@_bodies.wrong
def link_to_both() -> SignedStatement:
    """It names an intake and a referral as the same."""
    return _link(intake_number=8, same_as_intake_number=5, same_as_referral_id=_OTHER)


@_bodies.wrong
def link_to_nothing() -> SignedStatement:
    """It names a digest, and not of what."""
    return _link(intake_number=8)


@_bodies.wrong
def link_to_itself() -> SignedStatement:
    """An intake repeats itself."""
    return _link(intake_number=8, same_as_intake_number=8)


@_bodies.wrong
def link_of_a_referral_to_itself() -> SignedStatement:
    """A referral is the same as itself."""
    return _link(_ONE, same_as_referral_id=_ONE)


@_bodies.wrong
def link_of_a_referral_to_an_intake() -> SignedStatement:
    """A referral names the intakes that it answers by itself."""
    return _link(_ONE, same_as_intake_number=5)


# --- what is due


@_bodies.right
def breach_of_a_delivery() -> SignedStatement:
    """The recipient holds what was due."""
    return _breach(_ONE, **_OF_A_DELIVERY)


@_bodies.right
def breach_of_an_intake() -> SignedStatement:
    """The hotline holds what was due."""
    return _breach(**_OF_AN_INTAKE)


@_bodies.wrong
def breach_without_a_time() -> SignedStatement:
    """It does not say when it was due."""
    return _breach(_ONE, **(_OF_A_DELIVERY | {"due_time": None}))


@_bodies.wrong
def breach_held_by_somebody_else() -> SignedStatement:
    """It says that the recipient held it, and names another party."""
    return _breach(_ONE, **(_OF_A_DELIVERY | {"holder": HOTLINE}))


@_bodies.wrong
def breach_of_a_delivery_by_an_intakes_kind() -> SignedStatement:
    """Passing on is due of intakes."""
    kind = V.DEADLINE_KIND_PASS_ON
    return _breach(_ONE, **(_OF_A_DELIVERY | {"kind": kind}))


@_bodies.wrong
def breach_of_an_intake_in_a_chain() -> SignedStatement:
    """It is about an intake, and names a referral."""
    return _breach(_ONE, **_OF_AN_INTAKE)


# --- others


@_bodies.right
def rejection_of_a_withholding() -> SignedStatement:
    """The policy forbids a withholding: there is no referral."""
    body = statement_pb2.Rejection(rule="withholding-needs-reason", intake_number=8)
    return _about(small().exchange, rejection=body)


@_bodies.wrong
def rejection_of_nothing() -> SignedStatement:
    """It names neither a referral nor an intake."""
    return _about(small().exchange, rejection=statement_pb2.Rejection(rule="minor"))


@_bodies.right
def policy_change() -> SignedStatement:
    """A policy set is in force from here on."""
    body = statement_pb2.PolicyChange(policy_version="2026-11", policy_digest=_DIGEST)
    return _about(small().exchange, policy_change=body)


@_bodies.wrong
def policy_change_without_a_digest() -> SignedStatement:
    """It does not say which set."""
    body = statement_pb2.PolicyChange(policy_version="2026-11")
    return _about(small().exchange, policy_change=body)


@_bodies.right
def referral_of_two_intakes() -> SignedStatement:
    """A referral answers two intakes of its publisher."""
    return small().referral(HOTLINE, OHIO, intake_numbers=[7, 8])


@_bodies.wrong
def referral_of_an_intake_twice() -> SignedStatement:
    """A referral names an intake twice."""
    return small().referral(HOTLINE, OHIO, intake_numbers=[8, 8])


@_bodies.wrong
def referral_of_no_intakes_number() -> SignedStatement:
    """No intake has the number 0."""
    return small().referral(HOTLINE, OHIO, intake_numbers=[0])


# --- commitments


def _commitments() -> Iterator[Case]:
    for name, why, content, digest in (
        (
            "to-a-tip",
            "What a hotline was told.",
            _MOTEL,
            "743da50e9468c1e1efe437d4758fdb4c7ef4b5434f3b9a2dcfe170561876f862",
        ),
        (
            "to-nothing",
            "The caller said nothing.",
            b"",
            "ade2f81e15ccc80109eae561a2113a04593c1b8b47b87e10d934f3d1ff36c976",
        ),
    ):
        request = {"salt": base64(_SALT), "content": base64(content)}
        made = {"commitment": base64(bytes.fromhex(digest))}
        yield Case("commitment", name, why, request, answer=made)
    yield Case(
        "commitment",
        "with-a-short-salt",
        "A salt has 32 bytes.",
        {"salt": base64(_SALT[:-1]), "content": base64(_MOTEL)},
        "MALFORMED",
    )
