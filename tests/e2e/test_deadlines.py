"""A thousand deadlines pass at once, and kill -9 in the midst of saying so."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from onward.client import Client
from onward.core.checkpoints import Checkpoint
from onward.core.notes import parse_note
from onward.core.statements import parse_statement
from onward.testing import sample_tip
from onward.v1 import (
    alert_pb2,
    alert_pb2_grpc,
    referral_pb2,
    referral_pb2_grpc,
    vocabulary_pb2,
)
from tests.support.clock import Clock
from tests.support.process import HOTLINE, POLICE, TRUST_DOMAIN, ExchangeProcess
from tests.support.scenarios import SAID_ONCE, Seen, scenario

SHERIFF = f"spiffe://{TRUST_DOMAIN}/agency/franklin-county-sheriff"
REFERRALS = 500
DELIVERIES = 2 * REFERRALS
LEAST_KILLS = 3
PATIENCE = 60.0

SETTINGS = {
    "ONWARD__LIMITS__HEARTBEAT_SECONDS": "1",
    **{
        f"ONWARD__QUOTAS__{name}": "1000000"
        for name in ("PUBLISH_PER_SECOND", "PUBLISH_BURST", "READS_BURST")
    },
}


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """A clock at the right time."""
    return Clock(tmp_path / "clock")


@pytest.fixture
def exchange(tmp_path: Path, clock: Clock) -> Iterator[ExchangeProcess]:
    """An exchange whose clock can be set."""
    started = ExchangeProcess.found(tmp_path, SETTINGS | clock.settings)
    started.start()
    yield started
    started.kill()


async def publish(exchange: ExchangeProcess) -> set[tuple[str, str]]:
    """Publishes referrals to two agencies each; returns their deliveries."""
    recipients = [POLICE, SHERIFF]
    async with Client.open(exchange.home(HOTLINE)) as client:
        prepared = [
            await client.prepare_referral(
                sample_tip(),
                recipients=recipients,
                urgency=vocabulary_pb2.URGENCY_ROUTINE,
                jurisdiction="US-OH",
                basis=vocabulary_pb2.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
                subject_age_group=vocabulary_pb2.AGE_GROUP_ADULT,
            )
            for _ in range(REFERRALS)
        ]
    requests = [referral_pb2.PublishRequest.FromString(p.to_bytes()) for p in prepared]
    async with exchange.channel(HOTLINE) as channel:
        stub = referral_pb2_grpc.ReferralServiceStub(channel)
        await asyncio.gather(*map(stub.Publish, requests))
    ids = (parse_statement(request.referral).message.id for request in requests)
    return {(referral_id, name) for referral_id in ids for name in recipients}


def breaches(exchange: ExchangeProcess) -> int:
    """Returns how many breaches the database holds."""
    (file,) = exchange.folder.glob("exchange/**/*.sqlite")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        query = "SELECT count(*) FROM statements WHERE kind = 'breach'"
        count: int = connection.execute(query).fetchone()[0]
        return count


def kill_while_it_speaks(exchange: ExchangeProcess, said: int) -> int:
    """Starts it, kills it as soon as it has said more; returns how much it has."""
    exchange.start()
    patience = time.monotonic() + PATIENCE
    while breaches(exchange) == said:
        assert time.monotonic() < patience, exchange.log()[-3000:]
        time.sleep(0.002)
    exchange.kill()
    return breaches(exchange)


async def listen(
    exchange: ExchangeProcess, token: str = ""
) -> tuple[list[alert_pb2.WatchAlertsResponse], int]:
    """Returns all alerts until there is silence, and the log's size then."""
    alerts: list[alert_pb2.WatchAlertsResponse] = []
    async with exchange.channel(HOTLINE) as channel, asyncio.timeout(PATIENCE):
        stub = alert_pb2_grpc.AlertServiceStub(channel)
        request = alert_pb2.WatchAlertsRequest(resume_token=token)
        async for response in stub.WatchAlerts(request):
            if response.HasField("heartbeat"):
                note = parse_note(response.heartbeat.checkpoint)
                return alerts, Checkpoint.parse(note.text).size
            alerts.append(response)
    raise AssertionError


@scenario(
    f"{DELIVERIES:,} deadlines pass at once, and the exchange is killed meanwhile",
    promised=[SAID_ONCE],
    done="The clock is set five hours ahead. Whenever the exchange has begun to say "
    "what is late, it is killed by SIGKILL, and started again. At last the clock goes "
    "back, and forth again.",
)
@pytest.mark.timeout(240)
async def test_a_thousand_deadlines_are_said_once_each_whatever_is_killed(
    exchange: ExchangeProcess, clock: Clock, seen: Seen
) -> None:
    await exchange.populate()
    await exchange.join(SHERIFF, vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT)
    deliveries = await publish(exchange)
    none, before = await listen(exchange)
    assert none == []
    assert len(deliveries) == DELIVERIES
    assert exchange.stop() == 0

    clock.set(5)  # an hour after each of them was to be delivered
    kills, said = 0, 0
    while said < DELIVERIES:
        said = kill_while_it_speaks(exchange, said)
        kills += 1
    assert kills >= LEAST_KILLS
    assert said == DELIVERIES

    exchange.start()
    alerts, size = await listen(exchange)
    heard = [parse_statement(alert.alert.statement).message for alert in alerts]
    named = [(one.referral_id, one.breach.due.recipient) for one in heard]
    seen["kills"] = kills
    seen["breaches logged"] = len(named)
    seen["deliveries that they name"] = len(set(named))
    assert len(named) == DELIVERIES
    assert set(named) == deliveries
    assert size == before + DELIVERIES, "an entry too many, or too few"

    for hours in (0, 5):  # the clock goes back, and forth again
        exchange.stop()
        clock.set(hours)
        exchange.start()
        again, now = await listen(exchange, alerts[-1].resume_token)
        assert (again, now) == ([], size)
