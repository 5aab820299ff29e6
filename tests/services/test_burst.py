"""More calls at one moment than are looked at in it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

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


async def test_a_stranger_holds_few_calls_over_one_connection(service: Service) -> None:
    stranger: Any = service.enrolment_channel()
    other: Any = service.enrolment_channel()
    start = stranger.stream_unary("/onward.v1.EnrollmentService/StartEnrollment")
    check = "/grpc.health.v1.Health/Check"
    assert await stranger.unary_unary(check)(b"", timeout=20)
    held = [start() for _ in range(40)]  # begun, and nothing is sent
    with pytest.raises(grpc.aio.AioRpcError) as waited:
        await stranger.unary_unary(check)(b"", timeout=1)
    assert waited.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await other.unary_unary(check)(b"", timeout=20)
    assert not any(call.done() for call in held)
    for call in held:
        call.cancel()
