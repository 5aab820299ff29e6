"""What must not wait, over the wire: who hears of it, and when."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from onward.core.due import kind_name
from onward.core.statements import parse_statement
from onward.v1 import alert_pb2, alert_pb2_grpc, statement_pb2, vocabulary_pb2
from tests.services.test_telemetry import Told
from tests.support.service import (
    ONLY_RECEIVES,
    OPERATOR,
    Service,
    first,
    open_service,
    refused,
)
from tests.support.world import AUDITOR, HOTLINE, NEVADA, STATE_POLICE

HOUR = 3600


def watch(service: Service, who: str, token: str = "") -> Any:
    """Opens a stream of alerts."""
    stub = alert_pb2_grpc.AlertServiceStub(service.channel(who))
    return stub.WatchAlerts(alert_pb2.WatchAlertsRequest(resume_token=token))


async def alert(stream: Any) -> alert_pb2.WatchAlertsResponse:
    """Returns the next alert; heartbeats are not what is waited for."""
    async with asyncio.timeout(20):
        while True:
            response: alert_pb2.WatchAlertsResponse = await first(stream)
            if response.HasField("alert"):
                return response


def said(response: alert_pb2.WatchAlertsResponse) -> statement_pb2.Statement:
    """Returns the statement of an alert."""
    return parse_statement(response.alert.statement).message


async def publish(service: Service, **fields: Any) -> None:
    """Publishes a referral of the hotline to the state police."""
    await service.referrals(HOTLINE).Publish(service.publish_request(**fields))


async def test_the_running_exchange_alerts_open_streams_by_itself(
    service: Service,
) -> None:
    streams = [watch(service, who) for who in (HOTLINE, STATE_POLICE, OPERATOR)]
    await publish(service)
    service.clock.advance(2 * HOUR)
    heard = [await alert(stream) for stream in streams]
    assert {said(response).WhichOneof("body") for response in heard} == {"warning"}
    assert len({response.alert.statement for response in heard}) == 1
    for response in heard:
        service.verify(response.alert)
    service.clock.advance(2 * HOUR)
    heard = [await alert(stream) for stream in streams]
    assert {said(response).WhichOneof("body") for response in heard} == {"breach"}


async def test_alerts_resume_without_gap_or_repetition(service: Service) -> None:
    for _ in range(3):
        await publish(service)
    whole = watch(service, HOTLINE)
    service.clock.advance(5 * HOUR)
    alerts = [await alert(whole) for _ in range(3)]
    resumed = watch(service, HOTLINE, alerts[0].resume_token)
    assert [await alert(resumed) for _ in range(2)] == alerts[1:]
    await publish(service)
    service.clock.advance(5 * HOUR)
    assert await alert(whole) == await alert(resumed)


async def test_a_token_is_of_no_use_to_others_and_for_nothing_else(
    service: Service,
) -> None:
    await publish(service)
    service.clock.advance(5 * HOUR)
    token = (await alert(watch(service, HOTLINE))).resume_token
    answer = await refused(watch(service, STATE_POLICE, token).read())
    assert (answer.reason, "resume_token" in answer.details) == ("MALFORMED", True)


async def test_members_hear_of_what_concerns_them_and_of_nothing_else(
    tmp_path: Path,
) -> None:
    settings = {"ONWARD__LIMITS__HEARTBEAT_SECONDS": "0.05"}
    async with open_service(tmp_path, settings) as service:
        await publish(service)
        service.clock.advance(5 * HOUR)
        await service.app._ports.upkeep.alarming.turn()
        for who in (NEVADA, ONLY_RECEIVES):
            response = await first(watch(service, who))
            assert response.WhichOneof("event") == "heartbeat"
            assert response.resume_token
        assert said(await alert(watch(service, OPERATOR))).HasField("breach")


async def test_auditors_ask_for_evidence_and_are_not_paged(service: Service) -> None:
    answer = await refused(watch(service, AUDITOR).read())
    assert answer.reason == "ROLE_REQUIRED"


async def test_a_stream_of_alerts_ends_with_its_member(service: Service) -> None:
    stream = watch(service, STATE_POLICE)
    await publish(service)
    service.clock.advance(5 * HOUR)
    await alert(stream)
    async with asyncio.timeout(20):
        ending = asyncio.create_task(service.suspend(STATE_POLICE))
        answer = await refused(read_on(stream))
        await ending
    assert answer.reason == "MEMBER_SUSPENDED"


async def read_on(stream: Any) -> None:
    """Reads a stream to its end."""
    async for _ in stream:
        pass


@pytest.mark.parametrize("test", [False, True])
async def test_warnings_and_breaches_are_counted_without_tests(
    tmp_path: Path,
    test: bool,
) -> None:
    told = Told()
    async with open_service(tmp_path, telemetry=told.telemetry) as service:
        await publish(service, test=test)
        await service.world.register(test=test)
        for hours in (2, 3, 7, 20):
            service.clock.advance(hours * HOUR)
            await service.app._ports.upkeep.alarming.turn()
        for name in ("warnings", "breaches"):
            points = told.points(f"onward.deadlines.{name}")
            counted = {
                dict(attributes)["onward.deadline"]: point.value
                for attributes, point in points.items()
            }
            kinds = map(
                kind_name,
                (
                    vocabulary_pb2.DEADLINE_KIND_DELIVER,
                    vocabulary_pb2.DEADLINE_KIND_PASS_ON,
                ),
            )
            assert counted == ({} if test else dict.fromkeys(kinds, 1))
            assert all(("onward.urgency", "ROUTINE") in of for of in points)
