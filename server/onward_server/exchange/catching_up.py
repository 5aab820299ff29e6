"""What a ledger takes from the database: all of it at its start, and later what moved.

The log can move on without this process: another one on the same database was first, or
an own commit was durable though it was reported as failed. Whatever moved it, the log
must have grown from what this process has seen. A database that lost entries, as a
standby may that was promoted too early, is refused: signing on would fork the log.
"""

from __future__ import annotations

import json
from typing import Final

from onward.core.directory import MemberEntry
from onward.core.errors import (
    MalformedError,
    Reason,
    StateError,
    UnavailableError,
    VerificationError,
)
from onward.core.merkle import leaf_hash, verify_consistency
from onward.core.tree import Tree
from onward.v1 import directory_pb2
from onward_server.exchange.directory import Registration
from onward_server.exchange.guard import another_history, entries_lost
from onward_server.exchange.policy import DisclosurePolicy, PolicyInForce
from onward_server.exchange.receipts import Receipts
from onward_server.storage.contract import CheckpointRow, Store

_NEAR: Final = 1024
"""Entries that are appended one by one; for more of them the tiles are read."""


async def read_tree(
    store: Store, receipts: Receipts, head: CheckpointRow | None, known: Tree
) -> Tree:
    """Returns the tree of the newest checkpoint.

    Args:
        store: has the entries.
        receipts: reads tiles.
        head: that checkpoint; None before the first entry.
        known: the tree that this process has seen last.

    Raises:
        StateError: it has not grown from that one.
        UnavailableError: it is not the one that was signed.
    """
    size = head.size if head else 0
    if size < known.size:
        raise entries_lost(size, known.size)
    if head is None or known.size == 0 or size - known.size > _NEAR:
        return await _read_tiles(receipts, head, known)
    # That the root comes out by appending to what was known proves that it only grew.
    digests = await store.digests(known.size, size - known.size)
    tree = known.extend([leaf_hash(digest) for digest in digests])
    if (tree.size, tree.root) != (size, head.root):
        raise another_history(known.size)
    return tree


async def _read_tiles(
    receipts: Receipts, head: CheckpointRow | None, known: Tree
) -> Tree:
    """Returns the tree as its tiles are stored."""
    size = head.size if head else 0
    tree = await receipts.tree(size, range(max(known.size - 1, 0), known.size))
    if head is not None and tree.root != head.root:
        raise UnavailableError(
            Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
            f"the stored tiles do not have the root that was signed at size {size}; "
            "the database is damaged. Restore a backup; nothing is signed until then",
        )
    if known.size:
        try:
            proof = tree.consistency_proof(known.size)
            verify_consistency(known.size, size, known.root, tree.root, proof)
        except VerificationError:
            raise another_history(known.size) from None
    return tree


async def read_directory(store: Store) -> list[Registration]:
    """Returns the present members."""
    members = await store.members()
    rows = await store.statements([row.log_index for row in members])
    digests = {row.log_index: row.digest for row in rows}
    return [
        Registration(
            MemberEntry.from_proto(directory_pb2.Member.FromString(row.entry)),
            row.log_index,
            digests[row.log_index],
        )
        for row in members
    ]


async def read_policy(store: Store, present: PolicyInForce) -> PolicyInForce:
    """Returns the policy in force: the present one if none was logged after it.

    Raises:
        StateError: POLICY_INVALID: this release cannot use it, or reads it otherwise
            than it was written.
    """
    row = await store.policy(b"")
    if row is None or row.log_index == present.log_index:
        return present
    (change,) = await store.statements([row.log_index])
    try:
        policy = DisclosurePolicy.load_logged(json.loads(row.files))
    except MalformedError as error:
        raise StateError(
            error.reason,
            f"the policy set in force, {row.version}, is none that this release can "
            f"use: {error.message}. Start the release before, and apply a set that "
            "suits both",
        ) from error
    if policy.digest != row.digest:
        raise StateError(
            Reason.ERROR_REASON_POLICY_INVALID,
            f"the policy set in force, {row.version}, has the digest "
            f"{row.digest.hex()}, and this release computes {policy.digest.hex()}; "
            "start the release that put it in force",
        )
    return PolicyInForce(policy, row.log_index, change.digest)
