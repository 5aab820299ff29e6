"""What is due when: every class and step, and random lives of deliveries."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.core import custody
from onward.core.custody import Event, State
from onward.core.due import Kind, Role
from onward.v1 import directory_pb2, vocabulary_pb2
from onward_server.exchange import duties
from onward_server.exchange.clock import to_datetime
from onward_server.exchange.deadlines import Deadlines, delivery_deadlines
from onward_server.exchange.policy import DisclosurePolicy
from onward_server.storage.contract import DeliveryRow, IntakeRow

NOW = 1_790_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
POLICE = "spiffe://national.example/agency/ohio-state-police"

DELIVER = Kind.DEADLINE_KIND_DELIVER
ACKNOWLEDGE = Kind.DEADLINE_KIND_ACKNOWLEDGE
OUTCOME = Kind.DEADLINE_KIND_OUTCOME
PASS_ON = Kind.DEADLINE_KIND_PASS_ON
REVIEW = Kind.DEADLINE_KIND_REVIEW

OPEN = vocabulary_pb2.INTAKE_STATE_OPEN
WITHHELD = vocabulary_pb2.INTAKE_STATE_WITHHELD

CLASSES = ("IMMINENT_DANGER", "MINOR", "TIME_SENSITIVE", "ROUTINE", "INFORMATIONAL")
POLICY = DisclosurePolicy.load_default()


def table(name: str) -> Deadlines:
    """Returns the default deadlines of a class."""
    return POLICY.deadlines(vocabulary_pb2.Urgency.Value(f"URGENCY_{name}"), "US-OH")


def delivery(deadlines: Deadlines) -> DeliveryRow:
    """Returns a delivery that has just been accepted."""
    member = directory_pb2.Member(name=POLICE)
    (terms,) = delivery_deadlines(deadlines, [member], to_datetime(NOW))
    row = DeliveryRow("r", POLICE, custody.INITIAL, NOW, 1, 0, waiting=True)
    return duties.begun(row, terms, NOW)


def intake(deadlines: Deadlines, received_ms: int = NOW) -> IntakeRow:
    """Returns an intake that is registered now."""
    row = IntakeRow(
        hotline="h",
        number=1,
        jurisdiction="US-OH",
        number_in_jurisdiction=1,
        log_index=0,
        digest=b"",
        urgency=1,
        age_group=1,
        test=False,
        received_ms=received_ms,
        state=OPEN,
        reached=(0, 0, 0),
        warn_ms=0,
        due_ms=0,
        told=0,
        alarm_ms=0,
    )
    return duties.intake_opened(row, deadlines, NOW)


def after(row: DeliveryRow, event: Event, now_ms: int) -> DeliveryRow:
    """Returns a delivery after an event, as the exchange moves it."""
    state = custody.advance(State.ValueType(row.state), event)
    return duties.after(replace(row, state=state), event, now_ms)


Row = TypeVar("Row", DeliveryRow, IntakeRow)


def said_in_time(
    row: Row, kind: Kind.ValueType, warn_ms: int, due_ms: int, holder: Role.ValueType
) -> Row:
    """Checks when one thing is warned of and breached; returns the row after both."""
    for at_ms, breach in ((warn_ms, False), (due_ms, True)):
        assert row.alarm_ms == at_ms
        assert duties.due_steps(row, at_ms - 1) == []
        steps = duties.due_steps(row, at_ms)
        assert steps == [duties.Step(kind, breach, due_ms, holder)]
        row = duties.told(row, steps)
        assert duties.due_steps(row, at_ms) == []
    return row


@pytest.mark.parametrize(
    ("name", "aim", "breach"),
    [
        ("IMMINENT_DANGER", 15 * MINUTE, 15 * MINUTE),
        ("MINOR", HOUR, DAY),
        ("TIME_SENSITIVE", 4 * HOUR, 4 * HOUR),
        ("ROUTINE", DAY, DAY),
        ("INFORMATIONAL", 7 * DAY, 7 * DAY),
    ],
)
def test_a_tip_is_to_be_passed_on_from_its_receipt(
    name: str, aim: int, breach: int
) -> None:
    received = NOW - 3 * MINUTE
    row = intake(table(name), received)
    row = said_in_time(
        row,
        PASS_ON,
        received + aim // 2,
        received + breach,
        Role.HOLDER_ROLE_PUBLISHER,
    )
    assert row.alarm_ms == 0
    assert row.due_ms == received + breach  # it is overdue, and stays so


@pytest.mark.parametrize(
    ("name", "deliver", "acknowledge", "outcome"),
    [
        ("IMMINENT_DANGER", 5 * MINUTE, 30 * MINUTE, DAY),
        ("MINOR", 15 * MINUTE, 4 * HOUR, 3 * DAY),
        ("TIME_SENSITIVE", HOUR, 12 * HOUR, 7 * DAY),
        ("ROUTINE", 4 * HOUR, 72 * HOUR, 30 * DAY),
        ("INFORMATIONAL", DAY, 14 * DAY, 0),
    ],
)
def test_each_step_of_a_delivery_is_warned_of_and_breached(
    name: str, deliver: int, acknowledge: int, outcome: int
) -> None:
    row = said_in_time(
        delivery(table(name)),
        DELIVER,
        NOW + deliver // 2,
        NOW + deliver,
        Role.HOLDER_ROLE_EXCHANGE,
    )
    assert row.alarm_ms == 0
    row = after(row, Event.HANDOVER, NOW + DAY)
    assert row.alarm_ms == 0  # it was said, whoever holds it now
    got = NOW + 2 * DAY
    row = after(row, Event.RECEIVED, got)
    recipient = Role.HOLDER_ROLE_RECIPIENT
    unread = replace(row, outcome_within_ms=0)
    said_in_time(
        unread, ACKNOWLEDGE, got + acknowledge // 2, got + acknowledge, recipient
    )
    row = after(row, Event.ACKNOWLEDGMENT, got + 1)
    if outcome:
        row = said_in_time(row, OUTCOME, got + outcome // 2, got + outcome, recipient)
    assert row.alarm_ms == 0


@pytest.mark.parametrize(
    ("events", "holder"),
    [
        ([], Role.HOLDER_ROLE_EXCHANGE),
        ([Event.HANDOVER], Role.HOLDER_ROLE_RECIPIENT),
        ([Event.HANDOVER, Event.RECEIVED_INVALID], Role.HOLDER_ROLE_PUBLISHER),
        (
            [Event.HANDOVER, Event.RECEIVED_INVALID, Event.HANDOVER],
            Role.HOLDER_ROLE_RECIPIENT,
        ),
    ],
)
def test_who_holds_what_was_not_delivered(
    events: list[Event], holder: Role.ValueType
) -> None:
    row = delivery(table("ROUTINE"))
    for event in events:
        row = after(row, event, NOW + 1)
    said_in_time(row, DELIVER, NOW + 2 * HOUR, NOW + 4 * HOUR, holder)


def test_receiving_again_gives_no_more_time() -> None:
    row = after(delivery(table("ROUTINE")), Event.HANDOVER, NOW)
    row = after(row, Event.RECEIVED, NOW)
    assert after(row, Event.RECEIVED, NOW + DAY).alarm_ms == row.alarm_ms


def test_a_hold_gives_the_time_of_the_table_and_a_second_one_none() -> None:
    row = duties.intake_held(intake(table("ROUTINE")), table("ROUTINE"))
    assert (row.warn_ms, row.due_ms) == (NOW + 36 * HOUR, NOW + 72 * HOUR)
    assert duties.intake_held(row, table("ROUTINE")) == row
    other = intake(table("MINOR"))
    assert duties.intake_held(other, table("MINOR")) == other


def test_a_deadline_that_is_held_is_warned_of_anew() -> None:
    row = intake(table("ROUTINE"))
    row = duties.told(row, duties.due_steps(row, NOW + 13 * HOUR))
    row = duties.intake_held(row, table("ROUTINE"))
    said_in_time(
        row,
        PASS_ON,
        NOW + 36 * HOUR,
        NOW + 72 * HOUR,
        Role.HOLDER_ROLE_PUBLISHER,
    )


def test_a_review_is_due_when_it_was_promised() -> None:
    row = replace(intake(table("ROUTINE")), state=WITHHELD)
    row = duties.intake_withheld(row, NOW + 10 * DAY, NOW)
    said_in_time(row, REVIEW, NOW + 5 * DAY, NOW + 10 * DAY, Role.HOLDER_ROLE_PUBLISHER)
    assert duties.intake_withheld(row, 0, NOW).alarm_ms == 0


def test_what_is_reopened_has_its_time_from_then_on() -> None:
    row = duties.intake_withheld(intake(table("ROUTINE")), NOW + DAY, NOW)
    row = duties.intake_reopened(row, table("ROUTINE"), NOW + 2 * DAY)
    said_in_time(
        row,
        PASS_ON,
        NOW + 2 * DAY + 12 * HOUR,
        NOW + 3 * DAY,
        Role.HOLDER_ROLE_PUBLISHER,
    )


def test_a_tip_that_claims_to_come_from_the_future_has_no_more_time() -> None:
    row = intake(table("ROUTINE"), NOW + 5 * MINUTE)
    assert row.due_ms == NOW + DAY


def test_an_intake_that_has_ended_is_never_due() -> None:
    row = duties.intake_closed(intake(table("IMMINENT_DANGER")))
    assert (row.alarm_ms, row.due_ms) == (0, 0)
    assert duties.due_steps(row, NOW + 1000 * DAY) == []


# ------------------------------------------------------------------- random lives

ORDINARY = 12
NEXT = {
    State.DELIVERY_STATE_ACCEPTED: Event.HANDOVER,
    State.DELIVERY_STATE_HANDED_OVER: Event.RECEIVED,
    State.DELIVERY_STATE_RECEIVED: Event.ACKNOWLEDGMENT,
    State.DELIVERY_STATE_ACKNOWLEDGED: Event.TAKING,
    State.DELIVERY_STATE_TAKEN: Event.OUTCOME,
}


@dataclass
class Life:
    """A delivery and, beside it, what happened to it in plain words.

    Attributes:
        said: how often each warning and breach was said.
    """

    row: DeliveryRow
    events: list[Event] = field(default_factory=list)
    received_ms: int | None = None
    said: Counter[tuple[int, bool]] = field(default_factory=Counter)

    def happens(self, choice: int, now_ms: int) -> None:
        """Says what is due, as every change does, and moves on by a possible event."""
        state = State.ValueType(self.row.state)
        possible = list(custody.TRANSITIONS[state])
        event = possible[choice % len(possible)]
        if choice == ORDINARY:
            event = NEXT.get(state, event)
        self.tell(now_ms)
        if event is Event.RECEIVED and self.received_ms is None:
            self.received_ms = now_ms
        self.row = after(self.row, event, now_ms)
        self.events.append(event)

    def tell(self, now_ms: int) -> None:
        """Says what is due; checks that it is what should be said."""
        steps = duties.due_steps(self.row, now_ms)
        assert {step.kind for step in steps} == self.expected(now_ms)
        for step in steps:
            self.said[step.kind, step.breach] += 1
        self.row = duties.told(self.row, steps)

    def expected(self, now_ms: int) -> set[int]:
        """What there is to say now, by what happened and not by the row's alarm."""
        return {
            kind
            for kind, warn_ms, due_ms in self._pending()
            if not self.said[kind, True]
            and (now_ms >= due_ms or (now_ms >= warn_ms and not self.said[kind, False]))
        }

    def _pending(self) -> list[tuple[int, int, int]]:
        """What has not been done, with the times at which it should be spoken of."""
        happened = set(self.events)
        gone = {Event.DECLINE, Event.TRANSFER, Event.RETRACTION} & happened
        if gone or self.row.state == State.DELIVERY_STATE_EXPIRED:
            return []
        if self.received_ms is None:
            due_ms = NOW + 4 * HOUR
            back = Event.ERASURE in happened and self.events[0] is Event.ERASURE
            return [(DELIVER, due_ms if back else NOW + 2 * HOUR, due_ms)]
        got = self.received_ms
        pending: list[tuple[int, int, int]] = []
        if Event.ACKNOWLEDGMENT not in happened:
            pending.append((ACKNOWLEDGE, got + 36 * HOUR, got + 72 * HOUR))
        if not {Event.OUTCOME, Event.CLOSING_OUTCOME} & happened:
            pending.append((OUTCOME, got + 15 * DAY, got + 30 * DAY))
        return pending


