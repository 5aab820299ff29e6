"""A recipient's desk: takes what comes, and has each ``Received`` logged.

Somebody may sit at it, who reads at once; then an ``Acknowledgment`` follows each.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from bench.referrals import Recipient, seen_of
from bench.stage import Stage
from onward.core.statements import SignedStatement, parse_statement
from onward.home import Home
from onward.v1 import referral_pb2, statement_pb2
from onward.v1.referral_pb2_grpc import ReferralServiceStub

MAX_OUTSTANDING: Final = 1000
"""Deliveries without a ``Received`` on one stream: as many as the contract allows."""


class Desk:
    """Receives over one stream; made by :func:`open_desk`.

    The content stays sealed: to open it is the recipient's own work, on its machine.

    Attributes:
        attended: whether somebody sits there.
    """

    def __init__(
        self,
        stub: ReferralServiceStub,
        recipient: Recipient,
        seen: statement_pb2.Seen,
        *,
        attended: bool,
    ) -> None:
        self._stub = stub
        self._recipient = recipient
        self._seen = seen
        self.attended = attended
        self._deliveries: dict[str, referral_pb2.Delivery] = {}
        self._done: defaultdict[str, asyncio.Future[None]] = defaultdict(
            asyncio.get_running_loop().create_future
        )

    async def done(self, referral_id: str) -> None:
        """Waits until the last that this desk says of a referral is logged."""
        await self._done[referral_id]

    async def read(self, tasks: asyncio.TaskGroup) -> None:
        """Takes what comes until it is cancelled."""
        request = referral_pb2.ReceiveRequest(max_outstanding=MAX_OUTSTANDING)
        async for response in self._stub.Receive(request):
            match response.WhichOneof("event"):
                case "delivery":
                    signed = parse_statement(response.delivery.referral.statement)
                    self._deliveries[signed.message.id] = response.delivery
                case "handover":
                    tasks.create_task(self._answer(response.handover))

    async def _answer(self, notice: referral_pb2.HandoverNotice) -> None:
        """Has all that this desk says of a delivery logged."""
        delivery = self._deliveries.pop(notice.referral_id)
        received = self._recipient.receive(delivery, notice, self._seen)
        await self._submit(received)
        if self.attended:
            await self._submit(self._recipient.acknowledge(received, self._seen))
        self._done[notice.referral_id].set_result(None)

    async def _submit(self, signed: SignedStatement) -> None:
        """Has a statement logged."""
        await self._stub.SubmitStatement(
            referral_pb2.SubmitStatementRequest(statement=signed.jws)
        )


@asynccontextmanager
async def open_desk(
    stage: Stage, home: Home, *, attended: bool = False
) -> AsyncGenerator[Desk, None]:
    """Receives while the block runs.

    Args:
        stage: where.
        home: the recipient's.
        attended: whether somebody sits there.
    """
    seen = seen_of(await stage.checkpoint())
    async with stage.channel(home) as channel, asyncio.TaskGroup() as tasks:
        stub = ReferralServiceStub(channel)
        desk = Desk(stub, Recipient.open(home), seen, attended=attended)
        reading = tasks.create_task(desk.read(tasks))
        try:
            yield desk
        finally:
            reading.cancel()
