"""kill -9 under load, again and again: nothing told is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import grpc
import pytest

from onward.client import Client
from onward.core.checkpoints import Checkpoint
from onward.core.merkle import verify_consistency
from onward.core.notes import parse_note
from onward.core.statements import parse_statement, statement_digest
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.testing import sample_tip
from onward.v1 import (
    log_pb2,
    log_pb2_grpc,
    referral_pb2,
    referral_pb2_grpc,
    vocabulary_pb2,
)
from tests.support.process import HOTLINE, POLICE, ExchangeProcess
from tests.support.scenarios import NO_SECOND, NOT_LOST, Seen, scenario

KILLS = 30
CALLERS = 8
REFERRALS_PER_LIFE = 150
RETRIES_PER_LIFE = 30
UNHURRIED = {
    f"ONWARD__QUOTAS__{name}": "1000000"
    for name in ("PUBLISH_PER_SECOND", "PUBLISH_BURST", "READS_BURST")
}
"""How much gets done in a life depends on the machine; no quota is to end one."""


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[ExchangeProcess]:
    """A running exchange with a few members."""
    started = ExchangeProcess.found(tmp_path, UNHURRIED)
    started.start()
    await started.populate()
    yield started
    started.kill()


async def prepare(
    exchange: ExchangeProcess, count: int
) -> list[referral_pb2.PublishRequest]:
    """Signs and seals referrals, and sends none of them."""
    async with Client.open(exchange.home(HOTLINE)) as client:
        prepared = [
            await client.prepare_referral(
                sample_tip(),
                recipients=[POLICE],
                urgency=vocabulary_pb2.URGENCY_ROUTINE,
                jurisdiction="US-OH",
                basis=vocabulary_pb2.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
                subject_age_group=vocabulary_pb2.AGE_GROUP_ADULT,
            )
            for _ in range(count)
        ]
    return [referral_pb2.PublishRequest.FromString(one.to_bytes()) for one in prepared]


class Publisher:
    """Publishes without the SDK, and keeps every answer that it got."""

    def __init__(self) -> None:
        self.sent: dict[bytes, referral_pb2.PublishRequest] = {}
        self.answered: dict[bytes, referral_pb2.PublishResponse] = {}
        self.failures: set[grpc.StatusCode] = set()

    async def publish(
        self, channel: grpc.aio.Channel, requests: list[referral_pb2.PublishRequest]
    ) -> None:
        """Publishes until the connection breaks."""
        stub = referral_pb2_grpc.ReferralServiceStub(channel)
        while requests:
            request = requests.pop()
            digest = statement_digest(request.referral)
            self.sent[digest] = request
            try:
                response = await stub.Publish(request)
            except grpc.aio.AioRpcError as error:
                self.failures.add(error.code())
                return
            before = self.answered.setdefault(digest, response)
            assert before == response, "a retry got another answer"


class Stranger:
    """Checks what was handed out, with nothing but the log's key."""

    def __init__(self, trust: str) -> None:
        self.policy = Policy.parse(trust)
        self.known: set[str] = set()
        self.verified: dict[int, bytes] = {}

    def take(self, response: referral_pb2.PublishResponse) -> None:
        """Verifies both receipts, once, and keeps the sizes and roots they lead to."""
        if response.referral.receipt in self.known:
            return
        self.known.add(response.referral.receipt)
        for logged in (response.referral, response.acceptance):
            proof = TlogProof.parse(logged.receipt)
            entry = statement_digest(logged.statement)
            checkpoint = proof.verify(entry, self.policy).checkpoint
            root = self.verified.setdefault(checkpoint.size, checkpoint.root)
            assert root == checkpoint.root, "two roots for one size: a fork"

    async def check_consistency(
        self, channel: grpc.aio.Channel, sizes: Iterable[int]
    ) -> int:
        """Checks that the present log continues every one of these sizes."""
        stub = log_pb2_grpc.LogServiceStub(channel)
        note = (await stub.GetCheckpoint(log_pb2.GetCheckpointRequest())).checkpoint
        newest = self.policy.open_checkpoint(note).checkpoint
        for size in sizes:
            request = log_pb2.GetConsistencyProofRequest(
                first_size=size, second_size=newest.size
            )
            proof = await stub.GetConsistencyProof(request)
            root = self.verified[size]
            verify_consistency(size, newest.size, root, newest.root, list(proof.path))
        return newest.size


