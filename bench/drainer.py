"""``python -m bench.drainer HOME ADDRESS COUNT PARTS``: a recipient that comes back.

It takes what waited, in a process of its own, as an agency's machine does, and does
with each delivery what a machine must: it signs a ``Received``, and has it logged. As
soon as it has taken so many, it prints when it began and when each part was done, as
JSON; the clock is that of the whole machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.channels import open_channel
from bench.proof import SAMPLE, UnrealError, verify_logged
from bench.referrals import Recipient, seen_of
from onward.core.statements import parse_statement
from onward.core.tlog_policy import Policy
from onward.home import Home
from onward.v1 import log_pb2, referral_pb2, statement_pb2
from onward.v1.log_pb2_grpc import LogServiceStub
from onward.v1.referral_pb2_grpc import ReferralServiceStub

_DESKS: Final = 4
_OUTSTANDING: Final = 250
_MOST_STATEMENTS: Final = 100
"""In one call: as many as the contract allows."""


class Tally:
    """Counts what is received, and looks at what the exchange answers.

    Attributes:
        times: when it began, and when each part of ``count`` was received.
        over: is set when all of it was.
    """

    def __init__(self, policy: Policy, count: int, parts: int) -> None:
        self._policy = policy
        self._marks = [count * part // parts for part in range(1, parts + 1)]
        self._taken = 0
        self.times = [time.monotonic()]
        self.over = asyncio.Event()

    def note(
        self,
        sent: Sequence[str],
        results: Sequence[referral_pb2.SubmitStatementResult],
    ) -> None:
        """Takes down what came of a call.

        Raises:
            UnrealError: a statement was not logged, or another one was.
            OnwardError: a receipt does not hold.
        """
        logged = [result.response.statement for result in results]
        if [item.statement for item in logged] != list(sent):
            raise UnrealError("a Received was not logged")
        for item in logged[::SAMPLE]:
            verify_logged(item, self._policy)
        self._taken += len(sent)
        while self._marks and self._taken >= self._marks[0]:
            del self._marks[0]
            self.times.append(time.monotonic())
        if not self._marks:
            self.over.set()


class Desk:
    """Takes what comes over one stream; what has come meanwhile shares a call."""

    def __init__(
        self, stub: ReferralServiceStub, recipient: Recipient, seen: statement_pb2.Seen
    ) -> None:
        self._stub = stub
        self._recipient = recipient
        self._seen = seen
        self._deliveries: dict[str, referral_pb2.Delivery] = {}
        self._signed: list[str] = []
        self._news = asyncio.Event()

    async def read(self) -> None:
        """Signs a ``Received`` for each delivery, until it is cancelled."""
        request = referral_pb2.ReceiveRequest(max_outstanding=_OUTSTANDING)
        async for response in self._stub.Receive(request):
            match response.WhichOneof("event"):
                case "delivery":
                    signed = parse_statement(response.delivery.referral.statement)
                    self._deliveries[signed.message.id] = response.delivery
                case "handover":
                    notice = response.handover
                    delivery = self._deliveries.pop(notice.referral_id)
                    said = self._recipient.receive(delivery, notice, self._seen)
                    self._signed.append(said.jws)
                    self._news.set()

    async def submit(self, tally: Tally) -> None:
        """Has what was signed logged, until it is cancelled."""
        while await self._news.wait():
            sent = self._signed[:_MOST_STATEMENTS]
            del self._signed[:_MOST_STATEMENTS]
            if not self._signed:
                self._news.clear()
            requests = [
                referral_pb2.SubmitStatementRequest(statement=jws) for jws in sent
            ]
            reply = await self._stub.SubmitStatements(
                referral_pb2.SubmitStatementsRequest(requests=requests)
            )
            tally.note(sent, reply.results)


async def drain(home: Home, address: str, count: int, parts: int) -> list[float]:
    """Takes so many deliveries; returns when it began, and when each part was done."""
    async with open_channel(home, address) as channel, asyncio.TaskGroup() as tasks:
        note = await LogServiceStub(channel).GetCheckpoint(
            log_pb2.GetCheckpointRequest()
        )
        seen, stub = seen_of(note.checkpoint), ReferralServiceStub(channel)
        tally, recipient = Tally(home.policy, count, parts), Recipient.open(home)
        desks = [Desk(stub, recipient, seen) for _ in range(_DESKS)]
        work = [tasks.create_task(desk.read()) for desk in desks]
        work += [tasks.create_task(desk.submit(tally)) for desk in desks]
        await tally.over.wait()
        for task in work:
            task.cancel()
    return tally.times


if __name__ == "__main__":
    opened = Home.open(Path(sys.argv[1]))
    numbers = map(int, sys.argv[3:])
    print(json.dumps(asyncio.run(drain(opened, sys.argv[2], *numbers))))
