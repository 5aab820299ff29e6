"""For members' own tests: tips and referrals that are well-formed and fictional."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from onward._values import Routing, Tip
from onward.v1 import content_pb2, vocabulary_pb2

SAMPLE_TIME: Final = datetime(2026, 11, 2, 2, 14, tzinfo=UTC)
"""When the sample tip came in."""


def sample_tip(reference: str = "NH-0001", *, test: bool = True) -> Tip:
    """Returns a tip with an invented story, marked as a test unless said otherwise.

    Args:
        reference: the publisher's reference.
        test: whether it is signed as a test, which counts in no statistic.
    """
    tip = Tip(
        reference=reference,
        channel=vocabulary_pb2.CHANNEL_CALL,
        reporter_type=vocabulary_pb2.REPORTER_TYPE_INDUSTRY_WORKER,
        time_zone="America/New_York",
        language="en",
        narrative=(
            "Motel clerk says a guest asked for help; a companion holds her ID; they "
            "are leaving soon."
        ),
        trafficking_type=vocabulary_pb2.TRAFFICKING_TYPE_SEX,
        locations=[
            content_pb2.TipLocation(jurisdiction="US-OH", significance="present place")
        ],
        persons=[
            content_pb2.TipPerson(
                part="potential victim", age_group=vocabulary_pb2.AGE_GROUP_ADULT
            )
        ],
        test=test,
    )
    tip.received_time.FromDatetime(SAMPLE_TIME)
    return tip


def sample_routing(*recipients: str) -> Routing:
    """Returns what a publisher could decide about :func:`sample_tip`.

    Args:
        recipients: SPIFFE IDs of the agencies that get it.
    """
    return Routing(
        recipients=recipients,
        urgency=vocabulary_pb2.URGENCY_IMMINENT_DANGER,
        urgency_reason="they are leaving soon",
        jurisdiction="US-OH",
        basis=vocabulary_pb2.DISCLOSURE_BASIS_IMMINENT_DANGER,
        subject_age_group=vocabulary_pb2.AGE_GROUP_ADULT,
    )
