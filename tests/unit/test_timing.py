"""When statements were made, and whether deadlines were kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from onward.core.notes import Cosigner
from onward.core.statements import UnverifiedStatement, parse_statement
from onward.core.timing import (
    MAX_CLOCK_SKEW,
    Deadline,
    Interval,
    Judgement,
    Placed,
    Sighting,
    Source,
    intervals,
    judge,
    quorum_time,
)
from onward.core.tlog_policy import Policy
from onward.core.verify import DeliveryReport, verify_bundle
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.support.chain_builder import (
    HOTLINE,
    NEVADA,
    OHIO,
    ChainBuilder,
    Logged,
    established,
    note_key,
    timestamp,
)

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def claimed(minutes: float) -> Interval:
    return Interval(at(minutes))


def witnessed(minutes: float, by: float) -> Interval:
    return Interval(at(minutes), not_after=at(by), source=Source.WITNESSES)


def times(exchange: ChainBuilder, *sightings: Sighting) -> dict[int, Interval]:
    placed = [Placed(item.index, unverified(item)) for item in exchange.log]
    return intervals(placed, exchange.exchange, exchange.signer.name, sightings)


def unverified(item: Logged) -> UnverifiedStatement:
    return parse_statement(item.statement.jws)


# --- intervals


def test_a_statement_is_not_older_than_what_its_issuer_had_seen() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    handover = exchange.hand_over(referral, OHIO)
    exchange.wait(hours=3)
    late = exchange.acknowledge(exchange.receive(referral, OHIO))
    bound = times(exchange)[late.index].not_before
    assert bound
    assert bound > handover.statement.message.made_time.ToDatetime(tzinfo=UTC)
    # What the exchange said last before it is the second handover.
    assert bound == exchange.log[late.index - 2].statement.message.made_time.ToDatetime(
        tzinfo=UTC
    )


def test_what_members_claim_bounds_nobody_else() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO, NEVADA)
    future = timestamp(exchange.now + timedelta(days=1))
    handover = exchange.hand_over(referral, OHIO)
    body = statement_pb2.Received(
        content_digest=referral.statement.message.referral.content_digest,
        check=vocabulary_pb2.CONTENT_CHECK_VERIFIED,
    )
    boaster = exchange.answer(OHIO, handover, received=body, made_time=future)
    honest = exchange.retract(referral)
    assert honest.statement.message.seen.size > boaster.index
    assert not times(exchange)[honest.index].contradiction()


def test_a_tree_of_another_log_bounds_nothing() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    seen = statement_pb2.Seen(origin="fl.example/log", size=6, root=bytes(32))
    body = statement_pb2.Retraction(
        reason=vocabulary_pb2.RETRACTION_REASON_SENT_IN_ERROR
    )
    stranger = exchange.answer(HOTLINE, referral, retraction=body, seen=seen)
    found = times(exchange)
    assert found[stranger.index].not_before == found[referral.index].not_before


def early(exchange: ChainBuilder) -> statement_pb2.Seen:
    """Returns what anybody may say to have seen: the log when it was young."""
    return statement_pb2.Seen(origin=exchange.signer.name, size=1, root=bytes(32))


def claimed_time(item: Logged) -> datetime:
    return item.statement.message.made_time.ToDatetime(tzinfo=UTC)


def test_a_statement_is_not_older_than_what_it_answers() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.wait(hours=3)
    handover = exchange.hand_over(referral, OHIO)
    body = statement_pb2.Received(
        content_digest=referral.statement.message.referral.content_digest,
        check=vocabulary_pb2.CONTENT_CHECK_VERIFIED,
    )
    young = early(exchange)
    received = exchange.answer(OHIO, handover, received=body, seen=young)
    forged = exchange.answer(
        OHIO,
        received,
        acknowledgment=statement_pb2.Acknowledgment(reader_role="analyst"),
        seen=young,
        made_time=timestamp(exchange.now - timedelta(hours=2)),
    )
    found = times(exchange)
    assert found[received.index].not_before == claimed_time(handover)
    assert found[forged.index].not_before == claimed_time(handover)
    assert "backdated" in found[forged.index].contradiction()


def test_where_an_answered_statement_stands_in_the_log_bounds_nothing() -> None:
    # A desk that is offline signs both, and sends them hours later.
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    handover = exchange.hand_over(referral, OHIO)
    seen = exchange.seen()
    body = statement_pb2.Received(
        content_digest=referral.statement.message.referral.content_digest,
        check=vocabulary_pb2.CONTENT_CHECK_VERIFIED,
    )
    chain: dict[str, Any] = {"referral_id": referral.id, "seen": seen}
    received = exchange.sign(OHIO, previous=handover, received=body, **chain)
    role = statement_pb2.Acknowledgment(reader_role="analyst")
    read = exchange.sign(OHIO, previous=received, acknowledgment=role, **chain)
    exchange.wait(hours=5)
    exchange.enrol("spiffe://national.example/agency/later")
    exchange.append(received)
    last = exchange.append(read)
    bound = times(exchange)[last.index]
    assert bound.not_before == claimed_time(handover)
    assert not bound.contradiction()


def test_the_first_entry_has_no_lower_bound() -> None:
    exchange = established()
    assert times(exchange)[0].not_before is None


def test_an_answer_of_the_exchange_shows_that_the_statement_existed() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    bound = times(exchange)[referral.index]
    acceptance = exchange.log[referral.index + 1].statement.message.made_time
    assert bound.not_after == acceptance.ToDatetime(tzinfo=UTC)
    assert bound.source is Source.CLAIMS


def test_a_later_look_of_the_exchange_shows_that_a_statement_existed() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO, NEVADA)
    received = exchange.receive(referral, OHIO)
    exchange.wait(hours=1)
    assert times(exchange)[received.index].not_after is None
    handover = exchange.hand_over(referral, NEVADA)
    bound = times(exchange)[received.index].not_after
    assert bound == handover.statement.message.made_time.ToDatetime(tzinfo=UTC)


def test_the_earliest_tree_that_holds_a_statement_bounds_it() -> None:
    exchange = established()
    size = len(exchange.log)
    late, early = Sighting(size, at(60)), Sighting(size - 1, at(30))
    found = times(exchange, late, early)
    assert found[size - 2].not_after == at(30)
    assert found[size - 1].not_after == at(60)
    assert {interval.source for interval in found.values()} == {Source.WITNESSES}


def test_a_larger_tree_seen_earlier_bounds_what_a_smaller_one_holds_too() -> None:
    exchange = established()
    size = len(exchange.log)
    found = times(exchange, Sighting(size, at(5)), Sighting(1, at(50)))
    assert found[0].not_after == at(5)


# --- contradictions


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        (Interval(at(0), not_before=at(5)), ""),
        (Interval(at(0), not_before=at(5.1)), "backdated"),
        (Interval(at(5), not_after=at(0)), ""),
        (Interval(at(5.1), not_after=at(0)), "postdated"),
        (Interval(at(0)), ""),
        (Interval(datetime.min.replace(tzinfo=UTC), not_before=NOON), "backdated"),
        (Interval(datetime.max.replace(tzinfo=UTC), not_after=NOON), "postdated"),
    ],
)
def test_a_claim_is_contradicted_beyond_the_skew_of_clocks(
    interval: Interval, word: str
) -> None:
    assert timedelta(minutes=5) == MAX_CLOCK_SKEW
    contradiction = interval.contradiction()
    assert (word in contradiction) if word else not contradiction


# --- the quorum's time


def policy(quorum: str, *groups: str) -> Policy:
    witnesses = [
        f"witness {name} {Cosigner(name, note_key(name)).vkey.format()}"
        for name in ("a", "b", "c", "d", "e")
    ]
    log = f"log {established().signer.vkey.format()}"
    lines = [log, *witnesses, *(f"group {group}" for group in groups)]
    return Policy.parse("\n".join([*lines, f"quorum {quorum}"]))


@pytest.mark.parametrize(
    ("quorum", "groups", "seconds"),
    [
        ("a", (), 10),
        ("one", ("one any a b c",), 10),
        ("two", ("two 2 a b c",), 20),
        ("three", ("three all a b c",), 30),
        ("both", ("pair all a d", "other any b c", "both all pair other"), 40),
        ("either", ("pair all a d", "other any b c", "either any pair other"), 20),
        ("e", (), None),
        ("none", (), None),
    ],
)
def test_a_quorum_is_met_when_its_last_needed_witness_has_cosigned(
    quorum: str, groups: tuple[str, ...], seconds: int | None
) -> None:
    cosigned = {"a": 10, "b": 20, "c": 30, "d": 40}
    expected = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    assert quorum_time(policy(quorum, *groups), cosigned) == expected


def test_a_time_that_no_calendar_has_is_no_bound() -> None:
    assert quorum_time(policy("a"), {"a": 2**62}) is None


# --- deadlines


def judged(deadline: Deadline | None) -> tuple[str, str]:
    assert deadline
    return deadline.judgement, deadline.source


@pytest.mark.parametrize(
    ("done", "judgement", "source"),
    [
        (claimed(60), Judgement.MET, Source.CLAIMS),
        (claimed(60.1), Judgement.MISSED, Source.CLAIMS),
        (witnessed(50, 60), Judgement.MET, Source.WITNESSES),
        (witnessed(50, 70), Judgement.UNDETERMINED, Source.WITNESSES),
        (witnessed(65, 70), Judgement.MISSED, Source.WITNESSES),
        # Backdating does not help: what it has seen is later than the deadline.
        (Interval(at(0), not_before=at(61)), Judgement.MISSED, Source.CLAIMS),
    ],
)
def test_what_was_done_is_judged_by_its_interval(
    done: Interval, judgement: Judgement, source: Source
) -> None:
    due = (at(60), at(60))
    assert judged(judge("deliver", due, done, None, at(500))) == (judgement, source)


def test_a_term_that_began_at_an_uncertain_time_ends_at_one() -> None:
    due = (at(60), at(80))
    assert judged(judge("x", due, claimed(60), None, at(0)))[0] == "met"
    assert judged(judge("x", due, claimed(70), None, at(0)))[0] == "undetermined"
    assert judged(judge("x", due, claimed(81), None, at(0)))[0] == "missed"


def test_what_was_not_done_is_missed_once_the_evidence_goes_beyond_it() -> None:
    due = (at(60), at(60))
    assert judged(judge("x", due, None, None, at(59)))[0] == "undetermined"
    assert judged(judge("x", due, None, None, at(61)))[0] == "missed"


def test_what_ended_before_it_was_due_lapsed() -> None:
    due = (at(60), at(60))
    assert judge("x", due, None, claimed(30), at(500)) is None
    assert judged(judge("x", due, None, claimed(90), at(500)))[0] == "missed"


def test_a_claim_alone_does_not_count_against_a_breach_that_came_first() -> None:
    due = (at(60), at(60))
    told = judge("x", due, claimed(30), None, at(500), late=True)
    assert told
    assert (told.judgement, told.disputed) == ("undetermined", True)
    seen = judge("x", due, witnessed(30, 59), None, at(500), late=True)
    assert seen
    assert (seen.judgement, seen.disputed) == ("met", False)


def test_who_says_to_have_been_late_disputes_nothing() -> None:
    told = judge("x", (at(60), at(60)), claimed(61), None, at(500), late=True)
    assert told
    assert (told.judgement, told.disputed) == ("missed", False)


# --- the deadlines of a delivery


def delivery(exchange: ChainBuilder, referral: Logged) -> DeliveryReport:
    report = verify_bundle(exchange.bundle(referral), exchange.trust())
    assert report.exit_code == 0
    return report.deliveries[0]


def kept(exchange: ChainBuilder, referral: Logged) -> dict[str, str]:
    report = delivery(exchange, referral)
    return {item.name: str(item.judgement) for item in report.deadlines}


def test_deadlines_that_were_kept() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    received = exchange.receive(referral, OHIO)
    exchange.close(exchange.take(exchange.acknowledge(received)))
    assert kept(exchange, referral) == {
        "deliver": "met",
        "acknowledge": "met",
        "outcome": "met",
    }


def test_the_breach_of_sample_tip_7_is_seen() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.wait(days=41)
    exchange.receive(referral, OHIO)
    assert kept(exchange, referral) == {
        "deliver": "missed",
        "acknowledge": "undetermined",
        "outcome": "undetermined",
    }


def test_a_term_runs_from_receipt_and_not_from_acceptance() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.wait(minutes=50)
    received = exchange.receive(referral, OHIO)
    exchange.wait(hours=11, minutes=50)
    exchange.acknowledge(received)
    assert kept(exchange, referral)["acknowledge"] == "met"


def test_what_was_declined_owes_no_outcome() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.decline(exchange.acknowledge(exchange.receive(referral, OHIO)))
    exchange.wait(days=100)
    exchange.erase(referral)
    assert kept(exchange, referral) == {"deliver": "met", "acknowledge": "met"}


def test_what_was_taken_back_in_time_is_not_missed() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.wait(minutes=30)
    exchange.retract(referral)
    exchange.wait(days=1)
    exchange.erase(referral)
    assert kept(exchange, referral) == {}


def test_what_was_taken_back_too_late_was_missed_before() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.wait(hours=2)
    exchange.retract(referral)
    assert kept(exchange, referral) == {"deliver": "missed"}


def test_content_that_was_erased_unsent_is_due_no_more() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.erase(referral)
    exchange.wait(days=1)
    exchange.enrol("spiffe://national.example/agency/later")
    assert delivery(exchange, referral).state == "EXPIRED"
    assert kept(exchange, referral) == {}


def test_content_that_was_erased_after_it_arrived_is_still_to_be_read() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.receive(referral, OHIO)
    exchange.erase(referral)
    exchange.wait(days=1)
    exchange.enrol("spiffe://national.example/agency/later")
    assert kept(exchange, referral)["acknowledge"] == "missed"


def test_each_delivery_has_deadlines_of_its_own() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO, NEVADA)
    assert kept(exchange, referral) == {"deliver": "undetermined"}
    assert len(delivery(exchange, referral).deadlines) == 1


def test_with_witnesses_a_deadline_is_met_for_sure() -> None:
    exchange = established(witnesses=("w1", "w2", "w3"))
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.receive(referral, OHIO)
    deadline = delivery(exchange, referral).deadlines[0]
    assert (deadline.judgement, deadline.source) == ("met", "witnessed")
