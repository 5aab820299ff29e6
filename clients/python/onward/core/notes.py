"""Signed notes: a text and the signatures of whoever vouches for it (C2SP signed-note).

A note is a text that ends in a newline, a blank line, and one line per signature: an
em dash, a space, the key's name, a space, and the base64 of ``key id || signature``.
A key is written as a *vkey*: ``name+hex(key id)+base64(type || public key)``.

Three types of key are understood: Ed25519 over the text (01), and two cosignatures of
checkpoints (C2SP tlog-cosignature), each with the time at which the cosigner saw it:
Ed25519 (04) over the text and the time, and ML-DSA-44 (06), which a quantum computer
does not forge, over what the checkpoint says and the cosigner's name. A log signs its
own checkpoints with the types 01 and 06; by the latter it states no time, which is 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA44PublicKey,
)

from onward.core.encoding import decode_base64, decode_decimal, encode_base64
from onward.core.errors import MalformedError, Reason, VerificationError

MAX_SIGNATURES: Final = 100
"""Signature lines that a note may have; C2SP signed-note asks for at least 16."""

MAX_TIME: Final = 2**63 - 1
"""The latest time of a cosignature (C2SP tlog-cosignature)."""

MAX_COSIGNER_BYTES: Final = 255
"""Bytes of the name of an ML-DSA cosigner, and of an origin that it cosigns."""

_KEY_ID_BYTES: Final = 4
_TIME_BYTES: Final = 8
_LINE_START: Final = "\N{EM DASH} "
_NOT_IN_TEXT: Final = re.compile("[\x00-\x09\x0b-\x1f\ud800-\udfff]")
_KEY_NAME: Final = re.compile("[^\\s+\x00-\x1f\ud800-\udfff]+")


class KeyType(IntEnum):
    """The signature type byte of a key (C2SP signed-note, "Signature types")."""

    ED25519 = 0x01
    COSIGNATURE = 0x04
    ML_DSA_44 = 0x06


_PUBLIC_KEY_BYTES: Final = {
    KeyType.ED25519: 32,
    KeyType.COSIGNATURE: 32,
    KeyType.ML_DSA_44: 1312,
}
_KEY_TYPES: Final = {bytes([key_type]): key_type for key_type in KeyType}


@dataclass(frozen=True, slots=True)
class Vkey:
    """A key that verifies notes.

    Attributes:
        name: the key's name: not empty, without spaces and ``+``.
        type: what it signs, and how.
        public_key: the raw public key.
        key_id: ``SHA-256(name || 0A || type || public_key)[:4]``. It tells keys apart
            and proves nothing.

    Raises:
        MalformedError: the name or the length of the public key is not allowed.
    """

    name: str
    type: KeyType
    public_key: bytes = field(repr=False)
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise MalformedError(
                "the name of a key is not empty, and has no space or +"
            )
        if len(self.public_key) != _PUBLIC_KEY_BYTES[self.type]:
            raise MalformedError(f"the public key of vkey {self.name} has a wrong size")
        digest = sha256(self.name.encode() + b"\n" + self._typed_key).digest()
        object.__setattr__(self, "key_id", digest[:_KEY_ID_BYTES])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a vkey.

        Raises:
            MalformedError: it is not ``name+keyid+key``, its type is unknown, or its
                key id is not the one of its name and key.
        """
        # The name has no plus, but base64 can have some: split at most twice.
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        typed_key = decode_base64(encoded, f"the key of vkey {name}")
        key_type = _KEY_TYPES.get(typed_key[:1])
        if key_type is None:
            raise MalformedError(f"vkey {name} has an unknown type of key")
        vkey = cls(name, key_type, typed_key[1:])
        if key_id != vkey.key_id.hex():
            raise MalformedError(f"vkey {name} has a key id that is not its own")
        return vkey

    def format(self) -> str:
        """Return the vkey as text."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(self._typed_key)}"

    def verify(self, text: str, signature: bytes) -> int | None:
        """Verify a signature over a note's text.

        Args:
            text: the note's text.
            signature: what follows the key id in the signature line.

        Returns:
            The time of a cosignature in POSIX seconds; None for other types, and for
            an ML-DSA cosignature that states none.

        Raises:
            MalformedError: the text is not that of a note.
            VerificationError: the signature does not verify (``NOTE_UNTRUSTED``).
        """
        message, time = _encode_text(text), None
        if self.type is not KeyType.ED25519:
            time = int.from_bytes(signature[:_TIME_BYTES], "big")
            signature = signature[_TIME_BYTES:]
            if time > MAX_TIME:
                raise _untrusted(f"the time in the cosignature of {self.name} is wrong")
        if time is not None and self.type is KeyType.COSIGNATURE:
            message = _cosigned(text, time)
        if time is not None and self.type is KeyType.ML_DSA_44:
            message, time = _subtree(self.name, text, time), time or None
        try:
            self._verify(signature, message)
        except (InvalidSignature, ValueError):
            raise _untrusted(f"the signature of {self.name} does not verify") from None
        return time

    def _verify(self, signature: bytes, message: bytes) -> None:
        """Verify a signature over the bytes that were signed."""
        if self.type is KeyType.ML_DSA_44:
            MLDSA44PublicKey.from_public_bytes(self.public_key).verify(
                signature, message
            )
        else:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(
                signature, message
            )

    @property
    def _typed_key(self) -> bytes:
        return bytes([self.type]) + self.public_key


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature line of a note, not verified.

    Attributes:
        name: the name of the key that is said to have signed.
        key_id: its 4-byte key id.
        value: the signature; for a cosignature the time comes first, uint64 big-endian.
    """

    name: str
    key_id: bytes
    value: bytes

    @classmethod
    def parse(cls, line: str) -> Self:
        """Parse a signature line without its newline.

        Raises:
            MalformedError: it does not have the form of a signature line.
        """
        name, _, encoded = line.removeprefix(_LINE_START).partition(" ")
        if not line.startswith(_LINE_START) or not is_key_name(name):
            raise MalformedError("a signature line is not '\u2014 <name> <base64>'")
        data = decode_base64(encoded, f"the signature of {name}")
        if len(data) <= _KEY_ID_BYTES:
            raise MalformedError(f"the signature of {name} is empty")
        return cls(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])

    def format(self) -> str:
        """Return the line, with its newline."""
        return f"{_LINE_START}{self.name} {encode_base64(self.key_id + self.value)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A signed note as it was parsed: nothing in it is trusted yet.

    Attributes:
        text: the signed text, with its final newline.
        signatures: the signature lines, in order; 1 to 100.

    Raises:
        MalformedError: the text does not end in a newline, has other control
            characters, or there are no signatures or more than 100.
    """

    text: str
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        _encode_text(self.text)
        if not 0 < len(self.signatures) <= MAX_SIGNATURES:
            raise MalformedError(f"a note has 1 to {MAX_SIGNATURES} signatures")

    def with_signatures(self, *signatures: Signature) -> Note:
        """Return the note with more signature lines at its end.

        Raises:
            MalformedError: there would be more than 100.
        """
        return Note(self.text, self.signatures + signatures)

    def format(self) -> str:
        """Return the note as text."""
        return f"{self.text}\n{''.join(line.format() for line in self.signatures)}"


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A signature that was verified.

    Attributes:
        vkey: the key that signed.
        time: the time of a cosignature in POSIX seconds; None if it states none, and
            for other types.
    """

    vkey: Vkey
    time: int | None


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note that at least one known key signed, and no known key contradicts.

    Attributes:
        text: the text, with its final newline.
        signatures: what the known keys signed, in the order of the note; at least one.
            One key can have signed more than once, such as a witness at two times.
    """

    text: str
    signatures: tuple[VerifiedSignature, ...]


@dataclass(frozen=True, slots=True)
class NoteSigner:
    """Signs notes with an Ed25519 key (type 01).

    Attributes:
        name: the key's name; for a log it is the log's origin.
        private_key: the key.
        vkey: what verifies the signatures.
    """

    name: str
    private_key: Ed25519PrivateKey = field(repr=False)
    vkey: Vkey = field(init=False)

    def __post_init__(self) -> None:
        _set_vkey(self, KeyType.ED25519)

    def sign(self, text: str) -> Signature:
        """Sign a note's text.

        Raises:
            MalformedError: the text is not that of a note.
        """
        signature = self.private_key.sign(_encode_text(text))
        return Signature(self.name, self.vkey.key_id, signature)


@dataclass(frozen=True, slots=True)
class Cosigner:
    """Cosigns checkpoints as a witness, with an Ed25519 key (type 04).

    The signed message does not name the cosigner: one key for one cosigner.

    Attributes:
        name: the cosigner's name.
        private_key: the key.
        vkey: what verifies the cosignatures.
    """

    name: str
    private_key: Ed25519PrivateKey = field(repr=False)
    vkey: Vkey = field(init=False)

    def __post_init__(self) -> None:
        _set_vkey(self, KeyType.COSIGNATURE)

    def sign(self, text: str, time: int) -> Signature:
        """Cosign a checkpoint's text, seen at ``time`` (POSIX seconds).

        Raises:
            MalformedError: the text is not that of a note, or the time is not 0 to
                2**63 - 1.
        """
        if not 0 <= time <= MAX_TIME:
            raise MalformedError("the time of a cosignature is 0 to 2**63 - 1 seconds")
        signature = self.private_key.sign(_cosigned(text, time))
        stamped = time.to_bytes(_TIME_BYTES, "big") + signature
        return Signature(self.name, self.vkey.key_id, stamped)


@dataclass(frozen=True, slots=True)
class MlDsaCosigner:
    """Cosigns checkpoints with an ML-DSA-44 key (type 06).

    The signed message names the cosigner and the log. A log is the cosigner of its own
    checkpoints under its origin, and then states no time.

    Attributes:
        name: the cosigner's name, at most 255 bytes.
        private_key: the key.
        vkey: what verifies the cosignatures.
    """

    name: str
    private_key: MLDSA44PrivateKey = field(repr=False)
    vkey: Vkey = field(init=False)

    def __post_init__(self) -> None:
        _set_vkey(self, KeyType.ML_DSA_44)

    def sign(self, text: str, time: int = 0) -> Signature:
        """Cosign a checkpoint's text, seen at ``time`` (POSIX seconds; 0: not stated).

        Raises:
            MalformedError: the text is not that of a note, or the time is not 0 to
                2**63 - 1.
            VerificationError: the text is not that of a checkpoint.
        """
        if not 0 <= time <= MAX_TIME:
            raise MalformedError("the time of a cosignature is 0 to 2**63 - 1 seconds")
        signature = self.private_key.sign(_subtree(self.name, text, time))
        stamped = time.to_bytes(_TIME_BYTES, "big") + signature
        return Signature(self.name, self.vkey.key_id, stamped)


def parse_note(note: str) -> Note:
    """Parse a signed note without verifying it.

    Raises:
        MalformedError: it is not a signed note, or has more than 100 signatures.
    """
    # The text may have blank lines of its own: the last one separates.
    text, separator, lines = note.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise MalformedError("a signed note is a text, a blank line and signatures")
    if lines.count("\n") > MAX_SIGNATURES:  # before the work of reading them
        raise MalformedError(f"a note has at most {MAX_SIGNATURES} signatures")
    signatures = (Signature.parse(line) for line in lines[:-1].split("\n"))
    return Note(f"{text}\n", tuple(signatures))


def sign_note(text: str, signers: Iterable[NoteSigner]) -> str:
    """Sign a text and return the note.

    Raises:
        MalformedError: the text does not end in a newline or has other control
            characters, or there are no signers or more than 100.
    """
    return Note(text, tuple(signer.sign(text) for signer in signers)).format()


def open_note(note: str, vkeys: Iterable[Vkey]) -> OpenedNote:
    """Verify a signed note (C2SP signed-note, "Signatures").

    Signatures of unknown keys are ignored. All others must verify.

    Args:
        note: the signed note.
        vkeys: the known keys.

    Raises:
        MalformedError: it is not a signed note.
        VerificationError: a known key's signature fails, or no known key signed
            (``NOTE_UNTRUSTED``).
    """
    parsed = parse_note(note)
    known = {(key.name, key.key_id): key for key in vkeys}
    verified = tuple(
        VerifiedSignature(vkey, vkey.verify(parsed.text, signature.value))
        for signature in parsed.signatures
        if (vkey := known.get((signature.name, signature.key_id)))
    )
    if not verified:
        raise _untrusted("no known key signed the note")
    return OpenedNote(parsed.text, verified)


def is_key_name(name: str) -> bool:
    """Say whether ``name`` can name a key: not empty, no Unicode spaces, no ``+``."""
    return _KEY_NAME.fullmatch(name) is not None


def _encode_text(text: str) -> bytes:
    """Return the bytes of a note's text, which must have the form of one."""
    if not text.endswith("\n") or _NOT_IN_TEXT.search(text):
        raise MalformedError(
            "the text of a note is UTF-8 in lines, without other control characters"
        )
    return text.encode()


