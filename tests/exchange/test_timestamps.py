"""An exchange whose log a real authority stamps, over HTTP."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from onward.core.bundle import Bundle
from onward.core.notes import parse_note
from onward.core.timestamps import MAX_TOKEN_SIZE, Authorities, Token
from onward.core.timing import Source
from onward.core.verify import verify_bundle
from onward_server.exchange.timestamps import Authority, Means, Timestamps
from onward_server.timestamp_client import TimestampClient
from tests.exchange.test_bundles import trust
from tests.exchange.test_submission import acknowledged
from tests.support.tsa import OTHER_POLICY, TimestampAuthority
from tests.support.world import HOTLINE, SettableClock, World, open_world, populate

NAME = "public"


@pytest.fixture
def authority(tmp_path: Path) -> TimestampAuthority:
    return TimestampAuthority(tmp_path / "tsa")


@pytest.fixture
def url(authority: TimestampAuthority) -> Iterator[str]:
    with authority.serving() as address:
        yield address


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """An exchange whose clock is right: the authority has the machine's."""
    async with open_world(tmp_path, right_clock()) as opened:
        await populate(opened)
        yield opened


@pytest.fixture
async def client() -> AsyncIterator[TimestampClient]:
    made = TimestampClient(5)
    yield made
    await made.close()


