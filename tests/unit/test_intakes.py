"""What becomes of an intake, rule by rule as people would say them."""

from __future__ import annotations

import hashlib
import re

import pytest

from onward.core import intakes
from onward.core.errors import MalformedError, StateError
from onward.core.intakes import (
    ANSWERS,
    OF_THE_HOTLINE,
    TRANSITIONS,
    Event,
    Reach,
    State,
)
from onward.v1 import vocabulary_pb2

V = vocabulary_pb2


def walk(*events: Event) -> str:
    state = intakes.INITIAL
    for event in events:
        state = intakes.advance(state, event)
    return intakes.state_name(state)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ((), "OPEN"),
        ((Event.REFERRAL,), "PASSED_ON"),
        ((Event.PART,), "OPEN"),
        ((Event.PART, Event.REFERRAL), "PASSED_ON"),
        ((Event.HOLD, Event.HOLD), "OPEN"),
        ((Event.HOLD, Event.WITHHOLDING), "WITHHELD"),
        ((Event.WITHHOLDING, Event.WITHHOLDING), "WITHHELD"),
        ((Event.WITHHOLDING, Event.PART), "WITHHELD"),
        ((Event.WITHHOLDING, Event.REFERRAL), "PASSED_ON"),
        ((Event.WITHHOLDING, Event.REVIEW_BREACH), "OPEN"),
        ((Event.WITHHOLDING, Event.REVIEW_BREACH, Event.WITHHOLDING), "WITHHELD"),
        ((Event.WITHHOLDING, Event.DUPLICATE), "DUPLICATE"),
        ((Event.DUPLICATE, Event.WITHHOLDING), "WITHHELD"),
        ((Event.DUPLICATE, Event.REFERRAL), "PASSED_ON"),
        ((Event.REFERRAL, Event.REFERRAL, Event.PART), "PASSED_ON"),
    ],
)
def test_the_way_of_an_intake(events: tuple[Event, ...], state: str) -> None:
    assert walk(*events) == state


@pytest.mark.parametrize(
    "events",
    [
        (Event.REVIEW_BREACH,),
        (Event.WITHHOLDING, Event.HOLD),
        (Event.DUPLICATE, Event.HOLD),
        (Event.DUPLICATE, Event.REVIEW_BREACH),
        (Event.REFERRAL, Event.WITHHOLDING),
        (Event.REFERRAL, Event.DUPLICATE),
        (Event.REFERRAL, Event.HOLD),
        (Event.REFERRAL, Event.REVIEW_BREACH),
    ],
)
def test_what_is_not_possible(events: tuple[Event, ...]) -> None:
    with pytest.raises(StateError) as error:
        walk(*events)
    assert error.value.reason_name == "INTAKE_DECIDED"
    assert error.value.metadata == {
        "state": walk(*events[:-1]),
        "event": events[-1].value,
    }
    assert error.value.metadata["state"] in error.value.message


def test_a_state_of_a_later_version_allows_nothing() -> None:
    assert intakes.state_name(99) == "UNKNOWN_99"
    with pytest.raises(StateError, match="nothing"):
        intakes.advance(99, Event.REFERRAL)


# --- who must have it


@pytest.mark.parametrize(
    ("kinds", "reached"),
    [
        ([], Reach(0)),
        ([V.MEMBER_KIND_LAW_ENFORCEMENT], Reach.LAW_ENFORCEMENT),
        ([V.MEMBER_KIND_TASK_FORCE], Reach.LAW_ENFORCEMENT),
        ([V.MEMBER_KIND_PROSECUTOR], Reach.LAW_ENFORCEMENT),
        ([V.MEMBER_KIND_CHILD_WELFARE], Reach.CHILD_WELFARE),
        ([V.MEMBER_KIND_SERVICE_PROVIDER], Reach.OTHERS),
        ([V.MEMBER_KIND_HOTLINE], Reach.OTHERS),
        ([99], Reach.OTHERS),
        (
            [V.MEMBER_KIND_CHILD_WELFARE, V.MEMBER_KIND_LAW_ENFORCEMENT],
            Reach.CHILD_WELFARE | Reach.LAW_ENFORCEMENT,
        ),
    ],
)
def test_whom_a_referral_reaches(kinds: list[int], reached: Reach) -> None:
    assert intakes.reach(kinds) == reached


BOTH = Reach.LAW_ENFORCEMENT | Reach.CHILD_WELFARE
ROUTINE, IMMINENT = V.URGENCY_ROUTINE, V.URGENCY_IMMINENT_DANGER


@pytest.mark.parametrize(
    ("urgency", "age_group", "needed"),
    [
        (ROUTINE, V.AGE_GROUP_ADULT, Reach(0)),
        (ROUTINE, V.AGE_GROUP_VULNERABLE_ADULT, Reach(0)),
        (ROUTINE, V.AGE_GROUP_UNKNOWN, Reach(0)),
        (IMMINENT, V.AGE_GROUP_ADULT, Reach.LAW_ENFORCEMENT),
        (IMMINENT, V.AGE_GROUP_13_17, BOTH),
        (ROUTINE, V.AGE_GROUP_UNDER_13, BOTH),
        (ROUTINE, V.AGE_GROUP_13_17, BOTH),
        (ROUTINE, V.AGE_GROUP_SUSPECTED_MINOR, BOTH),
        (ROUTINE, V.AGE_GROUP_MIXED, BOTH),
        (V.URGENCY_MINOR, V.AGE_GROUP_UNKNOWN, BOTH),
    ],
)
def test_who_must_have_a_tip(urgency: int, age_group: int, needed: Reach) -> None:
    assert intakes.mandated(urgency, age_group) == needed


