"""What a witness does with a checkpoint (C2SP tlog-witness).

A witness keeps, for each log that it knows, the newest checkpoint that it cosigned. A
log sends it the next one, with the size from which the witness is to go on and the
proof that nothing before was changed::

    old <size>
    <base64 hash>           (the consistency proof, at most 63 of them)

    <checkpoint, a signed note>

The steps from a request to an answer, and what each can answer besides:

1. :meth:`AddCheckpoint.parse`: it has that form (else 400).
2. :meth:`AddCheckpoint.open`: the log is known (else 404), signed, and no key of it is
   contradicted (else 403); what it signed is a checkpoint not older than the size that
   the witness is to go on from (else 400).
3. :func:`judge`: that size is the witness's (else 409, with the size), and the proof
   leads from one root to the other (else 422).
4. The witness replaces the checkpoint that it judged by, if it is still that one. Then
   it cosigns, and answers 200 with the line. What was replaced meanwhile is judged
   again: two requests at once must not both go on from one size.

Everything here decides from its arguments alone. Whoever keeps the checkpoints does
step 4, and persists before it answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

from onward.core.checkpoints import Checkpoint
from onward.core.encoding import decode_base64, decode_decimal, encode_base64
from onward.core.errors import (
    MalformedError,
    Reason,
    TooLargeError,
    UnknownError,
    VerificationError,
)
from onward.core.merkle import EMPTY_ROOT, HASH_SIZE, MAX_SIZE, verify_consistency
from onward.core.notes import Note, Vkey, open_note, parse_note

MAX_PROOF: Final = 63
"""Hashes of a consistency proof (C2SP tlog-witness)."""

MAX_REQUEST: Final = 64 * 1024
"""Bytes of a request that are read here. Other witnesses may read 10 KiB only."""

SIZE_TYPE: Final = "text/x.tlog.size"
"""The content type of an answer 409 that tells a size. Without it, it is none."""

_OLD: Final = "old "


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint that a log's key has signed, as evidence of what the log said.

    Attributes:
        checkpoint: what the log signed.
        note: the same as a signed note, with the signatures of the log's keys only.
    """

    checkpoint: Checkpoint
    note: str

    def contradicts(self, other: SignedCheckpoint) -> bool:
        """Say whether both cannot be true: one log, one size, two roots."""
        mine, theirs = self.checkpoint, other.checkpoint
        return (mine.origin, mine.size) == (theirs.origin, theirs.size) and (
            mine.root != theirs.root
        )


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A log's request to have a checkpoint cosigned: nothing in it is trusted.

    Attributes:
        old: the size from which the witness is to go on; 0 for a log that it has not
            seen, or to be told the size.
        proof: the consistency proof from that size to the checkpoint's.
        note: the checkpoint.

    Raises:
        MalformedError: a number or hash is not allowed, or the proof is too long.
    """

    old: int
    proof: Sequence[bytes]
    note: Note

    def __post_init__(self) -> None:
        if not 0 <= self.old <= MAX_SIZE:
            raise MalformedError("the old size is 0 to 2**63 - 1")
        if len(self.proof) > MAX_PROOF:
            raise MalformedError(f"a proof has at most {MAX_PROOF} lines")
        if any(len(node) != HASH_SIZE for node in self.proof):
            raise MalformedError(f"each line of a proof is {HASH_SIZE} bytes in base64")

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Parse the body of a request.

        Raises:
            MalformedError: it has not the form of one, or more bytes than are read.
        """
        if len(body) > MAX_REQUEST:
            raise TooLargeError("the request", len(body), MAX_REQUEST)
        try:
            head, _, note = body.decode().partition("\n\n")
        except UnicodeDecodeError:
            raise MalformedError("the request is not UTF-8") from None
        old, *proof = head.split("\n")
        if not old.startswith(_OLD):
            raise MalformedError("a request begins with a line 'old <size>'")
        if len(proof) > MAX_PROOF:  # before the work of reading them
            raise MalformedError(f"a proof has at most {MAX_PROOF} lines")
        return cls(
            decode_decimal(old.removeprefix(_OLD), "the old size"),
            tuple(decode_base64(line, "a line of the proof") for line in proof),
            parse_note(note),
        )

    def format(self) -> bytes:
        """Return the body of the request."""
        proof = "".join(f"{encode_base64(node)}\n" for node in self.proof)
        return f"{_OLD}{self.old}\n{proof}\n{self.note.format()}".encode()

    @property
    def origin(self) -> str:
        """The log that is said to have signed."""
        return self.note.text.partition("\n")[0]

    def open(self, known: Iterable[Vkey]) -> SignedCheckpoint:
        """Verify that a known log signed the checkpoint.

        Signatures of other keys are ignored and left out.

        Args:
            known: the keys of the logs that are witnessed; a key's name is its log's
                origin.

        Raises:
            UnknownError: the log is not one of them.
            VerificationError: none of the log's keys signed, or a signature of one
                fails (``NOTE_UNTRUSTED``); or an empty log has another root than that
                of no entries (``PROOF_INVALID``).
            MalformedError: what was signed is no checkpoint, or it is older than the
                size from which the witness is to go on.
        """
        keys = {vkey.key_id: vkey for vkey in known if vkey.name == self.origin}
        if not keys:
            raise UnknownError(
                Reason.ERROR_REASON_NOTE_UNTRUSTED,
                "this log is not witnessed here; ask the witness's operator",
            )
        text = open_note(self.note.format(), keys.values()).text
        signed = (
            line
            for line in self.note.signatures
            if line.name == self.origin and line.key_id in keys
        )
        _refuse_false_zero(text, self.origin)
        checkpoint = Checkpoint.parse(text)
        if self.old > checkpoint.size:
            raise MalformedError(
                f"the old size {self.old} is larger than the checkpoint's, "
                f"{checkpoint.size}"
            )
        return SignedCheckpoint(checkpoint, Note(text, tuple(signed)).format())


class Verdict(Enum):
    """What a witness finds when it compares a checkpoint with its own."""

    CONSISTENT = "consistent"
    """Nothing that the witness has cosigned was changed: it may cosign."""

    STALE = "stale"
    """The request goes on from another size than the witness does."""

    INCONSISTENT = "inconsistent"
    """It is not proven that the one tree began the other."""


def judge(
    request: AddCheckpoint, signed: SignedCheckpoint, last: SignedCheckpoint | None
) -> Verdict:
    """Compare a checkpoint with the newest one that the witness cosigned.

    Args:
        request: the request, with its old size and proof.
        signed: the checkpoint of the request, opened.
        last: the newest one of this log that was cosigned; None if none was.
    """
    size = last.checkpoint.size if last else 0
    if request.old != size:
        return Verdict.STALE
    if last is None or size == 0:
        # Every tree began as the empty one, which needs no proof and allows none.
        return Verdict.INCONSISTENT if request.proof else Verdict.CONSISTENT
    newer = signed.checkpoint
    try:
        verify_consistency(
            size, newer.size, last.checkpoint.root, newer.root, request.proof
        )
    except VerificationError:
        return Verdict.INCONSISTENT
    return Verdict.CONSISTENT


def _refuse_false_zero(text: str, origin: str) -> None:
    """Refuse an empty log with entries: no proof could ever lead on from it."""
    claims_empty = text.startswith(f"{origin}\n0\n")
    if claims_empty and text != Checkpoint(origin, 0, EMPTY_ROOT).text:
        raise VerificationError(
            Reason.ERROR_REASON_PROOF_INVALID,
            "a checkpoint of size 0 has the root of no entries",
        )
