"""Which checkpoints of the log are witnessed, and who is told of which.

A checkpoint is *witnessed* when the witnesses of a policy that cosigned it make the
policy's quorum. With a policy without a quorum every checkpoint is, at once.

The cosignatures are in the database, one of each witness for each checkpoint: the
earliest, since it says most about when an entry was there at the latest. Those that
came in last are in memory too: they say how fresh the newest checkpoint is.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from onward.core.errors import QuotaError, Reason, UnavailableError
from onward.core.tlog_policy import Policy
from onward_server.exchange.asking import key_name
from onward_server.exchange.clock import Clock
from onward_server.exchange.cosigning import LogCosigner
from onward_server.exchange.ledger import Ledger
from onward_server.storage.contract import CheckpointRow, CosignatureRow, Store

MAX_WAIT: Final = 60.0
"""Seconds that a caller can wait for a quorum."""

PATIENCE: Final = 120.0
"""Seconds without a witnessed checkpoint after which strangers get one that is not."""

_RETRY_AFTER: Final = 1.0
_MAX_WAITING: Final = 256
_REMEMBERED: Final = 32
_PAGE: Final = 16


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A checkpoint with the cosignatures of a quorum, and when it got them."""

    row: CheckpointRow
    note: str
    since: float


class WitnessedLog:
    """Knows the log's checkpoints with their cosignatures.

    Args:
        ledger: its checkpoints, and its write transactions.
        store: where cosignatures are.
        policy: the witnesses and the quorum. Its logs are not looked at.
        cosigner: adds the log's own second signature.
        clock: measures patience.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        policy: Policy,
        cosigner: LogCosigner,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._policy = policy
        self._cosigner = cosigner
        self._clock = clock
        self._names = {
            key_name(witness.vkey): witness.name for witness in policy.witnesses
        }
        self._lines: OrderedDict[int, dict[str, CosignatureRow]] = OrderedDict()
        self._witnessed: Witnessed | None = None
        self._reached = asyncio.Event()
        self._shown: CheckpointRow | None = None
        self._waiting = 0

    async def begin(self) -> None:
        """Takes from the database what was witnessed before.

        What strangers were shown before is not written down. It was never newer than
        the log is now; so they are shown no less than that.
        """
        self._shown = self._ledger.head()
        before = self._shown.size
        while self._policy.quorum is not None and self._witnessed is None:
            sizes = await self._store.cosigned_up_to(before, *self._least, _PAGE)
            if not sizes:
                break
            self._witnessed = await self._first_quorum(sizes)
            before = sizes[-1] - 1

    async def last_size(self, key: str) -> int:
        """Returns the largest size that a key has cosigned; 0 for none."""
        size = self._ledger.head().size
        sizes = await self._store.cosigned_up_to(size, [key], 1, 1)
        return sizes[0] if sizes else 0

    async def keep(self, head: CheckpointRow, row: CosignatureRow) -> None:
        """Writes a verified cosignature down; then it counts.

        Raises:
            OnwardError: it could not be written.
        """
        await self._ledger.write(lambda writer: writer.put_cosignatures([row]))
        lines = self._lines.setdefault(head.size, {})
        lines[row.witness] = row
        while len(self._lines) > _REMEMBERED:
            self._lines.popitem(last=False)
        found = self._quorum(head, lines.values())
        if found:
            self._reach(found)

    async def refresh(self) -> None:
        """Takes over what another process has written down."""
        if self._policy.quorum is None:
            return
        size = self._ledger.head().size
        known = self._witnessed.row.size if self._witnessed else 0
        sizes = await self._store.cosigned_up_to(size, *self._least, _PAGE)
        found = await self._first_quorum([size for size in sizes if size > known])
        if found:
            self._reach(found)

    def _reach(self, found: Witnessed) -> None:
        """Takes a checkpoint as witnessed, and wakes whoever waits for one."""
        if self._witnessed is None or self._witnessed.row.size <= found.row.size:
            self._witnessed = found
            self._reached.set()
            self._reached = asyncio.Event()

    def note(self, head: CheckpointRow) -> str:
        """Returns a checkpoint with the log's own signatures."""
        return self._cosigner.cosigned(head.note)

    def published(self) -> str:
        """Returns the checkpoint for strangers, with all signatures that it has.

        The newest one that is witnessed. While there has been none for two minutes,
        the newest one of all: that witnesses fail must not stop the log. It never gets
        smaller, not by a restart either.
        """
        head, found = self._ledger.head(), self._witnessed
        chosen = head
        if found is not None and (
            found.row.size == head.size
            or self._clock.monotonic() - found.since < PATIENCE
        ):
            chosen = found.row
        if self._shown is not None and self._shown.size > chosen.size:
            chosen = self._shown
        self._shown = chosen
        if found is not None and found.row.size == chosen.size:
            return found.note
        lines = self._lines.get(chosen.size, {}).values()
        return self.note(chosen) + "".join(line.line for line in lines)

    def witnessed(self) -> str:
        """Returns the newest checkpoint that is witnessed; empty if none is."""
        if self._policy.quorum is None:
            return self.note(self._ledger.head())
        return self._witnessed.note if self._witnessed else ""

    async def covering(self, index: int) -> Witnessed | None:
        """Returns the first witnessed checkpoint that covers an entry, if there is one.

        It is the one that says most about when the entry was there at the latest.
        """
        if self._policy.quorum is None:
            head = self._ledger.head()
            return self._quorum(head, ()) if index < head.size else None
        last, first = self._witnessed, index + 1
        while last is not None and first <= last.row.size:
            sizes = await self._store.cosigned_from(first, *self._least, _PAGE)
            found = await self._first_quorum(sizes)
            if found is not None or not sizes:
                return found
            first = sizes[-1] + 1
        return None

    async def seen(self, index: int) -> str:
        """Returns the first checkpoint over an entry that anybody has cosigned.

        For those who trust other witnesses than this log's policy asks for. Empty if
        there is none.
        """
        keys = list(self._names)
        for size in await self._store.cosigned_from(index + 1, keys, 1, 1):
            row = await self._ledger.signed_at(size)
            lines = await self._store.cosignatures([size])
            if row is not None:
                return self.note(row) + "".join(line.line for line in lines)
        return ""

    async def wait(self, index: int, seconds: float) -> Witnessed:
        """Waits until an entry is covered by a witnessed checkpoint.

        Raises:
            UnavailableError: ``QUORUM_UNMET``: it was not in this time.
            QuotaError: too many wait already.
        """
        found = await self.covering(index)
        if found is not None:
            return found
        if self._waiting >= _MAX_WAITING:
            raise QuotaError(
                Reason.ERROR_REASON_QUOTA_EXCEEDED,
                "too many callers wait for witnesses; ask again without waiting",
                retry_after=_RETRY_AFTER,
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(min(seconds, MAX_WAIT)):
                return await self._wait(index)
        except TimeoutError:
            raise UnavailableError(
                Reason.ERROR_REASON_QUORUM_UNMET,
                "the witnesses have not cosigned a checkpoint with this entry yet; "
                "ask again, or take a receipt without them",
                retry_after=_RETRY_AFTER,
            ) from None
        finally:
            self._waiting -= 1

    async def _wait(self, index: int) -> Witnessed:
        """Waits as long as it takes."""
        while True:
            reached = self._reached
            found = await self.covering(index)
            if found is not None:
                return found
            await reached.wait()

    def _quorum(
        self, row: CheckpointRow, lines: Iterable[CosignatureRow]
    ) -> Witnessed | None:
        """Returns a checkpoint with its cosignatures, if they make the quorum."""
        known = [line for line in lines if line.witness in self._names]
        if not self._policy.is_quorum([self._names[line.witness] for line in known]):
            return None
        note = self.note(row) + "".join(line.line for line in known)
        return Witnessed(row, note, self._clock.monotonic())

    @property
    def _least(self) -> tuple[list[str], int]:
        """The keys that count, and how many of them a quorum takes at least."""
        return list(self._names), self._policy.least_witnesses

    async def _first_quorum(self, sizes: Sequence[int]) -> Witnessed | None:
        """Returns the first of these checkpoints that is witnessed."""
        rows = await self._store.cosignatures(sizes)
        for size in sizes:
            lines = [row for row in rows if row.size == size]
            row = await self._ledger.signed_at(size)
            found = self._quorum(row, lines) if row else None
            if found is not None:
                return found
        return None
