"""Vectors of ``bundle`` that hold."""

from __future__ import annotations

from hashlib import sha256

from onward.core.bundle import LoggedStatement
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.conformance.case import base64
from tests.conformance.cases.bundle_parts import (
    Made,
    Vectors,
    edited,
    received,
    small,
    transferred,
)
from tests.support.chain_builder import (
    CONTENT,
    HOTLINE,
    NEVADA,
    OHIO,
    Logged,
    private_key,
    statement_key,
)

vectors = Vectors()
cases = vectors.cases


@vectors.add
def delivered() -> Made:
    """A referral that was received, read, taken and closed."""
    exchange, referral, arrived = received()
    exchange.close(exchange.take(exchange.acknowledge(arrived)))
    return Made(exchange.bundle(referral), exchange.trust())


@vectors.add
def just_accepted() -> Made:
    """A referral that was accepted, and nothing more has happened."""
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO)
    return Made(exchange.bundle(referral), exchange.trust())


@vectors.add
def rejected() -> Made:
    """A referral that the exchange's disclosure policy forbids."""
    exchange = small()
    referral = exchange.append(exchange.referral(HOTLINE, OHIO))
    body = statement_pb2.Rejection(rule="victim-declined", recipient=OHIO)
    exchange.answer(exchange.exchange, referral, rejection=body)
    return Made(exchange.bundle(referral), exchange.trust())


@vectors.add
def two_recipients() -> Made:
    """Two deliveries of one referral, which stand at different places."""
    exchange = small()
    exchange.enrol(NEVADA)
    referral = exchange.publish(HOTLINE, NEVADA, OHIO)
    exchange.acknowledge(exchange.receive(referral, OHIO))
    exchange.hand_over(referral, NEVADA)
    return Made(exchange.bundle(referral), exchange.trust())


@vectors.add
def for_one_recipient() -> Made:
    """A bundle that was made for one of two recipients.

    It names whom it is for, and shows nothing of the other's delivery.
    """
    exchange = small()
    exchange.enrol(NEVADA)
    referral = exchange.publish(HOTLINE, NEVADA, OHIO)
    exchange.hand_over(referral, NEVADA)
    exchange.receive(referral, OHIO)
    shown = [
        item.bundled()
        for item in exchange.chain(referral.id)
        if item.statement.message.handover.recipient != NEVADA
    ]
    bundle = exchange.bundle(referral, statements=shown, recipient=OHIO)
    return Made(bundle, exchange.trust())


@vectors.add
def transferred_to_a_child() -> Made:
    """A recipient declined and passed the tip on; the child's chain is there too."""
    exchange, parent, child = transferred()
    exchange.acknowledge(exchange.receive(child, NEVADA))
    return Made(exchange.bundle(parent, child), exchange.trust())


@vectors.add
def refused_child() -> Made:
    """A transfer whose child the disclosure policy forbids.

    The child and its rejection are logged, the transfer is not.
    """
    exchange, parent, arrived = received()
    exchange.enrol(NEVADA)
    exchange.acknowledge(arrived)
    link = statement_pb2.ReferralLink(
        kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF,
        referral_id=parent.id,
        referral_digest=parent.digest,
    )
    child = exchange.append(exchange.referral(OHIO, NEVADA, links=[link]))
    body = statement_pb2.Rejection(rule="third-party", recipient=NEVADA)
    exchange.answer(exchange.exchange, child, rejection=body)
    return Made(exchange.bundle(parent, child), exchange.trust())


@vectors.add
def erased() -> Made:
    """The content was erased: the proofs stay, and there is none to compare."""
    exchange, referral, _ = received()
    exchange.erase(referral)
    return Made(exchange.bundle(referral), exchange.trust())


@vectors.add
def retracted_and_answered() -> Made:
    """The publisher took it back, and the recipient says what it did."""
    exchange, referral, _ = received()
    body = statement_pb2.RetractionReply(
        action=vocabulary_pb2.RETRACTION_ACTION_RESTRICTED
    )
    exchange.answer(OHIO, exchange.retract(referral), retraction_reply=body)
    return Made(exchange.bundle(referral), exchange.trust())


