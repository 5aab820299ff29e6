"""Reading the log: its newest checkpoint, its entries, and what proves them.

All that is told here is public: a digest says nothing about its statement.
"""

from __future__ import annotations

import asyncio
from typing import Final

from onward.core.errors import RangeError, Reason, UnknownError
from onward.core.tiles import TilePath
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.log_files import read_tile
from onward_server.storage.contract import Store

_READERS: Final = 2
"""Strangers' reads at once: the others of the store's connections stay for members."""


class LogReader:
    """Answers questions about the log from what is committed."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger = ledger
        self._store = store
        self._turns = asyncio.Semaphore(_READERS)

    def checkpoint(self) -> str:
        """Returns the newest checkpoint, a signed note."""
        return self._ledger.checkpoint()

    async def receipt(self, digest: bytes) -> str:
        """Returns a receipt of an entry, up to the newest checkpoint.

        Raises:
            UnknownError: ``ENTRY_UNKNOWN``.
        """
        row = await self._store.find_statement(digest)
        head = self._ledger.head()
        if row is None or row.log_index >= head.size:
            raise UnknownError(
                Reason.ERROR_REASON_ENTRY_UNKNOWN,
                "the log has no entry with this digest",
            )
        (logged,) = await self._ledger.receipts.up_to([row], head)
        return logged.receipt

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
        size = self._ledger.head().size
        if not 0 <= first <= size:
            raise RangeError(
                Reason.ERROR_REASON_LOG_RANGE,
                f"the log has the entries 0 to {size - 1}; {first} is none of them",
                metadata={"size": str(size)},
            )
        return await self._store.digests(first, min(limit, size - first))

    async def tile(self, path: TilePath) -> bytes:
        """Returns a tile or a bundle of entries that the newest checkpoint covers.

        A partial one of any width up to the present one is answered, also when it is
        full by now.

        Raises:
            RangeError: ``LOG_RANGE``: the log has not so many entries.
        """
        size = self._ledger.head().size
        async with self._turns:
            return await read_tile(self._store, size, path)
