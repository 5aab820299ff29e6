"""Checking a copy of the database, and putting it in place: never an old one.

A copy is good if all of it can be recomputed (:mod:`onward_server.log_check`), and if
it has every root that is known to have been signed. It may be put in place only if
nothing was signed after it: the exchange would contradict itself otherwise, and
everybody who holds a receipt could prove it. So what is known from elsewhere is asked
first:

* the restore guard;
* the database that is in place, as far as it can still be read;
* a mirror, or a checkpoint that a member or a witness has kept.

Where none of them knows anything, as on a new machine, an old copy looks like the
newest. It is put in place only if whoever does that says that they have asked others.

What is missing is named entry by entry; with a mirror also by digest, so that those who
hold the statements can be asked.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from onward._files import make_private_dir, move_durably
from onward.core.errors import (
    MalformedError,
    OnwardError,
    RangeError,
    VerificationError,
)
from onward.core.notes import Vkey
from onward_server.backup import place_in_backup
from onward_server.config import Config
from onward_server.databases import require_file
from onward_server.exchange.guard import read_guard
from onward_server.exchange.receipts import Receipts
from onward_server.log_check import LogCheck, check_log
from onward_server.material import load_log_signer, read_file
from onward_server.mirrors import Mirror, open_checkpoint
from onward_server.storage.contract import Store
from onward_server.storage.sqlite import claim_database, open_sqlite

_BESIDE: Final = ("-wal", "-shm")
"""What SQLite keeps beside a database, and belongs to that one only."""

Begin = Callable[[int], Callable[[int], object]]


@dataclass(frozen=True, slots=True)
class Known:
    """A head that the log has signed, and who knows of it."""

    source: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Sources:
    """Where to learn what was signed.

    Attributes:
        mirror: a folder or URL; may be empty.
        checkpoint: the file of a signed note; None for none.
        asked_others: whether a copy may be put in place of which nobody here knows if
            it is the newest.
    """

    mirror: str = ""
    checkpoint: Path | None = None
    asked_others: bool = False


@dataclass(slots=True)
class Examined:
    """What is known about a copy.

    Attributes:
        database: its file.
        check: what recomputing it found.
        newest: the largest head that is known to have been signed; None if the copy
            itself is all that is known.
        lacking: digests of the entries that were signed and are not in the copy, as
            far as a mirror has them; the first is that of entry ``check.size``.
    """

    database: Path
    check: LogCheck
    newest: Known | None = None
    lacking: Sequence[bytes] = field(default_factory=list)

    @property
    def behind(self) -> int:
        """How many entries were signed that the copy has not."""
        return max(self.newest.size - self.check.size, 0) if self.newest else 0

    def may_replace(self, sources: Sources) -> bool:
        """Says whether it may be put in place: sound, and not older than the log."""
        known = self.newest is not None or sources.asked_others
        return self.check.sound and known and not self.behind


def database_of(config: Config, copy: Path) -> Path:
    """Returns the database of a copy: of a backup's folder, or the file itself.

    Raises:
        MalformedError: there is none.
        StateError: the exchange's database is on a server.
    """
    require_file(
        config,
        "Restore it by the server's own means, and look at it with `onward-server log "
        "verify` before you start the exchange; docs/how-to/replicas.md says how",
    )
    database = config.storage.database_file
    found = copy / place_in_backup(config, database) if copy.is_dir() else copy
    if not found.is_file():
        raise MalformedError(f"{found} is no file; name a backup, or its database")
    return found


async def examine(
    config: Config,
    database: Path,
    sources: Sources,
    begin: Begin,
    known: Sequence[Known] = (),
) -> Examined:
    """Recomputes a copy, and compares it with what is known to have been signed.

    Args:
        config: of the exchange whose log it is.
        database: the copy.
        sources: where to learn what was signed, beside the guard.
        begin: is told how many entries there are; returns what is told how many were
            checked since the last time.
        known: heads that are known besides.

    Raises:
        MalformedError: a source cannot be read, or is none.
        UnavailableError: the copy, or a source, cannot be read.
    """
    vkey = _vkey(config)
    mirror = Mirror.open(sources.mirror, vkey) if sources.mirror else None
    heads = [*_known(config, sources, mirror, vkey), *known]
    store = await open_sqlite(str(database), readers=1, read_only=True)
    try:
        found = Examined(database, await check_log(store, vkey, None, begin))
        for head in heads:
            with _noting(found.check):
                await _compare(store, found, head)
        if mirror:
            with _noting(found.check):
                found.lacking = await mirror.check(store, found.check.size)
    finally:
        await store.close()
    return found


async def restore(
    config: Config, copy: Path, sources: Sources, begin: Begin
) -> tuple[Examined, Path | None]:
    """Puts a copy in the place of the database, if nothing was signed after it.

    What was in place is kept beside it, under another name.

    Args:
        config: of the exchange, which must not run.
        copy: a backup's folder, or a database.
        sources: where to learn what was signed, beside guard and present database.
        begin: as for :func:`examine`.

    Returns:
        What was found; and the name of the database that was in place before, if there
        was one and it was replaced. Only a copy that :meth:`Examined.may_replace`
        allows is put in place.

    Raises:
        MalformedError: there is no such copy, or a source cannot be read.
        StateError: the exchange's database is on a server.
        UnavailableError: the exchange runs, or a file cannot be written.
    """
    source = database_of(config, copy)
    target = config.storage.database_file
    make_private_dir(target.parent)
    make_private_dir(config.storage.guard_file.parent)
    lock = claim_database(str(target))
    try:
        known = await _present(target, _vkey(config))
        found = await examine(config, source, sources, begin, known)
        if not found.may_replace(sources):
            return found, None
        return found, await _install(source, target)
    finally:
        os.close(lock)


def _vkey(config: Config) -> Vkey:
    return load_log_signer(config.keys.log_key_file, config.exchange.origin).vkey


def _known(
    config: Config, sources: Sources, mirror: Mirror | None, vkey: Vkey
) -> list[Known]:
    """Returns the heads that are known outside of any database."""
    known = []
    if guarded := read_guard(config.storage.guard_file):
        known.append(Known("the restore guard", guarded.size, guarded.root))
    if mirror:
        head = mirror.checkpoint
        known.append(Known(mirror.place, head.size, head.root))
    if sources.checkpoint:
        note = read_file(sources.checkpoint).decode("utf-8", "replace")
        head = open_checkpoint(note, vkey, str(sources.checkpoint))
        known.append(Known(str(sources.checkpoint), head.size, head.root))
    return known


async def _present(database: Path, vkey: Vkey) -> list[Known]:
    """Returns what the database in place has signed, if it can still be read."""
    if _is_empty(database):
        return []
    try:
        store = await open_sqlite(str(database), readers=1, read_only=True)
        try:
            head = await store.head()
        finally:
            await store.close()
        found = open_checkpoint(head.note, vkey, str(database)) if head else None
    except (OnwardError, sqlite3.Error):
        return []  # what it was is lost; the others say what was signed
    return [Known("the database in place", found.size, found.root)] if found else []


async def _compare(store: Store, found: Examined, head: Known) -> None:
    """Compares a copy with a head that was signed."""
    if found.newest is None or head.size > found.newest.size:
        found.newest = head
    if not 0 < head.size <= found.check.size:
        return
    if (await Receipts(store).tree(head.size, ())).root != head.root:
        found.check.wrong(
            f"{head.source}: another root was signed at size {head.size} than the copy "
            "has; it is of another log, or was altered"
        )


@contextmanager
def _noting(check: LogCheck) -> Iterator[None]:
    """Notes what does not hold inside as a problem of the copy."""
    try:
        yield
    except (MalformedError, RangeError, VerificationError) as error:
        check.wrong(error.message)


async def _install(source: Path, target: Path) -> Path | None:
    """Puts a copy in place; returns the name that the database before has now.

    At any moment there is one database under the name, or none: never one with the
    write-ahead log of another.
    """
    fresh = target.with_name(f"{target.name}.restored")
    fresh.unlink(missing_ok=True)
    store = await open_sqlite(str(source), readers=1, read_only=True)
    try:
        await store.backup(str(fresh))
    finally:
        await store.close()
    before = _set_aside(target)
    move_durably(fresh, target)
    return before


def _set_aside(database: Path) -> Path | None:
    """Gives a database, with what belongs to it, another name; removes an empty one."""
    if _is_empty(database):
        database.unlink()
        return None
    names = (database.with_name(f"{database.name}.before-{n}") for n in count(1))
    aside = next(name for name in names if not name.exists())
    for end in _BESIDE:
        if _beside(database, end).exists():
            move_durably(_beside(database, end), _beside(aside, end))
    move_durably(database, aside)
    return aside


def _beside(database: Path, end: str) -> Path:
    return database.with_name(f"{database.name}{end}")


def _is_empty(database: Path) -> bool:
    return not database.stat().st_size
