"""The custody table, rule by rule as people would say them."""

from __future__ import annotations

import re

import pytest

from onward.core import custody
from onward.core.custody import ANSWERS, SIGNERS, TRANSITIONS, Event, Signer, State
from onward.core.errors import StateError
from onward.v1 import statement_pb2, vocabulary_pb2

KINDS_OF_CHAINS = {
    "referral",
    "acceptance",
    "rejection",
    "handover",
    "received",
    "acknowledgment",
    "taking",
    "decline",
    "transfer",
    "outcome",
    "retraction",
    "retraction_reply",
    "erasure",
    "link",
    "warning",
    "breach",
}


def walk(*events: Event) -> str:
    state = custody.INITIAL
    for event in events:
        state = custody.advance(state, event)
    return custody.state_name(state)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ((), "ACCEPTED"),
        ((Event.HANDOVER,), "HANDED_OVER"),
        ((Event.HANDOVER, Event.RECEIVED), "RECEIVED"),
        ((Event.HANDOVER, Event.RECEIVED_INVALID), "INVALID"),
        ((Event.HANDOVER, Event.RECEIVED_INVALID, Event.HANDOVER), "HANDED_OVER"),
        ((Event.HANDOVER, Event.RECEIVED_INVALID, Event.DECLINE), "DECLINED"),
        ((Event.RETRACTION,), "CANCELLED"),
        ((Event.ERASURE,), "EXPIRED"),
        ((Event.HANDOVER, Event.RETRACTION), "RETRACTION_PENDING"),
        (
            (Event.HANDOVER, Event.RETRACTION, Event.RETRACTION_REPLY),
            "RETRACTION_ANSWERED",
        ),
        # Content was on its way when the retraction was logged: it needs a reply.
        ((Event.RETRACTION, Event.HANDOVER), "RETRACTION_PENDING"),
    ],
)
def test_the_way_of_a_delivery(events: tuple[Event, ...], state: str) -> None:
    assert walk(*events) == state


READ = (Event.HANDOVER, Event.RECEIVED, Event.ACKNOWLEDGMENT)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ((Event.TAKING,), "TAKEN"),
        ((Event.DECLINE,), "DECLINED"),
        ((Event.TRANSFER,), "TRANSFERRED"),
        ((Event.DECLINE, Event.TRANSFER), "TRANSFERRED"),
        ((Event.TAKING, Event.OUTCOME, Event.OUTCOME), "TAKEN"),
        ((Event.TAKING, Event.CLOSING_OUTCOME), "CLOSED"),
        ((Event.TAKING, Event.CLOSING_OUTCOME, Event.OUTCOME), "TAKEN"),
        ((Event.TAKING, Event.TRANSFER), "TRANSFERRED"),
        ((Event.TAKING, Event.CLOSING_OUTCOME, Event.ERASURE), "CLOSED"),
    ],
)
def test_what_a_reader_may_do(events: tuple[Event, ...], state: str) -> None:
    assert walk(*READ, *events) == state


@pytest.mark.parametrize(
    "events",
    [
        (Event.RECEIVED,),
        (Event.ACKNOWLEDGMENT,),
        (Event.HANDOVER, Event.ACKNOWLEDGMENT),
        (Event.HANDOVER, Event.RECEIVED_INVALID, Event.ACKNOWLEDGMENT),
        (Event.HANDOVER, Event.RECEIVED, Event.TAKING),
        (Event.HANDOVER, Event.RECEIVED, Event.DECLINE),
        (*READ, Event.OUTCOME),
        (*READ, Event.TAKING, Event.TAKING),
        (*READ, Event.TAKING, Event.DECLINE),
        (*READ, Event.DECLINE, Event.TAKING),
        (*READ, Event.TRANSFER, Event.OUTCOME),
        (*READ, Event.RETRACTION, Event.TAKING),
        (*READ, Event.RETRACTION_REPLY),
        (Event.RETRACTION, Event.RETRACTION_REPLY),
    ],
)
def test_what_is_not_possible(events: tuple[Event, ...]) -> None:
    with pytest.raises(StateError) as error:
        walk(*events)
    assert error.value.reason_name == "STATE_FORBIDS"
    assert error.value.metadata["event"] == events[-1]


def test_a_refusal_names_the_state_and_what_it_allows() -> None:
    with pytest.raises(StateError) as error:
        walk(Event.HANDOVER, Event.TAKING)
    assert error.value.metadata["state"] == "HANDED_OVER"
    assert "HANDED_OVER" in error.value.message
    assert "received, content invalid" in error.value.message


