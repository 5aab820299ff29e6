"""What a report is about: one jurisdiction, one period, no tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from onward.core.audit.book import IntakeRecord
from onward.core.audit.deadlines import Kept, judge_duty
from onward.core.audit.duties import Duty
from onward.core.audit.evidence import covers
from onward.core.audit.facts import NONE, DeliveryFacts, ReferralFacts
from onward.core.audit.result import Audited
from onward.core.audit.tables import Moment
from onward.v1 import vocabulary_pb2

_HOTLINE = vocabulary_pb2.MEMBER_KIND_HOTLINE


class Period(NamedTuple):
    """From a time on, to before another. Milliseconds since 1970, UTC."""

    begin_ms: int
    end_ms: int

    def has(self, ms: int) -> bool:
        """Whether a time lies in it."""
        return self.begin_ms <= ms < self.end_ms


class Sent(NamedTuple):
    """One delivery of a tip, with the referral that it belongs to.

    Attributes:
        received_ms: when the hotline received the tip, the first of several.
    """

    referral: ReferralFacts
    delivery: DeliveryFacts
    received_ms: int


class Judged(NamedTuple):
    """A deadline that was judged, with the class of the tip or referral."""

    urgency: int
    duty: Duty
    kept: Kept


@dataclass(frozen=True)
class Scope:
    """The intakes that came in during a period, and all that followed from them.

    Attributes:
        audited: the export, verified.
        jurisdiction: the code; ``US`` covers each of its parts, ``*`` everything.
        period: when the tips came in, by the hotlines' clocks.
    """

    audited: Audited
    jurisdiction: str
    period: Period

    @cached_property
    def intakes(self) -> tuple[IntakeRecord, ...]:
        """The intakes, by hotline and number."""
        return tuple(record for record in self._in_period if not record.facts.test)

    @cached_property
    def tests(self) -> tuple[IntakeRecord, ...]:
        """The tests, which count nowhere."""
        return tuple(record for record in self._in_period if record.facts.test)

    @cached_property
    def loose(self) -> tuple[ReferralFacts, ...]:
        """Referrals that a hotline published without naming an intake."""
        return tuple(
            referral
            for referral in self.audited.referrals.values()
            if not (referral.intake_numbers or referral.parent_id or referral.test)
            and self.period.has(referral.tip_received_ms)
            and self._covers(referral.jurisdiction)
            and self._is_hotline(referral.publisher)
        )

    @cached_property
    def referrals(self) -> tuple[ReferralFacts, ...]:
        """The accepted referrals that answer the intakes, and what they became."""
        known = self.audited.referrals
        begun = {name for record in self.intakes for name in record.referrals}
        begun |= {item.referral_id for item in self.loose if item.accepted != NONE}
        found: dict[str, ReferralFacts] = {}
        waiting = sorted(begun)
        while waiting:
            name = waiting.pop()
            if name in known and name not in found:
                found[name] = known[name]
                waiting += [item.child_id for item in known[name].passings]
        return tuple(sorted(found.values(), key=lambda item: item.at))

    @cached_property
    def rejected(self) -> tuple[ReferralFacts, ...]:
        """The referrals that the exchange's policy refused."""
        return tuple(
            referral
            for referral in self.audited.referrals.values()
            if referral.rejected != NONE
            and not referral.test
            and self.period.has(referral.tip_received_ms)
            and self._covers(referral.jurisdiction)
        )

    @cached_property
    def sent(self) -> tuple[Sent, ...]:
        """All deliveries of these referrals."""
        return tuple(self._sent())

    @cached_property
    def late(self) -> tuple[Duty, ...]:
        """The duties about all of these that have a breach, in the log's order."""
        names = {record.name for record in self.intakes}
        names |= {referral.referral_id for referral in self.referrals}
        late = [
            duty
            for duty in self.audited.duties
            if duty.breach and duty.subject in names
        ]
        return tuple(
            sorted(late, key=lambda duty: duty.breach.at if duty.breach else 0)
        )

    @cached_property
    def late_subjects(self) -> frozenset[tuple[str, int]]:
        """The subject and kind of each of them."""
        return frozenset((duty.subject, duty.kind) for duty in self.late)

    @cached_property
    def late_by_subject(self) -> Mapping[str, Sequence[Duty]]:
        """The same, by their subject."""
        found: dict[str, list[Duty]] = {}
        for duty in self.late:
            found.setdefault(duty.subject, []).append(duty)
        return found

    @cached_property
    def judged(self) -> tuple[Judged, ...]:
        """The deadlines of all of these, but for those that lapsed."""
        return tuple(self._judged())

    def when(self, at: int) -> Moment | None:
        """Returns when a statement was made; None for one that is not there."""
        return None if at == NONE else Moment(self.audited.clock.made(at))

    def between(self, first: int, second: int) -> int | None:
        """Returns the time from one statement to another, if both are there."""
        if NONE in {first, second}:
            return None
        clock = self.audited.clock
        return max(clock.made(second) - clock.made(first), 0)

    def member(self, name: str) -> str:
        """Returns what people call a member."""
        member = self.audited.members.get(name)
        shown = member.display_name if member else ""
        return shown or name.rpartition("/")[2]

    @cached_property
    def _in_period(self) -> tuple[IntakeRecord, ...]:
        records = (
            record
            for record in self.audited.book.values()
            if self.period.has(record.facts.received_ms)
            and self._covers(record.facts.jurisdiction)
        )
        return tuple(
            sorted(records, key=lambda item: (item.facts.hotline, item.facts.number))
        )

    def _sent(self) -> Iterator[Sent]:
        received: dict[str, int] = {}
        for record in self.intakes:
            for name in record.referrals:
                at = record.facts.received_ms
                received[name] = min(at, received.get(name, at))
        for referral in self.referrals:
            at = received.get(referral.referral_id, referral.tip_received_ms)
            for delivery in referral.deliveries:
                yield Sent(referral, delivery, at)

    def _judged(self) -> Iterator[Judged]:
        audited = self.audited
        classes = {record.name: record.facts.urgency for record in self.intakes}
        classes |= {item.referral_id: item.urgency for item in self.referrals}
        size = audited.log_size
        for duty in audited.duties:
            if duty.subject in classes:
                kept = judge_duty(duty, audited.clock, size)
                if kept is not None:
                    yield Judged(classes[duty.subject], duty, kept)

    def _covers(self, code: str) -> bool:
        return covers(frozenset({self.jurisdiction}), code)

    def _is_hotline(self, name: str) -> bool:
        member = self.audited.members.get(name)
        return member is not None and member.kind == _HOTLINE
