"""Each signature is judged by the keys of its place in the log, and by nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from onward import _directory
from onward.client import Client, Logged
from onward.core.errors import (
    OnwardError,
    Reason,
    StateError,
    UnknownError,
    VerificationError,
)
from onward.core.keys import StatementPrivateKey
from onward.core.statements import SignedStatement
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from tests.support.chain_builder import HOTLINE, OHIO, UTAH, statement_key
from tests.support.fake_exchange import FakeExchange, running, to_proto


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[FakeExchange]:
    async with running(tmp_path) as exchange:
        yield exchange


@pytest.fixture
async def client(exchange: FakeExchange) -> AsyncIterator[Client]:
    home = exchange.home(OHIO)
    async with Client.open(home, clock=lambda: exchange.now, deadline=2) as client:
        yield client


class Time:
    """The loop's clock, which a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(_directory, "_now", time)
    return time


def referral(exchange: FakeExchange, key: StatementPrivateKey) -> SignedStatement:
    """Signs a referral of the hotline with some key."""
    statement_id = exchange.builder.new_id()
    body = exchange.builder.referral(HOTLINE, OHIO).message.referral
    return exchange.builder.sign(
        HOTLINE, key=key, id=statement_id, referral_id=statement_id, referral=body
    )


async def verify(
    exchange: FakeExchange, client: Client, statement: SignedStatement
) -> Logged:
    """Logs a statement, and has the client verify it."""
    return await client._session.verify(to_proto(exchange.builder.append(statement)))


async def test_keys_are_fetched_once(exchange: FakeExchange, client: Client) -> None:
    key = exchange.builder.parties[HOTLINE].key
    for _ in range(5):
        logged = await verify(exchange, client, referral(exchange, key))
        assert logged.issuer == HOTLINE
    assert exchange.calls["GetMember"] == 1
    assert exchange.calls["GetExchangeKeys"] == 1


async def test_what_was_signed_before_a_key_was_retired_stays_valid(
    exchange: FakeExchange, client: Client
) -> None:
    key = exchange.builder.parties[HOTLINE].key
    before = exchange.builder.append(referral(exchange, key))
    exchange.builder.rotate(HOTLINE)
    await client._session.verify(to_proto(before))
    with pytest.raises(StateError) as caught:
        await verify(exchange, client, referral(exchange, key))
    assert caught.value.reason == Reason.ERROR_REASON_KEY_NOT_VALID
    # The log's order decides, and not the time that somebody claims.
    await client._session.verify(to_proto(before))


async def test_a_key_that_is_new_is_looked_up(
    exchange: FakeExchange, client: Client
) -> None:
    key = exchange.builder.parties[HOTLINE].key
    await verify(exchange, client, referral(exchange, key))
    exchange.builder.rotate(HOTLINE)
    new = exchange.builder.parties[HOTLINE].key
    await verify(exchange, client, referral(exchange, new))
    assert exchange.calls["GetMember"] == 2


async def test_a_revocation_is_noticed_within_a_minute(
    exchange: FakeExchange, client: Client, time: Time
) -> None:
    key = exchange.builder.parties[HOTLINE].key
    await verify(exchange, client, referral(exchange, key))
    exchange.builder.rotate(HOTLINE, status=vocabulary_pb2.KEY_STATUS_REVOKED)
    time.now += 61
    with pytest.raises(StateError, match="revoked"):
        await verify(exchange, client, referral(exchange, key))


async def test_old_statements_need_no_new_look(
    exchange: FakeExchange, client: Client, time: Time
) -> None:
    key = exchange.builder.parties[HOTLINE].key
    old = to_proto(exchange.builder.append(referral(exchange, key)))
    await client.checkpoint()
    await client._session.verify(old)
    calls = exchange.calls["GetMember"]
    time.now += 3600
    await client._session.verify(old)
    assert exchange.calls["GetMember"] == calls


async def test_a_time_outside_the_keys_validity_is_refused(
    exchange: FakeExchange, client: Client
) -> None:
    exchange.builder.wait(days=400)
    key = exchange.builder.parties[HOTLINE].key
    with pytest.raises(StateError, match="not valid since"):
        await verify(exchange, client, referral(exchange, key))


async def test_a_key_of_somebody_else_is_refused(
    exchange: FakeExchange, client: Client
) -> None:
    key = exchange.builder.parties[UTAH].key
    with pytest.raises(StateError, match="not one of its keys"):
        await verify(exchange, client, referral(exchange, key))


async def test_a_member_that_is_none_is_unknown(
    exchange: FakeExchange, client: Client
) -> None:
    with pytest.raises(UnknownError) as caught:
        await client.find_member("spiffe://national.example/agency/nobody")
    assert caught.value.reason == Reason.ERROR_REASON_MEMBER_UNKNOWN


async def test_an_entry_in_force_is_proven(
    exchange: FakeExchange, client: Client
) -> None:
    entry = await client.find_member(UTAH)
    assert entry.proto == exchange.builder.parties[UTAH].entry
    exchange.builder.parties[UTAH].entry.status = vocabulary_pb2.MEMBER_STATUS_SUSPENDED
    exchange.builder.change(UTAH, statement_pb2.DIRECTORY_CHANGE_KIND_SUSPENDED)
    assert not (await client.find_member(UTAH)).active


