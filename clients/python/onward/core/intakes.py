"""What becomes of an intake: which statement may follow, and what it changes.

Theory of operation
-------------------
Each intake ends in exactly one way: it is passed on, withheld, or a duplicate; until
then it is open. So for every hotline, and for all of them together,

    received = passed on + withheld + duplicates + open

holds at every place of the log, whatever happened. The state is not stored truth: it
follows from the statements in the log, in the log's order, by the functions here. The
exchange and whoever audits it run the same ones.

What a reader may find surprising:

* A tip about a minor is passed on only when both law enforcement and child welfare have
  it, and one of imminent danger only when law enforcement has it: it stays open until
  its referrals have *reached* all that must have it (DOMAIN.md, rules 4 and 5).
* A tip that is withheld stays withheld when a referral takes it to a service provider
  only: services were arranged, and the police were not told.
* A provisional withholding whose review is not made in time opens the intake again. It
  is the exchange's ``Breach`` that does so, so that the log says when.
* Once passed on, an intake stays so as long as somebody has received its referrals, or
  still may. A referral that is retracted or erased before any of its recipients has
  received it is *taken back*: it reached nobody. Where the referrals that remain do not
  suffice, the intake is open again.
* A tip that somebody must have ends as a duplicate only of one that they must have, or
  have, as well: nothing that is mandated disappears behind what is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from enum import IntFlag, StrEnum
from types import MappingProxyType
from typing import Final

from onward.core._mermaid import state_diagram
from onward.core.errors import MalformedError, Reason, StateError
from onward.v1 import vocabulary_pb2

State = vocabulary_pb2.IntakeState
"""The states, as they are on the wire (``onward.v1.IntakeState``)."""

SALT_SIZE: Final = 32
_DOMAIN: Final = b"onward-intake/v1\0"

_OPEN = State.INTAKE_STATE_OPEN
_PASSED_ON = State.INTAKE_STATE_PASSED_ON
_WITHHELD = State.INTAKE_STATE_WITHHELD
_DUPLICATE = State.INTAKE_STATE_DUPLICATE


class Event(StrEnum):
    """What a statement means to an intake."""

    REFERRAL = "referral that reaches all that must have it"
    PART = "referral that does not"
    WITHHOLDING = "withholding"
    HOLD = "hold"
    DUPLICATE = "link to a duplicate"
    REVIEW_BREACH = "review not made in time"
    TAKEN_BACK = "referral taken back that it rested on"


INITIAL = _OPEN
"""The state that an ``Intake`` begins with."""

_E = Event

TRANSITIONS: Final[Mapping[State.ValueType, Mapping[Event, State.ValueType]]] = (
    MappingProxyType(
        {
            _OPEN: {
                _E.REFERRAL: _PASSED_ON,
                _E.PART: _OPEN,
                _E.WITHHOLDING: _WITHHELD,
                _E.HOLD: _OPEN,
                _E.DUPLICATE: _DUPLICATE,
                _E.TAKEN_BACK: _OPEN,
            },
            _WITHHELD: {
                _E.REFERRAL: _PASSED_ON,
                _E.PART: _WITHHELD,
                _E.WITHHOLDING: _WITHHELD,
                _E.DUPLICATE: _DUPLICATE,
                _E.REVIEW_BREACH: _OPEN,
                _E.TAKEN_BACK: _WITHHELD,
            },
            _DUPLICATE: {
                _E.REFERRAL: _PASSED_ON,
                _E.PART: _DUPLICATE,
                _E.WITHHOLDING: _WITHHELD,
                _E.DUPLICATE: _DUPLICATE,
                _E.TAKEN_BACK: _DUPLICATE,
            },
            _PASSED_ON: {
                _E.REFERRAL: _PASSED_ON,
                _E.PART: _PASSED_ON,
                _E.TAKEN_BACK: _OPEN,
            },
        }
    )
)


ANSWERS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "intake": frozenset({"intake"}),
        "withholding": frozenset({"intake"}),
        "hold": frozenset({"intake"}),
        "link": frozenset({"intake"}),
        "rejection": frozenset({"withholding"}),
        "warning": frozenset({"intake"}),
        "breach": frozenset({"intake"}),
    }
)
"""For each kind of statement about an intake, the kinds that its ``previous`` may name.
What an intake answers is the hotline's intake before it."""

OF_THE_HOTLINE: Final = frozenset({"intake", "withholding", "hold", "link"})
"""The kinds that the hotline signs. The exchange signs the others."""


class Reach(IntFlag):
    """Whom the referrals of a tip have reached."""

    LAW_ENFORCEMENT = 1
    CHILD_WELFARE = 2
    OTHERS = 4


