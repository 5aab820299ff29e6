"""Runs the vectors against a conformance executable.

``ONWARD_CONFORMANCE`` names the command, such as ``node dist/main.js conformance``; by
default it is the Python client's own.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import generate
from tests.conformance.case import VECTORS

OWN = [sys.executable, "-m", "onward", "conformance"]
FOLDERS = sorted(path.parent for path in VECTORS.rglob("expected.json"))


def request_line(folder: Path) -> str:
    """Returns a vector's request as one line."""
    raw = folder / "request.txt"
    if raw.exists():
        return raw.read_text().rstrip("\n")
    request = json.loads((folder / "request.json").read_text())
    return json.dumps(request, ensure_ascii=False)


@pytest.fixture(scope="session")
def answers() -> dict[Path, object]:
    """One process answers all requests, in order."""
    command = shlex.split(os.environ.get("ONWARD_CONFORMANCE", "")) or OWN
    requests = "".join(f"{request_line(folder)}\n" for folder in FOLDERS)
    done = subprocess.run(
        command, input=requests.encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    assert len(lines) == len(FOLDERS), "one answer for each request"
    return dict(zip(FOLDERS, map(json.loads, lines), strict=True))


@pytest.mark.parametrize(
    "folder", FOLDERS, ids=[str(path.relative_to(VECTORS)) for path in FOLDERS]
)
def test_vector(folder: Path, answers: dict[Path, object]) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    assert expected["ok"] is not folder.name.endswith("_fail")
    assert without_reasons(answers[folder]) == expected


def without_reasons(answer: object) -> object:
    """Returns an answer without what is for people, and each client's own words."""
    assert isinstance(answer, dict)
    for step in answer.get("steps", ()):
        assert step.pop("why"), "each step says why"
    return answer


def test_vectors_are_as_generated() -> None:
    assert generate.differences() == []


def test_there_are_enough_vectors() -> None:
    operations = {folder.parent.name for folder in FOLDERS}
    assert operations == {
        "inclusion",
        "consistency",
        "note",
        "tlog_proof",
        "tile_paths",
        "statement",
        "body",
        "commitment",
        "open",
        "timestamp",
        "bundle",
        "request",
    }
    assert len(FOLDERS) > 60
