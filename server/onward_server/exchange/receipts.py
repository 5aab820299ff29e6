"""Receipts of entries that were logged earlier.

A receipt is not stored. It follows from the tiles, the checkpoint and the entry's
index, and always comes out the same, byte for byte: so a retry years later is answered
with the original receipt.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onward.core.errors import RangeError, Reason
from onward.core.tiles import TILE_WIDTH, TileId, edge_tiles, proof_tiles
from onward.core.tlog_proof import TlogProof
from onward.core.tree import Tile, Tree, parse_tile
from onward_server.storage.contract import CheckpointRow, StatementRow, Store

_CACHED_TILES = 512


@dataclass(frozen=True, slots=True)
class Logged:
    """A statement in the log, with its receipt in the ``tlog-proof`` format."""

    log_index: int
    jws: str
    receipt: str


def receipt_text(tree: Tree, index: int, note: str) -> str:
    """Returns an entry's receipt up to a tree's checkpoint."""
    return TlogProof(index, tuple(tree.inclusion_proof(index)), note).format()


class Receipts:
    """Computes receipts and proofs from what is stored."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._full_tiles: OrderedDict[TileId, Tile] = OrderedDict()

    async def originals(self, indexes: Sequence[int]) -> list[Logged]:
        """Returns entries with the receipts of the commits that logged them."""
        rows = await self._store.statements(indexes)
        covering = await self._store.checkpoints_covering(indexes)
        return [await self._logged(row, covering[row.log_index]) for row in rows]

    async def up_to(
        self, rows: Sequence[StatementRow], checkpoint: CheckpointRow
    ) -> list[Logged]:
        """Returns entries with receipts that all lead to one checkpoint."""
        tree = await self.tree(checkpoint.size, (row.log_index for row in rows))
        return [
            Logged(
                row.log_index,
                row.jws,
                receipt_text(tree, row.log_index, checkpoint.note),
            )
            for row in rows
        ]

    async def consistency(self, first: int, second: int) -> list[bytes]:
        """Returns the proof that the tree of one size began the tree of another.

        Raises:
            RangeError: ``LOG_RANGE``: not 1 <= first <= second <= the log's size.
        """
        head = await self._store.head()
        if head is None or not 1 <= first <= second <= head.size:
            size = head.size if head else 0
            raise RangeError(
                Reason.ERROR_REASON_LOG_RANGE,
                f"there is no proof from size {first} to {second}: the sizes must grow "
                f"from 1 up to the log's size, {size}",
            )
        tree = await self.tree(second, (first - 1,))
        return tree.consistency_proof(first)

    async def tree(self, size: int, indexes: Iterable[int]) -> Tree:
        """Returns the tree of a size, with the tiles for the proofs of entries."""
        wanted = set(edge_tiles(size))
        for index in indexes:
            wanted |= proof_tiles(index, size)
        tiles = {
            tile: self._full_tiles[tile] for tile in wanted & set(self._full_tiles)
        }
        data = (
            await self._store.tiles(wanted - set(tiles)) if wanted - set(tiles) else {}
        )
        for tile, stored in data.items():
            tiles[tile] = parse_tile(tile, stored, size)
            self._remember(tile, tiles[tile])
        return Tree(size, tiles)

    def _remember(self, tile: TileId, parsed: Tile) -> None:
        """Caches a full tile: it never changes."""
        if parsed.width == TILE_WIDTH:
            self._full_tiles[tile] = parsed
            if len(self._full_tiles) > _CACHED_TILES:
                self._full_tiles.popitem(last=False)

    async def _logged(self, row: StatementRow, checkpoint: CheckpointRow) -> Logged:
        """Returns one entry with its receipt up to a checkpoint."""
        (logged,) = await self.up_to([row], checkpoint)
        return logged
