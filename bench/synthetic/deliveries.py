"""What becomes of a delivery in a year of tips that never were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, TypeAlias

from bench.scribe import EXCHANGE, Said
from bench.synthetic.books import Delivery, Intake
from bench.synthetic.parties import agency
from bench.synthetic.setting import Setting
from bench.synthetic.timeline import DAY, HOUR, MINUTE, milliseconds_of
from onward.core.due import Kind
from onward.v1 import statement_pb2
from onward.v1 import vocabulary_pb2 as v

_OUTCOMES: Final = (
    (v.OUTCOME_CODE_INVESTIGATION_OPENED, 30),
    (v.OUTCOME_CODE_WELFARE_CHECK_DONE, 20),
    (v.OUTCOME_CODE_UNFOUNDED, 20),
    (v.OUTCOME_CODE_INSUFFICIENT_TO_PROCEED, 20),
    (v.OUTCOME_CODE_VICTIM_LOCATED_SAFE, 10),
)

Publish: TypeAlias = Callable[[str, Sequence[str], Intake, int, Said], Said]
"""Publishes the child of a referral: by whom, to whom, of what tip, who told it."""


class Journey:
    """One delivery on its way: handed over, received, read, taken or declined, closed.

    Most are in time. Some find nobody at home, are read late or never, are declined, or
    have no outcome yet when the year ends.

    Args:
        setting: where.
        delivery: which.
        intake: what the referral is about.
        reporter: who told the hotline.
        publish: publishes a child; None where it is not passed on a second time.
    """

    def __init__(
        self,
        setting: Setting,
        delivery: Delivery,
        intake: Intake,
        reporter: int,
        publish: Publish | None,
    ) -> None:
        self._setting = setting
        self._timeline = setting.timeline
        self._random = setting.timeline.random
        self._delivery = delivery
        self._intake = intake
        self._reporter = reporter
        self._publish = publish
        self._declines = publish is not None and self._random.random() < 0.03  # noqa: PLR2004
        self._times = setting.deadlines(delivery.urgency, intake.code)

    def begin(self) -> None:
        """Sets out."""
        nobody = self._random.random() < 0.01  # noqa: PLR2004
        late = milliseconds_of(self._times.deliver) * 3
        soon = self._random.randrange(3_000, 40_000)
        self._timeline.after(late if nobody else soon, self._handed_over)

    def _handed_over(self) -> None:
        body = statement_pb2.Handover(
            recipient=self._delivery.recipient,
            certificate_fingerprint=sha256(b"certificate").digest(),
            content_digest=self._delivery.content_digest,
        )
        self._say(EXCHANGE, self._delivery.accepted, handover=body)
        self._move(v.DELIVERY_STATE_HANDED_OVER)
        self._timeline.after(800, self._received)

    def _received(self) -> None:
        body = statement_pb2.Received(
            content_digest=self._delivery.content_digest,
            check=v.CONTENT_CHECK_VERIFIED,
        )
        self._answer("handover", received=body)
        self._move(v.DELIVERY_STATE_RECEIVED)
        watch, times = self._setting.watch_delivery, self._times
        watch(self._delivery, Kind.DEADLINE_KIND_ACKNOWLEDGE, times.acknowledge)
        if times.outcome:
            watch(self._delivery, Kind.DEADLINE_KIND_OUTCOME, times.outcome)
        term, luck = milliseconds_of(times.acknowledge), self._random.random()
        if luck > 0.015:  # noqa: PLR2004
            later = int(term * luck * 0.55) + MINUTE
            self._timeline.after(later, self._acknowledged)
        elif luck > 0.005:  # noqa: PLR2004
            self._timeline.after(int(term * 1.5), self._acknowledged)

    def _acknowledged(self) -> None:
        body = statement_pb2.Acknowledgment(reader_role="watch officer")
        self._answer("received", acknowledgment=body)
        self._move(v.DELIVERY_STATE_ACKNOWLEDGED)
        then = self._declined if self._declines else self._taken
        self._timeline.after(5 * MINUTE, then)

    def _declined(self) -> None:
        body = statement_pb2.Decline(
            reason=v.DECLINE_REASON_NOT_OUR_JURISDICTION,
            suggested_agency=agency("gulf-task-force"),
        )
        self._answer("acknowledgment", decline=body)
        self._move(v.DELIVERY_STATE_DECLINED)
        if self._random.random() < 0.7:  # noqa: PLR2004
            self._timeline.after(HOUR, self._passed)

    def _passed(self) -> None:
        if self._publish is None:
            return
        delivery = self._delivery
        to = [agency("gulf-task-force")]
        child = self._publish(
            delivery.recipient, to, self._intake, self._reporter, delivery.referral
        )
        body = statement_pb2.Transfer(
            child_referral_id=child.id, child_digest=child.digest
        )
        self._answer("decline", transfer=body)
        self._move(v.DELIVERY_STATE_TRANSFERRED)

    def _taken(self) -> None:
        self._answer("acknowledgment", taking=statement_pb2.Taking())
        self._move(v.DELIVERY_STATE_TAKEN)
        luck, outcome = self._random.random(), self._times.outcome
        term = milliseconds_of(outcome) if outcome else 20 * DAY
        if luck < 0.9:  # noqa: PLR2004
            self._timeline.after(int(term * (0.1 + luck * 0.6)), self._closed)
        elif luck < 0.95:  # noqa: PLR2004
            self._timeline.after(int(term * 1.2), self._closed)

    def _closed(self) -> None:
        code = self._timeline.pick(_OUTCOMES)
        self._delivery.outcome = True
        self._answer("taking", outcome=statement_pb2.Outcome(code=code, closes=True))
        self._move(v.DELIVERY_STATE_CLOSED)

    def _move(self, state: int) -> None:
        self._setting.books.move_delivery(self._delivery, state)

    def _answer(self, kind: str, **body: object) -> None:
        """Has the recipient answer the last statement of a kind."""
        self._say(self._delivery.recipient, self._delivery.last[kind], **body)

    def _say(self, issuer: str, previous: Said, **body: object) -> None:
        """Logs a statement, and keeps it as the last of its kind."""
        (kind,) = body
        books = self._setting.books
        said = books.say_of_delivery(self._delivery, issuer, previous, **body)
        self._delivery.last[kind] = said
