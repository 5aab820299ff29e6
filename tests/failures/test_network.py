"""The network between members and the exchange fails, below TLS."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from statistics import median

import pytest

from onward.home import Home
from tests.support.process import HOTLINE, POLICE, ExchangeProcess
from tests.support.proxy import Proxy, Weather, open_proxy
from tests.support.reckoning import reckon
from tests.support.scenarios import (
    LEASED,
    NO_SECOND,
    NOT_CHANGED,
    NOT_DELIVERED,
    NOT_LOST,
    REPEATED,
    Seen,
    scenario,
)
from tests.support.traffic import open_traffic

CUTS = 15
SWAPS = 10
SECONDS_OF_A_LEASE = 60

NOTICED = (
    "A connection that died without a word is noticed, by the SDK before a call gives "
    "up (30 seconds), and by the exchange before a lease lapses (60 seconds)."
)
UNCHANGED = (
    "What does not arrive as it was sent is not taken for it: TLS ends the connection, "
    "and the SDK repeats the call on another."
)


@pytest.fixture
async def proxy(exchange: ExchangeProcess) -> AsyncIterator[Proxy]:
    """A proxy between the members and the exchange."""
    async with open_proxy(exchange.port) as between:
        yield between


def behind(proxy: Proxy, exchange: ExchangeProcess) -> list[Home]:
    """Returns homes of members who reach the exchange through the proxy only."""
    return [exchange.moved_home(name, proxy.port) for name in (HOTLINE, POLICE)]


@scenario(
    "The network is cut again and again",
    promised=[NOT_LOST, NO_SECOND, NOT_DELIVERED, REPEATED],
    done=f"Four callers of a hotline publish and two desks receive through a proxy. It "
    f"resets all connections {CUTS} times, 50 to 250 ms apart; then it resets each new "
    "one for half a second; then it holds everything back for a second, and tells "
    "nobody.",
)
async def test_cut(exchange: ExchangeProcess, proxy: Proxy, seen: Seen) -> None:
    chance = random.Random(1)
    async with open_traffic(*behind(proxy, exchange)) as traffic:
        await traffic.recovered()
        for _ in range(CUTS):
            await asyncio.sleep(chance.uniform(0.05, 0.25))  # the moment of the cut
            proxy.cut()
        seen["at work again after the last cut, s"] = await traffic.recovered()
        with proxy.absence():
            await asyncio.sleep(0.5)
        seen["at work again after the absence, s"] = await traffic.recovered()
        with proxy.silence():
            await asyncio.sleep(1)
        seen["at work again after the silence, s"] = await traffic.recovered()
    seen["connections that were cut"] = proxy.cuts
    seen |= await reckon(exchange, traffic)
    assert proxy.cuts >= CUTS
    assert traffic.settling < SECONDS_OF_A_LEASE / 2


@pytest.mark.failures
@scenario(
    "The network is slow, and overtakes itself",
    promised=[NOT_LOST, NO_SECOND, NOT_DELIVERED],
    done="The proxy holds each segment back for 10 to 120 ms by itself, so that what "
    "was sent first on one connection arrives after what was sent later on another. It "
    "splits each into pieces of 1 to 700 bytes.",
)
async def test_slow(exchange: ExchangeProcess, proxy: Proxy, seen: Seen) -> None:
    async with open_traffic(*behind(proxy, exchange)) as traffic:
        await traffic.recovered()
        calm = median(traffic.waits)
        proxy.weather, before = Weather((0.01, 0.12), (1, 700)), len(traffic.waits)
        await asyncio.sleep(3)
        slow = traffic.waits[before:]
        proxy.weather = Weather()
    seen["pieces passed on"] = proxy.pieces
    seen["usual wait for an answer before, s"] = round(calm, 3)
    seen["usual wait for an answer meanwhile, s"] = round(median(slow), 3)
    seen |= await reckon(exchange, traffic)
    assert traffic.given_up == 0


@pytest.mark.failures
@scenario(
    "A router forgets the connections",
    promised=[NOT_LOST, NO_SECOND, NOT_DELIVERED, NOTICED, LEASED],
    done="What goes over any connection that is open is held back for ever, in both "
    "directions, and neither side is told; new connections are let through.",
)
@pytest.mark.timeout(200)
async def test_forgotten(exchange: ExchangeProcess, proxy: Proxy, seen: Seen) -> None:
    async with open_traffic(*behind(proxy, exchange)) as traffic:
        await traffic.recovered()
        proxy.forget()
        seen["at work again, s"] = await traffic.recovered()
        begun = time.monotonic()
    seen["from there until all was delivered, s"] = round(time.monotonic() - begun, 2)
    seen |= await reckon(exchange, traffic)
    assert traffic.given_up == 0


@pytest.mark.failures
@scenario(
    "The network swaps bytes",
    promised=[
        NOT_CHANGED,
        NOT_LOST,
        NO_SECOND,
        UNCHANGED,
    ],
    done=f"The proxy cuts the streams of bytes into pieces of 100 to 900, and {SWAPS} "
    "times swaps two of them that follow each other, which TCP never would.",
)
async def test_swapped(exchange: ExchangeProcess, proxy: Proxy, seen: Seen) -> None:
    proxy.weather = Weather(piece=(100, 900))
    async with open_traffic(*behind(proxy, exchange)) as traffic:
        await traffic.recovered()
        calm = proxy.connections
        for _ in range(SWAPS):
            await proxy.swap()
            await traffic.recovered()
    seen["pieces swapped"] = proxy.swapped
    seen["connections opened anew"] = proxy.connections - calm
    seen |= await reckon(exchange, traffic)
    assert proxy.swapped == SWAPS <= proxy.connections - calm
