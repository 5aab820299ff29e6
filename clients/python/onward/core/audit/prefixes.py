"""The log's tree over all entries, and the root that it had at every size."""

from __future__ import annotations

from onward.core.errors import MalformedError
from onward.core.merkle import EMPTY_ROOT, HASH_SIZE, leaf_hash, node_hash


class Prefixes:
    """The complete nodes of a log's tree, as bytes: 64 for each entry.

    Whoever has all entries needs no proofs: the root at any earlier size follows from
    the nodes that were complete then.

    Args:
        entries: the log's entries, 32 bytes each, in order.

    Raises:
        MalformedError: these are not whole entries.
    """

    __slots__ = ("_levels", "size")

    def __init__(self, entries: bytes) -> None:
        if len(entries) % HASH_SIZE:
            raise MalformedError(f"the entries are not {HASH_SIZE} bytes each")
        self.size = len(entries) // HASH_SIZE
        level = b"".join(map(leaf_hash, _hashes(entries)))
        self._levels = [level]
        while len(level) >= 2 * HASH_SIZE:
            nodes = _hashes(level)
            pairs = zip(nodes[::2], nodes[1::2], strict=False)
            level = b"".join(node_hash(left, right) for left, right in pairs)
            self._levels.append(level)

    def root(self, size: int) -> bytes | None:
        """Returns the root at a size, None where the log never had it."""
        if not 0 < size <= self.size:
            return EMPTY_ROOT if size == 0 else None
        root = b""
        for height, level in enumerate(self._levels):
            place = size >> height
            if place & 1:
                peak = level[(place - 1) * HASH_SIZE : place * HASH_SIZE]
                root = node_hash(peak, root) if root else peak
        return root


def tree_root(digests: bytes) -> bytes:
    """Returns the root of the tree with these entries, 32 bytes each (RFC 9162 2.1)."""
    tree = Prefixes(digests)
    return tree.root(tree.size) or EMPTY_ROOT


def _hashes(data: bytes) -> list[bytes]:
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]
