"""What others say about when they saw a checkpoint."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onward_server.storage.contract import (
    CosignatureRow,
    Store,
    TimestampRow,
    VouchedRow,
)
from tests.storage.conftest import Backend, opened
from tests.storage.scribe import Scribe

OHIO, TEXAS, OURS = "ohio.example/w1+00c0ffee", "texas.example+0badf00d", "log+12345678"
WITNESSES = (OHIO, TEXAS)


def cosigned(size: int, witness: str, time_ms: int = 1_000) -> CosignatureRow:
    line = f"\N{EM DASH} {witness} c2lnbmF0dXJl\n"
    return CosignatureRow(size, witness, line, time_ms)


def stamped(size: int, authority: str, time_ms: int = 1_000) -> TimestampRow:
    return TimestampRow(size, authority, b"0\x82token\x00" + bytes([size]), time_ms)


async def keep(store: Store, *rows: CosignatureRow | TimestampRow) -> None:
    async with store.writing() as writer:
        await writer.put_cosignatures(
            [row for row in rows if isinstance(row, CosignatureRow)]
        )
        await writer.put_timestamps(
            [row for row in rows if isinstance(row, TimestampRow)]
        )


async def test_nothing_is_witnessed(store: Store) -> None:
    await keep(store)
    assert await store.cosignatures([1, 2]) == []
    assert await store.cosigned_from(0, WITNESSES, 1, 10) == []
    assert await store.cosigned_up_to(100, WITNESSES, 1, 10) == []
    assert await store.first_timestamps(0) == []
    assert await store.last_timestamp("tsa") is None


async def test_cosignatures_outlive_the_process(backend: Backend) -> None:
    rows = [cosigned(4, OHIO), cosigned(4, TEXAS), cosigned(7, OHIO)]
    async with opened(backend) as store:
        await keep(store, *reversed(rows))
    async with opened(backend) as store:
        assert await store.cosignatures([7, 4, 4, 5]) == rows


@pytest.mark.parametrize("times", [(1_000, 2_000), (2_000, 1_000), (1_000, 1_000)])
async def test_the_earliest_cosignature_of_a_key_stays(
    store: Store, times: tuple[int, int]
) -> None:
    for time_ms in times:
        await keep(store, replace(cosigned(4, OHIO, time_ms), line=f"{time_ms}\n"))
    assert await store.cosignatures([4]) == [CosignatureRow(4, OHIO, "1000\n", 1_000)]


async def test_two_cosignatures_of_a_key_in_one_write(store: Store) -> None:
    await keep(store, cosigned(4, OHIO, 2_000), cosigned(4, OHIO, 1_000))
    (row,) = await store.cosignatures([4])
    assert row.time_ms == 1_000


async def test_sizes_that_enough_witnesses_cosigned(store: Store) -> None:
    await keep(
        store,
        *(cosigned(size, OHIO) for size in (2, 4, 7, 9)),
        *(cosigned(size, TEXAS) for size in (4, 9)),
        *(cosigned(size, OURS) for size in (2, 4, 7, 9)),
    )
    assert await store.cosigned_from(0, WITNESSES, 2, 10) == [4, 9]
    assert await store.cosigned_from(4, WITNESSES, 2, 1) == [4]
    assert await store.cosigned_from(5, WITNESSES, 1, 10) == [7, 9]
    assert await store.cosigned_from(10, WITNESSES, 1, 10) == []
    assert await store.cosigned_up_to(9, WITNESSES, 2, 10) == [9, 4]
    assert await store.cosigned_up_to(8, WITNESSES, 1, 2) == [7, 4]
    assert await store.cosigned_from(0, [TEXAS], 1, 10) == [4, 9]
    assert await store.cosigned_from(0, [], 1, 10) == []


async def test_first_token_of_each_authority(store: Store) -> None:
    await keep(
        store,
        *(stamped(size, "a") for size in (2, 7)),
        *(stamped(size, "b") for size in (4, 9)),
    )
    assert await store.first_timestamps(3) == [stamped(7, "a"), stamped(4, "b")]
    assert await store.first_timestamps(8) == [stamped(9, "b")]
    assert await store.first_timestamps(10) == []
    assert await store.last_timestamp("a") == stamped(7, "a")


async def test_the_earliest_token_of_an_authority_stays(store: Store) -> None:
    first = replace(stamped(4, "a", 1_000), token=b"first")
    await keep(store, stamped(4, "a", 2_000))
    await keep(store, first)
    await keep(store, stamped(4, "a", 3_000))
    assert await store.first_timestamps(4) == [first]


async def test_what_is_vouched_for_is_listed_by_size(store: Store) -> None:
    """Only checkpoints that the log signed, and that anybody says a word about."""
    log = Scribe()
    for size in range(1, 6):
        log.say("key_change")
        await log.commit(store)
        assert log.size == size
    tokens = [stamped(3, "a"), stamped(4, "a"), stamped(4, "b")]
    await keep(store, cosigned(2, OHIO), cosigned(4, OHIO), cosigned(4, TEXAS), *tokens)
    listed = [
        (row.size, row.cosignatures, row.timestamps)
        for row in await store.vouched(0, 10)
    ]
    assert listed == [(2, 1, 0), (3, 0, 1), (4, 2, 2)]
    (row,) = await store.vouched(3, 1)
    checkpoint = await store.checkpoint(3)
    assert checkpoint
    assert row == VouchedRow(3, checkpoint.note, checkpoint.signed_ms, 0, 1)
    assert await store.vouched(5, 10) == []
    assert await store.timestamps([4, 3, 9]) == tokens
