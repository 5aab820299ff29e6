"""Where the hashes of a log stand: tiles of 256, and their paths (C2SP tlog-tiles).

A tile is a row of at most 256 hashes. Hash ``i`` of tile ``n`` at level ``l`` covers
the entries ``[(n*256+i) * 256**l, (n*256+i+1) * 256**l)``, so each hash of level
``l+1`` is the root of one full tile of level ``l``. A tree of ``size`` entries has
``size // 256**l`` hashes at level ``l``; only the last tile of a level can be
*partial*, and these partial tiles are the tree's *edge*: with them alone the root can
be computed and the tree can grow.

Beside each tile of level 0 stands a *bundle* of the entries under its hashes.

Nothing here hashes or reads; these are coordinates, paths, and the form of bundles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

from onward.core.errors import MalformedError

TILE_HEIGHT: Final = 8
"""Levels of the binary tree from a tile's hashes up to its root."""

TILE_WIDTH: Final = 1 << TILE_HEIGHT
"""Hashes in a full tile."""

_LENGTH_BYTES: Final = 2

_PATH: Final = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)

MAX_PATH: Final = 48
"""Characters of the longest path that a log of 2**63 - 1 entries has, and some more."""

TileId: TypeAlias = tuple[int, int]
"""A tile's level and its index within the level."""


def tile_width(tile: TileId, size: int) -> int:
    """Return how many hashes, 0 to 256, a tile has in a tree of ``size`` entries."""
    level, index = tile
    width = (size >> TILE_HEIGHT * level) - TILE_WIDTH * index
    return min(max(width, 0), TILE_WIDTH)


def tiles(size: int, since: int = 0) -> Iterator[TileId]:
    """Yield the tiles of a tree of ``size`` entries, lowest level first.

    Args:
        size: the number of entries.
        since: an older size; only tiles that have more hashes now than they had then
            are yielded. These are the tiles to write when a log grows.
    """
    level = 0
    while size > since:
        end = (size + TILE_WIDTH - 1) >> TILE_HEIGHT
        yield from ((level, index) for index in range(since >> TILE_HEIGHT, end))
        level, size, since = level + 1, size >> TILE_HEIGHT, since >> TILE_HEIGHT


def edge_tiles(size: int) -> frozenset[TileId]:
    """Return the partial tiles of a tree: at most one per level, none of them empty."""
    levels = range(0, size.bit_length(), TILE_HEIGHT)
    edge = (
        (level, size >> shift >> TILE_HEIGHT)
        for level, shift in enumerate(levels)
        if (size >> shift) % TILE_WIDTH
    )
    return frozenset(edge)


def proof_tiles(index: int, size: int) -> frozenset[TileId]:
    """Return the tiles from which a proof in a tree of ``size`` is computed.

    They serve the inclusion proof of entry ``index``, and the consistency proof from
    the older size ``index + 1``. The edge is part of them.
    """
    levels = range(0, size.bit_length(), TILE_HEIGHT)
    path = (
        (level, index >> shift >> TILE_HEIGHT) for level, shift in enumerate(levels)
    )
    return edge_tiles(size).union(tile for tile in path if tile_width(tile, size))


def tile_path(tile: TileId, width: int = TILE_WIDTH) -> str:
    """Return the path of a hash tile below the log's URL prefix.

    Raises:
        MalformedError: the width is not 1 to 256; there are no empty tiles.
    """
    level, index = tile
    return _path(str(level), index, width)


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of the bundle with the entries of level-0 tile ``index``.

    Raises:
        MalformedError: the width is not 1 to 256.
    """
    return _path("entries", index, width)


def tile_paths(size: int) -> list[str]:
    """Return the sorted paths of all hash tiles and entry bundles of a tree.

    The list has about two paths for every 256 entries: bound ``size`` where it comes
    from somebody else.
    """
    paths = []
    for tile in tiles(size):
        level, index = tile
        width = tile_width(tile, size)
        paths.append(tile_path(tile, width))
        if level == 0:
            paths.append(bundle_path(index, width))
    return sorted(paths)


@dataclass(frozen=True, slots=True)
class TilePath:
    """What a path below a log's URL names.

    Attributes:
        tile: the tile; of level 0 for a bundle.
        width: how many hashes or entries, 1 to 256.
        entries: whether it is the bundle of the tile's entries.
    """

    tile: TileId
    width: int = TILE_WIDTH
    entries: bool = False

    @classmethod
    def parse(cls, path: str) -> Self:
        """Parse a path; it equals :meth:`format` of the result.

        Raises:
            MalformedError: it is no such path, or not in its one spelling.
        """
        found = _PATH.fullmatch(path) if len(path) <= MAX_PATH else None
        if found is None:
            raise MalformedError(
                "the path of a tile is tile/<level>/<index>[.p/<width>]"
            )
        directory, number, width = found.groups()
        entries = directory == "entries"
        tile = 0 if entries else int(directory), int(re.sub("[x/]", "", number))
        parsed = cls(tile, int(width or TILE_WIDTH), entries)
        if parsed.width > TILE_WIDTH or parsed.format() != path:
            raise MalformedError("the path of a tile is not in its one spelling")
        return parsed

    @property
    def least_size(self) -> int:
        """The number of entries of the smallest log that has it."""
        level, index = self.tile
        return (index * TILE_WIDTH + self.width) << (TILE_HEIGHT * level)

    def format(self) -> str:
        """Return the path.

        Raises:
            MalformedError: the width is not 1 to 256.
        """
        if self.entries:
            return bundle_path(self.tile[1], self.width)
        return tile_path(self.tile, self.width)


def format_entries(entries: Iterable[bytes]) -> bytes:
    """Return a bundle: each entry after its length, uint16 big-endian.

    Raises:
        OverflowError: an entry is longer than 65535 bytes.
    """
    return b"".join(
        len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in entries
    )


def parse_entries(data: bytes) -> list[bytes]:
    """Parse a bundle.

    Raises:
        MalformedError: it ends inside an entry.
    """
    entries, at = [], 0
    while at < len(data):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or at > len(data):
            raise MalformedError("a bundle of entries ends inside an entry")
        entries.append(data[start:at])
    return entries


def _path(directory: str, index: int, width: int) -> str:
    if not 0 < width <= TILE_WIDTH:
        raise MalformedError(f"a tile has 1 to {TILE_WIDTH} hashes, not {width}")
    digits = str(index)
    digits = digits.zfill(len(digits) + -len(digits) % 3)
    *groups, last = (digits[i : i + 3] for i in range(0, len(digits), 3))
    number = "/".join([*(f"x{group}" for group in groups), last])
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{directory}/{number}{suffix}"
