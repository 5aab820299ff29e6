"""What all answers share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from onward.core.audit.result import Audited
from onward.core.audit.steps import (
    ACCESS,
    CHAINS,
    CHECKPOINT,
    COVERAGE,
    ENTRIES,
    INTAKES,
    KEYS,
    PLACES,
    READABLE,
    SIGNATURES,
)
from onward.core.audit.tables import Bar, Cell, Chart, Count
from onward.core.verify.report import Verdict

GROUND: Final = frozenset(
    {READABLE, CHECKPOINT, ENTRIES, ACCESS, PLACES, KEYS, SIGNATURES, CHAINS, COVERAGE}
)
"""The steps on which every answer rests."""

BOOKS: Final = GROUND | {INTAKES}
"""Those on which an answer about intakes rests."""


def verdict(audited: Audited, relies: Iterable[int], *, holds: bool = True) -> Verdict:
    """Returns whether an answer is proven.

    Args:
        audited: the export, verified.
        relies: the steps on which the answer rests. That an auditor was not to be
            shown every entry takes nothing from it.
        holds: whether what the answer says of itself holds, such as a sum.
    """
    steps = audited.steps_of(relies)
    verdicts = {step.verdict for step in steps if step.number != COVERAGE}
    verdicts |= {step.verdict for step in steps if step.verdict is Verdict.NOT_PROVEN}
    if Verdict.NOT_PROVEN in verdicts or not holds:
        return Verdict.NOT_PROVEN
    return Verdict.NOT_CHECKED if Verdict.NOT_CHECKED in verdicts else Verdict.PROVEN


def counted(
    prefix: str, counts: Mapping[str, int], total: str = ""
) -> tuple[tuple[Cell, ...], ...]:
    """Returns a table's rows of names and counts, the largest first.

    Args:
        prefix: of the counts' keys.
        counts: by name.
        total: the key of their sum, which makes the last row; none if empty.
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows: list[tuple[Cell, ...]] = [
        (name, Count(f"{prefix}.{name}", value)) for name, value in ordered
    ]
    if total:
        rows.append(("all", Count(total, sum(counts.values()))))
    return tuple(rows)


def parts(prefix: str, counts: Mapping[str, int]) -> tuple[Count, ...]:
    """Returns the counts of :func:`counted`, for an equation."""
    return tuple(Count(f"{prefix}.{name}", value) for name, value in counts.items())


def chart_of(title: str, prefix: str, counts: Counter[str]) -> Chart:
    """Returns a chart of counts, the largest first."""
    bars = (
        Bar(name, Count(f"{prefix}.{name}", value))
        for name, value in sorted(counts.items(), key=lambda item: -item[1])
    )
    return Chart(title, tuple(bars))
