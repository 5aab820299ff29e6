"""Weeks of tips at a real exchange, whose report is proven in every step."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bench.loaded import Span, audited, load_year
from bench.spent import Spent

SPAN = Span(intakes=300, days=45)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of an auditor of the whole exchange, which ``onward`` made."""
    folder = tmp_path_factory.mktemp("loaded")

    async def made() -> None:
        loaded = await load_year(folder / "exchange", SPAN)
        async with audited(loaded, folder) as home:
            places = ("--out", str(folder / "out"), "--home", str(home.path))
            await Spent.by(*SPAN.report, *places)  # ends with 0

    asyncio.run(made())
    return json.loads((folder / "out" / "report.json").read_text())


def figures(report: Any, question: int) -> Any:
    return report["answers"][question - 1]["figures"]


def test_everything_is_proven(report: Any) -> None:
    assert report["verdict"] == "PROVEN"
    assert {step["verdict"] for step in report["steps"]} == {"PROVEN"}
    assert {answer["verdict"] for answer in report["answers"]} == {"PROVEN"}


def test_every_tip_that_came_in_is_in_the_sum_and_no_test_is(report: Any) -> None:
    found = figures(report, 1)
    ends = ("passed_on", "withheld", "duplicates", "open")
    assert found["received"] == sum(not tip.test for tip in SPAN.tips())
    assert found["received"] == sum(found[end] for end in ends)
    assert all(found[end] for end in ends[:3])


def test_what_was_late_is_found(report: Any) -> None:
    """Of 300 tips one in forty is decided too late, and the exchange said so."""
    assert figures(report, 2)["breaches"] > 0
    assert report["answers"][1]["attention"]
