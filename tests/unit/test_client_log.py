"""A log that shows two histories is noticed, kept as evidence, and stops the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import grpc
import pytest

from onward.client import Client
from onward.core.checkpoints import Checkpoint
from onward.core.errors import (
    ForkError,
    OnwardError,
    RangeError,
    Reason,
    UnavailableError,
    VerificationError,
)
from onward.core.tlog_policy import Policy
from onward.home import Home
from onward.testing import sample_routing, sample_tip
from onward.v1 import log_pb2
from tests.support.chain_builder import HOTLINE, OHIO, ChainBuilder, Logged
from tests.support.fake_exchange import Failure, FakeExchange, running, to_proto


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[FakeExchange]:
    async with running(tmp_path) as exchange:
        yield exchange


@pytest.fixture
async def client(exchange: FakeExchange) -> AsyncIterator[Client]:
    async with opened(exchange) as client:
        yield client


def opened(exchange: FakeExchange) -> AbstractAsyncContextManager[Client]:
    """Opens the hotline's client."""
    return Client.open(exchange.home(HOTLINE), clock=lambda: exchange.now, deadline=2)


def grow(exchange: FakeExchange) -> Logged:
    """Logs something."""
    return exchange.builder.publish(HOTLINE, OHIO)


def evidence(client: Client) -> list[Path]:
    """Returns the files that hold evidence."""
    return list((client.home.path / "state").glob("fork-*.txt"))


async def test_remembers_the_newest_checkpoint_on_disk(
    exchange: FakeExchange, client: Client
) -> None:
    for _ in range(3):
        grow(exchange)
        checkpoint = await client.checkpoint()
        assert checkpoint.size == len(exchange.builder.log)
        assert client.home.checkpoint() == exchange.builder.checkpoint()
    assert exchange.calls["GetConsistencyProof"] == 2


async def test_an_older_checkpoint_does_not_replace_a_newer_one(
    exchange: FakeExchange, client: Client
) -> None:
    item = to_proto(grow(exchange))
    grow(exchange)
    newest = await client.checkpoint()
    await client._session.verify(item)
    assert client.home.checkpoint() == exchange.builder.checkpoint(newest.size)


async def test_another_history_of_the_same_size_is_a_fork(
    exchange: FakeExchange, client: Client
) -> None:
    grow(exchange)
    before = await client.checkpoint()
    first = client.home.checkpoint()
    exchange.rewrite_history(before.size - 1)
    with pytest.raises(ForkError) as caught:
        await client.checkpoint()
    assert caught.value.reason == Reason.ERROR_REASON_LOG_FORKED
    assert (caught.value.first, caught.value.second) == (
        first,
        exchange.builder.checkpoint(),
    )


async def test_another_history_that_has_grown_is_a_fork(
    exchange: FakeExchange, client: Client
) -> None:
    await client.checkpoint()
    exchange.rewrite_history(3)
    grow(exchange)
    with pytest.raises(ForkError):
        await client.checkpoint()


async def test_a_log_that_has_lost_what_it_signed_is_a_fork(
    exchange: FakeExchange, client: Client
) -> None:
    grow(exchange)
    await client.checkpoint()
    too_far = RangeError(Reason.ERROR_REASON_LOG_RANGE, "there is no such size")
    exchange.failures["GetConsistencyProof"] = [
        Failure(grpc.StatusCode.OUT_OF_RANGE, too_far)
    ]
    older = exchange.builder.checkpoint(len(exchange.builder.log) - 1)
    exchange.tamper["GetCheckpoint"] = lambda _: log_pb2.GetCheckpointResponse(
        checkpoint=older
    )
    with pytest.raises(ForkError):
        await client.checkpoint()


async def test_the_evidence_convicts_without_us(
    exchange: FakeExchange, client: Client
) -> None:
    await client.checkpoint()
    exchange.rewrite_history(3)
    with pytest.raises(ForkError):
        await client.checkpoint()
    (path,) = evidence(client)
    *_, first, second = path.read_text().split("\n====\n\n")
    policy = Policy.parse(exchange.builder.trust())
    trees: list[Checkpoint] = [
        policy.open_checkpoint(note).checkpoint for note in (first, second)
    ]
    assert trees[0].size == trees[1].size
    assert trees[0].root != trees[1].root


