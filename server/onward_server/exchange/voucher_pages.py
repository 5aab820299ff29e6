"""The log's checkpoints that others vouch for, page by page.

Unlike a bundle, which brings what bounds its own few statements, this is for those who
judge a whole log. Years of it are too many to fetch each: a *spacing* leaves out what
tells little more than its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeVar

from onward_server.storage.contract import Store, VouchedRow

_Item = TypeVar("_Item")

_ROWS: Final = 2048
"""Checkpoints that one page looks through at most."""


@dataclass(frozen=True, slots=True)
class Voucher:
    """A checkpoint with all cosignatures, and the tokens over its text, in DER."""

    note: str
    tokens: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class VoucherPage:
    """Some vouchers by size, and from which size on to ask for more; 0 for no more."""

    vouchers: Sequence[Voucher]
    next_size: int


async def voucher_page(
    store: Store, first: int, spacing_ms: int, limit: int
) -> VoucherPage:
    """Returns the next vouchers of a log.

    Args:
        store: where they are.
        first: the smallest size.
        spacing_ms: of the checkpoints that were signed in any such length of time only
            the one with most cosignatures is listed, and the one with most tokens;
            0 for all.
        limit: how many at most.
    """
    rows = await store.vouched(first, _ROWS)
    groups = [list(group) for _, group in groupby(rows, _slot(spacing_ms))]
    after = rows[-1].size + 1 if len(rows) == _ROWS else 0
    if after and len(groups) > 1:
        # The last group may go on: it is for the next page.
        after = groups.pop()[0].size
    chosen = [row for group in groups for row in _chosen(group)]
    shown, more = chosen[:limit], chosen[limit:]
    vouchers = await _with_vouchers(store, shown)
    return VoucherPage(vouchers, more[0].size if more else after)


def _slot(spacing_ms: int) -> Callable[[VouchedRow], int]:
    """Returns what says in which length of time a checkpoint was signed."""
    if not spacing_ms:
        return _size
    return lambda row: row.signed_ms // spacing_ms


def _chosen(group: Sequence[VouchedRow]) -> Iterator[VouchedRow]:
    """Yields those of some checkpoints that are listed, in their order."""
    cosigned = max(group, key=lambda row: row.cosignatures)
    stamped = max(group, key=lambda row: row.timestamps)
    chosen = [cosigned] * bool(cosigned.cosignatures)
    chosen += [stamped] * bool(stamped.timestamps)
    yield from sorted({row.size: row for row in chosen}.values(), key=_size)


async def _with_vouchers(store: Store, rows: Sequence[VouchedRow]) -> list[Voucher]:
    """Returns checkpoints with what vouches for them."""
    sizes = [row.size for row in rows]
    lines = _by_size((row.size, row.line) for row in await store.cosignatures(sizes))
    tokens = _by_size((row.size, row.token) for row in await store.timestamps(sizes))
    return [
        Voucher(
            row.note + "".join(lines.get(row.size, ())), tuple(tokens.get(row.size, ()))
        )
        for row in rows
    ]


def _by_size(items: Iterable[tuple[int, _Item]]) -> dict[int, list[_Item]]:
    found: dict[int, list[_Item]] = {}
    for size, item in items:
        found.setdefault(size, []).append(item)
    return found


def _size(row: VouchedRow) -> int:
    return row.size
