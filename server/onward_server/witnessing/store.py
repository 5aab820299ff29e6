"""What a witness must not forget: one SQLite file.

Everything rests on :meth:`WitnessStore.advance`. It replaces a log's checkpoint only if
that is still the one that the caller judged by, in one statement of SQL, and returns
when the change is on the disk. So whatever else happens (threads, processes, a kill, a
power failure), each checkpoint that was cosigned continues the one before it.

The file must never be replaced by an older copy, nor used twice: the witness would
cosign a second history. It belongs in no backup.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Self

from onward.core.checkpoints import Checkpoint
from onward.core.errors import ConflictError, Reason, UnavailableError
from onward.core.notes import parse_note
from onward.core.witness import SignedCheckpoint

MAX_EVIDENCE: Final = 64
"""Pairs kept of each log and kind: what one key signs wrongly has no end."""

_APPLICATION_ID: Final = 0x4F4E5757
"""Marks the file as a witness's database: ``ONWW``."""

_VERSION: Final = 1
_SCHEMA: Final = Path(__file__).with_name("schema.sql")
_BUSY_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 5.0

_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    # On the disk when COMMIT returns, on macOS too, where fsync alone does not suffice.
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
)

_FIRST: Final = """
INSERT INTO heads (origin, size, root, note, time)
VALUES (:origin, :size, :root, :note, :time) ON CONFLICT (origin) DO NOTHING
"""
_NEXT: Final = """
UPDATE heads SET size = :size, root = :root, note = :note, time = :time
WHERE origin = :origin AND size = :last_size AND root = :last_root
"""
_PROVEN: Final = """
DELETE FROM evidence
WHERE kind = 'unproven' AND origin = :origin AND size = :size AND root = :root
"""
_KEEP: Final = """
INSERT OR IGNORE INTO evidence (kind, origin, size, root, first, second, time)
VALUES (:kind, :origin, :size, :root, :first, :second, :time)
"""
_FORGET: Final = """
DELETE FROM evidence WHERE id IN (
  SELECT id FROM evidence WHERE kind = :kind AND origin = :origin
  ORDER BY iif(:kind = 'fork', id, -id) LIMIT -1 OFFSET :most
)
"""


class EvidenceKind(Enum):
    """What two checkpoints show."""

    FORK = "fork"
    """The log signed two roots for one size. It has two histories; that is proven."""

    UNPROVEN = "unproven"
    """The log signed a checkpoint, and somebody sent it with a proof that fails.

    It may be that the log cannot prove it, or that somebody else sent it.
    """


