"""Vectors of ``bundle`` with links, warnings and breaches, right ones and others."""

from __future__ import annotations

from datetime import UTC, timedelta

from onward.v1 import statement_pb2, vocabulary_pb2
from tests.conformance.cases.bundle_parts import Made, Vectors, received, small
from tests.support.chain_builder import (
    ACKNOWLEDGE,
    HOTLINE,
    NEVADA,
    OHIO,
    OUTCOME,
    ChainBuilder,
    Logged,
    timestamp,
)

vectors = Vectors()
cases = vectors.cases

_READ = statement_pb2.Acknowledgment(reader_role="watch officer")
_EXCHANGE = vocabulary_pb2.HOLDER_ROLE_EXCHANGE


def _unread() -> tuple[ChainBuilder, Logged, Logged]:
    """Returns what was received thirteen hours ago, and had twelve to be read."""
    exchange, referral, arrived = received()
    exchange.wait(hours=13)
    return exchange, referral, arrived


def _undelivered() -> tuple[ChainBuilder, Logged]:
    """Returns what was handed over two hours ago, and had one to arrive."""
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.hand_over(referral, OHIO)
    exchange.wait(hours=2)
    return exchange, referral


def _refused(
    exchange: ChainBuilder, referral: Logged, step: int, error: str = "STATE_FORBIDS"
) -> Made:
    return Made(exchange.bundle(referral), exchange.trust(), error, {step})


# --- what holds


@vectors.add
def warned_and_breached() -> Made:
    """The exchange warned, and logged that nobody had read it; then it was read."""
    exchange, referral, arrived = _unread()
    due = exchange.due(referral, OHIO, ACKNOWLEDGE)
    exchange.warn(referral, due)
    exchange.breach(referral, due)
    exchange.acknowledge(arrived)
    return Made(exchange.bundle(referral), exchange.trust())


@vectors.add
def breached_by_the_exchange() -> Made:
    """The exchange had not handed it over, and says so of itself."""
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.wait(hours=2)
    own = {"holder": exchange.exchange}
    due = exchange.due(referral, OHIO, holder_role=_EXCHANGE, **own)
    exchange.breach(referral, due)
    return Made(exchange.bundle(referral), exchange.trust())


@vectors.add
def told_after_the_breach() -> Made:
    """A step that claims to be in time, and is in the log only after the breach.

    The desk was offline, or the time is wrong: nothing can say which. No claim is
    contradicted, and the deadline is not called met.
    """
    exchange, referral, arrived = _unread()
    exchange.breach(referral, exchange.due(referral, OHIO, ACKNOWLEDGE))
    message = arrived.statement.message
    early = message.made_time.ToDatetime(tzinfo=UTC) + timedelta(hours=1)
    exchange.answer(
        OHIO,
        arrived,
        acknowledgment=_READ,
        made_time=timestamp(early),
        seen=message.seen,
    )
    return Made(exchange.bundle(referral), exchange.trust())


@vectors.add
def linked_by_both_parties() -> Made:
    """Publisher and recipient say that another referral concerns the same tip."""
    exchange, referral, _ = received()
    other = exchange.publish(HOTLINE, OHIO)
    exchange.link(HOTLINE, referral, other)
    exchange.link(OHIO, referral, other)
    return Made(exchange.bundle(referral), exchange.trust())


# --- 1. format


@vectors.add
def about_an_intake() -> Made:
    """A statement about an intake stands among those about a referral."""
    exchange, referral, _ = received()
    body = statement_pb2.Link(
        intake_number=8, same_as=referral.digest, same_as_referral_id=referral.id
    )
    link = exchange.say(HOTLINE, previous=referral, link=body)
    shown = [*exchange.chain(referral.id), link]
    bundle = exchange.bundle(referral, statements=[item.bundled() for item in shown])
    return Made(bundle, exchange.trust(), "MALFORMED", {1, 7, 10})


# --- 3. signatures


@vectors.add
def breach_by_the_recipient() -> Made:
    """The recipient says that a deadline passed; only the exchange says this."""
    exchange, referral = _undelivered()
    body = statement_pb2.Breach(due=exchange.due(referral, OHIO))
    exchange.answer(OHIO, referral, breach=body)
    return _refused(exchange, referral, 3, "ISSUER_MISMATCH")


