"""Reading the log."""

from __future__ import annotations

import pytest

from onward_server.storage.contract import Needs, Store
from tests.storage.scribe import OHIO, TEXAS, Scribe, digest_of


@pytest.fixture
async def log(store: Store, scribe: Scribe) -> Scribe:
    """Three commits: sizes 2, 4 and 7."""
    scribe.publish("r1", OHIO)
    await scribe.commit(store)
    scribe.publish("r2", OHIO)
    await scribe.commit(store)
    scribe.change("r1", OHIO)
    scribe.change("r2", OHIO)
    scribe.say("directory_change", subject=OHIO)
    await scribe.commit(store)
    return scribe


async def test_empty_log(store: Store) -> None:
    assert await store.head() is None
    assert await store.checkpoint(0) is None
    assert await store.checkpoints_covering([0]) == {}
    assert await store.tiles([(0, 0)]) == {}
    assert await store.digests(0, 10) == []
    assert await store.find_statement(digest_of("nothing")) is None
    assert await store.chain("r1") == []


async def test_head_is_the_largest_checkpoint(store: Store, log: Scribe) -> None:
    head = await store.head()
    assert head is not None
    assert (head.size, head.root) == (7, digest_of("root", 7))
    assert head.note == "origin\n7\n"
    assert head.signed_ms == 5_007


async def test_checkpoint_of_exactly_that_size(store: Store, log: Scribe) -> None:
    checkpoint = await store.checkpoint(4)
    assert checkpoint is not None
    assert checkpoint.root == digest_of("root", 4)
    assert await store.checkpoint(3) is None


async def test_first_checkpoint_that_covers_an_entry(store: Store, log: Scribe) -> None:
    found = await store.checkpoints_covering([0, 1, 2, 3, 4, 6, 7, 100])
    sizes = {index: row.size for index, row in found.items()}
    assert sizes == {0: 2, 1: 2, 2: 4, 3: 4, 4: 7, 6: 7}


async def test_statements_come_in_the_order_asked(store: Store, log: Scribe) -> None:
    rows = await store.statements([5, 0, 99, 5])
    assert rows == [log.statements[5], log.statements[0], log.statements[5]]


async def test_statement_by_digest(store: Store, log: Scribe) -> None:
    assert await store.find_statement(log.statements[6].digest) == log.statements[6]


@pytest.mark.parametrize(
    ("first", "limit", "expected"),
    [(0, 3, [0, 1, 2]), (5, 10, [5, 6]), (7, 1, []), (0, 0, [])],
)
async def test_digests_of_a_range(
    store: Store, log: Scribe, first: int, limit: int, expected: list[int]
) -> None:
    found = await store.digests(first, limit)
    assert found == [log.statements[index].digest for index in expected]


async def test_chain_is_what_is_about_one_referral(store: Store, log: Scribe) -> None:
    assert [row.log_index for row in await store.chain("r1")] == [0, 1, 4]
    assert await store.chain("") == []


async def test_history_is_one_kind_about_one_subject(store: Store, log: Scribe) -> None:
    log.say("directory_change", subject=TEXAS)
    log.say("directory_change", subject=OHIO)
    await log.commit(store)
    found = await store.history("directory_change", OHIO)
    assert found == [log.statements[6], log.statements[8]]


async def test_tiles_grow(store: Store, log: Scribe) -> None:
    hashes = b"".join(row.digest for row in log.statements)
    assert await store.tiles([(0, 0), (0, 1), (1, 0)]) == {(0, 0): hashes}
    while len(log.statements) < 300:
        log.say("taking")
    await log.commit(store)
    found = await store.tiles([(0, 0), (0, 1)])
    assert {key: len(data) for key, data in found.items()} == {
        (0, 0): 8192,
        (0, 1): 44 * 32,
    }


async def test_loading_reads_what_planning_needs(store: Store, log: Scribe) -> None:
    wanted = {log.statements[0].digest, log.statements[5].digest, digest_of("none")}
    async with store.writing() as writer:
        loaded = await writer.load(Needs(referrals={"r2", "r9"}, digests=wanted))
    assert loaded.head == await store.head()
    assert set(loaded.referrals) == {"r2"}
    assert loaded.deliveries == {("r2", OHIO): log.deliveries["r2", OHIO]}
    assert {row.log_index: row.kind for row in loaded.statements.values()} == {
        0: "referral",
        5: "taking",
    }
    assert loaded.statements[log.statements[0].digest].referral_id == "r1"


async def test_many_needs_at_once(store: Store, scribe: Scribe) -> None:
    for number in range(600):
        scribe.publish(f"r{number}", OHIO, TEXAS)
    batch = await scribe.commit(store)
    needs = Needs(
        referrals=set(batch.referrals),
        digests={row.digest for row in batch.statements},
        contents={digest for digest, _ in batch.contents},
    )
    async with store.writing() as writer:
        loaded = await writer.load(needs)
    assert loaded.referrals == batch.referrals
    assert loaded.deliveries == batch.deliveries
    assert len(loaded.statements) == 1200
    assert len(loaded.contents) == 600
