"""A desk that takes deliveries in: what is confirmed, when, and what ends it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from onward._incoming import Incoming, Invalid, Retracted
from onward.cli import _receive
from onward.cli._program import Program
from onward.cli._receive import Desk, Item, Wish
from onward.cli.exits import Exit
from onward.client import Logged, Tip
from onward.core.checkpoints import Checkpoint
from onward.core.errors import Reason, UnavailableError
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.support import chain_builder
from tests.support.chain_builder import HOTLINE, OHIO, ChainBuilder, established

WISH = Wish(None, None, 16, once=False, drain=True, as_json=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_receive, "PAUSE", 0.05)


@dataclass(slots=True)
class Custody:
    """The statements of one delivery, logged as the client logs them.

    Attributes:
        said: their kinds, in order.
        fails: what logging fails with, if it does.
        then: is called when something was logged.
    """

    exchange: ChainBuilder
    referral: chain_builder.Logged
    handover: chain_builder.Logged
    said: list[str] = field(default_factory=list)
    fails: UnavailableError | None = None
    then: Callable[[], None] = lambda: None

    @property
    def referral_id(self) -> str:
        return self.referral.id

    async def receive(
        self, content_digest: bytes, check: vocabulary_pb2.ContentCheck.ValueType
    ) -> Logged:
        await asyncio.sleep(0)
        if self.fails:
            raise self.fails
        body = statement_pb2.Received(content_digest=content_digest, check=check)
        return self._log(received=body)

    async def reply_to_retraction(
        self, action: vocabulary_pb2.RetractionAction.ValueType, citation: str
    ) -> Logged:
        await asyncio.sleep(0)
        body = statement_pb2.RetractionReply(action=action, citation=citation)
        return self._log(retraction_reply=body)

    def _log(self, **body: Any) -> Logged:
        logged = client_value(self.exchange.answer(OHIO, self.handover, **body))
        self.said.append(logged.kind)
        self.then()
        return logged


def client_value(item: chain_builder.Logged) -> Logged:
    """Returns an entry of the log as the client hands it out."""
    checkpoint = Checkpoint("national.example/log", item.index + 1, bytes(32))
    return Logged(item.statement, item.receipt.format(), item.index, checkpoint)


def custody() -> Custody:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    return Custody(exchange, referral, exchange.hand_over(referral, OHIO))


def incoming(kept: Any) -> Incoming:
    chain = [client_value(item) for item in kept.exchange.chain(kept.referral_id)]
    return Incoming(Tip(narrative="told"), chain[0], chain[1], chain[2], 1, "", kept)


def program(script: str) -> Program:
    return Program.find([sys.executable, "-c", script])


async def stream(*items: Item) -> AsyncGenerator[Item, None]:
    """Yields items, and then waits for ever, as the client does."""
    for item in items:
        yield item
    await asyncio.Event().wait()


async def taken(wish: Wish, *items: Item) -> Exit:
    """Has a desk take items; returns what it ends with."""
    desk = Desk(wish, lambda _: None)
    async with asyncio.timeout(30):
        await desk.take(stream(*items))
    return desk.worst


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_draining_ends_when_nothing_waits_and_nothing_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = custody(), custody()
    received = asyncio.Event()
    first.then = received.set

    async def one_after_the_other() -> AsyncGenerator[Item, None]:
        """Has one place outstanding: the next comes when the first is received."""
        yield incoming(first)
        await received.wait()
        yield incoming(second)
        await asyncio.Event().wait()

    wish = replace(WISH, program=program("import time; time.sleep(0.4)"))
    async with asyncio.timeout(30):
        await Desk(wish, lambda _: None).take(one_after_the_other())
    assert (first.said, second.said) == (["received"], ["received"])
    assert [line["event"] for line in printed(capsys)] == ["received", "received"]


async def test_a_failure_of_one_does_not_end_the_others(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    good, bad = custody(), custody()
    away = UnavailableError(Reason.ERROR_REASON_UNSPECIFIED, "the exchange is away")
    bad.fails = away
    assert await taken(WISH, incoming(bad), incoming(good)) == Exit.UNAVAILABLE
    assert good.said == ["received"]


async def test_what_is_being_stored_is_not_stored_twice_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, log = custody(), tmp_path / "runs"
    script = f"open({str(log)!r}, 'a').write('x'); import time; time.sleep(0.3)"
    wish = replace(WISH, program=program(script))
    # Its lease lapsed meanwhile, so the exchange delivers it again.
    await taken(wish, incoming(kept), incoming(kept))
    assert log.read_text() == "x"
    assert kept.said == ["received"]


async def test_without_a_confirmation_nothing_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = custody()
    wish = replace(WISH, program=program("raise SystemExit(1)"))
    assert await taken(wish, incoming(kept)) == Exit.REFUSED
    assert kept.said == []
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "comes again" in shown.err


async def test_content_that_is_not_usable_is_reported_and_not_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: Any = custody()
    check = vocabulary_pb2.CONTENT_CHECK_CANNOT_OPEN
    item = Invalid(kept.referral_id, check, 1, bytes(32), kept)
    wish = replace(WISH, directory=tmp_path, program=program("raise SystemExit(9)"))
    assert await taken(wish, item) == Exit.REFUSED
    assert kept.said == ["received"]
    assert not list(tmp_path.iterdir())
    shown = capsys.readouterr()
    assert "CANNOT_OPEN; the publisher is told" in shown.err
    assert json.loads(shown.out)["body"]["check"] == "CANNOT_OPEN"


async def test_a_retraction_without_a_program_is_shown_and_not_answered(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept: Any = custody()
    body = statement_pb2.Retraction(
        reason=vocabulary_pb2.RETRACTION_REASON_SENT_IN_ERROR
    )
    retraction = kept.exchange.answer(HOTLINE, kept.referral, retraction=body)
    item = Retracted(client_value(kept.referral), client_value(retraction), kept)
    assert await taken(WISH, item) == Exit.OK
    (line,) = printed(capsys)
    assert (line["event"], line["body"]) == ("retracted", {"reason": "SENT_IN_ERROR"})
    assert kept.said == []


async def test_once_leaves_the_stream_open_until_the_delivery_is_stored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = custody()
    open_when_said: list[bool] = []

    async def watched(item: Item) -> AsyncGenerator[Item, None]:
        try:
            yield item
            await asyncio.Event().wait()
        finally:
            open_when_said.append("received" not in kept.said)

    wish = replace(WISH, once=True, drain=False, program=program(""))
    await Desk(wish, lambda _: None).take(watched(incoming(kept)))
    assert open_when_said == [False]
