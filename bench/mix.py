"""What tips are like, and in which proportions: those of a national hotline.

Each tip has its own luck, which follows from the seed and the tip's place in the year.
So it does not matter in which order things happen, nor how many happen at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from bench.scribe import DOMAIN
from bench.stories import DAY, MINUTE, rounded
from bench.synthetic import STATES, agency
from onward.core.intakes import mandated
from onward.v1 import directory_pb2, statement_pb2
from onward.v1 import vocabulary_pb2 as v
from onward_server.exchange.clock import to_timestamp

T = TypeVar("T")

Weights = Sequence[tuple[T, int]]


def police(code: str) -> str:
    """Returns the short name of a state's police."""
    return f"{code[-2:].lower()}-state-police"


def welfare(code: str) -> str:
    """Returns the short name of a state's child welfare."""
    return f"{code[-2:].lower()}-child-welfare"


_TESTS: Final = 1 / 200
_OWN_HOTLINE: Final = 1 / 3
_MOST_MINUTES: Final = 3

URGENCIES: Final = (
    (v.URGENCY_IMMINENT_DANGER, 3),
    (v.URGENCY_MINOR, 11),
    (v.URGENCY_TIME_SENSITIVE, 20),
    (v.URGENCY_ROUTINE, 50),
    (v.URGENCY_INFORMATIONAL, 16),
)
AGES: Final = (
    (v.AGE_GROUP_ADULT, 78),
    (v.AGE_GROUP_UNKNOWN, 17),
    (v.AGE_GROUP_VULNERABLE_ADULT, 5),
)
MINORS_AGES: Final = (
    (v.AGE_GROUP_13_17, 60),
    (v.AGE_GROUP_SUSPECTED_MINOR, 22),
    (v.AGE_GROUP_UNDER_13, 13),
    (v.AGE_GROUP_MIXED, 5),
)
REPORTERS: Final = (
    (v.REPORTER_TYPE_POTENTIAL_VICTIM, 26),
    (v.REPORTER_TYPE_COMMUNITY_MEMBER, 28),
    (v.REPORTER_TYPE_FAMILY, 13),
    (v.REPORTER_TYPE_FRIEND, 6),
    (v.REPORTER_TYPE_INDUSTRY_WORKER, 4),
    (v.REPORTER_TYPE_MEDICAL, 5),
    (v.REPORTER_TYPE_EDUCATOR, 4),
    (v.REPORTER_TYPE_ANONYMOUS, 14),
)
CHANNELS: Final = (
    (v.CHANNEL_CALL, 62),
    (v.CHANNEL_TEXT, 14),
    (v.CHANNEL_WEB_FORM, 11),
    (v.CHANNEL_WEBCHAT, 8),
    (v.CHANNEL_EMAIL, 5),
)
TYPES: Final = (
    (v.TRAFFICKING_TYPE_SEX, 62),
    (v.TRAFFICKING_TYPE_LABOR, 18),
    (v.TRAFFICKING_TYPE_NOT_SPECIFIED, 14),
    (v.TRAFFICKING_TYPE_SEX_AND_LABOR, 6),
)
PLACES: Final = tuple(zip(STATES, (30, 20, 25, 15, 10), strict=True))

VICTIMS_REASONS: Final = (
    (v.WITHHOLD_REASON_VICTIM_DECLINED, 48),
    (v.WITHHOLD_REASON_SERVICE_ONLY, 38),
    (v.WITHHOLD_REASON_CONSENT_PENDING, 14),
)
OTHERS_REASONS: Final = (
    (v.WITHHOLD_REASON_NO_TRAFFICKING_INDICATORS, 52),
    (v.WITHHOLD_REASON_INSUFFICIENT_LOCATION, 20),
    (v.WITHHOLD_REASON_SPAM_OR_ABUSE, 16),
    (v.WITHHOLD_REASON_OUTSIDE_COUNTRY, 5),
    (v.WITHHOLD_REASON_SAFETY_RISK, 4),
    (v.WITHHOLD_REASON_LEGAL_BAR, 3),
)
DECLINES: Final = (
    (v.DECLINE_REASON_NOT_OUR_JURISDICTION, 70),
    (v.DECLINE_REASON_OUTSIDE_MANDATE, 20),
    (v.DECLINE_REASON_NO_CAPACITY, 10),
)
OUTCOMES: Final = (
    (v.OUTCOME_CODE_INVESTIGATION_OPENED, 28),
    (v.OUTCOME_CODE_WELFARE_CHECK_DONE, 20),
    (v.OUTCOME_CODE_UNFOUNDED, 18),
    (v.OUTCOME_CODE_INSUFFICIENT_TO_PROCEED, 18),
    (v.OUTCOME_CODE_VICTIM_LOCATED_SAFE, 8),
    (v.OUTCOME_CODE_LINKED_TO_EXISTING_CASE, 5),
    (v.OUTCOME_CODE_ARREST_MADE, 3),
)
REPLIES: Final = (
    (v.RETRACTION_ACTION_RESTRICTED, 60),
    (v.RETRACTION_ACTION_DESTROYED, 30),
    (v.RETRACTION_ACTION_RETAINED_LEGAL_DUTY, 10),
)

