"""Questions 5, 7 and 8: whether what is told can be believed, and was allowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from onward.core.audit.book import IntakeRecord
from onward.core.audit.chains import intake_chain
from onward.core.audit.facts import NONE, ReferralFacts, Remark
from onward.core.audit.questions.asking import GROUND, counted, parts, verdict
from onward.core.audit.questions.consents import (
    BEYOND,
    consents_of_transfers,
    transfers,
)
from onward.core.audit.questions.differences import differences
from onward.core.audit.scope import Scope, Sent
from onward.core.audit.sightings import milliseconds
from onward.core.audit.steps import INTAKES, STEPS, TIMING
from onward.core.audit.tables import (
    Answer,
    Bar,
    Cell,
    Chart,
    Count,
    Equation,
    Moment,
    Table,
)
from onward.core.audit.words import word
from onward.core.custody import State
from onward.core.timing import Interval, Source
from onward.core.verify.report import Verdict

_DELIVERY = (
    ("handed over", "handed_over"),
    ("received", "received"),
    ("read by a person", "acknowledged"),
    ("taken", "taken"),
    ("declined", "declined"),
    ("passed on to another", "transferred"),
    ("first outcome", "outcome"),
    ("closed", "closed"),
    ("retraction answered", "replied"),
)


def chain_of(scope: Scope, tip: str) -> Answer:
    """5. For one tip: the complete chain, each signature valid with the keys then.

    Args:
        scope: what the report is about.
        tip: ``hotline#number``, the hotline by its SPIFFE ID or the end of it; empty
            for none in particular.
    """
    record = find_tip(scope, tip) if tip else None
    rows = _bounded(scope, record) if record else []
    count = Count("chains", len(scope.intakes) + len(scope.referrals))
    proven = verdict(scope.audited, GROUND | {INTAKES}, holds=not tip or bool(record))
    if record is None:
        sentence = (
            "Each of {chains:chain|chains} was verified from its first statement to "
            "its last, each signature with the keys of that time. Name a tip with "
            "--tip to see its chain."
            if not tip
            else "The tip {tip} is not among those that were shown."
        )
        figures: dict[str, Cell] = {"chains": count, "tip": tip}
        return Answer(5, _QUESTION_5, proven, bool(tip), sentence, figures)
    return Answer(
        5,
        _QUESTION_5,
        proven,
        False,  # noqa: FBT003 - a chain calls for nobody's attention by itself
        "The chain of tip {tip} has {steps} steps, from its registration to where it "
        "stands.",
        {"tip": record.name, "steps": len(rows)},
        (
            Table(
                "chain",
                f"The chain of {record.name}",
                (
                    *("log entry", "time", "what", "by", "referral"),
                    *("not before", "not after", "who says so"),
                ),
                tuple(rows),
                single=True,
            ),
        ),
    )


def integrity(scope: Scope) -> Answer:
    """7. Is anything altered, removed, backdated, reordered or missing?"""
    audited = scope.audited
    found = Count("findings", sum(step.count for step in audited.steps))
    rows = tuple(
        (step.number, step.name, step.verdict.value, step.why) for step in audited.steps
    )
    findings = tuple(
        (finding.step, STEPS[finding.step], finding.subject, finding.why)
        for step in audited.steps
        for finding in step.findings
    )
    sources = audited.clock.sources(audited.places)
    counts = {source.value: sources[source] for source in Source}
    return Answer(
        7,
        "Was anything altered, removed, backdated, reordered or left out?",
        audited.verdict,
        audited.verdict is not Verdict.PROVEN,
        "{shown} of the log's {entries:entry was|entries were} shown, and judged in "
        f"{len(STEPS)} steps; {{findings:thing does|things do}} not hold. By when they "
        "existed is said by witnesses for {witnesses} of them, by timestamp "
        "authorities for {timestamps}, and by nobody but the exchange for {claims}.",
        {
            "shown": Count("log.all.shown", audited.shown),
            "entries": Count("log.all", audited.log_size),
            "findings": found,
            **{
                source.name.lower(): Count(f"source.{source.value}", sources[source])
                for source in Source
            },
        },
        (
            Table(
                "sources",
                "Who says by when the statements existed",
                ("source", "statements"),
                counted("source", counts, "log.all.shown"),
            ),
            Table("steps", "The steps", ("step", "name", "verdict", "why"), rows),
            Table(
                "findings",
                "What does not hold, one by one",
                ("step", "name", "about", "why"),
                findings,
                single=True,
            ),
        ),
        (),
        (Equation(Count("log.all.shown", audited.shown), parts("source", counts)),),
    )


def disclosures(scope: Scope) -> Answer:
    """8. Disclosures without a valid basis; were withdrawals honoured?"""
    baseless = [item for item in scope.referrals if not _valid(scope, item)]
    bases = Counter(word("DisclosureBasis", item.basis) for item in scope.referrals)
    rules = Counter(item.rule for item in scope.rejected)
    taken_back = [sent for sent in scope.sent if sent.referral.retracted != NONE]
    fates = Counter(_retraction(sent) for sent in taken_back)
    waiting = Count("retraction.waiting", fates["not answered yet"])
    differing = differences(scope)
    consents = consents_of_transfers(scope)
    standing = Counter(consents.values())
    strayed = [Count(f"transfer.{name}", standing[name]) for name in BEYOND]
    beyond = Count("transfers.beyond", sum(count.value for count in strayed))
    others = Count("differing", len({row[0] for row in differing.rows}))
    total = Count("disclosures", len(scope.referrals))
    retracted = Count("retracted", len(taken_back))
    return Answer(
        8,
        "Had every disclosure a valid basis, and were withdrawals honoured?",
        verdict(scope.audited, GROUND | {TIMING}, holds=not baseless),
        bool(baseless or waiting.value or others.value or beyond.value),
        "{disclosures:referral was|referrals were} accepted, each under a policy that "
        "the exchange had put in force, but for {baseless}; {differing:names|name} a "
        "slower class, or another state, than what is answered. Of "
        "{transfers:transfer|transfers} of what came by a person's consent, "
        "{beyond:goes|go} beyond it. {refused:was|were} refused by a rule. "
        "{retracted:delivery was|deliveries were} taken back; "
        "{waiting:of them waits|of them wait} for an answer.",
        {
            "disclosures": total,
            "baseless": Count("baseless", len(baseless)),
            "differing": others,
            "transfers": Count("transfers", len(consents)),
            "beyond": beyond,
            "refused": Count("refused", len(scope.rejected)),
            "retracted": retracted,
            "waiting": waiting,
        },
        (
            Table(
                "disclosures-by-basis",
                "Accepted, by basis",
                ("basis", "referrals"),
                counted("basis", bases, "disclosures"),
            ),
            Table(
                "refused-by-rule",
                "Refused, by rule",
                ("rule", "referrals"),
                counted("rule", rules, "refused"),
            ),
            Table(
                "retractions",
                "Taken back: what became of it",
                ("answer", "deliveries"),
                counted("retraction", fates, "retracted"),
            ),
            _referrals("baseless", "Judged by no policy in force", baseless, scope),
            differing,
            Table(
                "transfers-by-consent",
                "Transfers, by how they stand to the consent under which the tip came",
                ("verdict", "transfers"),
                counted("transfer", standing, "transfers"),
            ),
            transfers(scope, consents),
            _referrals("refused", "Refused, one by one", scope.rejected, scope),
        ),
        (
            Chart(
                "Accepted, by basis",
                tuple(
                    Bar(name, Count(f"basis.{name}", value))
                    for name, value in bases.most_common()
                ),
            ),
        ),
        (
            Equation(total, parts("basis", bases)),
            Equation(Count("refused", len(scope.rejected)), parts("rule", rules)),
            Equation(retracted, parts("retraction", fates)),
            Equation(Count("transfers", len(consents)), parts("transfer", standing)),
            Equation(beyond, tuple(strayed)),
        ),
    )


def find_tip(scope: Scope, tip: str) -> IntakeRecord | None:
    """Returns the intake of a name such as ``national-hotline#17``, if shown."""
    hotline, _, number = tip.rpartition("#")
    wanted = f"/{hotline}"
    for record in scope.audited.book.values():
        facts = record.facts
        named = facts.hotline == hotline or facts.hotline.endswith(wanted)
        if named and str(facts.number) == number:
            return record
    return None


