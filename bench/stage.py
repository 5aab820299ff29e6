"""All that a measure needs: an exchange with members, an echo, and calls to both."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import grpc

from bench import echo
from bench.channels import open_channel
from bench.exchange import NOTHING, SERVE, Exchange, Past, open_exchange
from bench.load import Run, closed, paced
from bench.processes import Server, free_address, serving
from bench.proof import Judge
from bench.referrals import Prepared, Publisher, Recipient, seen_of
from onward.home import Home
from onward.v1 import log_pb2, referral_pb2
from onward.v1.log_pb2_grpc import LogServiceStub
from onward.v1.referral_pb2_grpc import ReferralServiceStub

BATCH_ITEMS: Final = 100
"""Referrals of a batch: as many as the contract allows."""

_ENTRIES_OF_REFERRAL: Final = 2  # itself, and its Acceptance
_ENTRIES_OF_RECEIPT: Final = 2  # the exchange's Handover, the recipient's Received
_ENTRIES_OF_READING: Final = 1  # the Acknowledgment

PublishRun = Run[referral_pb2.PublishResponse]


@dataclass(slots=True)
class Stage:
    """Made by :func:`open_stage`.

    Attributes:
        exchange: the exchange, and its members' homes.
        publishing: the publisher's channel to the exchange.
        echo: the echo.
        echoing: the publisher's channel to the echo.
        judge: judges the exchange's answers.
        stored: how many referrals the exchange holds.
        received: how many of them their recipients have received.
        acknowledged: how many of these somebody has read.
        request: the last referral that was published.
        reply: the exchange's answer to it.
    """

    exchange: Exchange
    publishing: grpc.aio.Channel
    echo: Server
    echoing: grpc.aio.Channel
    judge: Judge
    stored: int = field(default=0, init=False)
    received: int = field(default=0, init=False)
    acknowledged: int = field(default=0, init=False)
    request: referral_pb2.PublishRequest = field(
        default_factory=referral_pb2.PublishRequest, init=False
    )
    reply: referral_pb2.PublishResponse = field(
        default_factory=referral_pb2.PublishResponse, init=False
    )

    async def checkpoint(self) -> str:
        """Returns the newest checkpoint, a signed note."""
        reply = await LogServiceStub(self.publishing).GetCheckpoint(
            log_pb2.GetCheckpointRequest()
        )
        return reply.checkpoint

    async def prepare(self, count: int, recipient: Home) -> list[Prepared]:
        """Returns referrals to a recipient that nobody has published yet."""
        publisher = Publisher.open(self.exchange.hotline)
        seen = seen_of(await self.checkpoint())
        return publisher.prepare(count, Recipient.open(recipient), seen)

    async def publish(self, prepared: Sequence[Prepared], callers: int) -> PublishRun:
        """Publishes one by one, and checks what came of it."""
        requests = [item.request for item in prepared]
        stub = ReferralServiceStub(self.publishing)
        run = await closed(stub.Publish, requests, callers, self.exchange.server)
        self.note_published(requests, run.replies)
        return run

    async def publish_batches(
        self, prepared: Sequence[Prepared], callers: int
    ) -> Run[referral_pb2.PublishBatchResponse]:
        """Publishes in full batches, and checks what came of it."""
        requests = [item.request for item in prepared]
        batches = [
            referral_pb2.PublishBatchRequest(requests=requests[at : at + BATCH_ITEMS])
            for at in range(0, len(requests), BATCH_ITEMS)
        ]
        stub = ReferralServiceStub(self.publishing)
        run = await closed(stub.PublishBatch, batches, callers, self.exchange.server)
        results = [result.response for reply in run.replies for result in reply.results]
        self.note_published(requests, results)
        return run

    async def echo_back(self, prepared: Sequence[Prepared], callers: int) -> PublishRun:
        """Makes the calls of :meth:`publish` to the echo.

        It answers with the last reply of the exchange.
        """
        await self._teach()
        requests = [item.request for item in prepared]
        stub = ReferralServiceStub(self.echoing)
        return await closed(stub.Publish, requests, callers, self.echo)

    async def echo_paced(self, prepared: Sequence[Prepared], rate: float) -> PublishRun:
        """As :meth:`echo_back`, at a steady rate."""
        await self._teach()
        requests = [item.request for item in prepared]
        stub = ReferralServiceStub(self.echoing)
        return await paced(stub.Publish, requests, rate, self.echo)

    def note_published(
        self,
        requests: Sequence[referral_pb2.PublishRequest],
        replies: Sequence[referral_pb2.PublishResponse],
    ) -> None:
        """Checks answers, and takes down what the log must have grown by."""
        self.judge.check(requests, replies)
        self.stored += len(requests)
        self.request, self.reply = requests[-1], replies[-1]

    def note_received(self, count: int, *, acknowledged: bool = False) -> None:
        """Takes down how many more referrals were received, and whether also read."""
        self.received += count
        self.acknowledged += count if acknowledged else 0

    def channel(self, home: Home, address: str = "") -> grpc.aio.Channel:
        """Opens a member's channel to the exchange, or to a replica of it."""
        return open_channel(home, address or self.exchange.server.address)

    async def check_log(self) -> None:
        """Checks that the log has what was published, and nothing else."""
        entries = (
            _ENTRIES_OF_REFERRAL * self.stored
            + _ENTRIES_OF_RECEIPT * self.received
            + _ENTRIES_OF_READING * self.acknowledged
        )
        self.judge.check_growth(await self.checkpoint(), entries)

    async def _teach(self) -> None:
        """Tells the echo what to answer."""
        learn: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = (
            self.echoing.unary_unary("/" + "/".join(echo.LEARN))
        )
        await learn(self.reply.SerializeToString())


@asynccontextmanager
async def open_stage(
    serve: Sequence[str | Path] = SERVE, past: Past = NOTHING, database: str = ""
) -> AsyncGenerator[Stage, None]:
    """Makes an exchange and an echo that run while the block runs.

    Args:
        serve: the command that serves the exchange.
        past: what the exchange holds from the beginning.
        database: the URL of an empty PostgreSQL database; SQLite without one.
    """
    async with AsyncExitStack() as resources:
        folder = Path(resources.enter_context(TemporaryDirectory(prefix="bench-")))
        exchange = await resources.enter_async_context(
            open_exchange(folder, serve, past, database)
        )
        address = free_address()
        command = (sys.executable, "-m", "bench.echo", address, exchange.tls)
        log = folder / "echo.log"
        echo_server = resources.enter_context(serving(command, address, log))
        publishing, echoing = [
            await resources.enter_async_context(open_channel(exchange.hotline, where))
            for where in (exchange.server.address, address)
        ]
        judge = await Judge.of(exchange.hotline, publishing)
        yield Stage(exchange, publishing, echo_server, echoing, judge)