async def test_nothing_works_until_a_person_has_removed_the_evidence(
    exchange: FakeExchange, client: Client
) -> None:
    await client.checkpoint()
    honest = list(exchange.builder._leaves)
    exchange.rewrite_history(3)
    with pytest.raises(ForkError):
        await client.checkpoint()
    exchange.builder._leaves = honest
    calls = exchange.calls.total()
    for work in (
        client.checkpoint(),
        client.publish(sample_tip(), **sample_routing(OHIO)),
        client.capabilities(),
    ):
        with pytest.raises(ForkError):
            await work
    with pytest.raises(ForkError, match="fork-"):
        await opened(exchange).__aenter__()
    assert exchange.calls.total() == calls
    evidence(client)[0].unlink()
    async with opened(exchange) as again:
        await again.publish(sample_tip(), **sample_routing(OHIO))


async def test_a_fork_is_noticed_by_the_next_process(
    exchange: FakeExchange, client: Client
) -> None:
    await client.checkpoint()
    exchange.rewrite_history(3)
    grow(exchange)
    async with opened(exchange) as later:
        with pytest.raises(ForkError):
            await later.checkpoint()
    # And the process that was there first learns it from the home.
    grow(exchange)
    with pytest.raises(ForkError):
        await client.checkpoint()


async def test_evidence_of_one_process_stops_the_others(
    exchange: FakeExchange, client: Client
) -> None:
    await client.checkpoint()
    honest = list(exchange.builder._leaves)
    exchange.rewrite_history(3)
    async with opened(exchange) as other:
        with pytest.raises(ForkError):
            await other.checkpoint()
    exchange.builder._leaves = honest
    grow(exchange)
    with pytest.raises(ForkError, match="fork-"):
        await client.checkpoint()


async def test_processes_of_one_home_check_each_others_checkpoints(
    exchange: FakeExchange, client: Client
) -> None:
    async with opened(exchange) as other:
        for _ in range(3):
            grow(exchange)
            await other.checkpoint()
            grow(exchange)
            await client.checkpoint()
        assert client.home.checkpoint() == exchange.builder.checkpoint()
        exchange.rewrite_history(len(exchange.builder.log) - 1)
        with pytest.raises(ForkError):
            await other.checkpoint()


async def test_many_receipts_of_one_commit_need_one_proof(
    exchange: FakeExchange, client: Client
) -> None:
    await client.checkpoint()
    items = [grow(exchange) for _ in range(20)]
    size = len(exchange.builder.log)
    receipts = [
        log_pb2.LoggedStatement(
            statement=item.statement.jws,
            receipt=exchange.builder.receipt(item.index, size).format(),
        )
        for item in items
    ]
    verified = await client._session.verify_all(receipts)
    assert [item.log_index for item in verified] == [item.index for item in items]
    # One for the twenty receipts; the keys' receipts are of trees of their own.
    histories = {item.receipt.checkpoint_note for item in exchange.builder.directory()}
    assert exchange.calls["GetConsistencyProof"] <= 1 + len(histories)
    exchange.calls.clear()
    await client._session.verify_all(receipts * 10)
    assert not exchange.calls


