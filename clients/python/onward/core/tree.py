"""The writer's side of a Merkle tree: growing a log and computing its proofs.

Tiles (see ``onward.core.tiles``) are what is stored: the hashes at every eighth height
of the binary tree. In memory a :class:`Tile` also has the nodes between them, so that
every *complete* node of the tree, one with all its leaves, is a look-up. The rest is
at most one *incomplete* node per height, which covers the entries after the last
complete node of that height. These fold up along the right edge once per tree: the
last fold is the root, and all proofs in that tree share the others.

A :class:`Tree` holds the edge and the tiles that it grew last, which is what the proofs
of recent entries need. For any other proof, also in a tree of an older size, read the
tiles that ``tiles.proof_tiles`` names and :meth:`Tree.load` a tree from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from onward.core.errors import MalformedError, RangeError, Reason
from onward.core.merkle import EMPTY_ROOT, HASH_SIZE, node_hash
from onward.core.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TileId,
    proof_tiles,
    tile_width,
    tiles,
)


@dataclass(frozen=True, slots=True)
class Tile:
    """Up to 256 hashes of one level, with the complete nodes above them.

    ``rows[0]`` are the hashes, ``rows[r]`` the nodes at height ``r`` over them;
    ``rows[8]`` has one node, the tile's root, when the tile is full, and none before.
    """

    rows: tuple[tuple[bytes, ...], ...]

    @property
    def width(self) -> int:
        """The number of hashes, 0 to 256."""
        return len(self.rows[0])

    @property
    def data(self) -> bytes:
        """The concatenated hashes: the bytes that are stored and published."""
        return b"".join(self.rows[0])

    def extend(self, hashes: Sequence[bytes]) -> Tile:
        """Return this tile with more hashes at its end."""
        row = self.rows[0] + tuple(hashes)
        rows = [row]
        for done in self.rows[1:]:
            fresh = range(2 * len(done), len(row) - 1, 2)
            if not fresh:
                break
            row = done + tuple([node_hash(row[i], row[i + 1]) for i in fresh])
            rows.append(row)
        return Tile((*rows, *self.rows[len(rows) :]))

    def cut(self, width: int) -> Tile:
        """Return the tile as it was when it had ``width`` hashes."""
        if width == self.width:
            return self
        rows = enumerate(self.rows)
        return Tile(tuple(nodes[: width >> height] for height, nodes in rows))


_EMPTY_TILE: Final = Tile(((),) * (TILE_HEIGHT + 1))


class Tree:
    """A log's Merkle tree of one size. It never changes; growing makes a new one.

    So a tree that was extended for a write which then failed is simply dropped. A new
    log starts from ``Tree()``, a stored one from :meth:`load`.

    Args:
        size: the number of entries.
        tiles: the tiles of the edge, which ``tiles.edge_tiles`` names, and any others
            that proofs shall find. Each is at least as wide as it is at this size;
            what a wider one has from later is not looked at.

    Raises:
        RangeError: a tile of the edge is missing (``LOG_RANGE``).
    """

    __slots__ = ("_edge", "_paths", "_tiles", "size")

    def __init__(
        self, size: int = 0, tiles: Mapping[TileId, Tile] | None = None
    ) -> None:
        self.size = size
        self._tiles = tiles or {}
        self._paths: dict[tuple[int, int], tuple[bytes, ...]] = {}
        self._edge = self._fold_edge()

    @classmethod
    def load(cls, size: int, data: Mapping[TileId, bytes]) -> Self:
        """Make a tree from stored tiles.

        Args:
            size: the number of entries; any size that the log has had.
            data: the concatenated hashes of the tiles of the edge and of the wanted
                proofs, each tile at least as wide as at that size.

        Raises:
            MalformedError: a tile has fewer hashes than the size requires.
            RangeError: a tile of the edge is missing (``LOG_RANGE``).
        """
        return cls(size, {tile: parse_tile(tile, data[tile], size) for tile in data})

    @property
    def root(self) -> bytes:
        """The root of the tree (RFC 9162 2.1.1)."""
        return self._edge[-1] or EMPTY_ROOT

    def extend(self, leaf_hashes: Sequence[bytes]) -> Tree:
        """Return the tree with more entries at its end.

        Args:
            leaf_hashes: the leaf hashes of the new entries, in order.

        Raises:
            MalformedError: a leaf hash is not 32 bytes.
        """
        if any(len(leaf) != HASH_SIZE for leaf in leaf_hashes):
            raise MalformedError(f"a leaf hash has not {HASH_SIZE} bytes")
        grown: dict[TileId, Tile] = {}
        level, count, hashes = 0, self.size, leaf_hashes
        while count or hashes:
            if width := count % TILE_WIDTH:
                edge = level, count // TILE_WIDTH
                grown[edge] = self._tiles[edge].cut(width)
            roots: list[bytes] = []
            for start in range(-(count % TILE_WIDTH), len(hashes), TILE_WIDTH):
                tile = level, (count + start) // TILE_WIDTH
                chunk = hashes[max(start, 0) : start + TILE_WIDTH]
                grown[tile] = grown.get(tile, _EMPTY_TILE).extend(chunk)
                roots += grown[tile].rows[TILE_HEIGHT]
            level, count, hashes = level + 1, count // TILE_WIDTH, roots
        return Tree(self.size + len(leaf_hashes), grown)

    def changed_tiles(self, since: int) -> dict[TileId, Tile]:
        """Return the tiles that differ from those of an older size: what to store.

        Args:
            since: the size of the tree from which this one was extended.

        Raises:
            RangeError: the older tree is not the one that was extended last, and the
                difference is not in memory (``LOG_RANGE``).
        """
        return {tile: self._tile(tile) for tile in tiles(self.size, since)}

    def holds(self, index: int) -> bool:
        """Say whether the proofs of entry ``index`` need no other tiles.

        That is its inclusion proof, and the consistency proof from ``index + 1``.
        """
        return proof_tiles(index, self.size) <= self._tiles.keys()

    def inclusion_proof(self, index: int) -> list[bytes]:
        """Return the proof that entry ``index`` is in this tree (RFC 9162 2.1.3.1).

        Raises:
            RangeError: there is no such entry, or a tile for its proof is not in
                memory (``LOG_RANGE``).
        """
        if not 0 <= index < self.size:
            raise _range_error(f"a log of size {self.size} has no entry {index}")
        return list(self._path(0, index))

    def consistency_proof(self, size: int) -> list[bytes]:
        """Return the proof that this tree grew from an older one (RFC 9162 2.1.4.1).

        Args:
            size: the older tree's number of entries, 1 to this tree's size.

        Raises:
            RangeError: the size is not in that range, or a tile for the proof is not
                in memory (``LOG_RANGE``).
        """
        if not 0 < size <= self.size:
            raise _range_error(f"a log of size {self.size} cannot prove size {size}")
        if size == self.size:
            return []
        # From the last complete node of the older tree; a node that is the whole
        # older tree is left out, since the verifier has it.
        height = (size & -size).bit_length() - 1
        index = (size - 1) >> height
        start = [self._node(height, index)] if index else []
        return [*start, *self._path(height, index)]

    def _path(self, height: int, index: int) -> tuple[bytes, ...]:
        """Return the siblings on the way from a node to the root, lowest first.

        Neighbours share all of the way but its beginning, so what was climbed once is
        remembered.
        """
        place = height, index
        path = self._paths.get(place)
        if path is None:
            path = ()
            if self.size > 1 << height:
                path = self._sibling(height, index) + self._path(height + 1, index >> 1)
            self._paths[place] = path
        return path

    def _sibling(self, height: int, index: int) -> tuple[bytes, ...]:
        """Return a node's sibling, or nothing where the tree has none."""
        sibling, complete = index ^ 1, self.size >> height
        if sibling < complete:
            return (self._node(height, sibling),)
        partial = self._edge[height] if sibling == complete else None
        return (partial,) if partial else ()

    def _fold_edge(self) -> list[bytes | None]:
        """Return the incomplete node of every height, None where there is none.

        The one of height ``h`` covers the last ``size % 2**h`` entries. It is folded
        from the peaks: a height with an odd number of complete nodes has its last one
        as a peak, since no complete node above covers that.
        """
        node: bytes | None = None
        edge = [node]
        for height in range(self.size.bit_length()):
            complete = self.size >> height
            if complete & 1:
                peak = self._node(height, complete - 1)
                node = node_hash(peak, node) if node else peak
            edge.append(node)
        return edge

    def _node(self, height: int, index: int) -> bytes:
        """Return a complete node: ``index`` counts the nodes of its height."""
        row = height % TILE_HEIGHT
        above = TILE_HEIGHT - row
        tile = self._tile((height // TILE_HEIGHT, index >> above))
        return tile.rows[row][index & (1 << above) - 1]

    def _tile(self, tile: TileId) -> Tile:
        try:
            return self._tiles[tile]
        except KeyError:
            level, index = tile
            raise _range_error(
                f"tile {level}/{index} of the log is not in memory; load it"
            ) from None


def parse_tile(tile: TileId, data: bytes, size: int) -> Tile:
    """Return a stored tile as it is in a tree of ``size`` entries.

    Args:
        tile: which tile it is.
        data: its concatenated hashes; there can be later ones than the size has.
        size: the number of entries.

    Raises:
        MalformedError: there are fewer hashes than the size requires.
    """
    width = tile_width(tile, size)
    if len(data) < width * HASH_SIZE:
        level, index = tile
        raise MalformedError(
            f"tile {level}/{index} has {len(data)} bytes; a log of size {size} needs "
            f"{width * HASH_SIZE}"
        )
    hashes = (data[i * HASH_SIZE : (i + 1) * HASH_SIZE] for i in range(width))
    return _EMPTY_TILE.extend(tuple(hashes))


def _range_error(why: str) -> RangeError:
    return RangeError(Reason.ERROR_REASON_LOG_RANGE, why)
