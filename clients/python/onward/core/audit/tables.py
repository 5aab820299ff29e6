"""What answers are made of: sentences, figures, tables and charts, with typed cells.

Cells say what they are, so that a report for publication can leave out small numbers
everywhere at once: a :class:`Count` has a key, and the same key is the same number
wherever it stands; an :class:`Equation` says which numbers add up to which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from onward.core.verify.report import Verdict


class Count(NamedTuple):
    """A number of things.

    Attributes:
        key: the same for the same number, wherever it stands.
        value: how many.
    """

    key: str
    value: int


class Span(NamedTuple):
    """A length of time that is typical of some things.

    Attributes:
        of: of how many.
        ms: milliseconds.
    """

    of: Count
    ms: int


class Share(NamedTuple):
    """A part of a whole."""

    part: Count
    whole: Count


class Moment(NamedTuple):
    """A point of time, milliseconds since 1970, UTC."""

    ms: int


class Hidden(StrEnum):
    """What stands where a number is not published."""

    SMALL = "<3"
    """It is one or two."""
    HELD_BACK = "held back"
    """It would tell a small one."""


Cell: TypeAlias = str | int | Count | Span | Share | Moment | Hidden | None
"""What stands in a table. An ``int`` is a place in the log, or a deadline's length."""


class Equation(NamedTuple):
    """That some numbers add up to another."""

    total: Count
    parts: tuple[Count, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A list.

    Attributes:
        name: the name of its CSV file, without suffix.
        title: for people.
        columns: their titles.
        rows: the rows.
        single: whether a row is a single tip or referral; never published.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    single: bool = False


class Bar(NamedTuple):
    """A bar of a chart."""

    label: str
    cell: Count | Span | Share | Hidden


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars, from zero, on one scale."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one of the ten questions.

    Attributes:
        number: which.
        question: it.
        verdict: whether the answer is proven.
        attention: whether somebody should look at what it says.
        sentence: the answer, with ``{name}`` for each figure, or with words that have
            to agree with it, ``{name:tip was|tips were}``.
        figures: the figures by name.
        tables: the lists behind them.
        charts: to look at.
        equations: which figures add up.
    """

    number: int
    question: str
    verdict: Verdict
    attention: bool
    sentence: str
    figures: Mapping[str, Cell]
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    equations: tuple[Equation, ...] = ()


def spread(key: str, times: Sequence[int]) -> tuple[Count, Cell, Cell, Cell]:
    """Returns how many times there are, their median, 90th percentile and maximum.

    Args:
        key: of the count.
        times: lengths in milliseconds. The p-th percentile is the smallest of them that
            at least p percent of them do not exceed (the nearest rank).
    """
    count = Count(key, len(times))
    if not times:
        return count, None, None, None
    ordered = sorted(times)

    def percentile(percent: int) -> Span:
        rank = -(-percent * len(ordered) // 100)
        return Span(count, ordered[max(rank, 1) - 1])

    return count, percentile(50), percentile(90), Span(count, ordered[-1])
