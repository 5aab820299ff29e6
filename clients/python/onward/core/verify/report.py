"""What verification found: a verdict for each numbered step, never a bare boolean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final

from onward.core.errors import OnwardError
from onward.core.timing import Deadline, Interval


class Verdict(StrEnum):
    """What a step came to."""

    PROVEN = "PROVEN"
    """What the step asks for holds."""
    NOT_PROVEN = "NOT_PROVEN"
    """It does not hold, or what would prove it is missing."""
    NOT_CHECKED = "NOT_CHECKED"
    """There is nothing to check it with; the reason says what is missing."""


class ExitCode(IntEnum):
    """What ``onward verify`` ends with."""

    PROVEN = 0
    NOT_PROVEN = 1
    NOT_CHECKED = 2


STEPS: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "format",
        2: "keys",
        3: "signatures",
        4: "inclusion",
        5: "consistency",
        6: "witnesses",
        7: "chain",
        8: "states",
        9: "timing",
        10: "completeness",
        11: "content",
        12: "view",
    }
)
"""The steps of verification by number."""


@dataclass(frozen=True, slots=True)
class Step:
    """One finding of verification.

    Attributes:
        number: which step, of :data:`STEPS`.
        subject: what it is about, such as ``statement 3 (handover)``.
        verdict: what it came to.
        why: for people.
        reason: for machines: the name of an ``ErrorReason`` where not proven.
    """

    number: int
    subject: str
    verdict: Verdict
    why: str
    reason: str = ""

    @property
    def name(self) -> str:
        """The name of the step."""
        return STEPS[self.number]

    @classmethod
    def refused(cls, number: int, subject: str, error: OnwardError) -> Step:
        """Returns that something does not hold, as an error says."""
        verdict = Verdict.NOT_PROVEN
        return cls(number, subject, verdict, error.message, error.reason_name)


@dataclass(frozen=True, slots=True)
class StatementReport:
    """One statement of the chain, and when it was made.

    Attributes:
        referral_id: the referral that it is about.
        log_index: its place in the log.
        kind: the name of its body, such as ``handover``.
        issuer: who signed it.
        interval: when it was made, as far as the evidence says.
    """

    referral_id: str
    log_index: int
    kind: str
    issuer: str
    interval: Interval


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """One delivery, and where it ended.

    Attributes:
        referral_id: the referral.
        recipient: SPIFFE ID of the recipient.
        state: name of the state that it ended in, such as ``TAKEN``.
        deadlines: how its deadlines were kept.
    """

    referral_id: str
    recipient: str
    state: str
    deadlines: tuple[Deadline, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The result of verifying one bundle.

    Attributes:
        steps: the findings, by number. A step that holds has one; a step that does not
            has one for each thing that is wrong.
        statements: the statements that could be read, in the log's order.
        deliveries: the deliveries that the statements make.
        erased: whether the exchange erased the content; the proofs are intact.
    """

    steps: tuple[Step, ...]
    statements: tuple[StatementReport, ...] = ()
    deliveries: tuple[DeliveryReport, ...] = ()
    erased: bool = False

    @property
    def verdict(self) -> Verdict:
        """The whole: not proven if any step is not; not checked if none could be."""
        return _sum(self.steps)

    @property
    def exit_code(self) -> ExitCode:
        """What a program should end with: 0 proven, 1 not proven, 2 not checked."""
        return ExitCode[self.verdict.name]

    @property
    def reason(self) -> str:
        """The ``ErrorReason`` of the first thing that is not proven, or empty."""
        return next((step.reason for step in self.steps if step.reason), "")

    def summary(self) -> tuple[Step, ...]:
        """Returns one finding for each number, the first that is not proven if any."""
        return tuple(
            _worst([step for step in self.steps if step.number == number])
            for number in dict.fromkeys(step.number for step in self.steps)
        )

    def to_dict(self) -> dict[str, object]:
        """Returns the report as plain values for JSON; times are RFC 3339, UTC."""
        return {
            "verdict": self.verdict,
            "exit_code": int(self.exit_code),
            "erased": self.erased,
            "steps": [
                {
                    "step": step.number,
                    "name": step.name,
                    "subject": step.subject,
                    "verdict": step.verdict,
                    "why": step.why,
                    "reason": step.reason,
                }
                for step in self.steps
            ],
            "statements": [
                {
                    "referral_id": statement.referral_id,
                    "log_index": statement.log_index,
                    "kind": statement.kind,
                    "issuer": statement.issuer,
                    **statement.interval.to_dict(),
                }
                for statement in self.statements
            ],
            "deliveries": [
                {
                    "referral_id": delivery.referral_id,
                    "recipient": delivery.recipient,
                    "state": delivery.state,
                    "deadlines": [item.to_dict() for item in delivery.deadlines],
                }
                for delivery in self.deliveries
            ],
        }


def _sum(steps: tuple[Step, ...]) -> Verdict:
    verdicts = {step.verdict for step in steps}
    order = (Verdict.NOT_PROVEN, Verdict.PROVEN)
    return next((v for v in order if v in verdicts), Verdict.NOT_CHECKED)


def _worst(steps: list[Step]) -> Step:
    bad = (step for step in steps if step.verdict is Verdict.NOT_PROVEN)
    return next(bad, steps[0])