@scenario(
    f"The exchange is killed {KILLS} times under load",
    promised=[NOT_LOST, NO_SECOND],
    done=f"{CALLERS} callers publish, new referrals and ones sent before, and the "
    "exchange is killed by SIGKILL after 20 to 400 ms, and started again. At the end "
    "all is sent once more. Deliveries are not part of it.",
)
@pytest.mark.timeout(280)
async def test_30_kills_under_load_lose_nothing_and_double_nothing(
    exchange: ExchangeProcess, seen: Seen
) -> None:
    chance = random.Random(2026)
    publisher = Publisher()
    stranger = Stranger(exchange.home(HOTLINE).trust)
    before = Checkpoint.parse(parse_note(await checkpoint(exchange)).text).size
    requests = await prepare(exchange, REFERRALS_PER_LIFE)
    for _ in range(KILLS):
        async with exchange.channel(HOTLINE) as channel:
            sent = list(publisher.sent.values())
            again = chance.sample(sent, min(RETRIES_PER_LIFE, len(sent)))
            left = [*requests, *again]
            chance.shuffle(left)
            work = [
                asyncio.create_task(publisher.publish(channel, left))
                for _ in range(CALLERS)
            ]
            await asyncio.sleep(chance.uniform(0.02, 0.4))  # the moment of the kill
            exchange.kill()
            await asyncio.gather(*work)
        exchange.start()
        requests = [
            request
            for request in requests
            if statement_digest(request.referral) not in publisher.sent
        ] or await prepare(exchange, REFERRALS_PER_LIFE)
        for response in publisher.answered.values():
            stranger.take(response)
        async with exchange.channel(HOTLINE) as channel:
            newest = sorted(stranger.verified)[-5:]
            await stranger.check_consistency(channel, newest)
    seen["referrals published"] = len(publisher.sent)
    seen["acknowledged before the end"] = len(publisher.answered)
    told = {
        parse_statement(publisher.sent[digest].referral).message.id
        for digest in publisher.answered
    }
    async with exchange.channel(HOTLINE) as channel:
        lost = told - {view.referral_id async for view in referrals(channel)}
        seen["of these not in the log"] = len(lost)
        assert not lost
        await publisher.publish(channel, list(publisher.sent.values()))
        assert publisher.answered.keys() == publisher.sent.keys()
        for response in publisher.answered.values():
            stranger.take(response)
        size = await stranger.check_consistency(channel, sorted(stranger.verified))
        listed = [view.referral_id async for view in referrals(channel)]
    seen["in the final log"] = len(listed)
    seen["doubled"] = len(listed) - len(set(listed))
    seen["sizes of the log that receipts lead to, all consistent"] = len(
        stranger.verified
    )
    assert len(publisher.sent) > KILLS  # there was a load
    assert publisher.failures <= {grpc.StatusCode.UNAVAILABLE}
    assert len(listed) == len(set(listed)) == len(publisher.sent)
    assert size == before + 2 * len(publisher.sent), "an entry too many, or too few"


async def checkpoint(exchange: ExchangeProcess) -> str:
    """Returns the newest checkpoint."""
    async with exchange.channel(HOTLINE) as channel:
        stub = log_pb2_grpc.LogServiceStub(channel)
        return (await stub.GetCheckpoint(log_pb2.GetCheckpointRequest())).checkpoint


async def referrals(
    channel: grpc.aio.Channel,
) -> AsyncIterator[referral_pb2.ReferralView]:
    """Yields all referrals that the hotline published."""
    stub = referral_pb2_grpc.ReferralServiceStub(channel)
    token = ""
    while True:
        page = await stub.ListReferrals(
            referral_pb2.ListReferralsRequest(
                side=referral_pb2.REFERRAL_SIDE_PUBLISHED,
                page_size=500,
                page_token=token,
            )
        )
        for view in page.referrals:
            yield view
        token = page.next_page_token
        if not token:
            return
