"""Asking one witness to cosign a checkpoint (C2SP tlog-witness).

What a witness can answer, and what that means:

* *200*: cosignatures. One of them is by the key that the policy names for it, and
  verifies: then the checkpoint is cosigned. Everything else in the answer is ignored.
* *409 with a size*: the witness goes on from another size than we thought. It is asked
  once more from there. A size beyond our log means that our database is older than what
  we have signed.
* *409 without a size*, or *422*: the witness says that we have signed two histories.
  The request and the answer are kept as evidence. Either the witness is wrong, or we
  are; a person has to find out.
* *403*, *404*: it does not know our log or its key: the two operators must talk.
* anything else, or nothing in time: it is asked again later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from onward.core.encoding import decode_decimal
from onward.core.errors import MalformedError, VerificationError
from onward.core.notes import Signature, Vkey, parse_note
from onward.core.tlog_policy import Witness
from onward.core.witness import SIZE_TYPE, AddCheckpoint
from onward_server.storage.contract import CheckpointRow, CosignatureRow

MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer that are read."""

MAX_TIME: Final = 253_402_300_799
"""The latest time of a cosignature that is kept: the end of the year 9999.

The protocol allows times that no database and no calendar takes. Who states one says
nothing about when, and what is written down for them shares a commit with others.
"""

_OK: Final = 200
_CONFLICT: Final = 409
_ROUNDS: Final = 3
"""Requests until a size is found from which a witness goes on."""


class Standing(Enum):
    """How a witness stands to this log."""

    NEW = "new"
    """It has not been asked yet."""
    COSIGNS = "cosigns"
    """It has cosigned what it was asked for last."""
    SILENT = "silent"
    """It cannot be reached, or does not answer in time, or fails."""
    UNUSABLE = "unusable"
    """It answers what cannot be used."""
    STRANGER = "stranger"
    """It does not know this log, or not this key of it."""
    AHEAD = "ahead"
    """It has cosigned a larger log than ours: our database is older than our log."""
    ACCUSES = "accuses"
    """It says that this log has signed two histories."""


_STANDINGS: Final = {
    403: Standing.STRANGER,
    404: Standing.STRANGER,
    409: Standing.ACCUSES,
    422: Standing.ACCUSES,
}
_FAILED: Final = 500
_BUSY: Final = 429


@dataclass(frozen=True, slots=True)
class Reply:
    """What a witness answered.

    Attributes:
        status: the HTTP status.
        content_type: as it was sent; empty if there was none.
        body: at most :data:`MAX_ANSWER` bytes.
    """

    status: int
    content_type: str
    body: bytes


class Transport(Protocol):
    """How witnesses are reached."""

    async def post(self, url: str, body: bytes) -> Reply | None:
        """Posts a body; returns None when nothing usable came back in time."""


@dataclass(frozen=True, slots=True)
class Accusation:
    """That a witness says of a checkpoint of ours that it forks the log.

    Attributes:
        witness: its name in the policy.
        url: where it was asked.
        size: of the checkpoint.
        request: what it was asked.
        reply: what it answered.
    """

    witness: str
    url: str
    size: int
    request: bytes
    reply: Reply


Prove = Callable[[int, int], Awaitable[list[bytes]]]
"""Returns the proof that the tree of one size began that of another."""


def key_name(vkey: Vkey) -> str:
    """Returns the name and id of a key, as its vkey begins."""
    return f"{vkey.name}+{vkey.key_id.hex()}"


class Asking:
    """What is known of one witness, and how it is asked. One task asks at a time.

    Args:
        witness: the witness, with its URL.
        transport: how it is reached.
        prove: makes consistency proofs.
        accused: keeps evidence.

    Attributes:
        name: its name in the policy.
        key: the name and id of its key.
        standing: how it stands to this log.
        size: the size from which it goes on, as far as is known.
    """

    def __init__(
        self,
        witness: Witness,
        transport: Transport,
        prove: Prove,
        accused: Callable[[Accusation], Awaitable[None]],
    ) -> None:
        self.name = witness.name
        self.key = key_name(witness.vkey)
        self.standing = Standing.NEW
        self.size = 0
        self._vkey = witness.vkey
        self._url = f"{(witness.url or '').rstrip('/')}/add-checkpoint"
        self._transport = transport
        self._prove = prove
        self._accused = accused

    async def ask(self, head: CheckpointRow, note: str) -> CosignatureRow | None:
        """Asks for a cosignature; ``standing`` says what came of it.

        Args:
            head: the checkpoint.
            note: the same with the log's own signatures.

        Returns:
            The cosignature, verified, or None.
        """
        for _ in range(_ROUNDS):
            request = await self._request(head, note)
            reply = await self._transport.post(self._url, request)
            if reply is None:
                self.standing = Standing.SILENT
                return None
            told = _told_size(reply)
            if told is None:
                return await self._understood(head, request, reply)
            self.size = told
            if told > head.size:
                self.standing = Standing.AHEAD
                return None
        self.standing = Standing.UNUSABLE
        return None

    async def _request(self, head: CheckpointRow, note: str) -> bytes:
        """Returns the request that goes on from the size that the witness has."""
        old = min(self.size, head.size)
        proof = await self._prove(old, head.size) if 0 < old < head.size else []
        return AddCheckpoint(old, proof, parse_note(note)).format()

    async def _understood(
        self, head: CheckpointRow, request: bytes, reply: Reply
    ) -> CosignatureRow | None:
        """Takes an answer that tells no size for what it is."""
        if reply.status == _OK:
            return self._cosignature(head, reply)
        failed = reply.status >= _FAILED or reply.status == _BUSY
        other = Standing.SILENT if failed else Standing.UNUSABLE
        self.standing = _STANDINGS.get(reply.status, other)
        if self.standing is Standing.ACCUSES:
            told = Accusation(self.name, self._url, head.size, request, reply)
            await self._accused(told)
        return None

    def _cosignature(self, head: CheckpointRow, reply: Reply) -> CosignatureRow | None:
        """Returns the cosignature of an answer that has a good one."""
        text = parse_note(head.note).text
        self.standing = Standing.UNUSABLE
        for line in reply.body.decode(errors="replace").split("\n"):
            try:
                signature = Signature.parse(line)
                if (signature.name, signature.key_id) != (
                    self._vkey.name,
                    self._vkey.key_id,
                ):
                    continue
                time = self._vkey.verify(text, signature.value)
            except (MalformedError, VerificationError):
                continue
            if time is not None and time <= MAX_TIME:
                self.standing, self.size = Standing.COSIGNS, head.size
                return CosignatureRow(
                    head.size, self.key, signature.format(), time * 1000
                )
        return None


def _told_size(reply: Reply) -> int | None:
    """Returns the size that an answer tells, if it is one that does."""
    media_type = reply.content_type.partition(";")[0].strip().lower()
    if reply.status != _CONFLICT or media_type != SIZE_TYPE:
        return None
    try:
        return decode_decimal(reply.body.decode().removesuffix("\n"), "the size")
    except (MalformedError, UnicodeDecodeError):
        return None
