"""A random sample that anybody can draw again."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256


def draw(names: Iterable[str], count: int, seed: str) -> list[str]:
    """Returns some of the names, in the order in which they are drawn.

    For each name SHA-256 is taken over the seed, a zero byte and the name, all in
    UTF-8; the names with the smallest digests are drawn. So a draw depends on nothing
    but seed and names, a larger one begins with the smaller, and nobody who writes the
    names beforehand can steer it by a seed that is chosen later.
    """

    def lot(name: str) -> bytes:
        return sha256(seed.encode() + b"\0" + name.encode()).digest()

    return sorted(set(names), key=lot)[: max(count, 0)]
