"""Duplicates: that each repeats a tip that there is, and one that it may repeat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from onward.core.audit.book import Book, IntakeRecord, KindOf
from onward.core.audit.checks import entry
from onward.core.audit.facts import NONE, Decision, Finding, ReferralFacts
from onward.core.audit.steps import INTAKES
from onward.core.intakes import Reach, may_repeat, reach


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
    names = {*referral.recipients}
    above: ReferralFacts | None = referral
    met: set[str] = set()
    while above is not None and above.referral_id not in met:
        met.add(above.referral_id)
        names.add(above.publisher)
        if not above.parent_id:
            return reach(kind_of(name, at) for name in names)
        above = referrals.get(above.parent_id)
    return None


def _found(record: IntakeRecord, why: str) -> Finding:
    return Finding(INTAKES, f"intake {record.name}", why, "INTAKE_NUMBER_UNEXPECTED")
