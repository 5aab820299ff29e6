"""Exports to judge: small stories told by hand, and written as an auditor keeps them.

The stories are honest by themselves. A test tells them otherwise, or changes the folder
afterwards.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from google.protobuf.duration_pb2 import Duration

from bench.scribe import EXCHANGE, Said, Scribe, milliseconds, timestamp
from bench.synthetic import agency
from onward._auditing import audit_folder
from onward._evidence import Folder
from onward.core.audit.report import Asked, AuditReport, make_report
from onward.core.audit.result import Audited
from onward.core.audit.scope import Period
from onward.v1 import directory_pb2, statement_pb2
from onward.v1 import vocabulary_pb2 as v
from onward_server.exchange.policy_files import default_policy_folder

BEGIN = milliseconds(datetime(2026, 3, 2, 8, 0, tzinfo=UTC))
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
YEAR = Period(BEGIN - 60 * DAY, BEGIN + 300 * DAY)

HOTLINE = agency("national-hotline")
POLICE = agency("oh-state-police")
WELFARE = agency("oh-child-welfare")
NEVADA = agency("nv-state-police")
SHELTER = agency("shelter-network")
MEMBERS = {
    HOTLINE: v.MEMBER_KIND_HOTLINE,
    POLICE: v.MEMBER_KIND_LAW_ENFORCEMENT,
    WELFARE: v.MEMBER_KIND_CHILD_WELFARE,
    NEVADA: v.MEMBER_KIND_LAW_ENFORCEMENT,
    SHELTER: v.MEMBER_KIND_SERVICE_PROVIDER,
}
CONTENT = sha256(b"content").digest()


@dataclass(slots=True)
class Story:
    """A log that a test writes, statement by statement; each takes a second.

    Attributes:
        scribe: writes it.
        policy: digest of the policy set.
        intakes: the exchange's own figures, which the test keeps.
        deliveries: as ``intakes``.
    """

    scribe: Scribe
    policy: bytes = b""
    intakes: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    deliveries: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    _last: dict[str, bytes] = field(default_factory=dict)
    _numbers: Counter[str] = field(default_factory=Counter)

    @classmethod
    def begun(
        cls,
        folder: Path,
        codes: Sequence[str] = ("*",),
        hides: Sequence[str] = (),
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> Story:
        """Returns a log with members, some with names for people, and a policy."""
        scribe = Scribe(Folder(folder), BEGIN - DAY, codes, frozenset(hides))
        story = cls(scribe)
        roles = (v.ROLE_PUBLISHER, v.ROLE_RECIPIENT)
        scribe.found(
            {
                name: directory_pb2.Member(
                    name=name, kind=kind, roles=roles, display_name=names.get(name, "")
                )
                for name, kind in MEMBERS.items()
            }
        )
        files = (item for item in default_policy_folder().iterdir() if item.is_file())
        story.policy = scribe.put_in_force({i.name: i.read_bytes() for i in files})
        scribe.now_ms = BEGIN
        return story

    @property
    def trust(self) -> str:
        """The trust file."""
        return self.scribe.trust()

    def wait(self, ms: int) -> None:
        """Lets time pass; the exchange goes on saying things."""
        self.scribe.now_ms += ms

    def awake(self) -> None:
        """Has the exchange say something that is about nobody."""
        body = statement_pb2.AuditAccess(auditor=EXCHANGE, method="ListChains")
        self.say(EXCHANGE, places=("*",), audit_access=body)

    def say(self, issuer: str, **fields: Any) -> Said:
        """Logs a statement."""
        self.scribe.now_ms += 1000
        return self.scribe.say(issuer, **fields)

    def register(
        self,
        number: int,
        code: str = "US-OH",
        urgency: int = v.URGENCY_ROUTINE,
        age: int = v.AGE_GROUP_ADULT,
        **changes: Any,
    ) -> Said:
        """Registers a tip that came in a minute ago."""
        self._numbers[code] += 1
        values: dict[str, Any] = {
            "number": number,
            "number_in_jurisdiction": self._numbers[code],
            "urgency": urgency,
            "urgency_reason": "stated",
            "channel": v.CHANNEL_CALL,
            "reporter_type": v.REPORTER_TYPE_COMMUNITY_MEMBER,
            "subject_age_group": age,
            "trafficking_type": v.TRAFFICKING_TYPE_LABOR,
            "jurisdiction": statement_pb2.Jurisdiction(code=code),
            "received_time": timestamp(self.scribe.now_ms - MINUTE),
            "content_commitment": bytes(32),
        }
        body = statement_pb2.Intake(**(values | changes))
        said = self.say(
            HOTLINE, places=(code,), previous=self._last.get(HOTLINE, b""), intake=body
        )
        self._last[HOTLINE] = said.digest
        if not body.test:
            self.intakes[HOTLINE, urgency, v.INTAKE_STATE_OPEN] += 1
        return said

    def decide(self, intake: Said, **body: Any) -> Said:
        """Logs what the hotline decides; the figures are the test's business."""
        code = intake.statement.message.intake.jurisdiction.code
        return self.say(HOTLINE, places=(code,), previous=intake.digest, **body)

    def withhold(self, intake: Said, **changes: Any) -> Said:
        """Withholds a tip."""
        values: dict[str, Any] = {
            "intake_number": intake.statement.message.intake.number,
            "reason": v.WITHHOLD_REASON_NO_TRAFFICKING_INDICATORS,
            "approver_role": "shift supervisor",
        }
        body = statement_pb2.Withholding(**(values | changes))
        self.moved(intake, v.INTAKE_STATE_WITHHELD)
        return self.decide(intake, withholding=body)

    def hold(self, intake: Said) -> Said:
        """A supervisor takes more time."""
        number = intake.statement.message.intake.number
        body = statement_pb2.Hold(
            intake_number=number, approver_role="shift supervisor", reason="asks back"
        )
        return self.decide(intake, hold=body)

    def change_policy(self, change: Callable[[str], str]) -> None:
        """Puts a policy set with other deadlines in force."""
        files = {
            item.name: item.read_bytes()
            for item in default_policy_folder().iterdir()
            if item.is_file()
        }
        text = files["deadlines.toml"].decode()
        files["deadlines.toml"] = change(text).encode()
        self.policy = self.scribe.put_in_force(files)

    def alarm(
        self, intake: Said, due_ms: int, kind: int = v.DEADLINE_KIND_PASS_ON
    ) -> Said:
        """The exchange says that an intake is late."""
        message = intake.statement.message
        due = statement_pb2.Due(
            kind=v.DeadlineKind.ValueType(kind),
            due_time=timestamp(due_ms),
            holder=HOTLINE,
            holder_role=v.HOLDER_ROLE_PUBLISHER,
            hotline=HOTLINE,
            intake_number=message.intake.number,
        )
        code = message.intake.jurisdiction.code
        body = statement_pb2.Breach(due=due)
        return self.say(EXCHANGE, places=(code,), previous=intake.digest, breach=body)

    def refer(
        self, *recipients: str, intake: Said | None = None, **changes: Any
    ) -> Referred:
        """Publishes a referral, which is accepted."""
        referral_id = self.scribe.new_id()
        asked = intake.statement.message.intake if intake else None
        urgency = asked.urgency if asked else v.URGENCY_ROUTINE
        code = asked.jurisdiction.code if asked else "US-OH"
        publisher = changes.pop("publisher", HOTLINE)
        values: dict[str, Any] = {
            "recipients": recipients or (POLICE,),
            "urgency": urgency,
            "urgency_reason": "stated",
            "jurisdiction": statement_pb2.Jurisdiction(code=code),
            "basis": v.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
            "reporter_type": v.REPORTER_TYPE_COMMUNITY_MEMBER,
            "subject_age_group": v.AGE_GROUP_ADULT,
            "trafficking_type": v.TRAFFICKING_TYPE_LABOR,
            "channel": v.CHANNEL_CALL,
            "tip_received_time": timestamp(self.scribe.now_ms - MINUTE),
            "content_digest": CONTENT,
            "content_size": 100,
            "expire_time": timestamp(self.scribe.now_ms + 30 * DAY),
            "intake_numbers": [asked.number] if asked else [],
        }
        body = statement_pb2.Referral(**(values | changes))
        referral = self.say(
            publisher,
            places=(code,),
            id=referral_id,
            referral_id=referral_id,
            referral=body,
        )
        terms = [
            statement_pb2.DeliveryDeadlines(
                recipient=name,
                deliver_by_time=timestamp(self.scribe.now_ms + 4 * HOUR),
                acknowledge_within=Duration(seconds=72 * 3600),
                outcome_within=Duration(seconds=30 * 86400),
            )
            for name in body.recipients
        ]
        acceptance = statement_pb2.Acceptance(
            policy_version="2026-11", policy_digest=self.policy, deadlines=terms
        )
        referred = Referred(self, referral, referral, code)
        referred.accepted = referred.answers(EXCHANGE, referral, acceptance=acceptance)
        for name in body.recipients:
            self.deliveries[name, urgency, v.DELIVERY_STATE_ACCEPTED] += 1
        if intake:
            self.moved(intake, v.INTAKE_STATE_PASSED_ON)
        return referred

    def moved(self, intake: Said, state: int) -> None:
        """Keeps the figures: an open intake is in another state now."""
        urgency = intake.statement.message.intake.urgency
        self.intakes[HOTLINE, urgency, v.INTAKE_STATE_OPEN] -= 1
        self.intakes[HOTLINE, urgency, state] += 1

    def reopened(self, intake: Said) -> None:
        """Keeps the figures: what passed an intake on was taken back unread."""
        urgency = intake.statement.message.intake.urgency
        self.intakes[HOTLINE, urgency, v.INTAKE_STATE_PASSED_ON] -= 1
        self.intakes[HOTLINE, urgency, v.INTAKE_STATE_OPEN] += 1

    def end(self) -> Folder:
        """Writes the export."""
        self.scribe.now_ms += 1000
        self.scribe.close(self.intakes, self.deliveries)
        return self.scribe.folder

    def judged(self, jurisdiction: str = "*", workers: int = 0) -> Audited:
        """Judges the folder as it is."""
        path = self.scribe.folder.path
        return audit_folder(path, self.trust, jurisdiction, lambda _: None, workers)

    def reported(self, **changes: Any) -> AuditReport:
        """Reports on the folder as it is."""
        asked = Asked(**({"jurisdiction": "US", "period": YEAR} | changes))
        return make_report(self.judged(), asked)


