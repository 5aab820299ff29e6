"""Everybody tries again, all at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from statistics import median

import grpc
import pytest

from onward.core.statements import parse_statement
from onward.v1 import referral_pb2, referral_pb2_grpc
from tests.failures.conftest import Found
from tests.support.process import HOTLINE, POLICE, ExchangeProcess
from tests.support.reckoning import reckon
from tests.support.scenarios import NO_SECOND, NOT_LOST, REPEATED, Seen, scenario
from tests.support.traffic import Traffic, open_traffic

REFERRALS = 60
CALLERS = 30
IMPATIENT = 0.02
"""Seconds after which every fourth call is given up, and so made in vain."""


@dataclass(slots=True)
class Storm:
    """Callers who send the same referrals over and over.

    Attributes:
        exchange: whom they call.
        ends: how their calls ended.
        answers: the first answer to each referral.
        differing: how many answers were others than the first.
    """

    exchange: ExchangeProcess
    ends: Counter[grpc.StatusCode] = field(default_factory=Counter)
    answers: dict[str, referral_pb2.PublishResponse] = field(default_factory=dict)
    differing: int = 0

    async def rage(self, requests: list[referral_pb2.PublishRequest]) -> None:
        """Has every caller send every request."""
        async with asyncio.TaskGroup() as tasks:
            for seed in range(CALLERS):
                tasks.create_task(self._call(random.Random(seed), requests))

    async def _call(
        self, chance: random.Random, requests: list[referral_pb2.PublishRequest]
    ) -> None:
        async with self.exchange.channel(HOTLINE) as channel:
            stub = referral_pb2_grpc.ReferralServiceStub(channel)
            for request in chance.sample(requests, len(requests)):
                timeout = None if chance.randrange(4) else IMPATIENT
                try:
                    response = await stub.Publish(request, timeout=timeout)
                except grpc.aio.AioRpcError as error:
                    self.ends[error.code()] += 1
                else:
                    self.ends[grpc.StatusCode.OK] += 1
                    first = self.answers.setdefault(request.referral, response)
                    self.differing += first != response


async def rage(exchange: ExchangeProcess, seen: Seen) -> tuple[Storm, Traffic]:
    """Has a storm pass over an exchange at work; tells what was seen."""
    storm = Storm(exchange)
    homes = exchange.home(HOTLINE), exchange.home(POLICE)
    async with open_traffic(*homes, callers=1, desks=1) as traffic:
        await traffic.recovered()
        prepared = [await traffic.prepare() for _ in range(REFERRALS)]
        requests = [
            referral_pb2.PublishRequest.FromString(sent.to_bytes())
            for sent in traffic.sent.values()
        ]
        before = len(traffic.waits)
        await storm.rage(requests)
        waits = traffic.waits[before:]
        for one in prepared:
            await traffic.send(one)
        await traffic.recovered()
    for referral, response in storm.answers.items():
        accepted = traffic.accepted[parse_statement(referral).message.id]
        assert response.referral == accepted.referral.to_proto()
        assert response.acceptance == accepted.acceptance.to_proto()
    seen["referrals that were sent over and over"] = len(requests)
    seen["calls of the storm"] = storm.ends.total()
    seen["answered"] = storm.ends[grpc.StatusCode.OK]
    seen["given up by their callers"] = storm.ends[grpc.StatusCode.DEADLINE_EXCEEDED]
    refused = storm.ends[grpc.StatusCode.RESOURCE_EXHAUSTED]
    seen["refused for now, and told when to come back"] = refused
    seen["answers that differed"] = storm.differing
    seen["new referrals published meanwhile"] = len(waits)
    if waits:
        seen["usual wait of these for an answer, s"] = round(median(waits), 3)
    assert storm.differing == 0
    return storm, traffic


@scenario(
    "A storm of retries",
    promised=[NO_SECOND, NOT_LOST],
    done=f"{CALLERS} callers, each over a connection of its own, send the same "
    f"{REFERRALS} referrals in any order, as fast as they are answered. Every fourth "
    f"call is given up after {IMPATIENT * 1000:.0f} ms. No quota holds them.",
)
async def test_storm(exchange: ExchangeProcess, seen: Seen) -> None:
    storm, traffic = await rage(exchange, seen)
    seen |= await reckon(exchange, traffic)
    assert storm.ends[grpc.StatusCode.OK] > len(storm.answers) > REFERRALS


@pytest.mark.failures
@scenario(
    "A storm of retries, and the quotas of a new exchange",
    promised=[NO_SECOND, NOT_LOST, REPEATED],
    done="The same storm, but with the quotas that onward-server init sets.",
)
async def test_storm_and_quotas(found: Found, seen: Seen) -> None:
    exchange = found({"ONWARD__LIMITS__HEARTBEAT_SECONDS": "1"})
    exchange.start()
    storm, traffic = await rage(exchange, seen)
    seen |= await reckon(exchange, traffic)
    assert storm.ends[grpc.StatusCode.RESOURCE_EXHAUSTED]
