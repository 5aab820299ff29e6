"""The shape of each statement body: what is required, and how long it may be.

The rules are those of the comments in ``proto/onward/v1/statement.proto``. Publisher,
exchange and verifier run the same checks, so a publisher learns of a mistake before it
signs. Nothing here asks whether something is *allowed*; only whether it is well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.errors import MalformedError
from onward.core.identity import IdentityKind, SpiffeId
from onward.v1 import statement_pb2, vocabulary_pb2

MAX_RECIPIENTS = 16
MAX_LINKS = 16
MAX_INTAKES = 64
MAX_MARKINGS = 16
MAX_TEXT = 200
MAX_SHORT_TEXT = 64
MAX_MARKING = 32
DIGEST_SIZE = 32

_JURISDICTION = re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}")
_COUNTY = re.compile(r"[0-9]{5}")
_NEEDS_REASON = frozenset(
    {vocabulary_pb2.URGENCY_IMMINENT_DANGER, vocabulary_pb2.URGENCY_MINOR}
)
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
    if kind != "referral" and kind in _OF_A_REFERRAL:
        _require(bool(message.referral_id), "referral_id", "names the referral")
        _require(bool(message.previous), "previous", "names the statement answered")


def check_jurisdiction(code: str, field: str) -> None:
    """Checks an ISO 3166-2 subdivision code such as ``US-OH``.

    Raises:
        MalformedError: it does not look like one.
    """
    _require(
        _JURISDICTION.fullmatch(code) is not None,
        field,
        "is an ISO 3166-2 code such as US-OH",
    )


def _check_referral(message: statement_pb2.Statement) -> None:
    """Checks a ``Referral``."""
    body = message.referral
    _require(message.referral_id == message.id, "referral_id", "equals id")
    _require(not message.previous, "previous", "is empty: a referral begins a chain")
    _check_recipients(body)
    alone = message.issuer not in body.recipients
    _require(alone, "referral.recipients", "does not name the publisher itself")
    for name in _REFERRAL_ENUMS:
        _known_enum(body, name)
    _check_reason_and_basis(body)
    check_jurisdiction(body.jurisdiction.code, "referral.jurisdiction.code")
    county = body.jurisdiction.county_fips
    _require(
        not county or _COUNTY.fullmatch(county) is not None,
        "referral.jurisdiction.county_fips",
        "has five digits",
    )
    _digest(body.content_digest, "referral.content_digest")
    _require(body.content_size > 0, "referral.content_size", "is positive")
    for name in ("tip_received_time", "expire_time"):
        value: Timestamp = getattr(body, name)
        _require(value != Timestamp(), f"referral.{name}", "is stated")
        _time(value, f"referral.{name}")
    _time(body.consent.expire_time, "referral.consent.expire_time")
    _check_lists(body)


def _check_recipients(body: statement_pb2.Referral) -> None:
    """Checks the recipients: 1 to 16 different agencies."""
    path = "referral.recipients"
    count = len(body.recipients)
    _require(1 <= count <= MAX_RECIPIENTS, path, f"has 1 to {MAX_RECIPIENTS} names")
    _require(len(set(body.recipients)) == count, path, "has no name twice")
    for index, name in enumerate(body.recipients):
        agency = SpiffeId.parse(name).kind is IdentityKind.AGENCY
        _require(agency, f"{path}[{index}]", "is an agency's SPIFFE ID")


def _check_reason_and_basis(body: statement_pb2.Referral) -> None:
    """Checks what urgency and basis oblige the publisher to state."""
    reason, citation = body.urgency_reason.strip(), body.basis_citation.strip()
    _require(
        bool(reason) or body.urgency not in _NEEDS_REASON,
        "referral.urgency_reason",
        "is stated for IMMINENT_DANGER and MINOR",
    )
    _require(
        bool(citation) or body.basis not in _NEEDS_CITATION,
        "referral.basis_citation",
        "is stated for COURT_ORDER and STATUTE",
    )
    _text(body.urgency_reason, "referral.urgency_reason", MAX_TEXT)
    _text(body.basis_citation, "referral.basis_citation", MAX_TEXT)
    _text(body.consent.scope, "referral.consent.scope", MAX_SHORT_TEXT)


def _check_lists(body: statement_pb2.Referral) -> None:
    """Checks links, intake numbers, markings and the consent's recipients."""
    for name, limit in (
        ("links", MAX_LINKS),
        ("intake_numbers", MAX_INTAKES),
        ("markings", MAX_MARKINGS),
    ):
        count = len(getattr(body, name))
        _require(count <= limit, f"referral.{name}", f"has at most {limit} items")
    transfers = [link for link in body.links if link.kind == _TRANSFER_OF]
    _require(len(transfers) <= 1, "referral.links", "has at most one TRANSFER_OF")
    for index, link in enumerate(body.links):
        path = f"referral.links[{index}]"
        _known_enum(link, "kind", path)
        _uuid(link.referral_id, f"{path}.referral_id")
        _digest(link.referral_digest, f"{path}.referral_digest")
    for index, marking in enumerate(body.markings):
        _text(marking, f"referral.markings[{index}]", MAX_MARKING)
    _require(
        len(body.consent.recipients) <= MAX_RECIPIENTS,
        "referral.consent.recipients",
        f"has at most {MAX_RECIPIENTS} names",
    )
    for name in body.consent.recipients:
        SpiffeId.parse(name)


