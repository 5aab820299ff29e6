"""The how-to pages for hotlines and watch desks: what they tell people to type."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from onward.cli._program import ALERT_FACTS
from onward.client import Client
from onward.v1 import vocabulary_pb2
from tests.support.pages import DOCS, SECONDS, session
from tests.support.process import HOTLINE, POLICE, ExchangeProcess, command

pytestmark = pytest.mark.timeout(SECONDS + 30)


def page(name: str) -> str:
    """Returns the text of a page."""
    return (DOCS / "how-to" / name).read_text("utf-8")


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[ExchangeProcess]:
    """A running exchange; beside it what the pages speak of, by the names there."""
    founded = ExchangeProcess.found(tmp_path)
    founded.start()

    async def populate() -> None:
        await founded.join(HOTLINE, vocabulary_pb2.MEMBER_KIND_HOTLINE)
        await founded.join(POLICE, vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT)

    asyncio.run(populate())
    for name, target in (
        ("hotline", founded.home(HOTLINE).path),
        ("police", founded.home(POLICE).path),
        ("docs", DOCS),
    ):
        (tmp_path / name).symlink_to(target)
    yield founded
    founded.stop()


async def breached(exchange: ExchangeProcess) -> None:
    """Waits until the exchange has logged a breach."""
    async with (
        Client.open(exchange.home(HOTLINE)) as client,
        aclosing(client.alerts()) as alerts,
    ):
        await anext(alerts)


def test_a_supervisor_can_follow_the_page(exchange: ExchangeProcess) -> None:
    for step in session(page("hotline-supervisor.md"), exchange.folder):
        step.check()


def test_a_watch_desk_can_follow_the_page(exchange: ExchangeProcess) -> None:
    tip = json.loads((DOCS / "samples" / "NH-0001.json").read_text())
    tip["receivedTime"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    file = exchange.folder / "tip.json"
    file.write_text(json.dumps(tip))
    command(
        *("onward", "intake", str(file), "--home", str(exchange.folder / "hotline")),
        *("--urgency", "IMMINENT_DANGER", "--urgency-reason", "leaving soon"),
        *("--jurisdiction", "US-OH", "--subject", "ADULT"),
    )
    asyncio.run(breached(exchange))
    session(page("watch-desk.md"), exchange.folder)
    paged = (exchange.folder / "pages.txt").read_text()
    assert paged == f"breach: PASS_ON held by {HOTLINE}\n"


def test_the_page_names_every_deadline() -> None:
    text = page("watch-desk.md")
    for word in vocabulary_pb2.DeadlineKind.keys()[1:]:
        assert f"`{word.removeprefix('DEADLINE_KIND_')}`" in text
    assert "ONWARD_DEADLINE" in ALERT_FACTS
