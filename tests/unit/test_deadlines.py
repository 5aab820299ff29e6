"""Deadlines: what an acceptance promises for each class of urgency."""

from datetime import UTC, datetime, timedelta

import pytest

from onward.core.errors import MalformedError
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.deadlines import DEADLINES, deadlines

ACCEPTED = datetime(2026, 11, 21, 2, 24, 0, 250_000, tzinfo=UTC)
NAMES = [f"spiffe://national.example/agency/{name}" for name in ("b", "a", "c")]
RECIPIENTS = [directory_pb2.Member(name=name) for name in NAMES]

MINUTE, HOUR, DAY = 60, 3600, 86400

# urgency: pass on, at the latest, deliver, acknowledge, outcome; in seconds
TABLE = {
    "IMMINENT_DANGER": (15 * MINUTE, 15 * MINUTE, 5 * MINUTE, 30 * MINUTE, 24 * HOUR),
    "MINOR": (1 * HOUR, 24 * HOUR, 15 * MINUTE, 4 * HOUR, 3 * DAY),
    "TIME_SENSITIVE": (4 * HOUR, 4 * HOUR, 1 * HOUR, 12 * HOUR, 7 * DAY),
    "ROUTINE": (24 * HOUR, 72 * HOUR, 4 * HOUR, 72 * HOUR, 30 * DAY),
    "INFORMATIONAL": (7 * DAY, 7 * DAY, 24 * HOUR, 14 * DAY, None),
}


def value(urgency: str) -> vocabulary_pb2.Urgency.ValueType:
    return vocabulary_pb2.Urgency.Value(f"URGENCY_{urgency}")


@pytest.mark.parametrize("urgency", TABLE)
def test_each_delivery_is_due_by_the_table(urgency: str) -> None:
    _, _, deliver, acknowledge, outcome = TABLE[urgency]
    tip = statement_pb2.Referral(urgency=value(urgency), recipients=NAMES)
    due = deadlines(tip, RECIPIENTS, ACCEPTED)
    assert [each.recipient for each in due] == NAMES
    for each in due:
        by = each.deliver_by_time.ToDatetime(tzinfo=UTC)
        assert by == ACCEPTED + timedelta(seconds=deliver)
        assert each.acknowledge_within.ToTimedelta() == timedelta(seconds=acknowledge)
        assert each.HasField("outcome_within") == (outcome is not None)
        assert each.outcome_within.ToTimedelta() == timedelta(seconds=outcome or 0)


@pytest.mark.parametrize("urgency", TABLE)
def test_passing_on_is_due_by_the_table(urgency: str) -> None:
    row = DEADLINES[value(urgency)]
    latest = row.pass_on_latest
    assert (row.pass_on.total_seconds(), latest.total_seconds()) == TABLE[urgency][:2]


def test_every_class_of_urgency_has_deadlines() -> None:
    assert set(DEADLINES) == set(vocabulary_pb2.Urgency.values()) - {0}


def test_an_unknown_urgency_has_none() -> None:
    tip = statement_pb2.Referral(urgency=77)  # type: ignore[arg-type]
    with pytest.raises(MalformedError) as refused:
        deadlines(tip, RECIPIENTS, ACCEPTED)
    assert refused.value.field == "referral.urgency"
