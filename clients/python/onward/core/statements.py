"""Statements: one protobuf ``Statement`` in one compact JWS (RFC 7515).

What a party signed is the text itself, so the text is kept as it came: it is parsed,
and never written again. Its digest is what the log holds. Therefore a statement must
have one reading and one spelling: exactly three header members, canonical base64url,
and each field of the message at most once.

:func:`parse_statement` yields an :class:`UnverifiedStatement`; only its ``verify``, or
:func:`sign_statement`, yields a :class:`SignedStatement`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from onward.core._jws import (
    MAX_JWS_SIZE,
    check_signature,
    parse_jws,
    sign_jws,
    verify_jws,
)
from onward.core._shapes import is_time
from onward.core.errors import MalformedError
from onward.core.identity import SpiffeId
from onward.core.keys import StatementPrivateKey, StatementPublicKey
from onward.v1 import statement_pb2

__all__ = [
    "MAX_STATEMENT_SIZE",
    "POSSESSION_TYPE",
    "STATEMENT_TYPE",
    "SignedStatement",
    "UnverifiedStatement",
    "is_statement_id",
    "new_statement_id",
    "parse_statement",
    "sign_jws",
    "sign_statement",
    "statement_digest",
    "verify_jws",
]

STATEMENT_TYPE: Final = "onward-statement+jws"
POSSESSION_TYPE: Final = "onward-possession+jws"

MAX_STATEMENT_SIZE: Final = MAX_JWS_SIZE
"""Of the compact form, in bytes (``statement.proto``)."""

_MAX_ORIGIN_SIZE: Final = 255
_DIGEST_SIZE: Final = 32
_UUID7: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
)

# Field numbers of statement.proto.
_BODY_FIELDS: Final = range(16, 64)
_ONCE: Final = frozenset({*range(1, 7), *_BODY_FIELDS})


@dataclass(frozen=True, slots=True)
class _Statement:
    """What the two kinds of statement have in common; compared by their text.

    Attributes:
        jws: the compact form, exactly as it came.
        digest: SHA-256 of ``jws``, 32 bytes.
        key_id: thumbprint of the key that the header names.
        algorithm: one of ``keys.ALGORITHMS``.
        message: the parsed payload. Not to be changed: the signature is over ``jws``.
    """

    jws: str = field(repr=False)
    digest: bytes = field(compare=False, repr=False)
    key_id: str = field(compare=False)
    algorithm: str = field(compare=False)
    message: statement_pb2.Statement = field(compare=False, repr=False)

    @property
    def body_kind(self) -> str:
        """The name of the body's field, such as ``referral``."""
        return self.message.WhichOneof("body") or ""


@dataclass(frozen=True, slots=True)
class SignedStatement(_Statement):
    """A statement whose signature verified with the key that ``key_id`` names.

    Whether that key is the issuer's, and was valid at the time, is for whoever knows
    the directory.
    """


@dataclass(frozen=True, slots=True)
class UnverifiedStatement(_Statement):
    """A well-formed statement of which nothing is proven yet."""

    def verify(self, key: StatementPublicKey) -> SignedStatement:
        """Check the signature.

        Args:
            key: the key with ``key_id``, from the directory.

        Raises:
            VerificationError: SIGNATURE_INVALID: not signed with ``key``.
        """
        self.check(key)
        return SignedStatement(
            self.jws, self.digest, self.key_id, self.algorithm, self.message
        )

    def check(self, key: StatementPublicKey) -> None:
        """Check the signature as :meth:`verify` does, where nobody needs the result."""
        check_signature(self.jws, self.algorithm, self.key_id, key)


def parse_statement(jws: str) -> UnverifiedStatement:
    """Read a statement, and check all that needs no key.

    Raises:
        TooLargeError: over :data:`MAX_STATEMENT_SIZE`.
        MalformedError: not of the one form that ``statement.proto`` describes.
    """
    algorithm, key_id, payload = parse_jws(jws, STATEMENT_TYPE)
    message = _parse_message(payload)
    return UnverifiedStatement(jws, statement_digest(jws), key_id, algorithm, message)


def sign_statement(
    message: statement_pb2.Statement, key: StatementPrivateKey
) -> SignedStatement:
    """Serialize and sign ``message``, whose issuer must own ``key``.

    Raises:
        TooLargeError: the statement would exceed :data:`MAX_STATEMENT_SIZE`.
        MalformedError: ``message`` is one that :func:`parse_statement` would refuse.
    """
    payload = message.SerializeToString()
    signed = _parse_message(payload)
    jws = sign_jws(payload, STATEMENT_TYPE, key)
    return SignedStatement(
        jws, statement_digest(jws), key.key_id, key.algorithm, signed
    )


