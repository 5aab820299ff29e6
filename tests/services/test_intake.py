"""The hotline's book over the wire."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from onward.core.statements import SignedStatement, parse_statement
from onward.v1 import (
    intake_pb2,
    intake_pb2_grpc,
    log_pb2,
    statement_pb2,
    vocabulary_pb2,
)
from tests.support.service import (
    ONLY_PUBLISHES,
    ONLY_RECEIVES,
    OPERATOR,
    Refused,
    Service,
    refused,
)
from tests.support.world import AUDITOR, HOTLINE, NEVADA, STATE_POLICE

V = vocabulary_pb2


def book(service: Service, who: str = HOTLINE) -> intake_pb2_grpc.IntakeServiceStub:
    """Returns the service as a member calls it."""
    return intake_pb2_grpc.IntakeServiceStub(service.channel(who))


def to_register(signed: SignedStatement) -> intake_pb2.RegisterIntakeRequest:
    return intake_pb2.RegisterIntakeRequest(intake=signed.jws)


async def register(service: Service, **fields: Any) -> SignedStatement:
    """Registers a tip of the hotline over the wire."""
    signed = await service.world.intake(**fields)
    response = await book(service).RegisterIntake(to_register(signed))
    assert response.intake.statement == signed.jws
    service.verify(response.intake)
    return signed


def withhold(
    service: Service,
    intake: SignedStatement,
    reason: V.WithholdReason.ValueType = V.WITHHOLD_REASON_NO_TRAFFICKING_INDICATORS,
) -> intake_pb2.DecideIntakeRequest:
    """Returns the request that withholds a tip."""
    signed = service.world.sign(
        intake.message.issuer,
        previous=intake.digest,
        withholding=statement_pb2.Withholding(
            intake_number=intake.message.intake.number,
            reason=reason,
            approver_role="shift supervisor",
        ),
    )
    return intake_pb2.DecideIntakeRequest(statement=signed.jws)


async def get(service: Service, number: int) -> intake_pb2.IntakeView:
    request = intake_pb2.GetIntakeRequest(number=number)
    return (await book(service).GetIntake(request)).intake


async def listed(
    service: Service, **fields: Any
) -> tuple[list[int], intake_pb2.ListIntakesResponse]:
    """Lists intakes; returns their numbers, and the whole response."""
    response = await book(service).ListIntakes(intake_pb2.ListIntakesRequest(**fields))
    return [view.number for view in response.intakes], response


async def test_the_life_of_a_tip(service: Service) -> None:
    stub = book(service)
    empty = await stub.GetBook(intake_pb2.GetBookRequest(jurisdiction="US-OH"))
    assert empty == intake_pb2.GetBookResponse()
    first, second = await register(service), await register(service, code="US-NV")
    stands = await stub.GetBook(intake_pb2.GetBookRequest(jurisdiction="US-NV"))
    assert (stands.last_number, stands.last_number_in_jurisdiction) == (2, 1)
    assert stands.last_digest == second.digest

    decided = await stub.DecideIntake(withhold(service, first))
    service.verify(decided.statement)
    await service.referrals(HOTLINE).Publish(
        service.publish_request(intake_numbers=[2])
    )

    withheld, passed_on = await get(service, 1), await get(service, 2)
    assert withheld.state == V.INTAKE_STATE_WITHHELD
    assert [one.statement for one in withheld.statements] == [
        first.jws,
        decided.statement.statement,
    ]
    for one in withheld.statements:
        service.verify(one)
    assert passed_on.state == V.INTAKE_STATE_PASSED_ON
    assert not passed_on.HasField("due_time")
    assert passed_on.jurisdiction == "US-NV"


async def test_an_open_tip_is_shown_with_its_time(service: Service) -> None:
    signed = await register(service, urgency=V.URGENCY_TIME_SENSITIVE)
    view = await get(service, 1)
    received = signed.message.intake.received_time
    assert view.received_time == received
    assert view.due_time.seconds == received.seconds + 4 * 3600
    assert not view.overdue
    service.clock.advance(4 * 3600)
    assert (await get(service, 1)).overdue


async def test_a_batch_is_answered_item_by_item_in_its_order(service: Service) -> None:
    first = await service.world.intake()
    gap = await service.world.intake(number=3)
    response = await book(service).RegisterIntakes(
        intake_pb2.RegisterIntakesRequest(
            requests=[to_register(first), to_register(gap), to_register(first)]
        )
    )
    kinds = [result.WhichOneof("result") for result in response.results]
    assert kinds == ["response", "error", "response"]
    error = response.results[1].error
    assert error.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert response.results[0] == response.results[2]


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_has_1_to_100_tips(service: Service, count: int) -> None:
    items = [intake_pb2.RegisterIntakeRequest(intake="x")] * count
    answer = await refused(
        book(service).RegisterIntakes(intake_pb2.RegisterIntakesRequest(requests=items))
    )
    assert answer.reason == "MALFORMED"


async def test_a_wrong_number_is_answered_with_the_next_ones(service: Service) -> None:
    await register(service, number=41)
    signed = await service.world.intake(number=41)
    answer = await refused(book(service).RegisterIntake(to_register(signed)))
    assert answer.code is grpc.StatusCode.FAILED_PRECONDITION
    assert answer.reason == "INTAKE_NUMBER_UNEXPECTED"
    facts = answer.detail(error_details_pb2.ErrorInfo).metadata
    assert (facts["number"], facts["number_in_jurisdiction"]) == ("42", "2")


async def test_a_forbidden_withholding_is_answered_with_the_signed_refusal(
    service: Service,
) -> None:
    intake = await register(service, subject_age_group=V.AGE_GROUP_UNDER_13)
    request = withhold(service, intake, V.WITHHOLD_REASON_VICTIM_DECLINED)
    for _ in range(2):  # a retry is answered alike
        answer = await refused(book(service).DecideIntake(request))
        assert answer.code is grpc.StatusCode.FAILED_PRECONDITION
        assert answer.reason == "WITHHOLDING_FORBIDDEN"
        rejection = answer.detail(log_pb2.LoggedStatement)
        service.verify(rejection)
        said = parse_statement(rejection.statement).message.rejection
        assert said.rule == "withholding-needs-reason"
    kinds = [
        parse_statement(one.statement).body_kind
        for one in (await get(service, 1)).statements
    ]
    assert kinds == ["intake", "withholding", "rejection"]


async def test_lists_go_on_where_their_token_says(service: Service) -> None:
    for _ in range(5):
        await register(service)
    pages, token = [], ""
    while True:
        numbers, response = await listed(service, page_size=2, page_token=token)
        pages.append(numbers)
        token = response.next_page_token
        if not token:
            break
    assert pages == [[1, 2], [3, 4], [5]]


async def test_lists_are_of_one_state(service: Service) -> None:
    first = await register(service)
    await register(service)
    await book(service).DecideIntake(withhold(service, first))
    assert (await listed(service, state=V.INTAKE_STATE_OPEN))[0] == [2]
    assert (await listed(service, state=V.INTAKE_STATE_WITHHELD))[0] == [1]
    answer = await refused(listed(service, state=99))
    assert answer.reason == "MALFORMED"


async def test_a_token_belongs_to_one_list_of_one_hotline(service: Service) -> None:
    for _ in range(2):
        await register(service)
    _, response = await listed(service, page_size=1)
    token = response.next_page_token
    answer = await refused(listed(service, state=V.INTAKE_STATE_OPEN, page_token=token))
    assert answer.reason == "MALFORMED"
    request = intake_pb2.ListIntakesRequest(page_token=token)
    answer = await refused(book(service, ONLY_PUBLISHES).ListIntakes(request))
    assert answer.reason == "MALFORMED"


async def test_another_hotline_sees_nothing(service: Service) -> None:
    await register(service)
    other = book(service, ONLY_PUBLISHES)
    stands = await other.GetBook(intake_pb2.GetBookRequest(jurisdiction="US-OH"))
    assert stands == intake_pb2.GetBookResponse()
    assert not (await other.ListIntakes(intake_pb2.ListIntakesRequest())).intakes
    answer = await refused(other.GetIntake(intake_pb2.GetIntakeRequest(number=1)))
    assert answer.code is grpc.StatusCode.NOT_FOUND
    assert answer.reason == "INTAKE_UNKNOWN"


def every_call(service: Service, who: str, jws: str) -> list[Awaitable[Any]]:
    """Returns a call of each method by a member."""
    stub = book(service, who)
    item = intake_pb2.RegisterIntakeRequest(intake=jws)
    return [
        stub.RegisterIntake(item),
        stub.RegisterIntakes(intake_pb2.RegisterIntakesRequest(requests=[item])),
        stub.DecideIntake(intake_pb2.DecideIntakeRequest(statement=jws)),
        stub.GetBook(intake_pb2.GetBookRequest()),
        stub.GetIntake(intake_pb2.GetIntakeRequest(number=1)),
        stub.ListIntakes(intake_pb2.ListIntakesRequest()),
    ]


@pytest.mark.parametrize(
    "who", [STATE_POLICE, NEVADA, ONLY_RECEIVES, AUDITOR, OPERATOR]
)
async def test_nobody_but_a_hotline_has_a_book(service: Service, who: str) -> None:
    signed = await register(service)
    for call in every_call(service, who, signed.jws):
        answer: Refused = await refused(call)
        assert answer.code is grpc.StatusCode.PERMISSION_DENIED
        assert answer.reason == "ROLE_REQUIRED"


async def test_the_decision_of_another_hotline_is_refused(service: Service) -> None:
    intake = await register(service)
    request = withhold(service, intake)
    answer = await refused(book(service, ONLY_PUBLISHES).DecideIntake(request))
    assert answer.reason == "ISSUER_MISMATCH"
    assert (await get(service, 1)).state == V.INTAKE_STATE_OPEN
