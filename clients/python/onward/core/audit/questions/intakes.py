"""Questions 1, 3 and 4: what became of the tips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from onward.core.audit.book import IntakeRecord
from onward.core.audit.duplicates import reached_by_other
from onward.core.audit.duties import pass_on_by
from onward.core.audit.facts import NONE
from onward.core.audit.questions.asking import (
    BOOKS,
    chart_of,
    counted,
    parts,
    verdict,
)
from onward.core.audit.questions.kept import SENTENCE, KeptDeadlines
from onward.core.audit.scope import Scope
from onward.core.audit.steps import DEADLINES, FIGURES
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
from onward.core.audit.words import URGENCIES, word
from onward.core.due import Kind
from onward.core.intakes import MINORS, Reach, State, may_repeat
from onward.v1 import vocabulary_pb2

# Looked at for each of very many tips.
_OPEN: Final = State.INTAKE_STATE_OPEN
_PASSED_ON: Final = State.INTAKE_STATE_PASSED_ON
_WITHHELD: Final = State.INTAKE_STATE_WITHHELD
_DUPLICATE: Final = State.INTAKE_STATE_DUPLICATE
_REVIEW: Final = Kind.DEADLINE_KIND_REVIEW

_STATES: Final = (
    (_PASSED_ON, "passed_on"),
    (_WITHHELD, "withheld"),
    (_DUPLICATE, "duplicates"),
    (_OPEN, "open"),
)
_SUM: Final = ("received", *(name for _, name in _STATES))

_OTHER_FATES: Final = {
    int(_WITHHELD): "withheld",
    int(_DUPLICATE): "duplicates of others",
}

_VICTIM: Final = vocabulary_pb2.REPORTER_TYPE_POTENTIAL_VICTIM
_OF_CONSENT: Final = frozenset(
    {
        vocabulary_pb2.WITHHOLD_REASON_VICTIM_DECLINED,
        vocabulary_pb2.WITHHOLD_REASON_CONSENT_PENDING,
        vocabulary_pb2.WITHHOLD_REASON_CONSENT_WITHDRAWN,
        vocabulary_pb2.WITHHOLD_REASON_CONSENT_EXPIRED,
    }
)
_POLICE: Final = "law enforcement"
_OTHERS: Final = "others only"
_NOBODY: Final = "nobody"

_AGAIN: Final = 3
"""Withholdings of one tip from which on it is listed."""
_LONG_MS: Final = 180 * 86_400_000
"""The same for how long a tip waited for reviews, in all."""

_LATE: Final = "sent, but late"
_IN_TIME: Final = "sent in time"
_TAKEN_BACK: Final = "taken back before receipt"
_TAKEN_BACK_TITLE: Final = "Passed on, and taken back or erased before it was received"
_MISSED: Final = frozenset({_LATE, _TAKEN_BACK, "withheld", "open"})


def completeness(scope: Scope) -> Answer:
    """1. Received, passed on, withheld, duplicates, still open: do they sum?"""
    sums = _sums("sum", scope.intakes)
    totals = dict(zip(_SUM, sums, strict=True))
    hotlines = sorted({record.facts.hotline for record in scope.intakes})
    rows: list[tuple[Cell, ...]] = []
    equations = [Equation(sums[0], tuple(sums[1:]))]
    columns: list[list[Count]] = [[] for _ in _SUM]
    for hotline in hotlines:
        own = [item for item in scope.intakes if item.facts.hotline == hotline]
        counts = _sums(f"sum.{hotline}", own)
        rows.append((scope.member(hotline), *counts))
        equations.append(Equation(counts[0], tuple(counts[1:])))
        for column, count in zip(columns, counts, strict=True):
            column.append(count)
    rows.append(("all", *sums))
    equations += [
        Equation(total, tuple(column))
        for total, column in zip(sums, columns, strict=True)
        if column
    ]
    taken_back = [record for record in scope.intakes if record.taken_back]
    served = [r for r in _of(scope, _WITHHELD) if r.kept & Reach.OTHERS]
    again = [record for record in scope.intakes if _again(scope, record)]
    begin, end = (scope.audited.clock.place(ms) for ms in scope.period)
    end = min(end, scope.audited.log_size)
    figures: dict[str, Cell] = {
        **totals,
        "taken_back": Count("taken.back", len(taken_back)),
        "served": Count("withheld.served", len(served)),
        "again": Count("withheld.again", len(again)),
        "loose": Count("loose", len(scope.loose)),
        "tests": Count("tests", len(scope.tests)),
        "entries_gained": Count("log.gained", max(end - begin, 0)),
        "entries_shown": Count("log.shown", scope.audited.clock.count(begin, end)),
    }
    reasons, reasons_chart, reasons_sum = withheld_reasons(scope)
    holds = sums[0].value == sum(count.value for count in sums[1:])
    return Answer(
        1,
        "What became of every tip that was received?",
        verdict(scope.audited, BOOKS | {FIGURES}, holds=holds),
        bool(scope.loose or taken_back or again),
        "{received:tip was|tips were} received: {passed_on:was|were} passed on, "
        "{withheld:was|were} withheld for a stated reason, {duplicates:was a "
        "duplicate|were duplicates}, and {open:is|are} still open. Of those passed "
        "on or open, {taken_back:was|were} taken back, or had the content erased, "
        "before that was received. For {served} of the withheld, services were "
        "arranged. {again:tip was|tips were} withheld again and again. In this time "
        "the log gained {entries_gained:entry|entries}, of which "
        "{entries_shown:was|were} shown.",
        figures,
        (
            Table("sum", "By hotline", ("hotline", *map(_title, _SUM)), tuple(rows)),
            reasons,
            _list("open", "Tips still open", _of(scope, _OPEN), scope),
            _list("taken-back", _TAKEN_BACK_TITLE, taken_back, scope),
            _list("withheld-again", "Withheld again and again", again, scope),
            _list("intakes", "All tips", scope.intakes, scope),
            _loose(scope),
            _list("tests", "Tests, which count nowhere", scope.tests, scope),
        ),
        (
            Chart(
                "What became of the tips",
                tuple(
                    Bar(_title(name), count)
                    for name, count in zip(_SUM[1:], sums[1:], strict=True)
                ),
            ),
            reasons_chart,
        ),
        (*equations, reasons_sum),
    )


def third_parties(scope: Scope) -> Answer:
    """3. Third-party tips about adults that were not passed on."""
    told = [
        record
        for record in scope.intakes
        if record.facts.reporter != _VICTIM and record.facts.age_group not in MINORS
    ]
    withheld = [r for r in told if r.state == _WITHHELD]
    reached = Counter(_whom(record) for record in told)
    reasons = Counter(_reason(record) for record in withheld)
    roles = Counter(_role(record) for record in withheld)
    asked = [
        r for r in withheld if r.withholding and r.withholding.reason in _OF_CONSENT
    ]
    sums = _sums("third", told)
    figures: dict[str, Cell] = {
        **dict(zip(_SUM, sums, strict=True)),
        "consent": Count("third.consent", len(asked)),
        "law_enforcement": Count(f"third.reached.{_POLICE}", reached[_POLICE]),
        "others_only": Count(f"third.reached.{_OTHERS}", reached[_OTHERS]),
        "nobody": Count(f"third.reached.{_NOBODY}", reached[_NOBODY]),
    }
    return Answer(
        3,
        "Which tips by third parties about adults were not passed on, and why?",
        verdict(scope.audited, BOOKS),
        bool(asked),
        "Of {received:tip|tips} by third parties about adults, {law_enforcement} went "
        "to law enforcement, {others_only} to others only, and {nobody} to nobody. "
        "{withheld:was|were} withheld; {consent:of them rests|of them rest} on the "
        "consent of the person concerned, which a third party's tip does not need.",
        figures,
        (
            Table(
                "third-party-reached",
                "By whom they went to",
                ("went to", "tips"),
                counted("third.reached", reached, "third.received"),
            ),
            Table(
                "third-party-reasons",
                "Withheld, by reason",
                ("reason", "tips"),
                counted("third.reason", reasons, "third.withheld"),
            ),
            Table(
                "third-party-approvers",
                "Withheld, by the approver's role",
                ("role", "tips"),
                counted("third.role", roles, "third.withheld"),
            ),
            _list("third-party-withheld", "Withheld, one by one", withheld, scope),
        ),
        (chart_of("Withheld, by reason", "third.reason", reasons),),
        (
            Equation(sums[0], tuple(sums[1:])),
            Equation(sums[0], parts("third.reached", reached)),
            Equation(sums[2], parts("third.reason", reasons)),
            Equation(sums[2], parts("third.role", roles)),
        ),
    )


def withheld_reasons(scope: Scope) -> tuple[Table, Chart, Equation]:
    """Returns why tips were withheld, of all kinds."""
    withheld = _of(scope, _WITHHELD)
    reasons = Counter(_reason(record) for record in withheld)
    table = Table(
        "withheld-reasons",
        "All tips withheld, by reason",
        ("reason", "tips"),
        counted("reason", reasons, "sum.withheld"),
    )
    total = Count("sum.withheld", len(withheld))
    chart = chart_of("All tips withheld, by reason", "reason", reasons)
    return table, chart, Equation(total, parts("reason", reasons))


def mandated(scope: Scope) -> Answer:
    """4. Was every minor or imminent tip sent to whom it had to go, in time?"""
    needed = [record for record in scope.intakes if record.needed]
    fate = _fate_of(scope)
    fates = Counter(fate(record) for record in needed)
    names = (_IN_TIME, _LATE, _TAKEN_BACK, "duplicates of others", "withheld", "open")
    counts = {name: Count(f"mandated.{name}", fates[name]) for name in names}
    total = Count("mandated", len(needed))
    rows: list[tuple[Cell, ...]] = []
    equations = [Equation(total, tuple(counts.values()))]
    for urgency in URGENCIES:
        own = Counter(fate(r) for r in needed if r.facts.urgency == urgency)
        label = word("Urgency", urgency)
        cells = [Count(f"mandated.{label}.{name}", own[name]) for name in names]
        whole = Count(f"mandated.{label}", sum(own.values()))
        if whole.value:
            rows.append((label, whole, *cells))
            equations.append(Equation(whole, tuple(cells)))
    whole_row = (total, *counts.values())
    equations += [
        Equation(
            whole, tuple(cell for row in rows if isinstance(cell := row[at], Count))
        )
        for at, whole in enumerate(whole_row, start=1)
        if rows
    ]
    rows.append(("all", *whole_row))
    missed = [record for record in needed if fate(record) in _MISSED]
    names_of = {record.name for record in needed}
    kept = KeptDeadlines(
        "mandated.kept",
        [item for item in scope.judged if item.duty.subject in names_of],
    )
    return Answer(
        4,
        "Was every tip about a minor or imminent danger sent to whom it had to go?",
        verdict(scope.audited, BOOKS | {DEADLINES}),
        bool(missed),
        "{mandated:tip|tips} had to go to law enforcement, and those about minors to "
        "child welfare as well. {in_time:was|were} sent in time and {late} late; "
        "{taken_back:was|were} taken back before receipt; {duplicates:repeats|repeat} "
        "a tip that was registered before; {withheld:was|were} withheld, and "
        "{open:is|are} still open." + SENTENCE,
        {
            "mandated": total,
            "in_time": counts[_IN_TIME],
            "late": counts[_LATE],
            "taken_back": counts[_TAKEN_BACK],
            "duplicates": counts["duplicates of others"],
            "withheld": counts["withheld"],
            "open": counts["open"],
            **kept.figures,
        },
        (
            Table("mandated", "By class", ("class", "tips", *names), tuple(rows)),
            kept.table("mandated-deadlines", "How their deadlines were kept"),
            _list(
                "mandated-missed", "Late, taken back, withheld or open", missed, scope
            ),
        ),
        (Chart("Sent in time?", tuple(Bar(n, c) for n, c in counts.items())),),
        (*equations, *kept.equations),
    )


def _fate_of(scope: Scope) -> Callable[[IntakeRecord], str]:
    """Returns what says how a tip ended that had to be sent."""
    audited = scope.audited
    clock, policies = audited.clock, audited.policies

    def is_late(record: IntakeRecord) -> bool:
        by = pass_on_by(record, policies, clock)
        breached = (record.name, Kind.DEADLINE_KIND_PASS_ON) in scope.late_subjects
        return breached or (by is not None and clock.made(record.standing) > by)

    def kind_of(name: str) -> int:
        member = audited.members.get(name)
        return member.kind if member else 0

    def is_void(record: IntakeRecord) -> bool:
        other = reached_by_other(record, audited.book, audited.referrals, kind_of)
        return other is not None and not may_repeat(record.needed, other)

    def fate(record: IntakeRecord) -> str:
        if record.taken_back or (record.state == _DUPLICATE and is_void(record)):
            return _TAKEN_BACK
        if record.state == _PASSED_ON:
            return _LATE if is_late(record) else _IN_TIME
        return _OTHER_FATES.get(record.state, "open")

    return fate


def _again(scope: Scope, record: IntakeRecord) -> bool:
    """Whether a tip was withheld very often, or very long until somebody decided."""
    decided = sum(
        item.kind == "withholding" and not item.rejected
        for item in record.facts.decisions
    )
    if decided >= _AGAIN:
        return True
    clock = scope.audited.clock
    now = clock.logged_after(scope.audited.log_size)
    waited = sum(
        (now if span.closed == NONE else clock.made(span.closed))
        - clock.made(span.opened)
        for span in record.spans
        if span.kind == _REVIEW
    )
    return waited > _LONG_MS


def _sums(prefix: str, records: Sequence[IntakeRecord]) -> list[Count]:
    """Returns how many there are, and how many in each state."""
    states = Counter(record.state for record in records)
    total = Count(f"{prefix}.received", len(records))
    return [total, *(Count(f"{prefix}.{name}", states[s]) for s, name in _STATES)]


def _of(scope: Scope, state: int) -> list[IntakeRecord]:
    return [record for record in scope.intakes if record.state == state]


def _list(
    name: str, title: str, records: Iterable[IntakeRecord], scope: Scope
) -> Table:
    """Returns a list of tips: no content, nobody's name."""
    columns = (
        "hotline",
        "number",
        "received",
        "jurisdiction",
        "class",
        "reporter",
        "age",
        "state",
        "decided",
        "reason",
        "approver",
        "referrals",
        "log entry",
    )
    rows = tuple(
        (
            scope.member(record.facts.hotline),
            record.facts.number,
            Moment(record.facts.received_ms),
            record.facts.jurisdiction,
            word("Urgency", record.facts.urgency),
            word("ReporterType", record.facts.reporter),
            word("AgeGroup", record.facts.age_group),
            word("IntakeState", record.state),
            scope.when(record.ended),
            _reason(record) if record.state == _WITHHELD else "",
            _role(record) if record.state == _WITHHELD else "",
            " ".join(record.referrals),
            record.facts.at,
        )
        for record in records
    )
    return Table(name, title, columns, rows, single=True)


def _loose(scope: Scope) -> Table:
    rows = tuple(
        (
            item.referral_id,
            scope.member(item.publisher),
            Moment(item.tip_received_ms),
            item.jurisdiction,
            "refused" if item.accepted == NONE else "accepted",
            item.at,
        )
        for item in scope.loose
    )
    columns = ("referral", "hotline", "received", "jurisdiction", "answer", "log entry")
    title = "Referrals of hotlines that name no tip"
    return Table("referrals-without-intake", title, columns, rows, single=True)


def _whom(record: IntakeRecord) -> str:
    """Returns whom a tip went to, by referrals that were not taken back before that."""
    if record.kept & Reach.LAW_ENFORCEMENT:
        return _POLICE
    return _OTHERS if record.kept else _NOBODY


def _reason(record: IntakeRecord) -> str:
    found = record.withholding
    return word("WithholdReason", found.reason) if found else ""


def _role(record: IntakeRecord) -> str:
    return record.withholding.role if record.withholding else ""


def _title(name: str) -> str:
    return name.replace("_", " ")
