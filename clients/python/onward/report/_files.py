"""Writing a report into a folder."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import msgspec

from onward.core.audit.report import AuditReport
from onward.core.audit.tables import Table
from onward.report._page import render_report
from onward.report._values import Plain, Rows, report_dict, rows_of

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def write_report(report: AuditReport, folder: Path) -> list[Path]:
    """Writes ``report.html``, ``report.json`` and one CSV file for each list.

    Args:
        report: the report.
        folder: made if it is not there; files of the same names are replaced.

    Returns:
        The files, the page first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    page.write_text(render_report(report), encoding="utf-8")
    data = folder / "report.json"
    tables = [table for answer in report.answers for table in answer.tables]
    rows = {table.name: rows_of(table) for table in tables}
    plain = report_dict(report, rows)
    text = msgspec.json.format(msgspec.json.encode(plain), indent=1)
    data.write_bytes(text + b"\n")
    files = (_write_table(table, rows[table.name], folder) for table in tables)
    return [page, data, *files]


def _write_table(table: Table, rows: Rows, folder: Path) -> Path:
    path = folder / f"{table.name}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        writer.writerows(map(_harmless, rows))
    return path


def _harmless(row: list[Plain]) -> list[Plain]:
    """Returns a row that no spreadsheet takes for formulas, whoever wrote it."""
    return [
        f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
        for value in row
    ]
