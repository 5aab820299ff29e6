"""Publishing in a year of tips that never were."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from bench.scribe import EXCHANGE, Said, timestamp
from bench.synthetic.books import Delivery, Intake
from bench.synthetic.deliveries import Journey
from bench.synthetic.setting import Setting
from bench.synthetic.timeline import DAY, duration, milliseconds_of
from onward.core.due import Kind
from onward.v1 import statement_pb2
from onward.v1 import vocabulary_pb2 as v
from onward_server.exchange.deadlines import Deadlines

_RETENTION: int = 180 * DAY
_CONTENT_SIZE: int = 2048


class Referrals:
    """Publishes, and sends each delivery on its way.

    Attributes:
        count: how many were published.
    """

    def __init__(self, setting: Setting) -> None:
        self.count = 0
        self._setting = setting

    def publish(
        self,
        publisher: str,
        recipients: Sequence[str],
        intake: Intake,
        reporter: int,
        parent: Said | None = None,
    ) -> Said:
        """A referral is published, accepted, and goes its way."""
        setting = self._setting
        times = setting.deadlines(intake.urgency, intake.code)
        places, referral_id = (intake.code,), setting.scribe.new_id()
        referral = setting.scribe.say(
            publisher,
            places=places,
            id=referral_id,
            referral_id=referral_id,
            referral=self._body(referral_id, recipients, intake, reporter, parent),
        )
        accepted = setting.scribe.say(
            EXCHANGE,
            places=places,
            referral_id=referral_id,
            previous=referral.digest,
            acceptance=self._acceptance(recipients, times),
        )
        self.count += 1
        for name in recipients:
            delivery = Delivery(
                referral, accepted, name, intake.urgency, places, intake.test
            )
            setting.books.add_delivery(delivery)
            deliver = Kind.DEADLINE_KIND_DELIVER
            setting.watch_delivery(delivery, deliver, times.deliver)
            passes_on = None if parent else self.publish
            Journey(setting, delivery, intake, reporter, passes_on).begin()
        return referral

    def _body(
        self,
        referral_id: str,
        recipients: Sequence[str],
        intake: Intake,
        reporter: int,
        parent: Said | None,
    ) -> statement_pb2.Referral:
        """Returns what the publisher says."""
        own = reporter == v.REPORTER_TYPE_POTENTIAL_VICTIM
        return statement_pb2.Referral(
            recipients=recipients,
            urgency=v.Urgency.ValueType(intake.urgency),
            urgency_reason="stated by the caller",
            jurisdiction=statement_pb2.Jurisdiction(code=intake.code),
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
            content_size=_CONTENT_SIZE,
            expire_time=timestamp(self._setting.timeline.now_ms + _RETENTION),
            links=[_transfer_of(parent)] if parent else [],
            intake_numbers=[] if parent else [intake.number],
            test=intake.test,
        )

    def _acceptance(
        self, recipients: Sequence[str], times: Deadlines
    ) -> statement_pb2.Acceptance:
        """Returns what the exchange says."""
        deliver_by = self._setting.timeline.now_ms + milliseconds_of(times.deliver)
        return statement_pb2.Acceptance(
            policy_version="2026-11",
            policy_digest=self._setting.policy,
            deadlines=[
                statement_pb2.DeliveryDeadlines(
                    recipient=name,
                    deliver_by_time=timestamp(deliver_by),
                    acknowledge_within=duration(times.acknowledge),
                    outcome_within=duration(times.outcome) if times.outcome else None,
                )
                for name in recipients
            ],
        )


def _transfer_of(parent: Said) -> statement_pb2.ReferralLink:
    """Returns the link of a child to the referral that it was transferred from."""
    return statement_pb2.ReferralLink(
        kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF,
        referral_id=parent.id,
        referral_digest=parent.digest,
    )
