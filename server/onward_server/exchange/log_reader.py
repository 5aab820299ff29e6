"""Reading the log: its newest checkpoint, its entries, and what proves them.

All that is told here is public: a digest says nothing about its statement.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from onward.core.errors import RangeError, Reason, UnknownError
from onward.core.tiles import TilePath
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.log_files import read_tile
from onward_server.exchange.voucher_pages import VoucherPage, voucher_page
from onward_server.exchange.witnessed_log import WitnessedLog
from onward_server.storage.contract import StatementRow, Store

_READERS: Final = 2
"""Strangers' reads at once: the others of the store's connections stay for members."""


class LogReader:
    """Answers questions about the log from what is committed."""

    def __init__(self, ledger: Ledger, store: Store, witnessed: WitnessedLog) -> None:
        self._ledger = ledger
        self._store = store
        self._witnessed = witnessed
        self._turns = asyncio.Semaphore(_READERS)

    def checkpoint(self) -> str:
        """Returns the newest checkpoint, a signed note."""
        return self._ledger.checkpoint()

    def published(self) -> str:
        """Returns the checkpoint for strangers, with all signatures that it has."""
        return self._witnessed.published()

    def witnessed(self) -> str:
        """Returns the newest witnessed checkpoint; empty while there is none."""
        return self._witnessed.witnessed()

    async def receipt(self, digest: bytes) -> str:
        """Returns a receipt of an entry, up to the newest checkpoint.

        Raises:
            UnknownError: ``ENTRY_UNKNOWN``.
        """
        row = await self._entry(digest)
        (logged,) = await self._ledger.receipts.up_to([row], self._ledger.head())
        return logged.receipt

    async def witnessed_receipt(self, digest: bytes, seconds: float) -> str:
        """Returns a receipt of an entry, up to a checkpoint that is witnessed.

        Args:
            digest: the entry.
            seconds: how long to wait for the witnesses.

        Raises:
            UnknownError: ``ENTRY_UNKNOWN``.
            UnavailableError: ``QUORUM_UNMET``: there was none in this time.
            QuotaError: too many wait already.
        """
        row = await self._entry(digest)
        found = await self._witnessed.wait(row.log_index, seconds)
        checkpoint = replace(found.row, note=found.note)
        (logged,) = await self._ledger.receipts.up_to([row], checkpoint)
        return logged.receipt

    async def _entry(self, digest: bytes) -> StatementRow:
        """Returns an entry that the newest checkpoint covers."""
        row = await self._store.find_statement(digest)
        if row is None:
            raise UnknownError(
                Reason.ERROR_REASON_ENTRY_UNKNOWN,
                "the log has no entry with this digest",
            )
        await self._ledger.reach(row.log_index + 1)
        return row

    async def consistency(self, first: int, second: int) -> list[bytes]:
        """Returns the proof that the tree of one size began that of another.

        Raises:
            RangeError: ``LOG_RANGE``: not 1 <= first <= second <= the log's size.
        """
        return await self._ledger.receipts.consistency(first, second)

    async def entries(self, first: int, limit: int) -> list[bytes]:
        """Returns the digests of consecutive entries; none at the log's very end.

        Raises:
            RangeError: ``LOG_RANGE``: ``first`` is past the log's end.
        """
        size = (await self._ledger.reach(first)).size
        if not 0 <= first <= size:
            raise RangeError(
                Reason.ERROR_REASON_LOG_RANGE,
                f"the log has the entries 0 to {size - 1}; {first} is none of them",
                metadata={"size": str(size)},
            )
        return await self._store.digests(first, min(limit, size - first))

    async def vouchers(self, first: int, spacing_ms: int, limit: int) -> VoucherPage:
        """Returns checkpoints that others vouch for; see :func:`voucher_page`."""
        return await voucher_page(self._store, first, spacing_ms, limit)

    async def tile(self, path: TilePath) -> bytes:
        """Returns a tile or a bundle of entries that the newest checkpoint covers.

        A partial one of any width up to the present one is answered, also when it is
        full by now.

        Raises:
            RangeError: ``LOG_RANGE``: the log has not so many entries.
        """
        async with self._turns:
            size = (await self._ledger.reach(path.least_size)).size
            return await read_tile(self._store, size, path)
