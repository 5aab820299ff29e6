"""Filling an exchange with what nobody published.

Entries and referrals have the size of real ones, and stand in the exchange's own
database, tree and checkpoints; only what they say is noise.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Final

from onward.core.checkpoints import Checkpoint
from onward.core.merkle import leaf_hash
from onward.core.notes import NoteSigner
from onward.core.statements import new_statement_id
from onward.core.tiles import edge_tiles
from onward.core.tree import Tree
from onward.v1 import vocabulary_pb2
from onward_server.config import FILE_NAME, load
from onward_server.databases import open_store
from onward_server.exchange.guard import Guard
from onward_server.material import load_log_signer
from onward_server.storage.contract import (
    WHOLE,
    Batch,
    CheckpointRow,
    DeliveryRow,
    ReferralRow,
    StatementRow,
    Store,
    TileRow,
    Topic,
)

_ENTRIES_IN_COMMIT: Final = 100
_REFERRALS_IN_COMMIT: Final = 2_000
_STATEMENT: Final = 900
_CONTENT: Final = 1_200
_PLACE: Final = "US-OH"
_EVERY_MS: Final = 1_000
"""Between two referrals of the past."""
_LATER_MS: Final = 365 * 24 * 3600 * 1000
"""When content of the past is to be erased, and an outcome is due: not in our time."""

_STORY: Final = ("referral", "acceptance", "handover", "received")
"""What was said about each referral of the past."""


async def fill_log(folder: Path, entries: int) -> None:
    """Appends entries until the log of an exchange that does not run has so many."""
    if not entries:
        return
    async with _opened(folder) as log:
        while log.tree.size < entries:
            end = min(log.tree.size + _ENTRIES_IN_COMMIT, entries)
            rows = [_entry(index) for index in range(log.tree.size, end)]
            await log.append(Batch(statements=rows))


async def fill_referrals(folder: Path, referrals: int) -> None:
    """Adds referrals to an exchange that does not run; all were received in the past.

    Their publisher is the agency ``hotline``; their recipients are ``archive`` and
    ``desk``, in turns.
    """
    if not referrals:
        return
    config = load(folder / FILE_NAME, {})
    async with _opened(folder) as log:
        begin_ms = log.now_ms - referrals * _EVERY_MS
        past = _Past(config.exchange.trust_domain, begin_ms)
        for begun in range(0, referrals, _REFERRALS_IN_COMMIT):
            number = min(_REFERRALS_IN_COMMIT, referrals - begun)
            await log.append(past.next(log.tree.size, number))


class _Log:
    """Appends to the log of an exchange that does not run; made by :func:`_opened`."""

    def __init__(
        self, store: Store, signer: NoteSigner, tree: Tree, now_ms: int
    ) -> None:
        self._store = store
        self._signer = signer
        self.tree = tree
        self.now_ms = now_ms

    async def append(self, batch: Batch) -> None:
        """Writes a batch with the tiles and the head that its entries lead to."""
        old = self.tree.size
        self.tree = self.tree.extend(
            [leaf_hash(row.digest) for row in batch.statements]
        )
        size, root = self.tree.size, self.tree.root
        note = Checkpoint(self._signer.name, size, root).sign(self._signer)
        batch.old_size = old
        batch.checkpoint = CheckpointRow(size, root, note, self.now_ms)
        batch.tiles = [
            TileRow(level, index, tile.data)
            for (level, index), tile in self.tree.changed_tiles(old).items()
        ]
        async with self._store.writing() as writer:
            await writer.write(batch)


@asynccontextmanager
async def _opened(folder: Path) -> AsyncIterator[_Log]:
    """Opens the log of an exchange; its guard knows at the end what was appended."""
    config = load(folder / FILE_NAME, {})
    signer = load_log_signer(config.keys.log_key_file, config.exchange.origin)
    store = await open_store(config)
    guard = Guard(config.storage.guard_file)
    try:
        head = await store.head()
        if head is None:
            raise ValueError("the exchange was not set up")
        tree = Tree.load(head.size, await store.tiles(edge_tiles(head.size)))
        log = _Log(store, signer, tree, head.signed_ms)
        yield log
        guard.record(log.tree.size, log.tree.root)
    finally:
        guard.close()
        await store.close()


class _Past:
    """Referrals that went from one member to others, one after the other."""

    def __init__(self, domain: str, begin_ms: int) -> None:
        agency = f"spiffe://{domain}/agency"
        self._publisher = f"{agency}/hotline"
        self._recipients = (f"{agency}/archive", f"{agency}/desk")
        self._moments = enumerate(count(begin_ms, _EVERY_MS))

    def next(self, begin: int, referrals: int) -> Batch:
        """Returns the next referrals; their first entry has the index ``begin``."""
        batch = Batch()
        for index in range(begin, begin + referrals * len(_STORY), len(_STORY)):
            self._add(batch, index)
        return batch

    def _add(self, batch: Batch, index: int) -> None:
        """Adds the next referral, with all that was said about it."""
        number, now_ms = next(self._moments)
        luck = random.Random(number)  # noqa: S311 - no secret
        name = new_statement_id(now_ms, luck.randbytes(10))
        sealed = luck.randbytes(_CONTENT)
        entries = list(_entries(luck, index, name, now_ms))
        batch.statements += entries
        batch.feed += [
            (self._publisher, Topic.CUSTODY, row.log_index) for row in entries
        ]
        digest = sha256(sealed).digest()
        batch.contents.append((digest, sealed))
        batch.referrals[name] = self._referral(entries[0], digest)
        recipient = self._recipients[number % len(self._recipients)]
        batch.deliveries[name, recipient] = _delivery(entries[0], recipient)

    def _referral(self, entry: StatementRow, content_digest: bytes) -> ReferralRow:
        """Returns the referral that an entry published."""
        return ReferralRow(
            referral_id=entry.referral_id,
            digest=entry.digest,
            log_index=entry.log_index,
            answer_index=entry.log_index + 1,
            rejected=False,
            publisher=self._publisher,
            watchers=(self._publisher,),
            parent_id="",
            urgency=vocabulary_pb2.URGENCY_ROUTINE,
            jurisdiction=_PLACE,
            accepted_ms=entry.logged_ms,
            expire_ms=entry.logged_ms + _LATER_MS,
            content_digest=content_digest,
            content_size=_CONTENT,
            erased=False,
            retracted=False,
            test=False,
            traceparent="",
            places=(_PLACE,),
        )


def _entries(
    luck: random.Random, index: int, referral_id: str, now_ms: int
) -> Iterator[StatementRow]:
    """Yields what was said about a referral, from an index of the log on."""
    for place, kind in enumerate(_STORY, index):
        jws = _noise(luck, place)
        digest = sha256(jws.encode()).digest()
        yield StatementRow(place, digest, jws, kind, referral_id, "", now_ms, (_PLACE,))


def _delivery(entry: StatementRow, recipient: str) -> DeliveryRow:
    """Returns the delivery of that referral: received, and watched over."""
    return DeliveryRow(
        referral_id=entry.referral_id,
        recipient=recipient,
        state=vocabulary_pb2.DELIVERY_STATE_RECEIVED,
        state_ms=entry.logged_ms,
        urgency=vocabulary_pb2.URGENCY_ROUTINE,
        order_index=entry.log_index + 1,
        waiting=False,
        attempt=1,
        outcome_within_ms=_LATER_MS,
        received_ms=entry.logged_ms,
        alarm_ms=entry.logged_ms + _LATER_MS,
    )


def _entry(index: int) -> StatementRow:
    """Returns an entry that looks like a statement from afar."""
    jws = _noise(random.Random(index), index)  # noqa: S311 - no secret
    digest = sha256(jws.encode()).digest()
    return StatementRow(index, digest, jws, "synthetic", "", "", 0, (WHOLE,))


def _noise(luck: random.Random, index: int) -> str:
    """Returns a text as long as a statement; no other index has it."""
    return f"{index}.{luck.randbytes(_STATEMENT // 2).hex()}"
