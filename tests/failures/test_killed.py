"""The exchange is killed while desks hold what they have not confirmed."""

from __future__ import annotations

import time

from onward.client import Client, Incoming
from tests.support.process import HOTLINE, POLICE, ExchangeProcess
from tests.support.reckoning import reckon
from tests.support.scenarios import LEASED, NOT_DELIVERED, NOT_LOST, Seen, scenario
from tests.support.traffic import open_traffic

REFERRALS = 60
HELD = 40
SECONDS_OF_A_LEASE = 60


@scenario(
    "The exchange is killed while a desk holds leases",
    promised=[NOT_LOST, NOT_DELIVERED, LEASED],
    done=f"A desk is given {HELD} of {REFERRALS} referrals, and confirms none. The "
    "exchange is killed by SIGKILL, and started again. Another desk comes; at last the "
    "first one confirms what it has.",
)
async def test_killed_holding_leases(exchange: ExchangeProcess, seen: Seen) -> None:
    hotline, police = exchange.home(HOTLINE), exchange.home(POLICE)
    async with Client.open(police) as slow:
        waiting = slow.receive(max_outstanding=HELD, confirm=False)
        async with open_traffic(hotline, police, callers=0, desks=0) as traffic:
            for _ in range(REFERRALS):
                await traffic.publish()
            held = [await anext(waiting) for _ in range(HELD)]
            exchange.kill()
            exchange.start()
            begun = time.monotonic()
            await traffic.staff(1)
            await traffic.settled()
            again = time.monotonic() - begun
        for item in held:
            assert isinstance(item, Incoming)
            await item.confirm()
        await waiting.aclose()
    seen["held by the first desk"] = len(held)
    seen["all confirmed by the other after, s"] = round(again, 2)
    seen |= await reckon(exchange, traffic)
    assert again < SECONDS_OF_A_LEASE / 2
