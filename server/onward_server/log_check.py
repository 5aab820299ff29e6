"""Recomputing a log from the bytes of its statements, and comparing all of it.

1. Each statement's bytes have the digest that the log holds, and none is missing.
2. The tree over these digests has every hash that is stored as a tile.
3. Each checkpoint that was signed, from the first to the newest, has the root of that
   tree at its size, and the signature of the log's key.
4. No entry comes after the newest checkpoint.
5. The guard holds no more than the log, and no other root.

Memory does not grow with the log: it is read some thousand entries at a time, and of
the tree only the edge is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from onward.core.checkpoints import Checkpoint
from onward.core.errors import OnwardError
from onward.core.merkle import HASH_SIZE, leaf_hash
from onward.core.notes import Vkey, open_note
from onward.core.statements import statement_digest
from onward.core.tiles import TILE_WIDTH, TileId, edge_tiles
from onward.core.tree import Tile, Tree
from onward_server.exchange.guard import SignedHead
from onward_server.storage.contract import CheckpointRow, StatementRow, Store

MAX_PROBLEMS: Final = 50
"""More are counted and not told: one wrong bit can be behind all of them."""

_STEP: Final = 4 * TILE_WIDTH


@dataclass(slots=True)
class LogCheck:
    """What was found.

    Attributes:
        size: entries that the newest checkpoint covers.
        root: its root.
        statements: how many were read.
        tiles: how many stored tiles were compared.
        checkpoints: how many were verified.
        problems: what is wrong, the first of it.
        more: how many problems are not among these.
    """

    size: int = 0
    root: bytes = b""
    statements: int = 0
    tiles: int = 0
    checkpoints: int = 0
    problems: list[str] = field(default_factory=list)
    more: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def wrong(self, what: str) -> None:
        """Notes a problem."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(what)
        else:
            self.more += 1


async def check_log(
    store: Store,
    vkey: Vkey,
    guarded: SignedHead | None,
    begin: Callable[[int], Callable[[int], object]],
) -> LogCheck:
    """Recomputes a log. The exchange may run meanwhile.

    Args:
        store: where the log is; reading suffices.
        vkey: the log's key; its name is the log's origin.
        guarded: what the guard held before ``store`` was opened.
        begin: is told how many entries there are; returns what is told how many were
            checked since the last time.

    Raises:
        UnavailableError: the database cannot be read.
    """
    found = LogCheck()
    head = await store.head()
    if head is not None:
        found.size, found.root = head.size, head.root
        await _Recomputing(store, vkey, guarded, found).run(begin(head.size))
    await _check_end(store, guarded, found)
    return found


async def _check_end(store: Store, guarded: SignedHead | None, found: LogCheck) -> None:
    """Checks that nothing is behind the newest checkpoint, nor the guard before it."""
    if guarded is not None and guarded.size > found.size:
        found.wrong(
            f"guard: {guarded.size} entries were signed, and the log has {found.size}"
        )
    beyond = await store.digests(found.size, 1)
    head = await store.head()
    if beyond and (head.size if head else 0) == found.size:
        found.wrong(f"entry {found.size}: it is after the newest checkpoint")


@dataclass(slots=True)
class _Recomputing:
    """One pass over the log, which grows the tree again from its beginning."""

    store: Store
    vkey: Vkey
    guarded: SignedHead | None
    found: LogCheck
    tree: Tree = field(default_factory=Tree)
    _edge: Mapping[TileId, Tile] = field(default_factory=dict)

    async def run(self, advance: Callable[[int], object]) -> None:
        """Goes through all that the newest checkpoint covers."""
        for first in range(0, self.found.size, _STEP):
            end = min(first + _STEP, self.found.size)
            rows = await self.store.statements(range(first, end))
            if len(rows) < end - first:
                there = {row.log_index for row in rows}
                gone = next(i for i in range(first, end) if i not in there)
                self.found.wrong(
                    f"entry {gone}: it is missing; what follows was not checked"
                )
                return
            known = self._grow(rows)
            await self._compare_tiles(known)
            await self._compare_checkpoints(first, known)
            advance(len(rows))

    def _grow(self, rows: Sequence[StatementRow]) -> Mapping[TileId, Tile]:
        """Checks statements, and grows the tree; returns the tiles of these sizes."""
        since = self.tree.size
        for row in rows:
            if statement_digest(row.jws) != row.digest:
                self.found.wrong(
                    f"entry {row.log_index}: the statement's bytes do not have the "
                    "digest that is in the log"
                )
        self.found.statements += len(rows)
        # With what the log holds: one wrong statement must not hide the rest.
        self.tree = self.tree.extend([leaf_hash(row.digest) for row in rows])
        known = {**self._edge, **self.tree.changed_tiles(since)}
        self._edge = {tile: known[tile] for tile in edge_tiles(self.tree.size)}
        return known

    async def _compare_tiles(self, known: Mapping[TileId, Tile]) -> None:
        """Compares the tiles that will not grow any more with those that are stored."""
        last = self.tree.size == self.found.size
        done = [tile for tile in known if last or known[tile].width == TILE_WIDTH]
        stored = await self.store.tiles(done)
        for tile in done:
            self.found.tiles += 1
            expected = known[tile].data
            # The last tiles may have grown since.
            if stored.get(tile, b"")[: len(expected)] != expected:
                self.found.wrong(_differs(tile, expected, stored.get(tile)))

    async def _compare_checkpoints(
        self, first: int, known: Mapping[TileId, Tile]
    ) -> None:
        """Verifies the checkpoints of these sizes."""
        end = self.tree.size
        covering = await self.store.checkpoints_covering(range(first, end))
        rows = {row.size: row for row in covering.values() if row.size <= end}
        for size, row in sorted(rows.items()):
            self.found.checkpoints += 1
            self._compare_checkpoint(row, Tree(size, known).root)
        guarded = self.guarded
        if (
            guarded is not None
            and first < guarded.size <= end
            and Tree(guarded.size, known).root != guarded.root
        ):
            self.found.wrong(f"guard: another root was signed at size {guarded.size}")

    def _compare_checkpoint(self, row: CheckpointRow, root: bytes) -> None:
        """Verifies one checkpoint."""
        place = f"checkpoint of size {row.size}"
        if row.root != root:
            self.found.wrong(f"{place}: the tree has another root")
        try:
            text = open_note(row.note, [self.vkey]).text
        except OnwardError as error:
            self.found.wrong(f"{place}: {error.message}")
            return
        if text != Checkpoint(self.vkey.name, row.size, root).text:
            self.found.wrong(f"{place}: something else was signed")


def _differs(tile: TileId, expected: bytes, stored: bytes | None) -> str:
    """Says how a stored tile is not what it must be."""
    level, index = tile
    if stored is None:
        return f"tile {level}/{index}: it is missing"
    places = range(0, len(expected), HASH_SIZE)
    wrong = next(
        at // HASH_SIZE
        for at in places
        if stored[at : at + HASH_SIZE] != expected[at : at + HASH_SIZE]
    )
    return f"tile {level}/{index}: hash {wrong} is not the tree's"
