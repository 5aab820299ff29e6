"""Rows on their way into PostgreSQL and out of it.

Columns have the names of the dataclass's fields. On the way in a row is a value of its
table's own type, so that an array of them is one parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import cache
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

if TYPE_CHECKING:
    from dataclasses import Field


class Row(Protocol):
    """Any row of the storage contract."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


R = TypeVar("R", bound=Row)

_COLUMNS = {"index": "tile_index"}
"""The columns whose names are not those of the fields."""


def pack_rows(rows: Iterable[Row]) -> list[dict[str, object]]:
    """Returns rows as a query takes them."""
    return [_packer(type(row))(row) for row in rows]


def make_row(row_type: type[R], record: Mapping[str, Any]) -> R:
    """Makes a row from what a query returned; further columns are left out."""
    values, arrays = _reader(row_type)
    row = list(values(record))
    for position in arrays:
        row[position] = tuple(row[position])
    return row_type(*row)


def make_rows(row_type: type[R], records: Iterable[Mapping[str, Any]]) -> list[R]:
    """Makes the rows of a query."""
    return [make_row(row_type, record) for record in records]


def _columns(row_type: type[Row]) -> list[str]:
    return [_COLUMNS.get(field.name, field.name) for field in fields(row_type)]


@cache
def _packer(row_type: type[Row]) -> Callable[[Row], dict[str, object]]:
    """Returns what makes a value of the table's type of a row."""
    columns = _columns(row_type)
    values = attrgetter(*(field.name for field in fields(row_type)))
    return lambda row: dict(zip(columns, values(row), strict=True))


@cache
def _reader(
    row_type: type[Row],
) -> tuple[Callable[[Mapping[str, Any]], tuple[Any, ...]], list[int]]:
    """Returns what takes a row's values out of a record, and which are arrays."""
    arrays = [
        position
        for position, field in enumerate(fields(row_type))
        if str(field.type).startswith("tuple")
    ]
    return itemgetter(*_columns(row_type)), arrays
