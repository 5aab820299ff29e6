"""Reflection: for members, and only what the port serves."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection_pb2,
    reflection_pb2_grpc,
)

from tests.support.service import STRANGER, SUSPENDED, Service, refused
from tests.support.world import AUDITOR


async def ask(channel: grpc.aio.Channel, **question: Any) -> Any:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(**question)
    return await anext(aiter(stub.ServerReflectionInfo(iter([request]))))


async def test_a_member_sees_every_service_of_the_port(service: Service) -> None:
    answer = await ask(service.channel(AUDITOR), list_services="")
    assert {entry.name for entry in answer.list_services_response.service} == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "onward.v1.AdminService",
        "onward.v1.AlertService",
        "onward.v1.AuditService",
        "onward.v1.CapabilityService",
        "onward.v1.CustodyService",
        "onward.v1.DirectoryService",
        "onward.v1.IntakeService",
        "onward.v1.LogService",
        "onward.v1.PolicyService",
        "onward.v1.ReferralService",
    }


async def test_a_member_gets_what_a_client_is_generated_from(
    service: Service,
) -> None:
    answer = await ask(
        service.channel(AUDITOR),
        file_containing_symbol="onward.v1.ReferralService",
    )
    files = {
        parsed.name: parsed
        for data in answer.file_descriptor_response.file_descriptor_proto
        for parsed in [descriptor_pb2.FileDescriptorProto.FromString(data)]
    }
    methods = files["onward/v1/referral.proto"].service[0].method
    assert "Publish" in {method.name for method in methods}
    assert "onward/v1/log.proto" in files


async def test_strangers_learn_nothing(service: Service) -> None:
    for who, reason in ((STRANGER, "NOT_A_MEMBER"), (SUSPENDED, "MEMBER_SUSPENDED")):
        answer = await refused(ask(service.channel(who), list_services=""))
        assert answer.reason == reason
    answer = await refused(ask(service.enrolment_channel(), list_services=""))
    assert answer.reason == "METHOD_UNKNOWN"


async def test_suspension_ends_an_open_reflection(service: Service) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(service.channel(AUDITOR))
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    assert (await call.read()).list_services_response.service
    await service.suspend(AUDITOR)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    assert (await refused(call.read())).reason == "MEMBER_SUSPENDED"
