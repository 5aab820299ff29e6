"""Copying a log into a mirror: from the top level down, each file checked as it comes.

A few files are under way at a time, so memory does not grow with the log. What the
mirror has already, from a round that was cut off, is checked the same way and not
fetched again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeVar

from onward.core.checkpoints import Checkpoint
from onward.core.errors import Reason, VerificationError
from onward.core.merkle import HASH_SIZE
from onward.core.mirroring import (
    ENTRY_BYTES,
    check_entries,
    check_tile,
    grown,
    levels,
    linking_tiles,
    prove_tiles,
)
from onward.core.tiles import TILE_WIDTH, TileId, TilePath, tile_width
from onward.core.tree import Tile
from onward.monitor._mirror import Mirror
from onward.monitor._source import Source

_AT_ONCE: Final = 16

_Result = TypeVar("_Result")
_Check = Callable[[bytes], None]


class Copying:
    """Copies what a checkpoint has more than the mirror.

    Args:
        source: where the log is read.
        mirror: where it goes.
        head: the signed checkpoint.
        fresh: whether caches on the way are to ask the log itself.
    """

    def __init__(
        self, source: Source, mirror: Mirror, head: Checkpoint, *, fresh: bool
    ) -> None:
        self._source = source
        self._mirror = mirror
        self._head = head
        self._fresh = fresh
        self._above: tuple[TileId, bytes] = (-1, -1), b""

    async def link(self, older: Iterable[int]) -> dict[TileId, Tile]:
        """Fetches and proves the tiles that show of what size the tree has what root.

        Args:
            older: the sizes of which that is to be known, besides the head's.

        Raises:
            VerificationError: they are not what was signed.
            UnavailableError: they cannot be had.
        """
        size = self._head.size
        wanted = sorted(linking_tiles(size, older))
        paths = (TilePath(tile, tile_width(tile, size)) for tile in wanted)
        data = await _all([self._fetch(path) for path in paths])
        return prove_tiles(self._head, dict(zip(wanted, data, strict=True)))

    async def copy(
        self,
        since: int,
        proven: Mapping[TileId, Tile],
        advance: Callable[[int], object],
    ) -> None:
        """Fetches, checks and writes all that is new.

        Args:
            since: the size that the mirror has.
            proven: what :meth:`link` has returned.
            advance: is told how many files were done since the last time.

        Raises:
            VerificationError: something is not what was signed.
            UnavailableError: something cannot be had, or not be written.
        """
        size = self._head.size
        for level in reversed(range(levels(size))):
            tiles = grown(level, size, since)
            for first in range(tiles.start, tiles.stop, _AT_ONCE):
                batch = range(first, min(first + _AT_ONCE, tiles.stop))
                hashes = await _all(
                    [self._take_tile((level, index), proven) for index in batch]
                )
                if level == 0:
                    pairs = zip(batch, hashes, strict=True)
                    await _all([self._take_entries(*pair) for pair in pairs])
                advance(len(batch) * (2 if level == 0 else 1))

    def files(self, since: int) -> int:
        """Returns how many files :meth:`copy` deals with."""
        size = self._head.size
        counts = [len(grown(level, size, since)) for level in range(levels(size))]
        return sum(counts) + (counts[0] if counts else 0)

    async def _take_tile(self, tile: TileId, proven: Mapping[TileId, Tile]) -> bytes:
        """Brings one tile into the mirror; returns its hashes."""
        path = TilePath(tile, tile_width(tile, self._head.size))
        known = proven.get(tile)
        if known is not None:
            if await asyncio.to_thread(self._mirror.tile, path) != known.data:
                await asyncio.to_thread(self._mirror.put_tile, path, known.data)
            return known.data
        above = await self._tile_above(tile)
        return await self._take(path, lambda data: check_tile(tile, data, above))

    async def _take_entries(self, index: int, hashes: bytes) -> None:
        """Brings one bundle into the mirror."""
        path = TilePath((0, index), len(hashes) // HASH_SIZE, entries=True)
        await self._take(path, lambda data: check_entries(index, data, hashes))

    async def _tile_above(self, tile: TileId) -> bytes:
        """Returns the tile above another one, which the mirror has already."""
        level, index = tile
        above = level + 1, index // TILE_WIDTH
        if self._above[0] != above:
            path = TilePath(above, tile_width(above, self._head.size))
            data = await asyncio.to_thread(self._mirror.tile, path)
            if data is None:
                raise self._mirror.damaged()
            self._above = above, data
        return self._above[1]

    async def _take(self, path: TilePath, check: _Check) -> bytes:
        """Returns a file that is checked and in the mirror."""
        kept = await asyncio.to_thread(self._mirror.tile, path)
        if kept is not None and _holds(check, kept):
            return kept
        data = await self._fetch(path)
        check(data)
        await asyncio.to_thread(self._mirror.put_tile, path, data)
        return data

    async def _fetch(self, path: TilePath) -> bytes:
        """Fetches a file; nothing is known of it yet but its length.

        A log may forget a partial tile when the full one is there (C2SP tlog-tiles).
        """
        unit = ENTRY_BYTES if path.entries else HASH_SIZE
        most, name = path.width * unit, path.format()
        data = await self._source.get(name, most, fresh=self._fresh)
        if data is None and path.width < TILE_WIDTH:
            full = TilePath(path.tile, entries=path.entries).format()
            data = await self._source.get(full, TILE_WIDTH * unit, fresh=self._fresh)
            data = data and data[:most]
        if data is None or len(data) != most:
            why = "there is none" if data is None else "it has another length"
            raise VerificationError(
                Reason.ERROR_REASON_PROOF_INVALID,
                f"{name} is not what the log has signed: {why}",
                metadata={"path": name},
            )
        return data


def _holds(check: _Check, data: bytes) -> bool:
    try:
        check(data)
    except VerificationError:
        return False
    return True


async def _all(work: Iterable[Awaitable[_Result]]) -> list[_Result]:
    """Waits for all of some work, and only then says what of it failed first."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
