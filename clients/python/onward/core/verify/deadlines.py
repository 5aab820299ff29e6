"""The deadlines of an acceptance: how each was kept, and what was said about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.custody import Event, State
from onward.core.due import Kind, kind_name
from onward.core.errors import Reason, VerificationError
from onward.core.timing import MAX_CLOCK_SKEW, Deadline, Interval, judge
from onward.core.verify.deliveries import OUTCOMES, Delivery
from onward.core.verify.evidence import Entry, Problem, noting
from onward.v1 import statement_pb2

_DELIVER: Final = Kind.DEADLINE_KIND_DELIVER
_ACKNOWLEDGE: Final = Kind.DEADLINE_KIND_ACKNOWLEDGE
_OUTCOME: Final = Kind.DEADLINE_KIND_OUTCOME

_STEPS: Final[Mapping[int, frozenset[Event]]] = MappingProxyType(
    {
        _DELIVER: frozenset({Event.RECEIVED}),
        _ACKNOWLEDGE: frozenset({Event.ACKNOWLEDGMENT}),
        _OUTCOME: OUTCOMES,
    }
)
"""The events that each kind of deadline waits for."""

_ENDINGS: Final = frozenset({Event.DECLINE, Event.TRANSFER, Event.RETRACTION})
_UNSENT: Final = frozenset(
    {State.DELIVERY_STATE_CANCELLED, State.DELIVERY_STATE_EXPIRED}
)
_ROUNDING: Final = timedelta(milliseconds=1)

_Span: TypeAlias = tuple[datetime, datetime]


def judge_deadlines(
    delivery: Delivery, intervals: Mapping[int, Interval], until: datetime
) -> tuple[Deadline, ...]:
    """Judges the deadlines that the exchange set for one delivery.

    Args:
        delivery: the delivery, with what happened to it.
        intervals: when each statement was made, by its index in the log.
        until: up to when the evidence goes: what is due later and was not done is
            undetermined.

    Returns:
        Those that were set, without those that lapsed because the delivery was
        declined, passed on or taken back before they were due.
    """
    acceptance = delivery.chain.acceptance
    if acceptance is None:
        return ()
    judged = (
        _judge(kind, due, delivery, intervals, until)
        for terms in acceptance.statement.message.acceptance.deadlines
        if terms.recipient == delivery.recipient
        for kind, due in _due(terms, delivery, intervals)
    )
    return tuple(deadline for deadline in judged if deadline)


def check_alarms(
    deliveries: Iterable[Delivery], intervals: Mapping[int, Interval]
) -> list[Problem]:
    """Checks that each warning and breach names the time that the exchange had set.

    1. What is due a term after receipt is due a term after the exchange logged it. That
       was not before the recipient received it, and not after the exchange or witnesses
       had seen it in the log; clocks may be off by :data:`MAX_CLOCK_SKEW`.
    2. The exchange did not call a breach what was not due yet by its own clock.
    """
    problems: list[Problem] = []
    for delivery in deliveries:
        for entry in delivery.alarms:
            with noting(problems, entry.subject):
                _check_alarm(entry, delivery, intervals)
    return problems


def _judge(
    kind: Kind.ValueType,
    due: _Span | None,
    delivery: Delivery,
    intervals: Mapping[int, Interval],
    until: datetime,
) -> Deadline | None:
    """Judges one deadline of a delivery; None if it lapsed."""
    done, ended = delivery.first(_STEPS[kind]), delivery.first(_endings(delivery))
    breach, event = delivery.said(kind).get("breach"), done or ended
    deadline = judge(
        kind_name(kind).lower(),
        due,
        intervals[done.index] if done else None,
        intervals[ended.index] if ended else None,
        until,
        late=bool(breach and event and breach.index < event.index),
    )
    if deadline and breach:
        return replace(deadline, breach=intervals[breach.index])
    return deadline


def _check_alarm(
    entry: Entry, delivery: Delivery, intervals: Mapping[int, Interval]
) -> None:
    """Checks the time that a warning or breach names."""
    due, acceptance = entry.due, delivery.chain.acceptance
    if due is None or acceptance is None:
        return  # which step 8 says
    time = due.due_time.ToDatetime(tzinfo=UTC)
    spans = [
        span
        for terms in acceptance.statement.message.acceptance.deadlines
        if terms.recipient == delivery.recipient
        for kind, span in _due(terms, delivery, intervals, seen=entry.claimed)
        if kind == due.kind and span
    ]
    skew = _ROUNDING if due.kind == _DELIVER else MAX_CLOCK_SKEW
    if not any(first - skew <= time <= last + skew for first, last in spans):  # 1
        raise _implausible("it names another time than the acceptance sets")
    if entry.kind == "breach" and entry.claimed < time:  # 2
        raise _implausible("it was logged before the time that it names")


def _due(
    terms: statement_pb2.DeliveryDeadlines,
    delivery: Delivery,
    intervals: Mapping[int, Interval],
    *,
    seen: datetime | None = None,
) -> Iterator[tuple[Kind.ValueType, _Span | None]]:
    """Yields what is due, and when at the earliest and latest.

    Args:
        terms: what the acceptance sets.
        delivery: the delivery.
        intervals: when each statement was made.
        seen: a time at which the exchange knew of the receipt. If it is given, terms
            run from when the exchange logged it, and else from when it was made.
    """
    if terms.HasField("deliver_by_time"):
        yield _DELIVER, _at(terms.deliver_by_time)
    received = delivery.first(_STEPS[_DELIVER])
    if received is None:
        return
    made = intervals[received.index]
    start = made.earliest, (made.not_after or seen) if seen else made.latest
    if terms.HasField("acknowledge_within"):
        yield _ACKNOWLEDGE, _after(start, terms.acknowledge_within)
    if terms.HasField("outcome_within"):
        yield _OUTCOME, _after(start, terms.outcome_within)


def _endings(delivery: Delivery) -> frozenset[Event]:
    """Returns the events after which a delivery is nobody's to hurry any more."""
    # Content that was erased before it ever went out cannot be delivered any more.
    return _ENDINGS | {Event.ERASURE} if delivery.state in _UNSENT else _ENDINGS


def _at(time: Timestamp) -> _Span | None:
    """Returns a point of time, None where Python cannot hold it."""
    try:
        due = time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return due, due


def _after(start: _Span, within: Duration) -> _Span | None:
    """Returns the end of a term that began at some time in a span."""
    try:
        term = within.ToTimedelta()
        return start[0] + term, start[1] + term
    except (ValueError, OverflowError):
        return None


def _implausible(why: str) -> VerificationError:
    return VerificationError(Reason.ERROR_REASON_TIME_IMPLAUSIBLE, why)
