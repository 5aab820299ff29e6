"""Random walks of the custody table, and real chains that follow them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onward.core import custody
from onward.core.custody import INITIAL, TRANSITIONS, Event, State
from onward.core.due import HOLDERS, OPEN, Kind, Role
from onward.core.errors import StateError
from onward.core.verify import verify_bundle
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.support.chain_builder import (
    HOTLINE,
    NEVADA,
    OHIO,
    ChainBuilder,
    Logged,
    established,
)

EVENTS = st.lists(st.sampled_from(list(Event)), max_size=25)
STATES = {
    state for state in State.values() if state != State.DELIVERY_STATE_UNSPECIFIED
}


def test_the_table_has_a_row_for_every_state() -> None:
    assert set(TRANSITIONS) == STATES
    assert {after for row in TRANSITIONS.values() for after in row.values()} <= STATES


def test_every_state_can_be_reached() -> None:
    reached, waiting = {INITIAL}, [INITIAL]
    while waiting:
        for after in TRANSITIONS[waiting.pop()].values():
            if after not in reached:
                reached.add(after)
                waiting.append(after)
    assert reached == STATES


def test_every_event_is_possible_somewhere() -> None:
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)


@given(EVENTS)
def test_a_walk_follows_the_table_and_a_refusal_changes_nothing(
    events: list[Event],
) -> None:
    state = INITIAL
    for event in events:
        if event.value in custody.allowed(state):
            state = custody.advance(state, event)
            assert state in STATES
            continue
        with pytest.raises(StateError) as refused:
            custody.advance(state, event)
        assert refused.value.metadata["state"] == custody.state_name(state)


@given(EVENTS)
def test_what_must_come_first_comes_first(events: list[Event]) -> None:
    happened: list[Event] = []
    state = INITIAL
    for event in events:
        if event not in TRANSITIONS[state]:
            continue
        state = custody.advance(state, event)
        happened.append(event)
        # That a machine has it needs that it went out; that a person read it, that a
        # machine has it; responsibility, that a person read it.
        _needs(happened, Event.RECEIVED, Event.HANDOVER)
        _needs(happened, Event.ACKNOWLEDGMENT, Event.RECEIVED)
        _needs(happened, Event.TAKING, Event.ACKNOWLEDGMENT)
        _needs(happened, Event.TRANSFER, Event.HANDOVER)
        _needs(happened, Event.OUTCOME, Event.TAKING)
        _needs(happened, Event.CLOSING_OUTCOME, Event.TAKING)
        _needs(happened, Event.RETRACTION_REPLY, Event.RETRACTION)
        _needs(happened, Event.RETRACTION_REPLY, Event.HANDOVER)


def _needs(happened: list[Event], event: Event, before: Event) -> None:
    if event in happened:
        assert before in happened[: happened.index(event)]


@given(EVENTS)
def test_nothing_goes_on_after_a_retraction_but_its_reply(events: list[Event]) -> None:
    state, retracted = INITIAL, False
    after = {
        State.DELIVERY_STATE_CANCELLED,
        State.DELIVERY_STATE_RETRACTION_PENDING,
        State.DELIVERY_STATE_RETRACTION_ANSWERED,
    }
    for event in events:
        state = TRANSITIONS[state].get(event, state)
        retracted = retracted or state in after
        assert not retracted or state in after


@pytest.mark.parametrize("state", sorted(STATES))
def test_what_went_out_is_always_a_fact_that_can_be_logged(
    state: State.ValueType,
) -> None:
    assert Event.HANDOVER in TRANSITIONS[state]


@pytest.mark.parametrize("state", sorted(STATES - {INITIAL}))
def test_erasure_moves_only_what_never_went_out(state: State.ValueType) -> None:
    assert TRANSITIONS[state].get(Event.ERASURE, state) == state


# --- walks as signed and logged statements


class Walker:
    """Says to an exchange in memory what an event stands for."""

    def __init__(self) -> None:
        self.exchange: ChainBuilder = established()
        self.referral = self.exchange.publish(HOTLINE, OHIO)
        self.last: dict[str, Logged] = {"acceptance": self.exchange.log[-1]}
        self.children: list[Logged] = []
        self.warned: set[int] = set()

    def can(self, event: Event) -> bool:
        """Whether there is a statement that it could answer."""
        return event in _ANSWERED and bool(self._answered(event))

    def say(self, event: Event) -> None:
        """Logs the statement."""
        if event is Event.HANDOVER:
            said = self.exchange.hand_over(self.referral, OHIO)
        elif event is Event.TRANSFER:
            answered = self._answered(event)
            assert answered
            child = self.exchange.transfer(self.referral, answered, NEVADA)
            self.children.append(child)
            return
        elif event is Event.RETRACTION:
            said = self.exchange.retract(self.referral)
        elif event is Event.ERASURE:
            said = self.exchange.erase(self.referral)
        else:
            answered = self._answered(event)
            assert answered
            said = self.exchange.answer(OHIO, answered, **_BODIES[event](self.referral))
        self.last[said.statement.body_kind] = said

    def remark(self, state: State.ValueType) -> None:
        """Logs a link, and a warning of each thing that is due for the first time."""
        if not self.warned:
            self.exchange.link(OHIO, self.referral, self.exchange.log[0])
        for kind in OPEN.get(state, ()):
            stated = kind == Kind.DEADLINE_KIND_OUTCOME and "outcome" in self.last
            if stated or kind in self.warned:
                continue
            self.warned.add(kind)
            role = HOLDERS[state]
            holder = {
                Role.HOLDER_ROLE_PUBLISHER: HOTLINE,
                Role.HOLDER_ROLE_RECIPIENT: OHIO,
                Role.HOLDER_ROLE_EXCHANGE: self.exchange.exchange,
            }[role]
            due = self.exchange.due(
                self.referral, OHIO, kind, holder=holder, holder_role=role
            )
            self.exchange.warn(self.referral, due)

    def report(self) -> tuple[int, str, str]:
        """Returns exit code, reason, and where the delivery ended."""
        bundle = self.exchange.bundle(self.referral, *self.children)
        report = verify_bundle(bundle, self.exchange.trust())
        return report.exit_code, report.reason, report.deliveries[0].state

    def _answered(self, event: Event) -> Logged | None:
        kinds = _ANSWERED[event]
        return next((self.last[kind] for kind in kinds if kind in self.last), None)


_ANSWERED: dict[Event, tuple[str, ...]] = {
    Event.HANDOVER: ("acceptance",),
    Event.RECEIVED: ("handover",),
    Event.RECEIVED_INVALID: ("handover",),
    Event.ACKNOWLEDGMENT: ("received",),
    Event.TAKING: ("acknowledgment",),
    Event.DECLINE: ("acknowledgment", "received"),
    Event.TRANSFER: ("decline", "taking", "acknowledgment"),
    Event.OUTCOME: ("outcome", "taking"),
    Event.CLOSING_OUTCOME: ("outcome", "taking"),
    Event.RETRACTION: ("acceptance",),
    Event.RETRACTION_REPLY: ("retraction",),
    Event.ERASURE: ("acceptance",),
}


def _received(
    check: vocabulary_pb2.ContentCheck.ValueType,
) -> Callable[..., dict[str, object]]:
    return lambda referral: {
        "received": statement_pb2.Received(
            content_digest=referral.statement.message.referral.content_digest,
            check=check,
        )
    }


def _outcome(*, closes: bool) -> Callable[..., dict[str, object]]:
    code = vocabulary_pb2.OUTCOME_CODE_ASSIGNED
    return lambda _: {"outcome": statement_pb2.Outcome(code=code, closes=closes)}


_BODIES: dict[Event, Callable[[Logged], dict[str, object]]] = {
    Event.RECEIVED: _received(vocabulary_pb2.CONTENT_CHECK_VERIFIED),
    Event.RECEIVED_INVALID: _received(vocabulary_pb2.CONTENT_CHECK_CANNOT_OPEN),
    Event.ACKNOWLEDGMENT: lambda _: {
        "acknowledgment": statement_pb2.Acknowledgment(reader_role="analyst")
    },
    Event.TAKING: lambda _: {"taking": statement_pb2.Taking()},
    Event.DECLINE: lambda _: {
        "decline": statement_pb2.Decline(
            reason=vocabulary_pb2.DECLINE_REASON_OUTSIDE_MANDATE
        )
    },
    Event.OUTCOME: _outcome(closes=False),
    Event.CLOSING_OUTCOME: _outcome(closes=True),
    Event.RETRACTION_REPLY: lambda _: {
        "retraction_reply": statement_pb2.RetractionReply(
            action=vocabulary_pb2.RETRACTION_ACTION_DESTROYED
        )
    },
}


@settings(max_examples=40)
@given(EVENTS)
def test_a_chain_that_follows_the_table_is_proven_to_its_end(
    events: list[Event],
) -> None:
    walker, state = Walker(), INITIAL
    for event in events:
        if event in TRANSITIONS[state] and walker.can(event):
            walker.say(event)
            state = custody.advance(state, event)
    assert walker.report() == (0, "", custody.state_name(state))


@settings(max_examples=40)
@given(EVENTS)
def test_remarks_move_nothing(events: list[Event]) -> None:
    walker, state = Walker(), INITIAL
    for event in events:
        walker.remark(state)
        if event in TRANSITIONS[state] and walker.can(event):
            walker.say(event)
            state = custody.advance(state, event)
    walker.remark(state)
    assert walker.report() == (0, "", custody.state_name(state))


@settings(max_examples=40)
@given(EVENTS)
def test_a_chain_that_leaves_the_table_is_not(events: list[Event]) -> None:
    walker, state = Walker(), INITIAL
    for event in events:
        if not walker.can(event):
            continue
        walker.say(event)
        if event not in TRANSITIONS[state]:
            assert walker.report() == (1, "STATE_FORBIDS", custody.state_name(state))
            return
        state = custody.advance(state, event)
