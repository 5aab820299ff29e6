"""What is asked of a store, in tests of whether it gets slower as the store grows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from onward_server.storage.contract import Needs, Store, Topic
from tests.storage.scribe import HOTLINE, OHIO, PASSED_ON, TEXAS, Scribe

END = 10**9

RARE = "spiffe://national.example/agency/rare"

READS: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "head": lambda store: store.head(),
    "checkpoint": lambda store: store.checkpoint(2),
    "checkpoints_covering": lambda store: store.checkpoints_covering([0, 3]),
    "tiles": lambda store: store.tiles([(0, 0)]),
    "statements": lambda store: store.statements([0, 1, 2, 3]),
    "find_statement": lambda store: store.find_statement(b"\0" * 32),
    "digests": lambda store: store.digests(4, 8),
    "chain": lambda store: store.chain("r2"),
    "history": lambda store: store.history("directory_change", RARE),
    "referral": lambda store: store.referral("r2"),
    "children": lambda store: store.children("r2"),
    "deliveries": lambda store: store.deliveries(["r1", "r2"]),
    "published": lambda store: store.published(HOTLINE, END, 5),
    "published, rarely": lambda store: store.published(RARE, END, 5),
    "received": lambda store: store.received(OHIO, END, 5),
    "received, rarely": lambda store: store.received(RARE, END, 5),
    "in_jurisdictions": lambda store: store.in_jurisdictions(["US", "US-OH"], 0, 5),
    "in_jurisdictions, rare": lambda store: store.in_jurisdictions(["CA"], -1, 5),
    "in_jurisdictions, all": lambda store: store.in_jurisdictions(["*"], 0, 5),
    "retractions_pending": lambda store: store.retractions_pending(OHIO),
    "feed": lambda store: store.feed(HOTLINE, Topic.CUSTODY, 0, 5),
    "feed, rarely": lambda store: store.feed(RARE, Topic.CUSTODY, -1, 5),
    "feed_before": lambda store: store.feed_before(HOTLINE, Topic.CUSTODY, END, 5),
    "intake": lambda store: store.intake(HOTLINE, 2),
    "last_intake": lambda store: store.last_intake(HOTLINE),
    "last_in_jurisdiction": lambda store: store.last_in_jurisdiction(RARE, "CA-ON"),
    "intakes": lambda store: store.intakes(HOTLINE, 0, 1, 5),
    "intakes, of a rare state": lambda store: store.intakes(HOTLINE, PASSED_ON, 0, 5),
    "intake_statements": lambda store: store.intake_statements(HOTLINE, 2),
    "due": lambda store: store.due(5, 5),
    "due, all of it": lambda store: store.due(END, 5),
    "next_alarm": lambda store: store.next_alarm(),
    "policies": lambda store: store.policies(),
    "policy": lambda store: store.policy(b"\0" * 32),
    "export": lambda store: store.export(["US-OH"], 4, 40, 5),
    "export, rarely": lambda store: store.export(["CA"], 4, 40, 5),
    "export_digests": lambda store: store.export_digests(["CA"], 4, 40),
    "content": lambda store: store.content(b"\0" * 32),
    "expired": lambda store: store.expired(END, 5),
    "expired, rarely": lambda store: store.expired(10, 5),
    "members": lambda store: store.members(),
    "token": lambda store: store.token("t1"),
    "member_tokens": lambda store: store.member_tokens(OHIO),
    "state_counts": lambda store: store.state_counts(),
    "oldest_waiting": lambda store: store.oldest_waiting(),
}


async def claim(store: Store) -> None:
    async with store.writing() as writer:
        await writer.claim(OHIO, "a", 5, 100, 200)
        await writer.claim(RARE, "b", 5, 100, 200)
        await writer.release("a")
        await writer.release_lost()


async def load(store: Store) -> None:
    async with store.writing() as writer:
        await writer.load(
            Needs(
                referrals={"r1", "r2"},
                digests={b"\0" * 32},
                tokens={"t1"},
                contents={b"\0" * 32, b"\1" * 32},
                intakes={(HOTLINE, 1), (RARE, 1)},
                intakes_of={"r1"},
                books={(HOTLINE, "US-OH"), (RARE, "CA-ON")},
            )
        )


async def drop(store: Store) -> None:
    async with store.writing() as writer:
        await writer.drop_uploads(50)


WRITES = {"claim": claim, "load": load, "drop": drop}


async def grow(store: Store, scribe: Scribe, size: int) -> None:
    """Publishes referrals, and registers as many intakes; some are rare."""
    if not scribe.referrals:
        scribe.say("directory_change", subject=RARE)
        scribe.publish("r0", RARE, publisher=RARE, jurisdiction="CA-ON", expire_ms=5)
        scribe.batch.feed.append((RARE, Topic.CUSTODY, 0))
        scribe.change("r0", RARE, alarm_ms=5)
        scribe.register(1, RARE, jurisdiction="CA-ON", alarm_ms=5)
        scribe.register(1, state=PASSED_ON)
    while len(scribe.referrals) < size:
        for _ in range(100):
            number = len(scribe.referrals)
            scribe.publish(f"r{number}", OHIO, TEXAS, urgency=number % 5 + 1)
            scribe.change(f"r{number}", OHIO, alarm_ms=END - number)
            scribe.register(number + 1, alarm_ms=END - number)
            scribe.batch.feed.append((HOTLINE, Topic.CUSTODY, 2 * number))
        await scribe.commit(store)
