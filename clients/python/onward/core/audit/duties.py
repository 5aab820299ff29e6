"""Which deadlines were missed by the log's order, and whether the exchange said so.

Nobody's clock decides. A step that was due at a time is *missed* when the exchange
went on saying things for some minutes after that time, and the step was not in the log
yet. Each missed step has one signed ``Breach``, and each ``Breach`` a missed step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from onward.core.audit.book import Book, IntakeRecord
from onward.core.audit.clock import SKEW_MS, Clock
from onward.core.audit.facts import (
    NONE,
    DeliveryFacts,
    Finding,
    IntakeFacts,
    ReferralFacts,
    Remark,
    Span,
)
from onward.core.audit.policies import Policies
from onward.core.audit.steps import DEADLINES
from onward.core.due import Kind, kind_name

_Due: TypeAlias = tuple[int, int] | None
"""When something is due: at the earliest and at the latest; None if not known."""


class Duty(NamedTuple):
    """A step that was due.

    Attributes:
        subject: the intake (``hotline#number``) or the referral's id.
        holder: who had it to make; of a breach: whom the exchange names.
        kind: what was due, a ``DeadlineKind``.
        due: when; None if that is not known.
        span: where in the log it was open.
        breach: the exchange's ``Breach``, if there is one.
        done: the entry by which the step was made; :data:`NONE` if it was not.
    """

    subject: str
    holder: str
    kind: int
    due: _Due
    span: Span
    breach: Remark | None
    done: int


def duties_of_referral(referral: ReferralFacts, clock: Clock) -> Iterator[Duty]:
    """Yields every step of a referral's deliveries for which a time was set."""
    for delivery in referral.deliveries:
        for span in delivery.spans:
            due = _due(delivery, span, clock)
            if due is None:
                continue
            remarks = (
                remark
                for remark in referral.remarks
                if remark.recipient == delivery.recipient
            )
            yield _duty(
                referral.referral_id,
                delivery.recipient,
                due,
                span,
                remarks,
                _DONE[span.kind](delivery),
            )


def duties_of_intake(
    record: IntakeRecord, policies: Policies, clock: Clock
) -> Iterator[Duty]:
    """Yields the steps of an intake; when one is due only where that is known."""
    facts = record.facts
    for span in record.spans:
        if span.kind == Kind.DEADLINE_KIND_REVIEW:
            due = _review(record, span)
        else:
            due = _pass_on(record, span, policies, clock)
        yield _duty(record.name, facts.hotline, due, span, facts.remarks, span.closed)


def all_duties(
    book: Book, referrals: Iterable[ReferralFacts], policies: Policies, clock: Clock
) -> Iterator[Duty]:
    """Yields the duties of all intakes and referrals."""
    for record in book.values():
        yield from duties_of_intake(record, policies, clock)
    for referral in referrals:
        yield from duties_of_referral(referral, clock)


def check_remarks(book: Book) -> Iterator[Finding]:
    """Checks that what the exchange said of intakes was due where it said so.

    For deliveries the transition table was asked, chain by chain.
    """
    for record in book.values():
        for remark in record.facts.remarks:
            if not any(_within(remark, span) for span in record.spans):
                why = "it was not due any more, or not yet: the intake was not open"
                subject = f"intake {record.name}: {kind_name(remark.kind)}"
                yield Finding(DEADLINES, subject, why, "STATE_FORBIDS")


def check_duty(duty: Duty, clock: Clock, size: int) -> Finding | None:
    """Checks a breach, or that there is none, against the log's order.

    1. What was missed has its breach.
    2. What has a breach was due when it says, and before it was logged.

    That the log has a step only after its breach, though it claims to have been made in
    time, is no finding: the deadline is *disputed*, see :mod:`onward.core.timing`.

    Args:
        duty: what was due.
        clock: when things were made and logged.
        size: the number of entries that were looked at.
    """
    breach = duty.breach
    if breach is None:
        missed = duty.due is not None and _missed(duty, duty.due[1], clock, size)
        why = "was missed, and no breach says so"
        return _finding(DEADLINES, duty, why) if missed else None  # 1
    if clock.made(breach.at) + SKEW_MS < breach.due_ms:
        return _finding(DEADLINES, duty, "has a breach from before it was due")
    first, last = duty.due or (breach.due_ms, breach.due_ms)
    if not first - SKEW_MS <= breach.due_ms <= last + SKEW_MS:
        why = "has a breach that names another time than it was due"
        return _finding(DEADLINES, duty, why)  # 2
    return None


def _duty(
    subject: str,
    holder: str,
    due: _Due,
    span: Span,
    remarks: Iterable[Remark],
    done: int,
) -> Duty:
    """Returns a duty with the breach that stands in its span."""
    breaches = (item for item in remarks if item.breach and _within(item, span))
    breach = next(breaches, None)
    whose = breach.holder if breach else holder
    return Duty(subject, whose, span.kind, due, span, breach, done)


def _within(remark: Remark, span: Span) -> bool:
    """Whether a remark stands where its step was open; it may be what ended that."""
    return remark.kind == span.kind and _stands(remark.at, span)


def _missed(duty: Duty, due_ms: int, clock: Clock, size: int) -> bool:
    """Whether the exchange was awake after a step was due, and the step not there."""
    end = size if duty.span.closed == NONE else duty.span.closed
    awake = clock.first_after(due_ms, duty.span.opened)
    return clock.logged_after(end) - awake > SKEW_MS


def _due(delivery: DeliveryFacts, span: Span, clock: Clock) -> _Due:
    """Returns when a step of a delivery was due: terms run from its being logged."""
    if span.kind == Kind.DEADLINE_KIND_DELIVER:
        by = delivery.deliver_by_ms
        return (by, by) if by else None
    within = _WITHIN[span.kind](delivery)
    if not within or delivery.received == NONE:
        return None
    first = clock.logged_after(delivery.received)
    return first + within, clock.logged_before(delivery.received) + within


def _review(record: IntakeRecord, span: Span) -> _Due:
    """Returns when what was withheld provisionally had to be decided again."""
    reviews = (d.review_ms for d in record.facts.decisions if d.at == span.opened)
    at = next(reviews, None)
    return None if at is None else (at, at)


def pass_on_by(record: IntakeRecord, policies: Policies, clock: Clock) -> int | None:
    """Returns when a tip had to be passed on, wherever it was in between.

    The time runs from the tip's receipt, by the policy in force when it was registered,
    and is longer where a supervisor held it; None where that policy is not known.
    """
    opened = record.facts.at
    due = _pass_on(
        record, Span(Kind.DEADLINE_KIND_PASS_ON, opened, NONE), policies, clock
    )
    return None if due is None else due[1]


def _pass_on(
    record: IntakeRecord, span: Span, policies: Policies, clock: Clock
) -> _Due:
    """Returns when a hotline had to decide, by the policy in force there.

    The time runs from when the tip was received, also of one whose referral was taken
    back; and anew when a review was missed.
    """
    facts = record.facts
    times = policies.pass_on(span.opened, facts.urgency, facts.jurisdiction)
    if times is None:
        return None
    first = last = facts.received_ms
    if any(remark.at == span.opened for remark in facts.remarks):
        first, last = clock.logged_after(span.opened), clock.logged_before(span.opened)
    due = first + times.breach_ms, last + times.breach_ms
    for decision in facts.decisions:
        if decision.kind == "hold" and _stands(decision.at, span):
            due = _held(due, decision.at, facts, policies, clock)
    return due


def _held(
    due: tuple[int, int], at: int, facts: IntakeFacts, policies: Policies, clock: Clock
) -> tuple[int, int]:
    """Returns when a step is due that a supervisor held, while it was not due yet.

    How long is said by the policy in force at the hold. It takes no time away.
    """
    times = policies.pass_on(at, facts.urgency, facts.jurisdiction)
    if times is None or clock.logged_after(at) > due[1]:
        return due
    until = facts.received_ms + times.hold_ms
    return max(due[0], until), max(due[1], until)


def _stands(at: int, span: Span) -> bool:
    """Whether an entry stands where a step was open."""
    return span.opened < at and (span.closed == NONE or at <= span.closed)


def _finding(step: int, duty: Duty, why: str) -> Finding:
    whose = duty.holder.rpartition("/")[2]
    subject = f"{duty.subject}: {kind_name(duty.kind)} by {whose}"
    return Finding(step, subject, why, "TIME_IMPLAUSIBLE")


_Column: TypeAlias = Callable[[DeliveryFacts], int]

_DONE: Final[Mapping[int, _Column]] = MappingProxyType(
    {
        Kind.DEADLINE_KIND_DELIVER: lambda delivery: delivery.received,
        Kind.DEADLINE_KIND_ACKNOWLEDGE: lambda delivery: delivery.acknowledged,
        Kind.DEADLINE_KIND_OUTCOME: lambda delivery: delivery.outcome,
    }
)
_WITHIN: Final[Mapping[int, _Column]] = MappingProxyType(
    {
        Kind.DEADLINE_KIND_ACKNOWLEDGE: lambda item: item.acknowledge_within_ms,
        Kind.DEADLINE_KIND_OUTCOME: lambda item: item.outcome_within_ms,
    }
)