@given(
    st.lists(
        st.tuples(
            # Mostly forward, sometimes far, sometimes back.
            st.one_of(
                st.integers(0, HOUR),
                st.integers(0, 40 * DAY),
                st.integers(-3 * DAY, 0),
            ),
            # Nothing, what mostly comes next, or any other event that is possible.
            st.sampled_from([None, None, *[ORDINARY] * 8, *range(12)]),
        ),
        min_size=10,
        max_size=40,
    )
)
def test_whatever_happens_and_however_the_clock_goes_each_thing_is_said_once(
    steps: list[tuple[int, int | None]],
) -> None:
    life, now_ms = Life(delivery(table("ROUTINE"))), NOW
    for passed_ms, choice in steps:
        now_ms += passed_ms
        if choice is None:
            life.tell(now_ms)
            assert life.row.alarm_ms == 0 or life.row.alarm_ms > now_ms
        else:
            life.happens(choice, now_ms)
    assert all(count == 1 for count in life.said.values())


@given(st.integers(1, 40 * DAY), st.integers(0, 40 * DAY))
def test_an_alarm_is_never_later_than_what_there_is_to_say(got: int, then: int) -> None:
    row = after(delivery(table("ROUTINE")), Event.HANDOVER, NOW)
    row = after(row, Event.RECEIVED, NOW + got)
    silent = row.alarm_ms - 1
    assert duties.due_steps(row, min(silent, NOW + then)) == []
    assert duties.due_steps(row, row.alarm_ms + then)
