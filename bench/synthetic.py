"""A year of tips that never were: hotlines, agencies, and what became of each tip.

Everything follows from a seed. The proportions are those of a national hotline: most
tips are withheld for a stated reason, a tenth repeats another one, a quarter goes to an
agency; some are late, declined, passed on, taken back, or still open at the end.

It keeps the exchange's rules: who must have a tip gets it, and each missed deadline has
its warning and breach. The figures of the export are counted here, step by step, and
not by what is tested against them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from types import MappingProxyType
from typing import Final

from google.protobuf.duration_pb2 import Duration

from bench.scribe import DOMAIN, EXCHANGE, Said, Scribe, milliseconds, timestamp
from onward.core.due import Kind, Role
from onward.core.intakes import MINORS, mandated, may_repeat
from onward.v1 import directory_pb2, statement_pb2
from onward.v1 import vocabulary_pb2 as v
from onward_server.exchange.deadlines import Deadlines, DeadlineTable, parse_deadlines
from onward_server.exchange.policy_files import default_policy_folder

BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
DAYS: Final = 365

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

STATES: Final = ("US-FL", "US-OH", "US-TX", "US-GA", "US-NV")
_AGENCIES: Final = tuple(
    (f"{code[-2:].lower()}-state-police", v.MEMBER_KIND_LAW_ENFORCEMENT, code)
    for code in STATES
) + tuple(
    (f"{code[-2:].lower()}-child-welfare", v.MEMBER_KIND_CHILD_WELFARE, code)
    for code in STATES
)
_OTHERS: Final = (
    ("gulf-task-force", v.MEMBER_KIND_TASK_FORCE, "US"),
    ("shelter-network", v.MEMBER_KIND_SERVICE_PROVIDER, "US"),
    ("national-hotline", v.MEMBER_KIND_HOTLINE, "US"),
    ("florida-hotline", v.MEMBER_KIND_HOTLINE, "US-FL"),
)

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
_OUTCOMES: Final = (
    (v.OUTCOME_CODE_INVESTIGATION_OPENED, 30),
    (v.OUTCOME_CODE_WELFARE_CHECK_DONE, 20),
    (v.OUTCOME_CODE_UNFOUNDED, 20),
    (v.OUTCOME_CODE_INSUFFICIENT_TO_PROCEED, 20),
    (v.OUTCOME_CODE_VICTIM_LOCATED_SAFE, 10),
)
_ENDS: Final = (("withheld", 80), ("passed on", 11), ("duplicate", 8), ("open", 1))

Weights = Sequence[tuple[int, int]]


def agency(name: str) -> str:
    """Returns the SPIFFE ID of a member by its short name."""
    return f"spiffe://{DOMAIN}/agency/{name}"


@dataclass(slots=True)
class _Intake:
    """An intake, as it stands."""

    said: Said
    hotline: str
    number: int
    urgency: int
    age_group: int
    code: str
    received_ms: int
    test: bool
    state: int = v.INTAKE_STATE_OPEN
    decided: int = 0


@dataclass(slots=True)
class _Delivery:
    """A delivery, as it stands."""

    referral: Said
    accepted: Said
    recipient: str
    urgency: int
    places: tuple[str, ...]
    test: bool
    state: int = v.DELIVERY_STATE_ACCEPTED
    outcome: bool = False
    last: dict[str, Said] = field(default_factory=dict)


class Year:
    """Writes a year.

    Args:
        scribe: writes the log.
        intakes: how many tips there are.
        seed: decides everything.
    """

    def __init__(self, scribe: Scribe, intakes: int, seed: int) -> None:
        self.scribe = scribe
        self.intakes: Counter[tuple[str, int, int]] = Counter()
        self.deliveries: Counter[tuple[str, int, int]] = Counter()
        self.referrals = 0
        self._count = intakes
        self.random = Random(seed)  # noqa: S311 - a year that can be told again
        self._steps: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._numbers: Counter[str] = Counter()
        self._numbers_there: Counter[tuple[str, str]] = Counter()
        self._last: dict[str, Said] = {}
        self._decided: dict[str, list[_Intake]] = {}
        self._table = DeadlineTable(MappingProxyType({}), MappingProxyType({}))
        self._policy = b""

    def write(self) -> None:
        """Writes the log and the export's folder."""
        scribe = self.scribe
        scribe.found(_members())
        files = {
            item.name: item.read_bytes()
            for item in default_policy_folder().iterdir()
            if item.is_file()
        }
        self._table = parse_deadlines(files["deadlines.toml"].decode())
        self._policy = scribe.put_in_force(files)
        begin = milliseconds(BEGIN)
        for received in sorted(
            begin + self.random.randrange(DAYS * _DAY) for _ in range(self._count)
        ):
            self._at(received, self._arrival(received))
        end = begin + DAYS * _DAY
        while self._steps and self._steps[0][0] < end:
            scribe.now_ms, _, step = heapq.heappop(self._steps)
            step()
        scribe.now_ms = end
        scribe.close(self.intakes, self.deliveries)

    # --- intakes

    def _arrival(self, received_ms: int) -> Callable[[], None]:
        delay = self.random.randrange(20_000, 3 * _MINUTE)
        return lambda: self.after(delay, lambda: self._register(received_ms))

    def _register(self, received_ms: int) -> None:
        """A hotline registers a tip, and decides about it later."""
        pick = self.pick
        code = self.random.choices(STATES, (30, 20, 25, 15, 10))[0]
        own = code == "US-FL" and self.random.random() < 1 / 3
        hotline = agency("florida-hotline" if own else "national-hotline")
        urgency = pick(_URGENCIES)
        minor = urgency == v.URGENCY_MINOR
        age = v.AGE_GROUP_13_17 if minor else v.AGE_GROUP_ADULT
        self._numbers[hotline] += 1
        self._numbers_there[hotline, code] += 1
        number = self._numbers[hotline]
        test = self.random.random() < 1 / 200
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
        said = self.scribe.say(
            hotline,
            places=(code,),
            previous=before.digest if before else b"",
            intake=body,
        )
        self._last[hotline] = said
        intake = _Intake(said, hotline, number, urgency, age, code, received_ms, test)
        self._count_intake(intake, 1)
        self._watch_intake(intake)
        self.after(self._thinking(urgency), lambda: self._decide(intake, reporter))

    def _decide(self, intake: _Intake, reporter: int) -> None:
        """A hotline decides about a tip."""
        end = self._choose(_ENDS)
        must_go = bool(mandated(intake.urgency, intake.age_group))
        known = self._decided.setdefault(intake.hotline, [])
        earlier = [other for other in known[-50:] if _may_repeat(intake, other)]
        if end == "duplicate" and earlier and not intake.test:
            self._link(intake, self.random.choice(earlier))
        elif intake.test or (end == "withheld" and not must_go):
            self._withhold(intake, reporter)
        elif end != "open":
            self._pass_on(intake, reporter)
        if end != "duplicate" and not intake.test:
            known.append(intake)

    def _link(self, intake: _Intake, other: _Intake) -> None:
        body = statement_pb2.Link(
            intake_number=intake.number,
            same_as=other.said.digest,
            same_as_intake_number=other.number,
        )
        self._of_intake(intake, intake.hotline, link=body)
        self._move_intake(intake, v.INTAKE_STATE_DUPLICATE)

    def _withhold(self, intake: _Intake, reporter: int) -> None:
        """A hotline withholds a tip; what is provisional is decided again."""
        own = reporter == v.REPORTER_TYPE_POTENTIAL_VICTIM
        reason = self.pick(_VICTIMS_REASONS if own else _OTHER_REASONS)
        if intake.test:
            reason = v.WITHHOLD_REASON_TEST
        review = self.scribe.now_ms + 10 * _DAY if reason in _PROVISIONAL else 0
        bar = reason == v.WITHHOLD_REASON_LEGAL_BAR
        body = statement_pb2.Withholding(
            intake_number=intake.number,
            reason=v.WithholdReason.ValueType(reason),
            citation="42 CFR Part 2" if bar else "",
            approver_role="shift supervisor",
            review_time=timestamp(review) if review else None,
        )
        self._of_intake(intake, intake.hotline, withholding=body)
        self._move_intake(intake, v.INTAKE_STATE_WITHHELD)
        if not review:
            return
        decided = intake.decided
        half = self.scribe.now_ms + 5 * _DAY
        self._watch(
            half,
            review,
            lambda: intake.decided == decided,
            lambda kind: self._say_of_intake(intake, kind, review, review=True),
        )
        if self.random.random() < 0.97:  # noqa: PLR2004 - nearly all are in time
            later = self.random.randrange(_DAY, 9 * _DAY)
            self.after(later, lambda: self._again(intake, decided))

    def _again(self, intake: _Intake, decided: int) -> None:
        """A hotline decides again what it withheld provisionally."""
        if intake.decided != decided:
            return
        body = statement_pb2.Withholding(
            intake_number=intake.number,
            reason=v.WITHHOLD_REASON_NO_TRAFFICKING_INDICATORS,
            approver_role="shift supervisor",
        )
        self._of_intake(intake, intake.hotline, withholding=body)
        self._move_intake(intake, v.INTAKE_STATE_WITHHELD)

    def _watch_intake(self, intake: _Intake) -> None:
        """Has the exchange say when an intake is late."""
        times = self.deadlines(intake.urgency, intake.code)
        decided = intake.decided
        due = intake.received_ms + _span(times.pass_on_breach)
        warn = intake.received_ms + _span(times.pass_on) // 2
        self._watch(
            warn,
            due,
            lambda: intake.decided == decided,
            lambda kind: self._say_of_intake(intake, kind, due),
        )

    def _say_of_intake(
        self, intake: _Intake, kind: str, due_ms: int, *, review: bool = False
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
        body = _alarm(kind, due)
        self._of_intake(intake, EXCHANGE, **body)
        if review and kind == "breach":
            self._move_intake(intake, v.INTAKE_STATE_OPEN)
            times = self.deadlines(intake.urgency, intake.code)
            decided, now = intake.decided, self.scribe.now_ms
            again = now + _span(times.pass_on_breach)
            self._watch(
                now + _span(times.pass_on) // 2,
                again,
                lambda: intake.decided == decided,
                lambda kind: self._say_of_intake(intake, kind, again),
            )

    # --- referrals

    def _pass_on(self, intake: _Intake, reporter: int) -> None:
        """A hotline passes a tip on to all that must have it."""
        state = intake.code[-2:].lower()
        police = agency(f"{state}-state-police")
        welfare = agency(f"{state}-child-welfare")
        minor = intake.age_group in MINORS
        recipients = [police, welfare] if minor else [police]
        self.publish(intake.hotline, recipients, intake, reporter)
        self._move_intake(intake, v.INTAKE_STATE_PASSED_ON)

    def publish(
        self,
        publisher: str,
        recipients: Sequence[str],
        intake: _Intake,
        reporter: int,
        parent: Said | None = None,
    ) -> Said:
        """A referral is published, accepted, and goes its way."""
        now, code = self.scribe.now_ms, intake.code
        times = self.deadlines(intake.urgency, code)
        referral_id = self.scribe.new_id()
        own = reporter == v.REPORTER_TYPE_POTENTIAL_VICTIM
        links = [
            statement_pb2.ReferralLink(
                kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF,
                referral_id=item.id,
                referral_digest=item.digest,
            )
            for item in ([parent] if parent else [])
        ]
        body = statement_pb2.Referral(
            recipients=recipients,
            urgency=v.Urgency.ValueType(intake.urgency),
            urgency_reason="stated by the caller",
            jurisdiction=statement_pb2.Jurisdiction(code=code),
            basis=v.DISCLOSURE_BASIS_VICTIM_VERBAL_REQUEST
            if own
            else v.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
            consent=statement_pb2.Consent(
                state=v.CONSENT_STATE_GRANTED if own else v.CONSENT_STATE_NOT_REQUIRED
            ),
            reporter_type=v.ReporterType.ValueType(reporter),
            subject_age_group=v.AgeGroup.ValueType(intake.age_group),
            trafficking_type=v.TRAFFICKING_TYPE_SEX,
            channel=v.CHANNEL_CALL,
            tip_received_time=timestamp(intake.received_ms),
            content_digest=sha256(referral_id.encode()).digest(),
            content_size=2048,
            expire_time=timestamp(now + 180 * _DAY),
            links=links,
            intake_numbers=[] if parent else [intake.number],
            test=intake.test,
        )
        places = (code,)
        referral = self.scribe.say(
            publisher,
            places=places,
            id=referral_id,
            referral_id=referral_id,
            referral=body,
        )
        terms = [
            statement_pb2.DeliveryDeadlines(
                recipient=name,
                deliver_by_time=timestamp(now + _span(times.deliver)),
                acknowledge_within=_duration(_span(times.acknowledge)),
                outcome_within=_duration(_span(times.outcome))
                if times.outcome
                else None,
            )
            for name in recipients
        ]
        accepted = self.scribe.say(
            EXCHANGE,
            places=places,
            referral_id=referral_id,
            previous=referral.digest,
            acceptance=statement_pb2.Acceptance(
                policy_version="2026-11",
                policy_digest=self._policy,
                deadlines=terms,
            ),
        )
        self.referrals += 1
        for name in recipients:
            delivery = _Delivery(
                referral, accepted, name, intake.urgency, places, intake.test
            )
            self._count_delivery(delivery, 1)
            self.watch_delivery(
                delivery, Kind.DEADLINE_KIND_DELIVER, now, _span(times.deliver)
            )
            _Journey(self, delivery, intake, reporter, first=parent is None).begin()
        return referral

    def watch_delivery(
        self, delivery: _Delivery, kind: int, begin_ms: int, span_ms: int
    ) -> None:
        """Has the exchange say when a step of a delivery is late."""
        due_ms = begin_ms + span_ms

        def say(said: str) -> None:
            role, holder = _holder(delivery)
            due = statement_pb2.Due(
                kind=Kind.ValueType(kind),
                due_time=timestamp(due_ms),
                holder=holder,
                holder_role=role,
                recipient=delivery.recipient,
            )
            body = _alarm(said, due)
            self.of_referral(delivery, EXCHANGE, delivery.referral, **body)

        self._watch(begin_ms + span_ms // 2, due_ms, lambda: _open(delivery, kind), say)

    # --- saying, counting, waiting

    def _of_intake(self, intake: _Intake, issuer: str, **body: object) -> Said:
        """Logs a statement that answers an intake."""
        return self.scribe.say(
            issuer, places=(intake.code,), previous=intake.said.digest, **body
        )

    def of_referral(
        self, delivery: _Delivery, issuer: str, previous: Said, **body: object
    ) -> Said:
        """Logs a statement of a referral's chain."""
        return self.scribe.say(
            issuer,
            places=delivery.places,
            referral_id=delivery.referral.id,
            previous=previous.digest,
            **body,
        )

    def _move_intake(self, intake: _Intake, state: int) -> None:
        self._count_intake(intake, -1)
        intake.state = state
        intake.decided += 1
        self._count_intake(intake, 1)

    def move(self, delivery: _Delivery, state: int) -> None:
        """Moves a delivery, and keeps the figures."""
        self._count_delivery(delivery, -1)
        delivery.state = state
        self._count_delivery(delivery, 1)

    def _count_intake(self, intake: _Intake, change: int) -> None:
        if not intake.test:
            key = intake.hotline, intake.urgency, intake.state
            self.intakes[key] += change

    def _count_delivery(self, delivery: _Delivery, change: int) -> None:
        if not delivery.test:
            key = delivery.recipient, delivery.urgency, delivery.state
            self.deliveries[key] += change

    def _watch(
        self,
        warn_ms: int,
        due_ms: int,
        is_open: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        """Has the exchange warn of something, and say that its time is over."""

        def at(kind: str) -> Callable[[], None]:
            return lambda: say(kind) if is_open() else None

        self._at(max(warn_ms, self.scribe.now_ms + 1), at("warning"))
        self._at(max(due_ms, self.scribe.now_ms + 2), at("breach"))

    def after(self, span_ms: int, step: Callable[[], None]) -> None:
        """Has something happen later."""
        self._at(self.scribe.now_ms + max(span_ms, 1), step)

    def _at(self, ms: int, step: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._steps, (ms, self._order, step))

    def pick(self, weights: Weights) -> int:
        """Returns one of some values, by their weights."""
        values, parts = zip(*weights, strict=True)
        chosen: int = self.random.choices(values, parts)[0]
        return chosen

    def _choose(self, weights: Sequence[tuple[str, int]]) -> str:
        values, parts = zip(*weights, strict=True)
        chosen: str = self.random.choices(values, parts)[0]
        return chosen

    def _thinking(self, urgency: int) -> int:
        """Returns how long a hotline takes to decide; one in forty is too late."""
        table = self._table.default[urgency]
        luck = self.random.random()
        if luck > 0.975:  # noqa: PLR2004
            return int(_span(table.pass_on_breach) * 1.4)
        return int(_span(table.pass_on) * luck * 0.53)

    def deadlines(self, urgency: int, code: str) -> Deadlines:
        """Returns the deadlines of a class in a place."""
        return self._table.of(urgency, code)


class _Journey:
    """One delivery on its way: handed over, received, read, taken or declined, closed.

    Most are in time. Some find nobody at home, are read late or never, are declined, or
    have no outcome yet when the year ends.
    """

    def __init__(
        self,
        year: Year,
        delivery: _Delivery,
        intake: _Intake,
        reporter: int,
        *,
        first: bool,
    ) -> None:
        self.year = year
        self.delivery = delivery
        self.intake = intake
        self.reporter = reporter
        self.declines = first and year.random.random() < 0.03  # noqa: PLR2004
        self.times = year.deadlines(delivery.urgency, intake.code)

    def begin(self) -> None:
        """Sets out."""
        nobody = self.year.random.random() < 0.01  # noqa: PLR2004
        late = _span(self.times.deliver) * 3
        soon = self.year.random.randrange(3_000, 40_000)
        self.year.after(late if nobody else soon, self._handed_over)

    def _handed_over(self) -> None:
        body = statement_pb2.Handover(
            recipient=self.delivery.recipient,
            certificate_fingerprint=sha256(b"certificate").digest(),
            content_digest=_content(self.delivery),
        )
        self._say(EXCHANGE, self.delivery.accepted, handover=body)
        self.year.move(self.delivery, v.DELIVERY_STATE_HANDED_OVER)
        self.year.after(800, self._received)

    def _received(self) -> None:
        body = statement_pb2.Received(
            content_digest=_content(self.delivery), check=v.CONTENT_CHECK_VERIFIED
        )
        self._answer("handover", received=body)
        self.year.move(self.delivery, v.DELIVERY_STATE_RECEIVED)
        now, term = self.year.scribe.now_ms, _span(self.times.acknowledge)
        watch = self.year.watch_delivery
        watch(self.delivery, Kind.DEADLINE_KIND_ACKNOWLEDGE, now, term)
        if self.times.outcome:
            outcome = _span(self.times.outcome)
            watch(self.delivery, Kind.DEADLINE_KIND_OUTCOME, now, outcome)
        luck = self.year.random.random()
        if luck > 0.015:  # noqa: PLR2004
            self.year.after(int(term * luck * 0.55) + _MINUTE, self._acknowledged)
        elif luck > 0.005:  # noqa: PLR2004
            self.year.after(int(term * 1.5), self._acknowledged)

    def _acknowledged(self) -> None:
        body = statement_pb2.Acknowledgment(reader_role="watch officer")
        self._answer("received", acknowledgment=body)
        self.year.move(self.delivery, v.DELIVERY_STATE_ACKNOWLEDGED)
        then = self._declined if self.declines else self._taken
        self.year.after(5 * _MINUTE, then)

    def _declined(self) -> None:
        body = statement_pb2.Decline(
            reason=v.DECLINE_REASON_NOT_OUR_JURISDICTION,
            suggested_agency=agency("gulf-task-force"),
        )
        self._answer("acknowledgment", decline=body)
        self.year.move(self.delivery, v.DELIVERY_STATE_DECLINED)
        if self.year.random.random() < 0.7:  # noqa: PLR2004
            self.year.after(_HOUR, self._passed)

    def _passed(self) -> None:
        new = self.year.publish(
            self.delivery.recipient,
            [agency("gulf-task-force")],
            self.intake,
            self.reporter,
            self.delivery.referral,
        )
        body = statement_pb2.Transfer(child_referral_id=new.id, child_digest=new.digest)
        self._answer("decline", transfer=body)
        self.year.move(self.delivery, v.DELIVERY_STATE_TRANSFERRED)

    def _taken(self) -> None:
        self._answer("acknowledgment", taking=statement_pb2.Taking())
        self.year.move(self.delivery, v.DELIVERY_STATE_TAKEN)
        luck = self.year.random.random()
        term = _span(self.times.outcome) if self.times.outcome else 20 * _DAY
        if luck < 0.9:  # noqa: PLR2004
            self.year.after(int(term * (0.1 + luck * 0.6)), self._closed)
        elif luck < 0.95:  # noqa: PLR2004
            self.year.after(int(term * 1.2), self._closed)

    def _closed(self) -> None:
        code = self.year.pick(_OUTCOMES)
        body = statement_pb2.Outcome(code=v.OutcomeCode.ValueType(code), closes=True)
        self.delivery.outcome = True
        self._answer("taking", outcome=body)
        self.year.move(self.delivery, v.DELIVERY_STATE_CLOSED)

    def _answer(self, kind: str, **body: object) -> None:
        self._say(self.delivery.recipient, self.delivery.last[kind], **body)

    def _say(self, issuer: str, previous: Said, **body: object) -> None:
        """Logs a statement, and keeps it as the last of its kind."""
        (kind,) = body
        said = self.year.of_referral(self.delivery, issuer, previous, **body)
        self.delivery.last[kind] = said


def _members() -> Mapping[str, directory_pb2.Member]:
    roles = (v.ROLE_PUBLISHER, v.ROLE_RECIPIENT)
    members = {
        agency(name): directory_pb2.Member(
            name=agency(name),
            display_name=name.replace("-", " ").title(),
            kind=kind,
            roles=roles,
            jurisdictions=[code],
        )
        for name, kind, code in (*_AGENCIES, *_OTHERS)
    }
    for path, kind, role in (
        ("auditor/inspector-general", v.MEMBER_KIND_AUDITOR, v.ROLE_AUDITOR),
        ("operator/admin", v.MEMBER_KIND_OPERATOR, v.ROLE_OPERATOR),
    ):
        name = f"spiffe://{DOMAIN}/{path}"
        members[name] = directory_pb2.Member(name=name, kind=kind, roles=[role])
    return members


def _may_repeat(intake: _Intake, other: _Intake) -> bool:
    """Whether a tip may end as the duplicate of another one."""
    needed, known = (mandated(item.urgency, item.age_group) for item in (intake, other))
    return other.number < intake.number and may_repeat(needed, known)


def _alarm(kind: str, due: statement_pb2.Due) -> dict[str, object]:
    if kind == "breach":
        return {"breach": statement_pb2.Breach(due=due)}
    return {"warning": statement_pb2.Warning(due=due)}


def _holder(delivery: _Delivery) -> tuple[Role.ValueType, str]:
    if delivery.state == v.DELIVERY_STATE_ACCEPTED:
        return Role.HOLDER_ROLE_EXCHANGE, EXCHANGE
    return Role.HOLDER_ROLE_RECIPIENT, delivery.recipient


def _open(delivery: _Delivery, kind: int) -> bool:
    """Whether a step of a delivery is still to be made; told without the table."""
    state = delivery.state
    if kind == Kind.DEADLINE_KIND_DELIVER:
        return state in {v.DELIVERY_STATE_ACCEPTED, v.DELIVERY_STATE_HANDED_OVER}
    if kind == Kind.DEADLINE_KIND_ACKNOWLEDGE:
        return state == v.DELIVERY_STATE_RECEIVED
    return not delivery.outcome and state in {
        v.DELIVERY_STATE_RECEIVED,
        v.DELIVERY_STATE_ACKNOWLEDGED,
        v.DELIVERY_STATE_TAKEN,
    }


def _content(delivery: _Delivery) -> bytes:
    return delivery.referral.statement.message.referral.content_digest


def _span(span: timedelta) -> int:
    """Returns a length of time in milliseconds."""
    return span // timedelta(milliseconds=1)


def _duration(ms: int) -> Duration:
    return Duration(seconds=ms // 1000)
