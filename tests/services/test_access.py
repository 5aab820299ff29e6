"""Who may call what: every RPC, for every role and every kind of outsider."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

from onward.v1 import directory_pb2, log_pb2, log_pb2_grpc, statement_pb2
from onward_server.services import access
from tests.support.certificates import Identity, TestAuthority
from tests.support.service import (
    FOREIGNER,
    ONLY_PUBLISHES,
    ONLY_RECEIVES,
    OPERATOR,
    PENDING,
    STRANGER,
    SUSPENDED,
    Refused,
    Service,
    refused,
)
from tests.support.world import AUDITOR, HOTLINE

# Written down from the comments of proto/onward/v1, and not from the code:
# p publisher, r recipient, a auditor, o operator, * anyone at all.
EXPECTED = {
    "onward.v1.ReferralService": {
        "Publish": "p",
        "PublishBatch": "p",
        "PutContent": "pr",
        "Receive": "r",
        "GetContent": "r",
        "SubmitStatement": "pr",
        "SubmitStatements": "pr",
        "WatchOwn": "p",
        "GetReferral": "pr",
        "ListReferrals": "pr",
        "EraseContent": "p",
    },
    "onward.v1.IntakeService": {
        "RegisterIntake": "p",
        "RegisterIntakes": "p",
        "DecideIntake": "p",
        "GetBook": "p",
        "GetIntake": "p",
        "ListIntakes": "p",
    },
    "onward.v1.CustodyService": {"GetBundle": "pra", "ListChains": "a"},
    "onward.v1.AlertService": {"WatchAlerts": "pro"},
    "onward.v1.AuditService": {"ExportStatements": "a", "ListAuditAccess": "pr"},
    "onward.v1.PolicyService": {"GetPolicy": "prao", "ListPolicyChanges": "prao"},
    "onward.v1.LogService": {
        "GetCheckpoint": "prao",
        "GetReceipt": "prao",
        "GetConsistencyProof": "prao",
        "ListEntries": "prao",
        "ListVouchers": "prao",
    },
    "onward.v1.DirectoryService": {
        "GetMember": "prao",
        "ListMembers": "prao",
        "GetExchangeKeys": "prao",
        "RotateKeys": "prao",
        "RenewCertificate": "prao",
    },
    "onward.v1.CapabilityService": {"GetCapabilities": "prao"},
    "onward.v1.AdminService": {
        "AddMember": "o",
        "IssueToken": "o",
        "SuspendMember": "o",
        "ReinstateMember": "o",
        "RevokeKey": "o",
        "RevokeCertificate": "o",
        "EraseReferralContent": "o",
        "ApplyPolicy": "o",
        "GetStatus": "o",
    },
    "grpc.health.v1.Health": {"Check": "*", "List": "*", "Watch": "*"},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": "prao"},
}
ENROLMENT = {
    "onward.v1.EnrollmentService": {
        "StartEnrollment": "*",
        "CompleteEnrollment": "*",
    }
}
METHODS = [
    (f"{service}/{method}", allowed)
    for service, methods in EXPECTED.items()
    for method, allowed in methods.items()
]
ROLES = {
    "p": ONLY_PUBLISHES,
    "r": ONLY_RECEIVES,
    "pr": HOTLINE,
    "a": AUDITOR,
    "o": OPERATOR,
}
OUTSIDERS = {
    SUSPENDED: "MEMBER_SUSPENDED",
    PENDING: "NOT_A_MEMBER",
    STRANGER: "NOT_A_MEMBER",
    FOREIGNER: "NOT_A_MEMBER",
    "spiffe://national.example/exchange": "NOT_A_MEMBER",
}


async def ask(channel: grpc.aio.Channel, path: str) -> Refused | None:
    """Calls any method with an empty request; returns None when it was not refused.

    A stream is asked for its first message, and left when none comes at once.
    """
    method = method_of(path)
    call = call_of(channel, method, path)
    try:
        async with asyncio.timeout(0.5):
            result = call(iter([b""]) if method.client_streaming else b"")
            await (result.read() if method.server_streaming else result)
    except grpc.aio.AioRpcError as error:
        return Refused.of(error)
    except TimeoutError:
        return None
    return None


def method_of(path: str) -> MethodDescriptor:
    service, _, method = path.partition("/")
    found = descriptor_pool.Default().FindServiceByName(service)
    return found.methods_by_name[method]


def call_of(channel: grpc.aio.Channel, method: MethodDescriptor, path: str) -> Any:
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    return kinds[method.client_streaming, method.server_streaming](f"/{path}")


def test_every_method_of_every_service_has_exactly_one_expectation() -> None:
    pool = descriptor_pool.Default()
    for service, methods in (EXPECTED | ENROLMENT).items():
        declared = {method.name for method in pool.FindServiceByName(service).methods}
        assert declared == set(methods)
    packages = {
        "admin", "alert", "audit", "capability", "custody", "directory", "enrollment",
        "intake", "log", "policy", "referral",
    }  # fmt: skip
    in_protos = {
        service.full_name
        for name in packages
        for service in pool.FindFileByName(
            f"onward/v1/{name}.proto"
        ).services_by_name.values()
    }
    ours = {name for name in EXPECTED | ENROLMENT if name.startswith("onward.v1.")}
    assert in_protos == ours
    assert set(access.RULES) == {
        f"/{service}/{method}"
        for service, methods in (EXPECTED | ENROLMENT).items()
        for method in methods
    }


def test_a_method_without_a_rule_cannot_be_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = "/onward.v1.LogService/GetReceipt"
    rules = {name: rule for name, rule in access.RULES.items() if name != path}
    monkeypatch.setattr(access, "RULES", rules)
    with pytest.raises(KeyError, match="GetReceipt"):
        access.rules_of(["onward.v1.LogService"])


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_call_its_methods_and_no_others(
    service: Service, role: str
) -> None:
    channel = service.channel(ROLES[role])
    for path, allowed in METHODS:
        answer = await ask(channel, path)
        if allowed == "*" or set(role) & set(allowed):
            assert answer is None or answer.reason != "ROLE_REQUIRED", path
            assert answer is None or answer.reason != "INTERNAL", (path, answer)
        else:
            assert answer is not None, path
            assert answer.code is grpc.StatusCode.PERMISSION_DENIED, path
            assert answer.reason == "ROLE_REQUIRED", path


@pytest.mark.parametrize("name", OUTSIDERS)
async def test_who_does_not_take_part_may_ask_for_the_health_only(
    service: Service, name: str
) -> None:
    channel = service.channel(name)
    for path, allowed in METHODS:
        answer = await ask(channel, path)
        if allowed == "*":
            assert answer is None, path
        else:
            assert answer is not None, path
            assert answer.code is grpc.StatusCode.PERMISSION_DENIED, path
            assert answer.reason == OUTSIDERS[name], path


async def test_the_enrolment_port_serves_nothing_else(service: Service) -> None:
    channel = service.enrolment_channel()
    for path, _ in METHODS:
        answer = await ask(channel, path)
        if "Health/" in path:
            assert answer is None
        else:
            assert answer is not None
            assert (answer.code, answer.reason) == (
                grpc.StatusCode.UNIMPLEMENTED,
                "METHOD_UNKNOWN",
            )
    answer = await ask(channel, "onward.v1.EnrollmentService/StartEnrollment")
    assert answer is not None
    assert answer.reason == "TOKEN_INVALID"


async def test_the_member_port_does_not_serve_enrolment(service: Service) -> None:
    answer = await ask(
        service.channel(HOTLINE), "onward.v1.EnrollmentService/StartEnrollment"
    )
    assert answer is not None
    assert answer.reason == "METHOD_UNKNOWN"


# --- certificates ---------------------------------------------------------------------


async def checkpoint(service: Service, who: str | Identity | None) -> Any:
    stub = log_pb2_grpc.LogServiceStub(service.channel(who))
    return await stub.GetCheckpoint(log_pb2.GetCheckpointRequest(), timeout=5)


async def test_a_certificate_of_ours_with_one_uri_name_is_let_in(
    service: Service,
) -> None:
    identity = service.authority.issue([HOTLINE], dns=["hotline.example"])
    assert (await checkpoint(service, identity)).checkpoint


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([], id="none"),
        pytest.param([HOTLINE, STRANGER], id="two"),
        pytest.param([HOTLINE, HOTLINE], id="the same twice"),
        pytest.param(["https://national.example/agency/x"], id="no SPIFFE ID"),
        pytest.param(["spiffe://national.example/workload/x"], id="another path"),
        pytest.param(["spiffe://national.example/agency/a/b"], id="a longer path"),
        pytest.param(["spiffe://National.example/agency/a"], id="not normal"),
    ],
)
async def test_a_certificate_must_have_exactly_one_name_of_a_member(
    service: Service, names: list[str]
) -> None:
    answer = await refused(checkpoint(service, service.authority.issue(names)))
    assert answer.code is grpc.StatusCode.UNAUTHENTICATED
    assert answer.reason == "NOT_AUTHENTICATED"


async def test_a_dns_name_is_no_name(service: Service) -> None:
    identity = service.authority.issue([], dns=["national-hotline"])
    assert (await refused(checkpoint(service, identity))).reason == "NOT_AUTHENTICATED"


@pytest.mark.parametrize("case", ["none", "expired", "early", "other CA", "server's"])
async def test_the_handshake_fails_without_a_certificate_of_ours(
    service: Service, case: str
) -> None:
    issue = service.authority.issue
    day = timedelta(days=1)
    identities: dict[str, Identity | None] = {
        "none": None,
        "expired": issue([HOTLINE], begins=-2 * day, ends=-day),
        "early": issue([HOTLINE], begins=day),
        "other CA": TestAuthority.create("onward").issue([HOTLINE]),
        "server's": issue([HOTLINE], usage=ExtendedKeyUsageOID.SERVER_AUTH),
    }
    answer = await refused(checkpoint(service, identities[case]))
    assert answer.code is grpc.StatusCode.UNAVAILABLE
    assert answer.status is None


async def test_metadata_does_not_say_who_is_calling(service: Service) -> None:
    stub = log_pb2_grpc.LogServiceStub(service.channel(STRANGER))
    metadata = (("peer_spiffe_id", HOTLINE), ("x-forwarded-client-cert", HOTLINE))
    answer = await refused(
        stub.GetCheckpoint(log_pb2.GetCheckpointRequest(), metadata=metadata)
    )
    assert answer.reason == "NOT_A_MEMBER"


async def test_a_member_of_another_exchange_calls_its_own_one(
    service: Service,
) -> None:
    entry = directory_pb2.Member()
    entry.CopyFrom(service.app.ledger.directory.entry(HOTLINE).proto)
    entry.name = FOREIGNER
    kind = statement_pb2.DIRECTORY_CHANGE_KIND_ADDED
    await service.world.change(kind, entry)
    assert (await refused(checkpoint(service, FOREIGNER))).reason == "NOT_A_MEMBER"


async def test_an_open_connection_ends_with_its_certificate(service: Service) -> None:
    stub = log_pb2_grpc.LogServiceStub(service.channel(HOTLINE))
    await stub.GetCheckpoint(log_pb2.GetCheckpointRequest())
    service.clock.advance(31 * 24 * 3600)
    answer = await refused(stub.GetCheckpoint(log_pb2.GetCheckpointRequest()))
    assert answer.reason == "NOT_AUTHENTICATED"
    assert "not valid at this time" in answer.details


async def test_suspension_and_reinstatement_are_felt_by_the_next_call(
    service: Service,
) -> None:
    stub = log_pb2_grpc.LogServiceStub(service.channel(HOTLINE))
    await stub.GetCheckpoint(log_pb2.GetCheckpointRequest())
    await service.suspend(HOTLINE)
    answer = await refused(stub.GetCheckpoint(log_pb2.GetCheckpointRequest()))
    assert answer.reason == "MEMBER_SUSPENDED"
    await service.reinstate(HOTLINE)
    await stub.GetCheckpoint(log_pb2.GetCheckpointRequest())


async def test_a_revoked_certificate_is_out_and_the_members_other_one_is_not(
    service: Service,
) -> None:
    lost, kept = (service.authority.issue([HOTLINE]) for _ in range(2))
    await checkpoint(service, lost)
    await service.revoke_certificate(HOTLINE, lost.fingerprint)
    answer = await refused(checkpoint(service, lost))
    assert answer.code is grpc.StatusCode.PERMISSION_DENIED
    assert answer.reason == "CERTIFICATE_REVOKED"
    assert (await checkpoint(service, kept)).checkpoint
