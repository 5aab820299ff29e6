"""How a log goes on as another one.

A log cannot get another key or another origin, and one whose last entries are lost can
sign nothing any more. What can go on is the exchange, with a *successor*:

1. Entry 0 is a ``KeyChange`` with the successor's own log key. It names its
   predecessor, the last checkpoint that this one signed, and how many of its entries
   follow.
2. Entries 1 to n are those of the predecessor, as they are, in their order. So every
   custody chain is whole in the successor, and can go on there.
3. Then another ``KeyChange`` says that from here on the successor speaks, with the keys
   that were in force at the predecessor's end.

Receipts of the predecessor keep verifying with its key, for as long as a trust file
lists it. The two logs can be compared by anybody: the entries are the same, one place
apart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Final

from onward.core.checkpoints import Checkpoint
from onward.core.merkle import leaf_hash
from onward.core.notes import NoteSigner, sign_note
from onward.core.statements import new_statement_id, sign_statement
from onward.core.tree import Tree
from onward.v1 import statement_pb2
from onward_server.exchange.clock import Clock, to_timestamp
from onward_server.exchange.draft import Voice
from onward_server.exchange.genesis import introduction
from onward_server.storage.contract import (
    EVERYBODY,
    Batch,
    CheckpointRow,
    StatementRow,
    Store,
    TileRow,
)

_STEP: Final = 4096
"""Entries of one commit: bounds memory."""


@dataclass(frozen=True, slots=True)
class Heir:
    """Who goes on.

    Attributes:
        signer: signs the successor's checkpoints.
        voice: the exchange's, which says how its log begins.
        clock: tells the time.
    """

    signer: NoteSigner
    voice: Voice
    clock: Clock


async def carry_over(
    source: Store,
    target: Store,
    heir: Heir,
    predecessor: statement_pb2.Predecessor,
    advance: Callable[[int], object],
) -> None:
    """Begins a successor log, and gives it the entries of its predecessor.

    Args:
        source: the predecessor.
        target: has room for the successor's log, and no entry yet.
        heir: who goes on.
        predecessor: how the successor names it; ``carried_size`` entries are carried.
        advance: is told how many entries were carried since the last time.

    Raises:
        UnavailableError: one of the databases cannot be used. What was written so far
            is of no use.
    """
    tree, rows = Tree(), [_first(heir, predecessor)]
    async for entries in _pages(source, predecessor.carried_size):
        tree = await _append(target, heir, tree, [*rows, *entries])
        rows = []
        advance(len(entries))


async def _pages(source: Store, size: int) -> AsyncIterator[list[StatementRow]]:
    """Yields the entries of a log, each one place up; at least one page."""
    for first in range(0, max(size, 1), _STEP):
        found = await source.statements(range(first, min(first + _STEP, size)))
        yield [replace(row, log_index=row.log_index + 1) for row in found]


def _first(heir: Heir, predecessor: statement_pb2.Predecessor) -> StatementRow:
    """Returns the successor's first entry."""
    voice, now_ms = heir.voice, heir.clock.now_ms()
    vkey = heir.signer.vkey.format()
    body = introduction(voice.key.public, vkey, now_ms, predecessor)
    statement = sign_statement(
        statement_pb2.Statement(
            id=new_statement_id(now_ms, voice.entropy(10)),
            issuer=voice.name,
            made_time=to_timestamp(now_ms),
            key_change=body,
        ),
        voice.key,
    )
    return StatementRow(
        log_index=0,
        digest=statement.digest,
        jws=statement.jws,
        kind=statement.body_kind,
        referral_id="",
        subject="",
        logged_ms=now_ms,
        places=EVERYBODY,
    )


async def _append(
    target: Store, heir: Heir, tree: Tree, rows: list[StatementRow]
) -> Tree:
    """Appends entries to the successor; returns the tree that it has then."""
    grown = tree.extend([leaf_hash(row.digest) for row in rows])
    text = Checkpoint(heir.signer.name, grown.size, grown.root).text
    note = sign_note(text, [heir.signer])
    head = CheckpointRow(grown.size, grown.root, note, heir.clock.now_ms())
    tiles = [
        TileRow(level, index, tile.data)
        for (level, index), tile in grown.changed_tiles(tree.size).items()
    ]
    batch = Batch(statements=rows, tiles=tiles, old_size=tree.size, checkpoint=head)
    async with target.writing() as writer:
        await writer.write(batch)
    return grown
