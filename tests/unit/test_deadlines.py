"""Deadlines: what is due when, by class and place, and what an acceptance promises."""

from datetime import UTC, datetime, timedelta

import pytest

from onward.core.errors import MalformedError
from onward.v1 import directory_pb2, vocabulary_pb2
from onward_server.exchange.deadlines import (
    Deadlines,
    DeadlineTable,
    delivery_deadlines,
    parse_deadlines,
)
from onward_server.exchange.policy_files import (
    PolicyInvalidError,
    default_policy_folder,
)

ACCEPTED = datetime(2026, 11, 21, 2, 24, 0, 250_000, tzinfo=UTC)
NAMES = [f"spiffe://national.example/agency/{name}" for name in ("b", "a", "c")]
RECIPIENTS = [directory_pb2.Member(name=name) for name in NAMES]

MINUTE, HOUR, DAY = 60, 3600, 86400

# urgency: pass on, breach, hold to, deliver, acknowledge, outcome; in seconds
TABLE = {
    "IMMINENT_DANGER": (900, 900, None, 300, 30 * MINUTE, 24 * HOUR),
    "MINOR": (HOUR, 24 * HOUR, None, 15 * MINUTE, 4 * HOUR, 3 * DAY),
    "TIME_SENSITIVE": (4 * HOUR, 4 * HOUR, None, HOUR, 12 * HOUR, 7 * DAY),
    "ROUTINE": (24 * HOUR, 24 * HOUR, 72 * HOUR, 4 * HOUR, 72 * HOUR, 30 * DAY),
    "INFORMATIONAL": (7 * DAY, 7 * DAY, None, 24 * HOUR, 14 * DAY, None),
}
DEFAULT = (default_policy_folder() / "deadlines.toml").read_text("utf-8")


def value(urgency: str) -> vocabulary_pb2.Urgency.ValueType:
    return vocabulary_pb2.Urgency.Value(f"URGENCY_{urgency}")


def table(more: str = "") -> DeadlineTable:
    return parse_deadlines(DEFAULT + more)


def seconds(row: Deadlines) -> tuple[float | None, ...]:
    spans = (
        row.pass_on,
        row.pass_on_breach,
        row.hold_to,
        row.deliver,
        row.acknowledge,
        row.outcome,
    )
    return tuple(None if span is None else span.total_seconds() for span in spans)


@pytest.mark.parametrize("urgency", TABLE)
def test_the_default_table_is_the_one_that_was_agreed(urgency: str) -> None:
    assert seconds(table().of(value(urgency), "US-OH")) == TABLE[urgency]


@pytest.mark.parametrize("urgency", TABLE)
def test_each_delivery_is_due_by_the_table(urgency: str) -> None:
    *_, deliver, acknowledge, outcome = TABLE[urgency]
    row = table().of(value(urgency), "US-OH")
    due = delivery_deadlines(row, RECIPIENTS, ACCEPTED)
    assert [each.recipient for each in due] == NAMES
    for each in due:
        by = each.deliver_by_time.ToDatetime(tzinfo=UTC)
        assert by == ACCEPTED + timedelta(seconds=deliver or 0)
        within = timedelta(seconds=acknowledge or 0)
        assert each.acknowledge_within.ToTimedelta() == within
        assert each.HasField("outcome_within") == (outcome is not None)
        assert each.outcome_within.ToTimedelta() == timedelta(seconds=outcome or 0)


def test_every_class_of_urgency_has_deadlines() -> None:
    assert set(table().default) == set(vocabulary_pb2.Urgency.values()) - {0}


@pytest.mark.parametrize("urgency", [0, 77])
def test_an_unknown_urgency_has_none(urgency: int) -> None:
    with pytest.raises(MalformedError, match="has no deadlines here"):
        table().of(urgency, "US-OH")


def test_a_state_has_times_of_its_own_and_the_others_of_the_default() -> None:
    found = table('[jurisdiction.US-TX.MINOR]\npass_on = "30min"\noutcome = "none"\n')
    own = (30 * MINUTE, *TABLE["MINOR"][1:5], None)
    assert seconds(found.of(value("MINOR"), "US-TX")) == own
    assert seconds(found.of(value("ROUTINE"), "US-TX")) == TABLE["ROUTINE"]
    assert seconds(found.of(value("MINOR"), "US-OH")) == TABLE["MINOR"]


def test_a_breach_follows_the_time_to_pass_on_where_none_is_stated() -> None:
    found = table('[jurisdiction.US-TX.TIME_SENSITIVE]\npass_on = "2 h"\n')
    row = found.of(value("TIME_SENSITIVE"), "US-TX")
    assert row.pass_on == row.pass_on_breach == timedelta(hours=2)


def test_a_state_may_allow_no_hold() -> None:
    found = table('[jurisdiction.US-TX.ROUTINE]\nhold_to = "none"\n')
    assert found.of(value("ROUTINE"), "US-TX").hold_to is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DEFAULT + "[", "line"),
        (DEFAULT + "x = " + "[\n" * 10_000, "recursion"),
        (DEFAULT + "x" + ".x" * 10_000 + " = 1", "more than 200 characters"),
        (
            DEFAULT.replace("[default.MINOR]", "[default.MINORS]"),
            "default.MINORS means nothing",
        ),
        (
            DEFAULT.replace("\ndeliver", "\ndelivery", 1),
            "default.IMMINENT_DANGER.delivery means nothing; known are pass_on, ",
        ),
        (
            DEFAULT.replace("acknowledge = ", "acknowledged = ", 1),
            "IMMINENT_DANGER.ack",
        ),
        (DEFAULT.replace('"1 h"', '"1 hour"', 1), "default.MINOR.pass_on is no time"),
        (DEFAULT.replace('"1 h"', '"0 h"', 1), "default.MINOR.pass_on is no time"),
        (DEFAULT.replace('"1 h"', "60", 1), "default.MINOR.pass_on is no time"),
        (DEFAULT.replace('"1 h"', '"none"', 1), "default.MINOR.pass_on cannot be none"),
        (
            DEFAULT.replace('outcome = "none"', ""),
            "default.INFORMATIONAL lacks outcome",
        ),
        (DEFAULT.replace('"30 d"', '"367 d"'), "default.ROUTINE.outcome is more than"),
        (DEFAULT.replace('hold_to = "72 h"', 'hold_to = "1 h"'), "in default.ROUTINE"),
        (
            DEFAULT + '[jurisdiction.Ohio.MINOR]\npass_on = "1 h"\n',
            "jurisdiction.Ohio is",
        ),
        (DEFAULT + "[state.US-OH.MINOR]\n", "state means nothing"),
        (DEFAULT + "[jurisdiction]\nUS-OH = 1\n", "jurisdiction.US-OH is no table"),
        (
            DEFAULT + '[jurisdiction.US-OH.MINOR]\npass_on = "25 h"\n',
            "in jurisdiction.US-OH.MINOR",
        ),
        ("", "default.IMMINENT_DANGER lacks pass_on"),
    ],
)
def test_what_is_not_sound_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(PolicyInvalidError) as refused:
        parse_deadlines(text)
    assert str(refused.value).startswith("deadlines.toml: ")
    assert said in str(refused.value)


def test_a_class_that_is_missing_is_named() -> None:
    text = DEFAULT.replace("[default.ROUTINE]", "[jurisdiction.US-OH.ROUTINE]")
    with pytest.raises(PolicyInvalidError, match=r"default\.ROUTINE lacks pass_on"):
        parse_deadlines(text)