@dataclass(slots=True)
class Referred:
    """A referral in a story."""

    story: Story
    referral: Said
    accepted: Said
    code: str
    state: int = v.DELIVERY_STATE_ACCEPTED

    def answers(self, issuer: str, previous: Said, **fields: Any) -> Said:
        """Logs a statement of its chain."""
        return self.story.say(
            issuer,
            places=(self.code,),
            referral_id=self.referral.id,
            previous=previous.digest,
            **fields,
        )

    def hand_over(self, recipient: str = POLICE) -> Said:
        """The content goes out."""
        body = statement_pb2.Handover(
            recipient=recipient,
            certificate_fingerprint=bytes(32),
            content_digest=CONTENT,
        )
        self.moved(recipient, v.DELIVERY_STATE_HANDED_OVER)
        return self.answers(EXCHANGE, self.accepted, handover=body)

    def receive(self, recipient: str = POLICE) -> Said:
        """The content goes out, and the recipient's machine has it."""
        body = statement_pb2.Received(
            content_digest=CONTENT, check=v.CONTENT_CHECK_VERIFIED
        )
        handover = self.hand_over(recipient)
        self.moved(recipient, v.DELIVERY_STATE_RECEIVED)
        return self.answers(recipient, handover, received=body)

    def acknowledge(self, received: Said, **fields: Any) -> Said:
        """A person has read it."""
        body = statement_pb2.Acknowledgment(reader_role="watch officer")
        recipient = received.statement.message.issuer
        self.moved(recipient, v.DELIVERY_STATE_ACKNOWLEDGED)
        return self.answers(recipient, received, acknowledgment=body, **fields)

    def take_back(self, *recipients: str) -> Said:
        """The hotline takes it back before it went out to these recipients."""
        body = statement_pb2.Retraction(reason=v.RETRACTION_REASON_SENT_IN_ERROR)
        for name in recipients or (POLICE,):
            self.moved(name, v.DELIVERY_STATE_CANCELLED, v.DELIVERY_STATE_ACCEPTED)
        return self.answers(HOTLINE, self.referral, retraction=body)

    def erase(self, *recipients: str) -> Said:
        """Its time is over before it went out to these recipients."""
        body = statement_pb2.Erasure(
            content_digest=CONTENT, reason=v.ERASURE_REASON_RETENTION_ENDED
        )
        for name in recipients or (POLICE,):
            self.moved(name, v.DELIVERY_STATE_EXPIRED, v.DELIVERY_STATE_ACCEPTED)
        return self.answers(EXCHANGE, self.accepted, erasure=body)

    def breach(self, kind: int, due_ms: int, recipient: str = POLICE) -> Said:
        """The exchange says that the recipient is late."""
        due = statement_pb2.Due(
            kind=v.DeadlineKind.ValueType(kind),
            due_time=timestamp(due_ms),
            holder=recipient,
            holder_role=v.HOLDER_ROLE_RECIPIENT,
            recipient=recipient,
        )
        body = statement_pb2.Breach(due=due)
        return self.answers(EXCHANGE, self.referral, breach=body)

    def moved(self, recipient: str, state: int, before: int | None = None) -> None:
        """Keeps the figures."""
        urgency = self.referral.statement.message.referral.urgency
        was = self.state if before is None else before
        self.story.deliveries[recipient, urgency, was] -= 1
        self.story.deliveries[recipient, urgency, state] += 1
        self.state = state


def change_lines(
    folder: Folder, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> None:
    """Changes the statements that an auditor keeps."""
    lines = [json.loads(line) for line in folder.statements.read_text().splitlines()]
    text = "".join(json.dumps(line) + "\n" for line in change(lines))
    folder.statements.write_text(text)


def wrong(audited: Audited) -> set[str]:
    """Returns the names of the steps that are not proven."""
    return {step.name for step in audited.steps if step.verdict == "NOT_PROVEN"}


def whys(audited: Audited, name: str) -> list[str]:
    """Returns what a step found, with what it is about."""
    return [
        f"{finding.subject}: {finding.why}"
        for step in audited.steps
        if step.name == name
        for finding in step.findings
    ]