_QUESTION_5 = "Is the chain of each tip complete, and signed with the keys of its time?"


def _bounded(scope: Scope, record: IntakeRecord) -> list[tuple[Cell, ...]]:
    """Returns the steps of a tip's chain with the closest bounds that are proven."""
    clock = scope.audited.clock
    rows = sorted(_chain(scope, record), key=lambda row: _place(row[0]))
    places = [_place(row[0]) for row in rows]
    clock.prove_closely(places)
    return [
        (*row, _moment(found.not_before), _moment(found.not_after), _who(found))
        for row, found in zip(rows, map(clock.interval, places), strict=True)
    ]


def _moment(time: datetime | None) -> Moment | None:
    return None if time is None else Moment(milliseconds(time))


def _who(found: Interval) -> str:
    """Returns who says by when a step was made."""
    return f"{found.source}: {found.by}" if found.by else found.source.value


def _chain(scope: Scope, record: IntakeRecord) -> Iterator[tuple[Cell, ...]]:
    """Yields the steps of a tip's chain: place, time, what, who, referral."""
    facts = record.facts
    yield facts.at, scope.when(facts.at), "registered", facts.hotline, ""
    for decision in facts.decisions:
        what = decision.kind
        if decision.kind == "withholding":
            what = f"withheld: {word('WithholdReason', decision.reason)}"
        if decision.kind == "link":
            other = decision.same_as_referral or intake_chain(
                facts.hotline, decision.same_as_number
            )
            what = f"a duplicate of {other}"
        what += " (refused)" if decision.rejected else ""
        yield decision.at, scope.when(decision.at), what, facts.hotline, ""
    yield from _remarks(scope, facts.remarks, "")
    names = list(record.referrals)
    while names:
        referral = scope.audited.referrals.get(names.pop())
        if referral is not None:
            yield from _referral_chain(scope, referral)
            names += [item.child_id for item in referral.passings]


