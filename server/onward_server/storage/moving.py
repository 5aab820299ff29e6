"""What an exchange's database holds, for whoever copies it into another backend.

Tables and columns have the same names in all backends, so a copy needs no more than
each table's key: rows are read in its order, some at a time, and whoever was cut off
goes on after the last key that arrived. Columns are taken from the databases, not from
here; they must be the same on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

Row = tuple[Any, ...]
"""The values of one row, in the order of the columns that were asked for."""

Key = tuple[int | str, ...]
"""The values of a row's key. No key has bytes in it, and none NULL."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: in every backend.
        key: the columns of its primary key.
        rows: how many of them are read at once.
    """

    name: str
    key: tuple[str, ...]
    rows: int = 2_000

    def key_of(self, columns: Sequence[str], row: Row) -> Key:
        """Returns a row's key."""
        return tuple(row[columns.index(name)] for name in self.key)


TABLES: Final = (
    Table("statements", ("log_index",)),
    Table("tiles", ("level", "tile_index"), rows=500),
    Table("members", ("name",)),
    Table("tokens", ("token_id",)),
    Table("policies", ("log_index",), rows=50),
    Table("referrals", ("log_index",)),
    Table("deliveries", ("referral_id", "recipient")),
    Table("intakes", ("hotline", "number")),
    Table("feed", ("member", "topic", "log_index"), rows=10_000),
    Table("contents", ("content_id",)),
    Table("content_secrets", ("content_id",)),
    # A row has up to 1 MiB.
    Table("content_chunks", ("content_id", "position"), rows=16),
    Table("cosignatures", ("size", "witness")),
    Table("timestamps", ("authority", "size")),
    Table("checkpoints", ("size",)),
)
"""All tables that are copied. What makes the log begin is the last of them."""

PLACES: Final = Table("places", ("code", "log_index"), rows=10_000)
"""Filled from the referrals, by a trigger; both sides must come to the same."""

COUNTED: Final = ("delivery_counts",)
"""Filled from the deliveries, by a trigger; a state that has none may be absent."""
