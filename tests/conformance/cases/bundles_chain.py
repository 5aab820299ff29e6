"""Vectors of ``bundle`` in which the chain, its times or what is shown do not hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any

from onward.v1 import statement_pb2, vocabulary_pb2
from tests.conformance.case import base64
from tests.conformance.cases.bundle_parts import (
    Made,
    Vectors,
    edited,
    received,
    small,
    transferred,
    without,
)
from tests.support.chain_builder import (
    CONTENT,
    HOTLINE,
    NEVADA,
    OHIO,
    ChainBuilder,
    Logged,
    timestamp,
)

vectors = Vectors()
cases = vectors.cases

_READ = statement_pb2.Acknowledgment(reader_role="watch officer")
_TAKEN = statement_pb2.Taking()
_TRANSFER_OF = statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF
_WITNESSES = ("w1.example", "w2.example", "w3.example")


# --- 7. chain


@vectors.add
def logged_before_what_it_answers() -> Made:
    """The log has the acknowledgment before the receipt that it answers."""
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO)
    handover = exchange.hand_over(referral, OHIO)
    body = statement_pb2.Received(
        content_digest=sha256(CONTENT).digest(),
        check=vocabulary_pb2.CONTENT_CHECK_VERIFIED,
    )
    arrived = exchange.sign(
        OHIO, referral_id=referral.id, previous=handover, received=body
    )
    read = exchange.sign(
        OHIO, referral_id=referral.id, previous=arrived, acknowledgment=_READ
    )
    exchange.append(read)
    exchange.append(arrived)
    return Made(
        exchange.bundle(referral), exchange.trust(), "PREVIOUS_MISMATCH", {7, 8}
    )


@vectors.add
def answers_the_wrong_kind() -> Made:
    """A taking answers the receipt: nobody has read the tip."""
    exchange, referral, arrived = received()
    exchange.answer(OHIO, arrived, taking=_TAKEN)
    return Made(
        exchange.bundle(referral), exchange.trust(), "PREVIOUS_MISMATCH", {7, 8}
    )


@vectors.add
def answers_another_delivery() -> Made:
    """One recipient answers the handover to the other."""
    exchange = small()
    exchange.enrol(NEVADA)
    referral = exchange.publish(HOTLINE, OHIO, NEVADA)
    exchange.hand_over(referral, OHIO)
    to_nevada = exchange.hand_over(referral, NEVADA)
    body = statement_pb2.Received(
        content_digest=sha256(CONTENT).digest(),
        check=vocabulary_pb2.CONTENT_CHECK_VERIFIED,
    )
    exchange.answer(OHIO, to_nevada, received=body)
    return Made(exchange.bundle(referral), exchange.trust(), "PREVIOUS_MISMATCH", {7})


@vectors.add
def answers_another_referral() -> Made:
    """A statement about one referral answers a statement about another."""
    exchange, referral, _ = received()
    other = exchange.publish(HOTLINE, OHIO)
    elsewhere = exchange.receive(other, OHIO)
    exchange.say(
        OHIO, referral_id=referral.id, previous=elsewhere, acknowledgment=_READ
    )
    return Made(exchange.bundle(referral), exchange.trust(), "PREVIOUS_MISMATCH", {7})


@vectors.add
def swapped_digest() -> Made:
    """The handover names other content than the referral."""
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO)
    body = statement_pb2.Handover(
        recipient=OHIO,
        certificate_fingerprint=bytes(32),
        content_digest=sha256(b"other content").digest(),
    )
    acceptance = exchange.log[referral.index + 1]
    exchange.answer(exchange.exchange, acceptance, handover=body)
    return Made(exchange.bundle(referral), exchange.trust(), "CONTENT_MISMATCH", {7})


@vectors.add
def verified_other_content() -> Made:
    """The recipient says that it verified content which the referral did not sign."""
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO)
    body = statement_pb2.Received(
        content_digest=sha256(b"other content").digest(),
        check=vocabulary_pb2.CONTENT_CHECK_VERIFIED,
    )
    exchange.answer(OHIO, exchange.hand_over(referral, OHIO), received=body)
    return Made(exchange.bundle(referral), exchange.trust(), "CONTENT_MISMATCH", {7})


@vectors.add
def referral_id_reused() -> Made:
    """The publisher signed a second referral with the same id."""
    exchange, referral, _ = received()
    body = referral.statement.message.referral
    exchange.say(HOTLINE, id=referral.id, referral_id=referral.id, referral=body)
    return Made(exchange.bundle(referral), exchange.trust(), "REFERRAL_ID_REUSED", {7})


@vectors.add
def child_of_another_digest() -> Made:
    """The transfer names another digest than the child referral has."""
    return _transfer(child_digest=sha256(b"another child").digest())


@vectors.add
def child_without_a_link_back() -> Made:
    """The child referral does not say what it was transferred from."""
    return _transfer(link_back=False)


@vectors.add
def child_of_another_parent() -> Made:
    """The child referral names another digest than its parent has."""
    return _transfer(parent_digest=sha256(b"another parent").digest())


@vectors.add
def child_that_is_a_supplement() -> Made:
    """The child referral says that it adds to its parent, not that it passes it on."""
    return _transfer(kind=statement_pb2.REFERRAL_LINK_KIND_SUPPLEMENT_OF)


@vectors.add
def child_of_somebody_else() -> Made:
    """The child referral was published by the hotline, not by who transferred it."""
    return _transfer(publisher=HOTLINE)


# --- 8. states


@vectors.add
def taken_twice() -> Made:
    """The recipient takes what it has taken: the table has no such transition."""
    exchange, referral, arrived = received()
    read = exchange.acknowledge(arrived)
    exchange.take(read)
    exchange.take(read)
    return Made(exchange.bundle(referral), exchange.trust(), "STATE_FORBIDS", {8})


@vectors.add
def outcome_after_a_transfer() -> Made:
    """The recipient reports an outcome of what it has passed on."""
    exchange = small()
    exchange.enrol(NEVADA)
    parent = exchange.publish(HOTLINE, OHIO)
    taken = exchange.take(exchange.acknowledge(exchange.receive(parent, OHIO)))
    child = exchange.transfer(parent, taken, NEVADA)
    exchange.close(taken)
    return Made(exchange.bundle(parent, child), exchange.trust(), "STATE_FORBIDS", {8})


@vectors.add
def accepted_twice() -> Made:
    """The exchange accepted the referral a second time, with later deadlines."""
    exchange, referral, _ = received()
    exchange.wait(hours=6)
    exchange.append(exchange.acceptance(referral.statement))
    return Made(exchange.bundle(referral), exchange.trust(), "STATE_FORBIDS", {8})


@vectors.add
def received_without_a_handover() -> Made:
    """The handover that was answered is left out of the bundle."""
    exchange, referral, _ = received()
    bundle = without(exchange.bundle(referral), "statements", 2)
    return Made(bundle, exchange.trust(), "PREVIOUS_MISMATCH", {7, 8})


@vectors.add
def handed_over_after_a_rejection() -> Made:
    """The exchange refused the referral, and gave its content out nevertheless."""
    exchange = small()
    referral = exchange.append(exchange.referral(HOTLINE, OHIO))
    refusal = statement_pb2.Rejection(rule="victim-declined", recipient=OHIO)
    rejection = exchange.answer(exchange.exchange, referral, rejection=refusal)
    body = statement_pb2.Handover(
        recipient=OHIO,
        certificate_fingerprint=bytes(32),
        content_digest=referral.statement.message.referral.content_digest,
    )
    exchange.answer(exchange.exchange, rejection, handover=body)
    return Made(
        exchange.bundle(referral), exchange.trust(), "PREVIOUS_MISMATCH", {7, 8}
    )


# --- 9. timing


@vectors.add
def backdated() -> Made:
    """A statement claims to be an hour older than what its issuer had seen."""
    exchange, referral, arrived = received()
    exchange.wait(hours=2)
    exchange.enrol(NEVADA)
    early = timestamp(exchange.now - timedelta(hours=1))
    exchange.answer(OHIO, arrived, acknowledgment=_READ, made_time=early)
    return Made(exchange.bundle(referral), exchange.trust(), "TIME_IMPLAUSIBLE", {9})


@vectors.add
def later_than_its_answer() -> Made:
    """The referral claims to be an hour later than the acceptance that answers it."""
    exchange = small()
    exchange.wait(hours=1)
    referral = exchange.referral(HOTLINE, OHIO)
    exchange.wait(hours=-1)
    first = exchange.append(referral, exchange.acceptance(referral))
    return Made(exchange.bundle(first), exchange.trust(), "TIME_IMPLAUSIBLE", {9})


@vectors.add
def later_than_witnesses_saw_it() -> Made:
    """A statement claims a time that came after a quorum of witnesses had seen it."""
    exchange, referral, arrived = received(witnesses=_WITNESSES)
    late = timestamp(exchange.now + timedelta(hours=1))
    exchange.answer(OHIO, arrived, acknowledgment=_READ, made_time=late)
    return Made(
        exchange.bundle(referral),
        exchange.trust(),
        "TIME_IMPLAUSIBLE",
        {9},
        checked={6},
    )


# --- 10. completeness


@vectors.add
def child_missing() -> Made:
    """The referral was transferred, and the child's chain is left out."""
    exchange, parent, _ = transferred()
    return Made(exchange.bundle(parent), exchange.trust(), "REFERRAL_UNKNOWN", {10})