def _check_received(message: statement_pb2.Statement) -> None:
    _digest(message.received.content_digest, "received.content_digest")
    _known_enum(message.received, "check", "received")


def _check_acknowledgment(message: statement_pb2.Statement) -> None:
    role = message.acknowledgment.reader_role
    path = "acknowledgment.reader_role"
    _require(bool(role.strip()), path, "names the role of the person who read it")
    _text(role, path, MAX_SHORT_TEXT)


def _check_decline(message: statement_pb2.Statement) -> None:
    _known_enum(message.decline, "reason", "decline")
    if message.decline.suggested_agency:
        SpiffeId.parse(message.decline.suggested_agency)


def _check_transfer(message: statement_pb2.Statement) -> None:
    _uuid(message.transfer.child_referral_id, "transfer.child_referral_id")
    _digest(message.transfer.child_digest, "transfer.child_digest")


def _check_outcome(message: statement_pb2.Statement) -> None:
    _known_enum(message.outcome, "code", "outcome")


def _check_retraction(message: statement_pb2.Statement) -> None:
    _known_enum(message.retraction, "reason", "retraction")


def _check_retraction_reply(message: statement_pb2.Statement) -> None:
    body = message.retraction_reply
    _known_enum(body, "action", "retraction_reply")
    retained = vocabulary_pb2.RETRACTION_ACTION_RETAINED_LEGAL_DUTY
    path = "retraction_reply.citation"
    _require(
        bool(body.citation.strip()) or body.action != retained,
        path,
        "is stated for RETAINED_LEGAL_DUTY",
    )
    _text(body.citation, path, MAX_TEXT)


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
    }
)

_OF_A_REFERRAL = frozenset(_CHECKS) | {
    "acceptance",
    "rejection",
    "handover",
    "taking",
    "erasure",
}


def _require(condition: bool, field: str, rule: str) -> None:  # noqa: FBT001
    """Raises MalformedError unless the rule holds."""
    if not condition:
        msg = f"{field} does not follow the rule: it {rule}"
        raise MalformedError(msg, field=field)


def _known_enum(body: object, name: str, path: str = "referral") -> None:
    """Requires that an enum field states a value, known here or not."""
    _require(getattr(body, name) != 0, f"{path}.{name}", "is stated")


def _text(text: str, field: str, limit: int) -> None:
    """Requires a bounded text without control characters."""
    _require(len(text) <= limit, field, f"has at most {limit} characters")
    _require(text.isprintable(), field, "has no control characters")


def _digest(digest: bytes, field: str) -> None:
    """Requires a SHA-256 digest."""
    _require(len(digest) == DIGEST_SIZE, field, f"has {DIGEST_SIZE} bytes")


def _time(value: Timestamp, field: str) -> None:
    """Requires a time within protobuf's range (years 1 to 9999), or none."""
    try:
        value.ToDatetime()
    except (ValueError, OverflowError):
        _require(False, field, "is a valid time")  # noqa: FBT003


def _uuid(text: str, field: str) -> None:
    """Requires a UUID in canonical form."""
    try:
        canonical = str(UUID(text)) == text
    except ValueError:
        canonical = False
    _require(canonical, field, "is a UUID in lower case with hyphens")
