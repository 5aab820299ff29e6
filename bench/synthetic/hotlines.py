"""What hotlines do in a year of tips that never were."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import Final

from bench.scribe import EXCHANGE, Said, timestamp
from bench.synthetic.books import Intake, alarm
from bench.synthetic.parties import STATES, agency
from bench.synthetic.referrals import Referrals
from bench.synthetic.setting import Setting
from bench.synthetic.timeline import DAY, MINUTE, Step, milliseconds_of
from onward.core.due import Kind, Role
from onward.core.intakes import MINORS, mandated, may_repeat
from onward.v1 import statement_pb2
from onward.v1 import vocabulary_pb2 as v

_URGENCIES: Final = (
    (v.URGENCY_IMMINENT_DANGER, 3),
    (v.URGENCY_MINOR, 12),
    (v.URGENCY_TIME_SENSITIVE, 20),
    (v.URGENCY_ROUTINE, 50),
    (v.URGENCY_INFORMATIONAL, 15),
)
_REPORTERS: Final = (
    (v.REPORTER_TYPE_POTENTIAL_VICTIM, 26),
    (v.REPORTER_TYPE_COMMUNITY_MEMBER, 30),
    (v.REPORTER_TYPE_FAMILY, 14),
    (v.REPORTER_TYPE_MEDICAL, 8),
    (v.REPORTER_TYPE_EDUCATOR, 6),
    (v.REPORTER_TYPE_ANONYMOUS, 16),
)
_VICTIMS_REASONS: Final = (
    (v.WITHHOLD_REASON_VICTIM_DECLINED, 50),
    (v.WITHHOLD_REASON_SERVICE_ONLY, 40),
    (v.WITHHOLD_REASON_CONSENT_PENDING, 10),
)
_OTHER_REASONS: Final = (
    (v.WITHHOLD_REASON_NO_TRAFFICKING_INDICATORS, 55),
    (v.WITHHOLD_REASON_INSUFFICIENT_LOCATION, 20),
    (v.WITHHOLD_REASON_SPAM_OR_ABUSE, 18),
    (v.WITHHOLD_REASON_SAFETY_RISK, 4),
    (v.WITHHOLD_REASON_LEGAL_BAR, 3),
)
_PROVISIONAL: Final = frozenset(
    {
        v.WITHHOLD_REASON_CONSENT_PENDING,
        v.WITHHOLD_REASON_INSUFFICIENT_LOCATION,
        v.WITHHOLD_REASON_SAFETY_RISK,
    }
)
_ENDS: Final = (("withheld", 80), ("passed on", 11), ("duplicate", 8), ("open", 1))


class Hotlines:
    """Registers tips, and decides about them: one in forty too late, a few never."""

    def __init__(self, setting: Setting, referrals: Referrals) -> None:
        self._setting = setting
        self._timeline = setting.timeline
        self._random = setting.timeline.random
        self._books = setting.books
        self._referrals = referrals
        self._numbers: Counter[str] = Counter()
        self._numbers_there: Counter[tuple[str, str]] = Counter()
        self._last: dict[str, Said] = {}
        self._decided: dict[str, list[Intake]] = {}

    def arrival(self, received_ms: int) -> Step:
        """Returns what happens when a tip comes in: somebody registers it soon."""
        delay = self._random.randrange(20_000, 3 * MINUTE)
        return lambda: self._timeline.after(delay, lambda: self._register(received_ms))

    def _register(self, received_ms: int) -> None:
        """A hotline registers a tip, and decides about it later."""
        pick = self._timeline.pick
        code = self._random.choices(STATES, (30, 20, 25, 15, 10))[0]
        own = code == "US-FL" and self._random.random() < 1 / 3
        hotline = agency("florida-hotline" if own else "national-hotline")
        urgency = pick(_URGENCIES)
        minor = urgency == v.URGENCY_MINOR
        age = v.AGE_GROUP_13_17 if minor else v.AGE_GROUP_ADULT
        self._numbers[hotline] += 1
        self._numbers_there[hotline, code] += 1
        number = self._numbers[hotline]
        test = self._random.random() < 1 / 200
        reporter = pick(_REPORTERS)
        body = statement_pb2.Intake(
            number=number,
            number_in_jurisdiction=self._numbers_there[hotline, code],
            urgency=v.Urgency.ValueType(urgency),
            urgency_reason="stated by the caller",
            channel=v.CHANNEL_CALL,
            reporter_type=v.ReporterType.ValueType(reporter),
            subject_age_group=age,
            trafficking_type=v.TRAFFICKING_TYPE_SEX,
            jurisdiction=statement_pb2.Jurisdiction(code=code),
            received_time=timestamp(received_ms),
            content_commitment=sha256(f"{hotline}{number}".encode()).digest(),
            test=test,
        )
        before = self._last.get(hotline)
        said = self._setting.scribe.say(
            hotline,
            places=(code,),
            previous=before.digest if before else b"",
            intake=body,
        )
        self._last[hotline] = said
        intake = Intake(said, hotline, number, urgency, age, code, received_ms, test)
        self._books.add_intake(intake)
        self._watch_intake(intake, received_ms)
        self._timeline.after(
            self._thinking(urgency), lambda: self._decide(intake, reporter)
        )

    def _decide(self, intake: Intake, reporter: int) -> None:
        """A hotline decides about a tip."""
        end = self._timeline.pick(_ENDS)
        must_go = bool(mandated(intake.urgency, intake.age_group))
        known = self._decided.setdefault(intake.hotline, [])
        earlier = [other for other in known[-50:] if _may_repeat(intake, other)]
        if end == "duplicate" and earlier and not intake.test:
            self._link(intake, self._random.choice(earlier))
        elif intake.test or (end == "withheld" and not must_go):
            self._withhold(intake, reporter)
        elif end != "open":
            self._pass_on(intake, reporter)
        if end != "duplicate" and not intake.test:
            known.append(intake)

    def _link(self, intake: Intake, other: Intake) -> None:
        body = statement_pb2.Link(
            intake_number=intake.number,
            same_as=other.said.digest,
            same_as_intake_number=other.number,
        )
        self._books.say_of_intake(intake, intake.hotline, link=body)
        self._books.move_intake(intake, v.INTAKE_STATE_DUPLICATE)

    def _withhold(self, intake: Intake, reporter: int) -> None:
        """A hotline withholds a tip; what is provisional is decided again."""
        own = reporter == v.REPORTER_TYPE_POTENTIAL_VICTIM
        reason = self._timeline.pick(_VICTIMS_REASONS if own else _OTHER_REASONS)
        if intake.test:
            reason = v.WITHHOLD_REASON_TEST
        review = self._timeline.now_ms + 10 * DAY if reason in _PROVISIONAL else 0
        bar = reason == v.WITHHOLD_REASON_LEGAL_BAR
        body = statement_pb2.Withholding(
            intake_number=intake.number,
            reason=v.WithholdReason.ValueType(reason),
            citation="42 CFR Part 2" if bar else "",
            approver_role="shift supervisor",
            review_time=timestamp(review) if review else None,
        )
        self._books.say_of_intake(intake, intake.hotline, withholding=body)
        self._books.move_intake(intake, v.INTAKE_STATE_WITHHELD)
        if not review:
            return
        decided = intake.decided
        half = self._timeline.now_ms + 5 * DAY
        self._timeline.watch(
            half,
            review,
            lambda: intake.decided == decided,
            lambda kind: self._say_of_intake(intake, kind, review, review=True),
        )
        if self._random.random() < 0.97:  # noqa: PLR2004 - nearly all are in time
            later = self._random.randrange(DAY, 9 * DAY)
            self._timeline.after(later, lambda: self._again(intake, decided))

    def _again(self, intake: Intake, decided: int) -> None:
        """A hotline decides again what it withheld provisionally."""
        if intake.decided != decided:
            return
        body = statement_pb2.Withholding(
            intake_number=intake.number,
            reason=v.WITHHOLD_REASON_NO_TRAFFICKING_INDICATORS,
            approver_role="shift supervisor",
        )
        self._books.say_of_intake(intake, intake.hotline, withholding=body)
        self._books.move_intake(intake, v.INTAKE_STATE_WITHHELD)

    def _watch_intake(self, intake: Intake, begin_ms: int) -> None:
        """Has the exchange say when an intake, open since a moment, is late."""
        times = self._setting.deadlines(intake.urgency, intake.code)
        decided = intake.decided
        due = begin_ms + milliseconds_of(times.pass_on_breach)
        warn = begin_ms + milliseconds_of(times.pass_on) // 2
        self._timeline.watch(
            warn,
            due,
            lambda: intake.decided == decided,
            lambda kind: self._say_of_intake(intake, kind, due),
        )

    def _say_of_intake(
        self, intake: Intake, kind: str, due_ms: int, *, review: bool = False
    ) -> None:
        """The exchange warns of an intake, or says that its time is over."""
        due = statement_pb2.Due(
            kind=Kind.DEADLINE_KIND_REVIEW if review else Kind.DEADLINE_KIND_PASS_ON,
            due_time=timestamp(due_ms),
            holder=intake.hotline,
            holder_role=Role.HOLDER_ROLE_PUBLISHER,
            hotline=intake.hotline,
            intake_number=intake.number,
        )
        body = alarm(kind, due)
        self._books.say_of_intake(intake, EXCHANGE, **body)
        if review and kind == "breach":
            self._books.move_intake(intake, v.INTAKE_STATE_OPEN)
            self._watch_intake(intake, self._timeline.now_ms)

    def _pass_on(self, intake: Intake, reporter: int) -> None:
        """A hotline passes a tip on to all that must have it."""
        state = intake.code[-2:].lower()
        police = agency(f"{state}-state-police")
        welfare = agency(f"{state}-child-welfare")
        minor = intake.age_group in MINORS
        recipients = [police, welfare] if minor else [police]
        self._referrals.publish(intake.hotline, recipients, intake, reporter)
        self._books.move_intake(intake, v.INTAKE_STATE_PASSED_ON)

    def _thinking(self, urgency: int) -> int:
        """Returns how long a hotline takes to decide; one in forty is too late."""
        table = self._setting.table.default[urgency]
        luck = self._random.random()
        if luck > 0.975:  # noqa: PLR2004
            return int(milliseconds_of(table.pass_on_breach) * 1.4)
        return int(milliseconds_of(table.pass_on) * luck * 0.53)


def _may_repeat(intake: Intake, other: Intake) -> bool:
    """Whether a tip may end as the duplicate of another one."""
    needed, known = (mandated(item.urgency, item.age_group) for item in (intake, other))
    return other.number < intake.number and may_repeat(needed, known)
