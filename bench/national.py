"""What members do with the tips of a year, at a real exchange.

Nearly all do what they should, and in time. Some are late, some forget, some try what
the policy forbids: then the exchange warns, says that a time is over, or refuses.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from random import Random
from typing import Any, Final

from bench.domain import Domain, Member
from bench.journey import Journey, Referred
from bench.mix import OTHERS_REASONS, VICTIMS_REASONS, Tip, pick, police, welfare
from bench.stories import DAY, Stories
from bench.synthetic import agency
from onward.core.bodies import PROVISIONAL
from onward.core.errors import OnwardError
from onward.core.intakes import Reach, mandated, may_repeat
from onward.core.statements import SignedStatement
from onward.v1 import statement_pb2
from onward.v1 import vocabulary_pb2 as v
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.deadlines import Deadlines
from onward_server.exchange.deciding import WithholdingForbiddenError
from onward_server.exchange.publishing import DisclosureForbiddenError

_ENDS: Final = (("withheld", 83), ("passed on", 9), ("duplicate", 8))
_FORGOTTEN: Final = 0.003
_LATE: Final = 0.025
_HELD: Final = 0.03
_FORBIDDEN: Final = 0.01
_SERVED: Final = 0.1
_REVIEWED_IN_TIME: Final = 0.97
_FOUND_OUT: Final = 0.15
_LOOK_EVERY: Final = 91 * DAY
_KEPT: Final = 180 * DAY


@dataclass(slots=True)
class Book:
    """A hotline, and where its book stands."""

    hotline: Member
    number: int = 0
    there: Counter[str] = field(default_factory=Counter)
    last: bytes = b""
    known: deque[tuple[int, SignedStatement]] = field(
        default_factory=lambda: deque(maxlen=50)
    )
    """Tips that were decided lately, and that another one may repeat."""

    def enter(self, tip: Tip) -> SignedStatement:
        """Signs the intake of a tip."""
        self.number += 1
        self.there[tip.code] += 1
        body = tip.intake(self.number, self.there[tip.code])
        signed = self.hotline.sign(previous=self.last, intake=body)
        self.last = signed.digest
        return signed


class National:
    """Hotlines, agencies and auditors at work.

    Args:
        domain: the exchange.
        time: tells their stories.
        members: all of them, by their SPIFFE IDs.
        seed: decides everything.
    """

    def __init__(
        self, domain: Domain, time: Stories, members: dict[str, Member], seed: int
    ) -> None:
        self.domain = domain
        self.time = time
        self.members = members
        self.seed = seed
        self.books = {
            own: Book(members[agency(name)])
            for own, name in ((False, "national-hotline"), (True, "florida-hotline"))
        }

    async def work(self, tips: Iterable[Tip]) -> None:
        """Takes tips in, in the order in which they are registered."""
        ordered = sorted(tips, key=lambda tip: (tip.registered_ms, tip.own))
        for (at, own), group in groupby(
            ordered, key=lambda tip: (tip.registered_ms, tip.own)
        ):
            await self.time.sleep_until(at)
            self.time.tell(self._register(self.books[own], list(group)))

    async def sweep(self) -> None:
        """Has the exchange erase each day what its time is over for."""
        while True:
            await self.time.sleep(DAY)
            await self.domain.erasing.sweep()

    async def look(self, auditor: Member) -> None:
        """Has an auditor download all that it may see, four times a year."""
        while True:
            await self.time.sleep(_LOOK_EVERY)
            parts = self.domain.auditing.export(auditor.caller, 0, lambda: None)
            async for _ in parts:
                pass

    async def count(self, told: Callable[[int, int], None]) -> None:
        """Tells every 30 days the time, and how many entries the log has."""
        while True:
            await self.time.sleep(30 * DAY)
            told(self.time.now_ms(), self.domain.ledger.head().size)

    def deadlines(self, tip: Tip) -> Deadlines:
        """Returns the deadlines of a tip's class in its place."""
        return self.domain.ledger.policy.deadlines(tip.urgency, tip.code)

    def luck(self, tip: Tip, of: str) -> Random:
        """Returns the luck that somebody has with a tip: always the same."""
        return Random(f"{self.seed} {tip.serial} {of}")  # noqa: S311 - told again

    async def _register(self, book: Book, tips: Sequence[Tip]) -> None:
        """A hotline registers what came in."""
        intakes = [book.enter(tip) for tip in tips]
        results = await self.domain.intakes.register_all(
            book.hotline.caller, [intake.jws for intake in intakes]
        )
        for tip, intake, result in zip(tips, intakes, results, strict=True):
            if isinstance(result, OnwardError):
                raise result
            story = _Deciding(self, book, tip, intake)
            self.time.tell(story.begin())


