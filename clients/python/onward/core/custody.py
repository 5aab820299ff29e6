"""The custody of one delivery: which statement may follow which, and what it changes.

Theory of operation
-------------------
A referral goes to one or more recipients; to each of them it is one *delivery*. The
state of a delivery is not stored truth: it follows from the statements in the log, in
the log's order, by ``TRANSITIONS``. The exchange, the client and the verifier all run
this one table, so they cannot disagree about what happened.

Each statement is first turned into an :class:`Event` (a ``Received`` is another event
when the content was invalid, an ``Outcome`` when it closes). Statements of a recipient
move that recipient's delivery. ``Retraction`` and ``Erasure`` concern the referral, so
they move each of its deliveries.

Two more rules stand beside the table. ``ANSWERS`` says which kinds of statement the
``previous`` of a statement may name. ``SIGNERS`` says which party signs it.

What a reader may find surprising:

* A handover is possible in every state. A second desk, or the same desk after a lost
  connection, may need the content again; and content may be on its way out at the
  very moment in which a retraction or a decline is logged. That it went out is then a
  fact, and is logged as one. Which states the exchange *begins* to give content out in
  is another question: ``GIVES_CONTENT``.
* ``RECEIVED`` stays allowed after a retraction: that a machine has the content is a
  fact which the publisher must learn all the more then.
* A link, a warning and a breach are remarks: they stand in the chain, and move nothing.
* Erasure never changes where a delivery stands, unless the content never went out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType

from onward.core._mermaid import state_diagram
from onward.core.errors import Reason, StateError
from onward.v1 import statement_pb2, vocabulary_pb2

State = vocabulary_pb2.DeliveryState
"""The states, as they are on the wire (``onward.v1.DeliveryState``)."""

_ACCEPTED = State.DELIVERY_STATE_ACCEPTED
_HANDED_OVER = State.DELIVERY_STATE_HANDED_OVER
_RECEIVED = State.DELIVERY_STATE_RECEIVED
_INVALID = State.DELIVERY_STATE_INVALID
_ACKNOWLEDGED = State.DELIVERY_STATE_ACKNOWLEDGED
_TAKEN = State.DELIVERY_STATE_TAKEN
_DECLINED = State.DELIVERY_STATE_DECLINED
_TRANSFERRED = State.DELIVERY_STATE_TRANSFERRED
_CLOSED = State.DELIVERY_STATE_CLOSED
_CANCELLED = State.DELIVERY_STATE_CANCELLED
_RETRACTION_PENDING = State.DELIVERY_STATE_RETRACTION_PENDING
_RETRACTION_ANSWERED = State.DELIVERY_STATE_RETRACTION_ANSWERED
_EXPIRED = State.DELIVERY_STATE_EXPIRED


class Event(StrEnum):
    """What a statement means to a delivery."""

    HANDOVER = "handover"
    RECEIVED = "received"
    RECEIVED_INVALID = "received, content invalid"
    ACKNOWLEDGMENT = "acknowledgment"
    TAKING = "taking"
    DECLINE = "decline"
    TRANSFER = "transfer"
    OUTCOME = "outcome"
    CLOSING_OUTCOME = "outcome that closes"
    RETRACTION = "retraction"
    RETRACTION_REPLY = "retraction reply"
    ERASURE = "erasure"


class Signer(StrEnum):
    """Which party of a referral signs a kind of statement."""

    PUBLISHER = "publisher"
    RECIPIENT = "recipient"
    EXCHANGE = "exchange"
    PARTY = "publisher or recipient"


INITIAL = _ACCEPTED
"""The state that an ``Acceptance`` gives each delivery."""

_E = Event

TRANSITIONS: Mapping[State.ValueType, Mapping[Event, State.ValueType]] = (
    MappingProxyType(
        {
            _ACCEPTED: {
                _E.HANDOVER: _HANDED_OVER,
                _E.RETRACTION: _CANCELLED,
                _E.ERASURE: _EXPIRED,
            },
            _HANDED_OVER: {
                _E.HANDOVER: _HANDED_OVER,
                _E.RECEIVED: _RECEIVED,
                _E.RECEIVED_INVALID: _INVALID,
                _E.RETRACTION: _RETRACTION_PENDING,
                _E.ERASURE: _HANDED_OVER,
            },
            _INVALID: {
                _E.HANDOVER: _HANDED_OVER,
                _E.RECEIVED: _RECEIVED,
                _E.RECEIVED_INVALID: _INVALID,
                _E.DECLINE: _DECLINED,
                _E.RETRACTION: _RETRACTION_PENDING,
                _E.ERASURE: _INVALID,
            },
            _RECEIVED: {
                _E.HANDOVER: _RECEIVED,
                _E.RECEIVED: _RECEIVED,
                _E.ACKNOWLEDGMENT: _ACKNOWLEDGED,
                _E.RETRACTION: _RETRACTION_PENDING,
                _E.ERASURE: _RECEIVED,
            },
            _ACKNOWLEDGED: {
                _E.HANDOVER: _ACKNOWLEDGED,
                _E.RECEIVED: _ACKNOWLEDGED,
                _E.TAKING: _TAKEN,
                _E.DECLINE: _DECLINED,
                _E.TRANSFER: _TRANSFERRED,
                _E.RETRACTION: _RETRACTION_PENDING,
                _E.ERASURE: _ACKNOWLEDGED,
            },
            _TAKEN: {
                _E.HANDOVER: _TAKEN,
                _E.RECEIVED: _TAKEN,
                _E.OUTCOME: _TAKEN,
                _E.CLOSING_OUTCOME: _CLOSED,
                _E.TRANSFER: _TRANSFERRED,
                _E.RETRACTION: _RETRACTION_PENDING,
                _E.ERASURE: _TAKEN,
            },
            _DECLINED: {
                _E.HANDOVER: _DECLINED,
                _E.TRANSFER: _TRANSFERRED,
                _E.RETRACTION: _RETRACTION_PENDING,
                _E.ERASURE: _DECLINED,
            },
            _TRANSFERRED: {
                _E.HANDOVER: _TRANSFERRED,
                _E.RETRACTION: _RETRACTION_PENDING,
                _E.ERASURE: _TRANSFERRED,
            },
            _CLOSED: {
                _E.HANDOVER: _CLOSED,
                _E.OUTCOME: _TAKEN,
                _E.CLOSING_OUTCOME: _CLOSED,
                _E.RETRACTION: _RETRACTION_PENDING,
                _E.ERASURE: _CLOSED,
            },
            _CANCELLED: {
                _E.HANDOVER: _RETRACTION_PENDING,
                _E.ERASURE: _CANCELLED,
            },
            _EXPIRED: {
                _E.HANDOVER: _HANDED_OVER,
                _E.RETRACTION: _CANCELLED,
            },
            _RETRACTION_PENDING: {
                _E.HANDOVER: _RETRACTION_PENDING,
                _E.RECEIVED: _RETRACTION_PENDING,
                _E.RECEIVED_INVALID: _RETRACTION_PENDING,
                _E.RETRACTION_REPLY: _RETRACTION_ANSWERED,
                _E.ERASURE: _RETRACTION_PENDING,
            },
            _RETRACTION_ANSWERED: {
                _E.HANDOVER: _RETRACTION_ANSWERED,
                _E.RETRACTION_REPLY: _RETRACTION_ANSWERED,
                _E.ERASURE: _RETRACTION_ANSWERED,
            },
        }
    )
)

ANSWERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "acceptance": frozenset({"referral"}),
        "rejection": frozenset({"referral"}),
        "handover": frozenset({"acceptance"}),
        "received": frozenset({"handover"}),
        "acknowledgment": frozenset({"received"}),
        "taking": frozenset({"acknowledgment"}),
        "decline": frozenset({"acknowledgment", "received"}),
        "transfer": frozenset({"acknowledgment", "taking", "decline"}),
        "outcome": frozenset({"taking", "outcome"}),
        "retraction": frozenset({"referral"}),
        "retraction_reply": frozenset({"retraction"}),
        "erasure": frozenset({"acceptance"}),
        "link": frozenset({"referral"}),
        "warning": frozenset({"referral"}),
        "breach": frozenset({"referral"}),
    }
)
"""For each kind of statement, the kinds that its ``previous`` may name."""

SIGNERS: Mapping[str, Signer] = MappingProxyType(
    {
        "referral": Signer.PUBLISHER,
        "retraction": Signer.PUBLISHER,
        "acceptance": Signer.EXCHANGE,
        "rejection": Signer.EXCHANGE,
        "handover": Signer.EXCHANGE,
        "erasure": Signer.EXCHANGE,
        "received": Signer.RECIPIENT,
        "acknowledgment": Signer.RECIPIENT,
        "taking": Signer.RECIPIENT,
        "decline": Signer.RECIPIENT,
        "transfer": Signer.RECIPIENT,
        "outcome": Signer.RECIPIENT,
        "retraction_reply": Signer.RECIPIENT,
        "link": Signer.PARTY,
        "warning": Signer.EXCHANGE,
        "breach": Signer.EXCHANGE,
    }
)
"""Who signs each kind of statement of a custody chain."""

REMARKS = frozenset({"link", "warning", "breach"})
"""Kinds that belong to a chain and change nothing in any delivery."""

WHOLE_REFERRAL = frozenset({Event.RETRACTION, Event.ERASURE})
"""Events that concern every delivery of the referral."""

WAITING = frozenset({_ACCEPTED, _HANDED_OVER})
"""States in which the content must still be given out (again)."""

GIVES_CONTENT = WAITING | {_INVALID, _RECEIVED, _ACKNOWLEDGED, _TAKEN}
"""States in which the exchange begins to give content out when it is asked for."""

_VERIFIED = vocabulary_pb2.CONTENT_CHECK_VERIFIED
_PLAIN_EVENTS = MappingProxyType(
    {
        event.value.replace(" ", "_"): event
        for event in Event
        if event.value.replace(" ", "_") in SIGNERS
    }
)


def event_of(message: statement_pb2.Statement) -> Event | None:
    """Returns what a statement means to a delivery, or None if nothing."""
    kind = message.WhichOneof("body") or ""
    if kind == "received" and message.received.check != _VERIFIED:
        return Event.RECEIVED_INVALID
    if kind == "outcome" and message.outcome.closes:
        return Event.CLOSING_OUTCOME
    return _PLAIN_EVENTS.get(kind)


def advance(state: State.ValueType, event: Event) -> State.ValueType:
    """Returns the state after an event.

    Raises:
        StateError: ``STATE_FORBIDS``: the table has no such transition. The message
            and the metadata ``state`` name the present state.
    """
    after = TRANSITIONS.get(state, {}).get(event)
    if after is None:
        raise StateError(
            Reason.ERROR_REASON_STATE_FORBIDS,
            f"the delivery is {state_name(state)}, and {event.value!r} is not allowed "
            f"there; allowed: {', '.join(allowed(state)) or 'nothing'}",
            metadata={"state": state_name(state), "event": event.value},
        )
    return after


def allowed(state: State.ValueType) -> list[str]:
    """Returns the events that a state allows, as people read them."""
    return [event.value for event in TRANSITIONS.get(state, {})]


def state_name(state: State.ValueType) -> str:
    """Returns a state's name without its prefix, such as ``HANDED_OVER``."""
    if state not in State.values():
        return f"UNKNOWN_{state}"
    return State.Name(state).removeprefix("DELIVERY_STATE_")


def check_answers(kind: str, answered: str) -> None:
    """Checks that a kind of statement may answer another.

    Raises:
        StateError: ``PREVIOUS_MISMATCH``.
    """
    if answered not in ANSWERS.get(kind, frozenset()):
        may = " or ".join(sorted(ANSWERS.get(kind, ()))) or "nothing"
        raise StateError(
            Reason.ERROR_REASON_PREVIOUS_MISMATCH,
            f"a {kind} answers a {may}, but previous names a {answered or 'stranger'}",
            field="previous",
        )


def transitions() -> Iterator[tuple[str, str, str]]:
    """Yields the table as people read it: state, event, state after."""
    for before, events in TRANSITIONS.items():
        for event, after in events.items():
            yield state_name(before), event.value, state_name(after)


def diagram() -> str:
    """Returns the table as a Mermaid state diagram; the documentation shows it."""
    return state_diagram("acceptance", state_name(INITIAL), transitions())
