"""Publishing: what a publisher is promised."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from onward.core.errors import (
    ConflictError,
    ForbiddenError,
    MalformedError,
    OnwardError,
    Reason,
    StateError,
    VerificationError,
)
from onward.core.statements import parse_statement, statement_digest
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.publishing import DisclosureForbiddenError, Sending
from onward_server.exchange.receipts import Logged
from tests.support.world import (
    AUDITOR,
    HOTLINE,
    NEVADA,
    STATE_POLICE,
    World,
    open_world,
    populate,
)


def verify(world: World, logged: Logged) -> int:
    """Verifies a receipt as a stranger would; returns the size it leads to."""
    vkey = world.ledger._signer.vkey.format()
    policy = Policy.parse(f"log {vkey}\nquorum none\n")
    proof = TlogProof.parse(logged.receipt)
    assert proof.index == logged.log_index
    return proof.verify(statement_digest(logged.jws), policy).checkpoint.size


async def test_acceptance_answers_the_referral_and_both_receipts_verify(
    world: World,
) -> None:
    done = await world.publishing.publish(world.caller(HOTLINE), world.referral())
    assert verify(world, done.referral) == verify(world, done.acceptance)
    said = parse_statement(done.acceptance.jws).message
    assert said.previous == statement_digest(done.referral.jws)
    assert [due.recipient for due in said.acceptance.deadlines] == [STATE_POLICE]


async def test_50_concurrent_retries_make_one_referral_and_one_receipt(
    world: World,
) -> None:
    sending, caller = world.referral(), world.caller(HOTLINE)
    size = world.ledger.head().size
    done = await asyncio.gather(
        *(world.publishing.publish(caller, sending) for _ in range(50))
    )
    assert len(set(done)) == 1
    assert world.ledger.head().size == size + 2
    later = await world.publishing.publish(caller, sending)
    assert later == done[0]


async def test_a_retry_is_answered_for_ever_with_the_original_receipt(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path) as world:
        await populate(world)
        sending = world.referral()
        first = await world.publishing.publish(world.caller(HOTLINE), sending)
        for _ in range(300):
            await world.publishing.publish(world.caller(HOTLINE), world.referral())
        clock, parties = world.clock, world.parties
    clock.advance(3 * 365 * 24 * 3600)  # every key has expired since
    async with open_world(tmp_path, clock) as world:
        world.parties = parties
        assert await world.publishing.publish(world.caller(HOTLINE), sending) == first


async def test_another_referral_under_a_used_id_is_refused(world: World) -> None:
    sending = world.referral()
    await world.publishing.publish(world.caller(HOTLINE), sending)
    message = parse_statement(sending.jws).message
    message.referral.urgency_reason = "another"
    other = world.sign(
        HOTLINE,
        statement_id=message.id,
        referral_id=message.id,
        referral=message.referral,
    )
    with pytest.raises(ConflictError) as refused:
        await world.publishing.publish(
            world.caller(HOTLINE), Sending(other.jws, sending.sealed)
        )
    assert refused.value.reason == Reason.ERROR_REASON_REFERRAL_ID_REUSED


async def test_refusals_leave_nothing_in_the_log(world: World) -> None:
    good = world.referral()
    message = parse_statement(good.jws).message

    def with_body(**changes: object) -> Sending:
        body = statement_pb2.Referral()
        body.CopyFrom(message.referral)
        for name, value in changes.items():
            setattr(body, name, value)
        signed = world.sign(
            HOTLINE, statement_id=message.id, referral_id=message.id, referral=body
        )
        return Sending(signed.jws, good.sealed)

    cases: list[tuple[str, Sending, type[OnwardError], str]] = [
        (NEVADA, good, ForbiddenError, "ISSUER_MISMATCH"),
        (AUDITOR, good, ForbiddenError, "ROLE_REQUIRED"),
        (HOTLINE, Sending(good.jws, good.sealed + b"x"), VerificationError, ""),
        (HOTLINE, Sending(good.jws[:-4] + "AAAA", good.sealed), OnwardError, ""),
        (HOTLINE, Sending(good.jws, b""), OnwardError, "CONTENT_UNKNOWN"),
        (HOTLINE, with_body(urgency=0), MalformedError, "MALFORMED"),
        (HOTLINE, with_body(content_size=7), VerificationError, "CONTENT_MISMATCH"),
    ]
    size = world.ledger.head().size
    for name, sending, kind, reason in cases:
        with pytest.raises(kind) as refused:
            await world.publishing.publish(world.caller(name), sending)
        assert reason in ("", refused.value.reason_name)
    assert world.ledger.head().size == size
    await world.publishing.publish(world.caller(HOTLINE), good)


async def test_content_must_be_sealed_to_every_recipient_and_nobody_else(
    world: World,
) -> None:
    for sealed_to, named in (
        ((STATE_POLICE,), (STATE_POLICE, NEVADA)),
        ((STATE_POLICE, NEVADA), (STATE_POLICE,)),
    ):
        sending = world.referral(recipients=sealed_to)
        body = statement_pb2.Referral()
        body.CopyFrom(parse_statement(sending.jws).message.referral)
        del body.recipients[:]
        body.recipients.extend(named)
        identity = parse_statement(sending.jws).message.id
        signed = world.sign(
            HOTLINE, statement_id=identity, referral_id=identity, referral=body
        )
        with pytest.raises(StateError) as refused:
            await world.publishing.publish(
                world.caller(HOTLINE), Sending(signed.jws, sending.sealed)
            )
        assert refused.value.reason_name == "SEALED_KEYS_MISMATCH"


async def test_a_suspended_recipient_is_refused_by_name(world: World) -> None:
    member = world.parties[STATE_POLICE].entry(world.clock.ms)
    member.status = vocabulary_pb2.MEMBER_STATUS_SUSPENDED
    await world.change(statement_pb2.DIRECTORY_CHANGE_KIND_SUSPENDED, member)
    with pytest.raises(StateError) as refused:
        await world.publishing.publish(world.caller(HOTLINE), world.referral())
    assert refused.value.reason_name == "RECIPIENT_UNAVAILABLE"
    assert refused.value.metadata["recipient"] == STATE_POLICE


async def test_a_forbidden_disclosure_is_a_signed_and_logged_rejection(
    world: World,
) -> None:
    sending = world.referral(
        reporter_type=vocabulary_pb2.REPORTER_TYPE_POTENTIAL_VICTIM,
        basis=vocabulary_pb2.DISCLOSURE_BASIS_VICTIM_VERBAL_REQUEST,
        consent=statement_pb2.Consent(state=vocabulary_pb2.CONSENT_STATE_DECLINED),
    )
    refusals = []
    for _ in range(2):
        with pytest.raises(DisclosureForbiddenError) as refused:
            await world.publishing.publish(world.caller(HOTLINE), sending)
        refusals.append(refused.value.rejection)
    assert refusals[0] == refusals[1]
    verify(world, refusals[0])
    said = parse_statement(refusals[0].jws).message
    assert said.rejection.rule == "victim-declined"
    assert said.previous == statement_digest(sending.jws)
    assert await world.store.deliveries([said.referral_id]) == []


async def test_uploaded_content_is_published_by_its_digest(world: World) -> None:
    sending = world.referral(content=os.urandom(3 * 1024 * 1024))
    digest = hashlib.sha256(sending.sealed).digest()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(sending.sealed), 200_000):
            yield sending.sealed[start : start + 200_000]

    caller = world.caller(HOTLINE)
    with pytest.raises(OnwardError):
        await world.publishing.publish(caller, Sending(sending.jws, b""))
    await world.publishing.put_content(caller, digest, len(sending.sealed), chunks())
    await world.publishing.publish(caller, Sending(sending.jws, b""))
    assert await world.store.content(digest) == sending.sealed


async def test_two_uploads_of_the_same_content_do_not_mix(world: World) -> None:
    sending = world.referral(content=os.urandom(600_000))
    digest, caller = hashlib.sha256(sending.sealed).digest(), world.caller(HOTLINE)

    async def chunks(size: int) -> AsyncIterator[bytes]:
        for start in range(0, len(sending.sealed), size):
            yield sending.sealed[start : start + size]

    size = len(sending.sealed)
    await asyncio.gather(
        *(
            world.publishing.put_content(caller, digest, size, chunks(step))
            for step in (100_000, 70_000, 256 * 1024)
        )
    )
    await world.publishing.publish(caller, Sending(sending.jws, b""))
    assert await world.store.content(digest) == sending.sealed


async def test_sealed_bytes_of_another_referral_are_refused(world: World) -> None:
    first = world.referral()
    await world.publishing.publish(world.caller(HOTLINE), first)
    body = parse_statement(first.jws).message.referral
    identity = parse_statement(world.referral().jws).message.id
    again = world.sign(
        HOTLINE, statement_id=identity, referral_id=identity, referral=body
    )
    with pytest.raises(VerificationError) as refused:
        await world.publishing.publish(
            world.caller(HOTLINE), Sending(again.jws, first.sealed)
        )
    assert refused.value.reason_name == "CONTENT_MISMATCH"


async def test_a_time_that_cannot_be_right_is_refused(world: World) -> None:
    for seconds in (3600, -3600):
        world.clock.advance(seconds)
        sending = world.referral()
        world.clock.advance(-seconds)
        with pytest.raises(MalformedError) as refused:
            await world.publishing.publish(world.caller(HOTLINE), sending)
        assert refused.value.reason_name == "TIME_IMPLAUSIBLE"


async def test_a_clock_that_was_ahead_for_a_moment_keeps_nobody_silent(
    world: World,
) -> None:
    world.clock.advance(3600)
    await world.publishing.publish(world.caller(HOTLINE), world.referral())
    world.clock.advance(-3600)
    await world.publishing.publish(world.caller(HOTLINE), world.referral())


async def test_a_revoked_key_signs_nothing_more(world: World) -> None:
    sending = world.referral()
    member = world.parties[HOTLINE].entry(world.clock.ms)
    member.statement_keys[0].status = vocabulary_pb2.KEY_STATUS_REVOKED
    await world.change(statement_pb2.DIRECTORY_CHANGE_KIND_KEY_REVOKED, member)
    with pytest.raises(StateError) as refused:
        await world.publishing.publish(world.caller(HOTLINE), sending)
    assert refused.value.reason_name == "KEY_NOT_VALID"
