"""What one party could do to others, or to itself, and must not."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from onward.core.errors import (
    ForbiddenError,
    MalformedError,
    OnwardError,
    Reason,
    StateError,
    TooLargeError,
    UnknownError,
)
from onward.core.statements import parse_statement, statement_digest
from onward.core.verify import verify_bundle
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.delivering import Beat, HandedOver, Offer
from onward_server.exchange.publishing import (
    DisclosureForbiddenError,
    Publication,
    Sending,
)
from onward_server.exchange.receipts import Logged
from tests.exchange.test_bundles import explain, trust
from tests.exchange.test_delivering import publish, state_of, stream
from tests.exchange.test_submission import (
    Chain,
    acknowledged,
    transfer,
    transfer_of,
)
from tests.support.world import HOTLINE, NEVADA, STATE_POLICE, Party, World

WITHDRAWN = vocabulary_pb2.RETRACTION_REASON_CONSENT_WITHDRAWN


async def test_erased_deliveries_do_not_keep_others_from_their_recipient(
    world: World,
) -> None:
    places = 4
    dead = [await publish(world) for _ in range(places)]
    async with aclosing(stream(world, places=places)) as events:
        while not isinstance(await anext(events), HandedOver):
            pass  # handed over, and the desk dies before it has received them
    for done in dead:
        referral_id = parse_statement(done.referral.jws).message.id
        await world.erasing.by_publisher(world.caller(HOTLINE), referral_id)
    world.clock.advance(world.limits.lease + 1)
    alive = await publish(world)
    async with aclosing(stream(world, places=places)) as events:
        offer = await anext(events)
    assert isinstance(offer, Offer)
    assert offer.referral.jws == alive.referral.jws


@pytest.mark.parametrize("how", ["retracted", "erased", "lapsed"])
async def test_a_slow_reader_gets_nothing_that_is_over_meanwhile(
    world: World, how: str
) -> None:
    world.delivering._limits = type(world.limits)(heartbeat=0.0, recheck=0.01)
    await publish(world)
    later = await publish(world)
    referral_id = parse_statement(later.referral.jws).message.id
    async with aclosing(stream(world)) as events:
        await anext(events)  # both are leased, and the reader takes its time
        if how == "retracted":
            body = {"reason": WITHDRAWN}
            await world.answer(
                HOTLINE, later.referral.jws, referral_id, retraction=body
            )
        elif how == "erased":
            await world.erasing.by_publisher(world.caller(HOTLINE), referral_id)
        else:
            world.clock.advance(world.limits.lease + 1)
        rest = [await anext(events)]
        while not isinstance(rest[-1], Beat | Offer):
            rest.append(await anext(events))
    again = [event.attempt for event in rest if isinstance(event, Offer)]
    assert again == ([2] if how == "lapsed" else [])
    assert await state_of(world, referral_id) in {"CANCELLED", "EXPIRED", "ACCEPTED"}


async def test_a_retraction_stops_what_it_was_transferred_into(world: World) -> None:
    chain = await acknowledged(world, NEVADA)
    child = transfer_of(world, chain, NEVADA, STATE_POLICE)
    jws = transfer(world, chain, NEVADA, child)
    await world.submission.submit(world.caller(NEVADA), jws, child)
    body = {"reason": WITHDRAWN}
    await world.answer(HOTLINE, chain.referral, chain.referral_id, retraction=body)
    child_id = parse_statement(child.jws).message.id
    assert await state_of(world, child_id) == "EXPIRED"
    content = parse_statement(child.jws).message.referral.content_digest
    assert await world.store.content(content) is None
    data = await world.records.bundle(world.caller(HOTLINE), chain.referral_id)
    report = verify_bundle(data, trust(world))
    assert report.exit_code == 0, explain(data, trust(world))
    assert any(f"content of {child_id} erased" in step.why for step in report.steps)


async def test_a_retraction_that_was_interrupted_is_finished_by_the_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = await acknowledged(world, NEVADA)
    child = transfer_of(world, chain, NEVADA, STATE_POLICE)
    jws = transfer(world, chain, NEVADA, child)
    await world.submission.submit(world.caller(NEVADA), jws, child)

    async def interrupted(_: str) -> None:
        """As if the process had died here."""

    with monkeypatch.context() as patched:
        patched.setattr(world.erasing, "follow", interrupted)
        body = {"reason": WITHDRAWN}
        await world.answer(HOTLINE, chain.referral, chain.referral_id, retraction=body)
    child_id = parse_statement(child.jws).message.id
    assert await state_of(world, child_id) == "ACCEPTED"
    await world.erasing.sweep()
    assert await state_of(world, child_id) == "EXPIRED"


async def test_nobody_transfers_or_publishes_to_itself(world: World) -> None:
    chain = await acknowledged(world, NEVADA)
    child = transfer_of(world, chain, NEVADA, NEVADA)
    jws = transfer(world, chain, NEVADA, child)
    with pytest.raises(MalformedError):
        await world.submission.submit(world.caller(NEVADA), jws, child)
    with pytest.raises(MalformedError):
        await world.publishing.publish(
            world.caller(HOTLINE), world.referral(recipients=(HOTLINE,))
        )


async def test_a_statement_is_refused_whose_key_was_not_valid_when_it_was_made(
    world: World,
) -> None:
    young = Party(HOTLINE, vocabulary_pb2.MEMBER_KIND_HOTLINE)
    entry = young.entry(world.clock.ms)
    seen = world.ledger.seen()
    world.clock.advance(100)
    entry.statement_keys[0].not_before_time.CopyFrom(to_timestamp(world.clock.ms))
    world.parties[HOTLINE] = young
    await world.change(statement_pb2.DIRECTORY_CHANGE_KIND_ENROLLED, entry)
    world.clock.advance(-100)  # the publisher claims an earlier time
    sending = world.referral()
    assert parse_statement(sending.jws).message.seen.size > seen.size
    world.clock.advance(100)
    with pytest.raises(StateError) as refused:
        await world.publishing.publish(world.caller(HOTLINE), sending)
    assert refused.value.reason_name == "KEY_NOT_VALID"


async def test_a_stranger_leaves_nothing_in_a_chain_by_a_forbidden_transfer(
    world: World,
) -> None:
    chain = await acknowledged(world, STATE_POLICE)
    child = world.referral(
        NEVADA,
        (STATE_POLICE,),
        basis=vocabulary_pb2.DISCLOSURE_BASIS_VICTIM_VERBAL_REQUEST,
        reporter_type=vocabulary_pb2.REPORTER_TYPE_POTENTIAL_VICTIM,
        consent=statement_pb2.Consent(state=vocabulary_pb2.CONSENT_STATE_WITHDRAWN),
        links=[
            statement_pb2.ReferralLink(
                kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF,
                referral_id=chain.referral_id,
                referral_digest=statement_digest(chain.referral),
            )
        ],
    )
    size = world.ledger.head().size
    with pytest.raises(UnknownError):
        await world.submission.submit(
            world.caller(NEVADA), transfer(world, chain, NEVADA, child), child
        )
    assert world.ledger.head().size == size


async def test_forbidden_transfers_do_not_enter_the_bundle(world: World) -> None:
    chain = await acknowledged(world, NEVADA)
    links = parse_statement(
        transfer_of(world, chain, NEVADA, STATE_POLICE).jws
    ).message.referral.links
    child = world.referral(
        NEVADA,
        (STATE_POLICE,),
        basis=vocabulary_pb2.DISCLOSURE_BASIS_VICTIM_VERBAL_REQUEST,
        reporter_type=vocabulary_pb2.REPORTER_TYPE_POTENTIAL_VICTIM,
        consent=statement_pb2.Consent(state=vocabulary_pb2.CONSENT_STATE_WITHDRAWN),
        links=links,
    )
    with pytest.raises(DisclosureForbiddenError):
        await world.submission.submit(
            world.caller(NEVADA), transfer(world, chain, NEVADA, child), child
        )
    data = await world.records.bundle(world.caller(HOTLINE), chain.referral_id)
    assert verify_bundle(data, trust(world)).exit_code == 0, explain(data, trust(world))


async def test_what_was_verified_before_a_suspension_is_not_logged_after_it(
    world: World,
) -> None:
    sending = world.referral()
    statement = parse_statement(sending.jws)
    publication = await world.publishing.verify(
        world.caller(HOTLINE), statement, sending
    )
    member = world.parties[HOTLINE].entry(world.clock.ms)
    member.status = vocabulary_pb2.MEMBER_STATUS_SUSPENDED
    await world.change(statement_pb2.DIRECTORY_CHANGE_KIND_SUSPENDED, member)
    assert isinstance(publication, Publication)
    with pytest.raises(ForbiddenError) as refused:
        await world.ledger.apply(publication)
    assert refused.value.reason_name == "MEMBER_SUSPENDED"


async def test_a_content_key_that_is_revoked_meanwhile_is_noticed(
    world: World,
) -> None:
    sending = world.referral()
    publication = await world.publishing.verify(
        world.caller(HOTLINE), parse_statement(sending.jws), sending
    )
    member = world.parties[STATE_POLICE].entry(world.clock.ms)
    member.content_keys[0].status = vocabulary_pb2.KEY_STATUS_REVOKED
    await world.change(statement_pb2.DIRECTORY_CHANGE_KIND_KEY_REVOKED, member)
    with pytest.raises(StateError) as refused:
        await world.ledger.apply(publication)
    assert refused.value.reason_name == "SEALED_KEYS_MISMATCH"


async def test_a_referral_that_would_be_erased_at_once_is_refused(
    world: World,
) -> None:
    sending = world.referral(expire_time=to_timestamp(world.clock.ms))
    with pytest.raises(MalformedError) as refused:
        await world.publishing.publish(world.caller(HOTLINE), sending)
    assert refused.value.field == "referral.expire_time"


async def test_an_upload_is_read_once_however_many_referrals_name_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending = world.referral(content=os.urandom(2 * 1024 * 1024))
    digest = hashlib.sha256(sending.sealed).digest()

    async def chunks(step: int) -> AsyncIterator[bytes]:
        for start in range(0, len(sending.sealed), step):
            yield sending.sealed[start : start + step]

    caller, size = world.caller(HOTLINE), len(sending.sealed)
    await world.publishing.put_content(caller, digest, size, chunks(200_000))
    read = []
    content = world.store.content

    async def counted(wanted: bytes) -> bytes | None:
        read.append(wanted)
        return await content(wanted)

    monkeypatch.setattr(world.store, "content", counted)
    done = await asyncio.gather(
        *(world.publishing.publish(caller, Sending(sending.jws, b"")) for _ in range(9))
    )
    assert len(set(done)) == 1
    assert read == [digest]


async def test_chunks_without_bytes_are_refused_and_small_ones_kept_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending = world.referral(content=os.urandom(20_000))
    digest, caller = hashlib.sha256(sending.sealed).digest(), world.caller(HOTLINE)
    writes = []
    write = world.ledger.write

    async def counted(work: object) -> object:
        writes.append(work)
        return await write(work)  # type: ignore[arg-type]

    monkeypatch.setattr(world.ledger, "write", counted)

    async def chunks(step: int) -> AsyncIterator[bytes]:
        yield sending.sealed[:step]
        for start in range(step, len(sending.sealed), max(step, 1)):
            yield sending.sealed[start : start + step]

    size = len(sending.sealed)
    with pytest.raises(TooLargeError):
        await world.publishing.put_content(caller, digest, size, chunks(0))
    await world.publishing.put_content(caller, digest, size, chunks(10))
    assert len(writes) == 2
    await world.publishing.publish(caller, Sending(sending.jws, b""))


async def test_a_guard_that_cannot_be_written_takes_no_answer_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(size: int, root: bytes) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(world.ledger._guard, "record", broken)
    await publish(world)
    member = world.parties[STATE_POLICE].entry(world.clock.ms)
    member.status = vocabulary_pb2.MEMBER_STATUS_SUSPENDED
    await world.change(statement_pb2.DIRECTORY_CHANGE_KIND_SUSPENDED, member)
    assert not world.ledger.directory.entry(STATE_POLICE).active
    with pytest.raises(OnwardError):
        await publish(world)


async def passed_on(
    world: World, chain: Chain, issuer: str, to: str, **fields: Any
) -> Chain:
    """Transfers a tip; its new recipient reads it."""
    child = transfer_of(world, chain, issuer, to, **fields)
    jws = transfer(world, chain, issuer, child)
    await world.submission.submit(world.caller(issuer), jws, child)
    message = parse_statement(child.jws).message
    got = statement_pb2.Received(
        content_digest=message.referral.content_digest,
        check=vocabulary_pb2.CONTENT_CHECK_VERIFIED,
    )
    parts = world.delivering.content(world.caller(to), message.id)
    handover = [part async for part in parts][-1]
    assert isinstance(handover, Logged)
    received = await world.answer(to, handover.jws, message.id, received=got)
    read = await world.answer(
        to, received, message.id, acknowledgment={"reader_role": "watch officer"}
    )
    return Chain(message.id, child.jws, received, read)


async def withdraw(world: World, chain: Chain) -> None:
    """The hotline takes a tip back, since consent was withdrawn."""
    taken_back = {"reason": WITHDRAWN}
    await world.answer(
        HOTLINE, chain.referral, chain.referral_id, retraction=taken_back
    )


async def test_a_withdrawal_reaches_a_tip_that_was_passed_on_very_often(
    world: World,
) -> None:
    chain = first = await acknowledged(world)
    issuer, to = STATE_POLICE, NEVADA
    limit = sys.getrecursionlimit()
    for _ in range(60):
        chain, issuer, to = await passed_on(world, chain, issuer, to), to, issuer
    sys.setrecursionlimit(_depth() + 60)
    try:
        await withdraw(world, first)
    finally:
        sys.setrecursionlimit(limit)
    last = await world.store.referral(chain.referral_id)
    assert last is not None
    assert last.erased
    assert sorted(last.watchers) == sorted([HOTLINE, STATE_POLICE, NEVADA])


@pytest.mark.parametrize("erased_before", [False, True])
async def test_what_was_withdrawn_is_not_transferred_further(
    world: World, erased_before: bool
) -> None:
    first = await acknowledged(world)
    child = await passed_on(world, first, STATE_POLICE, NEVADA)
    if erased_before:
        caller = world.caller(STATE_POLICE)
        await world.erasing.by_publisher(caller, child.referral_id)
    await withdraw(world, first)
    with pytest.raises(StateError) as caught:
        await passed_on(world, child, NEVADA, STATE_POLICE)
    assert caught.value.reason == Reason.ERROR_REASON_STATE_FORBIDS
    assert caught.value.metadata["state"] == "RETRACTED"
    assert len(await world.store.children(child.referral_id)) == 0


async def test_a_tip_does_not_leave_the_figures_as_a_test(world: World) -> None:
    chain = await acknowledged(world)
    child = transfer_of(world, chain, STATE_POLICE, NEVADA, test=True)
    jws = transfer(world, chain, STATE_POLICE, child)
    with pytest.raises(MalformedError) as caught:
        await world.submission.submit(world.caller(STATE_POLICE), jws, child)
    assert caught.value.field == "referral.test"


def _depth() -> int:
    """Returns how many calls are open."""
    return len(inspect.stack(0))
