"""Leaving out small numbers, so that a report can be published.

A cell of one or two people or tips can tell who they are. It is shown as ``<3``. That
is not enough where it can be had by subtraction: so in each sum with a hidden number,
others are held back until at least two unknown ones remain that could be anything.
Lists of single tips are left out altogether.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from onward.core.audit.tables import (
    Answer,
    Bar,
    Cell,
    Chart,
    Count,
    Equation,
    Hidden,
    Share,
    Span,
    Table,
)

SMALL: Final = 3
"""Numbers below it are small; zero is none."""


def for_publication(answers: Iterable[Answer]) -> tuple[Answer, ...]:
    """Returns answers without small numbers, and without single tips."""
    kept = [
        replace(
            answer, tables=tuple(table for table in answer.tables if not table.single)
        )
        for answer in answers
    ]
    hidden = hidden_counts(kept)
    return tuple(_answer(answer, hidden) for answer in kept)


def hidden_counts(answers: Iterable[Answer]) -> Mapping[str, Hidden]:
    """Returns which numbers are not shown, by their keys."""
    equations = [item for answer in answers for item in answer.equations]
    counts = {cell.key: cell for answer in answers for cell in _counts(answer)}
    for equation in equations:
        counts |= {cell.key: cell for cell in (equation.total, *equation.parts)}
    hidden = {
        key: Hidden.SMALL for key, cell in counts.items() if 0 < cell.value < SMALL
    }
    while more := next((c for e in equations if (c := _another(e, hidden))), None):
        hidden[more.key] = Hidden.HELD_BACK
    return hidden


def _another(equation: Equation, hidden: Mapping[str, Hidden]) -> Count | None:
    """Returns what must be held back as well, None if nothing must.

    With one number unknown, the sum tells it. With several that are all known to be
    one or two, it may: if they are as small or as large together as they can be. What
    is held back could be anything, and settles that.
    """
    cells = {cell.key: cell for cell in (equation.total, *equation.parts)}
    unknown = [cell for key, cell in cells.items() if key in hidden]
    if not unknown or len(cells) == 1:
        return None
    safe = any(hidden[cell.key] is Hidden.HELD_BACK for cell in unknown)
    if len(unknown) > 1 and (safe or equation.total.key in hidden):
        return None
    together = sum(cell.value for cell in unknown)
    extremes = {len(unknown), (SMALL - 1) * len(unknown)}
    if len(unknown) > 1 and together not in extremes:
        return None
    others = [cell for key, cell in cells.items() if key not in hidden]
    # The total last: most people want to know it. Zeros are no cover.
    best = [c for c in others if c.value and c.key != equation.total.key]
    best.sort(key=lambda cell: (cell.value, cell.key))
    return next(iter([*best, *(c for c in others if c.value)]), None)


def _answer(answer: Answer, hidden: Mapping[str, Hidden]) -> Answer:
    """Returns an answer with what is hidden left out."""
    return replace(
        answer,
        figures={name: _cell(cell, hidden) for name, cell in answer.figures.items()},
        tables=tuple(_table(table, hidden) for table in answer.tables),
        charts=tuple(_chart(chart, hidden) for chart in answer.charts),
        equations=(),
    )


def _table(table: Table, hidden: Mapping[str, Hidden]) -> Table:
    rows = tuple(tuple(_cell(cell, hidden) for cell in row) for row in table.rows)
    return replace(table, rows=rows)


def _chart(chart: Chart, hidden: Mapping[str, Hidden]) -> Chart:
    bars = []
    for bar in chart.bars:
        cell = _cell(bar.cell, hidden)
        if isinstance(cell, Count | Span | Share | Hidden):
            bars.append(Bar(bar.label, cell))
    return replace(chart, bars=tuple(bars))


def _cell(cell: Cell, hidden: Mapping[str, Hidden]) -> Cell:
    """Returns a cell, or what stands in its place."""
    match cell:
        case Count():
            return hidden.get(cell.key, cell)
        case Span():
            few = 0 < cell.of.value < SMALL or cell.of.key in hidden
            return Hidden.HELD_BACK if few else cell
        case Share():
            told = {cell.part.key, cell.whole.key} & hidden.keys()
            return Hidden.HELD_BACK if told else cell
        case _:
            return cell


def _counts(answer: Answer) -> Iterable[Count]:
    """Yields every count that an answer shows."""
    cells: list[Cell] = list(answer.figures.values())
    for table in answer.tables:
        cells += [cell for row in table.rows for cell in row]
    for chart in answer.charts:
        cells += [bar.cell for bar in chart.bars]
    for cell in cells:
        if isinstance(cell, Count):
            yield cell
