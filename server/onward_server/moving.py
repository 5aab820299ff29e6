"""Moving an exchange from its SQLite file into a PostgreSQL database.

1. The target is looked at: it is empty, or holds what an earlier attempt at the same
   move brought there. The source is locked: the exchange does not run.
2. The whole source is checked: the log recomputed from the bytes of its statements
   (:mod:`onward_server.log_check`), every content that is stored decrypted. What is
   damaged is not moved.
3. All rows are copied, each of them once, however often the move is cut off.
4. All rows of the copy are read back and compared with the source's. Then the log is
   recomputed from the copy too, and contents are decrypted, by the backend that will
   serve them.
5. The source is marked: from here on no release opens it. Only then is the target
   opened for exchanges, and named by the configuration.

Whoever is cut off runs it again. At any moment at most one of the two can be served, so
the log is never forked. The restore guard stays as it is: it compares with whichever
database the exchange is started on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Final

from onward.core.errors import (
    MalformedError,
    Reason,
    StateError,
    UnavailableError,
)
from onward.core.notes import Vkey
from onward_server.config import Config
from onward_server.exchange.clock import Entropy
from onward_server.exchange.guard import read_guard
from onward_server.log_check import LogCheck, check_log
from onward_server.material import load_log_signer
from onward_server.storage.contract import Store
from onward_server.storage.moving import PLACES, TABLES, Table
from onward_server.storage.postgres import migrate_postgres, open_postgres
from onward_server.storage.postgres.moving import PostgresTarget, open_target
from onward_server.storage.sqlite import open_sqlite
from onward_server.storage.sqlite.moving import SqliteSource, mark_moved, moved_by

_SAMPLE: Final = 100
"""So many contents of the copy are decrypted; which ones follows from the move."""

Phase = Callable[
    [str], AbstractContextManager[Callable[[int], Callable[[int], object]]]
]
"""Is told what is done next; gives what is told how many steps that has, which returns
what is told how many were done since the last time."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What came out.

    Attributes:
        entries: how many entries the log has.
        source: the file that nobody opens any more. It still holds contents.
    """

    entries: int
    source: Path


async def move(config: Config, url: str, entropy: Entropy, phase: Phase) -> Moved:
    """Moves an exchange, which must not run.

    Args:
        config: of the exchange, with its file.
        url: of the database it is moved into.
        entropy: returns random bytes.
        phase: shows how far it is.

    Raises:
        MalformedError: there is no source.
        StateError: the source is damaged, older than its log, retired, or was moved to
            another database; or the target holds something else. Nothing is changed.
        UnavailableError: the exchange runs, or a database cannot be used.
    """
    source = config.storage.database_file
    if not source.exists():
        raise MalformedError(f"there is no {source} that could be moved")
    async with open_target(url) as target:
        done = await asyncio.to_thread(moved_by, str(source))
        if not done:
            done = await _bring(config, url, target, entropy(16).hex(), phase)
        if await target.going_on() == done:
            await target.finish()
        elif await target.finished() != done:
            raise StateError(
                Reason.ERROR_REASON_STATE_FORBIDS,
                f"the exchange of {source} was moved already, and not to this "
                "database; name the one that it was moved to",
            )
    store = await open_postgres(url, read_only=True)
    try:
        head = await store.head()
    finally:
        await store.close()
    return Moved(head.size if head else 0, source)


async def _bring(
    config: Config, url: str, target: PostgresTarget, name: str, phase: Phase
) -> str:
    """Copies and checks everything, and marks the source; returns the move's name."""
    path = str(config.storage.database_file)
    vkey = load_log_signer(config.keys.log_key_file, config.exchange.origin).vkey
    await target.check_free(vkey.format())
    store = await open_sqlite(path)
    try:
        with closing(SqliteSource(path)) as source:
            contents = await asyncio.to_thread(source.stored_contents)
            await _check_source(config, vkey, store, contents, phase)
            await migrate_postgres(url)
            await target.check_free(vkey.format())  # still, after all this time
            name = await target.begin(vkey.format(), name)
            await _Copying(source, target, phase).run()
        await _check_copy(url, vkey, name, contents, phase)
        await asyncio.to_thread(mark_moved, path, name)
    finally:
        await store.close()
    return name


