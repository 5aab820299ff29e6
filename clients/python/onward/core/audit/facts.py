"""What an audit keeps of each chain once its statements were verified.

A statement has a kilobyte, and a year of them does not fit in memory. So a chain is
read, judged and dropped, and what remains are these values. They name statements by
their index in the log; ``NONE`` stands for one that is not there. When a statement was
made is the business of :class:`onward.core.audit.clock.Clock`, which knows all of them.

The values are tuples since there are very many, and they travel between processes.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

NONE: Final = -1
"""The index of a statement that is not there."""

_MILLISECONDS: Final = 1000
_NANOSECONDS: Final = 1_000_000


class Finding(NamedTuple):
    """Something that does not hold.

    Attributes:
        step: the number of the step that found it.
        subject: what it is about, such as ``log entry 17 (handover)``.
        why: for people.
        reason: the name of an ``ErrorReason``.
    """

    step: int
    subject: str
    why: str
    reason: str


class Remark(NamedTuple):
    """A ``Warning`` or ``Breach``.

    Attributes:
        at: its place in the log, an index.
        breach: whether it is a breach.
        kind: what was due, a ``DeadlineKind``.
        due_ms: when.
        holder: who held the tip.
        role: the part that the holder played, a ``HolderRole``.
        recipient: of a delivery: whose.
    """

    at: int
    breach: bool
    kind: int
    due_ms: int
    holder: str
    role: int
    recipient: str


class Decision(NamedTuple):
    """What a hotline decided about an intake, itself.

    Attributes:
        at: its place in the log, an index.
        kind: ``withholding``, ``hold`` or ``link``.
        reason: of a withholding: why, a ``WithholdReason``.
        role: who approved it.
        citation: the law, where one is stated.
        review_ms: when it is decided again; 0 for never.
        same_as: of a link: digest of the other tip.
        same_as_referral: of a link: the other referral.
        same_as_number: of a link: the other intake.
        rejected: whether the exchange refused it, so that it changes nothing.
    """

    at: int
    kind: str
    reason: int = 0
    role: str = ""
    citation: str = ""
    review_ms: int = 0
    same_as: bytes = b""
    same_as_referral: str = ""
    same_as_number: int = 0
    rejected: bool = False


class IntakeFacts(NamedTuple):
    """One intake, with what its hotline decided. The names are the statement's."""

    at: int
    hotline: str
    number: int
    number_in_jurisdiction: int
    previous: bytes
    urgency: int
    reporter: int
    age_group: int
    jurisdiction: str
    received_ms: int
    test: bool
    decisions: tuple[Decision, ...]
    remarks: tuple[Remark, ...]


class Span(NamedTuple):
    """Where in the log a step of a delivery was open: from one entry to another.

    Attributes:
        kind: which step, a ``DeadlineKind``.
        opened: the entry that made it due.
        closed: the entry that ended that; :data:`NONE` while it is open.
    """

    kind: int
    opened: int
    closed: int


class DeliveryFacts(NamedTuple):
    """One delivery: the first statement of each kind, by its index.

    Attributes:
        state: where it stands, a ``DeliveryState``.
        declined_reason: a ``DeclineReason``; 0 if it was not declined.
        code: the last ``OutcomeCode``; 0 if there is none.
        reply_action: the ``RetractionAction``; 0 if there is none.
        deliver_by_ms: when it had to be received; 0 if no time is set.
        acknowledge_within_ms: how long after receipt; 0 if no time is set.
        outcome_within_ms: how long after receipt; 0 if no time is set.
    """

    recipient: str
    state: int
    handed_over: int
    received: int
    acknowledged: int
    taken: int
    declined: int
    declined_reason: int
    transferred: int
    outcome: int
    code: int
    closed: int
    replied: int
    reply_action: int
    deliver_by_ms: int
    acknowledge_within_ms: int
    outcome_within_ms: int
    spans: tuple[Span, ...]


class Passing(NamedTuple):
    """A ``Transfer``: who passed the referral on, and by which child referral."""

    at: int
    child_id: str
    child_digest: bytes


class ReferralFacts(NamedTuple):
    """One referral with its deliveries. The names are the statement's.

    Attributes:
        consent: what the person concerned said, a ``ConsentState``.
        consented: whom that names; nobody in particular if empty.
        consent_end_ms: from when on it is over; 0 if no end is stated.
        parent_id: the referral that it was transferred from, or empty.
        parent_digest: its digest.
        accepted: index of the acceptance.
        rejected: index of the rejection.
        rule: the rule by which it was rejected.
        policy_digest: the policy set that it was judged by.
        retracted: index of the first retraction.
        erased: index of the erasure.
    """

    referral_id: str
    at: int
    publisher: str
    recipients: tuple[str, ...]
    urgency: int
    jurisdiction: str
    basis: int
    consent: int
    consented: tuple[str, ...]
    consent_end_ms: int
    reporter: int
    age_group: int
    test: bool
    tip_received_ms: int
    intake_numbers: tuple[int, ...]
    parent_id: str
    parent_digest: bytes
    accepted: int
    rejected: int
    rule: str
    policy_version: str
    policy_digest: bytes
    retracted: int
    retraction_reason: int
    erased: int
    deliveries: tuple[DeliveryFacts, ...]
    passings: tuple[Passing, ...]
    remarks: tuple[Remark, ...]


Facts: TypeAlias = IntakeFacts | ReferralFacts


class Reading(NamedTuple):
    """What was found in one chain.

    Attributes:
        facts: what remains of it; None if it could not be followed at all.
        findings: what does not hold.
        times: five numbers for each statement: index, claimed time in milliseconds,
            size of the tree seen, index of the statement answered, whether the
            exchange said it.
    """

    facts: Facts | None
    findings: tuple[Finding, ...]
    times: bytes


def is_lost(referral: ReferralFacts, delivery: DeliveryFacts) -> bool:
    """Whether a delivery ended before its recipient had the tip.

    It was taken back before it was received, or its content expired or was erased and
    it never was.
    """
    received, retracted = delivery.received, referral.retracted
    if retracted != NONE:
        return not NONE < received < retracted
    return referral.erased != NONE and received == NONE


def taken_back(referral: ReferralFacts) -> int:
    """Returns the entry by which a referral was taken back; :data:`NONE` if it was not.

    That is its retraction, if none of its recipients had received it by then, or its
    erasure, if it had gone out to none of them.
    """
    retracted, erased = referral.retracted, referral.erased
    ends = []
    if retracted != NONE and not any(
        NONE < item.received < retracted for item in referral.deliveries
    ):
        ends.append(retracted)
    if erased != NONE and not any(
        NONE < item.handed_over < erased for item in referral.deliveries
    ):
        ends.append(erased)
    return min(ends, default=NONE)


def milliseconds(time: Timestamp) -> int:
    """Returns a time in whole milliseconds since 1970, 0 where none is stated."""
    return time.seconds * _MILLISECONDS + time.nanos // _NANOSECONDS
