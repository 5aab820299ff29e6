"""Filling a log with entries that nobody published.

They have the size of real statements, and stand in the exchange's own database, tree
and checkpoints; only what they say is noise.
"""

from __future__ import annotations

import random
from hashlib import sha256
from pathlib import Path
from typing import Final

from onward.core.checkpoints import Checkpoint
from onward.core.merkle import leaf_hash
from onward.core.notes import NoteSigner
from onward.core.tiles import edge_tiles
from onward.core.tree import Tree
from onward_server.config import FILE_NAME, load
from onward_server.exchange.guard import Guard
from onward_server.material import load_log_signer
from onward_server.storage.contract import (
    WHOLE,
    Batch,
    CheckpointRow,
    StatementRow,
    Store,
    TileRow,
)
from onward_server.storage.sqlite import open_sqlite

_COMMIT: Final = 100
_STATEMENT: Final = 900


async def fill_log(folder: Path, entries: int) -> None:
    """Appends entries until the log of an exchange that does not run has so many."""
    config = load(folder / FILE_NAME, {})
    signer = load_log_signer(config.keys.log_key_file, config.exchange.origin)
    store = await open_sqlite(str(config.storage.database_file))
    guard = Guard(config.storage.guard_file)
    try:
        tree = await _append(store, signer, entries)
        guard.record(tree.size, tree.root)
    finally:
        guard.close()
        await store.close()


async def _append(store: Store, signer: NoteSigner, entries: int) -> Tree:
    """Appends entries, a hundred to a commit and a checkpoint."""
    head = await store.head()
    if head is None:
        raise ValueError("the exchange was not set up")
    tree = Tree.load(head.size, await store.tiles(edge_tiles(head.size)))
    while tree.size < entries:
        old, end = tree.size, min(tree.size + _COMMIT, entries)
        rows = [_row(index) for index in range(old, end)]
        tree = tree.extend([leaf_hash(row.digest) for row in rows])
        note = Checkpoint(signer.name, end, tree.root).sign(signer)
        batch = Batch(
            statements=rows,
            tiles=[
                TileRow(level, index, tile.data)
                for (level, index), tile in tree.changed_tiles(old).items()
            ],
            old_size=old,
            checkpoint=CheckpointRow(end, tree.root, note, head.signed_ms),
        )
        async with store.writing() as writer:
            await writer.write(batch)
    return tree


def _row(index: int) -> StatementRow:
    """Returns an entry that looks like a statement from afar."""
    filling = random.Random(index).randbytes(_STATEMENT // 2)  # noqa: S311 - no secret
    jws = f"{index}.{filling.hex()}"
    digest = sha256(jws.encode()).digest()
    return StatementRow(index, digest, jws, "synthetic", "", "", 0, (WHOLE,))
