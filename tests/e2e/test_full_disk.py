"""A full disk: a clear refusal, nothing lost, and recovery without a restart.

The limit is the operating system's own, on how large a file the process may write. It
is lifted while the exchange runs, as an operator would make room.
"""

from __future__ import annotations

import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from onward._errors import error_of_call
from onward.core.errors import UnavailableError
from onward.v1 import referral_pb2, referral_pb2_grpc
from tests.e2e.test_kill import Stranger, prepare
from tests.support.process import HOTLINE, ExchangeProcess
from tests.support.scenarios import NO_SECOND, NOT_LOST, Seen, scenario


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[ExchangeProcess]:
    """A running exchange with a few members."""
    started = ExchangeProcess.found(tmp_path)
    started.start()
    await started.populate()
    yield started
    started.kill()


def largest_file(exchange: ExchangeProcess) -> int:
    """Returns the size of the largest file of the database."""
    return max(
        file.stat().st_size for file in (exchange.folder / "exchange/db").iterdir()
    )


def limit_files(exchange: ExchangeProcess, size: int) -> None:
    """Lets the process write no file beyond a size."""
    assert exchange.process is not None
    _, hard = resource.prlimit(exchange.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(exchange.process.pid, resource.RLIMIT_FSIZE, (size, hard))


@scenario(
    "A file of the database may not grow",
    promised=[NOT_LOST, NO_SECOND],
    done="The operating system lets the exchange write no file beyond the size that "
    "its database has (RLIMIT_FSIZE), and then as much as it likes. Deliveries are not "
    "part of it.",
)
async def test_a_full_disk_refuses_clearly_and_loses_nothing(
    exchange: ExchangeProcess, seen: Seen
) -> None:
    requests = await prepare(exchange, 60)
    answered: dict[str, referral_pb2.PublishResponse] = {}
    refused: list[referral_pb2.PublishRequest] = []
    async with exchange.channel(HOTLINE) as channel:
        stub = referral_pb2_grpc.ReferralServiceStub(channel)
        for request in requests[:10]:
            answered[request.referral] = await stub.Publish(request)
        limit_files(exchange, largest_file(exchange) + 4096)
        for request in requests[10:]:
            try:
                answered[request.referral] = await stub.Publish(request)
            except grpc.aio.AioRpcError as error:
                problem = error_of_call(error)
                assert isinstance(problem, UnavailableError)
                assert problem.reason_name == "STORAGE_UNAVAILABLE"
                assert problem.retry_after
                assert os.fspath(exchange.folder) not in problem.message
                refused.append(request)
        assert refused
        limit_files(exchange, resource.RLIM_INFINITY)
        for request in requests:
            response = await stub.Publish(request)
            assert answered.setdefault(request.referral, response) == response
        stranger = Stranger(exchange.home(HOTLINE).trust)
        for response in answered.values():
            stranger.take(response)
        await stranger.check_consistency(channel, sorted(stranger.verified))
    seen["referrals published"] = len(requests)
    seen["refused meanwhile, STORAGE_UNAVAILABLE"] = len(refused)
    seen["in the final log"] = len(answered)
    assert exchange.stop() == 0
