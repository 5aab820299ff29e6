"""What hangs together across chains: transfers and figures; and that all is shown."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from onward.core.audit.book import Book
from onward.core.audit.clock import Clock
from onward.core.audit.evidence import Header
from onward.core.audit.facts import NONE, Finding, ReferralFacts
from onward.core.audit.steps import CHAINS, COVERAGE, FIGURES
from onward.core.custody import state_name as delivery_state
from onward.core.intakes import state_name as intake_state
from onward.core.merkle import HASH_SIZE
from onward.v1 import vocabulary_pb2

_LISTED: Final = 20


def check_transfers(
    referrals: Mapping[str, ReferralFacts], entries: bytes, *, whole: bool
) -> Iterator[Finding]:
    """Checks that each transfer and its child referral name each other.

    1. The child of each transfer is there, and was accepted; what is transferred to
       another jurisdiction stays with the auditors of the first one.
    2. Each names the other's digest, and the child's publisher was the recipient.
    3. Where the parent of an accepted child is shown, it has the transfer.

    Args:
        referrals: all that are shown.
        entries: the log's entries, 32 bytes each.
        whole: whether every entry of the log should have been shown.
    """
    passed = {
        (parent.referral_id, item.child_id): item
        for parent in referrals.values()
        for item in parent.passings
    }
    for (parent_id, child_id), item in passed.items():
        parent, child = referrals[parent_id], referrals.get(child_id)
        if child is None:
            why = f"its child referral {child_id} is missing"
            yield _finding(CHAINS, parent_id, why)  # 1
        elif (
            item.child_digest != entry(entries, child.at)
            or child.parent_id != parent_id
            or child.parent_digest != entry(entries, parent.at)
            or child.publisher not in parent.recipients
        ):
            why = f"it and its child referral {child_id} do not name each other"
            yield _finding(CHAINS, parent_id, why)  # 2
        elif child.accepted == NONE:
            why = f"its child referral {child_id} was not accepted"
            yield _finding(CHAINS, parent_id, why)  # 1
    for child in referrals.values():
        if not child.parent_id or child.accepted == NONE:
            continue
        known = child.parent_id in referrals
        if known and (child.parent_id, child.referral_id) not in passed:
            why = "the referral that it was transferred from has no such transfer"
            yield _finding(CHAINS, child.referral_id, why)  # 3
        elif whole and not known:
            why = "the referral that it was transferred from is missing"
            yield _finding(CHAINS, child.referral_id, why)


def check_figures(
    header: Header, book: Book, referrals: Iterable[ReferralFacts]
) -> Iterator[Finding]:
    """Compares the exchange's own figures with those that the statements make.

    Tests count in neither.
    """
    intakes = Counter(
        (record.facts.hotline, record.facts.urgency, record.state)
        for record in book.values()
        if not record.facts.test
    )
    deliveries = Counter(
        (delivery.recipient, referral.urgency, delivery.state)
        for referral in referrals
        if not referral.test
        for delivery in referral.deliveries
    )
    yield from _differences("intakes", header.intakes, intakes, intake_state)
    yield from _differences("deliveries", header.deliveries, deliveries, delivery_state)


def check_coverage(clock: Clock, first: int, end: int) -> Finding | None:
    """Checks that every entry of a part of the log was shown."""
    hidden = [at for at in range(first, end) if not clock.shown(at)]
    if not hidden:
        return None
    named = ", ".join(map(str, hidden[:_LISTED]))
    more = f" and {len(hidden) - _LISTED} more" if hidden[_LISTED:] else ""
    why = f"no statement was shown for {len(hidden)} log entries: {named}{more}"
    return Finding(COVERAGE, "the log", why, "ENTRY_UNKNOWN")


def digests_of(entries: bytes, shown: array[int]) -> bytes:
    """Returns the entries at some places, concatenated."""
    return b"".join(entry(entries, at) for at in shown)


def entry(entries: bytes, at: int) -> bytes:
    """Returns one entry."""
    return entries[at * HASH_SIZE : (at + 1) * HASH_SIZE]


def _differences(
    what: str,
    stated: Mapping[tuple[str, int, int], int],
    counted: Mapping[tuple[str, int, int], int],
    name: object,
) -> Iterator[Finding]:
    """Yields where two sets of figures differ."""
    state_of = name if callable(name) else str
    for key in sorted(stated.keys() | counted.keys()):
        said, shown = stated.get(key, 0), counted.get(key, 0)
        if said != shown:
            member, urgency, state = key
            where = f"{member.rpartition('/')[2]}, {_urgency(urgency)}"
            subject = f"{what} of {where}, {state_of(state)}"
            why = f"the exchange says {said}, and the statements make {shown}"
            yield Finding(FIGURES, subject, why, "PROOF_INVALID")


def _urgency(value: int) -> str:
    if value not in vocabulary_pb2.Urgency.values():
        return f"UNKNOWN_{value}"
    name = vocabulary_pb2.Urgency.Name(vocabulary_pb2.Urgency.ValueType(value))
    return name.removeprefix("URGENCY_")


def _finding(step: int, referral_id: str, why: str) -> Finding:
    return Finding(step, f"referral {referral_id}", why, "REFERRAL_UNKNOWN")
