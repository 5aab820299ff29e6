"""The report: all answers, and what they rest on."""

from __future__ import annotations

from dataclasses import dataclass

from onward.core.audit.publication import for_publication
from onward.core.audit.questions.intakes import (
    completeness,
    mandated,
    third_parties,
)
from onward.core.audit.questions.owners import outcomes, owners
from onward.core.audit.questions.proof import chain_of, disclosures, integrity
from onward.core.audit.questions.times import delivery_times, unread
from onward.core.audit.result import Audited, AuditStep
from onward.core.audit.scope import Period, Scope
from onward.core.audit.tables import Answer
from onward.core.verify.report import ExitCode, Verdict


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report is to be about.

    Attributes:
        jurisdiction: an ISO 3166-2 code; ``US`` for all its parts, ``*`` for all.
        period: when the tips came in.
        tip: a tip whose chain is shown: ``hotline#number``; empty for none.
        sample: how many referrals to draw.
        seed: of the draw.
        publish: leave out small numbers and single tips.
    """

    jurisdiction: str
    period: Period
    tip: str = ""
    sample: int = 0
    seed: str = ""
    publish: bool = False


@dataclass(frozen=True, slots=True)
class AuditReport:
    """An auditor's report.

    Attributes:
        asked: what it is about.
        exchange: SPIFFE ID of the exchange.
        auditor: SPIFFE ID of whom the statements were shown to.
        codes: the jurisdictions of which they were shown.
        until_ms: up to when the log was looked at, by the exchange's clock.
        steps: what verification came to.
        answers: to the ten questions, in their order.
    """

    asked: Asked
    exchange: str
    auditor: str
    codes: tuple[str, ...]
    until_ms: int
    steps: tuple[AuditStep, ...]
    answers: tuple[Answer, ...]

    @property
    def verdict(self) -> Verdict:
        """What it all comes to: what is not proven, is it nowhere."""
        verdicts = {step.verdict for step in self.steps}
        verdicts |= {answer.verdict for answer in self.answers}
        return Verdict.NOT_PROVEN if Verdict.NOT_PROVEN in verdicts else Verdict.PROVEN

    @property
    def exit_code(self) -> ExitCode:
        """What ``onward report`` ends with."""
        return ExitCode[self.verdict.name]


def make_report(audited: Audited, asked: Asked) -> AuditReport:
    """Answers the ten questions."""
    scope = Scope(audited, asked.jurisdiction, asked.period)
    answers = _answers(scope, asked)
    access = audited.access.statement.message.audit_access
    return AuditReport(
        asked,
        audited.exchange,
        access.auditor,
        tuple(sorted(audited.codes)),
        audited.clock.logged_after(audited.log_size),
        audited.steps,
        for_publication(answers) if asked.publish else answers,
    )


def _answers(scope: Scope, asked: Asked) -> tuple[Answer, ...]:
    """Returns the answers in their order."""
    return (
        completeness(scope),
        delivery_times(scope),
        third_parties(scope),
        mandated(scope),
        chain_of(scope, asked.tip),
        unread(scope),
        integrity(scope),
        disclosures(scope),
        owners(scope),
        outcomes(scope, asked.sample, asked.seed),
    )
