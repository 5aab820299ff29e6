"""What a refused caller learns, and what it never does."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from onward.core import errors as core
from onward.core.errors import Reason
from onward.core.statements import parse_statement
from onward.v1 import (
    custody_pb2,
    custody_pb2_grpc,
    error_pb2,
    log_pb2,
    log_pb2_grpc,
    referral_pb2,
    vocabulary_pb2,
)
from onward_server.exchange.log_reader import LogReader
from onward_server.exchange.records import Records
from onward_server.services import errors
from onward_server.services.paging import Pages
from tests.support.service import Refused, Service, refused
from tests.support.world import AUDITOR, HOTLINE, STATE_POLICE

_SERVICE = "/onward.v1.ReferralService"


def subclasses(of: type[core.OnwardError]) -> set[type[core.OnwardError]]:
    return {of}.union(*map(subclasses, of.__subclasses__()))


def test_every_class_of_the_tree_has_a_code() -> None:
    internal = {core.OnwardError, errors.InternalError}
    in_core = {
        cls for cls in subclasses(core.OnwardError) if cls.__module__ == core.__name__
    }
    for cls in in_core - internal:
        code = next(errors.CODES[base] for base in cls.__mro__ if base in errors.CODES)
        assert code is not grpc.StatusCode.INTERNAL, cls


def test_the_table_agrees_with_the_codes_that_the_contract_states() -> None:
    """Reads the code of each reason from its comment in error.proto."""
    proto = Path("proto/onward/v1/error.proto").read_text("utf-8")
    stated = re.findall(r"// ([A-Z_]+): (?:[^=]|=(?! ))*?(ERROR_REASON_\w+) =", proto)
    assert len(stated) > 30
    by_reason = {name: code for code, name in stated}
    samples = [
        core.MalformedError("x"),
        core.TooLargeError("x", 2, 1),
        core.VerificationError(Reason.ERROR_REASON_SIGNATURE_INVALID, "x"),
        core.StateError(Reason.ERROR_REASON_KEY_NOT_VALID, "x"),
        core.ForbiddenError(Reason.ERROR_REASON_ROLE_REQUIRED, "x"),
        core.UnauthenticatedError(Reason.ERROR_REASON_TOKEN_INVALID, "x"),
        core.UnknownError(Reason.ERROR_REASON_REFERRAL_UNKNOWN, "x"),
        core.ConflictError(Reason.ERROR_REASON_REFERRAL_ID_REUSED, "x"),
        core.RangeError(Reason.ERROR_REASON_LOG_RANGE, "x"),
        core.QuotaError(Reason.ERROR_REASON_QUOTA_EXCEEDED, "x"),
        core.UnavailableError(Reason.ERROR_REASON_DRAINING, "x"),
        errors.MethodUnknownError(),
        errors.InternalError(),
    ]
    for error in samples:
        name = error_pb2.ErrorReason.Name(error.reason)
        assert errors.code_of(error).name == by_reason[name], name


def details_of(error: core.OnwardError) -> Refused:
    status = errors.to_status(error, "an-id")
    return Refused(errors.code_of(error), status.message, "an-id", status)


def test_a_wrong_field_is_named() -> None:
    answer = details_of(core.MalformedError("too short", field="referral.links[3]"))
    violation = answer.detail(error_details_pb2.BadRequest).field_violations[0]
    assert (violation.field, violation.description, violation.reason) == (
        "referral.links[3]",
        "too short",
        "MALFORMED",
    )
    assert not answer.every(error_details_pb2.PreconditionFailure)


def test_a_state_says_what_must_be_otherwise() -> None:
    error = core.StateError(
        Reason.ERROR_REASON_STATE_FORBIDS, "it is closed", metadata={"state": "CLOSED"}
    )
    answer = details_of(error)
    violation = answer.detail(error_details_pb2.PreconditionFailure).violations[0]
    assert (violation.type, violation.description) == ("STATE_FORBIDS", "it is closed")
    info = answer.detail(error_details_pb2.ErrorInfo)
    assert dict(info.metadata) == {"state": "CLOSED", "correlation_id": "an-id"}


def test_when_to_retry_is_told_exactly() -> None:
    error = core.QuotaError(Reason.ERROR_REASON_QUOTA_EXCEEDED, "x", retry_after=1.25)
    delay = details_of(error).detail(error_details_pb2.RetryInfo).retry_delay
    assert delay == Duration(seconds=1, nanos=250_000_000)


# --- over the wire --------------------------------------------------------------------


def raw(service: Service, method: str, kind: str = "unary_unary") -> Any:
    """Returns a method of the hotline's that takes bytes as they are."""
    return getattr(service.channel(HOTLINE), kind)(f"{_SERVICE}/{method}")


