"""The shape of the statements about intakes, and of those that say what is due."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from onward.core._shapes import (
    county,
    digest,
    known_enum,
    number,
    require,
    role,
    stated_time,
    text,
    urgency_reason,
    uuid,
)
from onward.core.identity import IdentityKind, SpiffeId
from onward.v1 import statement_pb2, vocabulary_pb2

MAX_REVIEW: Final = timedelta(days=180)
"""How long after a withholding was made its review may be at the latest."""

PROVISIONAL: Final = frozenset(
    {
        vocabulary_pb2.WITHHOLD_REASON_CONSENT_PENDING,
        vocabulary_pb2.WITHHOLD_REASON_SAFETY_RISK,
        vocabulary_pb2.WITHHOLD_REASON_INSUFFICIENT_LOCATION,
        vocabulary_pb2.WITHHOLD_REASON_DECONFLICTION_HOLD,
    }
)
"""Reasons that may end: a withholding for one of them is reviewed."""

_NEEDS_CITATION: Final = frozenset(
    {
        vocabulary_pb2.WITHHOLD_REASON_LEGAL_BAR,
        vocabulary_pb2.WITHHOLD_REASON_PRIVILEGED,
    }
)
_DUPLICATE: Final = vocabulary_pb2.WITHHOLD_REASON_DUPLICATE

# ISO 3166-1 alpha-2, and ISO 3166-2 subdivisions.
_PLACE: Final = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")

_INTAKE_ENUMS: Final = (
    "urgency",
    "channel",
    "reporter_type",
    "subject_age_group",
    "trafficking_type",
)

_OF_INTAKES: Final = frozenset(
    {vocabulary_pb2.DEADLINE_KIND_PASS_ON, vocabulary_pb2.DEADLINE_KIND_REVIEW}
)
_OF_DELIVERIES: Final = frozenset(
    {
        vocabulary_pb2.DEADLINE_KIND_DELIVER,
        vocabulary_pb2.DEADLINE_KIND_ACKNOWLEDGE,
        vocabulary_pb2.DEADLINE_KIND_OUTCOME,
    }
)


def check_intake(message: statement_pb2.Statement) -> None:
    """Checks an ``Intake``."""
    body = message.intake
    require(not message.referral_id, "referral_id", "is empty: there is no referral")
    number(body.number, "intake.number")
    number(body.number_in_jurisdiction, "intake.number_in_jurisdiction")
    for name in _INTAKE_ENUMS:
        known_enum(body, name, "intake")
    urgency_reason(body.urgency, body.urgency_reason, "intake.urgency_reason")
    require(
        _PLACE.fullmatch(body.jurisdiction.code) is not None,
        "intake.jurisdiction.code",
        "is an ISO 3166 code such as US-OH, or US where no part of it is known",
    )
    county(body.jurisdiction, "intake.jurisdiction")
    stated_time(body.received_time, "intake.received_time")
    digest(body.content_commitment, "intake.content_commitment")


def check_withholding(message: statement_pb2.Statement) -> None:
    """Checks a ``Withholding``."""
    body = message.withholding
    number(body.intake_number, "withholding.intake_number")
    known_enum(body, "reason", "withholding")
    require(
        body.reason != _DUPLICATE,
        "withholding.reason",
        "is not DUPLICATE: a link says of what",
    )
    require(
        bool(body.citation.strip()) or body.reason not in _NEEDS_CITATION,
        "withholding.citation",
        "is stated for LEGAL_BAR and PRIVILEGED",
    )
    text(body.citation, "withholding.citation")
    role(body.approver_role, "withholding.approver_role", "approved it")
    if body.reason in PROVISIONAL or body.HasField("review_time"):
        _check_review(message.made_time, body.review_time)


def check_hold(message: statement_pb2.Statement) -> None:
    """Checks a ``Hold``."""
    body = message.hold
    number(body.intake_number, "hold.intake_number")
    role(body.approver_role, "hold.approver_role", "approved it")
    require(bool(body.reason.strip()), "hold.reason", "is stated")
    text(body.reason, "hold.reason")


def check_link(message: statement_pb2.Statement) -> None:
    """Checks a ``Link``: of an intake to what it repeats, or of two referrals."""
    body = message.link
    digest(body.same_as, "link.same_as")
    require(body.intake_number >= 0, "link.intake_number", "is not negative")
    require(
        bool(body.same_as_referral_id) != bool(body.same_as_intake_number),
        "link.same_as_referral_id",
        "or same_as_intake_number is set, and not both",
    )
    if body.same_as_referral_id:
        uuid(body.same_as_referral_id, "link.same_as_referral_id")
        other = body.same_as_referral_id != message.referral_id
        require(other, "link.same_as_referral_id", "names another referral")
    else:
        # A referral has no earlier intake, and numbers follow the log's order.
        require(
            1 <= body.same_as_intake_number < body.intake_number,
            "link.same_as_intake_number",
            "names an earlier intake, and only of an intake",
        )


def check_rejection(message: statement_pb2.Statement) -> None:
    """Checks a ``Rejection``, of a referral or of a withholding."""
    value = message.rejection.intake_number
    require(value >= 0, "rejection.intake_number", "is not negative")


def check_warning(message: statement_pb2.Statement) -> None:
    """Checks a ``Warning``."""
    _check_due(message, message.warning.due, "warning.due")


def check_breach(message: statement_pb2.Statement) -> None:
    """Checks a ``Breach``."""
    _check_due(message, message.breach.due, "breach.due")


def _check_review(made: Timestamp, review: Timestamp) -> None:
    """Checks when a withholding is decided again."""
    field = "withholding.review_time"
    stated_time(review, field)
    stated_time(made, "made_time")
    wait = _moment(review) - _moment(made)
    require(
        timedelta(0) < wait <= MAX_REVIEW,
        field,
        f"is after made_time, by at most {MAX_REVIEW.days} days",
    )


def _check_due(
    message: statement_pb2.Statement, due: statement_pb2.Due, path: str
) -> None:
    """Checks what is due, of which delivery or intake, and who holds it.

    The holder is the party whose part it plays: the hotline, the recipient, or the
    exchange that says so. Who published a referral, its chain says.
    """
    known_enum(due, "kind", path)
    stated_time(due.due_time, f"{path}.due_time")
    known_enum(due, "holder_role", path)
    SpiffeId.parse(due.holder)
    of_intake = bool(due.intake_number)
    if of_intake:
        number(due.intake_number, f"{path}.intake_number")
    own, other = ("hotline", "recipient") if of_intake else ("recipient", "hotline")
    _check_agency(getattr(due, own), f"{path}.{own}")
    require(not getattr(due, other), f"{path}.{other}", "is empty here")
    strange = due.kind in (_OF_DELIVERIES if of_intake else _OF_INTAKES)
    require(not strange, f"{path}.kind", f"is due of what has a {own}")
    party = {
        vocabulary_pb2.HOLDER_ROLE_PUBLISHER: due.hotline or due.holder,
        vocabulary_pb2.HOLDER_ROLE_EXCHANGE: message.issuer,
        vocabulary_pb2.HOLDER_ROLE_RECIPIENT: due.recipient,
    }.get(due.holder_role, due.holder)
    require(due.holder == party, f"{path}.holder", "is who plays the holder's part")


def _check_agency(name: str, field: str) -> None:
    """Requires an agency's name."""
    agency = SpiffeId.parse(name).kind is IdentityKind.AGENCY
    require(agency, field, "is an agency's SPIFFE ID")


def _moment(time: Timestamp) -> datetime:
    return time.ToDatetime(tzinfo=UTC)
