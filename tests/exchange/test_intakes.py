"""Registering tips: what a hotline is promised, and what it cannot do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from onward.core.errors import (
    ForbiddenError,
    MalformedError,
    OnwardError,
    Reason,
    StateError,
    UnknownError,
)
from onward.core.statements import SignedStatement, parse_statement, statement_digest
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.receipts import Logged
from tests.support.world import (
    AUDITOR,
    HOTLINE,
    NEVADA,
    STATE_POLICE,
    TRUST_DOMAIN,
    Party,
    World,
    open_world,
    populate,
)

V = vocabulary_pb2
STATE_HOTLINE = f"spiffe://{TRUST_DOMAIN}/agency/state-hotline"


async def join_hotline(world: World) -> None:
    """Adds a second hotline."""
    await world.join(Party(STATE_HOTLINE, V.MEMBER_KIND_HOTLINE, ("US-OH",)))


def log_size(world: World) -> int:
    return world.ledger.head().size


def intake_after(
    world: World, before: SignedStatement | None, **fields: Any
) -> SignedStatement:
    """Signs the intake that follows another in the book; does not register it."""
    last = before.message.intake if before else statement_pb2.Intake()
    values: dict[str, Any] = {
        "number": last.number + 1,
        "number_in_jurisdiction": last.number_in_jurisdiction + 1,
        "urgency": V.URGENCY_ROUTINE,
        "channel": V.CHANNEL_CALL,
        "reporter_type": V.REPORTER_TYPE_FAMILY,
        "subject_age_group": V.AGE_GROUP_ADULT,
        "trafficking_type": V.TRAFFICKING_TYPE_SEX,
        "jurisdiction": statement_pb2.Jurisdiction(code="US-OH"),
        "received_time": to_timestamp(world.clock.ms),
        "content_commitment": bytes(32),
    }
    body = statement_pb2.Intake(**(values | fields))
    return world.sign(HOTLINE, previous=before.digest if before else b"", intake=body)


async def refused(world: World, signed: SignedStatement) -> OnwardError:
    """Registers what must be refused; returns how it was."""
    with pytest.raises(OnwardError) as caught:
        await world.intakes.register(world.caller(HOTLINE), signed.jws)
    return caught.value


async def test_the_receipt_of_an_intake_verifies_and_the_book_moves_on(
    world: World,
) -> None:
    signed = await world.intake()
    logged = await world.intakes.register(world.caller(HOTLINE), signed.jws)
    vkey = world.ledger._signer.vkey.format()
    policy = Policy.parse(f"log {vkey}\nquorum none\n")
    TlogProof.parse(logged.receipt).verify(statement_digest(logged.jws), policy)
    book = await world.intakes.book(world.caller(HOTLINE), "US-OH")
    assert (book.last_number, book.last_digest) == (1, signed.digest)
    assert book.last_in_jurisdiction == 1


async def test_a_hotline_goes_on_counting_where_it_stands_when_it_joins(
    world: World,
) -> None:
    await world.register(number=51_074)
    answer = await refused(world, await world.intake(number=1))
    assert answer.reason == Reason.ERROR_REASON_INTAKE_NUMBER_UNEXPECTED
    assert answer.metadata["number"] == "51075"
    await world.register(number=51_075)


@pytest.mark.parametrize(
    ("number", "there"),
    [(4, 3), (2, 3), (1, 3), (3, 4), (3, 2), (3, 1)],
    ids=["gap", "used", "earlier", "gap there", "used there", "earlier there"],
)
async def test_a_wrong_number_is_refused_with_the_next_ones(
    world: World, number: int, there: int
) -> None:
    await world.register()
    await world.register()
    size = log_size(world)
    signed = await world.intake(number=number, number_in_jurisdiction=there)
    answer = await refused(world, signed)
    assert isinstance(answer, StateError)
    assert answer.reason == Reason.ERROR_REASON_INTAKE_NUMBER_UNEXPECTED
    assert answer.metadata == {"number": "3", "number_in_jurisdiction": "3"}
    assert log_size(world) == size
    await world.register()


async def test_each_jurisdiction_has_numbers_of_its_own(world: World) -> None:
    for code in ("US-OH", "US-NV", "US-OH", "US", "US-NV"):
        await world.register(code=code)
    numbers = {}
    for code in ("US-OH", "US-NV", "US", "US-TX"):
        book = await world.intakes.book(world.caller(HOTLINE), code)
        numbers[code] = book.last_in_jurisdiction
    assert numbers == {"US-OH": 2, "US-NV": 2, "US": 1, "US-TX": 0}


async def test_an_intake_names_the_one_before_it(world: World) -> None:
    first = await world.register()
    await world.register()
    third = await world.intake()
    astray = world.sign(HOTLINE, previous=first.digest, intake=third.message.intake)
    answer = await refused(world, astray)
    assert answer.reason == Reason.ERROR_REASON_PREVIOUS_MISMATCH


async def test_hotlines_count_for_themselves(world: World) -> None:
    await join_hotline(world)
    await world.register()
    signed = await world.register(STATE_HOTLINE, number=117)
    book = await world.intakes.book(world.caller(STATE_HOTLINE), "US-OH")
    assert (book.last_number, book.last_digest) == (117, signed.digest)
    with pytest.raises(ForbiddenError) as caught:
        await world.intakes.register(world.caller(STATE_HOTLINE), first_jws(world))
    assert caught.value.reason == Reason.ERROR_REASON_ISSUER_MISMATCH


def first_jws(world: World) -> str:
    """Returns an intake of the national hotline."""
    return intake_after(world, None).jws


async def test_a_tip_that_came_in_long_ago_is_registered_with_its_true_time(
    world: World,
) -> None:
    received = world.clock.ms - 41 * 24 * 3600 * 1000
    await world.register(received_time=to_timestamp(received))
    record = await world.intakes.get(world.caller(HOTLINE), 1)
    assert record.row.received_ms == received
    assert record.overdue


async def test_a_tip_that_has_not_come_in_yet_is_refused(world: World) -> None:
    ahead = world.clock.ms + int(world.limits.clock_tolerance * 1000)
    soon = await world.intake(received_time=to_timestamp(ahead + 1))
    answer = await refused(world, soon)
    assert isinstance(answer, MalformedError)
    assert answer.reason == Reason.ERROR_REASON_TIME_IMPLAUSIBLE
    assert answer.field == "intake.received_time"
    await world.register(received_time=to_timestamp(ahead))


async def test_50_concurrent_retries_register_one_intake(world: World) -> None:
    signed, caller = await world.intake(), world.caller(HOTLINE)
    size = log_size(world)
    done = await asyncio.gather(
        *(world.intakes.register(caller, signed.jws) for _ in range(50))
    )
    assert len(set(done)) == 1
    assert log_size(world) == size + 1
    assert await world.intakes.register(caller, signed.jws) == done[0]


async def test_a_retry_is_answered_for_ever_with_the_original_receipt(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path) as world:
        await populate(world)
        signed = await world.intake()
        first = await world.intakes.register(world.caller(HOTLINE), signed.jws)
        for _ in range(20):
            await world.register()
        clock, parties = world.clock, world.parties
    clock.advance(3 * 365 * 24 * 3600)  # every key has expired since
    async with open_world(tmp_path, clock) as world:
        world.parties = parties
        again = await world.intakes.register(world.caller(HOTLINE), signed.jws)
        assert again == first


async def test_of_two_desks_with_one_number_one_wins_and_the_other_is_told_the_next(
    world: World,
) -> None:
    first, second = intake_after(world, None), intake_after(world, None)
    caller = world.caller(HOTLINE)
    results = await asyncio.gather(
        *(world.intakes.register(caller, signed.jws) for signed in (first, second)),
        return_exceptions=True,
    )
    (lost,) = [result for result in results if isinstance(result, OnwardError)]
    assert lost.reason == Reason.ERROR_REASON_INTAKE_NUMBER_UNEXPECTED
    assert lost.metadata == {"number": "2", "number_in_jurisdiction": "2"}
    assert (await world.intakes.book(caller, "")).last_number == 1


async def test_a_batch_is_registered_in_its_order(world: World) -> None:
    batch = [intake_after(world, None)]
    for _ in range(99):
        batch.append(intake_after(world, batch[-1]))
    caller = world.caller(HOTLINE)
    results = await world.intakes.register_all(caller, [one.jws for one in batch])
    logged = [result for result in results if isinstance(result, Logged)]
    assert [one.jws for one in logged] == [one.jws for one in batch]
    places = [one.log_index for one in logged]
    assert places == list(range(places[0], places[0] + 100))
    again = await world.intakes.register_all(caller, [one.jws for one in batch])
    assert again == results


async def test_after_one_that_is_refused_the_rest_of_a_batch_is_refused(
    world: World,
) -> None:
    first = intake_after(world, None)
    second = intake_after(world, first, urgency=0)
    third = intake_after(world, second)
    results = await world.intakes.register_all(
        world.caller(HOTLINE), [first.jws, second.jws, third.jws]
    )
    assert isinstance(results[0], Logged)
    reasons = [one.reason_name for one in results[1:] if isinstance(one, OnwardError)]
    assert reasons == ["MALFORMED", "INTAKE_NUMBER_UNEXPECTED"]


async def test_only_hotlines_that_publish_have_a_book(world: World) -> None:
    await world.join(
        Party(STATE_HOTLINE, V.MEMBER_KIND_HOTLINE, roles=(V.ROLE_RECIPIENT,))
    )
    for name in (STATE_POLICE, NEVADA, AUDITOR, STATE_HOTLINE):
        caller = world.caller(name)
        for call in (
            world.intakes.register(caller, first_jws(world)),
            world.intakes.register_all(caller, [first_jws(world)]),
            world.deciding.decide(caller, first_jws(world)),
            world.intakes.book(caller, ""),
            world.intakes.get(caller, 1),
            world.intakes.page(caller, 0, 0, 10),
        ):
            with pytest.raises(ForbiddenError) as caught:
                await call
            assert caught.value.reason == Reason.ERROR_REASON_ROLE_REQUIRED


async def test_a_hotline_sees_its_own_intakes_only(world: World) -> None:
    await join_hotline(world)
    await world.register()
    other = world.caller(STATE_HOTLINE)
    with pytest.raises(UnknownError) as caught:
        await world.intakes.get(other, 1)
    assert caught.value.reason == Reason.ERROR_REASON_INTAKE_UNKNOWN
    assert await world.intakes.page(other, 0, 0, 10) == []
    assert (await world.intakes.book(other, "US-OH")).last_number == 0


async def test_an_intake_is_shown_with_all_that_was_said_of_it(world: World) -> None:
    signed = await world.register()
    hold = statement_pb2.Hold(intake_number=1, approver_role="lead", reason="language")
    held = await world.decide(signed, hold=hold)
    record = await world.intakes.get(world.caller(HOTLINE), 1)
    assert [one.jws for one in record.statements] == [signed.jws, held]
    assert record.row.state == V.INTAKE_STATE_OPEN
    assert not record.overdue


async def test_intakes_are_listed_by_number_and_state(world: World) -> None:
    intakes = [await world.register() for _ in range(3)]
    withholding = statement_pb2.Withholding(
        intake_number=2,
        reason=V.WITHHOLD_REASON_NO_TRAFFICKING_INDICATORS,
        approver_role="lead",
    )
    await world.decide(intakes[1], withholding=withholding)
    caller = world.caller(HOTLINE)

    async def numbers(state: int, after: int, limit: int) -> list[int]:
        records = await world.intakes.page(caller, state, after, limit)
        return [record.row.number for record in records]

    assert await numbers(0, 0, 10) == [1, 2, 3]
    assert await numbers(0, 1, 1) == [2]
    assert await numbers(V.INTAKE_STATE_OPEN, 0, 10) == [1, 3]
    assert await numbers(V.INTAKE_STATE_WITHHELD, 0, 10) == [2]


async def test_auditors_of_its_place_may_see_an_intake_and_the_hotline_hears_of_it(
    world: World,
) -> None:
    signed = await world.register(code="US-NV")
    row = await world.store.find_statement(signed.digest)
    assert row is not None
    assert row.places == ("US-NV",)
    news = world.watching.watch(world.caller(HOTLINE), row.log_index - 1, lambda: None)
    event, _ = await anext(news)
    await news.aclose()
    assert isinstance(event, Logged)
    assert parse_statement(event.jws).message.intake.number == 1


async def test_what_was_registered_survives_a_restart(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await populate(world)
        signed = await world.register(number=7)
        clock, parties = world.clock, world.parties
    async with open_world(tmp_path, clock) as world:
        world.parties = parties
        book = await world.intakes.book(world.caller(HOTLINE), "US-OH")
        assert (book.last_number, book.last_digest) == (7, signed.digest)
        await world.register(number=8)


async def test_a_suspended_hotline_registers_nothing(world: World) -> None:
    signed, caller = await world.intake(), world.caller(HOTLINE)
    entry = directory_pb2.Member()
    entry.CopyFrom(world.ledger.directory.entry(HOTLINE).proto)
    entry.status = V.MEMBER_STATUS_SUSPENDED
    await world.change(statement_pb2.DIRECTORY_CHANGE_KIND_SUSPENDED, entry)
    with pytest.raises(ForbiddenError) as caught:
        await world.intakes.register(caller, signed.jws)
    assert caught.value.reason == Reason.ERROR_REASON_MEMBER_SUSPENDED
