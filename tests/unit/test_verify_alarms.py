"""Links, warnings and breaches in a chain: what they must say, and what they show."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from onward.core.timing import Deadline
from onward.core.verify import Report, Verdict, verify_bundle
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.support.chain_builder import (
    ACKNOWLEDGE,
    DELIVER,
    HOTLINE,
    NEVADA,
    OHIO,
    OUTCOME,
    UTAH,
    ChainBuilder,
    Logged,
    established,
    timestamp,
)

ANALYST = statement_pb2.Acknowledgment(reader_role="analyst")
EXCHANGE_ROLE = vocabulary_pb2.HOLDER_ROLE_EXCHANGE
PUBLISHER_ROLE = vocabulary_pb2.HOLDER_ROLE_PUBLISHER


def verified(exchange: ChainBuilder, referral: Logged, **parts: Any) -> Report:
    return verify_bundle(exchange.bundle(referral, **parts), exchange.trust())


def failing(exchange: ChainBuilder, referral: Logged) -> set[int]:
    """Returns the steps that do not hold."""
    steps = verified(exchange, referral).steps
    return {step.number for step in steps if step.verdict is Verdict.NOT_PROVEN}


def why(report: Report, number: int) -> str:
    return next(step.why for step in report.summary() if step.number == number)


def deadlines(report: Report) -> dict[str, Deadline]:
    (delivery,) = report.deliveries
    return {item.name: item for item in delivery.deadlines}


def published() -> tuple[ChainBuilder, Logged]:
    exchange = established()
    return exchange, exchange.publish(HOTLINE, OHIO)


def unread() -> tuple[ChainBuilder, Logged, Logged]:
    """Returns a referral that was received, thirteen hours ago."""
    exchange, referral = published()
    received = exchange.receive(referral, OHIO)
    exchange.wait(hours=13)
    return exchange, referral, received


# --- what they show


def test_a_chain_with_remarks_is_proven_and_stands_where_it_stood() -> None:
    exchange, referral, received = unread()
    exchange.link(HOTLINE, referral, exchange.publish(HOTLINE, OHIO))
    exchange.link(OHIO, referral, exchange.publish(HOTLINE, OHIO))
    exchange.warn(referral, exchange.due(referral, OHIO, OUTCOME))
    exchange.breach(referral, exchange.due(referral, OHIO, ACKNOWLEDGE))
    exchange.take(exchange.acknowledge(received))
    report = verified(exchange, referral)
    assert report.exit_code == 0
    assert report.deliveries[0].state == "TAKEN"


def test_a_deadline_says_when_its_breach_was_logged() -> None:
    exchange, referral, _ = unread()
    breach = exchange.breach(referral, exchange.due(referral, OHIO, ACKNOWLEDGE))
    report = verified(exchange, referral)
    kept = deadlines(report)
    assert kept["acknowledge"].judgement == "missed"
    logged = kept["acknowledge"].breach
    assert logged
    assert logged.claimed == made(breach)
    assert kept["deliver"].breach is None
    assert str(kept["deliver"]) == "deliver met"
    time = made(breach).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert str(kept["acknowledge"]) == f"acknowledge missed (breach logged {time})"
    assert kept["acknowledge"].to_dict()["breach"] == logged.to_dict()
    assert "1 breached in the log" in why(report, 9)


def made(item: Logged) -> datetime:
    return item.statement.message.made_time.ToDatetime(tzinfo=UTC)


def test_a_step_that_was_told_after_the_breach_is_disputed() -> None:
    exchange, referral, received = unread()
    exchange.breach(referral, exchange.due(referral, OHIO, ACKNOWLEDGE))
    in_time = timestamp(made(received) + timedelta(hours=1))
    seen = received.statement.message.seen
    exchange.answer(
        OHIO, received, acknowledgment=ANALYST, made_time=in_time, seen=seen
    )
    report = verified(exchange, referral)
    assert report.exit_code == 0, "whoever was offline is not accused"
    found = deadlines(report)["acknowledge"]
    assert (found.judgement, found.disputed) == ("undetermined", True)
    assert str(found).startswith("acknowledge undetermined, disputed (breach logged")
    assert "1 disputed" in why(report, 9)


def test_a_step_that_says_to_be_late_is_missed_and_not_disputed() -> None:
    exchange, referral, received = unread()
    exchange.breach(referral, exchange.due(referral, OHIO, ACKNOWLEDGE))
    exchange.acknowledge(received)
    found = deadlines(verified(exchange, referral))["acknowledge"]
    assert (found.judgement, found.disputed) == ("missed", False)


def test_a_step_that_was_told_before_the_breach_of_another_is_met() -> None:
    exchange, referral, received = unread()
    read = timestamp(made(received) + timedelta(hours=1))
    exchange.answer(OHIO, received, acknowledgment=ANALYST, made_time=read)
    exchange.wait(days=8)
    exchange.breach(referral, exchange.due(referral, OHIO, OUTCOME))
    kept = deadlines(verified(exchange, referral))
    assert kept["acknowledge"].breach is None
    assert not kept["acknowledge"].disputed
    assert kept["outcome"].judgement == "missed"


def test_a_retraction_that_was_told_after_the_breach_does_not_undo_it() -> None:
    exchange, referral = published()
    early = timestamp(exchange.now + timedelta(minutes=10))
    exchange.wait(hours=2)
    due = exchange.due(
        referral, OHIO, holder=exchange.exchange, holder_role=EXCHANGE_ROLE
    )
    exchange.breach(referral, due)
    body = statement_pb2.Retraction(
        reason=vocabulary_pb2.RETRACTION_REASON_SENT_IN_ERROR
    )
    seen = referral.statement.message.seen
    exchange.answer(HOTLINE, referral, retraction=body, made_time=early, seen=seen)
    found = deadlines(verified(exchange, referral))["deliver"]
    assert (found.judgement, found.disputed) == ("undetermined", True)


def test_a_delivery_with_a_breach_cannot_be_hidden() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO, NEVADA)
    exchange.hand_over(referral, OHIO)
    exchange.wait(hours=2)
    nevada = exchange.due(
        referral, NEVADA, holder=exchange.exchange, holder_role=EXCHANGE_ROLE
    )
    exchange.breach(referral, nevada)
    report = verified(exchange, referral, recipient=OHIO)
    assert [item.recipient for item in report.deliveries] == [OHIO, NEVADA]


# --- who held the tip


def test_the_exchange_holds_what_it_has_not_handed_over() -> None:
    exchange, referral = published()
    exchange.wait(hours=2)
    right = exchange.due(
        referral, OHIO, holder=exchange.exchange, holder_role=EXCHANGE_ROLE
    )
    exchange.breach(referral, right)
    assert failing(exchange, referral) == set()


def test_the_exchange_cannot_blame_a_recipient_that_has_nothing() -> None:
    exchange, referral = published()
    exchange.wait(hours=2)
    exchange.breach(referral, exchange.due(referral, OHIO))
    assert failing(exchange, referral) == {8}


def test_the_recipient_holds_what_it_has_not_confirmed() -> None:
    exchange, referral = published()
    exchange.hand_over(referral, OHIO)
    exchange.wait(hours=2)
    exchange.breach(referral, exchange.due(referral, OHIO))
    assert failing(exchange, referral) == set()


def test_the_publisher_holds_what_cannot_be_read() -> None:
    exchange, referral = published()
    handover = exchange.hand_over(referral, OHIO)
    body = statement_pb2.Received(
        content_digest=bytes(32), check=vocabulary_pb2.CONTENT_CHECK_CANNOT_OPEN
    )
    exchange.answer(OHIO, handover, received=body)
    exchange.wait(hours=2)
    publisher: dict[str, Any] = {"holder": HOTLINE, "holder_role": PUBLISHER_ROLE}
    exchange.warn(referral, exchange.due(referral, OHIO, **publisher))
    assert failing(exchange, referral) == set()
    exchange.breach(referral, exchange.due(referral, OHIO))
    assert failing(exchange, referral) == {8}


# --- what they may not say


def stood_before(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.acknowledge(exchange.receive(referral, OHIO))
    exchange.wait(hours=13)
    exchange.breach(referral, exchange.due(referral, OHIO, ACKNOWLEDGE))
    return referral


def not_due_yet(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.hand_over(referral, OHIO)
    exchange.wait(hours=13)
    time = timestamp(exchange.now)
    exchange.breach(
        referral, exchange.due(referral, OHIO, DELIVER, kind=ACKNOWLEDGE, due_time=time)
    )
    return referral


def outcome_stated(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    taken = exchange.take(exchange.acknowledge(exchange.receive(referral, OHIO)))
    code = vocabulary_pb2.OUTCOME_CODE_ASSIGNED
    exchange.answer(OHIO, taken, outcome=statement_pb2.Outcome(code=code))
    exchange.wait(days=8)
    exchange.breach(referral, exchange.due(referral, OHIO, OUTCOME))
    return referral


def declined_before(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.decline(exchange.acknowledge(exchange.receive(referral, OHIO)))
    exchange.wait(days=8)
    exchange.breach(referral, exchange.due(referral, OHIO, OUTCOME))
    return referral


def of_a_stranger(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.hand_over(referral, OHIO)
    exchange.wait(hours=2)
    stranger = {"recipient": UTAH, "holder": UTAH}
    exchange.breach(referral, exchange.due(referral, OHIO, **stranger))
    return referral


def said_twice(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.hand_over(referral, OHIO)
    exchange.wait(hours=2)
    exchange.breach(referral, exchange.due(referral, OHIO))
    exchange.breach(referral, exchange.due(referral, OHIO))
    return referral


def warned_after_the_breach(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.hand_over(referral, OHIO)
    exchange.wait(hours=2)
    exchange.breach(referral, exchange.due(referral, OHIO))
    exchange.warn(referral, exchange.due(referral, OHIO))
    return referral


def of_another_time(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.hand_over(referral, OHIO)
    exchange.wait(hours=2)
    sooner = timestamp(exchange.now - timedelta(minutes=90))
    exchange.breach(referral, exchange.due(referral, OHIO, due_time=sooner))
    return referral


def too_soon_after_receipt(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.receive(referral, OHIO)
    exchange.wait(hours=13)
    sooner = timestamp(exchange.now - timedelta(hours=2))
    due = exchange.due(referral, OHIO, ACKNOWLEDGE, due_time=sooner)
    exchange.breach(referral, due)
    return referral


def later_than_the_exchange_could_have_it(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.receive(referral, OHIO)
    exchange.enrol("spiffe://national.example/agency/later")
    exchange.wait(days=2)
    later = timestamp(exchange.now - timedelta(hours=1))
    exchange.breach(referral, exchange.due(referral, OHIO, ACKNOWLEDGE, due_time=later))
    return referral


def too_early(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.hand_over(referral, OHIO)
    exchange.wait(minutes=30)
    exchange.breach(referral, exchange.due(referral, OHIO))
    return referral


def by_the_recipient(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.hand_over(referral, OHIO)
    exchange.wait(hours=2)
    body = statement_pb2.Breach(due=exchange.due(referral, OHIO))
    exchange.answer(OHIO, referral, breach=body)
    return referral


def of_a_rejected_referral(exchange: ChainBuilder) -> Logged:
    referral = exchange.append(exchange.referral(HOTLINE, OHIO))
    refusal = statement_pb2.Rejection(rule="victim-declined", recipient=OHIO)
    exchange.answer(exchange.exchange, referral, rejection=refusal)
    due = statement_pb2.Due(
        kind=DELIVER,
        due_time=timestamp(exchange.now),
        holder=OHIO,
        holder_role=vocabulary_pb2.HOLDER_ROLE_RECIPIENT,
        recipient=OHIO,
    )
    exchange.breach(referral, due)
    return referral


def answering_the_acceptance(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.hand_over(referral, OHIO)
    exchange.wait(hours=2)
    body = statement_pb2.Breach(due=exchange.due(referral, OHIO))
    exchange.answer(exchange.exchange, exchange.log[referral.index + 1], breach=body)
    return referral


def linked_by_a_stranger(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.link(UTAH, referral, exchange.publish(HOTLINE, UTAH))
    return referral


def withheld_in_the_chain(exchange: ChainBuilder) -> Logged:
    referral = exchange.publish(HOTLINE, OHIO)
    body = statement_pb2.Link(
        intake_number=7, same_as=referral.digest, same_as_referral_id=referral.id
    )
    exchange.answer(HOTLINE, referral, link=body)
    return referral


@pytest.mark.parametrize(
    ("made", "steps"),
    [
        (stood_before, {8}),
        (not_due_yet, {8}),
        (outcome_stated, {8}),
        (declined_before, {8}),
        (of_a_stranger, {8}),
        (said_twice, {8}),
        (warned_after_the_breach, {8}),
        (of_a_rejected_referral, {8}),
        (of_another_time, {9}),
        (too_soon_after_receipt, {9}),
        (later_than_the_exchange_could_have_it, {9}),
        (too_early, {9}),
        (by_the_recipient, {3}),
        (answering_the_acceptance, {7}),
        (linked_by_a_stranger, {3}),
        (withheld_in_the_chain, {1}),
    ],
)
def test_what_a_remark_may_not_say(
    made: Callable[[ChainBuilder], Logged], steps: set[int]
) -> None:
    exchange = established()
    assert failing(exchange, made(exchange)) == steps


def test_a_link_to_a_referral_that_is_there_names_its_digest() -> None:
    exchange, referral, received = unread()
    child = exchange.transfer(referral, exchange.acknowledge(received), UTAH)
    for digest, steps in ((child.digest, set()), (bytes(32), {7})):
        body = statement_pb2.Link(same_as=digest, same_as_referral_id=child.id)
        exchange.answer(OHIO, referral, link=body)
        report = verify_bundle(exchange.bundle(referral, child), exchange.trust())
        found = {s.number for s in report.steps if s.verdict is Verdict.NOT_PROVEN}
        assert found == steps


@pytest.mark.parametrize(
    ("skew", "steps"),
    [
        (timedelta(minutes=-4), set()),
        (timedelta(minutes=4), set()),
        (timedelta(minutes=-6), {9}),
    ],
)
def test_terms_run_from_when_the_exchange_logged_the_receipt(
    skew: timedelta, steps: set[int]
) -> None:
    exchange, referral, _ = unread()
    due = exchange.due(referral, OHIO, ACKNOWLEDGE)
    due.due_time.FromDatetime(due.due_time.ToDatetime() + skew)
    exchange.breach(referral, due)
    assert failing(exchange, referral) == steps
