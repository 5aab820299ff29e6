"""The clock of the exchange steps, while it works."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from onward.core.errors import Reason
from tests.failures.conftest import Found
from tests.support.clock import Clock
from tests.support.process import HOTLINE, POLICE
from tests.support.reckoning import own_statements, reckon
from tests.support.scenarios import NO_SECOND, NOT_LOST, SAID_ONCE, Seen, scenario
from tests.support.traffic import UNHURRIED, open_traffic

LATE = 20
DAY = 24
STEPS = (DAY + 6, DAY, DAY - 6, DAY, DAY + 6, DAY)

REFUSED = (
    "An exchange whose clock is wrong by more than five minutes refuses what members "
    "say (TIME_IMPLAUSIBLE), and goes on as soon as it is right."
)


@pytest.mark.failures
@scenario(
    "The clock of the exchange steps",
    promised=[SAID_ONCE, REFUSED, NOT_LOST, NO_SECOND],
    done=f"{LATE} referrals wait for an agency that does not come. The clock of the "
    "exchange is set six hours ahead, right, six hours behind, and right. Then the "
    "agency comes, and the hotline goes on to publish, and the clock makes the same "
    "steps. The members' clocks are right all the time.",
)
async def test_clock(found: Found, seen: Seen, tmp_path: Path) -> None:
    clock, right = Clock(tmp_path / "clock"), Clock(tmp_path / "right")
    # A day on: six hours before, the members' keys are in force already.
    clock.set(DAY)
    right.set(DAY)
    exchange = found(UNHURRIED | clock.settings)
    exchange.start()
    homes = exchange.home(HOTLINE), exchange.home(POLICE)
    async with open_traffic(*homes, callers=0, desks=0, clock=right.now) as traffic:
        traffic.passing = frozenset({Reason.ERROR_REASON_TIME_IMPLAUSIBLE})
        for _ in range(LATE):
            await traffic.publish()
        waited = set(traffic.sent)
        for hours in STEPS:
            clock.set(hours)
            await asyncio.sleep(1.5)  # the exchange looks at its deadlines each second
        traffic.begin(2)
        await traffic.staff(1)
        again = []
        for hours in STEPS:
            clock.set(hours)
            if hours == DAY:
                again.append(await traffic.recovered())
            else:
                await asyncio.sleep(0.5)
    seen["calls refused while the clock was wrong, and repeated"] = traffic.refused
    seen["longest until at work again with a right clock, s"] = max(again)
    seen |= await reckon(exchange, traffic)
    async with exchange.channel(HOTLINE) as channel:
        chains = await own_statements(channel)
    said = {name: chains[name].count("breach") for name in traffic.sent}
    seen["breaches of what had waited"] = sum(said[name] for name in waited)
    seen["deliveries with more than one breach"] = sum(
        count > 1 for count in said.values()
    )
    assert {said[name] for name in waited} == {1}
    # Of what was on its way when the clock stepped, some was late by that clock.
    assert set(said.values()) <= {0, 1}