def right_clock() -> SettableClock:
    return SettableClock(time.time_ns() // 1_000_000)


def stamping(
    world: World, client: TimestampClient, *authorities: Authority
) -> Timestamps:
    means = Means(client, world.clock, os.urandom)
    return Timestamps(world.ledger, world.store, authorities, means)


def asked(authority: TimestampAuthority, url: str, policy: str = "") -> Authority:
    return Authority(NAME, url, Authorities.parse(authority.root), policy)


async def kept(world: World) -> Token | None:
    row = await world.store.last_timestamp(NAME)
    return Token.parse(row.token) if row else None


async def test_a_bundle_brings_the_tokens_that_bound_its_statements(
    world: World, client: TimestampClient, authority: TimestampAuthority, url: str
) -> None:
    chain = await acknowledged(world)
    await stamping(world, client, asked(authority, url)).stamp(NAME)
    await world.erasing.by_publisher(world.caller(HOTLINE), chain.referral_id)
    data = await world.records.bundle(world.caller(HOTLINE), chain.referral_id)
    (stamped,) = Bundle.parse(data).vouchers.timestamps
    assert authority.accepts(stamped.token, parse_note(stamped.checkpoint).text)

    report = verify_bundle(data, trust(world), authority.root)
    assert report.exit_code == 0, report.steps
    *before, after = report.statements
    for item in before:
        assert (item.interval.source, item.interval.by) == (
            Source.TIMESTAMPS,
            "Public Time",
        )
    assert after.kind == "erasure"
    assert after.interval.source is Source.CLAIMS


async def test_each_statement_has_its_first_token(
    world: World, client: TimestampClient, authority: TimestampAuthority, url: str
) -> None:
    timestamps = stamping(world, client, asked(authority, url))
    await timestamps.stamp(NAME)
    before = world.ledger.head().size
    chain = await acknowledged(world)
    await timestamps.stamp(NAME)
    await world.erasing.by_publisher(world.caller(HOTLINE), chain.referral_id)
    await timestamps.stamp(NAME)
    data = await world.records.bundle(world.caller(HOTLINE), chain.referral_id)
    notes = [item.checkpoint for item in Bundle.parse(data).vouchers.timestamps]
    sizes = [int(note.split("\n")[1]) for note in notes]
    assert len(sizes) == 2
    assert sizes[0] > before
    assert sizes[1] == world.ledger.head().size
    assert verify_bundle(data, trust(world), authority.root).exit_code == 0


async def test_nobody_is_asked_while_nothing_is_new(
    world: World, client: TimestampClient, authority: TimestampAuthority, url: str
) -> None:
    for timestamps in (stamping(world, client, asked(authority, url)) for _ in "ab"):
        # The second one is as after a restart.
        await timestamps.stamp(NAME)
        await timestamps.stamp(NAME)
    assert len(authority.requests) == 1


async def test_several_authorities_are_asked_each_for_itself(
    world: World,
    client: TimestampClient,
    authority: TimestampAuthority,
    url: str,
    tmp_path: Path,
) -> None:
    other = TimestampAuthority(tmp_path / "other", "Other Time")
    chain = await acknowledged(world)
    with other.serving() as second:
        timestamps = stamping(
            world,
            client,
            asked(authority, url),
            Authority("other", second, Authorities.parse(other.root)),
        )
        for name in timestamps.names:
            await timestamps.stamp(name)
    data = await world.records.bundle(world.caller(HOTLINE), chain.referral_id)
    assert len(Bundle.parse(data).vouchers.timestamps) == 2
    for trusted in (authority.root, other.root, authority.root + other.root):
        report = verify_bundle(data, trust(world), trusted)
        assert report.exit_code == 0
        assert report.statements[0].interval.source is Source.TIMESTAMPS


async def test_a_policy_is_asked_for(
    world: World, client: TimestampClient, authority: TimestampAuthority, url: str
) -> None:
    await stamping(world, client, asked(authority, url, OTHER_POLICY)).stamp(NAME)
    token = await kept(world)
    assert token
    text = parse_note(world.ledger.head().note).text
    token.verify(text, Authorities.parse(authority.root), policy=OTHER_POLICY)


async def test_an_answer_does_not_grow_on_arrival(client: TimestampClient) -> None:
    packed = gzip.compress(bytes(MAX_TOKEN_SIZE // 2))

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"accept-encoding: identity" in head.lower()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\n"
            b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
        )
        writer.write(packed)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    assert await client.post(url, b"query") == packed
    server.close()
    await server.wait_closed()


@dataclass
class Replayed:
    """Answers everybody with what it answered first."""

    client: TimestampClient
    first: bytes | None = None

    async def post(self, url: str, query: bytes) -> bytes | None:
        self.first = self.first or await self.client.post(url, query)
        return self.first


async def test_an_old_answer_is_not_taken_for_a_new_one(
    world: World, client: TimestampClient, authority: TimestampAuthority, url: str
) -> None:
    replayed = Replayed(client)
    means = Means(replayed, world.clock, os.urandom)
    timestamps = Timestamps(world.ledger, world.store, [asked(authority, url)], means)
    await timestamps.stamp(NAME)
    first = await world.store.last_timestamp(NAME)
    await acknowledged(world)
    await timestamps.stamp(NAME)
    assert await world.store.last_timestamp(NAME) == first


@pytest.mark.parametrize(
    "answer", [b"", b"\x30\x05\x30\x03\x02\x01\x02", bytes(70_000)]
)
async def test_what_is_no_token_is_not_kept_and_asked_for_again(
    world: World,
    client: TimestampClient,
    authority: TimestampAuthority,
    url: str,
    answer: bytes,
) -> None:
    timestamps = stamping(world, client, asked(authority, url))
    authority.broken = answer
    await timestamps.stamp(NAME)
    assert await kept(world) is None
    world.clock.advance(61)
    assert timestamps.behind() == {NAME: pytest.approx(61)}
    authority.broken = None
    await timestamps.stamp(NAME)
    assert await kept(world)
    assert timestamps.behind() == {NAME: 0}


async def test_a_strangers_token_is_not_kept(
    world: World, client: TimestampClient, url: str, tmp_path: Path
) -> None:
    stranger = TimestampAuthority(tmp_path / "stranger", "Somebody Else")
    await stamping(world, client, asked(stranger, url)).stamp(NAME)
    assert await kept(world) is None


async def test_an_authority_that_is_not_there_harms_nobody(
    world: World, client: TimestampClient, authority: TimestampAuthority
) -> None:
    with authority.serving() as gone:
        pass
    timestamps = stamping(world, client, asked(authority, gone))
    await timestamps.stamp(NAME)
    assert await kept(world) is None
    await acknowledged(world)


# --- clocks that lie


@pytest.mark.parametrize(
    ("ahead", "exit_code"), [(3 * 3600, 1), (-3 * 3600, 0), (60, 0)]
)
async def test_an_exchange_that_is_ahead_cannot_hide_it(
    tmp_path: Path,
    client: TimestampClient,
    authority: TimestampAuthority,
    url: str,
    ahead: int,
    exit_code: int,
) -> None:
    clock = right_clock()
    clock.advance(ahead)
    async with open_world(tmp_path, clock) as world:
        await populate(world)
        chain = await acknowledged(world)
        await stamping(world, client, asked(authority, url)).stamp(NAME)
        data = await world.records.bundle(world.caller(HOTLINE), chain.referral_id)
        report = verify_bundle(data, trust(world), authority.root)
    assert report.exit_code == exit_code
    if exit_code:
        assert {step.number for step in report.steps if step.reason} == {9}
        assert report.reason == "TIME_IMPLAUSIBLE"


async def test_an_exchange_that_is_behind_meets_no_deadline_by_that(
    tmp_path: Path, client: TimestampClient, authority: TimestampAuthority, url: str
) -> None:
    clock = right_clock()
    clock.advance(-30 * 86400)
    async with open_world(tmp_path, clock) as world:
        await populate(world)
        chain = await acknowledged(world)
        await stamping(world, client, asked(authority, url)).stamp(NAME)
        data = await world.records.bundle(world.caller(HOTLINE), chain.referral_id)
        claimed, proven = (
            {
                deadline.judgement
                for delivery in verify_bundle(data, trust(world), trusted).deliveries
                for deadline in delivery.deadlines
                if deadline.done
            }
            for trusted in ("", authority.root)
        )
    assert claimed == {"met"}
    assert proven == {"undetermined"}
