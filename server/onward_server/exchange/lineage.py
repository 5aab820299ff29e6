"""What a tip was transferred from, and what the person concerned said there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from onward.core import consent
from onward.core.statements import parse_statement
from onward.v1 import statement_pb2
from onward_server.exchange.moving import referral_unknown
from onward_server.storage.contract import Store


@dataclass(frozen=True, slots=True)
class Lineage:
    """What is above a transfer; nothing above a referral that is none.

    Attributes:
        ids: the referrals above it, its parent first.
        binding: the one whose consent binds it, or None.
    """

    ids: tuple[str, ...] = ()
    binding: statement_pb2.Referral | None = None

    @property
    def parent_id(self) -> str:
        """The referral that is transferred; empty where none is."""
        return self.ids[0] if self.ids else ""


NO_TRANSFER: Final = Lineage()


async def read_lineage(store: Store, parent_id: str) -> Lineage:
    """Returns what is above a transfer.

    Where the parent's consent does not bind, that of what it was transferred from may.
    So nobody loses the terms of a consent by passing a tip on without them, or with
    others. A referral and its parent never change; so this is read before the log's
    order is known.

    Args:
        store: where the referrals are.
        parent_id: the referral that is transferred; empty for none.

    Raises:
        UnknownError: ``REFERRAL_UNKNOWN``: it is not there (yet), so what binds it is
            not known.
    """
    ids: list[str] = []
    told: list[tuple[statement_pb2.Referral, int, int]] = []
    while parent_id:
        row = await store.referral(parent_id)
        if row is None:
            raise referral_unknown(parent_id)
        ids.append(parent_id)
        (entry,) = await store.statements([row.log_index])
        body = parse_statement(entry.jws).message.referral
        told.append((body, body.basis, body.reporter_type))
        parent_id = row.parent_id
    return Lineage(tuple(ids), consent.binding(told))
