"""kill -9 of the real process at each place between staging and publishing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from onward.core.statements import statement_digest
from tests.e2e.test_kill import CALLERS, UNHURRIED, Publisher, Stranger, prepare
from tests.support.faulty_server import LEDGER_POINTS
from tests.support.process import HOTLINE, ExchangeProcess
from tests.support.scenarios import NO_SECOND, NOT_CHANGED, NOT_LOST, Seen, scenario

PLACES = LEDGER_POINTS.values()


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[ExchangeProcess]:
    """A running exchange with a few members."""
    started = ExchangeProcess.found(tmp_path, UNHURRIED)
    started.start()
    await started.populate()
    yield started
    started.kill()


@scenario(
    "The exchange dies at each place between a change and its answer",
    promised=[NOT_LOST, NO_SECOND, NOT_CHANGED],
    done=f"Under load, the process ends by SIGKILL where {'; '.join(PLACES)}. It is "
    "started again, and what was not answered is sent again. Deliveries are not part "
    "of it.",
)
@pytest.mark.timeout(200)
async def test_a_process_that_dies_anywhere_between_forks_and_loses_nothing(
    exchange: ExchangeProcess, seen: Seen
) -> None:
    publisher, stranger = Publisher(), Stranger(exchange.home(HOTLINE).trust)
    usual = exchange.program
    for number, point in enumerate(LEDGER_POINTS):
        requests = await prepare(exchange, 40)
        again = list(publisher.sent.values())[-10:]
        exchange.stop()
        # 1. It dies at this place, at a visit under load.
        exchange.program = (
            *(sys.executable, "-m", "tests.support.faulty_server"),
            *(point, str(3 + number)),
        )
        exchange.start()
        async with exchange.channel(HOTLINE) as channel:
            left = [*requests, *again]
            callers = [publisher.publish(channel, left) for _ in range(CALLERS)]
            await asyncio.gather(*callers)
        assert exchange.process is not None
        assert exchange.process.wait(20) == -9, point
        exchange.kill()
        # 2. What it told holds, and what it did not tell can be sent again.
        exchange.program = usual
        exchange.start()
        for response in publisher.answered.values():
            stranger.take(response)
        async with exchange.channel(HOTLINE) as channel:
            await stranger.check_consistency(channel, sorted(stranger.verified))
            unanswered = [
                request
                for request in publisher.sent.values()
                if statement_digest(request.referral) not in publisher.answered
            ]
            await publisher.publish(channel, unanswered)
            assert publisher.answered.keys() == publisher.sent.keys(), point
    seen["places where it died"] = len(LEDGER_POINTS)
    seen["referrals published"] = len(publisher.sent)
    seen["receipts that hold"] = 2 * len(stranger.known)
    seen["sizes of the log that receipts lead to, all consistent"] = len(
        stranger.verified
    )
    assert len(publisher.sent) > len(LEDGER_POINTS)
