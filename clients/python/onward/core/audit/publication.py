"""Leaving out small numbers, so that a report can be published.

A cell of one or two people or tips can tell who they are. It is shown as ``<3``. That
is not enough where it can be had by subtraction: so in each sum with a hidden number,
others are held back until at least two unknown ones remain that could be anything.
Lists of single tips are left out altogether.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
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

_LARGE: Final = 2**53
_BOUNDS: Final = {Hidden.SMALL: (1, SMALL - 1)}


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
    shown = list(answers)
    equations = [item for answer in shown for item in answer.equations]
    counts = {cell.key: cell for answer in shown for cell in _counts(answer)}
    for equation in equations:
        counts |= {cell.key: cell for cell in (equation.total, *equation.parts)}
    hidden = {
        key: Hidden.SMALL for key, cell in counts.items() if 0 < cell.value < SMALL
    }
    # Each round holds one number more back, so it ends.
    while more := next(_covers(counts, equations, hidden), ""):
        hidden[more] = Hidden.HELD_BACK
    return hidden


def _covers(
    counts: Mapping[str, Count],
    equations: Sequence[Equation],
    hidden: Mapping[str, Hidden],
) -> Iterator[str]:
    """Yields what to hold back so that small numbers are told no more."""
    for told in _told(counts, equations, hidden):
        cover = _cover(told, equations, hidden)
        if cover:
            yield cover


def _told(
    counts: Mapping[str, Count],
    equations: Sequence[Equation],
    hidden: Mapping[str, Hidden],
) -> list[str]:
    """Returns the small numbers that the sums tell all the same.

    A reader knows that what is small is one or two, and can narrow the others down by
    every sum in turn, until nothing more follows.
    """
    bounds = {
        key: _BOUNDS.get(hidden[key], (0, _LARGE))
        if key in hidden
        else (cell.value, cell.value)
        for key, cell in counts.items()
    }
    while sum(_narrow(equation, bounds) for equation in equations):
        pass
    solved = _solved(equations, hidden)
    return [
        key
        for key in hidden
        if counts[key].value < SMALL
        and (key in solved or bounds[key][0] == bounds[key][1])
    ]


def _solved(
    equations: Sequence[Equation], hidden: Mapping[str, Hidden]
) -> frozenset[str]:
    """Returns the unknown numbers that all sums together determine (Gauss-Jordan)."""
    rows: dict[str, dict[str, Fraction]] = {}
    for equation in equations:
        row: dict[str, Fraction] = {}
        for cell, factor in ((equation.total, -1), *((c, 1) for c in equation.parts)):
            if cell.key in hidden:
                row[cell.key] = row.get(cell.key, Fraction(0)) + factor
        for pivot, other in rows.items():
            _subtract(row, other, pivot)
        pivot = next((key for key, factor in row.items() if factor), "")
        if pivot:
            row = {key: value / row[pivot] for key, value in row.items() if value}
            for other in rows.values():
                _subtract(other, row, pivot)
            rows[pivot] = row
    return frozenset(pivot for pivot, row in rows.items() if len(row) == 1)


def _subtract(
    row: dict[str, Fraction], other: Mapping[str, Fraction], pivot: str
) -> None:
    """Takes so much of another row from a row that it has nothing at the pivot."""
    factor = row.get(pivot)
    if factor:
        for key, value in other.items():
            row[key] = row.get(key, Fraction(0)) - factor * value
            if not row[key]:
                del row[key]


def _narrow(equation: Equation, bounds: dict[str, tuple[int, int]]) -> bool:
    """Narrows the bounds of numbers by one sum; returns whether anything changed."""
    total, parts = equation.total.key, [cell.key for cell in equation.parts]
    if total in parts:
        return False
    before = {key: bounds[key] for key in (total, *parts)}
    low, high = (sum(bounds[key][end] for key in parts) for end in (0, 1))
    bounds[total] = _within(bounds[total], low, high)
    for key in parts:
        others = low - before[key][0], high - before[key][1]
        least, most = bounds[total][0] - others[1], bounds[total][1] - others[0]
        bounds[key] = _within(bounds[key], least, most)
    return any(bounds[key] != before[key] for key in before)


def _within(bounds: tuple[int, int], least: int, most: int) -> tuple[int, int]:
    return max(bounds[0], least), min(bounds[1], most)


def _cover(
    told: str, equations: Sequence[Equation], hidden: Mapping[str, Hidden]
) -> str:
    """Returns what to hold back so that a number is told no more, if anything helps.

    First other parts of its sums, then a total, which most people want to know, then
    zeros; where all of these are hidden, those of the sums next to them. Where nothing
    is left, the number itself is called small no more.
    """
    near: set[str] = {told}
    while True:
        mine = [item for item in equations if not near.isdisjoint(_keys(item))]
        others = [
            (not cell.value, cell.key == equation.total.key, cell.value, cell.key)
            for equation in mine
            for cell in (equation.total, *equation.parts)
            if cell.key not in hidden
        ]
        if others:
            return min(others)[-1]
        reached = near.union(*map(_keys, mine))
        if reached == near:
            return told if hidden[told] is Hidden.SMALL else ""
        near = reached


def _keys(equation: Equation) -> set[str]:
    return {cell.key for cell in (equation.total, *equation.parts)}


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
