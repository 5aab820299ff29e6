"""The log's files: what stands at each of the paths that tlog-tiles names.

They are not stored as files. Hash tiles are rows of the database, bundles are made of
the digests of the statements, and a partial tile is the beginning of what its tile has
become since: so every one that was ever published can still be had.
"""

from __future__ import annotations

from onward.core.errors import RangeError, Reason, UnavailableError
from onward.core.merkle import HASH_SIZE
from onward.core.tiles import TILE_WIDTH, TilePath, format_entries, tile_width
from onward_server.storage.contract import Store


async def read_tile(store: Store, size: int, path: TilePath) -> bytes:
    """Returns a tile or a bundle of entries of a log.

    Args:
        store: where the log is.
        size: how many entries are published; nothing after them is told.
        path: what is asked for.

    Raises:
        RangeError: ``LOG_RANGE``: a log of this size has no such file.
        UnavailableError: the database cannot be read, or lacks what it must have.
    """
    if not 0 < path.width <= tile_width(path.tile, size):
        raise RangeError(
            Reason.ERROR_REASON_LOG_RANGE,
            f"a log of {size} entries has no {path.format()}",
            metadata={"size": str(size)},
        )
    if path.entries:
        entries = await store.digests(path.tile[1] * TILE_WIDTH, path.width)
        data, length = format_entries(entries), len(entries)
    else:
        found = await store.tiles([path.tile])
        data = found.get(path.tile, b"")[: path.width * HASH_SIZE]
        length = len(data) // HASH_SIZE
    if length != path.width:
        raise UnavailableError(
            Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
            f"the exchange lacks a part of {path.format()}; tell its operator",
        )
    return data