_REACHES: Final[Mapping[int, Reach]] = MappingProxyType(
    {
        vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT: Reach.LAW_ENFORCEMENT,
        vocabulary_pb2.MEMBER_KIND_TASK_FORCE: Reach.LAW_ENFORCEMENT,
        vocabulary_pb2.MEMBER_KIND_PROSECUTOR: Reach.LAW_ENFORCEMENT,
        vocabulary_pb2.MEMBER_KIND_CHILD_WELFARE: Reach.CHILD_WELFARE,
    }
)
_AUTHORITIES: Final = Reach.LAW_ENFORCEMENT | Reach.CHILD_WELFARE

MINORS: Final = frozenset(
    {
        vocabulary_pb2.AGE_GROUP_UNDER_13,
        vocabulary_pb2.AGE_GROUP_13_17,
        vocabulary_pb2.AGE_GROUP_SUSPECTED_MINOR,
        vocabulary_pb2.AGE_GROUP_MIXED,
    }
)
"""The ages of which a minor is, or may be, among those concerned."""


def reach(kinds: Iterable[int]) -> Reach:
    """Returns whom a referral reaches, by the kinds of its recipients."""
    reached = Reach(0)
    for kind in kinds:
        reached |= _REACHES.get(kind, Reach.OTHERS)
    return reached


def mandated(urgency: int, age_group: int) -> Reach:
    """Returns who must have a tip, whoever consents: nobody, for most."""
    if age_group in MINORS or urgency == vocabulary_pb2.URGENCY_MINOR:
        return _AUTHORITIES
    if urgency == vocabulary_pb2.URGENCY_IMMINENT_DANGER:
        return Reach.LAW_ENFORCEMENT
    return Reach(0)


def may_repeat(needed: Reach, other: Reach) -> bool:
    """Returns whether a tip may end as a duplicate of another one.

    Args:
        needed: who must have it; see :func:`mandated`.
        other: who must have the other one, and whom that has reached.
    """
    return not needed & ~other


def event_of_referral(state: int, reached: Reach, needed: Reach) -> Event:
    """Returns what an accepted referral means to an intake.

    Args:
        state: the intake's state before it.
        reached: whom all of its referrals have reached, this one included.
        needed: who must have it; see :func:`mandated`.
    """
    told = reached & _AUTHORITIES if state == _WITHHELD else reached
    return Event.REFERRAL if told and not needed & ~reached else Event.PART


def event_of_taking_back(state: int, left: Reach, needed: Reach) -> Event:
    """Returns what it means to an intake that one of its referrals was taken back.

    Args:
        state: the intake's state before it.
        left: whom the referrals reach that remain.
        needed: who must have it; see :func:`mandated`.
    """
    suffices = event_of_referral(state, left, needed) is Event.REFERRAL
    return Event.REFERRAL if state == _PASSED_ON and suffices else Event.TAKEN_BACK


def advance(state: int, event: Event) -> State.ValueType:
    """Returns the state after an event.

    Raises:
        StateError: ``INTAKE_DECIDED``: the table has no such transition. The message
            and the metadata ``state`` name the present state.
    """
    after = TRANSITIONS.get(State.ValueType(state), {}).get(event)
    if after is None:
        allowed = ", ".join(TRANSITIONS.get(State.ValueType(state), {}))
        raise StateError(
            Reason.ERROR_REASON_INTAKE_DECIDED,
            f"the intake is {state_name(state)}, and a {event.value} is not allowed "
            f"there; allowed: {allowed or 'nothing'}",
            metadata={"state": state_name(state), "event": event.value},
        )
    return after


def state_name(state: int) -> str:
    """Returns a state's name without its prefix, such as ``PASSED_ON``."""
    if state not in State.values():
        return f"UNKNOWN_{state}"
    return State.Name(State.ValueType(state)).removeprefix("INTAKE_STATE_")


def transitions() -> Iterator[tuple[str, str, str]]:
    """Yields the table as people read it: state, event, state after."""
    for before, events in TRANSITIONS.items():
        for event, after in events.items():
            yield state_name(before), event.value, state_name(after)


def diagram() -> str:
    """Returns the table as a Mermaid state diagram; the documentation shows it."""
    return state_diagram("intake", state_name(INITIAL), transitions())


def commitment(salt: bytes, content: bytes) -> bytes:
    """Returns the commitment of an intake to its content, 32 bytes.

    Args:
        salt: 32 unpredictable bytes, which the hotline keeps to itself until there is
            a dispute. A salt is never used twice.
        content: what was told, as the hotline keeps it.

    Raises:
        MalformedError: the salt has another length.
    """
    if len(salt) != SALT_SIZE:
        raise MalformedError(f"a salt has {SALT_SIZE} bytes, and this {len(salt)}")
    return hashlib.sha256(_DOMAIN + salt + content).digest()