def _referral_chain(
    scope: Scope, referral: ReferralFacts
) -> Iterator[tuple[Cell, ...]]:
    """Yields the steps of a referral's chain."""
    name, exchange = referral.referral_id, scope.audited.exchange
    whole = (
        ("published", referral.at, referral.publisher),
        ("accepted", referral.accepted, exchange),
        ("taken back", referral.retracted, referral.publisher),
        ("content erased", referral.erased, exchange),
    )
    for what, at, who in whole:
        if at != NONE:
            yield at, scope.when(at), what, who, name
    for delivery in referral.deliveries:
        for what, field in _DELIVERY:
            at = getattr(delivery, field)
            if at != NONE:
                who = exchange if field == "handed_over" else delivery.recipient
                yield at, scope.when(at), what, who, name
    yield from _remarks(scope, referral.remarks, name)


def _remarks(
    scope: Scope, remarks: Sequence[Remark], name: str
) -> Iterator[tuple[Cell, ...]]:
    """Yields warnings and breaches."""
    for remark in remarks:
        what = "breach" if remark.breach else "warning"
        yield remark.at, scope.when(remark.at), what, remark.holder, name


def _valid(scope: Scope, referral: ReferralFacts) -> bool:
    """Whether a referral was judged by the policy set in force at its place."""
    in_force = scope.audited.policies.in_force(referral.at)
    return bool(in_force) and referral.policy_digest == in_force


def _retraction(sent: Sent) -> str:
    """Returns what became of a delivery that was taken back."""
    state = sent.delivery.state
    if state == State.DELIVERY_STATE_CANCELLED:
        return "never went out"
    if sent.delivery.replied != NONE:
        return word("RetractionAction", sent.delivery.reply_action)
    return "not answered yet"


def _referrals(
    name: str,
    title: str,
    referrals: list[ReferralFacts] | tuple[ReferralFacts, ...],
    scope: Scope,
) -> Table:
    rows = tuple(
        (
            item.referral_id,
            scope.member(item.publisher),
            item.jurisdiction,
            word("Urgency", item.urgency),
            word("DisclosureBasis", item.basis),
            item.rule,
            item.policy_version,
            item.at,
        )
        for item in referrals
    )
    columns = (
        "referral",
        "publisher",
        "jurisdiction",
        "class",
        "basis",
        "rule",
        "policy",
        "log entry",
    )
    return Table(name, title, columns, rows, single=True)


def _place(cell: Cell) -> int:
    return cell if isinstance(cell, int) else NONE