def _cosigned(text: str, time: int) -> bytes:
    """Return what a cosignature signs (C2SP tlog-cosignature)."""
    return f"cosignature/v1\ntime {time}\n".encode() + _encode_text(text)


def _subtree(name: str, text: str, time: int) -> bytes:
    """Return what an ML-DSA cosignature of a checkpoint signs (C2SP tlog-cosignature).

    The checkpoint is the tree from 0 to its size. It is read here and not by
    :mod:`onward.core.checkpoints`, which stands on this module.
    """
    try:
        origin, size, root = _encode_text(text).decode()[:-1].split("\n")
        end = decode_decimal(size, "a checkpoint's size")
        digest = decode_base64(root, "a checkpoint's root")
    except (MalformedError, ValueError):
        raise _untrusted(f"what {name} cosigned is no checkpoint") from None
    if len(digest) != sha256().digest_size:
        raise _untrusted(f"what {name} cosigned is no checkpoint")
    start = 0
    return b"".join(
        [
            b"subtree/v1\n\0",
            _counted(name),
            time.to_bytes(8, "big"),
            _counted(origin),
            start.to_bytes(8, "big"),
            end.to_bytes(8, "big"),
            digest,
        ]
    )


def _counted(name: str) -> bytes:
    """Return a name after its length, which is one byte."""
    data = name.encode()
    if not 0 < len(data) <= MAX_COSIGNER_BYTES:
        raise _untrusted("the names in an ML-DSA cosignature have 1 to 255 bytes")
    return bytes([len(data)]) + data


def _set_vkey(signer: NoteSigner | Cosigner | MlDsaCosigner, key_type: KeyType) -> None:
    public_key = signer.private_key.public_key().public_bytes_raw()
    vkey = Vkey(signer.name, key_type, public_key)
    object.__setattr__(signer, "vkey", vkey)


def _untrusted(why: str) -> VerificationError:
    return VerificationError(Reason.ERROR_REASON_NOTE_UNTRUSTED, why)
