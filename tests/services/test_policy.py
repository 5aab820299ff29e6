"""Policies over the wire: who sees which, and who changes them."""

from pathlib import Path

import grpc
import pytest

from onward.core.policy_sets import policy_digest
from onward.core.statements import parse_statement
from onward.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    statement_pb2,
)
from onward_server.app import build
from onward_server.exchange.policies import Policies
from onward_server.exchange.policy_files import (
    default_policy_folder,
    read_policy_files,
)
from tests.support.service import OPERATOR, Service, open_service, refused
from tests.support.world import AUDITOR, HOTLINE, STATE_POLICE

DEFAULT = dict(read_policy_files(default_policy_folder()))
OTHER = DEFAULT | {"VERSION": "other-1\n"}


def policies(service: Service, who: str) -> policy_pb2_grpc.PolicyServiceStub:
    return policy_pb2_grpc.PolicyServiceStub(service.channel(who))


def applying(
    texts: dict[str, str], replaces: bytes = policy_digest(DEFAULT)
) -> admin_pb2.ApplyPolicyRequest:
    return admin_pb2.ApplyPolicyRequest(
        files=[
            policy_pb2.PolicyFile(name=name, text=text) for name, text in texts.items()
        ],
        replaces_digest=replaces,
    )


def admin(service: Service) -> admin_pb2_grpc.AdminServiceStub:
    return admin_pb2_grpc.AdminServiceStub(service.channel(OPERATOR))


async def test_an_operator_applies_a_set_and_every_member_sees_it(
    service: Service,
) -> None:
    answer = await admin(service).ApplyPolicy(applying(OTHER))
    change = parse_statement(answer.change.statement).message.policy_change
    assert change == statement_pb2.PolicyChange(
        policy_version="other-1",
        policy_digest=policy_digest(OTHER),
        requested_by=OPERATOR,
    )
    size = service.verify(answer.change)
    for who in (HOTLINE, STATE_POLICE, AUDITOR, OPERATOR):
        stub = policies(service, who)
        present = await stub.GetPolicy(policy_pb2.GetPolicyRequest())
        assert present.change.statement == answer.change.statement
        assert service.verify(present.change) >= size
        assert {file.name: file.text for file in present.files} == OTHER
        listed = await stub.ListPolicyChanges(policy_pb2.ListPolicyChangesRequest())
        assert [item.statement for item in listed.changes][1:] == [
            answer.change.statement
        ]


async def test_an_earlier_set_is_found_by_its_digest(service: Service) -> None:
    await admin(service).ApplyPolicy(applying(OTHER))
    request = policy_pb2.GetPolicyRequest(policy_digest=policy_digest(DEFAULT))
    earlier = await policies(service, AUDITOR).GetPolicy(request)
    assert [file.name for file in earlier.files] == sorted(DEFAULT)
    assert {file.name: file.text for file in earlier.files} == DEFAULT


async def test_a_set_that_never_was_in_force_is_unknown(service: Service) -> None:
    request = policy_pb2.GetPolicyRequest(policy_digest=b"\7" * 32)
    error = await refused(policies(service, HOTLINE).GetPolicy(request))
    assert (error.code, error.reason) == (
        grpc.StatusCode.NOT_FOUND,
        "POLICY_UNKNOWN",
    )
    request = policy_pb2.GetPolicyRequest(policy_digest=b"\7")
    error = await refused(policies(service, HOTLINE).GetPolicy(request))
    assert error.reason == "MALFORMED"


async def test_an_unsound_set_is_refused_by_file_and_rule(service: Service) -> None:
    broken = OTHER | {
        "default.cedar": OTHER["default.cedar"].replace(
            'AgeGroup::"MIXED"', 'AgeGroup::"MIXD"'
        )
    }
    error = await refused(admin(service).ApplyPolicy(applying(broken)))
    assert (error.code, error.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "POLICY_INVALID",
    )
    assert error.details.startswith("default.cedar, line ")
    said = "rule transfer-within-consent does not follow schema.cedarschema"
    assert said in error.details


async def test_a_file_is_stated_once(service: Service) -> None:
    request = applying(OTHER)
    request.files.append(request.files[0])
    error = await refused(admin(service).ApplyPolicy(request))
    assert error.reason == "POLICY_INVALID"
    assert "same name" in error.details


@pytest.mark.parametrize("replaces", [b"", b"\7" * 31])
async def test_what_is_replaced_must_be_named(
    service: Service, replaces: bytes
) -> None:
    error = await refused(admin(service).ApplyPolicy(applying(OTHER, replaces)))
    assert error.reason == "MALFORMED"
    assert "replaces_digest" in error.details


async def test_a_change_meanwhile_is_not_undone(service: Service) -> None:
    await admin(service).ApplyPolicy(applying(OTHER))
    third = DEFAULT | {"VERSION": "third-1\n"}
    error = await refused(admin(service).ApplyPolicy(applying(third)))
    assert (error.code, error.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "POLICY_CHANGED",
    )
    assert policy_digest(OTHER).hex() in error.details


async def test_an_exchange_that_logged_no_policy_does_so_when_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def as_before(_: Policies) -> None:
        """What the release before did: nothing."""

    with monkeypatch.context() as patched:
        patched.setattr(Policies, "begin", as_before)
        async with open_service(tmp_path) as older:
            stub = policies(older, AUDITOR)
            error = await refused(stub.GetPolicy(policy_pb2.GetPolicyRequest()))
            assert error.reason == "POLICY_UNKNOWN"
            config = older.config
    app = await build(config)
    try:
        await app.start()
        (change,) = await app._domain.policies.changes()
        body = parse_statement(change.jws).message.policy_change
        assert body.policy_digest == policy_digest(DEFAULT)
    finally:
        await app.drain(0)
