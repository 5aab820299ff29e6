"""What a log serves is checked from the signed root down: one wrong bit is noticed."""

from __future__ import annotations

import pytest

from onward.core.checkpoints import Checkpoint
from onward.core.errors import VerificationError
from onward.core.mirroring import (
    check_entries,
    check_tile,
    continues,
    grown,
    levels,
    linking_tiles,
    prove_tiles,
)
from onward.core.tiles import TileId, format_entries, tile_width, tiles
from tests.support.served_log import ServedLog, digests

SIZES = (1, 2, 255, 256, 257, 700, 65_535, 65_536, 65_537, 70_000)


@pytest.fixture(scope="module")
def log() -> ServedLog:
    served = ServedLog()
    served.grow(66_000)
    return served


def at(log: ServedLog, size: int) -> Checkpoint:
    tree = ServedLog(log.entries[:size]).tree
    return Checkpoint(log.origin, size, tree.root)


def served(log: ServedLog, wanted: frozenset[TileId]) -> dict[TileId, bytes]:
    found = log.tree.changed_tiles(0)
    return {tile: found[tile].data for tile in wanted}


@pytest.mark.parametrize("size", [0, *SIZES])
@pytest.mark.parametrize("since", [0, *SIZES])
def test_the_new_tiles_of_all_levels_are_those_of_a_growing_log(
    size: int, since: int
) -> None:
    by_level = [
        (level, index)
        for level in range(levels(size))
        for index in grown(level, size, since)
    ]
    expected = (
        [tile for tile in tiles(size, since) if tile_width(tile, size)]
        if size > since
        else []
    )
    assert by_level == expected


@pytest.mark.parametrize("older", [0, 1, 255, 256, 300, 65_536, 65_999, 66_000])
def test_an_older_size_is_a_beginning(log: ServedLog, older: int) -> None:
    data = served(log, linking_tiles(66_000, [older]))
    assert len(data) <= 6
    proven = prove_tiles(at(log, 66_000), data)
    assert continues(proven, at(log, older))
    if older:
        assert not continues(proven, Checkpoint(log.origin, older, bytes(32)))


def test_each_wrong_tile_is_noticed(log: ServedLog) -> None:
    head = at(log, 66_000)
    data = served(log, linking_tiles(66_000, [300]))
    for tile, hashes in data.items():
        for wrong in (
            bytes([hashes[0] ^ 1]) + hashes[1:],
            hashes[:-1] + bytes([hashes[-1] ^ 1]),
            hashes[:-32],
            hashes + hashes[:32],
            b"",
        ):
            with pytest.raises(VerificationError):
                prove_tiles(head, data | {tile: wrong})


def test_a_full_tile_belongs_to_one_place(log: ServedLog) -> None:
    found = log.tree.changed_tiles(0)
    above = found[1, 0].data
    check_tile((0, 3), found[0, 3].data, above)
    for tile, data in (((0, 4), found[0, 3].data), ((0, 3), found[0, 3].data[:-32])):
        with pytest.raises(VerificationError) as caught:
            check_tile(tile, data, above)
        assert caught.value.metadata["path"] == f"tile/0/00{tile[1]}"


def test_entries_are_those_of_the_tile(log: ServedLog) -> None:
    entries, hashes = log.entries[:256], log.tree.changed_tiles(0)[0, 0].data
    data = format_entries(entries)
    check_entries(0, data, hashes)
    for wrong in (
        format_entries(entries[:-1]),
        format_entries([*entries, entries[0]]),
        format_entries([entries[1], entries[0], *entries[2:]]),
        data[:-1],
        b"",
    ):
        with pytest.raises(VerificationError, match="tile/entries/000"):
            check_entries(0, wrong, hashes)


def test_an_entry_is_a_digest() -> None:
    odd = ServedLog([*digests(3), b"not a digest"])
    with pytest.raises(VerificationError, match="32 bytes"):
        check_entries(
            0, format_entries(odd.entries), odd.tree.changed_tiles(0)[0, 0].data
        )
