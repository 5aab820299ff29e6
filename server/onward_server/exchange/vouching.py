"""What a bundle brings along to say when its statements existed.

For each statement that is the first checkpoint over it which the quorum of this log's
policy cosigned, the first one that any witness cosigned, and of each timestamp
authority its first token. Whoever verifies the bundle decides whom to believe, and
takes the earliest time of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from onward.core.bundle import StampedCheckpoint, Vouchers
from onward.core.checkpoints import Checkpoint
from onward.core.notes import parse_note
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.witnessed_log import WitnessedLog
from onward_server.storage.contract import CheckpointRow, Store

_MAX_BOUNDED: Final = 128
"""Statements for which the closest bound is looked for; the others get a later one."""


class Vouching:
    """Finds vouchers.

    Args:
        ledger: its checkpoints.
        store: where tokens are.
        witnessed: where cosignatures are.
    """

    def __init__(self, ledger: Ledger, store: Store, witnessed: WitnessedLog) -> None:
        self._ledger = ledger
        self._store = store
        self._witnessed = witnessed

    async def checkpoint(self, last: int) -> tuple[CheckpointRow, str]:
        """Returns the checkpoint for a bundle, and its note with all signatures.

        Args:
            last: the index of the bundle's last statement.

        Returns:
            The newest one that is witnessed, if it covers that statement, and else the
            newest one of all.
        """
        note = self._witnessed.witnessed()
        row = await self._ledger.signed_at(_size(note)) if note else None
        if row is not None and row.size > last:
            return row, note
        head = self._ledger.head()
        return head, self._witnessed.note(head)

    async def vouchers(self, indexes: Iterable[int], newest: str) -> Vouchers:
        """Returns what says by when some entries existed.

        Args:
            indexes: of the entries.
            newest: the bundle's own checkpoint, a note. No other one is larger.
        """
        size = _size(newest)
        chosen = _spread(sorted(set(indexes)))
        notes = [note for index in chosen for note in await self._cosigned(index)]
        unique = [note for note in dict.fromkeys(notes) if note and note != newest]
        stamped = [
            item for index in chosen for item in await self._stamped(index, size)
        ]
        return Vouchers(
            tuple(note for note in unique if _size(note) <= size),
            tuple(dict.fromkeys(stamped)),
        )

    async def _cosigned(self, index: int) -> Sequence[str]:
        """Returns the first checkpoints over an entry that witnesses cosigned."""
        quorum = await self._witnessed.covering(index)
        return [quorum.note if quorum else "", await self._witnessed.seen(index)]

    async def _stamped(self, index: int, size: int) -> list[StampedCheckpoint]:
        """Returns the first tokens over an entry, on trees up to a size."""
        stamped = []
        for row in await self._store.first_timestamps(index + 1):
            checkpoint = await self._ledger.signed_at(row.size)
            if checkpoint is not None and row.size <= size:
                note = self._witnessed.note(checkpoint)
                stamped.append(StampedCheckpoint(note, row.token))
        return stamped


def _spread(indexes: Sequence[int]) -> Sequence[int]:
    """Returns some of many indexes, evenly chosen, the last one among them."""
    step = -(-len(indexes) // _MAX_BOUNDED) or 1
    return indexes[::-1][::step][::-1]


def _size(note: str) -> int:
    return Checkpoint.parse(parse_note(note).text).size
