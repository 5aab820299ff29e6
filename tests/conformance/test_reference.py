"""The reference pages say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from onward.core.bundle import FORMAT, MAX_BUNDLE_SIZE, Bundle
from onward.core.conformance import _OPERATIONS, answer
from onward.core.verify import STEPS, ExitCode
from tests.conformance.case import VECTORS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
BUNDLE = (REFERENCE / "bundle.md").read_text()
CONFORMANCE = (REFERENCE / "conformance.md").read_text()


def rows(page: str, heading: str) -> list[list[str]]:
    """Returns the cells of the first table below a heading."""
    section = page.partition(f"\n{heading}\n")[2]
    table = re.search(r"^\|---.*\n((?:\|.*\n)+)", section, re.MULTILINE)
    assert table, heading
    lines = table.group(1).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names(cell: str) -> list[str]:
    """Returns what stands in code quotes."""
    return re.findall(r"`([^`]+)`", cell)


def test_the_steps_of_the_page_are_those_of_the_report() -> None:
    listed = re.findall(r"^(\d+)\. \*\*(\w+)\*\*:", BUNDLE, re.MULTILINE)
    assert {int(number): name for number, name in listed} == dict(STEPS)


def test_the_exit_codes_of_the_page_are_those_of_the_report() -> None:
    codes = [int(row[0]) for row in rows(BUNDLE, "### Exit codes")]
    assert codes == [int(code) for code in ExitCode]


def test_the_members_of_the_page_are_those_of_a_bundle() -> None:
    listed = {names(row[0])[0] for row in rows(BUNDLE, "## The file")}
    present = set[str]()
    for name in ("for-one-recipient", "stamped", "earlier-checkpoint-of-witnesses"):
        vector = VECTORS / "bundle" / name / "request.json"
        bundle = json.loads(vector.read_text())["bundle"]
        read = Bundle.parse(json.dumps(bundle).encode()).with_content(b"content")
        present |= set(json.loads(read.format()))
    assert present == listed
    assert FORMAT in BUNDLE
    assert f"{MAX_BUNDLE_SIZE:,} bytes" in BUNDLE


def test_the_members_of_the_view_are_those_of_the_page() -> None:
    listed = {name for row in rows(BUNDLE, "### The view") for name in names(row[0])}
    vector = VECTORS / "bundle" / "delivered" / "request.json"
    for item in json.loads(vector.read_text())["bundle"]["view"]:
        assert set(item) == listed


def test_the_operations_of_the_page_are_those_of_the_executable() -> None:
    listed = {names(row[0])[0] for row in rows(CONFORMANCE, "## Operations")}
    assert listed == set(_OPERATIONS)


def test_the_errors_of_the_page_are_those_of_the_vectors() -> None:
    listed = {
        names(row[0])[0]: set(names(row[3])) - {"ErrorReason"}
        for row in rows(CONFORMANCE, "## Operations")
    }
    for path in VECTORS.rglob("expected.json"):
        op, error = path.parent.parent.name, json.loads(path.read_text()).get("error")
        if op not in {"request", "bundle"} and error not in {None, "REQUEST"}:
            assert error in listed[op], path


@pytest.mark.parametrize(
    ("request_line", "answer_line"),
    re.findall(r"```json\n(\{.*\})\n(\{.*\})\n```", CONFORMANCE),
)
def test_the_examples_of_the_page_are_answered_so(
    request_line: str, answer_line: str
) -> None:
    assert json.loads(answer(request_line)) == json.loads(answer_line)
