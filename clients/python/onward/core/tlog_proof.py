"""Receipts: an entry's inclusion proof up to a signed checkpoint (C2SP tlog-proof).

::

    c2sp.org/tlog-proof@v1
    extra <base64>            (optional, not authenticated)
    index <n>
    <base64 hash>             (one line per hash, the leaf's sibling first)

    <the signed checkpoint, verbatim>

A receipt says nothing about the entry itself: whoever verifies it has the entry's bytes
from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

from onward.core.encoding import (
    MAX_NUMBER,
    decode_base64,
    decode_decimal,
    encode_base64,
)
from onward.core.errors import MalformedError, TooLargeError
from onward.core.merkle import HASH_SIZE, leaf_hash, verify_inclusion
from onward.core.notes import parse_note
from onward.core.tlog_policy import Policy, WitnessedCheckpoint

MAX_BYTES: Final = 64 * 1024
"""Bytes of a proof as text."""

MAX_PATH: Final = 63
"""Hashes of a proof: the height of the largest tree."""

# Proofs of neighbours share nearly all hashes.
_line: Final = lru_cache(maxsize=1024)(encode_base64)

_HEADER: Final = "c2sp.org/tlog-proof@v1"
_EXTRA: Final = "extra "
_INDEX: Final = "index "


@dataclass(frozen=True, slots=True)
class TlogProof:
    """That an entry is in a log, as a claim: nothing of it is trusted until verified.

    Attributes:
        index: the entry's index in the log, from 0.
        path: the inclusion proof, the leaf's sibling first; at most 63 hashes.
        checkpoint_note: the signed checkpoint, with cosignatures or without.
        extra: bytes for the application, which nothing authenticates; None or not
            empty.

    Raises:
        MalformedError: a value is not allowed.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint_note: str
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_NUMBER:
            raise MalformedError("the index of a tlog-proof is 0 to 2**63 - 1")
        if len(self.path) > MAX_PATH:
            raise MalformedError(f"a tlog-proof has at most {MAX_PATH} hashes")
        if any(len(digest) != HASH_SIZE for digest in self.path):
            raise MalformedError(f"a hash in a tlog-proof has not {HASH_SIZE} bytes")
        if self.extra == b"":
            raise MalformedError(
                "the extra data of a tlog-proof is absent or not empty"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a proof; :meth:`format` of the result returns the same text.

        Raises:
            TooLargeError: it has more than 64 KiB.
            MalformedError: it is not a tlog-proof with a signed note.
        """
        size = len(text.encode(errors="surrogatepass"))
        if size > MAX_BYTES:
            raise TooLargeError("a tlog-proof", size, MAX_BYTES)
        # No line of the head is empty, so the first blank line ends it.
        head, _, note = text.partition("\n\n")
        header, *lines = head.split("\n")
        if header != _HEADER:
            raise MalformedError(f"a tlog-proof starts with the line '{_HEADER}'")
        extra = None
        if lines and lines[0].startswith(_EXTRA):
            extra = decode_base64(lines.pop(0).removeprefix(_EXTRA), "the extra data")
        if not lines or not lines[0].startswith(_INDEX):
            raise MalformedError("a tlog-proof has a line 'index <n>' above its hashes")
        index = decode_decimal(lines.pop(0).removeprefix(_INDEX), "the index")
        path = tuple(decode_base64(line, "a hash of the proof") for line in lines)
        parse_note(note)
        return cls(index, path, note, extra)

    def format(self) -> str:
        """Return the proof as text."""
        extra = [] if self.extra is None else [_EXTRA + encode_base64(self.extra)]
        hashes = map(_line, self.path)
        head = [_HEADER, *extra, f"{_INDEX}{self.index}", *hashes]
        return "\n".join([*head, "", self.checkpoint_note])

    def verify(self, entry: bytes, policy: Policy) -> WitnessedCheckpoint:
        """Verify that a trusted log has an entry at this index.

        1. The checkpoint satisfies the policy.
        2. The path leads from the entry to the checkpoint's root.

        Args:
            entry: the entry's bytes, as the log has them.
            policy: the trusted logs and witnesses.

        Returns:
            The checkpoint, and when the policy's witnesses saw it.

        Raises:
            MalformedError: the checkpoint has not the form of one.
            VerificationError: rule 1 (``NOTE_UNTRUSTED``, ``QUORUM_UNMET``) or rule 2
                (``PROOF_INVALID``) does not hold.
        """
        witnessed = policy.open_checkpoint(self.checkpoint_note)  # 1
        checkpoint = witnessed.checkpoint
        verify_inclusion(  # 2
            leaf_hash(entry), self.index, checkpoint.size, self.path, checkpoint.root
        )
        return witnessed
