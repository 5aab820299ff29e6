"""The shape of each statement body: what is required, and how long it may be.

The rules are those of the comments in ``proto/onward/v1/statement.proto``. Publisher,
exchange and verifier run the same checks, so a publisher learns of a mistake before it
signs. Nothing here asks whether something is *allowed*; only whether it is well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from onward.core import _intake_bodies as intakes
from onward.core._shapes import (
    MAX_SHORT_TEXT,
    county,
    digest,
    known_enum,
    number,
    require,
    role,
    stated_time,
    text,
    time,
    urgency_reason,
    uuid,
)
from onward.core.identity import IdentityKind, SpiffeId
from onward.v1 import statement_pb2, vocabulary_pb2

MAX_RECIPIENTS = 16
MAX_LINKS = 16
MAX_INTAKES = 64
MAX_MARKINGS = 16
MAX_MARKING = 32
MAX_REVIEW = intakes.MAX_REVIEW
PROVISIONAL = intakes.PROVISIONAL

_JURISDICTION = re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}")
_NEEDS_CITATION = frozenset(
    {
        vocabulary_pb2.DISCLOSURE_BASIS_COURT_ORDER,
        vocabulary_pb2.DISCLOSURE_BASIS_STATUTE,
    }
)
_TRANSFER_OF = statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF


def check_body(message: statement_pb2.Statement) -> None:
    """Checks the body of a statement, whatever its kind.

    Raises:
        MalformedError: with the path of the first field that is wrong.
    """
    kind = message.WhichOneof("body") or ""
    check = _CHECKS.get(kind)
    if check is not None:
        check(message)
    if kind in _OF_A_REFERRAL or kind in _OF_AN_INTAKE:
        _check_subject(message, kind)


def check_jurisdiction(code: str, field: str) -> None:
    """Checks an ISO 3166-2 subdivision code such as ``US-OH``.

    Raises:
        MalformedError: it does not look like one.
    """
    require(
        _JURISDICTION.fullmatch(code) is not None,
        field,
        "is an ISO 3166-2 code such as US-OH",
    )


def _check_subject(message: statement_pb2.Statement, kind: str) -> None:
    """Checks that a statement names what it is about, and what it answers.

    A kind that is said of referrals and of intakes is about an intake where it has the
    number of one.
    """
    number_of = _OF_AN_INTAKE.get(kind)
    if number_of and number_of(message):
        require(not message.referral_id, "referral_id", "is empty: it is of an intake")
    else:
        require(bool(message.referral_id), "referral_id", "names the referral")
    require(bool(message.previous), "previous", "names the statement answered")


def _check_referral(message: statement_pb2.Statement) -> None:
    """Checks a ``Referral``."""
    body = message.referral
    require(message.referral_id == message.id, "referral_id", "equals id")
    require(not message.previous, "previous", "is empty: a referral begins a chain")
    _check_recipients(body)
    alone = message.issuer not in body.recipients
    require(alone, "referral.recipients", "does not name the publisher itself")
    for name in _REFERRAL_ENUMS:
        known_enum(body, name, "referral")
    _check_reason_and_basis(body)
    check_jurisdiction(body.jurisdiction.code, "referral.jurisdiction.code")
    county(body.jurisdiction, "referral.jurisdiction")
    digest(body.content_digest, "referral.content_digest")
    require(body.content_size > 0, "referral.content_size", "is positive")
    stated_time(body.tip_received_time, "referral.tip_received_time")
    stated_time(body.expire_time, "referral.expire_time")
    time(body.consent.expire_time, "referral.consent.expire_time")
    _check_lists(body)


def _check_recipients(body: statement_pb2.Referral) -> None:
    """Checks the recipients: 1 to 16 different agencies."""
    path = "referral.recipients"
    count = len(body.recipients)
    require(1 <= count <= MAX_RECIPIENTS, path, f"has 1 to {MAX_RECIPIENTS} names")
    require(len(set(body.recipients)) == count, path, "has no name twice")
    for index, name in enumerate(body.recipients):
        agency = SpiffeId.parse(name).kind is IdentityKind.AGENCY
        require(agency, f"{path}[{index}]", "is an agency's SPIFFE ID")


def _check_reason_and_basis(body: statement_pb2.Referral) -> None:
    """Checks what urgency and basis oblige the publisher to state."""
    urgency_reason(body.urgency, body.urgency_reason, "referral.urgency_reason")
    require(
        bool(body.basis_citation.strip()) or body.basis not in _NEEDS_CITATION,
        "referral.basis_citation",
        "is stated for COURT_ORDER and STATUTE",
    )
    text(body.basis_citation, "referral.basis_citation")
    text(body.consent.scope, "referral.consent.scope", MAX_SHORT_TEXT)


def _check_lists(body: statement_pb2.Referral) -> None:
    """Checks links, intake numbers, markings and the consent's recipients."""
    for name, limit in (
        ("links", MAX_LINKS),
        ("intake_numbers", MAX_INTAKES),
        ("markings", MAX_MARKINGS),
    ):
        count = len(getattr(body, name))
        require(count <= limit, f"referral.{name}", f"has at most {limit} items")
    transfers = [link for link in body.links if link.kind == _TRANSFER_OF]
    require(len(transfers) <= 1, "referral.links", "has at most one TRANSFER_OF")
    for index, link in enumerate(body.links):
        path = f"referral.links[{index}]"
        known_enum(link, "kind", path)
        uuid(link.referral_id, f"{path}.referral_id")
        digest(link.referral_digest, f"{path}.referral_digest")
    numbers = body.intake_numbers
    for index, value in enumerate(numbers):
        number(value, f"referral.intake_numbers[{index}]")
    once = len(set(numbers)) == len(numbers)
    require(once, "referral.intake_numbers", "has no number twice")
    for index, marking in enumerate(body.markings):
        text(marking, f"referral.markings[{index}]", MAX_MARKING)
    require(
        len(body.consent.recipients) <= MAX_RECIPIENTS,
        "referral.consent.recipients",
        f"has at most {MAX_RECIPIENTS} names",
    )
    for name in body.consent.recipients:
        SpiffeId.parse(name)


