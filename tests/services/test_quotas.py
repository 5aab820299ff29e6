"""Quotas: what a member may do at most, and what it is told beyond."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2

from onward.core.errors import QuotaError
from onward.v1 import (
    enrollment_pb2,
    enrollment_pb2_grpc,
    log_pb2,
    log_pb2_grpc,
    referral_pb2,
    referral_pb2_grpc,
)
from onward_server.exchange.quotas import Allowance, Place, Quotas, Resource
from tests.support.service import Refused, open_service, refused
from tests.support.world import HOTLINE, STATE_POLICE


class Seconds:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(per_second: float, burst: float) -> tuple[Quotas, Seconds]:
    seconds = Seconds()
    allowances = {Resource.READS: Allowance(per_second, burst)}
    return Quotas(allowances, {Place.STREAM: 2}, seconds), seconds


def taken(quotas: Quotas, amount: float = 1, holder: str = "a") -> bool:
    try:
        quotas.take(holder, Resource.READS, amount)
    except QuotaError:
        return False
    return True


def test_a_burst_and_then_the_steady_rate() -> None:
    quotas, seconds = make(2, 5)
    assert [taken(quotas) for _ in range(6)] == [True] * 5 + [False]
    seconds.now += 0.49
    assert not taken(quotas)
    seconds.now += 0.02
    assert [taken(quotas) for _ in range(2)] == [True, False]
    seconds.now += 1000
    assert [taken(quotas) for _ in range(6)] == [True] * 5 + [False]


def test_what_is_refused_costs_nothing_and_says_when() -> None:
    quotas, seconds = make(2, 4)
    assert taken(quotas, 3)
    with pytest.raises(QuotaError) as caught:
        quotas.take("a", Resource.READS, 3)
    assert caught.value.retry_after == pytest.approx(1.0)
    assert taken(quotas, 1)
    seconds.now += 1.5
    assert taken(quotas, 3)


def test_holders_do_not_share() -> None:
    quotas, _ = make(1, 1)
    assert taken(quotas, holder="a")
    assert taken(quotas, holder="b")
    assert not taken(quotas, holder="a")


def test_more_than_a_whole_burst_is_possible_and_is_paid_off() -> None:
    quotas, seconds = make(1, 10)
    assert taken(quotas, 30)
    seconds.now += 20
    assert not taken(quotas)
    seconds.now += 1
    assert taken(quotas)
    assert not taken(quotas, 30)


def test_places_are_given_back_whatever_happens() -> None:
    quotas, _ = make(1, 1)
    with quotas.place("a", Place.STREAM), quotas.place("b", Place.STREAM):
        with quotas.place("a", Place.STREAM):
            with pytest.raises(QuotaError), quotas.place("a", Place.STREAM):
                pass
            assert quotas.taken(Place.STREAM) == 3
        with pytest.raises(KeyError), quotas.place("a", Place.STREAM):
            raise KeyError
    assert quotas.taken(Place.STREAM) == 0


# --- over the wire --------------------------------------------------------------------


def retry_after(answer: Refused) -> float:
    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert answer.reason == "QUOTA_EXCEEDED"
    delay = answer.detail(error_details_pb2.RetryInfo).retry_delay
    return float(delay.seconds + delay.nanos / 1e9)


async def test_reads_beyond_the_quota_are_told_when_to_come_back(
    tmp_path: Path,
) -> None:
    settings = {
        "ONWARD__QUOTAS__READS_PER_SECOND": "0.1",
        "ONWARD__QUOTAS__READS_BURST": "3",
    }
    async with open_service(tmp_path, settings) as service:
        request = log_pb2.GetCheckpointRequest()
        stub = log_pb2_grpc.LogServiceStub(service.channel(HOTLINE))
        for _ in range(3):
            await stub.GetCheckpoint(request)
        wait = retry_after(await refused(stub.GetCheckpoint(request)))
        assert 8 < wait <= 10
        # Another connection of the same member does not help; others are not touched.
        again = log_pb2_grpc.LogServiceStub(service.channel(HOTLINE))
        await refused(again.GetCheckpoint(request))
        other = log_pb2_grpc.LogServiceStub(service.channel(STATE_POLICE))
        await other.GetCheckpoint(request)
        await service.referrals(HOTLINE).Publish(service.publish_request())
        service.clock.advance(wait)
        await stub.GetCheckpoint(request)


async def test_each_item_of_a_batch_counts(tmp_path: Path) -> None:
    settings = {
        "ONWARD__QUOTAS__PUBLISH_PER_SECOND": "0.1",
        "ONWARD__QUOTAS__PUBLISH_BURST": "5",
    }
    async with open_service(tmp_path, settings) as service:
        stub = service.referrals(HOTLINE)
        requests = [service.publish_request() for _ in range(4)]
        batch = referral_pb2.PublishBatchRequest(requests=requests)
        size = service.app.ledger.head().size
        await stub.PublishBatch(batch)
        retry_after(await refused(stub.PublishBatch(batch)))
        await stub.Publish(service.publish_request())
        retry_after(await refused(stub.Publish(service.publish_request())))
        assert service.app.ledger.head().size == size + 2 * 5


async def test_only_so_many_streams_are_open_at_the_same_time(tmp_path: Path) -> None:
    async with open_service(tmp_path, {"ONWARD__QUOTAS__STREAMS": "2"}) as service:
        stub = service.referrals(HOTLINE)
        await stub.Publish(service.publish_request())
        streams = [stub.WatchOwn(referral_pb2.WatchOwnRequest()) for _ in range(2)]
        for stream in streams:
            await stream.read()
        third = stub.WatchOwn(referral_pb2.WatchOwnRequest())
        retry_after(await refused(third.read()))
        streams[0].cancel()
        async with asyncio.timeout(10):
            await opened(stub)


async def opened(stub: referral_pb2_grpc.ReferralServiceStub) -> None:
    """Returns when one more stream could be opened."""
    reason = "QUOTA_EXCEEDED"
    while reason == "QUOTA_EXCEEDED":
        try:
            await stub.WatchOwn(referral_pb2.WatchOwnRequest()).read()
        except grpc.aio.AioRpcError as error:
            reason = Refused.of(error).reason
        else:
            return
    pytest.fail(reason)


async def test_uploaded_bytes_count(tmp_path: Path) -> None:
    settings = {
        "ONWARD__QUOTAS__UPLOAD_BYTES_PER_SECOND": "1",
        "ONWARD__QUOTAS__UPLOAD_BURST_BYTES": "10000",
    }
    async with open_service(tmp_path, settings) as service:

        async def upload() -> AsyncIterator[referral_pb2.PutContentRequest]:
            yield referral_pb2.PutContentRequest(
                header=referral_pb2.PutContentHeader(
                    content_digest=bytes(32), content_size=10_000
                )
            )
            for _ in range(2):
                yield referral_pb2.PutContentRequest(chunk=bytes(100))
            await asyncio.Event().wait()  # until the refusal ends the call

        answer = await refused(service.referrals(HOTLINE).PutContent(upload()))
        # Each message costs 4096 bytes at least, and the third one was too many.
        assert 2270 < retry_after(answer) <= 3 * 4096 - 10_000


async def test_enrolment_is_limited_by_address(tmp_path: Path) -> None:
    settings = {"ONWARD__ENROLMENT__CALLS_PER_MINUTE": "2"}
    async with open_service(tmp_path, settings) as service:
        request = enrollment_pb2.StartEnrollmentRequest(token="guess")
        for expected in ("TOKEN_INVALID", "TOKEN_INVALID", "QUOTA_EXCEEDED"):
            channel = service.enrolment_channel()
            stub = enrollment_pb2_grpc.EnrollmentServiceStub(channel)
            assert (await refused(stub.StartEnrollment(request))).reason == expected


async def test_enrolment_takes_small_messages_only(tmp_path: Path) -> None:
    async with open_service(tmp_path) as service:
        stub = enrollment_pb2_grpc.EnrollmentServiceStub(service.enrolment_channel())
        request = enrollment_pb2.StartEnrollmentRequest(token="x" * 70_000)
        assert (await refused(stub.StartEnrollment(request))).reason == "TOO_LARGE"
