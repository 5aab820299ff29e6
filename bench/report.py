"""The report: a table for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from bench.figures import Figure, Spread
from bench.machine import DISTURBED, Machine

_EXACT_BELOW: Final = 100

_COLUMNS: Final[Sequence[tuple[str, Literal["left", "right"]]]] = (
    ("measure", "left"),
    ("exchange", "right"),
    ("baseline", "right"),
    ("unit", "left"),
    ("ratio (rounds)", "right"),
    ("aim", "left"),
    ("p50 ms", "right"),
    ("p99 ms", "right"),
    ("CPU us", "right"),
)


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found.

    Attributes:
        machine: on what.
        others: the part of all CPU time during the run that other programs took.
        quick: whether it was a short run, good for nothing but a look.
        seconds: how long it took.
        figures: what was measured.
    """

    machine: Machine
    others: float
    quick: bool
    seconds: float
    figures: Sequence[Figure]

    def write(self, path: Path) -> None:
        """Writes it as JSON."""
        values = asdict(self)
        for figure, written in zip(self.figures, values["figures"], strict=True):
            written["met"] = figure.met
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_rounded(values), indent=2) + "\n", "utf-8")

    def show(self, console: Console) -> None:
        """Prints it as a table."""
        machine = self.machine
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading, justify in _COLUMNS:
            table.add_column(heading, justify=justify, no_wrap=True)
        for figure in self.figures:
            table.add_row(*cells(figure))
        console.print(table)
        for figure in self.figures:
            if figure.note:
                console.print(f"{figure.name}: {figure.note}")
        console.print(
            f"{machine.cores} cores of {machine.cpu}, Python {machine.python}, "
            f"{machine.date}, revision {machine.revision}, {self.seconds:.0f} s"
        )
        if machine.busy or self.others >= DISTURBED:
            console.print(
                f"[bold]The machine was busy: load {machine.load_at_start} at the "
                f"start, and other programs took {self.others:.0%} of its time. Do not "
                "rely on these figures.[/bold]"
            )


def cells(figure: Figure) -> list[str]:
    """Returns the cells of one line, as many as the terminal's table has columns."""
    ratio, facts = figure.ratio, figure.facts
    spread = f"{ratio.median:.2f} ({ratio.least:.2f}-{ratio.most:.2f})" if ratio else ""
    return [
        figure.name,
        _number(figure.value),
        _number(figure.baseline),
        figure.unit,
        spread,
        figure.verdict,
        *(_sides(facts, name) for name in ("p50_ms", "p99_ms", "cpu_us")),
    ]


def _number(spread: Spread | None) -> str:
    """Returns the middle value, or nothing."""
    return _exact(spread.median) if spread else ""


def _sides(facts: Mapping[str, float], name: str) -> str:
    """Returns a fact of the exchange and the same of the echo."""
    sides = [facts.get(f"{side}_{name}") for side in ("exchange", "echo")]
    return " / ".join(_exact(value) for value in sides if value is not None)


def _exact(value: float) -> str:
    """Returns a number, as exact as it is worth."""
    return f"{value:,.0f}" if value >= _EXACT_BELOW else f"{value:.2f}"


def _rounded(value: object) -> object:
    """Returns a value with its floats as exact as they are worth."""
    match value:
        case float():
            return float(f"{value:.4g}")
        case dict():
            return {name: _rounded(item) for name, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
        case _:
            return value