@vectors.add
def transfer_missing() -> Made:
    """The child's chain is there, and the transfer that began it is left out."""
    exchange, parent, child = transferred()
    bundle = exchange.bundle(parent, child)
    place = [item.statement.body_kind for item in exchange.chain(parent.id)]
    bundle = without(bundle, "statements", place.index("transfer"))
    return Made(bundle, exchange.trust(), "REFERRAL_UNKNOWN", {10})


@vectors.add
def chain_of_a_stranger() -> Made:
    """The chain of a referral that has nothing to do with the bundle's is there too."""
    exchange, referral, _ = received()
    other = exchange.publish(HOTLINE, OHIO)
    bundle = exchange.bundle(referral, other)
    return Made(bundle, exchange.trust(), "REFERRAL_UNKNOWN", {10})


@vectors.add
def about_another_referral() -> Made:
    """The bundle says that it is about a referral of which it shows nothing."""
    exchange, referral, _ = received()
    other = exchange.publish(HOTLINE, OHIO)
    bundle = edited(
        exchange.bundle(referral), lambda members: members.update(referral_id=other.id)
    )
    return Made(bundle, exchange.trust(), "REFERRAL_UNKNOWN", {10})


@vectors.add
def no_statements() -> Made:
    """The bundle has no custody chain at all."""
    exchange, referral, _ = received()
    bundle = edited(
        exchange.bundle(referral),
        lambda members: members.update(statements=[], view=[]),
    )
    return Made(bundle, exchange.trust(), "REFERRAL_UNKNOWN", {10})


