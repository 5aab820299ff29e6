"""Consent that ends takes effect at once: content goes out until then, not later."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.errors import Reason, StateError
from onward.core.statements import parse_statement
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.publishing import DisclosureForbiddenError
from tests.support.world import HOTLINE, START_MS, STATE_POLICE, YEAR_MS, World

V = vocabulary_pb2
END_MS = START_MS + 3_600_000
MORE_URGENT = V.URGENCY_TIME_SENSITIVE


def consent(end: Timestamp | None) -> statement_pb2.Consent:
    return statement_pb2.Consent(state=V.CONSENT_STATE_GRANTED, expire_time=end)


async def publish(world: World, end: Timestamp | None, **fields: Any) -> str:
    """Publishes what a victim released for a time; returns the referral's id."""
    values: dict[str, Any] = {
        "reporter_type": V.REPORTER_TYPE_POTENTIAL_VICTIM,
        "basis": V.DISCLOSURE_BASIS_VICTIM_WRITTEN_RELEASE,
        "consent": consent(end),
    }
    sending = world.referral(**(values | fields))
    await world.publishing.publish(world.caller(HOTLINE), sending)
    return parse_statement(sending.jws).message.id


async def download(world: World, referral_id: str) -> int:
    """Downloads content; returns how many parts came, its handover included."""
    parts = world.delivering.content(world.caller(STATE_POLICE), referral_id)
    return len([part async for part in parts])


def stream(world: World) -> AsyncGenerator[Any, None]:
    """Opens a stream, whose first events are offers here."""
    return world.delivering.receive(world.caller(STATE_POLICE), 16, lambda: None)


async def erasures(world: World, referral_id: str) -> list[int]:
    """Sweeps; returns the reasons for which the content was erased."""
    await world.erasing.sweep()
    chain = await world.store.chain(referral_id)
    return [
        parse_statement(entry.jws).message.erasure.reason
        for entry in chain
        if entry.kind == "erasure"
    ]


@pytest.mark.parametrize(
    ("end", "last_ms"),
    [
        (to_timestamp(END_MS), END_MS - 1),
        (Timestamp(seconds=END_MS // 1000, nanos=1), END_MS),
    ],
    ids=["whole millisecond", "a nanosecond later"],
)
async def test_content_is_downloaded_until_the_consent_ends_and_not_one_ms_longer(
    world: World, end: Timestamp, last_ms: int
) -> None:
    referral_id = await publish(world, end)
    world.clock.ms = last_ms
    assert await download(world, referral_id) == 2
    world.clock.ms = last_ms + 1
    with pytest.raises(StateError) as caught:
        await download(world, referral_id)
    assert caught.value.reason == Reason.ERROR_REASON_CONTENT_ERASED


async def test_a_download_stops_when_the_consent_ends(world: World) -> None:
    content = bytes(3 * world.limits.chunk)
    referral_id = await publish(world, to_timestamp(END_MS), content=content)
    parts = world.delivering.content(world.caller(STATE_POLICE), referral_id)
    assert isinstance(await anext(parts), bytes)
    world.clock.ms = END_MS
    with pytest.raises(StateError):
        await anext(parts)


async def test_a_stream_offers_it_until_then_and_the_next_one_after_that(
    world: World,
) -> None:
    ending = await publish(world, to_timestamp(END_MS), urgency=MORE_URGENT)
    lasting = await publish(world, None)
    for now_ms, offered in ((END_MS - 1, ending), (END_MS, lasting)):
        world.clock.ms = now_ms
        async with aclosing(stream(world)) as events:
            assert (await anext(events)).referral_id == offered


async def test_what_a_slow_reader_had_not_taken_does_not_go_out(world: World) -> None:
    """All three are leased together; the consent ends while the first goes out."""
    first = await publish(world, None, urgency=MORE_URGENT)
    await publish(world, to_timestamp(START_MS + 1000))
    third = await publish(world, None)
    async with aclosing(stream(world)) as events:
        assert (await anext(events)).referral_id == first
        world.clock.advance(1)
        assert (await anext(events)).referral_id == third


async def test_its_content_is_erased_since_the_consent_ended(world: World) -> None:
    referral_id = await publish(world, to_timestamp(END_MS))
    assert await erasures(world, referral_id) == []
    world.clock.ms = END_MS
    assert await erasures(world, referral_id) == [V.ERASURE_REASON_CONSENT_EXPIRED]


async def test_retention_that_ends_first_is_the_reason(world: World) -> None:
    end, retained = to_timestamp(END_MS), to_timestamp(END_MS - 1000)
    referral_id = await publish(world, end, expire_time=retained)
    world.clock.ms = END_MS - 1000
    assert await erasures(world, referral_id) == [V.ERASURE_REASON_RETENTION_ENDED]


async def test_what_does_not_rest_on_the_consent_stays_until_its_retention_ends(
    world: World,
) -> None:
    referral_id = await publish(
        world,
        to_timestamp(END_MS),
        urgency=V.URGENCY_IMMINENT_DANGER,
        basis=V.DISCLOSURE_BASIS_IMMINENT_DANGER,
    )
    world.clock.ms = END_MS
    assert await erasures(world, referral_id) == []
    assert await download(world, referral_id) == 2
    world.clock.ms = START_MS + YEAR_MS
    assert await erasures(world, referral_id) == [V.ERASURE_REASON_RETENTION_ENDED]


async def test_consent_that_has_ended_already_refuses(world: World) -> None:
    with pytest.raises(DisclosureForbiddenError):
        await publish(world, to_timestamp(START_MS))
