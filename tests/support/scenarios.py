"""Failure scenarios: what was promised, what is done to break it, and what was seen.

A test becomes one by the mark that :func:`scenario` makes, and tells what it measured
by the fixture ``seen``. Both stand as properties in the results of pytest, which
``tools/failures.py`` turns into the report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import pytest

Seen: TypeAlias = dict[str, int | float | str]
"""What a scenario has found: numbers by what they count; seconds end in ``, s``."""

PAGE: Final = (
    Path(__file__).resolve().parents[2] / "docs/explanation/what-is-promised.md"
)
_PROMISE: Final = re.compile(r"^## ([^\n]+)\n\n\*(.+?)\*\n", re.MULTILINE | re.DOTALL)


def _promises() -> dict[str, str]:
    """Returns the promises of the page, in one line each, by their headings."""
    found = _PROMISE.findall(PAGE.read_text("utf-8"))
    return {heading: " ".join(text.split()) for heading, text in found}


_PROMISES: Final = _promises()

NOT_LOST: Final = _PROMISES["An acknowledged statement is not lost"]
NO_SECOND: Final = _PROMISES["A retry never makes a second referral"]
NOT_DELIVERED: Final = _PROMISES["Nothing is shown as delivered that was not"]
NOT_CHANGED: Final = _PROMISES["History cannot be changed unnoticed"]
SAID_ONCE: Final = _PROMISES["A missed deadline is said once, and is never taken back"]

REPEATED: Final = (
    "Calls that fail since the exchange cannot be reached, or is busy, are repeated by "
    "the SDK with the same bytes until their deadline; streams are opened again."
)
LEASED: Final = (
    "A delivery is leased to one stream, so several desks share the work; what was not "
    "received when the stream or the lease ends is given out again."
)
MOST_URGENT: Final = (
    "A desk is given the most urgent delivery first, and of these the oldest; one who "
    "waits for one agency does not wait for the backlog of another."
)


def scenario(title: str, *, promised: Sequence[str], done: str) -> pytest.MarkDecorator:
    """Marks a test as a scenario of the report.

    Args:
        title: what fails, as a heading.
        promised: what was said to hold: the page's words, or those of a reference.
        done: how the test tries to break it.
    """
    return pytest.mark.scenario(title=title, promised=list(promised), done=done)


def note_scenarios(items: Sequence[pytest.Item]) -> None:
    """Writes down of each scenario what is known before it runs."""
    for item in items:
        if mark := item.get_closest_marker("scenario"):
            item.user_properties.append(("scenario", json.dumps(mark.kwargs)))


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Iterator[Seen]:
    """What a scenario finds; also what it had found when it failed."""
    found: Seen = {}
    yield found
    request.node.user_properties.append(("seen", json.dumps(found)))
