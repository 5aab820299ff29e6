"""The books of the hotlines: what became of each intake, and that none is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Final, NamedTuple, TypeAlias

from onward.core.audit.chains import intake_chain
from onward.core.audit.facts import (
    NONE,
    Decision,
    Finding,
    IntakeFacts,
    ReferralFacts,
    Span,
    is_lost,
    taken_back,
)
from onward.core.audit.steps import INTAKES
from onward.core.errors import StateError
from onward.core.intakes import (
    INITIAL,
    Event,
    Reach,
    State,
    advance,
    event_of_referral,
    event_of_taking_back,
    mandated,
    reach,
)
from onward.core.merkle import HASH_SIZE
from onward.v1 import vocabulary_pb2

KindOf: TypeAlias = Callable[[str, int], int]
"""Returns a member's kind when an entry was appended; 0 if it is not known."""

_PASS_ON: Final = vocabulary_pb2.DEADLINE_KIND_PASS_ON
_REVIEW: Final = vocabulary_pb2.DEADLINE_KIND_REVIEW
_OPEN: Final = State.INTAKE_STATE_OPEN
_WITHHELD: Final = State.INTAKE_STATE_WITHHELD
_PASSED_ON: Final = State.INTAKE_STATE_PASSED_ON
_NOBODY: Final = Reach(0)
_EVENTS: Final = {
    "withholding": Event.WITHHOLDING,
    "hold": Event.HOLD,
    "link": Event.DUPLICATE,
}
_BY_REACH: Final = {
    Event.REFERRAL: event_of_referral,
    Event.TAKEN_BACK: event_of_taking_back,
}
"""What says of these events what they mean, by whom the referrals then reach."""


class Reached(NamedTuple):
    """Whom one referral of an intake addressed, and where in the log it did.

    Attributes:
        accepted: the entry from which on it did.
        taken_back: the entry that ended that before anybody had received it;
            :data:`NONE` where there is none.
    """

    whom: Reach
    accepted: int
    taken_back: int


@dataclass(slots=True)
class IntakeRecord:
    """One intake, and what became of it.

    Attributes:
        facts: the intake.
        state: where it stands, an ``IntakeState``.
        ended: the entry that made it so; :data:`NONE` while nothing has.
        passed_on: the first entry by which it was passed on.
        standing: the same without the deliveries that ended before they were received;
            :data:`NONE` where those that remain do not suffice.
        reaches: whom its accepted referrals addressed.
        kept: whom the deliveries reach that did not end so.
        withholding: the last one that counts.
        duplicate: the link that ended it as a duplicate.
        held: whether a supervisor took more time.
        referrals: ids of the accepted referrals that answer it.
        spans: where in the log it was open, and where it waited for a review.
    """

    facts: IntakeFacts
    state: int = INITIAL
    ended: int = NONE
    passed_on: int = NONE
    standing: int = NONE
    reaches: list[Reached] = field(default_factory=list)
    kept: Reach = _NOBODY
    withholding: Decision | None = None
    duplicate: Decision | None = None
    held: bool = False
    referrals: list[str] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    @property
    def name(self) -> str:
        """How reports name it: ``hotline#number``."""
        return intake_chain(self.facts.hotline, self.facts.number)

    @property
    def needed(self) -> Reach:
        """Who must have it, whoever consents."""
        return mandated(self.facts.urgency, self.facts.age_group)

    @property
    def taken_back(self) -> bool:
        """Whether it was passed on, and those who had to have it never received it.

        Where nobody did, it is open again, and what is decided then is what counts.
        """
        passed_on = self.passed_on != NONE and self.standing == NONE
        return passed_on and self.state in (_PASSED_ON, _OPEN)

    def reached(self, at: int) -> Reach:
        """Returns whom the referrals address that stand before an entry."""
        standing = (
            reached.whom
            for reached in self.reaches
            if reached.accepted < at and not NONE < reached.taken_back < at
        )
        return reduce(or_, standing, _NOBODY)


Book: TypeAlias = Mapping[tuple[str, int], IntakeRecord]
"""All intakes shown, by hotline and number."""


def keep_book(
    intakes: Iterable[IntakeFacts], referrals: Iterable[ReferralFacts], kind_of: KindOf
) -> tuple[Book, list[Finding]]:
    """Follows each intake through the log, by :mod:`onward.core.intakes`.

    Args:
        intakes: those shown.
        referrals: those shown.
        kind_of: says whom a referral reaches.
    """
    findings: list[Finding] = []
    answers: dict[tuple[str, int], list[ReferralFacts]] = {}
    for referral in referrals:
        if referral.accepted != NONE:
            for number in referral.intake_numbers:
                answers.setdefault((referral.publisher, number), []).append(referral)
    book: dict[tuple[str, int], IntakeRecord] = {}
    for facts in intakes:
        record = IntakeRecord(facts)
        key = facts.hotline, facts.number
        if key in book:
            findings.append(_found(record, "its number was used before"))
            continue
        book[key] = record
        _follow(record, answers.get(key, ()), kind_of, findings)
    return book, findings


