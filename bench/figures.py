"""Figures: what was measured, how it spread, and what it was to reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Literal, Self, TypeAlias

MICROSECONDS: Final = 1_000_000
MILLISECONDS: Final = 1_000
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Spread:
    """The values of several rounds: the middle one, and between which they lay."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Returns the spread of at least one value."""
        return cls(median(values), min(values), max(values))


Judged: TypeAlias = Literal["ratio", "value", "growth"]
"""What of a figure an aim is about: its ratio, its value, or value less baseline."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure is to reach: at least, or at most, so much.

    Attributes:
        least: of what is judged, if there is such a bound.
        most: the same.
        of: what is judged; the median counts.
    """

    least: float | None = None
    most: float | None = None
    of: Judged = "ratio"

    def met(self, value: float) -> bool:
        """Whether a value reaches it."""
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )

    def __str__(self) -> str:
        sign = "+" if self.of == "growth" else ""
        if self.most is None:
            return f">= {sign}{self.least}"
        return f"<= {sign}{self.most}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report.

    Attributes:
        name: what was measured.
        unit: of ``value`` and ``baseline``.
        value: of the exchange, over the rounds; None when it was not measured.
        baseline: of what it is compared with, in the same rounds.
        ratio: of value to baseline, round by round.
        aim: what it is to reach.
        facts: what else was seen; each name ends in its unit.
        note: what a reader must know of it, such as why it was not measured.
    """

    name: str
    unit: str
    value: Spread | None
    baseline: Spread | None = None
    ratio: Spread | None = None
    aim: Aim | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def alone(
        cls, name: str, unit: str, values: Sequence[float], aim: Aim | None = None
    ) -> Self:
        """Returns a figure that stands beside nothing."""
        return cls(name, unit, Spread.of(values), aim=aim)

    @classmethod
    def missing(cls, name: str, why: str) -> Self:
        """Returns a line that says why something was not measured."""
        return cls(name, "", None, note=why)

    @classmethod
    def compare(
        cls,
        name: str,
        unit: str,
        pairs: Sequence[tuple[float, float]],
        *,
        aim: Aim | None = None,
        facts: Mapping[str, float] | None = None,
    ) -> Self:
        """Returns a figure beside its baseline.

        Args:
            name: what was measured.
            unit: of both values.
            pairs: of each round, the exchange's value and the baseline's.
            aim: what it is to reach.
            facts: what else was seen.
        """
        values, baselines = zip(*pairs, strict=True)
        ratios = [value / baseline for value, baseline in pairs]
        return cls(
            name,
            unit,
            Spread.of(values),
            Spread.of(baselines),
            Spread.of(ratios),
            aim,
            facts or {},
        )

    @property
    def met(self) -> bool | None:
        """Whether the aim is reached; None without an aim."""
        if self.aim is None or self.value is None:
            return None
        return self.aim.met(self._judged(self.aim.of, self.value.median))

    @property
    def verdict(self) -> str:
        """The aim, and whether it is reached; empty without an aim."""
        if self.met is None or self.aim is None:
            return ""
        unit = "" if self.aim.of == "ratio" or not self.unit else f" {self.unit}"
        return f"{self.aim}{unit} {'met' if self.met else 'MISSED'}"

    def _judged(self, part: Judged, value: float) -> float:
        """Returns what the aim is about."""
        if part == "value" or self.baseline is None or self.ratio is None:
            return value
        return self.ratio.median if part == "ratio" else value - self.baseline.median


def percentile(values: Sequence[float], percent: float) -> float:
    """Returns the smallest value that so many percent of all do not exceed."""
    ordered = sorted(values)
    rank = max(-(-len(ordered) * percent // 100), 1)
    return ordered[int(rank) - 1]
