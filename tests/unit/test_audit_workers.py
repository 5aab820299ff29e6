"""Reading an export in several processes: what goes wrong there is told as here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from onward import _auditing
from onward.core.errors import MalformedError, UnavailableError
from tests.support.audits import Story


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    """A short story that is read by workers all the same."""
    monkeypatch.setattr(_auditing, "_FEW", 0)
    begun = Story.begun(tmp_path / "evidence")
    begun.refer(intake=begun.register(1))
    begun.end()
    return begun


def dies(_: object) -> None:
    """What a worker does that the system ends since memory runs out."""
    os._exit(1)


def test_a_worker_that_dies_leaves_nothing_judged(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_auditing, "_read", dies)
    with pytest.raises(UnavailableError, match="nothing was judged"):
        story.judged(workers=2)


def test_what_a_worker_cannot_read_is_said_as_without_workers(story: Story) -> None:
    file = story.scribe.folder.statements
    *lines, last = file.read_text().splitlines()
    place = json.loads(last)
    del place["statement"]
    file.write_text("\n".join([*lines, json.dumps(place), ""]))
    said = []
    for workers in (0, 2):
        with pytest.raises(MalformedError) as caught:
            story.judged(workers=workers)
        said.append((caught.value.message, caught.value.reason, caught.value.metadata))
    assert said[0] == said[1]
