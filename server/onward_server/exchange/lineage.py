"""What a tip was transferred from, and what the person concerned said there."""

from __future__ import annotations

from onward.core import consent
from onward.core.statements import parse_statement
from onward.v1 import statement_pb2
from onward_server.storage.contract import Store


async def binding(store: Store, parent_id: str) -> statement_pb2.Referral | None:
    """Returns the nearest referral whose consent binds a transfer, or None.

    Where the parent's does not, that of what it was transferred from may. So nobody
    loses the terms of a consent by passing a tip on without them. A referral and its
    parent never change; so this is read before the log's order is known.

    Args:
        store: where the referrals are.
        parent_id: the referral that is transferred.
    """
    while parent_id:
        row = await store.referral(parent_id)
        if row is None:
            break
        (entry,) = await store.statements([row.log_index])
        body = parse_statement(entry.jws).message.referral
        if consent.binds(body.basis, body.reporter_type):
            return body
        parent_id = row.parent_id
    return None
