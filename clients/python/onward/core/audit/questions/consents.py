"""Transfers of what came by a person's consent, for question 8.

What is said here follows from the statements alone, by the terms of the default rule
``transfer-within-consent``. The exchange may have had another rule in force; then its
operator has to say why.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from onward.core.audit.facts import NONE, ReferralFacts
from onward.core.audit.scope import Scope
from onward.core.audit.tables import Cell, Table
from onward.core.audit.words import word
from onward.core.consent import GIVEN, RELEASES, binding
from onward.core.intakes import MINORS, Reach, reach
from onward.v1 import vocabulary_pb2

WITHIN: Final = "within the consent"
ANEW: Final = "a release of its own"
BY_LAW: Final = "wanted by law"
NOT_GIVEN: Final = "no consent was given"
OVER: Final = "the consent was over"
NOT_COVERED: Final = "the consent does not name the recipient"
TAKEN_BACK: Final = "what it came from had been taken back"

BEYOND: Final = frozenset({NOT_GIVEN, OVER, NOT_COVERED, TAKEN_BACK})
"""What transfers are called that no consent covers, nor the law wants."""

_BY_LAW: Final = frozenset(
    {
        vocabulary_pb2.DISCLOSURE_BASIS_MANDATED_REPORT,
        vocabulary_pb2.DISCLOSURE_BASIS_IMMINENT_DANGER,
        vocabulary_pb2.DISCLOSURE_BASIS_COURT_ORDER,
    }
)


def consents_of_transfers(scope: Scope) -> dict[str, str]:
    """Returns for each transfer that a consent binds how it stands to that consent."""
    found = {}
    for child in scope.referrals:
        above = list(_above(scope, child))
        bound = binding((item, item.basis, item.reporter) for item in above)
        if bound is None:
            continue
        found[child.referral_id] = (
            TAKEN_BACK
            if any(NONE < item.retracted < child.accepted for item in above)
            else _judged(scope, child, bound)
        )
    return found


def transfers(scope: Scope, verdicts: dict[str, str]) -> Table:
    """Returns those that are not simply within the consent, one by one."""
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            child.referral_id,
            child.parent_id,
            scope.member(child.publisher),
            " ".join(map(scope.member, child.recipients)),
            word("DisclosureBasis", child.basis),
            verdicts[child.referral_id],
            child.at,
        )
        for child in scope.referrals
        if verdicts.get(child.referral_id, WITHIN) != WITHIN
    )
    columns = ("referral", "from", "by", "to", "basis", "verdict", "log entry")
    title = "Transfers that do not go by the consent under which the tip came"
    return Table("transfers", title, columns, rows, single=True)


def _above(scope: Scope, child: ReferralFacts) -> Iterator[ReferralFacts]:
    """Yields what a referral was transferred from, the nearest first."""
    met = {child.referral_id}
    known = scope.audited.referrals
    while (parent := known.get(child.parent_id)) and parent.referral_id not in met:
        met.add(parent.referral_id)
        yield parent
        child = parent


def _judged(scope: Scope, child: ReferralFacts, bound: ReferralFacts) -> str:
    """Returns how a transfer stands to the consent that binds it."""
    beyond = _beyond(scope, child, bound)
    if not beyond:
        return ANEW if _widens(child, bound) else WITHIN
    if _wanted_by_law(scope, child):
        return BY_LAW
    own = child.basis in RELEASES and not _beyond(scope, child, child)
    return ANEW if own else beyond


def _beyond(scope: Scope, child: ReferralFacts, given: ReferralFacts) -> str:
    """Returns why the consent of one referral does not cover another, if so."""
    if given.consent not in GIVEN:
        return NOT_GIVEN
    if 0 < given.consent_end_ms <= scope.audited.clock.made(child.accepted):
        return OVER
    named = not given.consented or set(child.recipients) <= set(given.consented)
    return "" if named else NOT_COVERED


def _widens(child: ReferralFacts, bound: ReferralFacts) -> bool:
    """Whether a transfer states a release that goes further than what binds it.

    The transfer itself need not: but from there on that release is what binds.
    """
    if child.basis not in RELEASES or child.consent not in GIVEN:
        return False
    end, names = bound.consent_end_ms, set(bound.consented)
    longer = bool(end) and not 0 < child.consent_end_ms <= end
    return longer or (bool(names) and not set() < set(child.consented) <= names)


def _wanted_by_law(scope: Scope, child: ReferralFacts) -> bool:
    """Whether a transfer needs no consent: see DOMAIN.md, rules 1, 4 and 5."""
    if child.basis in _BY_LAW:
        return True
    members = map(scope.audited.members.get, child.recipients)
    whom = reach(member.kind if member else 0 for member in members)
    return child.age_group in MINORS and not whom & Reach.OTHERS
