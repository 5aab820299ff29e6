"""How an exchange begins and ends, also when it cannot begin."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import grpc
import pytest

from onward.core.errors import MalformedError, StateError
from onward.v1 import log_pb2, log_pb2_grpc
from onward_server.app import build
from onward_server.config import load
from tests.support.service import Service, open_service
from tests.support.world import HOTLINE


async def test_an_address_that_is_taken_is_named_and_everything_is_closed(
    tmp_path: Path,
) -> None:
    async with open_service(tmp_path) as service:
        file = service.folder / "exchange.toml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = load(file, {"ONWARD__ENROLMENT__LISTEN": address})
        with pytest.raises(MalformedError, match=address):
            await build(config)
    # Its database is free again.
    again = await build(config)
    await again.drain(0)


async def test_two_exchanges_cannot_share_a_port(service: Service) -> None:
    file = service.folder / "exchange.toml"
    for section in ("API", "ENROLMENT"):
        port = service.app.api_port
        config = load(
            file,
            {
                f"ONWARD__{section}__LISTEN": f"127.0.0.1:{port}",
                "ONWARD__STORAGE__DATABASE_FILE": f"db/of-{section}.sqlite",
            },
        )
        with pytest.raises(MalformedError, match=str(port)):
            await build(config)


async def test_a_database_that_is_older_than_the_log_is_not_served(
    tmp_path: Path,
) -> None:
    async with open_service(tmp_path) as service:
        await service.referrals(HOTLINE).Publish(service.publish_request())
        config = service.config
    guard = config.storage.guard_file
    size, root = guard.read_text("ascii").split()
    guard.write_text(f"{int(size) + 7:020d} {root}\n", "ascii")
    app = await build(config)
    with pytest.raises(StateError, match="older than the log"):
        await app.start()
    assert not app.readiness.ready
    await app.drain(0)
    guard.write_text(f"{int(size):020d} {root}\n", "ascii")
    again = await build(config)
    await again.start()
    assert again.ledger.head().size == int(size)
    await again.drain(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order(
    service: Service, number: signal.Signals
) -> None:
    stub = log_pb2_grpc.LogServiceStub(service.channel(HOTLINE))
    await stub.GetCheckpoint(log_pb2.GetCheckpointRequest())
    serving = asyncio.create_task(service.app.serve_until_stopped())
    await asyncio.sleep(0)
    os.kill(os.getpid(), number)
    async with asyncio.timeout(10):
        await serving
    assert not service.app.readiness.ready
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetCheckpoint(log_pb2.GetCheckpointRequest())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
