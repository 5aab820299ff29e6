"""Links between two referrals: a pointer that both sides hear of."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from onward.core.errors import OnwardError, Reason
from onward.core.statements import SignedStatement, parse_statement, statement_digest
from onward.core.verify import verify_bundle
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.storage.contract import Topic
from tests.support.world import (
    HOTLINE,
    NEVADA,
    STATE_POLICE,
    TRUST_DOMAIN,
    Party,
    World,
)

V = vocabulary_pb2
STATE_HOTLINE = f"spiffe://{TRUST_DOMAIN}/agency/state-hotline"
URGENT: dict[str, Any] = {
    "urgency": V.URGENCY_IMMINENT_DANGER,
    "basis": V.DISCLOSURE_BASIS_IMMINENT_DANGER,
}


@dataclass(frozen=True)
class Published:
    """A referral that was accepted."""

    id: str
    digest: bytes


async def publish(world: World, publisher: str, *recipients: str) -> Published:
    sending = world.referral(publisher, recipients, **URGENT)
    await world.publishing.publish(world.caller(publisher), sending)
    return Published(
        parse_statement(sending.jws).message.id, statement_digest(sending.jws)
    )


@pytest.fixture
async def twice(world: World) -> tuple[World, Published, Published]:
    """The same tip through two hotlines: to two agencies, and to one of them."""
    await world.join(Party(STATE_HOTLINE, V.MEMBER_KIND_HOTLINE, ("US-OH",)))
    first = await publish(world, HOTLINE, STATE_POLICE, NEVADA)
    second = await publish(world, STATE_HOTLINE, STATE_POLICE)
    return world, first, second


def link(
    world: World, issuer: str, of: Published, to: Published, **fields: Any
) -> SignedStatement:
    """Signs a link in the chain of one referral to the other."""
    values: dict[str, Any] = {"same_as": to.digest, "same_as_referral_id": to.id}
    return world.sign(
        issuer,
        referral_id=of.id,
        previous=of.digest,
        link=statement_pb2.Link(**(values | fields)),
    )


async def submit(world: World, signed: SignedStatement) -> int:
    """Submits a statement; returns its log index."""
    caller = world.caller(signed.message.issuer)
    done = await world.submission.submit(caller, signed.jws, None)
    return done.statement.log_index


async def hears(world: World, name: str, index: int) -> bool:
    return index in await world.store.feed(name, Topic.CUSTODY, index - 1, 1)


Twice = tuple[World, Published, Published]


async def test_both_publishers_hear_of_it_and_nothing_moves(twice: Twice) -> None:
    world, first, second = twice
    before = await world.store.deliveries([first.id, second.id])
    index = await submit(world, link(world, STATE_POLICE, first, second))
    for name in (HOTLINE, STATE_HOTLINE):
        assert await hears(world, name, index)
    assert await world.store.deliveries([first.id, second.id]) == before
    chain = await world.store.chain(first.id)
    assert [row.kind for row in chain] == ["referral", "acceptance", "link"]
    assert chain[-1].places == chain[0].places
    assert len(await world.store.chain(second.id)) == 2


async def test_a_recipient_does_not_see_what_another_one_links(twice: Twice) -> None:
    world, first, second = twice
    await submit(world, link(world, STATE_POLICE, first, second))
    for name, seen in ((STATE_POLICE, 1), (HOTLINE, 1), (NEVADA, 0)):
        record = await world.records.get(world.caller(name), first.id)
        kinds = [parse_statement(one.jws).body_kind for one in record.statements]
        assert kinds.count("link") == seen


async def test_a_publisher_links_its_own_referrals(twice: Twice) -> None:
    world, first, _ = twice
    third = await publish(world, HOTLINE, NEVADA)
    index = await submit(world, link(world, HOTLINE, third, first))
    assert await hears(world, HOTLINE, index)


async def test_a_bundle_with_a_link_is_proven(twice: Twice) -> None:
    world, first, second = twice
    await submit(world, link(world, STATE_POLICE, first, second))
    trust = f"log {world.ledger._signer.vkey.format()}\nquorum none\n"
    for name in (HOTLINE, STATE_POLICE):
        data = await world.records.bundle(world.caller(name), first.id)
        assert verify_bundle(data, trust).exit_code == 0


async def test_50_concurrent_retries_log_one_link(twice: Twice) -> None:
    world, first, second = twice
    signed, size = link(world, STATE_POLICE, first, second), world.ledger.head().size
    done = await asyncio.gather(*(submit(world, signed) for _ in range(50)))
    assert len(set(done)) == 1
    assert world.ledger.head().size == size + 1


async def test_only_a_party_of_both_links_them(twice: Twice) -> None:
    world, first, second = twice
    unknown = Reason.ERROR_REASON_REFERRAL_UNKNOWN
    foreign = await publish(world, STATE_HOTLINE, NEVADA)
    cases = [
        (link(world, HOTLINE, first, second), unknown),
        (link(world, HOTLINE, second, first), unknown),
        (link(world, NEVADA, first, second), unknown),
        (link(world, STATE_POLICE, first, foreign), unknown),
        (link(world, STATE_POLICE, first, second, same_as=first.digest), unknown),
        (
            link(world, STATE_POLICE, Published(first.id, second.digest), second),
            Reason.ERROR_REASON_PREVIOUS_MISMATCH,
        ),
        (
            link(world, STATE_POLICE, first, first),
            Reason.ERROR_REASON_MALFORMED,
        ),
    ]
    size = world.ledger.head().size
    for signed, reason in cases:
        with pytest.raises(OnwardError) as caught:
            await submit(world, signed)
        assert caught.value.reason == reason
    assert world.ledger.head().size == size


async def test_a_link_of_an_intake_is_not_submitted_here(twice: Twice) -> None:
    world, first, _ = twice
    intake = await world.register()
    signed = world.sign(
        HOTLINE,
        previous=intake.digest,
        link=statement_pb2.Link(
            intake_number=1, same_as=first.digest, same_as_referral_id=first.id
        ),
    )
    with pytest.raises(OnwardError) as caught:
        await submit(world, signed)
    assert caught.value.reason == Reason.ERROR_REASON_MALFORMED
    assert "DecideIntake" in caught.value.message