@vectors.add
def invalid_then_received() -> Made:
    """What arrived first had another digest, and the second handover was right."""
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO)
    body = statement_pb2.Received(
        content_digest=sha256(b"damaged").digest(),
        check=vocabulary_pb2.CONTENT_CHECK_DIGEST_MISMATCH,
    )
    exchange.answer(OHIO, exchange.hand_over(referral, OHIO), received=body)
    exchange.receive(referral, OHIO)
    return Made(exchange.bundle(referral), exchange.trust())


@vectors.add
def rotated_key() -> Made:
    """The recipient changed its key in between.

    Yesterday's signature is judged by yesterday's key.
    """
    exchange, referral, arrived = received()
    exchange.rotate(OHIO)
    exchange.acknowledge(arrived)
    return Made(exchange.bundle(referral), exchange.trust())


@vectors.add
def rotated_exchange_key() -> Made:
    """The exchange introduced a second key, signed with the first, and used it."""
    exchange = small()
    fresh = private_key("second exchange key")
    first = exchange.log[0]
    exchange.say(
        exchange.exchange,
        key_change=exchange.key_change(statement_key(fresh)),
        previous=first,
    )
    exchange.parties[exchange.exchange].key = fresh
    referral = exchange.publish(HOTLINE, OHIO)
    return Made(exchange.bundle(referral), exchange.trust())


@vectors.add
def witnessed() -> Made:
    """Two of three witnesses are asked for, and all three cosigned."""
    exchange, referral, _ = received(
        witnesses=("w1.example", "w2.example", "w3.example")
    )
    return Made(exchange.bundle(referral), exchange.trust(), checked={6, 9})


@vectors.add
def content_attached() -> Made:
    """A party attached the sealed content: it is the one that was signed."""
    exchange, referral, _ = received()
    content = base64(CONTENT)
    bundle = edited(
        exchange.bundle(referral), lambda members: members.update(content=content)
    )
    return Made(bundle, exchange.trust(), checked={11})


@vectors.add
def one_checkpoint_for_all() -> Made:
    """Every receipt is up to the newest checkpoint, as an exchange makes a bundle."""
    exchange, referral, _ = received()

    def newest(items: list[Logged]) -> list[LoggedStatement]:
        receipts = ((item, exchange.receipt(item.index)) for item in items)
        return [
            LoggedStatement(item.statement.jws, receipt.format())
            for item, receipt in receipts
        ]

    bundle = exchange.bundle(
        referral,
        statements=newest(exchange.chain(referral.id)),
        directory=newest(exchange.directory()),
    )
    return Made(bundle, exchange.trust())


@vectors.add
def unknown_member() -> Made:
    """A later version put something at the top level that is not known here."""
    exchange, referral, _ = received()
    bundle = edited(
        exchange.bundle(referral), lambda members: members.update(timestamps=[])
    )
    return Made(bundle, exchange.trust())


@vectors.add
def seen_of_another_log() -> Made:
    """A statement has seen a checkpoint of a log that nobody here knows.

    That proves nothing about its time, and contradicts nothing.
    """
    exchange = small()
    seen = statement_pb2.Seen(
        origin="fl.example/log", size=5000, root=sha256(b"elsewhere").digest()
    )
    referral = exchange.publish(HOTLINE, OHIO)
    handover = exchange.hand_over(referral, OHIO)
    body = statement_pb2.Received(
        content_digest=sha256(CONTENT).digest(),
        check=vocabulary_pb2.CONTENT_CHECK_VERIFIED,
    )
    exchange.answer(OHIO, handover, received=body, seen=seen)
    return Made(exchange.bundle(referral), exchange.trust())


@vectors.add
def seen_the_empty_log() -> Made:
    """A statement has seen the log when it was empty, which bounds nothing."""
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO)
    seen = statement_pb2.Seen(
        origin=exchange.signer.name, size=0, root=sha256().digest()
    )
    body = statement_pb2.Retraction(
        reason=vocabulary_pb2.RETRACTION_REASON_SENT_IN_ERROR
    )
    exchange.answer(HOTLINE, referral, retraction=body, seen=seen)
    return Made(exchange.bundle(referral), exchange.trust())