class _Deciding:
    """One tip on its way to a decision, or to several."""

    def __init__(
        self, nation: National, book: Book, tip: Tip, intake: SignedStatement
    ) -> None:
        self.nation = nation
        self.book = book
        self.tip = tip
        self.intake = intake
        self.number: int = intake.message.intake.number
        self.luck = nation.luck(tip, "deciding")

    async def begin(self) -> None:
        """The hotline thinks, and decides."""
        if self.luck.random() < _FORGOTTEN:
            return
        await self._think()
        end = pick(self.luck, _ENDS)
        earlier = [item for item in self.book.known if self._may_repeat(*item)]
        if end == "duplicate" and earlier and not self.tip.test:
            await self._link(*self.luck.choice(earlier))
            return
        if not self.tip.test:
            self.book.known.append((self.number, self.intake))
        await self._try_what_is_forbidden()
        if end == "withheld" and not self.tip.mandated:
            await self._withhold()
        else:
            await self._pass_on()

    def _may_repeat(self, number: int, other: SignedStatement) -> bool:
        """Whether this tip may end as the duplicate of another one."""
        return number < self.number and may_repeat(_needed(self.intake), _needed(other))

    async def _think(self) -> None:
        """Takes the time that it takes; one in forty takes too long."""
        times, luck = self.nation.deadlines(self.tip), self.luck.random()
        if times.hold_to and luck < _HELD:
            await self._sleep(times.pass_on * 0.8)
            body = statement_pb2.Hold(
                intake_number=self.number,
                approver_role="shift supervisor",
                reason="a call back is arranged",
            )
            await self._decide(hold=body)
            await self._sleep(times.pass_on * self.luck.uniform(0.1, 1.8))
        elif luck > 1 - _LATE:
            await self._sleep(times.pass_on_breach * self.luck.uniform(1.1, 2))
        else:
            await self._sleep(times.pass_on * luck * 0.52)

    async def _try_what_is_forbidden(self) -> None:
        """Now and then tries to withhold what must not be withheld."""
        if self.tip.mandated and self.luck.random() < _FORBIDDEN:
            with suppress(WithholdingForbiddenError):
                await self._say_withheld(v.WITHHOLD_REASON_SERVICE_ONLY)
            await self._sleep(timedelta(minutes=3))

    async def _link(self, number: int, other: SignedStatement) -> None:
        """Names the tip that this one repeats."""
        body = statement_pb2.Link(
            intake_number=self.number,
            same_as=other.digest,
            same_as_intake_number=number,
        )
        await self._decide(link=body)

    async def _withhold(self) -> None:
        """Withholds it; what is provisional is decided again."""
        reasons = VICTIMS_REASONS if self.tip.by_victim else OTHERS_REASONS
        reason = pick(self.luck, reasons)
        if self.tip.test:
            reason = v.WITHHOLD_REASON_TEST
        await self._say_withheld(reason)
        if reason in PROVISIONAL:
            await self._review()
        elif reason == v.WITHHOLD_REASON_SERVICE_ONLY and self.luck.random() < _SERVED:
            await self._sleep(timedelta(hours=2))
            await self._refer(["shelter-network"], v.CONSENT_STATE_GRANTED)
        elif reason == v.WITHHOLD_REASON_VICTIM_DECLINED:
            await self._refer_against_the_will()

    async def _say_withheld(self, reason: v.WithholdReason.ValueType) -> None:
        review = self.nation.time.now_ms() + 10 * DAY
        body = statement_pb2.Withholding(
            intake_number=self.number,
            reason=reason,
            citation="42 CFR Part 2" if reason == v.WITHHOLD_REASON_LEGAL_BAR else "",
            approver_role="shift supervisor",
            review_time=to_timestamp(review) if reason in PROVISIONAL else None,
        )
        await self._decide(withholding=body)

    async def _review(self) -> None:
        """Decides again what was withheld provisionally; sometimes too late."""
        in_time = self.luck.random() < _REVIEWED_IN_TIME
        await self._sleep(
            timedelta(days=self.luck.uniform(1, 9) if in_time else 10 + 3)
        )
        if self.luck.random() < _FOUND_OUT:
            await self._pass_on()
        else:
            await self._say_withheld(v.WITHHOLD_REASON_NO_TRAFFICKING_INDICATORS)

    async def _refer_against_the_will(self) -> None:
        """Now and then tries to pass on what the person concerned did not allow."""
        if self.luck.random() < _FORBIDDEN:
            with suppress(DisclosureForbiddenError):
                await self._refer([police(self.tip.code)], v.CONSENT_STATE_DECLINED)

    async def _pass_on(self) -> None:
        """Passes it on to all that must have it."""
        to = [police(self.tip.code)]
        if self.tip.urgency == v.URGENCY_MINOR:
            to.append(welfare(self.tip.code))
        consent = (
            v.CONSENT_STATE_GRANTED
            if self.tip.by_victim
            else v.CONSENT_STATE_NOT_REQUIRED
        )
        await self._refer(to, consent)

    async def _refer(
        self, names: Sequence[str], consent: v.ConsentState.ValueType
    ) -> None:
        """Publishes a referral, and has its recipients work on it."""
        nation, tip = self.nation, self.tip
        served = names == ["shelter-network"]
        basis = v.DISCLOSURE_BASIS_VICTIM_WRITTEN_RELEASE if served else tip.basis
        body = tip.referral(basis, consent, nation.time.now_ms() + _KEPT)
        body.intake_numbers.append(self.number)
        members = [nation.members[agency(name)] for name in names]
        hotline = self.book.hotline
        signed, sending = hotline.refer(body, _content(self.luck), members)
        await nation.domain.publishing.publish(hotline.caller, sending)
        referred = Referred.by(hotline, tip, signed)
        for member in members:
            nation.time.tell(Journey(nation, referred, member).begin())

    async def _decide(self, **body: Any) -> None:  # noqa: ANN401 - as Member.decide
        await self.book.hotline.decide(self.intake, **body)

    async def _sleep(self, span: timedelta) -> None:
        await self.nation.time.sleep(span // timedelta(milliseconds=1))


def _needed(intake: SignedStatement) -> Reach:
    """Returns who must have a tip."""
    body = intake.message.intake
    return mandated(body.urgency, body.subject_age_group)


def _content(luck: Random) -> bytes:
    """Returns what nobody but its recipients is to read."""
    return luck.randbytes(luck.randrange(400, 2000))
