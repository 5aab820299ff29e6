"""What is due of a delivery or an intake, when, and who holds it: pure functions.

Theory of operation
-------------------
A row holds all that its deadlines follow from, so nobody has to look at the log or at a
policy again. ``alarm_ms`` is when its next warning or breach is to be said; what has no
alarm costs nothing, and what has one costs nothing until then. ``told`` remembers what
was said. Both change in the transaction that logs the warning or breach, so each is
said exactly once, whatever happens to the exchange or to its clock.

What a reader may find surprising:

* A breach whose warning was never said takes its place: nobody is warned too late.
* A step that is made late does not take back what was due before it: whoever makes the
  step says that first (see ``alarming``). So the log has them in their true order.
* While a delivery has not been warned of, its alarm *is* the half of its time: the row
  does not repeat when it was accepted. One that was given up and comes back, since its
  content was on the way out when it was erased, is not warned of again.
* An intake has one deadline at a time. Each decision that sets one begins anew, so
  ``told`` begins anew as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Final, TypeVar

from onward.core import custody
from onward.core.due import HOLDERS, OPEN, OPEN_INTAKE, Kind, Role
from onward.v1 import statement_pb2
from onward_server.exchange.clock import timestamp_ms
from onward_server.exchange.deadlines import Deadlines
from onward_server.storage.contract import DeliveryRow, IntakeRow

_DELIVER = Kind.DEADLINE_KIND_DELIVER
_ACKNOWLEDGE = Kind.DEADLINE_KIND_ACKNOWLEDGE
_OUTCOME = Kind.DEADLINE_KIND_OUTCOME
_HOTLINE = Role.HOLDER_ROLE_PUBLISHER

_OUTCOMES: Final = frozenset({custody.Event.OUTCOME, custody.Event.CLOSING_OUTCOME})
_OUTCOME_STATED: Final = 1

Row = TypeVar("Row", DeliveryRow, IntakeRow)


@dataclass(frozen=True, slots=True)
class Step:
    """A warning or a breach that is to be said.

    Attributes:
        breach: whether the time is over; if not, half of it is.
        due_ms: when the time is over.
        holder: who holds the tip.
    """

    kind: Kind.ValueType
    breach: bool
    due_ms: int
    holder: Role.ValueType


@dataclass(frozen=True, slots=True)
class _Duty:
    """Something that is due, and has not been breached yet."""

    kind: Kind.ValueType
    warn_ms: int
    due_ms: int
    holder: Role.ValueType
    warned: bool

    @property
    def alarm_ms(self) -> int:
        """When there is something to say about it next."""
        return self.due_ms if self.warned else min(self.warn_ms, self.due_ms)

    def step(self, now_ms: int) -> Step | None:
        """Returns what is to be said about it now, if anything is."""
        if now_ms < self.alarm_ms:
            return None
        return Step(self.kind, now_ms >= self.due_ms, self.due_ms, self.holder)


# ---------------------------------------------------------------------- deliveries


def begun(
    row: DeliveryRow, terms: statement_pb2.DeliveryDeadlines, accepted_ms: int
) -> DeliveryRow:
    """Returns a new delivery with the duties that its acceptance sets.

    Args:
        row: in its first state.
        terms: the acceptance's, of this recipient. What is absent is never due.
        accepted_ms: when the referral was accepted.
    """
    due_ms = timestamp_ms(terms.deliver_by_time)
    return replace(
        row,
        deliver_by_ms=due_ms,
        acknowledge_within_ms=terms.acknowledge_within.ToMilliseconds(),
        outcome_within_ms=terms.outcome_within.ToMilliseconds(),
        alarm_ms=_half(accepted_ms, due_ms) if due_ms else 0,
    )


def after(row: DeliveryRow, event: custody.Event, now_ms: int) -> DeliveryRow:
    """Returns a delivery with the duties that it has after an event.

    Args:
        row: already in the state after the event.
        event: what happened.
        now_ms: when.
    """
    if event is custody.Event.RECEIVED and not row.received_ms:
        row = replace(row, received_ms=now_ms)
    if event in _OUTCOMES:
        row = replace(row, told=row.told | _OUTCOME_STATED)
    return _alarmed(row)


# ------------------------------------------------------------------------- intakes


def intake_opened(row: IntakeRow, deadlines: Deadlines, now_ms: int) -> IntakeRow:
    """Returns an open intake with its first deadline.

    Its time runs from when the tip was received, however late it is registered, or a
    referral of it taken back; so there may be something to say at once.

    Args:
        row: already open.
        deadlines: of its class and jurisdiction.
        now_ms: when it is registered or open again; a tip was not received later.
    """
    return _opened(row, deadlines, min(row.received_ms, now_ms))


def intake_reopened(row: IntakeRow, deadlines: Deadlines, now_ms: int) -> IntakeRow:
    """Returns an intake that is open again, with a new deadline that runs from now."""
    return _opened(row, deadlines, now_ms)


def intake_held(row: IntakeRow, deadlines: Deadlines) -> IntakeRow:
    """Returns an open intake for which a supervisor takes more time.

    The longer time runs from when the tip was received as well. It never shortens what
    is left, and a second hold adds nothing.

    Args:
        row: still open.
        deadlines: of its class and jurisdiction; without ``hold_to`` nothing changes.
    """
    if deadlines.hold_to is None:
        return row
    span_ms = _ms(deadlines.hold_to)
    due_ms = row.received_ms + span_ms
    if due_ms <= row.due_ms:
        return row
    return _dated(row, due_ms - span_ms // 2, due_ms)


def intake_withheld(row: IntakeRow, review_ms: int, now_ms: int) -> IntakeRow:
    """Returns an intake that is withheld, with the deadline of its review.

    Args:
        row: already withheld.
        review_ms: when it is decided again; 0 if it is not.
        now_ms: when it was withheld.
    """
    return _dated(row, _half(now_ms, review_ms) if review_ms else 0, review_ms)


def intake_closed(row: IntakeRow) -> IntakeRow:
    """Returns an intake that has its outcome: nothing is due any more."""
    return _dated(row, 0, 0)


def _opened(row: IntakeRow, deadlines: Deadlines, begin_ms: int) -> IntakeRow:
    """Returns an open intake whose time runs from ``begin_ms``."""
    return _dated(
        row,
        begin_ms + _ms(deadlines.pass_on) // 2,
        begin_ms + _ms(deadlines.pass_on_breach),
    )


def _dated(row: IntakeRow, warn_ms: int, due_ms: int) -> IntakeRow:
    """Returns an intake with a new deadline, or with none."""
    return _alarmed(replace(row, warn_ms=warn_ms, due_ms=due_ms, told=0))


# ------------------------------------------------------------------------- telling


def due_steps(row: DeliveryRow | IntakeRow, now_ms: int) -> list[Step]:
    """Returns which warnings and breaches are to be said now.

    At most one for each thing that is due: a breach, or else a warning.
    """
    if not 0 < row.alarm_ms <= now_ms:
        return []
    steps = (duty.step(now_ms) for duty in _duties(row))
    return [step for step in steps if step]


def told(row: Row, steps: Iterable[Step]) -> Row:
    """Returns a row of which these warnings and breaches were said."""
    bits = row.told
    for step in steps:
        bits |= _breached(step.kind) if step.breach else _warned(step.kind)
    return _alarmed(replace(row, told=bits))


def _alarmed(row: Row) -> Row:
    """Returns a row with its next alarm, or without one."""
    alarms = (duty.alarm_ms for duty in _duties(row))
    return replace(row, alarm_ms=min(alarms, default=0))


def _duties(row: DeliveryRow | IntakeRow) -> Iterator[_Duty]:
    """Yields what is due of a row and has not been breached yet."""
    due = _of_intake(row) if isinstance(row, IntakeRow) else _of_delivery(row)
    for kind, warn_ms, due_ms, holder in due:
        if due_ms and not row.told & _breached(kind):
            warned = bool(row.told & _warned(kind))
            yield _Duty(kind, warn_ms, due_ms, holder, warned)


def _of_delivery(
    row: DeliveryRow,
) -> Iterator[tuple[Kind.ValueType, int, int, Role.ValueType]]:
    """Yields the kind, half-time, time and holder of what is due of a delivery."""
    for kind in OPEN.get(row.state, ()):
        if kind != _OUTCOME or not row.told & _OUTCOME_STATED:
            yield kind, *_TIMES[kind](row), HOLDERS[row.state]


def _of_intake(
    row: IntakeRow,
) -> Iterator[tuple[Kind.ValueType, int, int, Role.ValueType]]:
    """Yields the same of an intake."""
    if row.state in OPEN_INTAKE:
        yield OPEN_INTAKE[row.state], row.warn_ms, row.due_ms, _HOTLINE


def _within(row: DeliveryRow, span_ms: int) -> tuple[int, int]:
    """Returns half-time and time of what is due a span after receipt; 0 for never."""
    if not span_ms:
        return 0, 0
    return row.received_ms + span_ms // 2, row.received_ms + span_ms


_TIMES: Final[Mapping[int, Callable[[DeliveryRow], tuple[int, int]]]] = (
    MappingProxyType(
        {
            _DELIVER: lambda row: (
                row.alarm_ms or row.deliver_by_ms,
                row.deliver_by_ms,
            ),
            _ACKNOWLEDGE: lambda row: _within(row, row.acknowledge_within_ms),
            _OUTCOME: lambda row: _within(row, row.outcome_within_ms),
        }
    )
)
"""When half the time of a delivery's duty is over, and when all of it."""


def _warned(kind: Kind.ValueType) -> int:
    """Returns the bit of ``told`` that says: the warning was said."""
    return 1 << 2 * kind


def _breached(kind: Kind.ValueType) -> int:
    """Returns the bit of ``told`` that says: the breach was said."""
    return 2 << 2 * kind


def _half(begin_ms: int, end_ms: int) -> int:
    """Returns the middle of a span of time."""
    return (begin_ms + end_ms) // 2


def _ms(span: timedelta) -> int:
    """Returns a length of time in whole milliseconds."""
    return span // timedelta(milliseconds=1)
