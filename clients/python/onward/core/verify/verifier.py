"""The one list of what verification checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from onward.core.bundle import Bundle
from onward.core.custody import state_name
from onward.core.errors import OnwardError, Reason, VerificationError
from onward.core.timestamps import Authorities
from onward.core.timing import Interval, Judgement, Source, intervals
from onward.core.tlog_policy import Policy
from onward.core.verify.chains import (
    Chain,
    check_completeness,
    check_links,
    read_chains,
)
from onward.core.verify.deadlines import check_alarms, judge_deadlines
from onward.core.verify.deliveries import Delivery, follow_deliveries
from onward.core.verify.evidence import Evidence, Problem, read_evidence
from onward.core.verify.keys import check_signatures, read_keys
from onward.core.verify.log import (
    Trees,
    check_consistency,
    check_inclusion,
    check_quorum,
)
from onward.core.verify.report import (
    DeliveryReport,
    Report,
    StatementReport,
    Step,
    Verdict,
)
from onward.core.verify.shown import check_content, check_view

_WHOLE = "bundle"


def verify_bundle(data: bytes, trust: str, authorities: str = "") -> Report:
    """Judges a bundle offline.

    Each step goes on where the one before it failed, as far as it can, so that people
    see all that is wrong. What a bundle holds can make a step fail; it cannot make this
    function raise.

    1. Format: the JSON is a bundle, and every statement and receipt can be read.
    2. Keys: the log's first entry introduces the exchange's keys, and each later change
       of keys is signed by the exchange and names the change before it.
    3. Signatures: each statement is signed by the party that has this to say, with a
       key that it had at that place of the log and at the time that it claims.
    4. Inclusion: each statement is in the log, at its place.
    5. Consistency: every tree that a receipt or a statement names is a beginning of the
       bundle's checkpoint, which the log signed.
    6. Witnesses: the quorum of the trust file cosigned that checkpoint.
    7. Chain: each statement answers an earlier one that it may answer; a transfer and
       its child referral name each other.
    8. States: the transition table allows each statement where its delivery stood, and
       what a warning or breach names was due there.
    9. Timing: the timestamps of trusted authorities hold; no claimed time contradicts
       the order of the log, a witness or such a timestamp; a warning or breach names
       the time that was set, and no breach comes before it.
    10. Completeness: nothing is missing that the statements speak of.
    11. Content: if it is attached, it is the content that the referral signed.
    12. View: what people read in the bundle is what was signed.

    Args:
        data: the bundle.
        trust: the trust file, in the ``tlog-policy`` format.
        authorities: PEM, the certificates of trusted timestamp authorities; if empty,
            timestamps bound nothing.

    Returns:
        The report. Its exit code is 2 when the bundle, the trust file or these
        certificates cannot be read at all.
    """
    try:
        policy, trusted = Policy.parse(trust), Authorities.parse(authorities)
    except OnwardError as error:
        return _unreadable("trust file", error)
    try:
        bundle = Bundle.parse(data)
    except OnwardError as error:
        return _unreadable(_WHOLE, error)
    found = _Findings()

    # 1. Format
    evidence, problems = read_evidence(bundle)
    found.conclude(1, problems, f"{len(evidence.entries)} statements can be read")
    chains = read_chains(evidence.statements)
    trees = Trees.open(bundle, evidence.entries, policy)
    # 2. Keys
    keys, problems = read_keys(evidence.directory, trees.vkeys(policy))
    found.conclude(2, problems, f"{len(evidence.directory)} changes lead to the keys")
    # 3. Signatures
    problems = check_signatures(evidence.statements, chains, keys)
    found.conclude(3, problems, "each party signed, with a key of that time")
    # 4. Inclusion
    problems = check_inclusion(evidence.entries, trees)
    found.conclude(4, problems, "each statement is in the log, at its place")
    # 5. Consistency
    problems = check_consistency(bundle, evidence.entries, trees)
    found.conclude(5, problems, "the log only ever grew")
    # 6. Witnesses
    if policy.quorum is None:
        found.skip(6, "the trust file asks for no witness")
    else:
        problems = check_quorum(bundle, policy)
        found.conclude(6, problems, f"the quorum {policy.quorum} cosigned it")
    # 7. Chain
    found.conclude(7, check_links(chains), "each statement answers an earlier one")
    # 8. States
    deliveries, problems = follow_deliveries(chains)
    found.conclude(8, problems, "the table allows each step of each delivery")
    deliveries = [item for item in deliveries if not _hidden(item, bundle)]
    # 9. Timing
    stamped, problems = trees.stamped(evidence.stamps, trusted)
    seen = trees.witnessed() + stamped
    times = intervals(evidence.entries, keys.exchange, trees.origin, seen)
    reports = _report(deliveries, times, _until(evidence, keys.exchange, times))
    problems += _check_times(evidence, times) + check_alarms(deliveries, times)
    sources = {time.source for time in times.values()} or {Source.CLAIMS}
    why = f"{_vouched(sources)}; {_deadlines(reports)}{_unused(evidence, trusted)}"
    if problems or Source.CLAIMS not in sources:
        found.conclude(9, problems, why)
    else:
        found.skip(9, why)
    # 10. Completeness
    erasure = _erasure(chains)
    problems = check_completeness(bundle.referral_id, chains)
    found.conclude(10, problems, _ends(reports, bundle.recipient, erasure))
    # 11. Content
    if bundle.content is None:
        found.skip(11, erasure or "none is attached")
    else:
        problems = check_content(bundle, chains)
        found.conclude(11, problems, "it is the content that the referral signed")
    # 12. View
    found.conclude(12, check_view(bundle, evidence), "it shows what was signed")

    statements = _statements(evidence, times)
    return Report(tuple(found.steps), statements, reports, bool(erasure))


@dataclass(slots=True)
class _Findings:
    """Collects the findings, by the number of the step."""

    steps: list[Step] = field(default_factory=list)

    def conclude(self, number: int, problems: Sequence[Problem], proven: str) -> None:
        """Ends a step: as proven, or with each of its problems."""
        if not problems:
            self.steps.append(Step(number, _WHOLE, Verdict.PROVEN, proven))
        for problem in problems:
            self.steps.append(Step.refused(number, problem.subject, problem.error))

    def skip(self, number: int, why: str) -> None:
        """Ends a step that there is nothing to check with."""
        self.steps.append(Step(number, _WHOLE, Verdict.NOT_CHECKED, why))


def _unreadable(subject: str, error: OnwardError) -> Report:
    """Returns the report on what cannot be read at all."""
    step = Step.refused(1, subject, error)
    return Report((replace(step, verdict=Verdict.NOT_CHECKED),))


def _check_times(evidence: Evidence, times: Mapping[int, Interval]) -> list[Problem]:
    """Checks that no claimed time contradicts its bounds."""
    reason = Reason.ERROR_REASON_TIME_IMPLAUSIBLE
    return [
        Problem(entry.subject, VerificationError(reason, why))
        for entry in evidence.entries
        if (why := times[entry.index].contradiction())
    ]


def _vouched(sources: AbstractSet[Source]) -> str:
    """Returns who vouches for all of the upper bounds, for people."""
    return Source.CLAIMS if Source.CLAIMS in sources else ", ".join(sorted(sources))


def _unused(evidence: Evidence, authorities: Authorities) -> str:
    """Returns how many timestamps are by nobody trusted, for people; empty if none."""
    unused = sum(not authorities.know(stamp.token) for stamp in evidence.stamps)
    return f"; timestamps of authorities not trusted here: {unused}" if unused else ""


def _hidden(delivery: Delivery, bundle: Bundle) -> bool:
    """Says whether a bundle that was made for one recipient leaves a delivery out."""
    other = bundle.recipient not in {"", delivery.recipient}
    of_referral = delivery.chain.referral_id == bundle.referral_id
    return other and of_referral and not delivery.shown


def _until(
    evidence: Evidence, exchange: str, times: Mapping[int, Interval]
) -> datetime:
    """Returns the last time that the exchange claims: up to then the evidence goes.

    Where others had seen a statement before the time that it claims, up to when they
    had: an exchange whose clock is ahead must not make others late.
    """
    claims = (
        min(entry.claimed, times[entry.index].vouched or entry.claimed)
        for entry in evidence.entries
        if entry.issuer == exchange
    )
    return max(claims, default=datetime.fromtimestamp(0, UTC))


def _report(
    deliveries: Sequence[Delivery], times: Mapping[int, Interval], until: datetime
) -> tuple[DeliveryReport, ...]:
    """Returns where each delivery ended, and how its deadlines were kept."""
    return tuple(
        DeliveryReport(
            delivery.chain.referral_id,
            delivery.recipient,
            state_name(delivery.state),
            judge_deadlines(delivery, times, until),
        )
        for delivery in deliveries
    )


def _statements(
    evidence: Evidence, times: Mapping[int, Interval]
) -> tuple[StatementReport, ...]:
    """Returns the statements of the chains with their times, in the log's order."""
    return tuple(
        StatementReport(
            entry.referral_id,
            entry.index,
            entry.kind,
            entry.issuer,
            times[entry.index],
        )
        for entry in sorted(evidence.statements, key=lambda entry: entry.index)
    )


