"""More calls at one moment than are looked at in it."""

from __future__ import annotations

import asyncio

from onward.v1 import log_pb2, log_pb2_grpc
from tests.support.service import Service
from tests.support.world import HOTLINE

CALLS = 2400
CHANNELS = 4


async def test_a_burst_of_calls_is_answered_to_the_last(service: Service) -> None:
    channels = [service.channel(HOTLINE) for _ in range(CHANNELS)]
    request = log_pb2.GetCheckpointRequest()
    calls = [
        log_pb2_grpc.LogServiceStub(channel).GetCheckpoint(request, timeout=60)
        for channel in channels * (CALLS // CHANNELS)
    ]
    answers = await asyncio.gather(*calls)
    assert {answer.checkpoint for answer in answers} == {
        service.app.ledger.checkpoint()
    }
