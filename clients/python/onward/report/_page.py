"""The page that people read: one file, no script, nothing from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from onward.core.audit.evidence import WHOLE
from onward.core.audit.report import AuditReport
from onward.core.audit.tables import Answer, Chart, Count, Hidden, Share, Span, Table
from onward.report._values import (
    sentence_of,
    text_of,
    time_of,
    why_of,
)

MAX_ROWS: Final = 100
"""Rows of a list that the page shows; the CSV file has them all."""

_WIDTH: Final = 340
_DAY: Final = 86_400_000
_SUM: Final = ("received", "passed_on", "withheld", "duplicates", "open")

_VERDICTS: Final = {
    "PROVEN": "proven",
    "NOT_PROVEN": "not proven",
    "NOT_CHECKED": "not checked",
}


@dataclass(frozen=True, slots=True)
class _Bar:
    """A bar as it is drawn. Lengths in the units of the drawing."""

    label: str
    text: str
    width: float


def render_report(report: AuditReport) -> str:
    """Returns the page of a report."""
    first = report.answers[0].figures
    return render(
        "report.html.jinja",
        report=report,
        about=_about(report.asked.jurisdiction),
        first_day=time_of(report.asked.period.begin_ms),
        last_day=time_of(report.asked.period.end_ms - _DAY),
        until=time_of(report.until_ms),
        terms=[(name.replace("_", " "), text_of(first[name])) for name in _SUM],
        steps=[
            (step, why_of(step, publish=report.asked.publish)) for step in report.steps
        ],
    )


def _about(jurisdiction: str) -> str:
    """Returns what people call the jurisdiction that a report is about."""
    return "the whole exchange" if jurisdiction == WHOLE else jurisdiction


def render(template: str, **values: object) -> str:
    """Returns a page from a template."""
    style = _environment.get_template("style.css").render()
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'"
    page = _environment.get_template(template)
    return page.render(style=Markup(style), policy=policy, **values)  # noqa: S704 - our own


def _bars(chart: Chart) -> Sequence[_Bar]:
    """Returns the bars of a chart on one scale that begins at zero."""
    sizes = [_size(bar.cell) for bar in chart.bars]
    largest = max(sizes, default=0) or 1
    return [
        _Bar(bar.label, text_of(bar.cell), round(size / largest * _WIDTH, 1))
        for bar, size in zip(chart.bars, sizes, strict=True)
    ]


def _size(cell: Count | Span | Share | Hidden) -> float:
    match cell:
        case Count():
            return cell.value
        case Span():
            return cell.ms
        case Share():
            return cell.part.value / cell.whole.value if cell.whole.value else 0
        case _:
            return 0


def _shown(table: Table) -> Sequence[Sequence[str]]:
    return [[text_of(cell) for cell in row] for row in table.rows[:MAX_ROWS]]


def _is_number(table: Table, column: int) -> bool:
    """Whether a column is set to the right."""
    cells = (row[column] for row in table.rows[:1])
    return any(isinstance(cell, Count | Span | Share | int) for cell in cells)


def _anchor(answer: Answer) -> str:
    return f"question-{answer.number}"


_environment: Final = Environment(
    loader=PackageLoader("onward.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "anchor": _anchor,
    "bars": _bars,
    "number": _is_number,
    "sentence": sentence_of,
    "shown": _shown,
    "verdict": lambda verdict: _VERDICTS[verdict.value],
}
_environment.globals["max_rows"] = MAX_ROWS