OPEN, WITHHELD = State.INTAKE_STATE_OPEN, State.INTAKE_STATE_WITHHELD
PASSED_ON, DUPLICATE = State.INTAKE_STATE_PASSED_ON, State.INTAKE_STATE_DUPLICATE


@pytest.mark.parametrize(
    ("state", "reached", "needed", "event"),
    [
        (OPEN, Reach.LAW_ENFORCEMENT, Reach(0), Event.REFERRAL),
        (OPEN, Reach.OTHERS, Reach(0), Event.REFERRAL),
        (OPEN, Reach.LAW_ENFORCEMENT, BOTH, Event.PART),
        (OPEN, Reach.CHILD_WELFARE, BOTH, Event.PART),
        (OPEN, BOTH, BOTH, Event.REFERRAL),
        (OPEN, BOTH | Reach.OTHERS, BOTH, Event.REFERRAL),
        (OPEN, Reach.OTHERS, Reach.LAW_ENFORCEMENT, Event.PART),
        # Services were arranged, and the police were not told.
        (WITHHELD, Reach.OTHERS, Reach(0), Event.PART),
        (WITHHELD, Reach.LAW_ENFORCEMENT, Reach(0), Event.REFERRAL),
        (WITHHELD, Reach.OTHERS | Reach.CHILD_WELFARE, Reach(0), Event.REFERRAL),
    ],
)
def test_what_a_referral_means_to_an_intake(
    state: int, reached: Reach, needed: Reach, event: Event
) -> None:
    assert intakes.event_of_referral(state, reached, needed) is event


@pytest.mark.parametrize(
    ("state", "left", "needed", "after"),
    [
        (PASSED_ON, Reach(0), Reach(0), OPEN),
        (PASSED_ON, Reach.OTHERS, Reach(0), PASSED_ON),
        (PASSED_ON, Reach.LAW_ENFORCEMENT, BOTH, OPEN),
        (PASSED_ON, BOTH, BOTH, PASSED_ON),
        (OPEN, Reach(0), BOTH, OPEN),
        (WITHHELD, Reach(0), Reach(0), WITHHELD),
        # What it is a duplicate of goes its own way.
        (DUPLICATE, Reach.OTHERS, Reach(0), DUPLICATE),
    ],
)
def test_where_an_intake_stands_when_a_referral_was_taken_back(
    state: int, left: Reach, needed: Reach, after: int
) -> None:
    event = intakes.event_of_taking_back(state, left, needed)
    assert intakes.advance(state, event) == after


# --- the tables beside


def test_every_kind_answers_the_intake_or_what_was_said_about_it() -> None:
    about = {"withholding", "hold", "link", "rejection", "warning", "breach"}
    assert set(ANSWERS) == about | {"intake"}
    assert set().union(*ANSWERS.values()) == {"intake", "withholding"}
    assert ANSWERS["rejection"] == {"withholding"}


def test_the_hotline_decides_and_the_exchange_remarks() -> None:
    assert set(ANSWERS) - OF_THE_HOTLINE == {"rejection", "warning", "breach"}


# --- the diagram


def test_the_diagram_shows_the_table_and_nothing_else() -> None:
    first, start, *lines = intakes.diagram().splitlines()
    assert (first, start) == ("stateDiagram-v2", "    [*] --> OPEN: intake")
    shown = set()
    for line in lines:
        found = re.fullmatch(r"    (\w+) --> (\w+): (.+)", line)
        assert found, line
        before, after, names = found.groups()
        shown |= {(before, name, after) for name in names.split(", ")}
    assert shown == {
        (intakes.state_name(before), event.value, intakes.state_name(after))
        for before, events in TRANSITIONS.items()
        for event, after in events.items()
    }


# --- the commitment

SALT = bytes(range(32))
VECTORS = [
    # Made with sha256sum: the domain, a zero byte, the salt, the content.
    (b"", "ade2f81e15ccc80109eae561a2113a04593c1b8b47b87e10d934f3d1ff36c976"),
    (
        b"A motel clerk says that a guest asked for help.",
        "743da50e9468c1e1efe437d4758fdb4c7ef4b5434f3b9a2dcfe170561876f862",
    ),
]


@pytest.mark.parametrize(("content", "expected"), VECTORS)
def test_commitments(content: bytes, expected: str) -> None:
    assert intakes.commitment(SALT, content).hex() == expected


def test_a_commitment_is_bound_to_salt_and_content() -> None:
    made = intakes.commitment(SALT, b"told")
    assert made != intakes.commitment(SALT, b"told ")
    assert made != intakes.commitment(SALT[::-1], b"told")
    assert made != hashlib.sha256(SALT + b"told").digest()


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_salt_of_another_length_is_none(size: int) -> None:
    with pytest.raises(MalformedError, match="32"):
        intakes.commitment(bytes(size), b"told")
