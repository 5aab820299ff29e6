"""What the benchmark says of its figures, at the terminal and in its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.figures import Aim, Figure, percentile
from bench.machine import Machine
from bench.report import Report
from bench.table import insert_tables

PAGE = """# Figures

<!-- figures: begin; written by `python -m bench --table` -->
old
<!-- figures: end -->

What limits them.
"""


@pytest.mark.parametrize(
    ("aim", "verdict"),
    [
        (Aim(least=1.5), ">= 1.5 met"),
        (Aim(least=1.51), ">= 1.51 MISSED"),
        (Aim(most=1.4), "<= 1.4 MISSED"),
        (Aim(most=150, of="value"), "<= 150 MiB met"),
        (Aim(most=149, of="value"), "<= 149 MiB MISSED"),
        (Aim(most=50, of="growth"), "<= +50 MiB met"),
        (Aim(most=49, of="growth"), "<= +49 MiB MISSED"),
        (None, ""),
    ],
)
def test_an_aim_is_about_ratio_value_or_growth(aim: Aim | None, verdict: str) -> None:
    pairs = [(100, 100), (150, 100), (250, 100)]
    assert Figure.compare("memory", "MiB", pairs, aim=aim).verdict == verdict


def test_an_aim_of_a_figure_that_stands_alone_is_about_its_value() -> None:
    assert Figure.alone("repeats", "", [1], Aim(most=1)).verdict == "<= 1 met"
    assert Figure.alone("repeats", "", [2], Aim(most=1)).verdict == "<= 1 MISSED"


def test_what_was_not_measured_reaches_nothing() -> None:
    assert Figure.missing("publish", "not installed").met is None


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1), (1, 1), (50, 50), (99, 99), (100, 100)]
)
def test_a_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    assert percentile(range(100, 0, -1), percent) == value


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(PAGE)
    return path


def write(page: Path, name: str, *figures: Figure) -> Path:
    """Writes a result beside a page."""
    machine = Machine("2026-11-22", "abc", "a CPU", 2, "Linux", "3.11", {}, 0.0)
    path = page.with_name(name)
    Report(machine, 0.25, quick=False, seconds=1.0, figures=figures).write(path)
    return path


def test_results_take_the_place_of_those_in_the_page(page: Path) -> None:
    rate = Figure.compare("publish", "1/s", [(1500, 3000)], aim=Aim(least=0.5))
    absent = Figure.missing("publish beside NATS", "not installed")
    results = [write(page, "one.json", rate), write(page, "two.json", absent)]
    insert_tables(results, page)
    text = page.read_text()
    assert "| publish | 1,500 | 3,000 | 1/s | 0.50 (0.50-0.50) | >= 0.5 met |" in text
    assert "| publish beside NATS (not installed) |" in text
    assert text.index("(one.json)") < text.index("(two.json)")
    assert "other programs took 25%" in text
    assert "old" not in text
    assert text.startswith("# Figures\n")
    assert text.endswith("What limits them.\n")
    insert_tables(results, page)
    assert page.read_text() == text


def test_results_of_before_can_still_be_shown(page: Path) -> None:
    path = write(page, "old.json", Figure.compare("publish", "1/s", [(2, 1)]))
    result: dict[str, Any] = json.loads(path.read_text())
    del result["figures"][0]["note"]
    result["figures"][0]["aim"] = {"least": 3, "most": None}
    path.write_text(json.dumps(result))
    insert_tables([path], page)
    assert ">= 3.0 MISSED" in page.read_text()


def test_a_page_without_a_place_for_tables_is_left_as_it_is(page: Path) -> None:
    result = write(page, "one.json", Figure.alone("publish", "1/s", [1]))
    page.write_text("no marks")
    with pytest.raises(ValueError, match="one place"):
        insert_tables([result], page)
    assert page.read_text() == "no marks"
