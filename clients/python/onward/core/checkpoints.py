"""Checkpoints: the size and root that a log signs (C2SP tlog-checkpoint).

The text of a checkpoint is three lines: origin, size, base64 of the root. It is signed
as a note, by the log's key, whose name is the origin, and then by witnesses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from onward.core.encoding import decode_base64, decode_decimal, encode_base64
from onward.core.errors import MalformedError
from onward.core.merkle import EMPTY_ROOT, HASH_SIZE, MAX_SIZE
from onward.core.notes import NoteSigner, sign_note

MAX_ORIGIN_BYTES: Final = 255
"""Bytes of an origin: ML-DSA cosignatures count them in one byte (tlog-cosignature)."""

_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's state: what it signs, and what witnesses cosign.

    Attributes:
        origin: the log's identity, 1 to 255 bytes of UTF-8 in one line.
        size: the number of entries, 0 to 2**63 - 1.
        root: the 32-byte root of the tree of that size.

    Raises:
        MalformedError: a value is not allowed.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        length = len(self.origin.encode(errors="surrogatepass"))
        if not 0 < length <= MAX_ORIGIN_BYTES or "\n" in self.origin:
            raise MalformedError("a checkpoint's origin is one line of 1 to 255 bytes")
        if not 0 <= self.size <= MAX_SIZE:
            raise MalformedError("a checkpoint's size is 0 to 2**63 - 1")
        if len(self.root) != HASH_SIZE:
            raise MalformedError(f"a checkpoint's root has {HASH_SIZE} bytes")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise MalformedError("a checkpoint of size 0 has the root of no entries")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text of a checkpoint; it equals :attr:`text` of the result.

        Raises:
            MalformedError: it is not a checkpoint, or has extension lines, which are
                not accepted since no proof covers them.
        """
        lines = text.split("\n")
        if len(lines) != _LINES + 1 or lines.pop():
            raise MalformedError("a checkpoint is three lines: origin, size and root")
        origin, size, root = lines
        return cls(
            origin,
            decode_decimal(size, "a checkpoint's size"),
            decode_base64(root, "a checkpoint's root"),
        )

    @property
    def text(self) -> str:
        """The text that is signed, with its final newline."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"

    def sign(self, signer: NoteSigner) -> str:
        """Return the checkpoint as a note that the log has signed.

        Raises:
            MalformedError: the key's name is not the origin.
        """
        if signer.name != self.origin:
            raise MalformedError(
                f"the key {signer.name} does not sign for the log {self.origin}"
            )
        return sign_note(self.text, [signer])
