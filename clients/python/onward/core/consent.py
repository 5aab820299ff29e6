"""Consent of the person concerned: when it is in force, and what it covers and binds.

The exchange asks its disclosure policy by these functions, and an audit looks with them
at what the exchange has accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from onward.v1 import statement_pb2, vocabulary_pb2

T = TypeVar("T")

RELEASES: Final = frozenset(
    {
        vocabulary_pb2.DISCLOSURE_BASIS_VICTIM_WRITTEN_RELEASE,
        vocabulary_pb2.DISCLOSURE_BASIS_VICTIM_VERBAL_REQUEST,
        vocabulary_pb2.DISCLOSURE_BASIS_GUARDIAN_RELEASE,
    }
)
"""The bases that are a release by the person concerned, or for that person."""

GIVEN: Final = frozenset(
    {
        vocabulary_pb2.CONSENT_STATE_GRANTED,
        vocabulary_pb2.CONSENT_STATE_VERBAL_PENDING_WRITING,
    }
)
"""The states of a consent that was given, and is in force until it ends."""


def binds(basis: int, reporter: int) -> bool:
    """Returns whether the consent of a referral binds what it is transferred into.

    It does where the referral rests on a release, and where it tells what the person
    concerned reported. It goes on to bind, however often the tip is transferred, until
    a release of its own takes its place; see :func:`binding`.
    """
    return (
        basis in RELEASES or reporter == vocabulary_pb2.REPORTER_TYPE_POTENTIAL_VICTIM
    )


def binding(above: Iterable[tuple[T, int, int]]) -> T | None:
    """Returns the referral whose consent binds a transfer, or None.

    It is the nearest one that rests on a release. Where none does, it is the first that
    was told of what the person concerned reported: what agencies say of consent when
    they pass that on, without a release, takes nothing's place.

    Args:
        above: what the tip was transferred from, the nearest first; each with its basis
            and the type of its reporter.
    """
    first = None
    for referral, basis, reporter in above:
        if basis in RELEASES:
            return referral
        if binds(basis, reporter):
            first = referral
    return first


def state_at(consent: statement_pb2.Consent, now: datetime) -> int:
    """Returns the state at a time (UTC): what was given and has ended is expired.

    The times are compared as numbers, since the publisher's need not be one that a
    calendar has.
    """
    if consent.state in GIVEN and consent.HasField("expire_time"):
        at, end = Timestamp(), consent.expire_time
        at.FromDatetime(now)
        if (end.seconds, end.nanos) <= (at.seconds, at.nanos):
            return vocabulary_pb2.CONSENT_STATE_EXPIRED
    return consent.state


def covers(consent: statement_pb2.Consent, recipient: str) -> bool:
    """Returns whether a consent names a recipient, or nobody in particular."""
    return not consent.recipients or recipient in consent.recipients