def test_a_state_of_a_later_version_allows_nothing() -> None:
    later = State.ValueType(99)
    assert custody.state_name(later) == "UNKNOWN_99"
    assert custody.allowed(later) == []
    with pytest.raises(StateError, match="nothing"):
        custody.advance(later, Event.HANDOVER)


# --- statements and events


def message(**body: object) -> statement_pb2.Statement:
    return statement_pb2.Statement(**body)  # type: ignore[arg-type]


def test_a_receipt_is_an_event_by_what_was_found() -> None:
    for check in vocabulary_pb2.ContentCheck.values():
        event = custody.event_of(message(received=statement_pb2.Received(check=check)))
        verified = check == vocabulary_pb2.CONTENT_CHECK_VERIFIED
        assert event is (Event.RECEIVED if verified else Event.RECEIVED_INVALID)


def test_an_outcome_is_an_event_by_whether_it_closes() -> None:
    closing = message(outcome=statement_pb2.Outcome(closes=True))
    assert custody.event_of(closing) is Event.CLOSING_OUTCOME
    assert custody.event_of(message(outcome=statement_pb2.Outcome())) is Event.OUTCOME


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("handover", Event.HANDOVER),
        ("acknowledgment", Event.ACKNOWLEDGMENT),
        ("taking", Event.TAKING),
        ("decline", Event.DECLINE),
        ("transfer", Event.TRANSFER),
        ("retraction", Event.RETRACTION),
        ("retraction_reply", Event.RETRACTION_REPLY),
        ("erasure", Event.ERASURE),
        ("referral", None),
        ("acceptance", None),
        ("rejection", None),
        ("link", None),
        ("warning", None),
        ("breach", None),
        ("intake", None),
        ("directory_change", None),
        ("key_change", None),
        ("audit_access", None),
    ],
)
def test_each_kind_of_statement_is_one_event_or_none(
    kind: str, event: Event | None
) -> None:
    statement = statement_pb2.Statement()
    getattr(statement, kind).SetInParent()
    assert custody.event_of(statement) is event


def test_a_statement_without_a_body_is_no_event() -> None:
    assert custody.event_of(statement_pb2.Statement()) is None


# --- the tables beside


def test_every_kind_of_a_chain_has_a_signer_and_answers_something() -> None:
    assert set(SIGNERS) == KINDS_OF_CHAINS
    assert set(ANSWERS) == KINDS_OF_CHAINS - {"referral"}
    assert set().union(*ANSWERS.values()) <= KINDS_OF_CHAINS


def test_parties_speak_for_themselves_only() -> None:
    by = {
        signer: {kind for kind, who in SIGNERS.items() if who is signer}
        for signer in Signer
    }
    assert by[Signer.PUBLISHER] == {"referral", "retraction"}
    assert by[Signer.EXCHANGE] == {
        "acceptance",
        "rejection",
        "handover",
        "erasure",
        "warning",
        "breach",
    }
    assert by[Signer.PARTY] == {"link"}


def test_an_answer_to_the_wrong_kind_is_refused() -> None:
    custody.check_answers("received", "handover")
    with pytest.raises(StateError) as error:
        custody.check_answers("received", "acceptance")
    assert error.value.reason_name == "PREVIOUS_MISMATCH"
    assert "handover" in error.value.message
    with pytest.raises(StateError, match="stranger"):
        custody.check_answers("received", "")


# --- the diagram


def test_the_diagram_shows_the_table_and_nothing_else() -> None:
    first, start, *lines = custody.diagram().splitlines()
    assert first == "stateDiagram-v2"
    assert start.split() == ["[*]", "-->", "ACCEPTED:", "acceptance"]
    shown = set()
    for line in lines:
        found = re.fullmatch(r"    (\w+) --> (\w+): (.+)", line)
        assert found, line
        before, after, names = found.groups()
        shown |= {(before, name, after) for name in _events(names)}
    assert shown == {
        (custody.state_name(before), event.value, custody.state_name(after))
        for before, events in TRANSITIONS.items()
        for event, after in events.items()
    }


def _events(names: str) -> list[str]:
    """Splits a list of events, one of which has a comma of its own."""
    invalid = Event.RECEIVED_INVALID.value
    marked = names.replace(invalid, "invalid")
    return [invalid if name == "invalid" else name for name in marked.split(", ")]