async def test_a_forbidden_disclosure_carries_the_logged_rejection(
    service: Service,
) -> None:
    request = service.publish_request(
        reporter_type=vocabulary_pb2.REPORTER_TYPE_POTENTIAL_VICTIM,
        basis=vocabulary_pb2.DISCLOSURE_BASIS_VICTIM_VERBAL_REQUEST,
        consent={"state": vocabulary_pb2.CONSENT_STATE_DECLINED},
    )
    stub = service.referrals(HOTLINE)
    answer = await refused(stub.Publish(request))
    assert answer.code is grpc.StatusCode.FAILED_PRECONDITION
    assert answer.reason == "DISCLOSURE_FORBIDDEN"
    logged = answer.detail(log_pb2.LoggedStatement)
    assert service.verify(logged) > 0
    rejection = parse_statement(logged.statement).message.rejection
    assert rejection.recipient == STATE_POLICE
    assert rejection.rule in answer.details
    batch = await stub.PublishBatch(
        referral_pb2.PublishBatchRequest(requests=[request])
    )
    assert batch.results[0].error.rejection == logged


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"\xff\xff\xff", id="no protobuf"),
        pytest.param(b"\x0a\x7fabc", id="cut short"),
        pytest.param(b"\x0a\x02\xc3\x28", id="text that is no UTF-8"),
        pytest.param(b"\x0b" * 10_000, id="nested deeply"),
        pytest.param(b"\x0a" + b"\xff" * 9 + b"\x01", id="a length past the end"),
    ],
)
async def test_malformed_bytes_are_the_callers_mistake(
    service: Service, request_bytes: bytes
) -> None:
    call = raw(service, "Publish")
    answer = await refused(call(request_bytes))
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.reason == "MALFORMED"


async def test_malformed_bytes_inside_a_stream_are_refused_too(
    service: Service,
) -> None:
    call = raw(service, "PutContent", "stream_unary")
    answer = await refused(call(iter([b"\xff\xff"])))
    assert answer.reason == "MALFORMED"


async def test_a_message_over_the_limit_is_too_large(service: Service) -> None:
    call = raw(service, "Publish")
    answer = await refused(call(bytes(4 * 1024 * 1024 + 1)))
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.reason == "TOO_LARGE"
    info = answer.detail(error_details_pb2.ErrorInfo)
    assert info.metadata["limit"] == str(4 * 1024 * 1024)


async def test_what_the_transport_refuses_does_no_harm(service: Service) -> None:
    channel = service.channel(HOTLINE)
    call: Any = channel.unary_unary(f"{_SERVICE}/Publish")
    answer = await refused(call(bytes(20 * 1024 * 1024)))
    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    stub = log_pb2_grpc.LogServiceStub(channel)
    assert (await stub.GetCheckpoint(log_pb2.GetCheckpointRequest())).checkpoint


async def test_an_unknown_method_says_so(service: Service) -> None:
    channel: Any = service.channel(HOTLINE)
    for path in (f"{_SERVICE}/Forward", "/onward.v2.ReferralService/Publish", "/x"):
        answer = await refused(channel.unary_unary(path)(b"anything"))
        assert answer.code is grpc.StatusCode.UNIMPLEMENTED
        assert answer.reason == "METHOD_UNKNOWN"


