"""What a hotline and a watch desk can rely on, whatever the exchange answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest

from onward import _registering
from onward.client import Client, IntakeDraft, Queued, Registered
from onward.core.errors import (
    ForkError,
    MalformedError,
    QuotaError,
    Reason,
    StateError,
    UnavailableError,
    VerificationError,
)
from onward.core.opening import verify_opening
from onward.core.verify import ExitCode
from onward.testing import sample_tip
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.support.chain_builder import HOTLINE, OHIO, Logged, timestamp
from tests.support.fake_book import add_book
from tests.support.fake_exchange import Failure, FakeExchange, running, to_proto

UNAVAILABLE = Failure(
    grpc.StatusCode.UNAVAILABLE,
    UnavailableError(Reason.ERROR_REASON_STORAGE_UNAVAILABLE, "disk full"),
)
QUOTA = Failure(
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    QuotaError(Reason.ERROR_REASON_QUOTA_EXCEEDED, "slow down", retry_after=60),
)


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[FakeExchange]:
    async with running(tmp_path, add_book) as exchange:
        yield exchange


@pytest.fixture
async def hotline(exchange: FakeExchange) -> AsyncIterator[Client]:
    home = exchange.home(HOTLINE)
    async with Client.open(home, clock=lambda: exchange.now) as client:
        yield client


def draft(place: str = "US-OH") -> IntakeDraft:
    return IntakeDraft.of_tip(
        sample_tip(),
        urgency=vocabulary_pb2.URGENCY_ROUTINE,
        jurisdiction=place,
        subject_age_group=vocabulary_pb2.AGE_GROUP_ADULT,
    )


def intakes(exchange: FakeExchange) -> list[statement_pb2.Statement]:
    return [
        item.statement.message
        for item in exchange.builder.log
        if item.statement.body_kind == "intake"
    ]


# --- registering ----------------------------------------------------------------------


async def test_signs_what_the_tip_says_under_the_next_numbers(
    exchange: FakeExchange, hotline: Client
) -> None:
    places = ["US-OH", "US-TX", "US-OH", "US"]
    contents = [b"%d" % number for number in range(4)]
    tips = [*zip(map(draft, places), contents, strict=True)]
    await hotline.intakes.register_many(tips[:3])
    await hotline.intakes.register(*tips[3])
    messages = intakes(exchange)
    assert [message.intake.number for message in messages] == [1, 2, 3, 4]
    there = [message.intake.number_in_jurisdiction for message in messages]
    assert there == [1, 1, 2, 1]
    digests = [
        item.digest
        for item in exchange.builder.log
        if item.statement.body_kind == "intake"
    ]
    assert [message.previous for message in messages] == [b"", *digests[:-1]]
    tip = sample_tip()
    for message in messages:
        assert message.issuer == HOTLINE
        assert message.intake.received_time == tip.received_time
        assert message.intake.channel == tip.channel
        assert message.intake.test


async def test_the_exchange_learns_nothing_of_the_content(
    exchange: FakeExchange, hotline: Client
) -> None:
    content = b"what the caller said"
    await hotline.intakes.register(draft(), content)
    (message,) = intakes(exchange)
    assert content not in message.SerializeToString()
    assert message.intake.content_commitment != sha256(content).digest()


async def test_a_number_that_another_desk_took_is_no_failure(
    exchange: FakeExchange, hotline: Client
) -> None:
    await hotline.intakes.register(draft(), b"first")
    stale = [True, True]

    def late(response: Any) -> Any:
        if stale:
            stale.pop()
            response.last_number = 0
        return response

    exchange.tamper["GetBook"] = late
    second = await hotline.intakes.register(draft(), b"second")
    assert isinstance(second, Registered)
    assert second.number == 2


async def test_a_book_that_never_stands_still_is_given_up_and_nothing_is_lost(
    exchange: FakeExchange, hotline: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_registering, "_MAX_FAILURES", 3)
    await hotline.intakes.register(draft(), b"first")

    def wrong(response: Any) -> Any:
        response.last_number = 7
        return response

    exchange.tamper["GetBook"] = wrong
    with pytest.raises(StateError, match="not the next one"):
        await hotline.intakes.register(draft(), b"second")
    assert hotline.intakes.waiting() == 1
    del exchange.tamper["GetBook"]
    (second,) = await hotline.intakes.flush()
    assert isinstance(second, Registered)
    assert second.number == 2


@pytest.mark.parametrize("failure", [UNAVAILABLE, QUOTA])
async def test_what_passes_is_waited_out_in_the_queue(
    exchange: FakeExchange, failure: Failure
) -> None:
    home = exchange.home(HOTLINE)
    async with Client.open(home, deadline=0.5, clock=lambda: exchange.now) as client:
        exchange.failures["RegisterIntakes"] = [failure] * 1000
        queued = await client.intakes.register(draft(), b"tip")
        assert isinstance(queued, Queued)
        assert str(queued.why) == str(failure.error)
        exchange.failures["RegisterIntakes"] = []
        done = await client.intakes.register(draft(), b"tip")
    assert isinstance(done, Registered)
    assert len(intakes(exchange)) == 1


async def test_another_statement_than_the_one_sent_is_not_believed(
    exchange: FakeExchange, hotline: Client
) -> None:
    await hotline.intakes.register(draft(), b"first")
    first = next(
        item for item in exchange.builder.log if item.statement.body_kind == "intake"
    )

    def other(response: Any) -> Any:
        response.results[0].response.intake.CopyFrom(to_proto(first))
        return response

    exchange.tamper["RegisterIntakes"] = other
    with pytest.raises(VerificationError):
        await hotline.intakes.register(draft(), b"second")
    assert hotline.intakes.waiting() == 1
    del exchange.tamper["RegisterIntakes"]
    await hotline.intakes.flush()
    assert len(intakes(exchange)) == 2


async def test_a_receipt_of_another_history_ends_all_work(
    exchange: FakeExchange, hotline: Client
) -> None:
    await hotline.intakes.register(draft(), b"first")
    exchange.rewrite_history(since=2)
    with pytest.raises(ForkError):
        await hotline.intakes.register(draft(), b"second")
    assert hotline.intakes.waiting() == 1


async def test_what_is_not_well_formed_is_not_kept(
    exchange: FakeExchange, hotline: Client
) -> None:
    with pytest.raises(MalformedError, match="jurisdiction"):
        await hotline.intakes.register(draft("Ohio"), b"tip")
    assert hotline.intakes.waiting() == 0
    assert not exchange.calls["GetBook"]


# --- one intake -----------------------------------------------------------------------


async def test_an_opening_is_proven_by_whoever_has_the_trust_file(
    exchange: FakeExchange, hotline: Client
) -> None:
    done = await hotline.intakes.register(draft(), b"tip")
    assert isinstance(done, Registered)
    exchange.builder.publish(HOTLINE, OHIO)  # the log goes on
    opening = await hotline.intakes.reveal(done.number)
    report = verify_opening(opening, b"tip", exchange.builder.trust())
    assert report.exit_code == ExitCode.PROVEN


async def test_a_decision_answers_the_intake_and_is_kept(
    exchange: FakeExchange, hotline: Client
) -> None:
    done = await hotline.intakes.register(draft(), b"tip")
    assert isinstance(done, Registered)
    held = await hotline.intakes.hold(done.number, "supervisor", "calls again")
    assert held.message.previous == done.intake.digest
    assert held.message.referral_id == ""
    (kept,) = exchange.home(HOTLINE).receipts(done.intake.message.id)
    assert kept == held.to_proto()


async def test_statements_of_another_intake_are_not_believed(
    exchange: FakeExchange, hotline: Client
) -> None:
    await hotline.intakes.register_many([(draft(), b"1"), (draft(), b"2")])
    assert (await hotline.intakes.get(1)).intake.message.intake.number == 1

    def swapped(response: Any) -> Any:
        other = next(
            item
            for item in exchange.builder.log
            if item.statement.message.intake.number == 2
        )
        response.intake.statements[0].CopyFrom(to_proto(other))
        return response

    exchange.tamper["GetIntake"] = swapped
    with pytest.raises(VerificationError, match="not intake 1"):
        await hotline.intakes.get(1)

    def emptied(response: Any) -> Any:
        del response.intake.statements[:]
        return response

    exchange.tamper["GetIntake"] = emptied
    with pytest.raises(VerificationError, match="not intake 1"):
        await hotline.intakes.withhold(
            1, vocabulary_pb2.WITHHOLD_REASON_VICTIM_DECLINED, "supervisor"
        )


# --- alerts and looks -----------------------------------------------------------------


def breach(exchange: FakeExchange, issuer: str, number: int = 1) -> Logged:
    """Logs a breach of an intake."""
    due = statement_pb2.Due(
        kind=vocabulary_pb2.DEADLINE_KIND_PASS_ON,
        due_time=timestamp(exchange.now - timedelta(seconds=1)),
        holder=HOTLINE,
        holder_role=vocabulary_pb2.HOLDER_ROLE_PUBLISHER,
        hotline=HOTLINE,
        intake_number=number,
    )
    body = statement_pb2.Breach(due=due)
    return exchange.builder.say(issuer, previous=exchange.builder.log[0], breach=body)


async def test_alerts_come_again_until_they_are_done(
    exchange: FakeExchange, hotline: Client
) -> None:
    for number in (1, 2, 3):
        breach(exchange, exchange.builder.exchange, number)

    async def take(count: int, *, done: bool) -> list[int]:
        found = []
        async with aclosing(hotline.alerts()) as alerts:
            for _ in range(count):
                alert = await anext(alerts)
                found.append(alert.due.intake_number)
                if done:
                    await alert.done()
        return found

    assert await take(3, done=False) == [1, 2, 3]
    assert await take(2, done=True) == [1, 2]
    assert await take(1, done=False) == [3]
    async with aclosing(hotline.alerts(resume_token="")) as alerts:
        assert (await anext(alerts)).due.intake_number == 1


async def test_only_the_exchange_can_raise_an_alert(
    exchange: FakeExchange, hotline: Client
) -> None:
    breach(exchange, OHIO)
    async with aclosing(hotline.alerts()) as alerts:
        with pytest.raises(VerificationError, match="not its warning or breach"):
            await anext(alerts)


async def test_looks_are_the_exchanges_own_records(
    exchange: FakeExchange, hotline: Client
) -> None:
    look = statement_pb2.AuditAccess(auditor="somebody", method="GetBundle")
    exchange.builder.say(exchange.builder.exchange, audit_access=look)
    (found,) = [item async for item in hotline.looks()]
    assert found.message.audit_access == look
    exchange.builder.say(OHIO, audit_access=look)
    with pytest.raises(VerificationError, match="not its record"):
        _ = [item async for item in hotline.looks()]