@dataclass(frozen=True, slots=True)
class Head:
    """The newest checkpoint of a log that was cosigned.

    Attributes:
        signed: the checkpoint.
        time: when it was cosigned last, in POSIX seconds.
    """

    signed: SignedCheckpoint
    time: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two checkpoints that do not go together.

    Attributes:
        kind: what they show.
        first: what this witness had cosigned.
        second: what it refused.
        time: when it was sent first, in POSIX seconds.
    """

    kind: EvidenceKind
    first: SignedCheckpoint
    second: SignedCheckpoint
    time: int


class WitnessStore:
    """The database of one witness; open it with :meth:`create` or :meth:`open`.

    It can be used from several threads at once, and by several processes.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    @classmethod
    def create(cls, path: Path) -> Self:
        """Makes the database of a new witness.

        Raises:
            ConflictError: there is such a file already.
            UnavailableError: it cannot be written.
        """
        try:
            path.touch(0o600, exist_ok=False)
        except FileExistsError:
            raise ConflictError(
                Reason.ERROR_REASON_STATE_FORBIDS,
                f"{path} is there already; a witness never begins anew",
            ) from None
        except OSError as error:
            raise _unavailable(f"{path} cannot be made: {error.strerror}") from None
        store = cls(_connect(path))
        with store._transaction() as connection:
            for statement in _SCHEMA.read_text("utf-8").split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        return store

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens the database. One that is missing is not made: see the module.

        Raises:
            UnavailableError: it is missing, cannot be read, or is another program's.
        """
        if not path.exists():
            raise _unavailable(
                f"the witness's database {path} is missing. Without it this key could "
                "cosign a second history: find the file, or retire the key and make a "
                "new witness with `onward-server witness init`. An exchange goes on "
                "without one when witness.key_file is empty"
            )
        connection = _connect(path)
        with _explained():
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        if (owner, version) != (_APPLICATION_ID, _VERSION):
            connection.close()
            raise _unavailable(
                f"{path} is no witness's database of this release; name the right file"
            )
        return cls(connection)

    def close(self) -> None:
        """Closes it."""
        with self._turn:
            self._connection.close()

    def head(self, origin: str) -> Head | None:
        """Returns the newest checkpoint of a log that was cosigned, if any was.

        Raises:
            UnavailableError: the database cannot be read.
        """
        query = "SELECT note, time FROM heads WHERE origin = ?"
        rows = self._read(query, (origin,))
        return Head(_signed(rows[0][0]), rows[0][1]) if rows else None

    def heads(self) -> list[Head]:
        """Returns the newest checkpoint of each log, by origin.

        Raises:
            UnavailableError: the database cannot be read.
        """
        rows = self._read("SELECT note, time FROM heads ORDER BY origin")
        return [Head(_signed(note), time) for note, time in rows]

    def advance(
        self, last: SignedCheckpoint | None, signed: SignedCheckpoint, time: int
    ) -> bool:
        """Replaces a log's newest checkpoint, if it is still the one judged by.

        When this returns True the change is on the disk, and the checkpoint may be
        cosigned. A doubt about it that was kept is over: it was proven now.

        Args:
            last: the checkpoint that the new one was judged by; None for no such.
            signed: the new one, found consistent with ``last``.
            time: of the cosignature, in POSIX seconds.

        Returns:
            Whether it was still the one. If not, judge again.

        Raises:
            UnavailableError: it cannot be written; nothing may be cosigned.
        """
        new = signed.checkpoint
        values = {
            "origin": new.origin,
            "size": new.size,
            "root": new.root,
            "note": signed.note,
            "time": time,
        }
        if last is not None:
            values["last_size"] = last.checkpoint.size
            values["last_root"] = last.checkpoint.root
        with self._transaction() as connection:
            done = connection.execute(_NEXT if last else _FIRST, values).rowcount == 1
            if done:
                connection.execute(_PROVEN, values)
        return done

    def keep(self, evidence: Evidence) -> bool:
        """Keeps evidence; returns whether it is new, and not one too many.

        Of forks the first are kept, of doubts the newest.

        Raises:
            UnavailableError: it cannot be written.
        """
        second = evidence.second.checkpoint
        values = {
            "kind": evidence.kind.value,
            "origin": second.origin,
            "size": second.size,
            "root": second.root,
            "first": evidence.first.note,
            "second": evidence.second.note,
            "time": evidence.time,
            "most": MAX_EVIDENCE,
        }
        with self._transaction() as connection:
            added = connection.execute(_KEEP, values)
            if added.rowcount != 1:
                return False
            connection.execute(_FORGET, values)
            query = "SELECT 1 FROM evidence WHERE id = ?"
            kept = connection.execute(query, (added.lastrowid,)).fetchone()
        return kept is not None

    def evidence(self) -> list[Evidence]:
        """Returns all evidence, the oldest first.

        Raises:
            UnavailableError: the database cannot be read.
        """
        rows = self._read("SELECT kind, first, second, time FROM evidence ORDER BY id")
        return [
            Evidence(EvidenceKind(kind), _signed(first), _signed(second), time)
            for kind, first, second, time in rows
        ]

    def _read(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        with self._turn, _explained():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Writes all or nothing; all of it is on the disk at the end."""
        with self._turn, _explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _connect(path: Path) -> sqlite3.Connection:
    """Opens an existing file."""
    with _explained():
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
    return connection


def _signed(note: str) -> SignedCheckpoint:
    """Returns a checkpoint that was verified before it was kept."""
    return SignedCheckpoint(Checkpoint.parse(parse_note(note).text), note)


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what SQLite says of the machine into an error of Onward."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if isinstance(error, (sqlite3.ProgrammingError, sqlite3.IntegrityError)):
            raise
        raise _unavailable(
            f"the witness cannot use its database at present: {error}"
        ) from error


def _unavailable(message: str) -> UnavailableError:
    return UnavailableError(
        Reason.ERROR_REASON_STORAGE_UNAVAILABLE, message, retry_after=_RETRY_SECONDS
    )
