"""What the shape rules of all statement bodies are made of.

Each function raises ``MalformedError`` with the path of the field that breaks the rule,
and returns nothing otherwise.
"""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.errors import MalformedError
from onward.v1 import statement_pb2, vocabulary_pb2

MAX_TEXT: Final = 200
MAX_SHORT_TEXT: Final = 64
DIGEST_SIZE: Final = 32
MAX_NUMBER: Final = 2**53 - 1
"""The largest number that every reader of JSON keeps as it is (RFC 8259 section 6)."""

# Of google.protobuf.Timestamp: the years 1 to 9999.
_SECONDS: Final = range(-62_135_596_800, 253_402_300_800)
_NANOS: Final = range(1_000_000_000)

_COUNTY: Final = re.compile(r"[0-9]{5}")
_NEEDS_REASON: Final = frozenset(
    {vocabulary_pb2.URGENCY_IMMINENT_DANGER, vocabulary_pb2.URGENCY_MINOR}
)


def require(condition: bool, field: str, rule: str) -> None:  # noqa: FBT001
    """Requires that a rule about a field holds; ``rule`` completes "it ..."."""
    if not condition:
        raise broken(field, rule)


def broken(field: str, rule: str) -> MalformedError:
    """Returns the error for a field that breaks a rule; see :func:`require`."""
    return MalformedError(f"{field} does not follow the rule: it {rule}", field=field)


# These are asked for every field of every statement: no text is made but for an error.


def known_enum(body: object, name: str, path: str) -> None:
    """Requires that an enum field states a value, known here or not."""
    if getattr(body, name) == 0:
        raise broken(f"{path}.{name}", "is stated")


def number(value: int, field: str) -> None:
    """Requires a number that counts from 1 on."""
    if value < 1:
        raise broken(field, "is 1 or more")
    if value > MAX_NUMBER:
        raise broken(field, f"is at most {MAX_NUMBER}")


def text(value: str, field: str, limit: int = MAX_TEXT) -> None:
    """Requires a bounded text without control characters."""
    if len(value) > limit:
        raise broken(field, f"has at most {limit} characters")
    if not value.isprintable():
        raise broken(field, "has no control characters")


def role(value: str, field: str, who: str) -> None:
    """Requires the role of a person."""
    if not value.strip():
        raise broken(field, f"names the role of the person who {who}")
    text(value, field, MAX_SHORT_TEXT)


def digest(value: bytes, field: str) -> None:
    """Requires a SHA-256 digest."""
    if len(value) != DIGEST_SIZE:
        raise broken(field, f"has {DIGEST_SIZE} bytes")


def is_time(value: Timestamp) -> bool:
    """Says whether a time is within protobuf's range (years 1 to 9999)."""
    return value.seconds in _SECONDS and value.nanos in _NANOS


def time(value: Timestamp, field: str) -> None:
    """Requires a time within protobuf's range, or none."""
    require(is_time(value), field, "is a valid time")


def stated_time(value: Timestamp, field: str) -> None:
    """Requires a time within protobuf's range."""
    require(bool(value.seconds or value.nanos), field, "is stated")
    time(value, field)


def uuid(value: str, field: str) -> None:
    """Requires a UUID in canonical form."""
    try:
        canonical = str(UUID(value)) == value
    except ValueError:
        canonical = False
    require(canonical, field, "is a UUID in lower case with hyphens")


def urgency_reason(urgency: int, reason: str, field: str) -> None:
    """Requires what a class obliges to state: why the tip is in it."""
    require(
        bool(reason.strip()) or urgency not in _NEEDS_REASON,
        field,
        "is stated for IMMINENT_DANGER and MINOR",
    )
    text(reason, field)


def county(place: statement_pb2.Jurisdiction, path: str) -> None:
    """Requires a county FIPS code, or none."""
    code = place.county_fips
    if code and not _COUNTY.fullmatch(code):
        raise broken(f"{path}.county_fips", "has five digits")
