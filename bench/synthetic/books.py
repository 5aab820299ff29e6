"""What becomes of intakes and deliveries, and how many are in each state.

The figures of the export are counted here, step by step, and not by what is tested
against them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bench.scribe import EXCHANGE, Said, Scribe
from onward.core.due import Kind, Role
from onward.v1 import statement_pb2
from onward.v1 import vocabulary_pb2 as v


@dataclass(slots=True)
class Intake:
    """An intake, as it stands.

    Attributes:
        code: of its jurisdiction.
        decided: how often its state changed.
    """

    said: Said
    hotline: str
    number: int
    urgency: int
    age_group: int
    code: str
    received_ms: int
    test: bool
    state: int = v.INTAKE_STATE_OPEN
    decided: int = 0


@dataclass(slots=True)
class Delivery:
    """A delivery, as it stands.

    Attributes:
        outcome: whether one was stated.
        last: the last statement of each kind.
    """

    referral: Said
    accepted: Said
    recipient: str
    urgency: int
    places: tuple[str, ...]
    test: bool
    state: int = v.DELIVERY_STATE_ACCEPTED
    outcome: bool = False
    last: dict[str, Said] = field(default_factory=dict)

    @property
    def holder(self) -> tuple[Role.ValueType, str]:
        """Whose turn it is."""
        if self.state == v.DELIVERY_STATE_ACCEPTED:
            return Role.HOLDER_ROLE_EXCHANGE, EXCHANGE
        return Role.HOLDER_ROLE_RECIPIENT, self.recipient

    @property
    def content_digest(self) -> bytes:
        """The digest of what is delivered."""
        return self.referral.statement.message.referral.content_digest

    def is_open(self, kind: int) -> bool:
        """Whether a step is still to be made; told without the table."""
        if kind == Kind.DEADLINE_KIND_DELIVER:
            return self.state in {
                v.DELIVERY_STATE_ACCEPTED,
                v.DELIVERY_STATE_HANDED_OVER,
            }
        if kind == Kind.DEADLINE_KIND_ACKNOWLEDGE:
            return self.state == v.DELIVERY_STATE_RECEIVED
        return not self.outcome and self.state in {
            v.DELIVERY_STATE_RECEIVED,
            v.DELIVERY_STATE_ACKNOWLEDGED,
            v.DELIVERY_STATE_TAKEN,
        }


class Books:
    """Has said what is to be said, and keeps the figures.

    Attributes:
        intakes: how many there are, by hotline, urgency and state.
        deliveries: the same, by recipient, urgency and state.
    """

    def __init__(self, scribe: Scribe) -> None:
        self.intakes: Counter[tuple[str, int, int]] = Counter()
        self.deliveries: Counter[tuple[str, int, int]] = Counter()
        self._scribe = scribe

    def add_intake(self, intake: Intake) -> None:
        """Counts a new intake."""
        self._count_intake(intake, 1)

    def move_intake(self, intake: Intake, state: int) -> None:
        """Moves an intake."""
        self._count_intake(intake, -1)
        intake.state = state
        intake.decided += 1
        self._count_intake(intake, 1)

    def add_delivery(self, delivery: Delivery) -> None:
        """Counts a new delivery."""
        self._count_delivery(delivery, 1)

    def move_delivery(self, delivery: Delivery, state: int) -> None:
        """Moves a delivery."""
        self._count_delivery(delivery, -1)
        delivery.state = state
        self._count_delivery(delivery, 1)

    def say_of_intake(self, intake: Intake, issuer: str, **body: object) -> Said:
        """Logs a statement that answers an intake."""
        return self._scribe.say(
            issuer, places=(intake.code,), previous=intake.said.digest, **body
        )

    def say_of_delivery(
        self, delivery: Delivery, issuer: str, previous: Said, **body: object
    ) -> Said:
        """Logs a statement of a referral's chain."""
        return self._scribe.say(
            issuer,
            places=delivery.places,
            referral_id=delivery.referral.id,
            previous=previous.digest,
            **body,
        )

    def _count_intake(self, intake: Intake, change: int) -> None:
        if not intake.test:
            self.intakes[intake.hotline, intake.urgency, intake.state] += change

    def _count_delivery(self, delivery: Delivery, change: int) -> None:
        if not delivery.test:
            key = delivery.recipient, delivery.urgency, delivery.state
            self.deliveries[key] += change


def alarm(kind: str, due: statement_pb2.Due) -> dict[str, object]:
    """Returns the body of a ``warning`` or ``breach``."""
    if kind == "breach":
        return {"breach": statement_pb2.Breach(due=due)}
    return {"warning": statement_pb2.Warning(due=due)}
