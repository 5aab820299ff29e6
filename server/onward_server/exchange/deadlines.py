"""When the steps of a tip are due, by its class and by the place that it points to.

No law or published rule sets these times: they are the exchange's own choices, part of
its policy set (``deadlines.toml``). An acceptance states them, so that a delivery is
judged by what was in force when it was accepted. The clock is the wall clock; a hold is
recorded and never subtracted.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.errors import MalformedError
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.policy_files import (
    DEADLINES,
    JURISDICTION,
    PolicyInvalidError,
)

MAX_SPAN: Final = timedelta(days=366)
MAX_LINE: Final = 200
"""Characters. Reading a key takes as long as the square of its parts."""

_UNITS: Final = MappingProxyType({"min": "minutes", "h": "hours", "d": "days"})
_NONE: Final = "none"
_REQUIRED: Final = ("pass_on", "deliver", "acknowledge", "outcome")
_NEVER_NONE: Final = ("pass_on", "deliver", "acknowledge")

_Row: TypeAlias = Mapping[str, str]
"""What the file says of one class."""

_SPAN: Final = re.compile("([1-9][0-9]{0,5}) ?(min|h|d)|none")
_NAMES: Final = (
    "pass_on",
    "pass_on_breach",
    "hold_to",
    "deliver",
    "acknowledge",
    "outcome",
)
CLASSES: Final = MappingProxyType(
    {
        name.removeprefix("URGENCY_"): value
        for name, value in vocabulary_pb2.Urgency.items()
        if value
    }
)
"""Every class of tip, by its name in ``deadlines.toml``."""


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
    if max(map(len, text.split("\n"))) > MAX_LINE:
        raise PolicyInvalidError(
            f"{DEADLINES}: a line has more than {MAX_LINE} characters; break it"
        )
    try:
        sheet: dict[str, object] = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PolicyInvalidError(f"{DEADLINES}: {error}") from error
    _check_names("", sheet, ("default", "jurisdiction"))
    default = _rows("default", sheet.get("default", {}))
    own = {
        code: _rows(f"jurisdiction.{code}", rows)
        for code, rows in _table("jurisdiction", sheet.get("jurisdiction", {})).items()
    }
    return DeadlineTable(
        _compiled("default", {name: default.get(name, {}) for name in CLASSES}),
        MappingProxyType(
            {
                _code(code): _compiled(
                    f"jurisdiction.{code}",
                    # A jurisdiction's row takes from the default what it lacks.
                    {name: default.get(name, {}) | row for name, row in rows.items()},
                )
                for code, rows in own.items()
            }
        ),
    )


def _rows(place: str, found: object) -> dict[str, dict[str, str]]:
    """Returns what the file says of each class."""
    rows = _table(place, found)
    _check_names(f"{place}.", rows, CLASSES)
    for name, row in rows.items():
        _check_row(f"{place}.{name}", _table(f"{place}.{name}", row))
    return rows


def _check_row(place: str, row: Mapping[str, object]) -> None:
    """Refuses a name or a time that means nothing."""
    _check_names(f"{place}.", row, _NAMES)
    for name, text in row.items():
        if not (isinstance(text, str) and _SPAN.fullmatch(text)):
            raise PolicyInvalidError(
                f"{DEADLINES}: {place}.{name} is no time; write a whole number of min, "
                'h or d, such as "4 h"'
            )


def _check_names(place: str, found: Mapping[str, object], known: Iterable[str]) -> None:
    """Refuses a name that means nothing: it must not silently be no deadline."""
    for name in found:
        if name not in known:
            raise PolicyInvalidError(
                f"{DEADLINES}: {place}{name} means nothing; known are "
                f"{', '.join(known)}"
            )


def _table(place: str, found: object) -> dict[str, Any]:
    """Returns a table of the file."""
    if not isinstance(found, dict):
        raise PolicyInvalidError(f"{DEADLINES}: {place} is no table")
    return found


def _code(code: str) -> str:
    """Returns the code of a jurisdiction."""
    if not JURISDICTION.fullmatch(code):
        raise PolicyInvalidError(
            f"{DEADLINES}: jurisdiction.{code} is no ISO 3166-2 code such as US-OH"
        )
    return code


def _compiled(place: str, rows: Mapping[str, _Row]) -> Mapping[int, Deadlines]:
    """Returns rows by the number of their class, found sound."""
    return MappingProxyType(
        {
            CLASSES[name]: _deadlines(f"{place}.{name}", row)
            for name, row in rows.items()
        }
    )


def _deadlines(place: str, row: _Row) -> Deadlines:
    """Returns one row, found sound."""
    for name in _REQUIRED:
        if name not in row:
            raise PolicyInvalidError(
                f"{DEADLINES}: {place} lacks {name}; state a time such as 4 h"
            )
    spans = {name: _span(f"{place}.{name}", row.get(name, _NONE)) for name in _NAMES}
    for name in _NEVER_NONE:
        if spans[name] is None:
            raise PolicyInvalidError(
                f"{DEADLINES}: {place}.{name} cannot be none; state a time"
            )
    spans["pass_on_breach"] = spans["pass_on_breach"] or spans["pass_on"]
    read = Deadlines(**spans)  # type: ignore[arg-type]
    latest = read.hold_to or read.pass_on_breach
    if not read.pass_on <= read.pass_on_breach <= latest:
        raise PolicyInvalidError(
            f"{DEADLINES}: in {place}, pass_on is not the first, pass_on_breach the "
            "second and hold_to the last; put them in this order"
        )
    return read


def _span(place: str, text: str) -> timedelta | None:
    """Returns a length of time, or None where there is none."""
    if text == _NONE:
        return None
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
    return Timestamp(seconds=math.floor(at.timestamp()), nanos=at.microsecond * 1000)


@lru_cache(maxsize=256)  # the table has few
def _duration(span: timedelta) -> Duration:
    """Returns a length of time as protobuf has it."""
    message = Duration()
    message.FromTimedelta(span)
    return message
