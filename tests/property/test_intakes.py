"""Random walks of intakes: each is always in exactly one state."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.core import intakes
from onward.core.errors import StateError
from onward.core.intakes import INITIAL, TRANSITIONS, Event, Reach, State
from onward.v1 import vocabulary_pb2

EVENTS = st.lists(st.sampled_from(list(Event)), max_size=25)
STATES = {state for state in State.values() if state != State.INTAKE_STATE_UNSPECIFIED}
KINDS = st.lists(st.sampled_from(vocabulary_pb2.MemberKind.values()), max_size=4)
URGENCIES = st.sampled_from(vocabulary_pb2.Urgency.values())
AGES = st.sampled_from(vocabulary_pb2.AgeGroup.values())


def test_the_table_has_a_row_for_every_state() -> None:
    assert set(TRANSITIONS) == STATES
    assert {after for row in TRANSITIONS.values() for after in row.values()} == STATES


def test_every_event_is_possible_somewhere() -> None:
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([None, *Event]))))
def test_received_is_the_sum_of_all_states(
    steps: list[tuple[int, Event | None]],
) -> None:
    book: dict[int, State.ValueType] = {}
    for number, event in steps:
        if number not in book:
            book[number] = INITIAL
        elif event and event in TRANSITIONS[book[number]]:
            book[number] = intakes.advance(book[number], event)
        elif event:
            with pytest.raises(StateError):
                intakes.advance(book[number], event)
        counts = Counter(intakes.state_name(state) for state in book.values())
        assert len(book) == sum(
            counts[name] for name in ("PASSED_ON", "WITHHELD", "DUPLICATE", "OPEN")
        )


@given(EVENTS)
def test_what_was_passed_on_stays_so_until_it_is_taken_back(
    events: list[Event],
) -> None:
    state, passed = INITIAL, False
    for event in events:
        state = TRANSITIONS[state].get(event, state)
        passed = (passed or event is Event.REFERRAL) and event is not Event.TAKEN_BACK
        assert (state == State.INTAKE_STATE_PASSED_ON) is passed


@given(EVENTS)
def test_an_intake_opens_again_by_a_missed_review_or_a_referral_taken_back(
    events: list[Event],
) -> None:
    opens = {
        State.INTAKE_STATE_WITHHELD: Event.REVIEW_BREACH,
        State.INTAKE_STATE_PASSED_ON: Event.TAKEN_BACK,
    }
    state = INITIAL
    for event in events:
        before, state = state, TRANSITIONS[state].get(event, state)
        if State.INTAKE_STATE_OPEN == state != before:
            assert event is opens[before]


@given(st.lists(KINDS, min_size=1, max_size=4), URGENCIES, AGES)
def test_a_tip_is_passed_on_once_all_that_must_have_it_were_reached(
    referrals: list[list[int]], urgency: int, age_group: int
) -> None:
    needed = intakes.mandated(urgency, age_group)
    state, reached = INITIAL, Reach(0)
    for kinds in referrals:
        reached |= intakes.reach(kinds)
        event = intakes.event_of_referral(state, reached, needed)
        state = intakes.advance(state, event)
    all_kinds = {kind for kinds in referrals for kind in kinds}
    whole = bool(all_kinds) and needed & intakes.reach(all_kinds) == needed
    assert (state == State.INTAKE_STATE_PASSED_ON) is whole


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=50))
def test_another_salt_is_another_commitment(salt: bytes, content: bytes) -> None:
    made = intakes.commitment(salt, content)
    assert made == intakes.commitment(salt, content)
    assert made != intakes.commitment(bytes(byte ^ 1 for byte in salt), content)
