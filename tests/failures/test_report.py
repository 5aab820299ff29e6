"""The report says of each scenario what was promised, done and seen."""

from __future__ import annotations

import json
from pathlib import Path
from xml.sax.saxutils import quoteattr

from bench.machine import Machine
from tests.support.scenarios import NOT_LOST
from tools.failures import Report, scenarios

KNOWN = {"title": "It rains", "promised": [NOT_LOST], "done": "Rain falls."}
MACHINE = Machine("now", "abc", "a CPU", 2, "Linux", "3.11", {"grpcio": "1"}, 0.5)


def results(folder: Path, inside: str) -> Path:
    """Writes results as pytest does, of a scenario and of another test."""
    file = folder / "results.xml"
    properties = {"scenario": KNOWN, "seen": {"drops": 1200, "lost": 0}}
    listed = "".join(
        f"<property name={quoteattr(name)} value={quoteattr(json.dumps(value))}/>"
        for name, value in properties.items()
    )
    file.write_text(
        '<testsuites><testcase classname="tests.failures.test_rain" name="a" '
        f'time="2.6"><properties>{listed}</properties>{inside}</testcase>'
        '<testcase classname="other" name="b" time="1"/></testsuites>'
    )
    return file


def test_a_promise_that_held_is_told_with_what_was_seen(tmp_path: Path) -> None:
    report = Report(MACHINE, list(scenarios(results(tmp_path, ""))))
    page = report.page()
    assert "| [It rains](#it-rains) | held | 3 |" in page
    assert f"- {NOT_LOST}" in " ".join(page.split())
    assert "**Done.** Rain falls." in page
    assert "| drops | 1,200 |\n| lost | 0 |" in page
    (one,) = json.loads(report.json())["scenarios"]
    assert (one["verdict"], one["seen"]["drops"]) == ("held", 1200)


def test_one_that_broke_or_was_not_tried_says_so(tmp_path: Path) -> None:
    for tag, verdict in (("failure", "BROKEN"), ("skipped", "skipped")):
        inside = f'<{tag} message="a tip was lost&#10;traceback"/>'
        report = Report(MACHINE, list(scenarios(results(tmp_path, inside))))
        assert f"| [It rains](#it-rains) | {verdict} | 3 |" in report.page()
        assert "a tip was lost (`tests/failures/test_rain.py`" in report.page()
