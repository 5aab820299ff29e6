"""Questions 9 and 10: who has each tip, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from onward.core.audit.facts import NONE, ReferralFacts, is_lost
from onward.core.audit.questions.asking import BOOKS, GROUND, counted, parts, verdict
from onward.core.audit.scope import Scope
from onward.core.audit.tables import (
    Answer,
    Bar,
    Cell,
    Chart,
    Count,
    Equation,
    Share,
    Table,
)
from onward.core.audit.words import word
from onward.core.custody import State
from onward.core.intakes import State as IntakeState

_NOBODYS: Final = frozenset(
    {
        State.DELIVERY_STATE_DECLINED,
        State.DELIVERY_STATE_TRANSFERRED,
        State.DELIVERY_STATE_CANCELLED,
        State.DELIVERY_STATE_RETRACTION_PENDING,
        State.DELIVERY_STATE_RETRACTION_ANSWERED,
        State.DELIVERY_STATE_EXPIRED,
    }
)
"""States of a delivery in which its recipient is not, or not any more, in charge."""


def owners(scope: Scope) -> Answer:
    """9. Duplicates, transfers, declines; did any tip end with no owner?"""
    duplicates = sum(
        record.state == IntakeState.INTAKE_STATE_DUPLICATE for record in scope.intakes
    )
    declined = [sent for sent in scope.sent if sent.delivery.declined != NONE]
    transfers = sum(len(referral.passings) for referral in scope.referrals)
    reasons = Counter(
        word("DeclineReason", sent.delivery.declined_reason) for sent in declined
    )
    known = {referral.referral_id: referral for referral in scope.referrals}
    siblings = _siblings(scope)
    orphans = [
        referral
        for referral in scope.referrals
        if not referral.parent_id and _orphaned(referral, known, siblings)
    ]
    return Answer(
        9,
        "Did any tip that was passed on end with no owner?",
        verdict(scope.audited, BOOKS),
        bool(orphans),
        "{duplicates:tip repeats|tips repeat} another one. Agencies declined "
        "{declined:delivery|deliveries} and passed on {transfers}. "
        "{orphans:referral|referrals} ended with nobody in charge.",
        {
            "duplicates": Count("sum.duplicates", duplicates),
            "declined": Count("declined", len(declined)),
            "transfers": Count("transfers", transfers),
            "orphans": Count("orphans", len(orphans)),
        },
        (
            Table(
                "declined-reasons",
                "Declined, by reason",
                ("reason", "deliveries"),
                counted("declined.reason", reasons, "declined"),
            ),
            Table(
                "no-owner",
                "With nobody in charge",
                ("referral", "publisher", "class", "where it stands", "log entry"),
                tuple(
                    (
                        item.referral_id,
                        scope.member(item.publisher),
                        word("Urgency", item.urgency),
                        ", ".join(
                            f"{scope.member(delivery.recipient)}: "
                            f"{word('DeliveryState', delivery.state)}"
                            for delivery in item.deliveries
                        ),
                        item.at,
                    )
                    for item in orphans
                ),
                single=True,
            ),
            Table(
                "declined",
                "Declined, one by one",
                ("referral", "agency", "reason", "passed on", "log entry"),
                tuple(
                    (
                        sent.referral.referral_id,
                        scope.member(sent.delivery.recipient),
                        word("DeclineReason", sent.delivery.declined_reason),
                        "no" if sent.delivery.transferred == NONE else "yes",
                        sent.delivery.declined,
                    )
                    for sent in declined
                ),
                single=True,
            ),
        ),
        (),
        (
            Equation(
                Count("declined", len(declined)), parts("declined.reason", reasons)
            ),
        ),
    )


def outcomes(scope: Scope) -> Answer:
    """10. The outcome rate by agency."""
    received = [sent for sent in scope.sent if sent.delivery.received != NONE]
    told = [sent for sent in received if sent.delivery.outcome != NONE]
    codes = Counter(word("OutcomeCode", sent.delivery.code) for sent in told)
    rows: list[tuple[Cell, ...]] = []
    equations: list[Equation] = []
    for name in sorted({sent.delivery.recipient for sent in received}):
        label = scope.member(name)
        own = [sent for sent in received if sent.delivery.recipient == name]
        done = sum(sent.delivery.outcome != NONE for sent in own)
        whole = Count(f"received.{label}", len(own))
        part = Count(f"outcome.{label}", done)
        rest = Count(f"none.{label}", len(own) - done)
        rows.append((label, whole, part, rest, Share(part, whole)))
        equations.append(Equation(whole, (part, rest)))
    totals = (
        Count("delivered", len(received)),
        Count("outcome", len(told)),
        Count("none", len(received) - len(told)),
    )
    for at, total in enumerate(totals, start=1):
        column = tuple(cell for row in rows if isinstance(cell := row[at], Count))
        equations.append(Equation(total, column))
    equations.append(Equation(totals[0], totals[1:]))
    equations.append(Equation(totals[1], parts("outcome.code", codes)))
    return Answer(
        10,
        "What came of the tips, by agency?",
        verdict(scope.audited, GROUND),
        False,  # noqa: FBT003 - how many outcomes are enough is not ours to say
        "Of {delivered:delivery|deliveries} that arrived, {outcome:has|have} an "
        "outcome: {share}.",
        {
            "delivered": totals[0],
            "outcome": totals[1],
            "share": Share(totals[1], totals[0]),
        },
        (
            Table(
                "outcomes-by-agency",
                "By agency",
                ("agency", "arrived", "with outcome", "without", "rate"),
                (*rows, ("all", *totals, Share(totals[1], totals[0]))),
            ),
            Table(
                "outcome-codes",
                "By last outcome",
                ("outcome", "deliveries"),
                counted("outcome.code", codes, "outcome"),
            ),
        ),
        (
            Chart(
                "Deliveries with an outcome, by agency",
                tuple(
                    Bar(str(row[0]), row[4])
                    for row in rows
                    if isinstance(row[4], Share)
                ),
            ),
        ),
        tuple(equations),
    )


def _siblings(scope: Scope) -> Mapping[str, Sequence[Sequence[str]]]:
    """Returns for each referral the referrals of each tip that it answers."""
    found: dict[str, list[Sequence[str]]] = {}
    for record in scope.intakes:
        for name in record.referrals:
            found.setdefault(name, []).append(record.referrals)
    return found


def _orphaned(
    referral: ReferralFacts,
    known: Mapping[str, ReferralFacts],
    siblings: Mapping[str, Sequence[Sequence[str]]],
) -> bool:
    """Whether nobody is in charge of a referral.

    Once somebody had received it, a publisher that takes it back ends that on purpose.
    What was taken back before was perhaps only sent anew: its tips have no owner where
    no other referral of theirs has one.
    """
    if _owned(referral, known):
        return False
    if referral.retracted == NONE:
        return True
    if not all(is_lost(referral, delivery) for delivery in referral.deliveries):
        return False
    tips = siblings.get(referral.referral_id, ((),))
    return not all(
        any(name in known and _owned(known[name], known) for name in tip)
        for tip in tips
    )


def _owned(referral: ReferralFacts, known: Mapping[str, ReferralFacts]) -> bool:
    """Whether somebody is in charge of a referral, or of what it was passed on as."""
    waiting, met = [referral], {referral.referral_id}
    while waiting:
        item = waiting.pop()
        if any(
            delivery.state not in _NOBODYS and not is_lost(item, delivery)
            for delivery in item.deliveries
        ):
            return True
        children = [known[p.child_id] for p in item.passings if p.child_id in known]
        waiting += [child for child in children if child.referral_id not in met]
        met |= {child.referral_id for child in children}
    return False
