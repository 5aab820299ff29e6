"""As much of DER (X.690) as asking for timestamps takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
OCTETS: Final = 0x04
IDENTIFIER: Final = 0x06
SEQUENCE: Final = 0x30
FIRST: Final = 0xA0
"""The constructed, context-specific tag 0."""

_LONG: Final = 0x80
_MAX_LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Element:
    """Where an element stands: its tag at ``begin``, its content up to ``end``."""

    tag: int
    begin: int
    content: int
    end: int


def encode(tag: int, *parts: bytes) -> bytes:
    """Returns a value with its tag and length (X.690 10.1)."""
    value = b"".join(parts)
    size = len(value)
    if size < _LONG:
        return bytes([tag, size]) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, _LONG | len(length)]) + length + value


def integer(value: int) -> bytes:
    """Returns a number that is not negative."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def identifier(dotted: str) -> bytes:
    """Returns an object identifier (X.690 8.19)."""
    first, second, *rest = map(int, dotted.split("."))
    return encode(IDENTIFIER, *map(_base_128, (first * 40 + second, *rest)))


def elements(data: bytes, begin: int, end: int) -> Iterator[Element]:
    """Yields the elements that stand one after the other between two places.

    Raises:
        ValueError: there is something else.
    """
    while begin < end:
        tag, first = data[begin : begin + 2]
        content, size = begin + 2, first
        if first >= _LONG:
            content += first - _LONG
            size = int.from_bytes(data[begin + 2 : content], "big")
        if first > _LONG + _MAX_LENGTH_BYTES or content + size > end:
            msg = "an element does not end where it should"
            raise ValueError(msg)
        yield Element(tag, begin, content, content + size)
        begin = content + size


def _base_128(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(0x80 | value & 0x7F)
    return bytes(reversed(groups))
