"""Checking what a log serves, from the signed root down (C2SP tlog-tiles).

Whoever copies a log has its signed checkpoint first, and believes nothing else:

1. The tiles of the *edge* fold into the signed root: :func:`prove_tiles`.
2. Each full tile has the root that stands in the tile above it: :func:`prove_tiles` for
   the few that older checkpoints need, :func:`check_tile` for all others, from the top
   level down.
3. Each entry has the leaf hash that stands in its tile of level 0:
   :func:`check_entries`.
4. An older checkpoint is a beginning of the log if the edge of its size, cut from tiles
   that are proven, folds into the root that it has: :func:`continues`. Where it does
   not, these tiles convict the log: they are what it has signed, and so is the root
   that they contradict.

So each file is proven when it comes, and whatever is wrong is known by its path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from onward.core.checkpoints import Checkpoint
from onward.core.errors import MalformedError, Reason, VerificationError
from onward.core.merkle import HASH_SIZE, leaf_hash
from onward.core.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TileId,
    bundle_path,
    edge_tiles,
    parse_entries,
    proof_tiles,
    tile_path,
    tile_width,
)
from onward.core.tree import Tile, Tree, parse_tile

ENTRY_BYTES: Final = 2 + HASH_SIZE
"""Bytes of an entry in a bundle: its length, and a digest."""


def levels(size: int) -> int:
    """Return how many levels of tiles a tree of ``size`` entries has."""
    return -(-size.bit_length() // TILE_HEIGHT)


def grown(level: int, size: int, since: int) -> range:
    """Return the tiles of one level that have more hashes than at an older size."""
    size, since = size >> TILE_HEIGHT * level, since >> TILE_HEIGHT * level
    if size <= since:
        return range(0)
    return range(since >> TILE_HEIGHT, (size + TILE_WIDTH - 1) >> TILE_HEIGHT)


def linking_tiles(size: int, older: Iterable[int]) -> frozenset[TileId]:
    """Return the tiles that rules 1 and 4 need.

    Args:
        size: the number of entries.
        older: the sizes of older checkpoints, none of them larger.
    """
    paths = (proof_tiles(before - 1, size) for before in older if before)
    return edge_tiles(size).union(*paths)


def prove_tiles(
    checkpoint: Checkpoint, data: Mapping[TileId, bytes]
) -> dict[TileId, Tile]:
    """Prove the tiles of :func:`linking_tiles` by the signed root (rules 1 and 2).

    Args:
        checkpoint: what the log has signed.
        data: the tiles as they were served, each as wide as it is at that size.

    Raises:
        VerificationError: they are not what was signed (``PROOF_INVALID``).
    """
    size = checkpoint.size
    for tile, hashes in data.items():
        if len(hashes) != tile_width(tile, size) * HASH_SIZE:
            path = tile_path(tile, tile_width(tile, size))
            raise _invalid(path, "it has another length")
    proven = {tile: parse_tile(tile, data[tile], size) for tile in data}
    if Tree(size, proven).root != checkpoint.root:
        raise VerificationError(
            Reason.ERROR_REASON_PROOF_INVALID,
            f"the last tiles of size {size} do not lead to the root that the log has "
            "signed",
        )
    for tile in proven.keys() - edge_tiles(size):
        level, index = tile
        above = proven[level + 1, index // TILE_WIDTH]
        if proven[tile].rows[TILE_HEIGHT][0] != above.rows[0][index % TILE_WIDTH]:
            raise _invalid(tile_path(tile), "it does not lead to the tile above it")
    return proven


def continues(tiles: Mapping[TileId, Tile], older: Checkpoint) -> bool:
    """Say whether an older checkpoint is a beginning of the log (rule 4).

    Args:
        tiles: proven by :func:`prove_tiles`, for this older size among others.
        older: the older checkpoint.
    """
    return Tree(older.size, tiles).root == older.root


def check_tile(tile: TileId, data: bytes, above: bytes) -> None:
    """Check a full tile (rule 2).

    Args:
        tile: which one it is.
        data: what was served.
        above: the concatenated hashes of the tile above it, which is proven.

    Raises:
        VerificationError: it is not what was signed (``PROOF_INVALID``).
    """
    place = tile[1] % TILE_WIDTH * HASH_SIZE
    if len(data) != TILE_WIDTH * HASH_SIZE:
        raise _invalid(tile_path(tile), "it is not full")
    (root,) = parse_tile((0, 0), data, TILE_WIDTH).rows[TILE_HEIGHT]
    if root != above[place : place + HASH_SIZE]:
        raise _invalid(tile_path(tile), "it does not lead to the tile above it")


def check_entries(index: int, data: bytes, hashes: bytes) -> None:
    """Check a bundle of entries (rule 3).

    Args:
        index: which one it is.
        data: what was served.
        hashes: the concatenated hashes of the tile of level 0, which is proven.

    Raises:
        VerificationError: it is not what was signed, or an entry is no digest
            (``PROOF_INVALID``).
    """
    path = bundle_path(index, len(hashes) // HASH_SIZE)
    try:
        entries = parse_entries(data)
    except MalformedError:
        entries = []
    if b"".join(map(leaf_hash, entries)) != hashes:
        raise _invalid(path, "its entries are not those of its tile")
    if any(len(entry) != HASH_SIZE for entry in entries):
        raise _invalid(path, "an entry is no digest of 32 bytes")


def _invalid(path: str, why: str) -> VerificationError:
    return VerificationError(
        Reason.ERROR_REASON_PROOF_INVALID,
        f"{path} is not what the log has signed: {why}",
        metadata={"path": path},
    )
