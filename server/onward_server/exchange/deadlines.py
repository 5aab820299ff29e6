"""When the steps of a tip are due, by its class and by the place that it points to.

No law or published rule sets these times: they are the exchange's own choices, part of
its policy set (``deadlines.toml``). An acceptance states them, so that a delivery is
judged by what was in force when it was accepted. The clock is the wall clock; a hold is
recorded and never subtracted.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.errors import MalformedError
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.policy_files import DEADLINES, PolicyInvalidError

MAX_SPAN: Final = timedelta(days=366)

_UNITS: Final = MappingProxyType({"min": "minutes", "h": "hours", "d": "days"})
_NONE: Final = "none"
_REQUIRED: Final = ("pass_on", "deliver", "acknowledge", "outcome")
_OPTIONAL: Final = ("pass_on_breach", "hold_to", "outcome")
_PREFIX: Final = "URGENCY_"

_Code: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}-[A-Z0-9]{1,3}$")]
_Span: TypeAlias = Annotated[
    str, msgspec.Meta(pattern="^([1-9][0-9]{0,5} ?(min|h|d)|none)$")
]
_Class: TypeAlias = Literal[
    "IMMINENT_DANGER", "MINOR", "TIME_SENSITIVE", "ROUTINE", "INFORMATIONAL"
]


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each step may take for one class of tip in one place.

    Attributes:
        pass_on: from the tip's receipt until the hotline has decided about it, as it
            should be. Half of it is when a warning is due.
        pass_on_breach: the same, at the latest.
        hold_to: the same, where a supervisor holds the tip. None: no hold is possible.
        deliver: from acceptance until the recipient's machine has it.
        acknowledge: from delivery until a person has read it.
        outcome: from delivery until the first outcome. None: none is due.
    """

    pass_on: timedelta
    pass_on_breach: timedelta
    hold_to: timedelta | None
    deliver: timedelta
    acknowledge: timedelta
    outcome: timedelta | None


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says of one class; None where it says nothing."""

    pass_on: _Span | None = None
    pass_on_breach: _Span | None = None
    hold_to: _Span | None = None
    deliver: _Span | None = None
    acknowledge: _Span | None = None
    outcome: _Span | None = None


class _Sheet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    default: dict[_Class, _Row]
    jurisdiction: dict[_Code, dict[_Class, _Row]] = {}


@dataclass(frozen=True, slots=True)
class DeadlineTable:
    """The deadlines of a policy set.

    Attributes:
        default: by urgency; every class has a row.
        jurisdictions: by the code of a jurisdiction and urgency, whole rows: where a
            jurisdiction has a time of its own.
    """

    default: Mapping[int, Deadlines]
    jurisdictions: Mapping[str, Mapping[int, Deadlines]]

    def of(self, urgency: int, jurisdiction: str) -> Deadlines:
        """Returns the deadlines of a class of tips that point to a place.

        Raises:
            MalformedError: the urgency is one that this release does not know.
        """
        own = self.jurisdictions.get(jurisdiction, {}).get(urgency)
        row = own or self.default.get(urgency)
        if row is None:
            raise MalformedError(
                f"urgency {urgency} has no deadlines here; state a class that this "
                "exchange knows",
                field="urgency",
            )
        return row


def parse_deadlines(text: str) -> DeadlineTable:
    """Reads ``deadlines.toml``.

    Raises:
        PolicyInvalidError: it is not TOML; a name or time is not known; a class or a
            required time is missing; or a later time comes before an earlier one. The
            message says where.
    """
    try:
        sheet = msgspec.convert(tomllib.loads(text), _Sheet)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise PolicyInvalidError(f"{DEADLINES}: {error}") from error
    return DeadlineTable(
        MappingProxyType(
            {
                vocabulary_pb2.Urgency.Value(f"{_PREFIX}{name}"): _deadlines(
                    f"default.{name}", sheet.default.get(name, _Row())
                )
                for name in _Class.__args__  # type: ignore[attr-defined]
            }
        ),
        MappingProxyType(
            {
                code: {
                    vocabulary_pb2.Urgency.Value(f"{_PREFIX}{name}"): _deadlines(
                        f"jurisdiction.{code}.{name}", _over(sheet.default[name], row)
                    )
                    for name, row in rows.items()
                }
                for code, rows in sheet.jurisdiction.items()
            }
        ),
    )


def _over(default: _Row, own: _Row) -> _Row:
    """Returns a jurisdiction's row, which takes from the default what it lacks."""
    return _Row(
        *(
            getattr(own, name) or getattr(default, name)
            for name in _Row.__struct_fields__
        )
    )


def _deadlines(place: str, row: _Row) -> Deadlines:
    """Returns a row of the table, found sound."""
    for name in _REQUIRED:
        if getattr(row, name) is None:
            raise PolicyInvalidError(
                f"{DEADLINES}: {place} lacks {name}; state a time such as 4 h"
            )
    spans = {
        name: _span(f"{place}.{name}", getattr(row, name))
        for name in _Row.__struct_fields__
    }
    spans["pass_on_breach"] = spans["pass_on_breach"] or spans["pass_on"]
    read = Deadlines(**spans)  # type: ignore[arg-type]
    latest = read.hold_to or read.pass_on_breach
    if not read.pass_on <= read.pass_on_breach <= latest:
        raise PolicyInvalidError(
            f"{DEADLINES}: in {place}, pass_on is not the first, pass_on_breach the "
            "second and hold_to the last; put them in this order"
        )
    return read


def _span(place: str, text: str | None) -> timedelta | None:
    """Returns a length of time, or None where there is none."""
    name = place.rpartition(".")[2]
    if text is None or (text == _NONE and name in _OPTIONAL):
        return None
    if text == _NONE:
        raise PolicyInvalidError(f"{DEADLINES}: {place} cannot be none; state a time")
    number, unit = re.findall("[0-9]+|[a-z]+", text)
    span = timedelta(**{_UNITS[unit]: int(number)})
    if span > MAX_SPAN:
        raise PolicyInvalidError(
            f"{DEADLINES}: {place} is more than {MAX_SPAN.days} days; state a shorter "
            "time"
        )
    return span


def delivery_deadlines(
    table: Deadlines, recipients: Sequence[directory_pb2.Member], accepted: datetime
) -> list[statement_pb2.DeliveryDeadlines]:
    """Returns the deadlines of each delivery of a referral.

    Args:
        table: of the referral's class and place.
        recipients: the directory entries, in the referral's order.
        accepted: when the exchange accepts the referral; UTC.

    Returns:
        One message for each recipient, in the same order.
    """
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
