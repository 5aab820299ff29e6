"""Duplicates: that each repeats a tip that there is, and one that it may repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from onward.core.audit.book import Book, IntakeRecord, KindOf
from onward.core.audit.checks import entry
from onward.core.audit.facts import NONE, Decision, Finding, ReferralFacts, is_lost
from onward.core.audit.steps import INTAKES
from onward.core.intakes import Reach, State, may_repeat, reach

_DUPLICATE: Final = State.INTAKE_STATE_DUPLICATE


class _Other(NamedTuple):
    """The tip that a duplicate repeats.

    Attributes:
        at: its place in the log, an index.
        reached: who must have it, and whom it had reached when the link was made; None
            where that was not shown.
    """

    at: int
    reached: Reach | None


def check_duplicates(
    book: Book,
    referrals: Mapping[str, ReferralFacts],
    entries: bytes,
    kind_of: KindOf,
    *,
    whole: bool,
) -> Iterator[Finding]:
    """Checks what each intake that ended as a duplicate is said to repeat.

    1. It is there: a tip of the same hotline, or a referral, named by its digest.
    2. All who must have the duplicate must have it as well, or it has reached them.

    Args:
        book: all intakes shown.
        referrals: all referrals shown.
        entries: the log's entries, 32 bytes each.
        kind_of: says whom a referral reaches.
        whole: whether every entry of the log should have been shown.
    """
    for record in book.values():
        link = record.duplicate
        if link is None:
            continue
        other = _other(link, record, book, referrals, kind_of)
        if other is None:
            if whole:
                yield _found(record, "the tip that it repeats is missing")
        elif entry(entries, other.at) != link.same_as:
            yield _found(record, "the tip that it repeats is another one")  # 1
        elif other.reached is not None and not may_repeat(record.needed, other.reached):
            why = (
                "it must go to law enforcement, or child welfare, that the tip which "
                "it repeats had not reached and need not"
            )
            yield _found(record, why)  # 2


def reached_by_other(
    record: IntakeRecord,
    book: Book,
    referrals: Mapping[str, ReferralFacts],
    kind_of: Callable[[str], int],
) -> Reach | None:
    """Returns whom the tip that a duplicate repeats must reach, or has reached so far.

    A delivery that ended before it was received has reached nobody: what could be
    repeated when the link was made may have been taken back since. None where that
    was not shown.

    Args:
        record: ended as a duplicate.
        book: all intakes shown.
        referrals: all referrals shown.
        kind_of: returns a member's kind; 0 if it is not known.
    """
    reached, met = Reach(0), set[str]()
    while record.state == _DUPLICATE and record.duplicate and record.name not in met:
        met.add(record.name)
        link = record.duplicate
        if link.same_as_referral:
            standing = _standing(link.same_as_referral, referrals, kind_of)
            return None if standing is None else reached | standing
        other = book.get((record.facts.hotline, link.same_as_number))
        if other is None:
            return None
        reached |= other.needed | other.kept
        record = other
    return reached


def _standing(
    name: str,
    referrals: Mapping[str, ReferralFacts],
    kind_of: Callable[[str], int],
) -> Reach | None:
    """Returns whom a referral reaches, as far as nobody took it back."""
    referral = referrals.get(name)
    publishers = _publishers(referral, referrals) if referral else None
    if referral is None or publishers is None:
        return None
    kept = {
        item.recipient for item in referral.deliveries if not is_lost(referral, item)
    }
    return reach(map(kind_of, publishers | kept))


def _other(
    link: Decision,
    record: IntakeRecord,
    book: Book,
    referrals: Mapping[str, ReferralFacts],
    kind_of: KindOf,
) -> _Other | None:
    """Returns the tip that a duplicate repeats; None if it is not shown."""
    if link.same_as_referral:
        referral = referrals.get(link.same_as_referral)
        if referral is None:
            return None
        return _Other(referral.at, _parties(referral, link.at, referrals, kind_of))
    other = book.get((record.facts.hotline, link.same_as_number))
    if other is None:
        return None
    return _Other(other.facts.at, other.needed | other.reached(link.at))


def _parties(
    referral: ReferralFacts,
    at: int,
    referrals: Mapping[str, ReferralFacts],
    kind_of: KindOf,
) -> Reach | None:
    """Returns whom a referral had reached: its parties, and those it came from.

    What was refused, or retracted, has reached nobody. None where it came from a
    referral that is not shown.
    """
    if not NONE < referral.accepted < at or NONE < referral.retracted < at:
        return Reach(0)
    publishers = _publishers(referral, referrals)
    if publishers is None:
        return None
    return reach(kind_of(name, at) for name in publishers.union(referral.recipients))


def _publishers(
    referral: ReferralFacts, referrals: Mapping[str, ReferralFacts]
) -> set[str] | None:
    """Returns who published a referral, and what it came from; None as above."""
    names: set[str] = set()
    above: ReferralFacts | None = referral
    met: set[str] = set()
    while above is not None and above.referral_id not in met:
        met.add(above.referral_id)
        names.add(above.publisher)
        if not above.parent_id:
            return names
        above = referrals.get(above.parent_id)
    return None


def _found(record: IntakeRecord, why: str) -> Finding:
    return Finding(INTAKES, f"intake {record.name}", why, "INTAKE_NUMBER_UNEXPECTED")
