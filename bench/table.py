"""The figures of earlier runs as tables of the README."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.report import Report, cells

README: Final = Path(__file__).parent / "README.md"

_BEGIN: Final = "<!-- figures: begin; written by `python -m bench --table` -->\n"
_END: Final = "<!-- figures: end -->\n"

_HEAD: Final = (
    "| measure | exchange | baseline | unit | ratio (rounds) | aim | CPU us |\n"
    "|---|---:|---:|---|---:|---|---:|\n"
)
_COLUMNS: Final = (0, 1, 2, 3, 4, 5, 8)
"""Of those that a terminal shows; latencies of calls are in the JSON."""


def insert_tables(results: Sequence[Path], page: Path = README) -> None:
    """Replaces the tables of a page by those of results.

    Args:
        results: JSON that ``python -m bench --json`` wrote, in the order of the page.
        page: the README; its marks say where the tables are.

    Raises:
        ValueError: the page has not exactly one place for tables.
        msgspec.DecodeError: a file is not such a result.
    """
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end) or _BEGIN in after:
        message = f"{page} must have one place between {_BEGIN!r} and {_END!r}"
        raise ValueError(message)
    tables = "\n".join(_table(path, page) for path in results)
    page.write_text(f"{before}{begin}\n{tables}\n{end}{after}", "utf-8")


def _table(result: Path, page: Path) -> str:
    """Returns one result's table, with where it comes from."""
    report = msgspec.json.decode(result.read_bytes(), type=Report)
    place = result.resolve().relative_to(page.resolve().parent)
    return "\n".join((f"{_origin(report, place)}\n", _HEAD + "".join(_rows(report))))


def _origin(report: Report, place: Path) -> str:
    """Returns a paragraph on where, when and how undisturbed figures were taken."""
    machine = report.machine
    quick = ", a quick look" if report.quick else ""
    return (
        f"Revision `{machine.revision}`, {machine.date}, {machine.cores} cores of "
        f"{machine.cpu}, Python {machine.python}{quick}; other programs took "
        f"{report.others:.0%} of the machine ([{place}]({place})):"
    )


def _rows(report: Report) -> Iterator[str]:
    """Yields the lines of a table; what must be known of a figure stands in its own."""
    for figure in report.figures:
        shown = cells(figure)
        shown[0] += f" ({figure.note})" if figure.note else ""
        yield f"| {' | '.join(shown[column] for column in _COLUMNS)} |\n"
