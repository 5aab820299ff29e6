"""Being witnessed, by real witnesses in every mood."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from onward.core.errors import Reason, UnavailableError, VerificationError
from onward.core.notes import Note, Signature, parse_note
from onward.core.statements import statement_digest
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.core.witness import AddCheckpoint
from onward_server.exchange.asking import MAX_TIME, Reply, Standing
from onward_server.exchange.log_reader import LogReader
from onward_server.exchange.witnessed_log import PATIENCE
from onward_server.exchange.witnesses import Rhythm
from onward_server.storage.contract import Store
from tests.exchange.test_ledger import FailingStore
from tests.support.witnesses import (
    ML_DSA,
    WitnessedWorld,
    open_witnessed,
)
from tests.support.witnessing import GrownLog
from tests.support.world import START_MS

SLOW = Rhythm(proposal=0.005, heartbeat=3600, pause=0.005, longest_pause=0.01)


@pytest.fixture
async def witnessed(tmp_path: Path) -> AsyncIterator[WitnessedWorld]:
    async with open_witnessed(tmp_path) as opened:
        yield opened


def reader(witnessed: WitnessedWorld) -> LogReader:
    return LogReader(witnessed.world.ledger, witnessed.world.store, witnessed.log)


async def entry(witnessed: WitnessedWorld, index: int) -> bytes:
    (row,) = await witnessed.world.store.statements([index])
    return statement_digest(row.jws)


async def receipt(
    witnessed: WitnessedWorld, index: int, seconds: float = 0
) -> TlogProof:
    digest = await entry(witnessed, index)
    text = await reader(witnessed).witnessed_receipt(digest, seconds)
    return TlogProof.parse(text)


# --- the way it goes


async def test_a_receipt_with_the_quorum_is_proven_to_a_stranger(
    witnessed: WitnessedWorld,
) -> None:
    index = await witnessed.grow()
    await witnessed.ask()
    proof = await receipt(witnessed, index)
    digest = await entry(witnessed, index)
    found = proof.verify(digest, witnessed.policy)
    assert found.times == dict.fromkeys("abc", START_MS // 1000)
    assert found.checkpoint.size == index + 1
    plain = await reader(witnessed).receipt(digest)
    with pytest.raises(VerificationError) as error:
        TlogProof.parse(plain).verify(digest, witnessed.policy)
    assert error.value.reason == Reason.ERROR_REASON_QUORUM_UNMET


async def test_the_first_checkpoint_with_an_entry_says_most(
    witnessed: WitnessedWorld,
) -> None:
    first = await witnessed.grow()
    await witnessed.ask()
    witnessed.world.clock.advance(3600)
    second = await witnessed.grow()
    await witnessed.ask()
    for index, seconds in ((first, 0), (second, 3600)):
        proof = await receipt(witnessed, index)
        found = proof.verify(await entry(witnessed, index), witnessed.policy)
        assert set(found.times.values()) == {START_MS // 1000 + seconds}


async def test_a_repeated_cosignature_is_fresh_and_the_first_one_stays(
    witnessed: WitnessedWorld,
) -> None:
    index = await witnessed.grow()
    await witnessed.ask()
    witnessed.world.clock.advance(60)
    await witnessed.ask()
    fresh = witnessed.policy.open_checkpoint(witnessed.log.witnessed())
    assert set(fresh.times.values()) == {START_MS // 1000 + 60}
    proof = await receipt(witnessed, index)
    found = witnessed.policy.open_checkpoint(proof.checkpoint_note)
    assert set(found.times.values()) == {START_MS // 1000}


async def test_two_of_three_make_a_quorum_of_two(tmp_path: Path) -> None:
    async with open_witnessed(tmp_path, "2") as witnessed:
        index = await witnessed.grow()
        await witnessed.ask("a")
        assert witnessed.log.witnessed() == ""
        with pytest.raises(UnavailableError):
            await receipt(witnessed, index)
        await witnessed.ask("c")
        proof = await receipt(witnessed, index)
        found = proof.verify(await entry(witnessed, index), witnessed.policy)
        assert set(found.times) == {"a", "c"}


async def test_without_a_quorum_every_checkpoint_counts(tmp_path: Path) -> None:
    async with open_witnessed(tmp_path, "none") as witnessed:
        index = await witnessed.grow()
        proof = await receipt(witnessed, index)
        proof.verify(await entry(witnessed, index), witnessed.policy)
        assert await witnessed.log.seen(index) == ""
        await witnessed.ask("b")
        strict = witnessed.town.policy("1")
        note = await witnessed.log.seen(index)
        trusted = Policy(witnessed.policy.logs, strict.witnesses, strict.groups, "g")
        assert trusted.open_checkpoint(note).times == {"b": START_MS // 1000}


# --- waiting


async def test_waiting_ends_when_the_quorum_is_there(tmp_path: Path) -> None:
    async with open_witnessed(tmp_path, rhythm=SLOW) as witnessed:
        index = await witnessed.grow()
        async with witnessed.running():
            proof = await receipt(witnessed, index, 30)
        proof.verify(await entry(witnessed, index), witnessed.policy)


async def test_waiting_has_an_end(witnessed: WitnessedWorld) -> None:
    index = await witnessed.grow()
    await witnessed.ask("a", "b")
    with pytest.raises(UnavailableError) as error:
        await receipt(witnessed, index, 0.01)
    assert error.value.reason == Reason.ERROR_REASON_QUORUM_UNMET
    assert error.value.retry_after


async def test_a_witness_that_never_answers_holds_up_nobody(tmp_path: Path) -> None:
    async with open_witnessed(tmp_path, "2", SLOW) as witnessed:
        witnessed.town.hung = {"b"}
        async with witnessed.running():
            for _ in range(5):
                begun = time.perf_counter()
                index = await witnessed.grow()
                assert time.perf_counter() - begun < 1
                proof = await receipt(witnessed, index, 30)
                found = witnessed.policy.open_checkpoint(proof.checkpoint_note)
                assert set(found.times) == {"a", "c"}
        assert witnessed.town.asked["b"] == 1


async def test_nothing_new_is_asked_for_once(tmp_path: Path) -> None:
    async with open_witnessed(tmp_path, rhythm=SLOW) as witnessed:
        index = await witnessed.grow()
        async with witnessed.running():
            await receipt(witnessed, index, 30)
            for _ in range(20):
                await asyncio.sleep(0.002)
        assert witnessed.town.asked == dict.fromkeys("abc", 1)


# --- moods


async def test_a_witness_tells_where_it_is(witnessed: WitnessedWorld) -> None:
    await witnessed.ask()
    for forgotten in (0, 1):
        index = await witnessed.grow()
        witnessed.witnesses.askings["a"].size = forgotten
        await witnessed.ask()
        proof = await receipt(witnessed, index)
        proof.verify(await entry(witnessed, index), witnessed.policy)
    assert witnessed.town.asked["a"] == 5
    assert await witnessed.accusations.count() == 0


def line_of(name: str, witnessed: WitnessedWorld) -> bytes:
    """A good cosignature of another checkpoint."""
    cosigner = witnessed.town.cosigner(name)
    text = GrownLog().checkpoint(5).text
    return cosigner.sign(text, 7).format().encode()


def dated(witnessed: WitnessedWorld, name: str, time: int) -> Callable[[bytes], Reply]:
    """Returns a mood of a witness: it cosigns, and states this time."""

    def answer(body: bytes) -> Reply:
        text = AddCheckpoint.parse(body).note.text
        line = witnessed.town.cosigner(name).sign(text, time).format()
        return Reply(200, "text/plain", line.encode())

    return answer


@pytest.mark.parametrize(
    ("status", "content_type", "body", "standing"),
    [
        (200, "text/plain", b"", Standing.UNUSABLE),
        (200, "text/plain", b"ok\n", Standing.UNUSABLE),
        (200, "text/plain", b"\xff\xfe\n", Standing.UNUSABLE),
        (200, "text/plain", b"FORGED", Standing.UNUSABLE),
        (400, "text/plain", b"no\n", Standing.UNUSABLE),
        (403, "text/plain", b"", Standing.STRANGER),
        (404, "text/plain", b"", Standing.STRANGER),
        (429, "text/plain", b"", Standing.SILENT),
        (500, "text/plain", b"", Standing.SILENT),
        (503, "text/html", b"<html>", Standing.SILENT),
        (302, "", b"", Standing.UNUSABLE),
        (409, "text/plain", b"5\n", Standing.ACCUSES),
        (409, "", b"", Standing.ACCUSES),
        (409, "text/x.tlog.size", b"five\n", Standing.ACCUSES),
        (409, "text/x.tlog.size", b"0\n", Standing.UNUSABLE),
        (409, "text/x.tlog.size; charset=utf-8", b"99999\n", Standing.AHEAD),
        (422, "text/plain", b"bad proof\n", Standing.ACCUSES),
    ],
)
async def test_what_a_witness_can_answer(
    witnessed: WitnessedWorld,
    status: int,
    content_type: str,
    body: bytes,
    standing: Standing,
) -> None:
    index = await witnessed.grow()
    if body == b"FORGED":
        body = line_of("a", witnessed)
    witnessed.town.moods["a"] = lambda _: Reply(status, content_type, body)
    await witnessed.ask()
    await witnessed.ask()
    assert witnessed.standing("a") is standing
    assert witnessed.log.witnessed() == ""
    size = witnessed.world.ledger.head().size
    kept = await witnessed.world.store.cosignatures([size])
    assert {row.witness.partition(".")[0] for row in kept} == {"b", "c"}
    accused = standing is Standing.ACCUSES
    assert await witnessed.accusations.count() == int(accused)
    del witnessed.town.moods["a"]
    await witnessed.ask("a")
    assert witnessed.standing("a") is Standing.COSIGNS
    await receipt(witnessed, index)


async def test_nobody_there(witnessed: WitnessedWorld) -> None:
    witnessed.town.moods["a"] = lambda _: None
    await witnessed.ask()
    assert witnessed.standing("a") is Standing.SILENT


async def test_other_lines_of_an_answer_are_ignored(witnessed: WitnessedWorld) -> None:
    await witnessed.grow()
    head = witnessed.world.ledger.head()
    text = parse_note(head.note).text
    good = witnessed.town.cosigner("a").sign(text, 7)
    timeless = ML_DSA.sign(text)
    others = [Signature(good.name, b"\0\0\0\0", good.value), timeless]
    lines = "".join(line.format() for line in (*others, good))
    reply = Reply(200, "text/plain", b"junk\n" + lines.encode())
    witnessed.town.moods["a"] = lambda _: reply
    await witnessed.ask("a")
    (row,) = await witnessed.world.store.cosignatures([head.size])
    assert (row.line, row.time_ms) == (good.format(), 7_000)


@pytest.mark.parametrize("time", [MAX_TIME + 1, 2**53, 2**60, 2**63 - 1])
async def test_a_time_that_is_none_disturbs_nobody(
    witnessed: WitnessedWorld, time: int
) -> None:
    witnessed.town.moods["a"] = dated(witnessed, "a", time)
    await witnessed.witnesses.propose()
    for _ in range(3):
        # What is written for the witness can share a commit with what is published.
        turn = witnessed.witnesses.follow("a")
        await asyncio.gather(witnessed.grow(), turn, witnessed.grow())
    assert witnessed.standing("a") is Standing.UNUSABLE


async def test_the_last_time_there_is_can_be_kept(witnessed: WitnessedWorld) -> None:
    witnessed.town.moods["a"] = dated(witnessed, "a", MAX_TIME)
    await witnessed.ask()
    seen = witnessed.policy.open_checkpoint(witnessed.log.witnessed()).times
    assert seen["a"] == MAX_TIME


async def test_what_the_log_sends_has_its_own_signatures_only(
    witnessed: WitnessedWorld,
) -> None:
    bodies: list[bytes] = []

    def look(body: bytes) -> None:
        bodies.append(body)

    await witnessed.ask()
    await witnessed.grow()
    witnessed.town.moods["a"] = look
    await witnessed.ask()
    note = parse_note(bodies[0].decode().partition("\n\n")[2])
    assert {line.key_id for line in note.signatures} == {
        witnessed.world.ledger._signer.vkey.key_id,
        ML_DSA.vkey.key_id,
    }
    assert len(bodies[0]) < 10 * 1024


# --- what must never be


async def test_evidence_of_a_fork_is_kept(tmp_path: Path) -> None:
    """The operator restores an old copy without its guard, and goes on."""
    async with open_witnessed(tmp_path) as before:
        await before.ask()
    shutil.copytree(tmp_path / "exchange", tmp_path / "copy")
    async with open_witnessed(tmp_path) as before:
        await before.grow()
        await before.ask()
        lost = before.log.witnessed()
    shutil.rmtree(tmp_path / "exchange")
    (tmp_path / "copy").rename(tmp_path / "exchange")
    async with open_witnessed(tmp_path) as after:
        await after.ask("a")
        assert after.standing("a") is Standing.AHEAD
        after.world.clock.advance(1)
        await after.grow()
        await after.ask()
        assert after.standing("a") is Standing.ACCUSES
        assert await after.accusations.count() == 3
        lines = (tmp_path / "town" / "evidence" / "a.jsonl").read_text().splitlines()
        evidence = json.loads(lines[0])
        assert evidence["witness"] == "a"
        assert evidence["status"] == 422
        signed = parse_note(evidence["request"].partition("\n\n")[2])
        known = Policy(after.policy.logs)
        one, other = known.open_checkpoint(signed.format()), known.open_checkpoint(lost)
        assert one.checkpoint.size == other.checkpoint.size
        assert one.checkpoint.root != other.checkpoint.root


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    async with open_witnessed(tmp_path) as before:
        index = await before.grow()
        await before.ask()
        later = await before.grow()
        await before.ask("a")
        note, proof = before.log.witnessed(), await receipt(before, index)
    async with open_witnessed(tmp_path) as after:
        times = after.policy.open_checkpoint(note).times
        assert after.policy.open_checkpoint(after.log.witnessed()).times == times
        again = await receipt(after, index)
        assert (again.index, again.path) == (proof.index, proof.path)
        with pytest.raises(UnavailableError):
            await receipt(after, later)
        await after.ask()
        assert after.town.asked == dict.fromkeys("abc", 1)
        await receipt(after, later)


async def test_what_could_not_be_written_does_not_count(
    witnessed: WitnessedWorld,
) -> None:
    index = await witnessed.grow()
    ledger = witnessed.world.ledger
    store = FailingStore(ledger._store)
    ledger._store = cast("Store", store)
    for fail in ("not persisted", "persisted but reported failed"):
        store.fail = fail
        await witnessed.ask("a")
        assert witnessed.log.witnessed() == ""
    await witnessed.ask()
    assert (await receipt(witnessed, index)).index == index


# --- what strangers see


def shown_by(witnessed: WitnessedWorld) -> int:
    """Returns the size that strangers see."""
    note = witnessed.log.published()
    signers = {line.key_id for line in parse_note(note).signatures}
    assert ML_DSA.vkey.key_id in signers
    return Policy(witnessed.policy.logs).open_checkpoint(note).checkpoint.size


async def test_strangers_see_what_is_witnessed_and_never_less_than_before(
    witnessed: WitnessedWorld,
) -> None:
    shown = partial(shown_by, witnessed)
    await witnessed.ask()
    base = shown()
    witnessed.policy.open_checkpoint(witnessed.log.published())
    await witnessed.grow()
    assert shown() == base
    await witnessed.ask("a", "b")
    assert shown() == base
    await witnessed.ask("c")
    assert shown() == base + 1
    for _ in range(3):
        await witnessed.grow()
    witnessed.world.clock.advance(PATIENCE)
    assert shown() == base + 4  # they are silent for too long
    for name in "abc":
        witnessed.town.moods[name] = lambda _: None
    await witnessed.ask()
    assert shown() == base + 4
    witnessed.town.moods.clear()
    await witnessed.ask()
    assert shown() == base + 4
    witnessed.policy.open_checkpoint(witnessed.log.published())


async def test_strangers_see_no_less_after_a_restart(tmp_path: Path) -> None:
    async with open_witnessed(tmp_path) as before:
        await before.ask()
        base = shown_by(before)
        await before.grow()
        before.world.clock.advance(PATIENCE)
        assert shown_by(before) == base + 1  # though nobody has cosigned it
    async with open_witnessed(tmp_path) as after:
        assert shown_by(after) == base + 1
        await after.grow()
        assert shown_by(after) == base + 1
        await after.ask()
        assert shown_by(after) == base + 2
        after.policy.open_checkpoint(after.log.published())


async def test_the_sizes_of_receipts(witnessed: WitnessedWorld) -> None:
    """What the second signature costs (docs/adr/0025)."""
    index = await witnessed.grow()
    await witnessed.ask()
    digest = await entry(witnessed, index)
    plain = len(await reader(witnessed).receipt(digest))
    full = len(await reader(witnessed).witnessed_receipt(digest, 0))
    second = len(base64.b64encode(bytes(4 + 8 + 2420)))
    assert plain < 800
    assert plain + second < full < plain + second + 600


async def test_a_tree_of_any_size_fits_into_a_witnesses_limit() -> None:
    """Others may read 10 KiB only: 63 hashes and both signatures of the log."""
    text = f"{ML_DSA.name}\n{2**63 - 1}\n{base64.b64encode(bytes(32)).decode()}\n"
    line = Signature(ML_DSA.name, bytes(4), bytes(64))
    note = Note(text, (line, ML_DSA.sign(text))).format()
    assert len(note) + 63 * 45 + len("old 9223372036854775807\n\n") < 10 * 1024
