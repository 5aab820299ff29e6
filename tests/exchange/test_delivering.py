"""Delivering: what recipients and their desks are promised."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import pytest

from onward.core.errors import ForbiddenError, Reason, StateError, UnknownError
from onward.core.sealing import open_content
from onward.core.statements import parse_statement
from onward.v1 import vocabulary_pb2
from onward_server.exchange.delivering import Beat, HandedOver, Offer, Retracted
from onward_server.exchange.publishing import Published
from onward_server.exchange.receipts import Logged
from tests.support.world import HOTLINE, NEVADA, STATE_POLICE, World

Event = Offer | HandedOver | Retracted | Beat


def allowed() -> None:
    """The caller may still be here."""


async def publish(world: World, **fields: object) -> Published:
    """Publishes a referral."""
    return await world.publishing.publish(
        world.caller(HOTLINE),
        world.referral(**fields),  # type: ignore[arg-type]
    )


def stream(
    world: World,
    name: str = STATE_POLICE,
    places: int = 16,
    recheck: Callable[[], None] = allowed,
) -> AsyncGenerator[Event, None]:
    """Opens a stream."""
    return world.delivering.receive(world.caller(name), places, recheck)


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    """Returns the next events."""
    return [await anext(events) for _ in range(count)]


async def received(world: World, offer: Offer, handover: HandedOver) -> str:
    """Submits the recipient's ``Received``; returns it."""
    digest = parse_statement(offer.referral.jws).message.referral.content_digest
    return await world.answer(
        STATE_POLICE,
        handover.handover.jws,
        offer.referral_id,
        received={
            "content_digest": digest,
            "check": vocabulary_pb2.CONTENT_CHECK_VERIFIED,
        },
    )


async def state_of(world: World, referral_id: str) -> str:
    """Returns the state of the only delivery."""
    (delivery,) = await world.store.deliveries([referral_id])
    state = vocabulary_pb2.DeliveryState.ValueType(delivery.state)
    return vocabulary_pb2.DeliveryState.Name(state).removeprefix("DELIVERY_STATE_")


async def test_a_delivery_can_be_opened_and_is_handed_over_after_it_went_out(
    world: World,
) -> None:
    done = await publish(world, content=b"leaving soon")
    async with aclosing(stream(world)) as events:
        offer = await anext(events)
        assert isinstance(offer, Offer)
        opened = open_content(
            offer.sealed,
            world.parties[STATE_POLICE].content_key,
            offer.referral_id,
            STATE_POLICE,
        )
        assert opened == b"leaving soon"
        assert offer.referral.jws == done.referral.jws
        # Not before the stream asks for more was the message written in full.
        assert await state_of(world, offer.referral_id) == "ACCEPTED"
        handover = await anext(events)
        assert isinstance(handover, HandedOver)
        assert await state_of(world, offer.referral_id) == "HANDED_OVER"
        await received(world, offer, handover)
        assert await state_of(world, offer.referral_id) == "RECEIVED"


async def test_the_most_urgent_comes_first_and_then_the_oldest(world: World) -> None:
    order = [
        vocabulary_pb2.URGENCY_ROUTINE,
        vocabulary_pb2.URGENCY_INFORMATIONAL,
        vocabulary_pb2.URGENCY_IMMINENT_DANGER,
        vocabulary_pb2.URGENCY_ROUTINE,
        vocabulary_pb2.URGENCY_TIME_SENSITIVE,
    ]
    ids = [
        parse_statement((await publish(world, urgency=urgency)).referral.jws).message.id
        for urgency in order
    ]
    async with aclosing(stream(world)) as events:
        offers = await take(events, len(order))
    got = [offer.referral_id for offer in offers if isinstance(offer, Offer)]
    assert got == [ids[2], ids[4], ids[0], ids[3], ids[1]]


async def test_two_desks_share_the_work_and_none_gets_what_the_other_has(
    world: World,
) -> None:
    for _ in range(6):
        await publish(world)
    async with (
        aclosing(stream(world, places=3)) as one,
        aclosing(stream(world, places=3)) as two,
    ):
        offers = await take(one, 3) + await take(two, 3)
    assert len({offer.referral_id for offer in offers}) == 6  # type: ignore[union-attr]


async def test_a_stream_has_at_most_max_outstanding_out(world: World) -> None:
    for _ in range(3):
        await publish(world)
    async with aclosing(stream(world, places=1)) as events:
        offer, handover = await take(events, 2)
        assert isinstance(offer, Offer)
        assert isinstance(handover, HandedOver)
        await received(world, offer, handover)
        following = await anext(events)
        assert isinstance(following, Offer)
        assert following.referral_id != offer.referral_id


async def test_what_a_lost_stream_had_comes_again_at_once(world: World) -> None:
    await publish(world)
    async with aclosing(stream(world)) as events:
        (first,) = await take(events, 1)
    async with aclosing(stream(world)) as events:
        (second,) = await take(events, 1)
    assert isinstance(first, Offer)
    assert isinstance(second, Offer)
    assert (first.referral_id, first.attempt) == (second.referral_id, 1)
    assert second.attempt == 2


