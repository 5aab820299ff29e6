"""Referrals that say something else than what they answer, for question 8.

A class decides about deadlines, and a state about who may look. Whoever states a slower
class, or another state, than the tip had may be right; somebody else should know.
"""

from __future__ import annotations

from collections.abc import Iterator

from onward.core.audit.chains import intake_chain
from onward.core.audit.facts import ReferralFacts
from onward.core.audit.scope import Scope
from onward.core.audit.tables import Cell, Table
from onward.core.audit.words import word


def differences(scope: Scope) -> Table:
    """Returns the referrals with a slower class, or another state, than they answer."""
    rows = tuple(
        row for referral in scope.referrals for row in _differences(scope, referral)
    )
    columns = (
        "referral",
        "publisher",
        "answers",
        "class",
        "class there",
        "jurisdiction",
        "jurisdiction there",
        "log entry",
    )
    title = "A slower class, or another state, than what it answers"
    return Table("differences", title, columns, rows, single=True)


def _differences(scope: Scope, referral: ReferralFacts) -> Iterator[tuple[Cell, ...]]:
    """Yields a row for each tip, and for the parent, from which a referral differs."""
    for name, urgency, jurisdiction in _answered(scope, referral):
        # Classes are in the order of their urgency.
        if referral.urgency > urgency or referral.jurisdiction != jurisdiction:
            yield (
                referral.referral_id,
                scope.member(referral.publisher),
                name,
                word("Urgency", referral.urgency),
                word("Urgency", urgency),
                referral.jurisdiction,
                jurisdiction,
                referral.at,
            )


def _answered(scope: Scope, referral: ReferralFacts) -> Iterator[tuple[str, int, str]]:
    """Yields what a referral answers, as far as it is shown: name, class, state."""
    audited = scope.audited
    for number in referral.intake_numbers:
        record = audited.book.get((referral.publisher, number))
        if record is not None:
            facts = record.facts
            name = intake_chain(facts.hotline, facts.number)
            yield name, facts.urgency, facts.jurisdiction
    parent = audited.referrals.get(referral.parent_id)
    if parent is not None:
        yield parent.referral_id, parent.urgency, parent.jurisdiction
