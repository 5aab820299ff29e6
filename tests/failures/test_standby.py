"""PostgreSQL's primary dies, or the standby that each commit waits for is gone."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from onward.client import Client
from onward.core.errors import Reason, UnavailableError, UnknownError
from tests.support.process import HOTLINE, POLICE, ExchangeProcess
from tests.support.reckoning import reckon
from tests.support.replicas import found
from tests.support.scenarios import (
    NO_SECOND,
    NOT_CHANGED,
    NOT_DELIVERED,
    NOT_LOST,
    REPEATED,
    Seen,
    scenario,
)
from tests.support.standby import Pair, running_pair
from tests.support.traffic import UNHURRIED, Traffic, open_traffic

DATABASE = "exchange"
PATIENCE = 10.0
"""Seconds after which the exchange no longer waits for a commit."""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as pair:
        asyncio.run(pair.in_step())
        asyncio.run(pair.primary.execute(f"CREATE DATABASE {DATABASE}"))
        yield pair


@pytest.fixture(scope="module")
def exchange(
    pair: Pair, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ExchangeProcess]:
    """A running exchange that knows both servers, with a few members."""
    made = found(tmp_path_factory.mktemp("exchange"), pair.url(DATABASE), UNHURRIED)
    made.start()
    try:
        asyncio.run(made.populate())
        yield made
    finally:
        made.kill()


@asynccontextmanager
async def traffic_at(
    exchange: ExchangeProcess, callers: int = 4
) -> AsyncIterator[Traffic]:
    """Publishes and receives while the block runs."""
    homes = exchange.home(HOTLINE), exchange.home(POLICE)
    async with open_traffic(*homes, callers=callers) as traffic:
        yield traffic


@pytest.mark.failures
@scenario(
    "The synchronous standby of PostgreSQL is gone, and comes back",
    promised=[NOT_LOST, NO_SECOND, REPEATED],
    done="The standby is stopped, and a referral is published. The primary has it, "
    "and waits: nobody is shown it, and its publisher is refused (STORAGE_UNAVAILABLE) "
    "and publishes it again once the standby is back.",
)
async def test_standby_gone(exchange: ExchangeProcess, pair: Pair, seen: Seen) -> None:
    async with traffic_at(exchange, callers=0) as traffic:
        prepared = await traffic.prepare()
        pair.standby.stop(signal.SIGQUIT)
        begun = time.monotonic()
        async with Client.open(
            exchange.home(HOTLINE), deadline=PATIENCE + 4
        ) as impatient:
            with pytest.raises(UnavailableError) as refused:
                await impatient.publish_prepared(prepared)
            assert refused.value.reason == Reason.ERROR_REASON_STORAGE_UNAVAILABLE
            seen["until the publisher is refused, s"] = _since(begun)
            with pytest.raises(UnknownError):
                await impatient.receipt(prepared.digest)
        pair.standby.start()
        begun = time.monotonic()
        await traffic.send(prepared)
        seen["from the standby's return until it is accepted, s"] = _since(begun)
    seen |= await reckon(exchange, traffic)


@scenario(
    "PostgreSQL's primary is killed, and its standby is promoted",
    promised=[NOT_LOST, NO_SECOND, NOT_DELIVERED, NOT_CHANGED, REPEATED],
    done="Under load, all processes of the primary are killed by SIGKILL, and the "
    "synchronous standby is promoted. The exchange knows both by its URL; it is not "
    "restarted, nor told.",
)
async def test_primary_killed(
    exchange: ExchangeProcess, pair: Pair, seen: Seen
) -> None:
    await pair.in_step()
    async with traffic_at(exchange) as traffic:
        await traffic.recovered()
        begun = time.monotonic()
        await pair.fail_over()
        seen["until the standby is promoted, s"] = _since(begun)
        seen["from there until at work again, s"] = await traffic.recovered()
    seen |= await reckon(exchange, traffic)


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 2)
