"""Looking things up: referrals, lists, bundles; and who may see what.

* The publisher, and the publishers of the referrals that it was transferred from
  (``watchers``), see all custody of a referral.
* A recipient sees the referral, what concerns all recipients, and its own delivery.
* An auditor sees the custody of its jurisdictions, and where a tip of them went on to,
  never content; each look is logged before anything is shown.
* For everybody else the referral does not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onward.core.bundle import (
    ConsistencyProof,
    LoggedStatement,
    build_bundle,
    needed_sizes,
)
from onward.core.statements import parse_statement
from onward.core.tree import Tree
from onward.v1 import referral_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.auditing import (
    AuditAccessChange,
    access_to_log,
    grown_by,
)
from onward_server.exchange.directory import Caller
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.moving import referral_unknown
from onward_server.exchange.publishing import require_role
from onward_server.exchange.receipts import Logged
from onward_server.exchange.vouching import Vouching
from onward_server.storage.contract import (
    CheckpointRow,
    DeliveryRow,
    ReferralRow,
    StatementRow,
    Store,
)

_AUDITOR = vocabulary_pb2.ROLE_AUDITOR
_MAX_FAMILY = 256
"""Referrals of one bundle; a tip transferred more often has several bundles."""


@dataclass(frozen=True, slots=True)
class Record:
    """A referral as a caller may see it; ``statements`` only where they were asked."""

    row: ReferralRow
    deliveries: Sequence[DeliveryRow]
    statements: Sequence[Logged] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """How the exchange is. Keys: delivery states; urgencies (values in ms)."""

    checkpoint: str
    deliveries: dict[int, int]
    oldest_waiting: dict[int, int]


class Records:
    """Reads for members, within what each may see."""

    def __init__(self, ledger: Ledger, store: Store, vouching: Vouching) -> None:
        self._ledger = ledger
        self._store = store
        self._vouching = vouching

    async def get(self, caller: Caller, referral_id: str) -> Record:
        """Returns a referral with its statements.

        Raises:
            UnknownError: ``REFERRAL_UNKNOWN``: not there, or not for this caller.
        """
        row = await self._visible(caller, referral_id)
        deliveries = await self._store.deliveries([referral_id])
        chain = await self._store.chain(referral_id)
        shown = _shown(caller, row, chain)
        logged = await self._ledger.logged([entry.log_index for entry in shown])
        return Record(row, _own(caller, row, deliveries), logged)

    async def page(
        self,
        caller: Caller,
        side: referral_pb2.ReferralSide.ValueType,
        before_index: int,
        limit: int,
    ) -> list[Record]:
        """Returns referrals that the caller published or received, newest first.

        Args:
            caller: who asks.
            side: which of the two.
            before_index: only referrals with a smaller log index.
            limit: at most this many.
        """
        received = side == referral_pb2.REFERRAL_SIDE_RECEIVED
        find = self._store.received if received else self._store.published
        rows = await find(caller.name, before_index, limit)
        deliveries = await self._store.deliveries([row.referral_id for row in rows])
        return [
            Record(
                row,
                _own(
                    caller,
                    row,
                    [d for d in deliveries if d.referral_id == row.referral_id],
                ),
            )
            for row in rows
        ]

    async def bundle(self, caller: Caller, referral_id: str) -> bytes:
        """Returns the bundle of a referral, as JSON (see ``onward.core.bundle``).

        Raises:
            UnknownError: ``REFERRAL_UNKNOWN``: not there, or not for this caller.
        """
        row = await self._visible(caller, referral_id, auditors=True)
        family = await self._family(caller, row)
        if _AUDITOR in caller.entry.roles:
            await self._look_at_each(caller, family)
        chain = [
            entry
            for member in family
            for entry in _shown(
                caller, member, await self._store.chain(member.referral_id)
            )
        ]
        chain.sort(key=lambda entry: entry.log_index)
        directory = await self._directory_of(chain)
        last = max(entry.log_index for entry in (*chain, *directory))
        await self._ledger.reach(last + 1)
        sees_all = caller.name in row.watchers or _AUDITOR in caller.entry.roles
        recipient = "" if sees_all else caller.name
        return await self._assemble(referral_id, chain, directory, recipient)

    async def chains(
        self, caller: Caller, after_index: int, limit: int
    ) -> tuple[list[str], int]:
        """Returns ids of referrals of an auditor's jurisdictions, oldest first.

        Returns:
            The ids, and the log index to go on after; -1 when there are no more.
        """
        require_role(caller, _AUDITOR)
        size = self._ledger.head().size
        found = await self._store.in_jurisdictions(
            list(caller.entry.proto.jurisdictions), after_index, limit
        )
        rows = [row for row in found if row.log_index < size]
        last = rows[-1].log_index if len(rows) == limit else -1
        end = last + 1 if last >= 0 else size
        shown = grown_by(Tree(), (row.digest for row in rows))
        access = access_to_log(caller, "ListChains", after_index + 1, end, shown)
        deliveries = await self._store.deliveries([row.referral_id for row in rows])
        await self._ledger.apply(AuditAccessChange(access, _parties(rows, deliveries)))
        return [row.referral_id for row in rows], last

    async def status(self) -> Status:
        """Returns how the exchange is."""
        return Status(
            self._ledger.checkpoint(),
            dict(await self._store.state_counts()),
            dict(await self._store.oldest_waiting()),
        )

    async def _visible(
        self, caller: Caller, referral_id: str, *, auditors: bool = False
    ) -> ReferralRow:
        """Returns a referral that the caller may see."""
        row = await self._store.referral(referral_id)
        if row is None:
            raise referral_unknown(referral_id)
        if auditors and _AUDITOR in caller.entry.roles:
            visible = await self._in_scope(caller, row)
        else:
            visible = caller.name in row.watchers or any(
                delivery.recipient == caller.name
                for delivery in await self._store.deliveries([referral_id])
            )
        if not visible:
            raise referral_unknown(referral_id)
        return row

    async def _in_scope(self, caller: Caller, row: ReferralRow) -> bool:
        """Whether a referral's statement is one that this auditor may see."""
        codes = list(caller.entry.proto.jurisdictions)
        index = row.log_index
        return bool(await self._store.export(codes, index, index + 1, 1))

    async def _look_at_each(
        self, caller: Caller, family: Sequence[ReferralRow]
    ) -> None:
        """Logs an auditor's look at the chains of a bundle, each by itself.

        Who is a party to one of them need not know that there are others.
        """
        deliveries = await self._store.deliveries([row.referral_id for row in family])
        changes = (
            AuditAccessChange(
                statement_pb2.AuditAccess(
                    auditor=caller.name,
                    method="GetBundle",
                    referral_ids=[row.referral_id],
                ),
                _parties([row], deliveries),
            )
            for row in family
        )
        await asyncio.gather(*map(self._ledger.apply, changes))

    async def _family(self, caller: Caller, row: ReferralRow) -> list[ReferralRow]:
        """Returns a referral and those it was transferred into, that one may see."""
        family, queue = [row], [row.referral_id]
        while queue and len(family) < _MAX_FAMILY:
            for child_id in await self._store.children(queue.pop(0)):
                child = await self._store.referral(child_id)
                if child is None or child.rejected or len(family) >= _MAX_FAMILY:
                    continue
                audits = _AUDITOR in caller.entry.roles
                if audits or caller.name in child.watchers:
                    family.append(child)
                    queue.append(child_id)
        return family

    async def _directory_of(self, chain: Iterable[StatementRow]) -> list[StatementRow]:
        """Returns the key changes, and the history of every member of a chain."""
        members: set[str] = set()
        for entry in chain:
            message = parse_statement(entry.jws).message
            members |= {message.issuer, *message.referral.recipients}
        rows = await self._store.history("key_change", "")
        for member in sorted(members - {self._ledger.exchange}):
            rows += await self._store.history("directory_change", member)
        return sorted(rows, key=lambda entry: entry.log_index)

    async def _assemble(
        self,
        referral_id: str,
        chain: Sequence[StatementRow],
        directory: Sequence[StatementRow],
        recipient: str,
    ) -> bytes:
        """Puts a bundle together, everything up to one checkpoint."""
        last = max(entry.log_index for entry in (*chain, *directory))
        head, note = await self._vouching.checkpoint(last)
        vouchers = await self._vouching.vouchers(
            (entry.log_index for entry in chain), note
        )
        statements = await self._with_receipts(chain, head)
        members = await self._with_receipts(directory, head)
        sizes = needed_sizes(note, [*statements, *members], vouchers.notes)
        proofs = [
            ConsistencyProof(
                size,
                root,
                tuple(await self._ledger.receipts.consistency(size, head.size)),
            )
            for size, root in sizes.items()
        ]
        return build_bundle(
            referral_id, note, statements, members, proofs, recipient, vouchers
        )

    async def _with_receipts(
        self, rows: Sequence[StatementRow], head: CheckpointRow
    ) -> list[LoggedStatement]:
        """Returns statements with receipts up to one checkpoint."""
        logged = await self._ledger.receipts.up_to(rows, head)
        return [LoggedStatement(entry.jws, entry.receipt) for entry in logged]


def _shown(
    caller: Caller, row: ReferralRow, chain: Iterable[StatementRow]
) -> list[StatementRow]:
    """Returns the statements of a chain that the caller may see."""
    if caller.name in row.watchers or _AUDITOR in caller.entry.roles:
        return list(chain)
    return [entry for entry in chain if entry.subject in ("", caller.name)]


def _parties(
    rows: Sequence[ReferralRow], deliveries: Iterable[DeliveryRow]
) -> list[str]:
    """Returns whom a look at referrals concerns; the deliveries may be of more."""
    names = {watcher for row in rows for watcher in row.watchers}
    named = {row.referral_id for row in rows}
    names |= {item.recipient for item in deliveries if item.referral_id in named}
    return sorted(names)


def _own(
    caller: Caller, row: ReferralRow, deliveries: Iterable[DeliveryRow]
) -> list[DeliveryRow]:
    """Returns the deliveries that the caller may see."""
    if caller.name in row.watchers:
        return list(deliveries)
    return [delivery for delivery in deliveries if delivery.recipient == caller.name]