@vectors.add
def link_by_a_stranger() -> Made:
    """A member that is no party of the referral links it."""
    exchange, referral, _ = received()
    exchange.enrol(NEVADA)
    exchange.link(NEVADA, referral, exchange.publish(HOTLINE, NEVADA))
    return _refused(exchange, referral, 3, "ISSUER_MISMATCH")


# --- 7. chain


@vectors.add
def breach_that_answers_the_acceptance() -> Made:
    """A breach answers the referral, and nothing else."""
    exchange, referral = _undelivered()
    body = statement_pb2.Breach(due=exchange.due(referral, OHIO))
    exchange.answer(exchange.exchange, exchange.log[referral.index + 1], breach=body)
    return _refused(exchange, referral, 7, "PREVIOUS_MISMATCH")


# --- 8. states


@vectors.add
def breach_of_what_was_done() -> Made:
    """The log has the acknowledgment before the breach that says there is none."""
    exchange, referral, arrived = _unread()
    exchange.acknowledge(arrived)
    exchange.breach(referral, exchange.due(referral, OHIO, ACKNOWLEDGE))
    return _refused(exchange, referral, 8)


@vectors.add
def breach_of_what_was_not_due() -> Made:
    """An outcome is not due any more of what was declined."""
    exchange, referral, arrived = received()
    exchange.decline(exchange.acknowledge(arrived))
    exchange.wait(days=8)
    exchange.breach(referral, exchange.due(referral, OHIO, OUTCOME))
    return _refused(exchange, referral, 8)


@vectors.add
def breach_that_blames_another() -> Made:
    """The exchange blames the recipient for what it has not handed over itself."""
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.wait(hours=2)
    exchange.breach(referral, exchange.due(referral, OHIO))
    return _refused(exchange, referral, 8)


@vectors.add
def breach_twice() -> Made:
    """One deadline is breached once."""
    exchange, referral = _undelivered()
    exchange.breach(referral, exchange.due(referral, OHIO))
    exchange.breach(referral, exchange.due(referral, OHIO))
    return _refused(exchange, referral, 8)


@vectors.add
def warning_after_the_breach() -> Made:
    """Nobody is warned of what is over."""
    exchange, referral = _undelivered()
    exchange.breach(referral, exchange.due(referral, OHIO))
    exchange.warn(referral, exchange.due(referral, OHIO))
    return _refused(exchange, referral, 8)


# --- 9. timing


@vectors.add
def breach_of_another_time() -> Made:
    """It names a time that the acceptance does not set."""
    exchange, referral = _undelivered()
    sooner = timestamp(exchange.now - timedelta(minutes=90))
    exchange.breach(referral, exchange.due(referral, OHIO, due_time=sooner))
    return _refused(exchange, referral, 9, "TIME_IMPLAUSIBLE")


@vectors.add
def breach_before_its_time() -> Made:
    """It was logged before the time that it names."""
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.hand_over(referral, OHIO)
    exchange.breach(referral, exchange.due(referral, OHIO))
    return _refused(exchange, referral, 9, "TIME_IMPLAUSIBLE")


@vectors.add
def term_that_began_too_early() -> Made:
    """It ends the term two hours too early for when the exchange logged the receipt."""
    exchange, referral, _ = _unread()
    sooner = timestamp(exchange.now - timedelta(hours=3))
    due = exchange.due(referral, OHIO, ACKNOWLEDGE, due_time=sooner)
    exchange.breach(referral, due)
    return _refused(exchange, referral, 9, "TIME_IMPLAUSIBLE")


@vectors.add
def backdated_with_an_old_checkpoint() -> Made:
    """An acknowledgment claims a time before the handover that its receipt answers.

    The checkpoint that it names is older still, and does not help.
    """
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO)
    seen = referral.statement.message.seen
    early = timestamp(exchange.now + timedelta(minutes=1))
    exchange.wait(hours=2)
    arrived = exchange.receive(referral, OHIO)
    exchange.answer(OHIO, arrived, acknowledgment=_READ, made_time=early, seen=seen)
    return _refused(exchange, referral, 9, "TIME_IMPLAUSIBLE")
