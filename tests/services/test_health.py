"""Health: readiness that means it."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from onward.v1 import log_pb2, log_pb2_grpc
from onward_server.app import App, build
from onward_server.background import MAX_FAILURES, Chore, Chores
from onward_server.readiness import PROBE_AFTER, ReadinessCheck
from onward_server.telemetry import Telemetry
from tests.support.service import Service, open_service, refused
from tests.support.world import HOTLINE

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def health(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


def asking(name: str = "") -> Any:
    return health_pb2.HealthCheckRequest(service=name)


def ready(app: App) -> bool:
    return app.readiness.ready


def failing(number: int) -> Any:
    """Returns a write transaction that the disk refuses."""

    @asynccontextmanager
    async def writing() -> AsyncIterator[None]:
        if number:
            raise OSError(number, os.strerror(number))
        yield

    return writing


def check_of(service: Service) -> ReadinessCheck:
    return service.app._ports.upkeep.readiness


async def test_each_port_tells_its_own_services(service: Service) -> None:
    for channel, name, other in (
        (
            service.channel(HOTLINE),
            "onward.v1.ReferralService",
            "onward.v1.EnrollmentService",
        ),
        (
            service.enrolment_channel(),
            "onward.v1.EnrollmentService",
            "onward.v1.LogService",
        ),
    ):
        stub = health(channel)
        assert (await stub.Check(asking())).status == SERVING
        assert (await stub.Check(asking(name))).status == SERVING
        unknown = await refused(stub.Check(asking(other)))
        assert unknown.code is grpc.StatusCode.NOT_FOUND
        assert (await stub.Watch(asking(other)).read()).status == SERVICE_UNKNOWN
        listed = await stub.List(health_pb2.HealthListRequest())
        assert {"", name} <= set(listed.statuses)
        assert other not in listed.statuses


async def test_an_exchange_that_was_not_started_is_not_ready(service: Service) -> None:
    folder = service.config.exchange.data_dir
    assert folder.exists()
    await service.close()
    await service.app.drain(0)
    again = await build(service.config)
    assert not ready(again)
    await again.start()
    assert ready(again)
    await again.drain(0)
    assert not ready(again)


async def test_an_expired_certificate_is_not_ready(service: Service) -> None:
    service.clock.advance(400 * 24 * 3600)
    await check_of(service).examine()
    stub = health(service.channel(HOTLINE))
    assert (await stub.Check(asking())).status == NOT_SERVING


async def test_storage_that_cannot_be_written_is_found_out_and_recovers(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = health(service.channel(HOTLINE))
    watch = stub.Watch(asking())
    assert (await watch.read()).status == SERVING
    store: Any = service.app._basis.store

    with monkeypatch.context() as patch:
        patch.setattr(store._store, "writing", failing(errno.ENOSPC))
        await check_of(service).examine()
        assert ready(service.app), "nobody has noticed yet"
        service.clock.advance(PROBE_AFTER + 1)
        await check_of(service).examine()
        assert (await watch.read()).status == NOT_SERVING
        answer = await refused(
            service.referrals(HOTLINE).Publish(service.publish_request())
        )
        assert answer.reason == "STORAGE_UNAVAILABLE"
        assert "space" not in answer.details
    await check_of(service).examine()
    assert (await watch.read()).status == SERVING
    await service.referrals(HOTLINE).Publish(service.publish_request())
    size = service.app.ledger.head().size
    await check_of(service).examine()
    assert service.app._basis.storage.silent_for < PROBE_AFTER
    assert service.app._basis.storage.writable, "it is not probed all the time"
    assert service.app.ledger.head().size == size, "a probe leaves nothing in the log"


async def test_a_failed_write_is_probed_at_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Any = service.app._basis.store

    with monkeypatch.context() as patch:
        patch.setattr(store._store, "writing", failing(errno.EIO))
        await refused(service.referrals(HOTLINE).Publish(service.publish_request()))
        await check_of(service).examine()
        assert not ready(service.app)
    await check_of(service).examine()
    assert ready(service.app)


async def test_a_chore_that_keeps_failing_is_not_well_until_it_succeeds() -> None:
    fails = True

    async def work() -> None:
        if fails:
            raise ValueError

    chores, chore = Chores(Telemetry()), Chore("sweeping", 0, work)
    for _ in range(MAX_FAILURES):
        assert not chores.ailing
        await chores._turn(chore)
    assert chores.ailing == ["sweeping"]
    fails = False
    await chores._turn(chore)
    assert not chores.ailing


async def test_a_chore_goes_on_after_a_failure_and_others_beside_it() -> None:
    turns: asyncio.Queue[str] = asyncio.Queue()

    async def failing() -> None:
        turns.put_nowait("failing")
        raise ValueError

    async def working() -> None:
        turns.put_nowait("working")

    done: list[str] = []
    routine = [Chore("failing", 0, failing), Chore("working", 0, working)]
    async with Chores(Telemetry()).running(routine), asyncio.timeout(10):
        while min(done.count("failing"), done.count("working")) < 2:
            done.append(await turns.get())


async def test_a_chore_for_one_replica_is_done_by_the_one_that_has_the_lead() -> None:
    done, leads = [], {"erasing": False}

    async def work() -> None:
        done.append("swept")

    async def asked(lead: str) -> bool:
        return leads[lead]

    chores = Chores(Telemetry(), asked)
    chore = Chore("sweeping", 0, work, lead="erasing")
    await chores._turn(chore)
    assert not done
    leads["erasing"] = True
    await chores._turn(chore)
    assert done == ["swept"]
    del leads["erasing"]
    for _ in range(MAX_FAILURES):
        await chores._turn(chore)
    assert chores.ailing == ["sweeping"]


async def test_draining_ends_watches_with_not_serving(tmp_path: Path) -> None:
    async with open_service(tmp_path) as service:
        watch = health(service.channel(HOTLINE)).Watch(asking())
        assert (await watch.read()).status == SERVING
        ending = asyncio.create_task(service.app.drain(30))
        async with asyncio.timeout(10):
            assert (await watch.read()).status == NOT_SERVING
            assert await watch.read() is grpc.aio.EOF
            await ending


async def test_calls_that_run_are_finished_and_new_ones_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    publishing = service.app._domain.referral.publishing
    publish = publishing.publish

    async def slowly(*given: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await publish(*given)

    monkeypatch.setattr(publishing, "publish", slowly)
    call = service.referrals(HOTLINE).Publish(service.publish_request())
    running = asyncio.ensure_future(call)
    await begun.wait()
    ending = asyncio.create_task(service.app.drain(30))
    late = log_pb2_grpc.LogServiceStub(service.channel(HOTLINE))
    answer = await refused(late.GetCheckpoint(log_pb2.GetCheckpointRequest()))
    assert answer.code is grpc.StatusCode.UNAVAILABLE
    go_on.set()
    async with asyncio.timeout(10):
        assert service.verify((await running).acceptance) > 0
        await ending