def _deadlines(reports: Sequence[DeliveryReport]) -> str:
    """Returns how many deadlines were kept how, such as ``deadlines: 2 met``."""
    deadlines = [item for report in reports for item in report.deadlines]
    counts = Counter(item.judgement for item in deadlines)
    listed = [f"{counts[judgement]} {judgement}" for judgement in Judgement]
    breaches = sum(item.breach is not None for item in deadlines)
    disputed = sum(item.disputed for item in deadlines)
    listed += [f"{breaches} breached in the log"] if breaches else []
    listed += [f"{disputed} disputed"] if disputed else []
    return f"deadlines: {', '.join(listed)}"


def _erasure(chains: Mapping[str, Chain]) -> str:
    """Returns whose content was erased, for people; empty if nobody's."""
    erased = [name for name, chain in chains.items() if chain.first("erasure")]
    if not erased:
        return ""
    whose = (
        "content" if len(erased) == len(chains) else f"content of {', '.join(erased)}"
    )
    return f"{whose} erased, timing intact"


def _ends(reports: Sequence[DeliveryReport], recipient: str, erasure: str) -> str:
    """Returns where each delivery ended, for people."""
    ends = [f"{item.recipient.rpartition('/')[2]} {item.state}" for item in reports]
    only = ["no other recipient's delivery is shown"] if recipient else []
    erased = [erasure] if erasure else []
    return "; ".join((ends or ["no delivery"]) + only + erased)
