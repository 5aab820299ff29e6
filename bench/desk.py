"""A recipient's desk: takes what comes, and has each ``Received`` logged."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from bench.referrals import Recipient
from onward.core.statements import parse_statement
from onward.v1 import referral_pb2, statement_pb2
from onward.v1.referral_pb2_grpc import ReferralServiceStub

_MAX_OUTSTANDING: Final = 1000


class Desk:
    """Receives over one stream; made by :func:`open_desk`.

    The content stays sealed: to open it is the recipient's own work, on its machine.
    """

    def __init__(
        self, stub: ReferralServiceStub, recipient: Recipient, seen: statement_pb2.Seen
    ) -> None:
        self._stub = stub
        self._recipient = recipient
        self._seen = seen
        self._deliveries: dict[str, referral_pb2.Delivery] = {}
        self._received: defaultdict[str, asyncio.Future[None]] = defaultdict(
            asyncio.get_running_loop().create_future
        )

    async def received(self, referral_id: str) -> None:
        """Waits until the ``Received`` of a referral is logged."""
        await self._received[referral_id]

    async def read(self, tasks: asyncio.TaskGroup) -> None:
        """Takes what comes until it is cancelled."""
        request = referral_pb2.ReceiveRequest(max_outstanding=_MAX_OUTSTANDING)
        async for response in self._stub.Receive(request):
            match response.WhichOneof("event"):
                case "delivery":
                    signed = parse_statement(response.delivery.referral.statement)
                    self._deliveries[signed.message.id] = response.delivery
                case "handover":
                    tasks.create_task(self._receive(response.handover))

    async def _receive(self, notice: referral_pb2.HandoverNotice) -> None:
        """Has a ``Received`` logged."""
        delivery = self._deliveries.pop(notice.referral_id)
        signed = self._recipient.receive(delivery, notice, self._seen)
        await self._stub.SubmitStatement(
            referral_pb2.SubmitStatementRequest(statement=signed.jws)
        )
        self._received[notice.referral_id].set_result(None)


@asynccontextmanager
async def open_desk(
    stub: ReferralServiceStub, recipient: Recipient, seen: statement_pb2.Seen
) -> AsyncGenerator[Desk, None]:
    """Receives while the block runs.

    Args:
        stub: calls as the recipient.
        recipient: signs.
        seen: what its statements have seen.
    """
    desk = Desk(stub, recipient, seen)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(desk.read(tasks))
        try:
            yield desk
        finally:
            reading.cancel()