def check_numbers(book: Book, entries: bytes, *, whole: bool) -> Iterator[Finding]:
    """Checks that no hotline's intake is missing, by the numbers that it signed.

    1. In each jurisdiction the numbers begin with 1 and have no gap, in log order.
    2. Over all, numbers only grow; where every entry is shown, they have no gap.
    3. Each names, by its digest, the one before it.

    Args:
        book: all intakes shown.
        entries: the log's entries, 32 bytes each.
        whole: whether every entry of the log should have been shown.
    """
    last: dict[str, IntakeRecord] = {}
    counts: dict[tuple[str, str], int] = {}
    for record in sorted(book.values(), key=lambda record: record.facts.at):
        facts = record.facts
        code = facts.hotline, facts.jurisdiction
        expected = counts.get(code, 0) + 1
        counts[code] = facts.number_in_jurisdiction
        if facts.number_in_jurisdiction != expected:
            yield _found(record, _gap(facts, expected))  # 1
        before = last.get(facts.hotline)
        last[facts.hotline] = record
        if before is None:
            if whole and facts.previous:
                yield _found(record, "it names an intake before it that is missing")
            continue
        difference = facts.number - before.facts.number
        if difference < 1 or (whole and difference > 1):
            yield _found(record, f"it follows number {before.facts.number}")  # 2
        elif difference == 1 and facts.previous != _entry(entries, before.facts.at):
            yield _found(record, "it does not name the intake before it")  # 3


def check_answers(
    book: Book, referrals: Mapping[str, ReferralFacts], *, whole: bool
) -> Iterator[Finding]:
    """Checks that a referral's intakes exist, and are tests exactly if it is one."""
    for referral in referrals.values():
        if referral.accepted == NONE:
            continue
        for number in referral.intake_numbers:
            record = book.get((referral.publisher, number))
            subject = f"referral {referral.referral_id}"
            if record is None and whole:
                why = f"it answers intake {number}, which is missing"
                yield Finding(INTAKES, subject, why, "INTAKE_UNKNOWN")
            elif record and record.facts.test != referral.test:
                why = f"it and intake {number} are not both tests"
                yield Finding(INTAKES, subject, why, "INTAKE_UNKNOWN")


def _follow(
    record: IntakeRecord,
    answers: Sequence[ReferralFacts],
    kind_of: KindOf,
    findings: list[Finding],
) -> None:
    """Moves one intake through all that happened to it, in the log's order."""
    opened = record.facts.at
    undecided = record.state  # where it would stand, had nothing been passed on
    events = sorted(_events(record, answers), key=lambda item: item[0])
    for at, kind, cause in events:
        if isinstance(cause, ReferralFacts) and kind is Event.REFERRAL:
            _address(record, cause, kind_of)
            stands = event_of_referral(undecided, record.kept, record.needed)
            if stands is Event.REFERRAL and record.standing == NONE:
                record.standing = at
        event = _meant(record, kind, at)
        try:
            after = advance(record.state, event)
        except StateError as error:
            findings.append(_found(record, error.message))
            continue
        if event is Event.WITHHOLDING or after != record.state:
            _close(record, opened, at)
            opened = at
            record.ended = NONE if after == _OPEN else at
        record.state = after
        undecided = undecided if after == _PASSED_ON else after
        _note(record, event, cause, at)
    _close(record, opened, NONE)


def _meant(record: IntakeRecord, kind: Event, at: int) -> Event:
    """Returns what an entry means to an intake where it stands before it."""
    meant = _BY_REACH.get(kind)
    if meant is None:
        return kind
    return meant(record.state, record.reached(at + 1), record.needed)


def _address(record: IntakeRecord, referral: ReferralFacts, kind_of: KindOf) -> None:
    """Notes whom a referral of an intake addresses, and whom it still reaches."""
    at = referral.accepted
    lost = {item.recipient for item in referral.deliveries if is_lost(referral, item)}
    addressed = {name: kind_of(name, at) for name in referral.recipients}
    record.referrals.append(referral.referral_id)
    whom = reach(addressed.values())
    record.reaches.append(Reached(whom, at, taken_back(referral)))
    record.kept |= reach(kind for name, kind in addressed.items() if name not in lost)


def _events(
    record: IntakeRecord, answers: Sequence[ReferralFacts]
) -> Iterator[tuple[int, Event, ReferralFacts | Decision | None]]:
    """Yields what happened to an intake: where, what, and by which statement."""
    for referral in answers:
        yield referral.accepted, Event.REFERRAL, referral
        if (at := taken_back(referral)) != NONE:
            yield at, Event.TAKEN_BACK, referral
    for decision in record.facts.decisions:
        if not decision.rejected:
            yield decision.at, _EVENTS[decision.kind], decision
    for remark in record.facts.remarks:
        if remark.breach and remark.kind == _REVIEW:
            yield remark.at, Event.REVIEW_BREACH, None


def _note(
    record: IntakeRecord,
    event: Event,
    cause: ReferralFacts | Decision | None,
    at: int,
) -> None:
    """Keeps what the report tells of an event."""
    if event is Event.REFERRAL and record.passed_on == NONE:
        record.passed_on = at
    elif event is Event.HOLD:
        record.held = True
    elif event is Event.WITHHOLDING and isinstance(cause, Decision):
        record.withholding = cause
    elif event is Event.DUPLICATE and isinstance(cause, Decision):
        record.duplicate = cause


def _close(record: IntakeRecord, opened: int, at: int) -> None:
    """Ends the span in which an intake was open, or waited for its review."""
    provisional = record.withholding is not None and record.withholding.review_ms > 0
    if record.state == _OPEN:
        record.spans.append(Span(_PASS_ON, opened, at))
    elif record.state == _WITHHELD and provisional:
        record.spans.append(Span(_REVIEW, opened, at))


def _entry(entries: bytes, at: int) -> bytes:
    return entries[at * HASH_SIZE : (at + 1) * HASH_SIZE]


def _gap(facts: IntakeFacts, expected: int) -> str:
    return (
        f"it is number {facts.number_in_jurisdiction} in {facts.jurisdiction}, and "
        f"{expected} was next: an intake is missing, or was moved"
    )


def _found(record: IntakeRecord, why: str) -> Finding:
    return Finding(INTAKES, f"intake {record.name}", why, "INTAKE_NUMBER_UNEXPECTED")
