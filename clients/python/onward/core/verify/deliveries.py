"""Deliveries: what the statements of a chain did to each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onward.core.custody import (
    INITIAL,
    WHOLE_REFERRAL,
    Event,
    State,
    advance,
    event_of,
    state_name,
)
from onward.core.due import HOLDERS, OPEN, Kind, Role, kind_name, role_name
from onward.core.errors import Reason, StateError
from onward.core.verify.chains import Chain
from onward.core.verify.evidence import Entry, Problem, noting
from onward.v1 import statement_pb2

OUTCOMES = frozenset({Event.OUTCOME, Event.CLOSING_OUTCOME})
"""Events that state an outcome."""

_ANSWERS_TO_A_REFERRAL = frozenset({"acceptance", "rejection"})


@dataclass(slots=True)
class Delivery:
    """One delivery, as its statements move it.

    Attributes:
        chain: the referral's chain.
        recipient: SPIFFE ID of the recipient.
        state: where it stands.
        events: what happened to it, in the log's order.
        alarms: the warnings and breaches of its deadlines, in the log's order.
    """

    chain: Chain
    recipient: str
    state: State.ValueType
    events: list[tuple[Event, Entry]] = field(default_factory=list)
    alarms: list[Entry] = field(default_factory=list)

    @property
    def shown(self) -> bool:
        """Whether a statement is about this delivery, and not the whole referral."""
        own = (event not in WHOLE_REFERRAL for event, _ in self.events)
        return bool(self.alarms) or any(own)

    def first(self, events: frozenset[Event]) -> Entry | None:
        """Returns the first statement that was one of some events."""
        return next((entry for event, entry in self.events if event in events), None)

    def said(self, kind: int) -> dict[str, Entry]:
        """Returns the warning and the breach of a kind of deadline, where they are."""
        alarms = (item for item in self.alarms if item.due and item.due.kind == kind)
        return {item.kind: item for item in alarms}


def follow_deliveries(
    chains: Mapping[str, Chain],
) -> tuple[list[Delivery], list[Problem]]:
    """Runs the transition table over each delivery, in the log's order.

    A statement that the table does not allow is noted, and changes nothing. So is a
    warning or breach of what was not due where the delivery stood.
    """
    deliveries: list[Delivery] = []
    problems: list[Problem] = []
    for chain in chains.values():
        deliveries += _follow(chain, problems)
    return deliveries, problems


def _follow(chain: Chain, problems: list[Problem]) -> list[Delivery]:
    """Returns the deliveries of one chain, as its statements left them."""
    deliveries: dict[str, Delivery] = {}
    answer: Entry | None = None
    for entry in chain.entries:
        with noting(problems, entry.subject):
            if entry.due:
                _add_alarm(entry, entry.due, deliveries)
            elif entry.kind not in _ANSWERS_TO_A_REFERRAL:
                _apply(entry, deliveries)
            elif answer is None:
                answer, deliveries = entry, _begin(chain, entry)
            else:
                raise _forbidden(f"{answer.subject} answered the referral before")
    return list(deliveries.values())


def _begin(chain: Chain, answer: Entry) -> dict[str, Delivery]:
    """Returns the deliveries that an answer to a referral begins."""
    if answer.kind != "acceptance" or chain.referral is None:
        return {}
    recipients = chain.referral.statement.message.referral.recipients
    return {name: Delivery(chain, name, INITIAL) for name in recipients}


def _apply(entry: Entry, deliveries: Mapping[str, Delivery]) -> None:
    """Moves the deliveries that a statement concerns; all of them, or none."""
    event = event_of(entry.statement.message)
    if event is None:
        return
    if event in WHOLE_REFERRAL:
        concerned = list(deliveries.values())
    else:
        concerned = (
            [deliveries[entry.recipient]] if entry.recipient in deliveries else []
        )
    if not concerned:
        raise _forbidden("the referral was not accepted for delivery to that party")
    after = [advance(delivery.state, event) for delivery in concerned]
    for delivery, state in zip(concerned, after, strict=True):
        delivery.state = state
        delivery.events.append((event, entry))


def _add_alarm(
    entry: Entry, due: statement_pb2.Due, deliveries: Mapping[str, Delivery]
) -> None:
    """Adds a warning or a breach to the delivery that it is about.

    1. What it names is due in the state in which the delivery stood, and not done.
    2. It names who held the tip there.
    3. It is said once, and no warning comes after the breach.
    """
    delivery = deliveries.get(due.recipient)
    if delivery is None:
        raise _forbidden("the referral was not accepted for delivery to that party")
    state, kind = delivery.state, kind_name(due.kind)
    stated = due.kind == Kind.DEADLINE_KIND_OUTCOME and delivery.first(OUTCOMES)
    if stated or due.kind not in OPEN.get(state, ()):  # 1
        raise _forbidden(
            f"{kind} was not due any more, or not yet: the delivery was "
            f"{state_name(state)}"
        )
    role, holder = HOLDERS[state], _holder(entry, delivery)
    if (due.holder_role, due.holder) != (role, holder):  # 2
        raise _forbidden(f"the {role_name(role)}, {holder}, held the tip then")
    if {entry.kind, "breach"} & delivery.said(due.kind).keys():  # 3
        raise _forbidden(f"{kind} was breached, or warned of, before")
    delivery.alarms.append(entry)


def _holder(entry: Entry, delivery: Delivery) -> str:
    """Returns who held the tip when the exchange said something about a delivery."""
    referral = delivery.chain.referral
    return {
        Role.HOLDER_ROLE_EXCHANGE: entry.issuer,
        Role.HOLDER_ROLE_PUBLISHER: referral.issuer if referral else "",
        Role.HOLDER_ROLE_RECIPIENT: delivery.recipient,
    }[HOLDERS[delivery.state]]


def _forbidden(why: str) -> StateError:
    return StateError(Reason.ERROR_REASON_STATE_FORBIDS, why)
