"""Tips and referrals as JSON: what is read, what is printed, what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import EnumDescriptor

from onward.cli._messages import (
    fill,
    members_of,
    read_members,
    to_members,
    value_of,
    word_of,
    words_of,
)
from onward.cli._records import duration_of
from onward.cli._routing import (
    changes_of,
    laid_over,
    members_of_options,
    routing_of,
)
from onward.client import Tip
from onward.core.errors import MalformedError
from onward.v1 import content_pb2, statement_pb2, vocabulary_pb2
from tests.support.chain_builder import OHIO, duration

SAMPLES = sorted((Path(__file__).parents[2] / "docs" / "samples").glob("*.json"))
ENUMS = list(vocabulary_pb2.DESCRIPTOR.enum_types_by_name.values())


def stated(**options: Any) -> dict[str, object]:
    """Returns members of a referral, all of which are there but for those changed."""
    complete: dict[str, Any] = {
        "recipients": [OHIO],
        "urgency": "ROUTINE",
        "jurisdiction": "US-OH",
        "basis": "THIRD_PARTY_TIP",
        "subject_age_group": "AGE_13_17",
    }
    return members_of_options(**(complete | options))


def read_tip(text: str) -> content_pb2.Tip:
    return fill(Tip(), read_members(text, Tip(), "tip"), "tip")


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.name)
def test_every_value_has_a_word_of_its_own(enum: EnumDescriptor) -> None:
    wrapper = getattr(vocabulary_pb2, enum.name)
    words = words_of(enum)
    assert len(set(words)) == len(enum.values) - 1
    assert all(word.isidentifier() for word in words)
    for number, word in enumerate(words, 1):
        assert value_of(wrapper, word) == number
        assert word_of(wrapper, number) == word


def test_a_value_of_a_later_version_is_shown_as_its_number() -> None:
    assert word_of(vocabulary_pb2.Urgency, 99) == "99"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_reads_the_same_in_both_spellings(path: Path) -> None:
    tip = read_tip(path.read_text())
    assert tip.narrative
    printed = json.dumps(to_members(tip))
    assert "CHANNEL_" not in printed
    assert read_tip(printed) == tip


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[]", ""),
        ('{"narrative": "a", "narrative": "secret"}', ""),
        ('{"secret": 1}', "tip"),
        ('{"receivedTime": "2026-01-01T00:00:00Z", "received_time": "secret"}', "tip"),
        ('{"channel": "secret"}', "tip.channel"),
        ('{"persons": [{}, {"age_group": "secret"}]}', "tip.persons[1].age_group"),
        ('{"attachments": [{"data": "secret"}]}', "tip.attachments[0].data"),
        ('{"received_time": "secret"}', "tip.received_time"),
        ('{"locations": {"address": "secret"}}', "tip.locations"),
        ('{"persons": [{"count": "secret"}]}', "tip.persons.count"),
        ('{"narrative": {"secret": 1}}', "tip.narrative"),
        ('{"test": "secret"}', "tip.test"),
    ],
)
def test_what_is_wrong_is_told_by_its_place_and_never_repeated(
    text: str, place: str
) -> None:
    with pytest.raises(MalformedError) as caught:
        read_tip(text)
    assert place in caught.value.message
    assert "secret" not in caught.value.message


def test_layers_of_a_referral_lie_on_each_other() -> None:
    file = members_of(
        {
            "urgency": "URGENCY_MINOR",
            "urgencyReason": "a student",
            "consent": {"state": "GRANTED", "scope": "one agency"},
            "expireTime": "2026-12-01T00:00:00Z",
            "markings": ["LEI"],
        },
        statement_pb2.Referral(),
        "referral",
    )
    options = stated(consent="WITHDRAWN", basis_citation=None)
    routing = routing_of(laid_over(file, options))
    assert routing["urgency"] == vocabulary_pb2.URGENCY_ROUTINE
    assert routing["subject_age_group"] == vocabulary_pb2.AGE_GROUP_13_17
    assert list(routing["recipients"]) == [OHIO]
    assert routing["urgency_reason"] == "a student"
    assert routing["consent"].state == vocabulary_pb2.CONSENT_STATE_WITHDRAWN
    assert routing["consent"].scope == "one agency"
    assert routing["expire_time"] == datetime(2026, 12, 1, tzinfo=UTC)
    assert "basis_citation" not in routing


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("recipients", "--to"),
        ("urgency", "--urgency"),
        ("jurisdiction", "--jurisdiction"),
        ("basis", "--basis"),
        ("subject_age_group", "--subject"),
    ],
)
def test_a_missing_decision_is_named_with_its_option(name: str, option: str) -> None:
    with pytest.raises(MalformedError, match=option) as caught:
        routing_of(stated(**{name: None}))
    assert caught.value.field == f"referral.{name}"


def test_what_follows_from_the_tip_cannot_be_stated() -> None:
    members = members_of({"channel": "CALL"}, statement_pb2.Referral(), "referral")
    with pytest.raises(MalformedError, match="follows from the tip"):
        changes_of(members)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, ""), (45, "45 s"), (1800, "30 min"), (43200, "12 h"), (604800, "7 d")],
)
def test_durations_as_people_read_them(seconds: int, text: str) -> None:
    assert duration_of(duration(seconds)) == text