_AGENCIES: Final = (
    ("national-hotline", v.MEMBER_KIND_HOTLINE, "US"),
    ("florida-hotline", v.MEMBER_KIND_HOTLINE, "US-FL"),
    *((police(code), v.MEMBER_KIND_LAW_ENFORCEMENT, code) for code in STATES),
    *((welfare(code), v.MEMBER_KIND_CHILD_WELFARE, code) for code in STATES),
    ("gulf-task-force", v.MEMBER_KIND_TASK_FORCE, "US"),
    ("shelter-network", v.MEMBER_KIND_SERVICE_PROVIDER, "US"),
)

_PROMPT: Final = {v.URGENCY_IMMINENT_DANGER: MINUTE, v.URGENCY_MINOR: 5 * MINUTE}


def pick(luck: Random, weights: Weights[T]) -> T:
    """Returns one of some values, by their weights."""
    values, parts = zip(*weights, strict=True)
    chosen: T = luck.choices(values, parts)[0]
    return chosen


@dataclass(frozen=True, slots=True)
class Tip:
    """What a hotline was told, before it says anything about it.

    Attributes:
        serial: its place in the year.
        own: whether the state's own hotline was told, and not the national one.
        registered_ms: when the hotline registers it.
    """

    serial: int
    code: str
    own: bool
    urgency: v.Urgency.ValueType
    age_group: v.AgeGroup.ValueType
    reporter: v.ReporterType.ValueType
    channel: v.Channel.ValueType
    trafficking: v.TraffickingType.ValueType
    received_ms: int
    registered_ms: int
    test: bool

    @classmethod
    def draw(cls, luck: Random, serial: int, received_ms: int) -> Tip:
        """Returns a tip that came in at a time."""
        code, urgency = pick(luck, PLACES), pick(luck, URGENCIES)
        ages = MINORS_AGES if urgency == v.URGENCY_MINOR else AGES
        noted = received_ms + luck.randrange(20_000, _MOST_MINUTES * MINUTE)
        return cls(
            serial=serial,
            code=code,
            own=code == STATES[0] and luck.random() < _OWN_HOTLINE,
            urgency=urgency,
            age_group=pick(luck, ages),
            reporter=pick(luck, REPORTERS),
            channel=pick(luck, CHANNELS),
            trafficking=pick(luck, TYPES),
            received_ms=received_ms,
            registered_ms=rounded(noted, _PROMPT.get(urgency, 15 * MINUTE)),
            test=luck.random() < _TESTS,
        )

    @property
    def by_victim(self) -> bool:
        """Whether the person concerned reports it."""
        return self.reporter == v.REPORTER_TYPE_POTENTIAL_VICTIM

    @property
    def mandated(self) -> bool:
        """Whether authorities must have it, whoever consents."""
        return bool(mandated(self.urgency, self.age_group))

    @property
    def basis(self) -> v.DisclosureBasis.ValueType:
        """On what basis it goes to authorities."""
        if self.urgency == v.URGENCY_IMMINENT_DANGER:
            return v.DISCLOSURE_BASIS_IMMINENT_DANGER
        if self.mandated:
            return v.DISCLOSURE_BASIS_MANDATED_REPORT
        if self.by_victim:
            return v.DISCLOSURE_BASIS_VICTIM_VERBAL_REQUEST
        return v.DISCLOSURE_BASIS_THIRD_PARTY_TIP

    @property
    def described(self) -> dict[str, object]:
        """The fields that intakes and referrals have in common."""
        return {
            "urgency": self.urgency,
            "urgency_reason": "stated by the caller",
            "jurisdiction": statement_pb2.Jurisdiction(code=self.code),
            "reporter_type": self.reporter,
            "subject_age_group": self.age_group,
            "trafficking_type": self.trafficking,
            "channel": self.channel,
            "test": self.test,
        }

    def intake(self, number: int, number_there: int) -> statement_pb2.Intake:
        """Returns what the hotline says when it registers it."""
        return statement_pb2.Intake(
            number=number,
            number_in_jurisdiction=number_there,
            received_time=to_timestamp(self.received_ms),
            content_commitment=Random(self.serial).randbytes(32),  # noqa: S311
            **self.described,  # type: ignore[arg-type]
        )

    def referral(
        self,
        basis: v.DisclosureBasis.ValueType,
        consent: v.ConsentState.ValueType,
        kept_until_ms: int,
    ) -> statement_pb2.Referral:
        """Returns what passes it on; recipients and content are still missing."""
        return statement_pb2.Referral(
            basis=basis,
            consent=statement_pb2.Consent(state=consent),
            tip_received_time=to_timestamp(self.received_ms),
            expire_time=to_timestamp(kept_until_ms),
            **self.described,  # type: ignore[arg-type]
        )


def tips(luck: Random, count: int, begin_ms: int, days: int) -> Iterator[Tip]:
    """Yields the tips of a period, in the order in which they came in."""
    times = sorted(begin_ms + luck.randrange(days * DAY) for _ in range(count))
    for serial, received in enumerate(times):
        yield Tip.draw(luck, serial, received)


def members() -> Iterator[directory_pb2.Member]:
    """Yields the members: two hotlines and twelve agencies."""
    for name, kind, code in _AGENCIES:
        yield directory_pb2.Member(
            name=agency(name),
            display_name=name.replace("-", " ").title(),
            kind=kind,
            jurisdictions=[code],
        )


def auditor(name: str, code: str) -> directory_pb2.Member:
    """Returns an auditor of a jurisdiction."""
    return directory_pb2.Member(
        name=f"spiffe://{DOMAIN}/auditor/{name}",
        display_name=name.replace("-", " ").title(),
        kind=v.MEMBER_KIND_AUDITOR,
        jurisdictions=[code],
    )