# --- an exchange that does not tell the truth about its directory ---------------------

Change = Callable[[FakeExchange, directory_pb2.GetMemberResponse], None]


def hide_first(_: FakeExchange, response: directory_pb2.GetMemberResponse) -> None:
    del response.changes[0]


def reorder(_: FakeExchange, response: directory_pb2.GetMemberResponse) -> None:
    changes = list(response.changes)[::-1]
    del response.changes[:]
    response.changes.extend(changes)


def tell_of_another(
    exchange: FakeExchange, response: directory_pb2.GetMemberResponse
) -> None:
    del response.changes[:]
    response.changes.extend(
        to_proto(item)
        for item in exchange.builder.directory()
        if item.statement.message.directory_change.member.name == OHIO
    )


def invent(exchange: FakeExchange, response: directory_pb2.GetMemberResponse) -> None:
    """Not in the log at all."""
    response.changes[-1].receipt = response.changes[0].receipt


def let_somebody_else_say(
    exchange: FakeExchange, response: directory_pb2.GetMemberResponse
) -> None:
    entry = exchange.builder.parties[HOTLINE].entry
    entry.statement_keys.append(statement_key(exchange.builder.parties[UTAH].key))
    body = statement_pb2.DirectoryChange(member=entry)
    previous = exchange.builder.log[-1]
    logged = exchange.builder.say(UTAH, directory_change=body, previous=previous)
    response.changes.append(to_proto(logged))


def say_nothing(_: FakeExchange, response: directory_pb2.GetMemberResponse) -> None:
    del response.changes[:]


@pytest.mark.parametrize(
    "lie", [hide_first, reorder, tell_of_another, invent, let_somebody_else_say]
)
async def test_a_directory_that_does_not_hold_is_the_exchanges_fault(
    exchange: FakeExchange, client: Client, lie: Change
) -> None:
    def tell(
        response: directory_pb2.GetMemberResponse,
    ) -> directory_pb2.GetMemberResponse:
        lie(exchange, response)
        return response

    exchange.tamper["GetMember"] = tell
    with pytest.raises(VerificationError) as caught:
        await client.find_member(HOTLINE)
    # Never a reason that a recipient would lay at the publisher's door.
    assert caught.value.reason == Reason.ERROR_REASON_PROOF_INVALID


async def test_a_member_of_whom_nothing_is_told_is_unknown(
    exchange: FakeExchange, client: Client
) -> None:
    def tell(
        response: directory_pb2.GetMemberResponse,
    ) -> directory_pb2.GetMemberResponse:
        say_nothing(exchange, response)
        return response

    exchange.tamper["GetMember"] = tell
    with pytest.raises(UnknownError):
        await client.find_member(HOTLINE)


async def test_what_was_told_once_cannot_be_taken_back(
    exchange: FakeExchange, client: Client
) -> None:
    await client.find_member(HOTLINE)

    def forget(
        response: directory_pb2.GetMemberResponse,
    ) -> directory_pb2.GetMemberResponse:
        del response.changes[-1]
        return response

    exchange.tamper["GetMember"] = forget
    with pytest.raises(VerificationError, match="not all of them"):
        await client.find_member(HOTLINE)


async def test_the_exchanges_own_keys_begin_with_the_log(
    exchange: FakeExchange, client: Client
) -> None:
    forged = StatementPrivateKey.generate()
    change = statement_pb2.KeyChange(
        keys=[statement_key(forged)], log_vkey=exchange.builder.signer.vkey.format()
    )
    exchange.builder.say(exchange.builder.exchange, key_change=change, key=forged)

    def hide_genesis(
        response: directory_pb2.GetExchangeKeysResponse,
    ) -> directory_pb2.GetExchangeKeysResponse:
        del response.changes[0]
        return response

    exchange.tamper["GetExchangeKeys"] = hide_genesis
    with pytest.raises(OnwardError) as caught:
        await client.find_member(HOTLINE)
    assert caught.value.reason == Reason.ERROR_REASON_PROOF_INVALID


async def test_the_exchange_changes_its_keys(
    exchange: FakeExchange, client: Client
) -> None:
    await client.find_member(HOTLINE)
    builder = exchange.builder
    old, new = builder.parties[builder.exchange].key, StatementPrivateKey.generate()
    change = statement_pb2.KeyChange(
        keys=[statement_key(new)], log_vkey=builder.signer.vkey.format()
    )
    builder.say(builder.exchange, key_change=change, key=old, previous=builder.log[0])
    builder.parties[builder.exchange].key = new
    builder.change(UTAH, statement_pb2.DIRECTORY_CHANGE_KIND_UPDATED)
    assert (await client.find_member(UTAH)).name == UTAH
    builder.parties[builder.exchange].key = old
    builder.change(UTAH, statement_pb2.DIRECTORY_CHANGE_KIND_UPDATED)
    with pytest.raises(VerificationError):
        await client.find_member(UTAH)


async def test_a_clock_that_is_slow_can_still_sign(
    exchange: FakeExchange,
) -> None:
    late = timedelta(days=3)  # the keys are valid since one day before the start
    home = exchange.home(OHIO)
    async with Client.open(home, clock=lambda: exchange.now - late) as client:
        key = await client._session.signing_key()
    assert key.key_id == exchange.builder.parties[OHIO].key.key_id
