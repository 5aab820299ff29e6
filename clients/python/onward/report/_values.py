"""Cells and reports as text for people, and as plain values for JSON and CSV."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from onward.core.audit.report import AuditReport
from onward.core.audit.result import AuditStep
from onward.core.audit.tables import (
    Answer,
    Cell,
    Count,
    Hidden,
    Moment,
    Share,
    Span,
    Table,
)

FORMAT: Final = "onward-report/v1"

Plain: TypeAlias = str | int | float | None
Rows: TypeAlias = list[list[Plain]]

_PLAIN: Final = (str, int, type(None))

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))
_SECOND: Final = 1000


def text_of(cell: Cell) -> str:
    """Returns a cell as people read it."""
    match cell:
        case Count():
            text = f"{cell.value:,}"
        case Span():
            text = span_text(cell.ms)
        case Share():
            whole = cell.whole.value
            text = f"{cell.part.value / whole:.0%}" if whole else "-"
        case Moment():
            text = f"{time_of(cell.ms):%Y-%m-%d %H:%M} UTC"
        case _:
            text = "-" if cell is None else str(cell)
    return text


def plain_of(cell: Cell) -> Plain:
    """Returns a cell for machines: counts, seconds, shares of one, RFC 3339."""
    match cell:
        case Count():
            return cell.value
        case Span():
            return cell.ms / _SECOND
        case Share():
            whole = cell.whole.value
            return round(cell.part.value / whole, 6) if whole else None
        case Moment():
            return rfc3339(cell.ms)
        case Hidden():
            return cell.value
        case _:
            return cell


class _Figure(str):
    """A figure in a sentence. With words for one and for more it brings those along.

    So ``{tips:tip was|tips were}`` becomes ``1 tip was``, or ``2 tips were``.
    """

    __slots__ = ()

    def __format__(self, words: str) -> str:
        one, _, more = words.partition("|")
        return f"{self} {one if str(self) == '1' else more}" if words else str(self)


def sentence_of(answer: Answer) -> str:
    """Returns an answer's sentence with its figures, and words that agree with them."""
    figures = {name: _Figure(text_of(cell)) for name, cell in answer.figures.items()}
    return answer.sentence.format(**figures)


def span_text(ms: int) -> str:
    """Returns a length of time in its two largest units, such as ``2 h 14 min``."""
    parts: list[str] = []
    for size, unit in _UNITS:
        number, ms = divmod(ms, size)
        if number or parts:
            parts.append(f"{number} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 ")) or "0 s"


def time_of(ms: int) -> datetime:
    """Returns a time; one that Python cannot hold is as far away as it can."""
    try:
        return _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if ms > 0 else _EPOCH


def rfc3339(ms: int) -> str:
    """Returns a time as RFC 3339, UTC."""
    return f"{time_of(ms).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def rows_of(table: Table) -> Rows:
    """Returns the rows of a table for machines."""
    # A year has a million cells, and most of them are plain.
    return [
        [cell if isinstance(cell, _PLAIN) else plain_of(cell) for cell in row]
        for row in table.rows
    ]


def report_dict(
    report: AuditReport, rows: Mapping[str, Rows] | None = None
) -> dict[str, object]:
    """Returns a report as plain values for JSON.

    Args:
        report: the report.
        rows: those of its tables by name, where they were made before.
    """
    asked = report.asked
    rows = rows or {}
    return {
        "format": FORMAT,
        "verdict": report.verdict.value,
        "exit_code": int(report.exit_code),
        "jurisdiction": asked.jurisdiction,
        "begin": rfc3339(asked.period.begin_ms),
        "end": rfc3339(asked.period.end_ms),
        "published": asked.publish,
        "exchange": report.exchange,
        "auditor": report.auditor,
        "shown_jurisdictions": list(report.codes),
        "until": rfc3339(report.until_ms),
        "steps": [_step(step, publish=asked.publish) for step in report.steps],
        "answers": [_answer(answer, rows) for answer in report.answers],
    }


def _step(step: AuditStep, *, publish: bool) -> dict[str, object]:
    """Returns a step; what is published names no tip."""
    findings = [] if publish else [finding._asdict() for finding in step.findings]
    return {
        "step": step.number,
        "name": step.name,
        "verdict": step.verdict.value,
        "why": why_of(step, publish=publish),
        "count": step.count,
        "findings": findings,
    }


def why_of(step: AuditStep, *, publish: bool) -> str:
    """Returns what a step came to; what is published names no tip."""
    if publish and step.count:
        return f"{step.count} things do not hold"
    return step.why


def _answer(answer: Answer, rows: Mapping[str, Rows]) -> dict[str, object]:
    return {
        "question": answer.number,
        "title": answer.question,
        "verdict": answer.verdict.value,
        "attention": answer.attention,
        "sentence": sentence_of(answer),
        "figures": _figures(answer.figures),
        "charts": [
            {
                "title": chart.title,
                "bars": [
                    {"label": bar.label, "value": plain_of(bar.cell)}
                    for bar in chart.bars
                ],
            }
            for chart in answer.charts
        ],
        "tables": [_table(table, rows.get(table.name)) for table in answer.tables],
    }


def _figures(figures: Mapping[str, Cell]) -> dict[str, Plain]:
    return {name: plain_of(cell) for name, cell in figures.items()}


def _table(table: Table, rows: Rows | None) -> dict[str, object]:
    return {
        "name": table.name,
        "title": table.title,
        "columns": list(table.columns),
        "rows": rows_of(table) if rows is None else rows,
    }
