"""What an audit comes to: a verdict for each step, and what questions are asked of."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from onward.core.audit.book import Book
from onward.core.audit.clock import Clock
from onward.core.audit.duties import Duty
from onward.core.audit.facts import Finding, ReferralFacts
from onward.core.audit.policies import Policies
from onward.core.audit.steps import STEPS
from onward.core.errors import OnwardError
from onward.core.verify.evidence import Entry
from onward.core.verify.report import ExitCode, Verdict
from onward.v1 import directory_pb2

MAX_FINDINGS: Final = 500
"""How many findings of one step are kept; all are counted."""


@dataclass(frozen=True, slots=True)
class AuditStep:
    """What one step came to.

    Attributes:
        number: which, of ``onward.core.audit.steps``.
        verdict: what it came to.
        why: for people.
        count: how many findings there are.
        findings: the first of them.
    """

    number: int
    verdict: Verdict
    why: str
    count: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        """The name of the step."""
        return STEPS[self.number]


@dataclass(frozen=True, slots=True)
class Audited:
    """An export, verified: what the questions are answered from.

    Attributes:
        exchange: SPIFFE ID of the exchange.
        access: the logged ``AuditAccess``.
        log_size: how many entries of the log were looked at.
        places: the indexes of those that were shown.
        steps: what each step came to.
        book: all intakes shown.
        referrals: all referrals shown, by their ids.
        duties: all steps that were due.
        clock: when everything was made and logged.
        policies: which policy was in force where.
        members: everybody's directory entries, as they were last.
    """

    exchange: str
    access: Entry
    log_size: int
    places: array[int]
    steps: tuple[AuditStep, ...]
    book: Book
    referrals: Mapping[str, ReferralFacts]
    duties: tuple[Duty, ...]
    clock: Clock
    policies: Policies
    members: Mapping[str, directory_pb2.Member]

    @property
    def shown(self) -> int:
        """How many entries were shown."""
        return len(self.places)

    @property
    def codes(self) -> frozenset[str]:
        """The jurisdictions of which statements were shown."""
        return frozenset(self.access.statement.message.audit_access.jurisdictions)

    @property
    def verdict(self) -> Verdict:
        """What all steps together came to."""
        verdicts = {step.verdict for step in self.steps}
        return Verdict.NOT_PROVEN if Verdict.NOT_PROVEN in verdicts else Verdict.PROVEN

    @property
    def exit_code(self) -> ExitCode:
        """What ``onward report`` ends with."""
        return ExitCode[self.verdict.name]

    def steps_of(self, numbers: Iterable[int]) -> list[AuditStep]:
        """Returns what some steps came to."""
        wanted = frozenset(numbers)
        return [step for step in self.steps if step.number in wanted]


@dataclass(slots=True)
class Findings:
    """Collects what does not hold, by the number of the step."""

    _counts: Counter[int] = field(default_factory=Counter)
    _kept: dict[int, list[Finding]] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        """Adds one."""
        self._counts[finding.step] += 1
        kept = self._kept.setdefault(finding.step, [])
        if len(kept) < MAX_FINDINGS:
            kept.append(finding)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Adds some."""
        for finding in findings:
            self.add(finding)

    @contextmanager
    def noting(self, step: int, subject: str) -> Iterator[None]:
        """Notes what is refused inside, so that the audit can go on."""
        try:
            yield
        except OnwardError as error:
            self.add(Finding(step, subject, error.message, error.reason_name))
        except (ValueError, OverflowError):
            why = "a value of the statement is out of its range"
            self.add(Finding(step, subject, why, "MALFORMED"))

    def conclude(
        self, proven: Mapping[int, str], skipped: Mapping[int, str]
    ) -> tuple[AuditStep, ...]:
        """Ends all steps.

        Args:
            proven: what each step shows where nothing was found.
            skipped: why a step could not be checked, where nothing was found.
        """
        return tuple(self._step(number, proven, skipped) for number in STEPS)

    def _step(
        self, number: int, proven: Mapping[int, str], skipped: Mapping[int, str]
    ) -> AuditStep:
        count, kept = self._counts[number], tuple(self._kept.get(number, ()))
        if kept:
            why = f"{kept[0].subject}: {kept[0].why}"
            return AuditStep(number, Verdict.NOT_PROVEN, why, count, kept)
        if number in skipped:
            return AuditStep(number, Verdict.NOT_CHECKED, skipped[number])
        return AuditStep(number, Verdict.PROVEN, proven[number])
