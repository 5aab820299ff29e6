"""Vectors of ``bundle``: what witnesses and timestamp authorities say about times."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from onward.core.bundle import StampedCheckpoint, Vouchers
from onward.core.notes import parse_note
from tests.conformance.case import Case
from tests.conformance.cases.bundle_parts import Made, Vectors, edited, received, small
from tests.conformance.cases.kept_tokens import Kept, kept
from tests.support.chain_builder import HOTLINE, OHIO, ChainBuilder

vectors = Vectors()

_MINUTE = timedelta(minutes=1)


def cases() -> Iterator[Case]:
    """Yields the vectors."""
    return vectors.cases()


def _stamped(
    name: str, exchange: ChainBuilder, late: timedelta = _MINUTE
) -> tuple[Kept, Vouchers]:
    """Returns a token over the present checkpoint, and what a bundle has of it."""
    note = exchange.checkpoint()
    made = kept(f"bundle/{name}", parse_note(note).text, exchange.now + late)
    return made, Vouchers((), (StampedCheckpoint(note, made.token),))


# --- timestamps


@vectors.add
def stamped() -> Made:
    """A trusted authority stamped the checkpoint a minute later."""
    exchange, referral, _ = received()
    made, vouchers = _stamped("stamped", exchange)
    bundle = exchange.bundle(referral, vouchers=vouchers)
    return Made(bundle, exchange.trust(), checked={9}, authorities=made.root)


@vectors.add
def stamped_before_the_claimed_times() -> Made:
    """An authority saw the tree ten minutes before the times that it claims."""
    exchange, referral, _ = received()
    name = "stamped-before-the-claimed-times_fail"
    made, vouchers = _stamped(name, exchange, timedelta(minutes=-10))
    bundle = exchange.bundle(referral, vouchers=vouchers)
    trust = exchange.trust()
    return Made(bundle, trust, "TIME_IMPLAUSIBLE", {9}, authorities=made.root)


@vectors.add
def stamped_by_a_stranger() -> Made:
    """No certificates of the authority are given: the token says nothing."""
    exchange, referral, _ = received()
    _, vouchers = _stamped("stamped", exchange)
    bundle = exchange.bundle(referral, vouchers=vouchers)
    return Made(bundle, exchange.trust())


@vectors.add
def stamped_falsely() -> Made:
    """The token says to be by a trusted authority, and its signature fails."""
    exchange, referral, _ = received()
    made, vouchers = _stamped("stamped", exchange)
    (item,) = vouchers.timestamps
    false = item.token[:-1] + bytes([item.token[-1] ^ 1])
    changed = Vouchers((), (StampedCheckpoint(item.checkpoint, false),))
    bundle = exchange.bundle(referral, vouchers=changed)
    trust = exchange.trust()
    return Made(bundle, trust, "TIMESTAMP_UNTRUSTED", {9}, authorities=made.root)


@vectors.add
def stamped_something_else() -> Made:
    """The token stamps another checkpoint than the one that it comes with."""
    exchange, referral, _ = received()
    made, vouchers = _stamped("stamped", exchange)
    (item,) = vouchers.timestamps
    other = exchange.checkpoint(len(exchange.log) - 1)
    changed = Vouchers((), (StampedCheckpoint(other, item.token),))
    bundle = exchange.bundle(referral, vouchers=changed)
    trust = exchange.trust()
    return Made(bundle, trust, "MALFORMED", {1}, authorities=made.root)


@vectors.add
def timestamp_with_another_member() -> Made:
    """An item of ``timestamps`` has a member that is none of its own."""
    exchange, referral, _ = received()
    made, vouchers = _stamped("stamped", exchange)
    bundle = edited(
        exchange.bundle(referral, vouchers=vouchers),
        lambda members: members["timestamps"][0].update(nonce="AA=="),
    )
    trust, root = exchange.trust(), made.root
    return Made(bundle, trust, "MALFORMED", unreadable=True, authorities=root)


# --- checkpoints


@vectors.add
def earlier_checkpoint_of_witnesses() -> Made:
    """The quorum had cosigned an earlier tree too, proven to be a beginning."""
    exchange = small(witnesses=["east", "west"])
    referral = exchange.publish(HOTLINE, OHIO)
    early = exchange.checkpoint()
    exchange.wait(hours=1)
    exchange.receive(referral, OHIO)
    bundle = exchange.bundle(referral, vouchers=Vouchers((early,)))
    return Made(bundle, exchange.trust(), checked={6, 9})


@vectors.add
def earlier_checkpoint_without_a_proof() -> Made:
    """A checkpoint is there, and no proof that it is a beginning of the newest one."""
    exchange, referral, _ = received()
    size = len(exchange.log) - 1
    vouchers = Vouchers((exchange.checkpoint(size),))
    proofs = [exchange.consistency(size) for size in range(1, len(exchange.log) - 1)]
    bundle = exchange.bundle(referral, vouchers=vouchers, consistency=proofs)
    return Made(bundle, exchange.trust(), "PROOF_INVALID", {5})


@vectors.add
def earlier_checkpoint_of_another_history() -> Made:
    """The log signed another history too, and the quorum cosigned that."""
    fork = small(witnesses=["east"])
    fork.wait(hours=1)
    fork.publish(HOTLINE, OHIO)
    exchange, referral, _ = received(witnesses=["east"])
    vouchers = Vouchers((fork.checkpoint(),))
    bundle = exchange.bundle(referral, vouchers=vouchers)
    return Made(bundle, exchange.trust(), "LOG_FORKED", {5}, checked={6, 9})