def statement_digest(jws: str) -> bytes:
    """SHA-256 over the compact form: the statement's entry in the log, 32 bytes."""
    return sha256(jws.encode()).digest()


def is_statement_id(text: str) -> bool:
    """Whether ``text`` is a UUIDv7 in the one spelling that statements use."""
    return _UUID7.fullmatch(text) is not None


def new_statement_id(unix_ms: int, random: bytes) -> str:
    """Make a UUIDv7 (RFC 9562 5.7), lower case with hyphens.

    Args:
        unix_ms: the present time, milliseconds since 1970 in UTC.
        random: 10 random bytes.

    Raises:
        MalformedError: the time does not fit in 48 bits, or not 10 bytes.
    """
    if unix_ms not in range(1 << 48) or len(random) != 10:  # noqa: PLR2004
        raise MalformedError("a UUIDv7 takes 48 bits of time and 10 random bytes")
    bits = int.from_bytes(random, "big")
    high, low = bits >> 62 & 0xFFF, bits & (1 << 62) - 1
    text = f"{unix_ms << 80 | 7 << 76 | high << 64 | 2 << 62 | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _parse_message(payload: bytes) -> statement_pb2.Statement:
    try:
        message = statement_pb2.Statement.FromString(payload)
    except DecodeError:
        raise MalformedError("the payload is no Statement message") from None
    _check_common(message)
    _check_seen(message)
    _check_body(payload, message)
    return message


def _check_common(message: statement_pb2.Statement) -> None:
    made, referral_id = message.made_time, message.referral_id
    about_itself = message.HasField("referral")
    rules = (
        ("id", is_statement_id(message.id), "a UUIDv7, lower case with hyphens"),
        (
            "made_time",
            message.HasField("made_time") and is_time(made),
            "a time in the years 1 to 9999",
        ),
        ("previous", len(message.previous) in {0, _DIGEST_SIZE}, "empty or 32 bytes"),
        ("referral_id", not referral_id or is_statement_id(referral_id), "a UUIDv7"),
        (
            "referral_id",
            not about_itself or referral_id == message.id,
            "the id itself in a referral",
        ),
    )
    _check(rules)
    try:
        SpiffeId.parse(message.issuer)
    except MalformedError as error:
        raise MalformedError(f"issuer: {error.message}", field="issuer") from None


def _check_seen(message: statement_pb2.Statement) -> None:
    if not message.HasField("seen"):
        return
    seen = message.seen
    origin = len(seen.origin.encode())
    rules = (
        ("seen.origin", 0 < origin <= _MAX_ORIGIN_SIZE, "1 to 255 bytes"),
        ("seen.size", seen.size >= 0, "no negative number"),
        ("seen.root", len(seen.root) == _DIGEST_SIZE, "32 bytes"),
    )
    _check(rules)


def _check(rules: Iterable[tuple[str, object, str]]) -> None:
    """Raise for the first of (field, whether it holds, what it must be)."""
    for name, holds, rule in rules:
        if not holds:
            raise MalformedError(f"the statement's {name} must be {rule}", field=name)


def _check_body(payload: bytes, message: statement_pb2.Statement) -> None:
    """Refuse a payload with no body, two bodies, or one that only others can read.

    A parser takes the last of several, and drops none that it does not know: two
    readers of different versions could then see two different statements.
    """
    if _is_plain(payload, message):
        return
    numbers = [number for number in _field_numbers(payload) if number in _ONCE]
    bodies = [number for number in numbers if number in _BODY_FIELDS]
    if len(bodies) != 1 or len(numbers) != len(set(numbers)):
        raise MalformedError("a statement has one body, and each field at most once")
    if message.WhichOneof("body") is None:
        raise MalformedError(
            f"the statement's body has number {bodies[0]}, which this version does not "
            "know; a later version may",
            field="body",
        )


def _is_plain(payload: bytes, message: statement_pb2.Statement) -> bool:
    """Whether a payload is what this version would write, which most are.

    Then each field is there once, and with no field unknown the body is the only one.
    """
    return (
        message.WhichOneof("body") is not None
        and message.SerializeToString() == payload
        and not UnknownFieldSet(message)
    )


def _field_numbers(payload: bytes) -> Iterator[int]:
    """Yield the number of each top-level field of ``payload``, which has parsed."""
    at = 0
    while at < len(payload):
        tag, at = _varint(payload, at)
        yield tag >> 3
        match tag & 7:
            case 0:
                _, at = _varint(payload, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(payload, at)
                at += size
            case 5:
                at += 4
            case _:
                raise MalformedError("the statement uses groups, which are not allowed")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the varint at ``at``, and where it ends."""
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
    return value | data[at] << shift, at + 1
