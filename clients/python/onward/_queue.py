"""Intakes on their way to the exchange, kept so that no crash loses or doubles one.

Each intake goes through the queue, whether or not the exchange can be reached::

    queue/<place>-<mark>.json   waits; once it is signed, with the signed statement
    queue/refused/              was refused for what it says; for a person to look at
    intakes/<number>.json       registered: salt, statement and receipt
    intakes/marks/<mark>        ... a link to it
    intakes/key                 secret of the marks

1. It is written to the queue, with its salt, before anything is sent.
2. It is signed under the next number, and written again with the signed statement.
3. That statement is sent. As long as no answer has come, the same bytes are sent again.
4. It is written to ``intakes``, and only then taken off the queue.

Killed between any two steps, the next run goes on where this one ended: sending the
same bytes again gives the answer of the first time.

A *mark* recognizes an intake that is handed in again after a crash. It is a keyed
digest of the draft and the content, by a secret that never leaves the home: without
that, a digest of a tip could be guessed. The content itself is not kept.

Methods block; call them from a thread where that matters.
"""

from __future__ import annotations

import hmac
import json
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from google.protobuf.json_format import MessageToDict, ParseDict

from onward._clock import Entropy
from onward._files import (
    held,
    locked,
    make_private_dir,
    move_durably,
    point_durably,
    remove_durably,
    write_atomically,
)
from onward.core.encoding import decode_base64, encode_base64
from onward.core.errors import MalformedError
from onward.core.intakes import SALT_SIZE, commitment
from onward.home import Home
from onward.v1 import log_pb2, statement_pb2

_KEY_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class Waiting:
    """An intake that is not registered yet.

    Attributes:
        file: where it is kept.
        mark: recognizes it.
        body: the ``Intake``, without its numbers.
        salt: of its commitment, 32 bytes.
        statement: the statement that was signed last, a compact JWS; empty before.
    """

    file: Path
    mark: str
    body: statement_pb2.Intake = field(repr=False)
    salt: bytes = field(repr=False)
    statement: str = field(default="", repr=False)

    def to_bytes(self) -> bytes:
        """Returns what the file holds."""
        members = {
            "intake": MessageToDict(self.body, preserving_proto_field_name=True),
            "salt": encode_base64(self.salt),
            "statement": self.statement,
        }
        return json.dumps(members, indent=1).encode() + b"\n"

    @classmethod
    def read(cls, file: Path) -> Waiting:
        """Reads a file of the queue.

        Raises:
            MalformedError: it is none.
        """
        try:
            members = json.loads(file.read_bytes())
            body = ParseDict(members["intake"], statement_pb2.Intake())
            salt = decode_base64(members["salt"], "salt")
            mark = file.stem.partition("-")[2]
            return cls(file, mark, body, salt, members["statement"])
        except (ValueError, KeyError, TypeError):
            raise MalformedError(f"{file} is no intake that waits") from None


@dataclass(frozen=True, slots=True)
class Kept:
    """A registered intake as the home keeps it.

    Attributes:
        number: its number.
        salt: of its commitment, 32 bytes.
        logged: the statement with its receipt.
    """

    number: int
    salt: bytes = field(repr=False)
    logged: log_pb2.LoggedStatement = field(repr=False)

    def to_bytes(self) -> bytes:
        """Returns what the file holds."""
        members = {
            "number": self.number,
            "salt": encode_base64(self.salt),
            "statement": self.logged.statement,
            "receipt": self.logged.receipt,
        }
        return json.dumps(members, indent=1).encode() + b"\n"

    @classmethod
    def read(cls, file: Path) -> Kept:
        """Reads a file of ``intakes``.

        Raises:
            MalformedError: it is none.
        """
        try:
            members = json.loads(file.read_bytes())
            logged = log_pb2.LoggedStatement(
                statement=members["statement"], receipt=members["receipt"]
            )
            salt = decode_base64(members["salt"], "salt")
            return cls(int(members["number"]), salt, logged)
        except (ValueError, KeyError, TypeError):
            raise MalformedError(f"{file} is no registered intake") from None


class Queue:
    """The queue of a home, and what came out of it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._queue = home.path / "queue"
        self._intakes = home.path / "intakes"

    def held(self) -> AbstractAsyncContextManager[None]:
        """Lets one task of one process at a time register what waits."""
        make_private_dir(self._queue)
        return held(self._queue / "lock")

    def add(self, body: statement_pb2.Intake, content: bytes, entropy: Entropy) -> str:
        """Puts an intake at the end, durably, unless it waits or is registered already.

        Args:
            body: the ``Intake``, without its numbers and its commitment.
            content: what was told; not kept.
            entropy: makes the salt.

        Returns:
            Its mark.
        """
        make_private_dir(self._queue)
        make_private_dir(self._intakes / "marks")
        with locked(self._queue / "names"):
            mark = self._mark(body, content, entropy)
            files = self._files()
            if self.kept(mark) or any(file.stem.endswith(mark) for file in files):
                return mark
            place = max((_place(file) for file in files), default=0) + 1
            salt = entropy(SALT_SIZE)
            complete = statement_pb2.Intake()
            complete.CopyFrom(body)
            complete.content_commitment = commitment(salt, content)
            file = self._queue / f"{place:012}-{mark}.json"
            waiting = Waiting(file, mark, complete, salt)
            write_atomically(file, waiting.to_bytes())
        return mark

    def waiting(self) -> list[Waiting]:
        """Returns what waits, in its order."""
        return [Waiting.read(file) for file in self._files()]

    def count(self) -> int:
        """Returns how many wait."""
        return len(self._files())

    def sign(self, item: Waiting, statement: str) -> Waiting:
        """Keeps the statement that is to be sent, durably."""
        signed = replace(item, statement=statement)
        write_atomically(item.file, signed.to_bytes())
        return signed

    def end(self, item: Waiting, number: int, logged: log_pb2.LoggedStatement) -> None:
        """Keeps an intake as registered, and takes it off the queue."""
        marks = self._intakes / "marks"
        make_private_dir(marks)
        kept = Kept(number, item.salt, logged)
        write_atomically(self._file(number), kept.to_bytes())
        point_durably(marks / item.mark, f"../{number}.json")
        remove_durably(item.file)

    def refuse(self, item: Waiting) -> Path:
        """Puts aside an intake that can never be registered; returns its file."""
        refused = self._queue / "refused"
        make_private_dir(refused)
        move_durably(item.file, refused / item.file.name)
        return refused / item.file.name

    def refused(self) -> list[Path]:
        """Returns the files of the intakes that were put aside."""
        return sorted((self._queue / "refused").glob("*.json"))

    def kept(self, of: int | str) -> Kept | None:
        """Returns a registered intake by its number or mark, if it is kept here."""
        file = self._file(of) if isinstance(of, int) else self._intakes / "marks" / of
        return Kept.read(file) if file.exists() else None

    def _file(self, number: int) -> Path:
        return self._intakes / f"{number}.json"

    def _files(self) -> list[Path]:
        return sorted(self._queue.glob("[0-9]*-*.json"))

    def _mark(
        self, body: statement_pb2.Intake, content: bytes, entropy: Entropy
    ) -> str:
        file = self._intakes / "key"
        if not file.exists():
            write_atomically(file, entropy(_KEY_SIZE))
        draft = body.SerializeToString(deterministic=True)
        size = len(draft).to_bytes(8, "big")
        return hmac.new(file.read_bytes(), size + draft + content, sha256).hexdigest()


def _place(file: Path) -> int:
    return int(file.name.partition("-")[0])
