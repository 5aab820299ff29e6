"""When the steps of a referral are due, by urgency.

No law or published rule sets these times: they are the exchange's own choices, and an
acceptance states them so that a delivery is judged by what was in force when it was
accepted. The clock is the wall clock; a hold is recorded and never subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.errors import MalformedError
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each step may take for one class of urgency.

    Attributes:
        pass_on: from the tip's receipt until the hotline passes it on.
        pass_on_latest: the same, at the very latest; beyond it is a breach.
        deliver: from acceptance until the recipient's machine has it.
        acknowledge: from delivery until a person has read it.
        outcome: from delivery until the first outcome. None: none is due.
    """

    pass_on: timedelta
    pass_on_latest: timedelta
    deliver: timedelta
    acknowledge: timedelta
    outcome: timedelta | None


DEADLINES: Final[Mapping[int, Deadlines]] = MappingProxyType(
    {
        vocabulary_pb2.URGENCY_IMMINENT_DANGER: Deadlines(
            pass_on=timedelta(minutes=15),
            pass_on_latest=timedelta(minutes=15),
            deliver=timedelta(minutes=5),
            acknowledge=timedelta(minutes=30),
            outcome=timedelta(hours=24),
        ),
        vocabulary_pb2.URGENCY_MINOR: Deadlines(
            pass_on=timedelta(hours=1),
            pass_on_latest=timedelta(hours=24),
            deliver=timedelta(minutes=15),
            acknowledge=timedelta(hours=4),
            outcome=timedelta(days=3),
        ),
        vocabulary_pb2.URGENCY_TIME_SENSITIVE: Deadlines(
            pass_on=timedelta(hours=4),
            pass_on_latest=timedelta(hours=4),
            deliver=timedelta(hours=1),
            acknowledge=timedelta(hours=12),
            outcome=timedelta(days=7),
        ),
        vocabulary_pb2.URGENCY_ROUTINE: Deadlines(
            pass_on=timedelta(hours=24),
            pass_on_latest=timedelta(hours=72),
            deliver=timedelta(hours=4),
            acknowledge=timedelta(hours=72),
            outcome=timedelta(days=30),
        ),
        vocabulary_pb2.URGENCY_INFORMATIONAL: Deadlines(
            pass_on=timedelta(days=7),
            pass_on_latest=timedelta(days=7),
            deliver=timedelta(hours=24),
            acknowledge=timedelta(days=14),
            outcome=None,
        ),
    }
)
"""The default table. A tip about a minor, and a routine one that a supervisor holds,
has longer until it is a breach than until it is due to be passed on."""


def deadlines(
    referral: statement_pb2.Referral,
    recipients: Sequence[directory_pb2.Member],
    accepted: datetime,
) -> list[statement_pb2.DeliveryDeadlines]:
    """Returns the deadlines of each delivery of a referral.

    Args:
        referral: well-formed by ``onward.core.bodies``.
        recipients: the directory entries, in the referral's order.
        accepted: when the exchange accepts the referral; UTC.

    Returns:
        One message for each recipient, in the same order.

    Raises:
        MalformedError: the urgency is one that this release does not know.
    """
    table = DEADLINES.get(referral.urgency)
    if table is None:
        raise MalformedError(
            f"referral.urgency {referral.urgency} has no deadlines here; state a class "
            "that this exchange knows",
            field="referral.urgency",
        )
    return [_of_delivery(member.name, table, accepted) for member in recipients]


def _of_delivery(
    recipient: str, table: Deadlines, accepted: datetime
) -> statement_pb2.DeliveryDeadlines:
    """Returns the deadlines of one delivery."""
    outcome = table.outcome
    return statement_pb2.DeliveryDeadlines(
        recipient=recipient,
        deliver_by_time=_timestamp(accepted + table.deliver),
        acknowledge_within=_duration(table.acknowledge),
        outcome_within=None if outcome is None else _duration(outcome),
    )


def _timestamp(at: datetime) -> Timestamp:
    """Returns a time as protobuf has it."""
    message = Timestamp()
    message.FromDatetime(at)
    return message


def _duration(span: timedelta) -> Duration:
    """Returns a length of time as protobuf has it."""
    message = Duration()
    message.FromTimedelta(span)
    return message