async def test_a_defect_shows_nothing_but_an_id_that_the_log_knows(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = "/var/lib/onward: SELECT * FROM statements WHERE tip = 'a secret'"

    def broken(_: Any) -> str:
        raise RuntimeError(secret)

    monkeypatch.setattr(LogReader, "checkpoint", broken)
    stub = log_pb2_grpc.LogServiceStub(service.channel(HOTLINE))
    answer = await refused(stub.GetCheckpoint(log_pb2.GetCheckpointRequest()))
    assert (answer.code, answer.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert answer.status is not None
    assert secret not in answer.details + str(answer.status)
    assert len(answer.correlation_id) == 32
    written = capsys.readouterr().out
    assert answer.correlation_id in written
    assert "RuntimeError" in written


async def test_a_defect_of_one_item_does_not_spoil_its_batch(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = service.app._domain.referral.publishing.publish
    calls = 0

    async def sometimes(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyError("a secret")
        return await publish(*given)

    publishing = service.app._domain.referral.publishing
    monkeypatch.setattr(publishing, "publish", sometimes)
    batch = referral_pb2.PublishBatchRequest(
        requests=[service.publish_request() for _ in range(3)]
    )
    answer = await service.referrals(HOTLINE).PublishBatch(batch)
    kinds = [result.WhichOneof("result") for result in answer.results]
    assert kinds == ["response", "error", "response"]
    error = answer.results[1].error
    assert error.reason == Reason.ERROR_REASON_INTERNAL
    assert "secret" not in str(error)


async def test_a_batch_answers_each_item_in_its_place(service: Service) -> None:
    good = [service.publish_request() for _ in range(2)]
    bad = [
        referral_pb2.PublishRequest(referral="x"),
        referral_pb2.PublishRequest(
            referral=good[0].referral, sealed_content=b"something else"
        ),
    ]
    batch = referral_pb2.PublishBatchRequest(requests=[bad[0], *good, bad[1]])
    results = (await service.referrals(HOTLINE).PublishBatch(batch)).results
    assert results[0].error.reason == Reason.ERROR_REASON_MALFORMED
    assert results[0].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    for request, result in zip(good, results[1:3], strict=True):
        assert result.response.referral.statement == request.referral
        assert service.verify(result.response.acceptance) > 0


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_has_1_to_100_items(service: Service, count: int) -> None:
    batch = referral_pb2.PublishBatchRequest(
        requests=[referral_pb2.PublishRequest()] * count
    )
    answer = await refused(service.referrals(HOTLINE).PublishBatch(batch))
    assert answer.reason == "MALFORMED"
    violation = answer.detail(error_details_pb2.BadRequest).field_violations[0]
    assert violation.field == "requests"


async def test_somebody_elses_referral_does_not_exist(service: Service) -> None:
    published = await service.referrals(HOTLINE).Publish(service.publish_request())
    referral_id = parse_statement(published.referral.statement).message.id
    get = referral_pb2.GetReferralRequest(referral_id=referral_id)
    outsider = "spiffe://national.example/agency/nevada-state-police"
    theirs = await refused(service.referrals(outsider).GetReferral(get))
    get.referral_id = referral_id[:-1] + ("0" if referral_id[-1] != "0" else "1")
    nobodys = await refused(service.referrals(outsider).GetReferral(get))
    assert theirs.code is nobodys.code is grpc.StatusCode.NOT_FOUND
    assert theirs.reason == nobodys.reason == "REFERRAL_UNKNOWN"


async def test_what_a_caller_sent_comes_back_in_bounds_only(service: Service) -> None:
    get = referral_pb2.GetReferralRequest(referral_id="x" * 1_000_000)
    answer = await refused(service.referrals(HOTLINE).GetReferral(get))
    assert answer.reason == "REFERRAL_UNKNOWN"
    assert len(answer.details) <= 1000
    assert answer.status is not None
    assert answer.status.ByteSize() < 4000


async def test_log_ranges_are_refused_by_reason(service: Service) -> None:
    stub = log_pb2_grpc.LogServiceStub(service.channel(AUDITOR))
    size = service.app.ledger.head().size
    for call in (
        stub.GetConsistencyProof(
            log_pb2.GetConsistencyProofRequest(first_size=0, second_size=1)
        ),
        stub.GetConsistencyProof(
            log_pb2.GetConsistencyProofRequest(first_size=1, second_size=size + 1)
        ),
        stub.ListEntries(log_pb2.ListEntriesRequest(first_index=size + 1)),
    ):
        answer = await refused(call)
        assert answer.code is grpc.StatusCode.OUT_OF_RANGE
        assert answer.reason == "LOG_RANGE"
    unknown = await refused(
        stub.GetReceipt(log_pb2.GetReceiptRequest(digest=bytes(32)))
    )
    assert (unknown.code, unknown.reason) == (
        grpc.StatusCode.NOT_FOUND,
        "ENTRY_UNKNOWN",
    )
    short = await refused(stub.GetReceipt(log_pb2.GetReceiptRequest(digest=bytes(31))))
    assert short.reason == "MALFORMED"
    end = await stub.ListEntries(log_pb2.ListEntriesRequest(first_index=size))
    assert not end.digests


# --- page tokens ----------------------------------------------------------------------


async def test_pages_lead_through_the_whole_list_once(service: Service) -> None:
    requests = [service.publish_request() for _ in range(5)]
    stub = service.referrals(HOTLINE)
    await stub.PublishBatch(referral_pb2.PublishBatchRequest(requests=requests))
    seen, token = [], ""
    while True:
        page = await stub.ListReferrals(
            referral_pb2.ListReferralsRequest(
                side=referral_pb2.REFERRAL_SIDE_PUBLISHED, page_size=2, page_token=token
            )
        )
        seen += [view.referral_id for view in page.referrals]
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == len(set(seen)) == 5
    whole = await stub.ListReferrals(
        referral_pb2.ListReferralsRequest(
            side=referral_pb2.REFERRAL_SIDE_PUBLISHED, page_size=5
        )
    )
    assert [view.referral_id for view in whole.referrals] == seen
    assert not whole.next_page_token


async def test_a_token_of_another_list_caller_or_spelling_is_refused(
    service: Service,
) -> None:
    requests = [service.publish_request() for _ in range(2)]
    hotline, police = service.referrals(HOTLINE), service.referrals(STATE_POLICE)
    await hotline.PublishBatch(referral_pb2.PublishBatchRequest(requests=requests))
    published = referral_pb2.ListReferralsRequest(
        side=referral_pb2.REFERRAL_SIDE_PUBLISHED, page_size=1
    )
    token = (await hotline.ListReferrals(published)).next_page_token
    published.page_token = token
    received = referral_pb2.ListReferralsRequest(
        side=referral_pb2.REFERRAL_SIDE_RECEIVED, page_token=token
    )
    changed = referral_pb2.ListReferralsRequest(
        side=referral_pb2.REFERRAL_SIDE_PUBLISHED, page_token="B" + token[1:]
    )
    cut = referral_pb2.ListReferralsRequest(
        side=referral_pb2.REFERRAL_SIDE_PUBLISHED, page_token=token[:-2]
    )
    pages = Pages(f"ListReferrals {referral_pb2.REFERRAL_SIDE_PUBLISHED}", HOTLINE)
    forged = [
        referral_pb2.ListReferralsRequest(
            side=referral_pb2.REFERRAL_SIDE_PUBLISHED, page_token=pages.token(place)
        )
        for place in ("-1", "x", "\u00e9", "9" * 30, "")
    ]
    for call in (
        police.ListReferrals(published),
        hotline.ListReferrals(received),
        hotline.ListReferrals(changed),
        hotline.ListReferrals(cut),
        *map(hotline.ListReferrals, forged),
    ):
        answer = await refused(call)
        assert answer.reason == "MALFORMED"
        violation = answer.detail(error_details_pb2.BadRequest).field_violations[0]
        assert violation.field == "page_token"


async def test_an_upload_begins_with_its_header(service: Service) -> None:
    async def chunks() -> AsyncIterator[referral_pb2.PutContentRequest]:
        yield referral_pb2.PutContentRequest(chunk=b"x")

    async def nothing() -> AsyncIterator[referral_pb2.PutContentRequest]:
        return
        yield

    async def two_headers() -> AsyncIterator[referral_pb2.PutContentRequest]:
        header = referral_pb2.PutContentHeader(
            content_digest=bytes(32), content_size=10
        )
        yield referral_pb2.PutContentRequest(header=header)
        yield referral_pb2.PutContentRequest(header=header)

    stub = service.referrals(HOTLINE)
    for requests in (chunks(), nothing(), two_headers()):
        answer = await refused(stub.PutContent(requests))
        assert answer.reason == "MALFORMED"


async def test_an_auditor_asks_for_bundles_of_its_jurisdictions_only(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = await service.referrals(HOTLINE).Publish(service.publish_request())
    referral_id = parse_statement(published.referral.statement).message.id
    stub = custody_pb2_grpc.CustodyServiceStub(service.channel(AUDITOR))
    request = custody_pb2.GetBundleRequest(referral_id=referral_id)
    assert (await stub.GetBundle(request)).bundle.startswith(b"{")
    listed = await stub.ListChains(custody_pb2.ListChainsRequest())
    assert listed.referral_ids == [referral_id]
    monkeypatch.setattr(Records, "bundle", None)
    answer = await refused(stub.GetBundle(request))
    assert answer.reason == "INTERNAL"
