"""Questions 2 and 6: how long it took, and who held it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from onward.core.audit.duties import Duty
from onward.core.audit.facts import NONE
from onward.core.audit.questions.asking import GROUND, counted, parts, verdict
from onward.core.audit.questions.kept import SENTENCE, KeptDeadlines
from onward.core.audit.scope import Scope, Sent
from onward.core.audit.steps import DEADLINES, INTAKES, TIMING
from onward.core.audit.tables import (
    Answer,
    Bar,
    Cell,
    Chart,
    Count,
    Equation,
    Moment,
    Span,
    Table,
    spread,
)
from onward.core.audit.words import URGENCIES, word
from onward.core.custody import State
from onward.core.due import HOLDERS, Kind
from onward.core.intakes import State as IntakeState

_TIMES: Final = ("", "how many", "median", "90 percent within", "longest")
_DAY: Final = 86_400_000
_AGES: Final = (
    ("less than 1 day", _DAY),
    ("1 to 7 days", 7 * _DAY),
    ("7 to 30 days", 30 * _DAY),
    ("more than 30 days", 2**62),
)


def delivery_times(scope: Scope) -> Answer:
    """2. The time from receipt to delivery by class, and every breach."""
    by_class: dict[str, list[int]] = {word("Urgency", u): [] for u in URGENCIES}
    for sent in scope.sent:
        if sent.delivery.received != NONE:
            arrived = scope.audited.clock.made(sent.delivery.received)
            label = word("Urgency", sent.referral.urgency)
            by_class.setdefault(label, []).append(max(arrived - sent.received_ms, 0))
    classes = [
        (label, *spread(f"delivered.{label}", times))
        for label, times in by_class.items()
        if times
    ]
    everything = [time for times in by_class.values() for time in times]
    overall = spread("delivered", everything)
    breaches = Counter(_kind(duty) for duty in scope.late)
    holders = Counter(scope.member(duty.holder) for duty in scope.late)
    total = Count("breaches", len(scope.late))
    kept = KeptDeadlines("kept", scope.judged)
    disputed = {item.duty for item in scope.judged if item.kept.disputed}
    return Answer(
        2,
        "How long did it take from the tip's receipt to delivery, and what was late?",
        verdict(scope.audited, GROUND | {INTAKES, TIMING, DEADLINES}),
        bool(scope.late),
        "{delivered:delivery|deliveries} arrived: half of them within {median} of the "
        "tip's receipt, nine of ten within {p90}, the slowest after {longest}. "
        "{breaches:deadline was|deadlines were} breached, as the exchange logged."
        + SENTENCE,
        {
            "delivered": overall[0],
            "median": overall[1],
            "p90": overall[2],
            "longest": overall[3],
            "breaches": total,
            **kept.figures,
        },
        (
            Table(
                "time-to-delivery",
                "From the tip's receipt to delivery, by class",
                ("class", *_TIMES[1:]),
                (*classes, ("all", *overall)),
            ),
            Table(
                "held",
                "Who held it how long",
                ("step", *_TIMES[1:]),
                tuple((label, *spread(key, t)) for label, key, t in _held(scope)),
            ),
            kept.table("deadlines", "How deadlines were kept, and who bears it out"),
            Table(
                "breaches-by-step",
                "Missed deadlines, by step",
                ("step", "missed"),
                counted("breach.kind", breaches, "breaches"),
            ),
            Table(
                "breaches-by-holder",
                "Missed deadlines, by who held the tip",
                ("holder", "missed"),
                counted("breach.holder", holders, "breaches"),
            ),
            Table(
                "breaches",
                "Missed deadlines, one by one",
                (
                    "tip or referral",
                    "step",
                    "was due",
                    "holder",
                    "part",
                    "made",
                    "disputed",
                    "entry",
                ),
                tuple(_breach(scope, duty, disputed) for duty in scope.late),
                single=True,
            ),
        ),
        (
            _chart("Median time from receipt to delivery", classes),
            _chart(
                "Median time that each held it",
                [(label, *spread(key, times)) for label, key, times in _held(scope)],
            ),
        ),
        (
            Equation(overall[0], tuple(row[1] for row in classes)),
            Equation(total, parts("breach.kind", breaches)),
            Equation(total, parts("breach.holder", holders)),
            *kept.equations,
        ),
    )


def unread(scope: Scope) -> Answer:
    """6. Deliveries that no person has acknowledged, by agency; who holds them."""
    waiting = [sent for sent in scope.sent if _unread(sent)]
    overdue = [sent for sent in waiting if _overdue(scope, sent)]
    agencies = sorted({sent.delivery.recipient for sent in scope.sent})
    holders = Counter(_holder(sent) for sent in waiting)
    rows: list[tuple[Cell, ...]] = []
    equations: list[Equation] = []
    for name in agencies:
        own = [sent for sent in scope.sent if sent.delivery.recipient == name]
        not_read = sum(_unread(sent) for sent in own)
        label = scope.member(name)
        whole = Count(f"sent.{label}", len(own))
        open_count = Count(f"unread.{label}", not_read)
        rest = Count(f"read.{label}", len(own) - not_read)
        late = sum(_overdue(scope, sent) for sent in own if _unread(sent))
        rows.append((label, whole, rest, open_count, Count(f"overdue.{label}", late)))
        equations.append(Equation(whole, (rest, open_count)))
    totals = (
        Count("sent", len(scope.sent)),
        Count("read", len(scope.sent) - len(waiting)),
        Count("unread", len(waiting)),
        Count("overdue", len(overdue)),
    )
    for at, total in enumerate(totals, start=1):
        column = tuple(cell for row in rows if isinstance(cell := row[at], Count))
        equations.append(Equation(total, column))
    equations.append(Equation(totals[0], totals[1:3]))
    equations.append(Equation(totals[2], parts("unread.holder", holders)))
    ages = _ages(scope, waiting)
    return Answer(
        6,
        "Which deliveries has no person acknowledged, and who holds them?",
        verdict(scope.audited, GROUND | {DEADLINES}),
        bool(overdue),
        "Of {sent:delivery|deliveries}, {unread:still waits|still wait} for a person "
        "to read them; {overdue:of these is|of these are} overdue.",
        {"sent": totals[0], "unread": totals[2], "overdue": totals[3]},
        (
            Table(
                "unread-by-agency",
                "By agency",
                ("agency", "deliveries", "read or ended", "not read", "overdue"),
                (*rows, ("all", *totals)),
            ),
            Table(
                "unread-by-holder",
                "Not read, by who holds it",
                ("holder", "deliveries"),
                counted("unread.holder", holders, "unread"),
            ),
            ages,
            Table(
                "unread",
                "Not read, one by one",
                ("referral", "agency", "class", "state", "holder", "sent", "overdue"),
                tuple(
                    (
                        sent.referral.referral_id,
                        scope.member(sent.delivery.recipient),
                        word("Urgency", sent.referral.urgency),
                        word("DeliveryState", sent.delivery.state),
                        _holder(sent),
                        scope.when(sent.referral.accepted),
                        "yes" if _overdue(scope, sent) else "no",
                    )
                    for sent in waiting
                ),
                single=True,
            ),
        ),
        (
            Chart(
                "Not read, by agency",
                tuple(
                    Bar(str(row[0]), row[3])
                    for row in rows
                    if isinstance(row[3], Count) and row[3].value
                ),
            ),
            Chart(
                "Open tips and unread deliveries, by age",
                tuple(
                    Bar(f"{row[0]}", row[1])
                    for row in ages.rows
                    if isinstance(row[1], Count)
                ),
            ),
        ),
        tuple(equations),
    )


def _held(scope: Scope) -> Iterator[tuple[str, str, list[int]]]:
    """Yields who held it, and how long each time."""
    begun = [sent for sent in scope.sent if not sent.referral.parent_id]
    clock = scope.audited.clock
    hotline = {
        sent.referral.referral_id: clock.made(sent.referral.accepted) - sent.received_ms
        for sent in begun
    }
    yield "hotline: received to accepted", "held.hotline", _positive(hotline.values())
    for label, key, first, second in (
        ("exchange: accepted to handed over", "held.exchange", "", "handed_over"),
        ("agency: handed over to read", "held.reading", "handed_over", "acknowledged"),
        ("agency: handed over to outcome", "held.outcome", "handed_over", "outcome"),
    ):
        spans = (
            scope.between(
                getattr(sent.delivery, first) if first else sent.referral.accepted,
                getattr(sent.delivery, second),
            )
            for sent in scope.sent
        )
        yield label, key, [span for span in spans if span is not None]


def _positive(times: Iterable[int]) -> list[int]:
    return [max(time, 0) for time in times]


def _kind(duty: Duty) -> str:
    return word("DeadlineKind", duty.kind)


def _breach(scope: Scope, duty: Duty, disputed: Collection[Duty]) -> tuple[Cell, ...]:
    breach = duty.breach
    if breach is None:
        return ()
    return (
        duty.subject,
        _kind(duty),
        Moment(breach.due_ms),
        scope.member(breach.holder),
        word("HolderRole", breach.role),
        scope.when(duty.done),
        "yes" if duty in disputed else "no",
        breach.at,
    )


def _unread(sent: Sent) -> bool:
    """Whether somebody should still read it."""
    waiting = sent.delivery.state in HOLDERS
    return waiting and sent.delivery.acknowledged == NONE


def _overdue(scope: Scope, sent: Sent) -> bool:
    """Whether its being delivered or read is overdue."""
    kinds = {Kind.DEADLINE_KIND_DELIVER, Kind.DEADLINE_KIND_ACKNOWLEDGE}
    return any(
        duty.kind in kinds
        and duty.breach is not None
        and duty.breach.recipient == sent.delivery.recipient
        for duty in scope.late_by_subject.get(sent.referral.referral_id, ())
    )


def _holder(sent: Sent) -> str:
    """Returns who holds an unread delivery."""
    role = HOLDERS.get(State.ValueType(sent.delivery.state), 0)
    return word("HolderRole", role)


def _ages(scope: Scope, waiting: Sequence[Sent]) -> Table:
    """Returns how old is what is open, at the end of what was looked at."""
    now = scope.audited.clock.logged_after(scope.audited.log_size)
    tips = [
        now - record.facts.received_ms
        for record in scope.intakes
        if record.state == IntakeState.INTAKE_STATE_OPEN
    ]
    unread_ages = [
        now - scope.audited.clock.made(sent.referral.accepted) for sent in waiting
    ]
    rows: list[tuple[Cell, ...]] = []
    low = -1
    for label, high in _AGES:
        old = sum(low < age <= high for age in tips)
        older = sum(low < age <= high for age in unread_ages)
        rows.append(
            (label, Count(f"age.tips.{label}", old), Count(f"age.sent.{label}", older))
        )
        low = high
    columns = ("age", "open tips", "unread deliveries")
    return Table("open-by-age", "Open, by age", columns, tuple(rows))


def _chart(title: str, rows: Iterable[tuple[str, Count, Cell, Cell, Cell]]) -> Chart:
    bars = (Bar(row[0], row[2]) for row in rows if isinstance(row[2], Span))
    return Chart(title, tuple(bars))