def _check_received(message: statement_pb2.Statement) -> None:
    digest(message.received.content_digest, "received.content_digest")
    known_enum(message.received, "check", "received")


def _check_acknowledgment(message: statement_pb2.Statement) -> None:
    body = message.acknowledgment
    role(body.reader_role, "acknowledgment.reader_role", "read it")


def _check_decline(message: statement_pb2.Statement) -> None:
    known_enum(message.decline, "reason", "decline")
    if message.decline.suggested_agency:
        SpiffeId.parse(message.decline.suggested_agency)


def _check_transfer(message: statement_pb2.Statement) -> None:
    uuid(message.transfer.child_referral_id, "transfer.child_referral_id")
    digest(message.transfer.child_digest, "transfer.child_digest")


def _check_outcome(message: statement_pb2.Statement) -> None:
    known_enum(message.outcome, "code", "outcome")


def _check_retraction(message: statement_pb2.Statement) -> None:
    known_enum(message.retraction, "reason", "retraction")


def _check_retraction_reply(message: statement_pb2.Statement) -> None:
    body = message.retraction_reply
    known_enum(body, "action", "retraction_reply")
    retained = vocabulary_pb2.RETRACTION_ACTION_RETAINED_LEGAL_DUTY
    path = "retraction_reply.citation"
    require(
        bool(body.citation.strip()) or body.action != retained,
        path,
        "is stated for RETAINED_LEGAL_DUTY",
    )
    text(body.citation, path)


def _check_policy_change(message: statement_pb2.Statement) -> None:
    body = message.policy_change
    require(bool(body.policy_version), "policy_change.policy_version", "is stated")
    digest(body.policy_digest, "policy_change.policy_digest")


_REFERRAL_ENUMS: tuple[str, ...] = (
    "urgency",
    "basis",
    "reporter_type",
    "subject_age_group",
    "trafficking_type",
    "channel",
)

_CHECKS: Mapping[str, Callable[[statement_pb2.Statement], None]] = MappingProxyType(
    {
        "referral": _check_referral,
        "received": _check_received,
        "acknowledgment": _check_acknowledgment,
        "decline": _check_decline,
        "transfer": _check_transfer,
        "outcome": _check_outcome,
        "retraction": _check_retraction,
        "retraction_reply": _check_retraction_reply,
        "intake": intakes.check_intake,
        "withholding": intakes.check_withholding,
        "hold": intakes.check_hold,
        "link": intakes.check_link,
        "rejection": intakes.check_rejection,
        "warning": intakes.check_warning,
        "breach": intakes.check_breach,
        "policy_change": _check_policy_change,
    }
)

_OF_A_REFERRAL = frozenset(
    {
        "acceptance",
        "handover",
        "received",
        "acknowledgment",
        "taking",
        "decline",
        "transfer",
        "outcome",
        "retraction",
        "retraction_reply",
        "erasure",
    }
)

_OF_AN_INTAKE: Mapping[str, Callable[[statement_pb2.Statement], int]] = (
    MappingProxyType(
        {
            "withholding": lambda message: message.withholding.intake_number,
            "hold": lambda message: message.hold.intake_number,
            "link": lambda message: message.link.intake_number,
            "rejection": lambda message: message.rejection.intake_number,
            "warning": lambda message: message.warning.due.intake_number,
            "breach": lambda message: message.breach.due.intake_number,
        }
    )
)