async def test_checkpoints_that_wait_are_settled_together(
    exchange: FakeExchange, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.checkpoint()
    notes = []
    for _ in range(5):
        grow(exchange)
        notes.append(exchange.builder.checkpoint())
    kept: list[str] = []
    replace = Home.replace_checkpoint

    def counting(home: Home, expected: str, note: str) -> bool:
        kept.append(note)
        return replace(home, expected, note)

    monkeypatch.setattr(Home, "replace_checkpoint", counting)
    log = client._session.log
    await asyncio.gather(*(log.observe(note) for note in notes * 20))
    assert kept == notes[-1:]
    # One for each tree that was not known: the newest counts for the one kept before.
    assert exchange.calls["GetConsistencyProof"] == len(notes)


async def test_one_fork_among_many_stops_all(
    exchange: FakeExchange, client: Client
) -> None:
    await client.checkpoint()
    grow(exchange)
    honest = exchange.builder.checkpoint()
    exchange.rewrite_history(3)
    forged = exchange.builder.checkpoint()
    log = client._session.log
    results = await asyncio.gather(
        log.observe(honest), log.observe(forged), return_exceptions=True
    )
    assert any(isinstance(result, ForkError) for result in results)
    with pytest.raises(ForkError):
        await log.observe(honest)


async def test_an_exchange_that_cannot_prove_now_is_no_fork(
    exchange: FakeExchange, client: Client
) -> None:
    await client.checkpoint()
    grow(exchange)
    busy = UnavailableError(Reason.ERROR_REASON_STORAGE_UNAVAILABLE, "busy")
    failure = Failure(grpc.StatusCode.UNAVAILABLE, busy)
    exchange.failures["GetConsistencyProof"] = [failure] * 1000
    with pytest.raises(UnavailableError):
        await client.checkpoint()
    assert not evidence(client)
    exchange.failures.clear()
    await client.checkpoint()


async def test_a_checkpoint_of_another_log_is_refused(
    exchange: FakeExchange, client: Client
) -> None:
    def forge(response: log_pb2.GetCheckpointResponse) -> log_pb2.GetCheckpointResponse:
        response.checkpoint = response.checkpoint.replace("national", "international")
        return response

    exchange.tamper["GetCheckpoint"] = forge
    with pytest.raises(VerificationError) as caught:
        await client.checkpoint()
    assert caught.value.reason == Reason.ERROR_REASON_NOTE_UNTRUSTED


@pytest.mark.parametrize("part", ["statement", "receipt"])
async def test_no_byte_of_what_is_believed_can_be_changed(
    exchange: FakeExchange, client: Client, part: str
) -> None:
    item = to_proto(grow(exchange))
    text = getattr(item, part)
    for place in range(0, len(text), 7):
        changed = log_pb2.LoggedStatement()
        changed.CopyFrom(item)
        other = "A" if text[place] != "A" else "B"
        setattr(changed, part, text[:place] + other + text[place + 1 :])
        with pytest.raises(OnwardError):
            await client._session.verify(changed)
    assert not evidence(client)
    await client._session.verify(item)


# --- receipts


async def test_a_receipt_is_fetched_and_checked(
    exchange: FakeExchange, client: Client
) -> None:
    entry = grow(exchange)
    grow(exchange)
    for wait in (None, 0.0, 5.0):
        proof = await client.receipt(entry.digest, wait=wait)
        size = proof.verify(entry.digest, client.home.policy).checkpoint.size
        assert size == len(exchange.builder.log)


async def test_a_receipt_of_another_entry_is_refused(
    exchange: FakeExchange, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, other = grow(exchange), grow(exchange)
    receipt = exchange.builder.receipt(other.index)
    monkeypatch.setattr(ChainBuilder, "receipt", lambda *_: receipt)
    with pytest.raises(VerificationError) as error:
        await client.receipt(entry.digest)
    assert error.value.reason == Reason.ERROR_REASON_PROOF_INVALID


async def test_a_receipt_from_another_history_is_noticed(
    exchange: FakeExchange, client: Client
) -> None:
    entry = grow(exchange)
    grow(exchange)
    await client.checkpoint()
    exchange.rewrite_history(entry.index + 1)
    with pytest.raises(ForkError):
        await client.receipt(entry.digest, wait=1)
    assert evidence(client)


async def test_waiting_goes_on_after_the_exchange_has_waited_long_enough(
    exchange: FakeExchange, client: Client
) -> None:
    entry = grow(exchange)
    unmet = UnavailableError(
        Reason.ERROR_REASON_QUORUM_UNMET, "not yet", retry_after=0.01
    )
    exchange.failures["GetReceipt"] = [
        Failure(grpc.StatusCode.UNAVAILABLE, unmet) for _ in range(2)
    ]
    assert (await client.receipt(entry.digest, wait=30)).index == entry.index


async def test_waiting_ends(
    exchange: FakeExchange, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onward._log._ON_THE_WAY", 0.5)
    entry = grow(exchange)
    unmet = UnavailableError(Reason.ERROR_REASON_QUORUM_UNMET, "not yet")
    exchange.failures["GetReceipt"] = [
        Failure(grpc.StatusCode.UNAVAILABLE, unmet) for _ in range(1000)
    ]
    with pytest.raises(UnavailableError) as error:
        await client.receipt(entry.digest, wait=0.1)
    assert error.value.reason == Reason.ERROR_REASON_QUORUM_UNMET
