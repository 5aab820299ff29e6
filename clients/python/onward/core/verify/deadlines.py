"""The deadlines of an acceptance, judged for each delivery."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.custody import Event, State
from onward.core.timing import Deadline, Interval, judge
from onward.core.verify.chains import Delivery
from onward.v1 import statement_pb2

_ARRIVAL = frozenset({Event.RECEIVED})
_READING = frozenset({Event.ACKNOWLEDGMENT})
_OUTCOME = frozenset({Event.OUTCOME, Event.CLOSING_OUTCOME})
_ENDINGS = frozenset({Event.DECLINE, Event.TRANSFER, Event.RETRACTION})
_UNSENT = frozenset({State.DELIVERY_STATE_CANCELLED, State.DELIVERY_STATE_EXPIRED})

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
    ended = _first(_endings(delivery), delivery, intervals)
    judged = (
        judge(name, due, done, ended, until)
        for terms in acceptance.statement.message.acceptance.deadlines
        if terms.recipient == delivery.recipient
        for name, due, done in _due(terms, delivery, intervals)
    )
    return tuple(deadline for deadline in judged if deadline)


def _due(
    terms: statement_pb2.DeliveryDeadlines,
    delivery: Delivery,
    intervals: Mapping[int, Interval],
) -> Iterator[tuple[str, _Span | None, Interval | None]]:
    """Yields what is due, when at the earliest and latest, and when it was done."""
    received = _first(_ARRIVAL, delivery, intervals)
    if terms.HasField("deliver_by_time"):
        yield "deliver", _at(terms.deliver_by_time), received
    if received and terms.HasField("acknowledge_within"):
        due = _after(received, terms.acknowledge_within)
        yield "acknowledge", due, _first(_READING, delivery, intervals)
    if received and terms.HasField("outcome_within"):
        due = _after(received, terms.outcome_within)
        yield "outcome", due, _first(_OUTCOME, delivery, intervals)


def _endings(delivery: Delivery) -> frozenset[Event]:
    """Returns the events after which a delivery is nobody's to hurry any more."""
    # Content that was erased before it ever went out cannot be delivered any more.
    return _ENDINGS | {Event.ERASURE} if delivery.state in _UNSENT else _ENDINGS


def _first(
    events: frozenset[Event], delivery: Delivery, intervals: Mapping[int, Interval]
) -> Interval | None:
    """Returns when the first of some events was stated, None if none was."""
    indexes = (entry.index for event, entry in delivery.events if event in events)
    index = next(indexes, None)
    return None if index is None else intervals[index]


def _at(time: Timestamp) -> _Span | None:
    """Returns a point of time, None where Python cannot hold it."""
    try:
        due = time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return due, due


def _after(start: Interval, within: Duration) -> _Span | None:
    """Returns the end of a term that began at some time in an interval."""
    try:
        term = within.ToTimedelta()
        return start.earliest + term, start.latest + term
    except (ValueError, OverflowError):
        return None