@vectors.add
def answer_missing() -> Made:
    """The exchange's answer to the referral is left out."""
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO)
    bundle = without(exchange.bundle(referral), "statements", 1)
    return Made(bundle, exchange.trust(), "REFERRAL_UNKNOWN", {10})


@vectors.add
def recipient_without_deadline() -> Made:
    """The acceptance is for one of the two recipients only."""
    exchange = small()
    exchange.enrol(NEVADA)
    referral = exchange.referral(HOTLINE, OHIO, NEVADA)
    body = statement_pb2.Acceptance(
        deadlines=[statement_pb2.DeliveryDeadlines(recipient=OHIO)]
    )
    acceptance = exchange.sign(
        exchange.exchange,
        referral_id=referral.message.id,
        previous=referral,
        acceptance=body,
    )
    first = exchange.append(referral, acceptance)
    return Made(exchange.bundle(first), exchange.trust(), "REFERRAL_UNKNOWN", {10})


# --- 11. content


@vectors.add
def other_content() -> Made:
    """The attached content is not the one that was signed; it has the same length."""
    return _with_content(CONTENT[:-1] + b"!")


@vectors.add
def content_of_another_size() -> Made:
    """The referral signed another size than that of the content that it signed."""
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO, content_size=len(CONTENT) + 1)
    bundle = edited(
        exchange.bundle(referral),
        lambda members: members.update(content=base64(CONTENT)),
    )
    return Made(bundle, exchange.trust(), "CONTENT_MISMATCH", {11})


