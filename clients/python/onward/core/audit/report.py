"""The report: all answers, and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

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
from onward.core.audit.sample import draw
from onward.core.audit.scope import Period, Scope
from onward.core.audit.tables import Answer, Table
from onward.core.verify.report import ExitCode, Verdict

_BY_WEIGHT: Final = (Verdict.NOT_PROVEN, Verdict.NOT_CHECKED, Verdict.PROVEN)


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
        sample: ids of the referrals drawn.
    """

    asked: Asked
    exchange: str
    auditor: str
    codes: tuple[str, ...]
    until_ms: int
    steps: tuple[AuditStep, ...]
    answers: tuple[Answer, ...]
    sample: tuple[str, ...] = ()

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
    names = (referral.referral_id for referral in scope.referrals)
    access = audited.access.statement.message.audit_access
    return AuditReport(
        asked,
        audited.exchange,
        access.auditor,
        tuple(sorted(audited.codes)),
        audited.clock.logged_after(audited.log_size),
        audited.steps,
        for_publication(answers) if asked.publish else answers,
        tuple(draw(names, asked.sample, asked.seed)),
    )


def with_sample(report: AuditReport, verdicts: Mapping[str, Verdict]) -> AuditReport:
    """Returns a report with what the bundles of its sample came to.

    Args:
        report: the report.
        verdicts: by referral; ``NOT_CHECKED`` where no bundle was fetched.
    """
    *others, last = report.answers
    rows = tuple((name, verdicts[name].value) for name in report.sample)
    title = (
        f"A sample of {len(rows)} referrals, drawn with the seed {report.asked.seed!r}"
    )
    table = Table("sample", title, ("referral", "bundle"), rows, single=True)
    found = {last.verdict, *verdicts.values()}
    worst = next(verdict for verdict in _BY_WEIGHT if verdict in found)
    answer = replace(last, tables=(*last.tables, table), verdict=worst)
    return replace(report, answers=(*others, answer))


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
        outcomes(scope),
    )