async def _check_source(
    config: Config, vkey: Vkey, store: Store, contents: Sequence[bytes], phase: Phase
) -> None:
    """Requires that the source is sound, and has all that was signed."""
    guarded = read_guard(config.storage.guard_file)
    if guarded is not None and guarded.successor:
        raise StateError(
            Reason.ERROR_REASON_STATE_FORBIDS,
            f"this log was retired at size {guarded.size}; move the exchange that goes "
            "on, from its own folder",
        )
    with phase("checking the log") as begin:
        check = await check_log(store, vkey, guarded, begin)
    _require_sound("the source", check)
    with phase("checking contents") as begin:
        await _check_contents(store, contents, begin(len(contents)))


async def _check_copy(
    url: str, vkey: Vkey, name: str, contents: Sequence[bytes], phase: Phase
) -> None:
    """Requires that the copy is sound, as the backend reads it that will serve it."""
    sample = Random(name).sample(contents, min(_SAMPLE, len(contents)))  # noqa: S311
    store = await open_postgres(url, read_only=True)
    try:
        with phase("checking the log of the copy") as begin:
            check = await check_log(store, vkey, None, begin)
        _require_sound("the copy", check)
        await _check_contents(store, sample, lambda _: None)
    finally:
        await store.close()


def _require_sound(side: str, check: LogCheck) -> None:
    if not check.sound:
        raise StateError(
            Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
            f"{side} is damaged: {'; '.join(check.problems[:3])}. Nothing was moved; "
            "`onward-server log verify` lists all that is wrong",
        )


async def _check_contents(
    store: Store, digests: Iterable[bytes], advance: Callable[[int], object]
) -> None:
    """Requires that contents can be decrypted, and are what their digests say."""
    for digest in digests:
        try:
            content = await store.content(digest)
        except UnavailableError:
            content = None
        if content is None or sha256(content).digest() != digest:
            raise StateError(
                Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
                f"the content {digest.hex()} is damaged. Nothing was moved; restore a "
                "backup first",
            )
        advance(1)


@dataclass(frozen=True, slots=True)
class _Copying:
    """The copying of all rows."""

    source: SqliteSource
    target: PostgresTarget
    phase: Phase

    async def run(self) -> None:
        """Brings all rows to the target, and compares.

        Raises:
            StateError: the target gave back something else than it was given.
        """
        earlier = await self.target.reached(TABLES[0]) is not None
        await self._copy()
        place = await self._difference()
        if place and earlier:
            # The exchange has run between the attempts, which is allowed.
            await self.target.clear()
            await self._copy()
            place = await self._difference()
        if place:
            raise StateError(
                Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
                f"the copy differs from the source in {place}. The source is as it "
                "was; look for what else writes into the target, and empty it",
            )

    async def _copy(self) -> None:
        with self.phase("copying") as begin:
            advance = begin(await self._count(TABLES))
            for table in TABLES:
                columns = await asyncio.to_thread(self.source.columns, table)
                after = await self.target.reached(table)
                advance(await self.target.count(table))
                while rows := await asyncio.to_thread(
                    self.source.rows, table, columns, after
                ):
                    await self.target.put(table, columns, rows)
                    after = table.key_of(columns, rows[-1])
                    advance(len(rows))
        await self.target.settle()

    async def _difference(self) -> str:
        """Returns where the copy is not as the source; empty if it is the same."""
        with self.phase("comparing") as begin:
            advance = begin(await self._count((*TABLES, PLACES)))
            for table in (*TABLES, PLACES):
                if not await self._is_same(table, advance):
                    return table.name
        return ""

    async def _is_same(self, table: Table, advance: Callable[[int], object]) -> bool:
        """Says whether a table has the same rows on both sides."""
        columns = await asyncio.to_thread(self.source.columns, table)
        after = None
        while True:
            sent, arrived = await asyncio.gather(
                asyncio.to_thread(self.source.rows, table, columns, after),
                self.target.rows(table, columns, after),
            )
            if arrived != await self.target.adapt(table, columns, sent):
                return False
            if not sent:
                return True
            after = table.key_of(columns, sent[-1])
            advance(len(sent))

    async def _count(self, tables: Sequence[Table]) -> int:
        """Returns how many rows the source has in these tables."""
        counts = [await asyncio.to_thread(self.source.count, one) for one in tables]
        return sum(counts)
