"""What hotlines state about tips that came in, and what becomes of that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from onward._values import Logged, Tip
from onward.core.bodies import check_body
from onward.core.errors import OnwardError
from onward.core.intakes import SALT_SIZE, commitment
from onward.v1 import intake_pb2, statement_pb2, vocabulary_pb2


@dataclass(frozen=True, slots=True)
class IntakeDraft:
    """What a hotline states about a tip that came in. No personal data.

    Attributes:
        urgency: the class of the tip: how fast it must move.
        channel: how it came in.
        reporter_type: who told it.
        subject_age_group: the age of the person concerned.
        trafficking_type: the kind of trafficking.
        jurisdiction: ISO 3166-2 code such as ``US-OH``, a country such as ``US`` where
            it names no part of it, or the whole message.
        received_time: when it came in, however late it is registered.
        urgency_reason: required for ``IMMINENT_DANGER`` and ``MINOR``.
        test: whether it is a test.
    """

    urgency: vocabulary_pb2.Urgency.ValueType
    channel: vocabulary_pb2.Channel.ValueType
    reporter_type: vocabulary_pb2.ReporterType.ValueType
    subject_age_group: vocabulary_pb2.AgeGroup.ValueType
    trafficking_type: vocabulary_pb2.TraffickingType.ValueType
    jurisdiction: str | statement_pb2.Jurisdiction
    received_time: datetime
    urgency_reason: str = ""
    test: bool = False

    @classmethod
    def of_tip(
        cls,
        tip: Tip,
        *,
        urgency: vocabulary_pb2.Urgency.ValueType,
        jurisdiction: str | statement_pb2.Jurisdiction,
        subject_age_group: vocabulary_pb2.AgeGroup.ValueType,
        urgency_reason: str = "",
    ) -> Self:
        """Returns the draft for a tip that is written down already."""
        return cls(
            urgency,
            tip.channel,
            tip.reporter_type,
            subject_age_group,
            tip.trafficking_type,
            jurisdiction,
            tip.received_time.ToDatetime(UTC),
            urgency_reason,
            tip.test,
        )

    def body(self) -> statement_pb2.Intake:
        """Returns the body, without numbers and commitment.

        Raises:
            MalformedError: it is not well-formed.
        """
        place = self.jurisdiction
        if isinstance(place, str):
            place = statement_pb2.Jurisdiction(code=place)
        body = statement_pb2.Intake(
            urgency=self.urgency,
            urgency_reason=self.urgency_reason,
            channel=self.channel,
            reporter_type=self.reporter_type,
            subject_age_group=self.subject_age_group,
            trafficking_type=self.trafficking_type,
            jurisdiction=place,
            test=self.test,
        )
        body.received_time.FromDatetime(self.received_time)
        numbered = statement_pb2.Statement(intake=body)
        numbered.intake.number = numbered.intake.number_in_jurisdiction = 1
        numbered.intake.content_commitment = commitment(bytes(SALT_SIZE), b"")
        check_body(numbered)
        return body


@dataclass(frozen=True, slots=True)
class Registered:
    """An intake that is in the log.

    Attributes:
        intake: the ``Intake`` with its receipt.
    """

    intake: Logged

    @property
    def number(self) -> int:
        """Its number in the hotline's book."""
        return self.intake.message.intake.number


@dataclass(frozen=True, slots=True)
class Queued:
    """An intake that is kept durably in the home, and not registered yet.

    Attributes:
        why: what kept it from being registered; None if nobody tried.
    """

    why: OnwardError | None = None


@dataclass(frozen=True, slots=True)
class IntakeDetail:
    """One intake of the hotline.

    Attributes:
        view: what the exchange says about it; its state and when it is due. A claim.
        statements: the statements about it, in the log's order. Proven.
    """

    view: intake_pb2.IntakeView
    statements: tuple[Logged, ...]

    @property
    def intake(self) -> Logged:
        """The ``Intake`` itself."""
        return self.statements[0]
