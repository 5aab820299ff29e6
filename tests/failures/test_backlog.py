"""One recipient is away for three days, and comes back."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from onward.v1 import vocabulary_pb2
from tests.failures.conftest import Found
from tests.support.clock import Clock
from tests.support.process import HOTLINE, POLICE, TRUST_DOMAIN
from tests.support.reckoning import reckon
from tests.support.scenarios import (
    MOST_URGENT,
    NOT_DELIVERED,
    NOT_LOST,
    SAID_ONCE,
    Seen,
    scenario,
)
from tests.support.traffic import UNHURRIED, Traffic, open_traffic

SHERIFF = f"spiffe://{TRUST_DOMAIN}/agency/franklin-county-sheriff"
DAYS = 3
HOURS = 24 * DAYS
STEP = 6
REFERRALS_PER_STEP = 30
URGENCIES = (
    vocabulary_pb2.URGENCY_TIME_SENSITIVE,
    vocabulary_pb2.URGENCY_ROUTINE,
    vocabulary_pb2.URGENCY_INFORMATIONAL,
)
ALARMED = 3.0
"""Seconds after which the exchange has looked at its deadlines, whatever its load."""


@pytest.mark.failures
@scenario(
    f"A recipient is away for {HOURS} hours, and drains its backlog",
    promised=[NOT_LOST, NOT_DELIVERED, MOST_URGENT, SAID_ONCE],
    done=f"In {HOURS} hours of the exchange's clock, {HOURS // STEP} times "
    f"{REFERRALS_PER_STEP} referrals of three classes are published to an agency that "
    "does not come, and others to one that does. Then one desk of the first receives "
    "and confirms all, while the other agency goes on as before.",
)
async def test_backlog(found: Found, seen: Seen, tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    exchange = found(UNHURRIED | clock.settings)
    exchange.start()
    there = await exchange.join(SHERIFF, vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT)
    hotline, away = exchange.home(HOTLINE), exchange.home(POLICE)
    async with (
        open_traffic(hotline, there, callers=0, desks=1, clock=clock.now) as usual,
        open_traffic(hotline, away, callers=0, desks=0, clock=clock.now) as backlog,
    ):
        for hours in range(0, HOURS, STEP):
            clock.set(hours)
            for urgency in URGENCIES:
                count = REFERRALS_PER_STEP // len(URGENCIES)
                every = (backlog.publish(urgency) for _ in range(count))
                await asyncio.gather(*every)
            await usual.publish()
            await usual.settled()
        clock.set(HOURS)
        late = overdue(backlog, clock)
        await asyncio.sleep(ALARMED)
        calm = len(usual.journeys)
        begun = time.monotonic()
        await backlog.staff(1)
        draining = asyncio.create_task(backlog.settled())
        while not draining.done():
            await usual.publish()
            await usual.settled()
        await draining
        seconds = time.monotonic() - begun
        meanwhile = list(usual.journeys.values())[calm:]
    seen["referrals that waited"] = len(backlog.sent)
    seen["drained by one desk in, s"] = round(seconds, 2)
    seen["drained in a second"] = round(len(backlog.sent) / seconds)
    before = list(usual.journeys.values())[:calm]
    seen["to the other agency, usually before, s"] = round(median(before), 3)
    seen["to the other agency, usually meanwhile, s"] = round(median(meanwhile), 3)
    seen |= await reckon(exchange, backlog)
    assert seen["breaches logged"] == late
    assert in_order(backlog)


def overdue(traffic: Traffic, clock: Clock) -> int:
    """Returns how many deliveries should have been made by now."""
    now = clock.now().timestamp()
    return sum(
        published.acceptance.message.acceptance.deadlines[0].deliver_by_time.seconds
        < now
        for published in traffic.accepted.values()
    )


def in_order(traffic: Traffic) -> bool:
    """Whether a desk was given the most urgent first, and then the oldest."""
    places = {name: one.referral.log_index for name, one in traffic.accepted.items()}
    ranks = [
        (traffic.accepted[name].referral.message.referral.urgency, places[name])
        for name in traffic.stored
    ]
    return all(first < second for first, second in pairwise(ranks))