async def test_a_lapsed_lease_is_delivered_again_and_a_late_received_still_counts(
    world: World,
) -> None:
    await publish(world)
    async with aclosing(stream(world)) as slow:
        offer, handover = await take(slow, 2)
        world.clock.advance(world.limits.lease + 1)
        async with aclosing(stream(world)) as quick:
            again = await anext(quick)
        assert isinstance(offer, Offer)
        assert isinstance(handover, HandedOver)
        assert isinstance(again, Offer)
        assert again.referral_id == offer.referral_id
        await received(world, offer, handover)
        assert await state_of(world, offer.referral_id) == "RECEIVED"


async def test_silence_is_broken_by_a_heartbeat_with_the_newest_checkpoint(
    world: World,
) -> None:
    world.delivering._limits = type(world.limits)(heartbeat=0.0, recheck=0.01)
    async with aclosing(stream(world)) as events:
        beat = await anext(events)
    assert beat == Beat(world.ledger.checkpoint())


async def test_a_stream_ends_when_its_caller_may_no_longer_be_here(
    world: World,
) -> None:
    def suspended() -> None:
        raise ForbiddenError(Reason.ERROR_REASON_MEMBER_SUSPENDED, "suspended")

    async with aclosing(stream(world, recheck=suspended)) as events:
        with pytest.raises(ForbiddenError):
            await anext(events)


async def test_large_content_is_fetched_and_handed_over_by_the_fetch(
    world: World,
) -> None:
    world.delivering._limits = type(world.limits)(inline_content=10)
    await publish(world)
    async with aclosing(stream(world)) as events:
        offer = await anext(events)
    assert isinstance(offer, Offer)
    assert offer.separate
    assert offer.sealed == b""
    assert await state_of(world, offer.referral_id) == "ACCEPTED"
    caller = world.caller(STATE_POLICE)
    parts = [part async for part in world.delivering.content(caller, offer.referral_id)]
    assert isinstance(parts[-1], Logged)
    sealed = b"".join(part for part in parts if isinstance(part, bytes))
    key = world.parties[STATE_POLICE].content_key
    assert open_content(sealed, key, offer.referral_id, STATE_POLICE) == b"a tip"
    assert await state_of(world, offer.referral_id) == "HANDED_OVER"


async def test_strangers_and_publishers_get_no_content(world: World) -> None:
    done = await publish(world)
    referral_id = parse_statement(done.referral.jws).message.id
    for name in (NEVADA, HOTLINE):
        with pytest.raises(UnknownError):
            await anext(world.delivering.content(world.caller(name), referral_id))


async def test_retracted_before_delivery_never_goes_out(world: World) -> None:
    done = await publish(world)
    referral_id = parse_statement(done.referral.jws).message.id
    reason = vocabulary_pb2.RETRACTION_REASON_CONSENT_WITHDRAWN
    await world.answer(
        HOTLINE, done.referral.jws, referral_id, retraction={"reason": reason}
    )
    assert await state_of(world, referral_id) == "CANCELLED"
    with pytest.raises(StateError):
        await anext(world.delivering.content(world.caller(STATE_POLICE), referral_id))
    world.delivering._limits = type(world.limits)(heartbeat=0.0, recheck=0.01)
    async with aclosing(stream(world)) as events:
        assert isinstance(await anext(events), Beat)


async def test_content_in_flight_while_retracted_is_logged_as_handed_over(
    world: World,
) -> None:
    done = await publish(world)
    referral_id = parse_statement(done.referral.jws).message.id
    async with aclosing(stream(world)) as events:
        await anext(events)  # on its way out
        reason = vocabulary_pb2.RETRACTION_REASON_SENT_IN_ERROR
        await world.answer(
            HOTLINE, done.referral.jws, referral_id, retraction={"reason": reason}
        )
        assert isinstance(await anext(events), HandedOver)
        assert await state_of(world, referral_id) == "RETRACTION_PENDING"
        notice = await anext(events)
        assert isinstance(notice, Retracted)
        await world.answer(
            STATE_POLICE,
            notice.retraction.jws,
            referral_id,
            retraction_reply={"action": vocabulary_pb2.RETRACTION_ACTION_DESTROYED},
        )
        assert await state_of(world, referral_id) == "RETRACTION_ANSWERED"


async def test_erased_content_does_not_go_out_and_its_bytes_are_gone(
    world: World,
) -> None:
    done = await publish(world, content=os.urandom(2000))
    message = parse_statement(done.referral.jws).message
    first = await world.erasing.by_publisher(world.caller(HOTLINE), message.id)
    again = await world.erasing.by_publisher(world.caller(HOTLINE), message.id)
    assert first == again
    assert await world.store.content(message.referral.content_digest) is None
    assert await state_of(world, message.id) == "EXPIRED"
    with pytest.raises(StateError) as refused:
        await anext(world.delivering.content(world.caller(STATE_POLICE), message.id))
    assert refused.value.reason_name == "CONTENT_ERASED"


async def test_retention_erases_what_is_due_and_nothing_else(world: World) -> None:
    due = await publish(world)
    world.clock.advance(1000)
    await publish(world)
    world.clock.ms = parse_statement(
        due.referral.jws
    ).message.referral.expire_time.ToMilliseconds()
    assert await world.erasing.sweep() == 1
    assert await world.erasing.sweep() == 0
    assert await state_of(world, parse_statement(due.referral.jws).message.id) == (
        "EXPIRED"
    )
