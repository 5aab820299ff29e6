"""Merkle trees straight from the recursive definitions of RFC 9162 2.1: the oracle.

Nothing here is fast or shares code with ``onward.core``.
"""

from functools import cached_property
from hashlib import sha256


class NaiveTree:
    """A Merkle tree over entries, by definition alone."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries
        self._hashes: dict[tuple[int, int], bytes] = {}

    @cached_property
    def leaf_hashes(self) -> list[bytes]:
        return [sha256(b"\x00" + entry).digest() for entry in self.entries]

    def root(self, size: int) -> bytes:
        """MTH(D[0:size])."""
        return self.hash(0, size)

    def hash(self, start: int, end: int) -> bytes:
        """MTH(D[start:end])."""
        if start == end:
            return sha256().digest()
        if end - start == 1:
            return self.leaf_hashes[start]
        if (start, end) not in self._hashes:
            middle = start + _split(end - start)
            pair = self.hash(start, middle) + self.hash(middle, end)
            self._hashes[start, end] = sha256(b"\x01" + pair).digest()
        return self._hashes[start, end]

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """PATH(index, D[0:size])."""
        return self._path(index, 0, size)

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + _split(end - start)
        if index < middle:
            return [*self._path(index, start, middle), self.hash(middle, end)]
        return [*self._path(index, middle, end), self.hash(start, middle)]

    def consistency(self, size1: int, size2: int) -> list[bytes]:
        """PROOF(size1, D[0:size2])."""
        return self._subproof(size1, 0, size2, known=True)

    def _subproof(self, size: int, start: int, end: int, *, known: bool) -> list[bytes]:
        if size == end:
            return [] if known else [self.hash(start, end)]
        middle = start + _split(end - start)
        if size <= middle:
            left = self._subproof(size, start, middle, known=known)
            return [*left, self.hash(middle, end)]
        right = self._subproof(size, middle, end, known=False)
        return [*right, self.hash(start, middle)]


def _split(size: int) -> int:
    """Return the largest power of two below ``size``."""
    power = 1
    while 2 * power < size:
        power *= 2
    return power


def entries(count: int) -> list[bytes]:
    """Return distinct entries of the length that the log has."""
    return [sha256(number.to_bytes(4, "big")).digest() for number in range(count)]
