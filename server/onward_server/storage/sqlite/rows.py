"""Rows on their way into SQLite and out of it.

``views.sql`` says why all rows of one query travel at once. On the way in they are the
values of one statement (:func:`insert`). On the way out, and where a query takes a list
of what to look for, they are one JSON array, with the values in the order of the
dataclass's fields. JSON has no bytes: on the way in they are joined into one blob that
the rows point into, on the way out they are hexadecimal.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import cache, lru_cache
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from dataclasses import Field


class Row(Protocol):
    """Any row of the storage contract."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


R = TypeVar("R", bound=Row)

_READ: dict[str, Callable[[Any], object]] = {
    "bytes": bytes.fromhex,
    "bool": bool,
    "tuple[str, ...]": tuple,
    "tuple[int, ...]": tuple,
}
"""How a value is read, by its annotation; all others are in JSON what they are here."""

_MOST_AT_ONCE = 256
"""Rows of one statement: SQLite takes 32,766 values."""

_ONE_ROW = re.compile(r"(?<=VALUES )\(.*?\)(?=;|\nON CONFLICT)", re.DOTALL)
_REMEMBERED_TEXTS = 4096


def insert(
    connection: sqlite3.Connection,
    query: Any,  # noqa: ANN401 - of aiosql
    rows: Iterable[Sequence[object]],
) -> int:
    """Adds rows by a query that is written for one of them.

    They go in by as few statements as possible, each for a power of two of them, so
    that there are few different ones to compile.

    Args:
        connection: the writing one.
        query: its text has ``VALUES (...)`` for one row.
        rows: the values of each; see :func:`values_of`.

    Returns:
        How many rows were added or changed.
    """
    waiting, touched = list(rows), 0
    while waiting:
        count = min(1 << len(waiting).bit_length() - 1, _MOST_AT_ONCE)
        now, waiting = waiting[:count], waiting[count:]
        values = tuple(chain.from_iterable(now))
        touched += connection.execute(_for_rows(query.sql, count), values).rowcount
    return touched


def values_of(rows: Iterable[Row]) -> list[Sequence[object]]:
    """Returns the values of rows of the contract, in the order of their fields."""
    return [_values(type(row))(row) for row in rows]


@cache
def _for_rows(sql: str, count: int) -> str:
    """Returns a query that is written for one row as it is for so many."""
    return _ONE_ROW.sub(lambda row: ", ".join([row[0]] * count), sql)


def pack(rows: Iterable[Iterable[object]]) -> dict[str, object]:
    """Returns the parameters ``rows`` and, for rows with bytes, ``data`` of a query.

    Each bytes value is replaced by two numbers, its offset in ``data``, counted from 1
    as SQL does, and its length.
    """
    data = bytearray(1)  # never empty, since substr() of an empty blob is NULL
    has_data = False
    packed = []
    for row in rows:
        values: list[object] = []
        for value in row:
            if isinstance(value, bytes):
                values += (len(data) + 1, len(value))
                data += value
                has_data = True
            else:
                values.append(value)
        packed.append(values)
    parameters: dict[str, object] = {"rows": to_json(packed)}
    if has_data:
        parameters["data"] = data
    return parameters


def pack_digests(digests: Iterable[bytes]) -> dict[str, object]:
    """Returns the parameters of a query that takes digests."""
    return pack((digest,) for digest in digests)


def to_json(value: object) -> str:
    """Returns a value as JSON text, as a query takes lists of text and numbers."""
    return msgspec.json.encode(value).decode()


def read_row(row_type: type[R], text: str | None) -> R | None:
    """Reads the one row of a query, or None for no row."""
    return None if text is None else make_row(row_type, msgspec.json.decode(text))


def read_rows(row_type: type[R], text: str | None) -> list[R]:
    """Reads the rows of a query: comma-separated arrays, or None for no row."""
    return [make_row(row_type, values) for values in read_values(text)]


def read_values(text: str | None) -> list[Any]:
    """Reads comma-separated JSON values, or None for no value."""
    values: list[Any] = msgspec.json.decode(f"[{text or ''}]")
    return values


def read_digests(text: str | None, size: int = 32) -> list[bytes]:
    """Reads joined digests in hexadecimal."""
    data = bytes.fromhex(text or "")
    return [data[start : start + size] for start in range(0, len(data), size)]


def make_row(row_type: type[R], values: Sequence[Any]) -> R:
    """Makes a row from its JSON values, in the order of the fields."""
    row = list(values)
    for position, read in _readers(row_type):
        row[position] = read(row[position])
    return row_type(*row)


@cache
def _values(row_type: type[Row]) -> Callable[[Row], Sequence[object]]:
    """Returns what takes all values out of a row, lists as JSON."""
    values: Callable[[Row], tuple[object, ...]] = attrgetter(
        *(field.name for field in fields(row_type))
    )
    lists = [
        position
        for position, field in enumerate(fields(row_type))
        if str(field.type).startswith("tuple[")
    ]
    if not lists:
        return values

    def with_lists(row: Row) -> Sequence[object]:
        found = list(values(row))
        for position in lists:
            found[position] = _list_text(found[position])
        return found

    return with_lists


@lru_cache(_REMEMBERED_TEXTS)
def _list_text(values: object) -> str:
    """Returns a tuple as JSON; the same few come again and again."""
    return to_json(values)


@cache
def _readers(row_type: type[Row]) -> list[tuple[int, Callable[[Any], object]]]:
    """Returns which values of a row need reading, and how."""
    return [
        (position, _READ[str(field.type)])
        for position, field in enumerate(fields(row_type))
        if str(field.type) in _READ
    ]
