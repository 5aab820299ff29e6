"""The disk of the exchange is full, to the last byte."""

from __future__ import annotations

import asyncio

import pytest

from onward.client import Client
from onward.core.errors import UnavailableError
from tests.failures.conftest import Found
from tests.support.full_disk import small_disk, why_not
from tests.support.process import HOTLINE, POLICE
from tests.support.reckoning import reckon
from tests.support.scenarios import (
    NO_SECOND,
    NOT_DELIVERED,
    NOT_LOST,
    REPEATED,
    Seen,
    scenario,
)
from tests.support.traffic import Traffic, open_traffic

REFUSED = (
    "What cannot be written is refused (STORAGE_UNAVAILABLE) and may be repeated. As "
    "soon as there is room, the exchange goes on, without a restart."
)


@pytest.mark.failures
@pytest.mark.skipif(bool(why_not()), reason=why_not())
@scenario(
    "The disk is full",
    promised=[NOT_LOST, NO_SECOND, NOT_DELIVERED, REFUSED, REPEATED],
    done="The database, the restore guard and all else of the exchange are on one disk "
    "of their own. Under load, a file fills it to the last byte. After 1.5 seconds "
    "there is room again. Then it is filled once more, the exchange is killed by "
    "SIGKILL, and started again when there is room.",
)
async def test_full(found: Found, seen: Seen) -> None:
    exchange = found()
    with small_disk(exchange, 24) as disk:
        exchange.start()
        homes = exchange.home(HOTLINE), exchange.home(POLICE)
        async with open_traffic(*homes) as traffic:
            await traffic.recovered()
            seen["bytes that filled the disk"] = disk.fill()
            await asyncio.sleep(1.5)
            seen["what was told while it was full"] = await refusal(traffic)
            disk.make_room()
            seen["at work again with room, s"] = await traffic.recovered()
            disk.fill()
            await asyncio.sleep(0.5)
            exchange.kill()
            disk.make_room()
            exchange.start()
            seen["at work again after the start, s"] = await traffic.recovered()
        seen |= await reckon(exchange, traffic)
        assert exchange.stop() == 0


async def refusal(traffic: Traffic) -> str:
    """Returns the reason for which nothing can be published now."""
    prepared = await traffic.prepare()
    async with Client.open(traffic.hotline.home, deadline=1) as client:
        with pytest.raises(UnavailableError) as refused:
            await client.publish_prepared(prepared)
    return refused.value.reason_name