@vectors.add
def content_cut_off() -> Made:
    """The attached content ends early."""
    return _with_content(CONTENT[:-1])


# --- 12. view


@vectors.add
def forged_view() -> Made:
    """What people read is not what was signed: the view shows another role."""
    exchange, referral, arrived = received()
    exchange.acknowledge(arrived)

    def edit(members: dict[str, Any]) -> None:
        members["view"][-1]["body"]["reader_role"] = "chief of police"

    return _viewed(exchange, referral, edit)


@vectors.add
def forged_time_in_view() -> Made:
    """The view shows an earlier time than the statement claims."""
    exchange, referral, _ = received()

    def edit(members: dict[str, Any]) -> None:
        members["view"][-1]["made_time"] = "2026-11-01T00:00:00Z"

    return _viewed(exchange, referral, edit)


@vectors.add
def view_item_missing() -> Made:
    """The view leaves the last statement out."""
    exchange, referral, _ = received()
    return _viewed(exchange, referral, lambda members: members["view"].pop())


@vectors.add
def view_with_more() -> Made:
    """The view shows a member that no signed byte vouches for."""
    exchange, referral, _ = received()
    return _viewed(
        exchange, referral, lambda members: members["view"][0].update(note="urgent")
    )


@vectors.add
def view_with_one_for_true() -> Made:
    """The view has the number 1 where true was signed."""
    exchange, referral, arrived = received()
    exchange.close(exchange.take(exchange.acknowledge(arrived)))

    def edit(members: dict[str, Any]) -> None:
        members["view"][-1]["body"]["closes"] = 1

    return _viewed(exchange, referral, edit)


@vectors.add
def view_with_another_type() -> Made:
    """The view has a number as text: a reader may sort or compare it otherwise."""
    exchange, referral, _ = received()

    def edit(members: dict[str, Any]) -> None:
        members["view"][0]["log_index"] = str(members["view"][0]["log_index"])

    return _viewed(exchange, referral, edit)


def _transfer(
    *,
    child_digest: bytes = b"",
    parent_digest: bytes = b"",
    kind: statement_pb2.ReferralLinkKind.ValueType = _TRANSFER_OF,
    link_back: bool = True,
    publisher: str = OHIO,
) -> Made:
    """Returns a transfer that fits its child but for what is given."""
    exchange = small()
    exchange.enrol(NEVADA)
    parent = exchange.publish(HOTLINE, OHIO)
    read = exchange.acknowledge(exchange.receive(parent, OHIO))
    link = statement_pb2.ReferralLink(
        kind=kind,
        referral_id=parent.id,
        referral_digest=parent_digest or parent.digest,
    )
    child = exchange.publish(publisher, NEVADA, links=[link] if link_back else [])
    body = statement_pb2.Transfer(
        child_referral_id=child.id, child_digest=child_digest or child.digest
    )
    exchange.answer(OHIO, read, transfer=body)
    bundle = exchange.bundle(parent, child)
    return Made(bundle, exchange.trust(), "PREVIOUS_MISMATCH", {7})


def _with_content(content: bytes) -> Made:
    """Returns a bundle with content attached that is not the one."""
    exchange, referral, _ = received()
    bundle = edited(
        exchange.bundle(referral),
        lambda members: members.update(content=base64(content)),
    )
    return Made(bundle, exchange.trust(), "CONTENT_MISMATCH", {11})


def _viewed(
    exchange: ChainBuilder, referral: Logged, edit: Callable[[dict[str, Any]], object]
) -> Made:
    """Returns a bundle whose view was edited."""
    bundle = edited(exchange.bundle(referral), edit)
    return Made(bundle, exchange.trust(), "MALFORMED", {12})
