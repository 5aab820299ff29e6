"""Content keys: the HPKE suites of ``vocabulary.proto``, and keys for them.

Sources: RFC 9180 (HPKE), FIPS 203 (ML-KEM), RFC 7748 (X25519), SEC 1 (points).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Self, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from onward.core._jose import base64url, from_base64url, json_object
from onward.core.errors import MalformedError, Reason, TooLargeError, VerificationError
from onward.v1 import directory_pb2
from onward.v1.vocabulary_pb2 import SealingSuite

_PRIVATE_KEY_FORMAT: Final = "onward-content-key-v1"
_PRIVATE_KEY_MEMBERS: Final = {"format", "suite", "private_key"}
_MAX_PRIVATE_KEY_SIZE: Final = 1024

_MLKEM_PUBLIC_SIZE: Final = 1184
_MLKEM_SEED_SIZE: Final = 64
_X25519_SIZE: Final = 32
_P384_POINT_SIZE: Final = 97
_P384_SCALAR_SIZE: Final = 48
_TAG_SIZE: Final = 16

_PublicKey: TypeAlias = MLKEM768X25519PublicKey | ec.EllipticCurvePublicKey
_PrivateKey: TypeAlias = MLKEM768X25519PrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class _Suite:
    """One row of ``vocabulary.proto``'s suites.

    Attributes:
        name: as it enters the key id, and a private key's encoding.
        hpke: the ciphersuite.
        kem: its key encapsulation.
        public_size: of the raw public key, in bytes.
        private_size: of the raw private key, in bytes.
        load_public: reads a raw public key of that size; ValueError if it is none.
        load_private: reads a raw private key of that size, likewise, and returns the
            raw public key with it.
        generate: makes a raw private key.
    """

    name: str
    hpke: Suite
    kem: KEM
    public_size: int
    private_size: int
    load_public: Callable[[bytes], _PublicKey]
    load_private: Callable[[bytes], tuple[_PrivateKey, bytes]]
    generate: Callable[[], bytes]


def _load_hybrid_public(raw: bytes) -> _PublicKey:
    mlkem_key = mlkem.MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_SIZE])
    x25519_key = x25519.X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_SIZE:])
    # A point of small order would fail only when somebody seals to it: ask now.
    x25519.X25519PrivateKey.from_private_bytes(bytes(_X25519_SIZE)).exchange(x25519_key)
    return MLKEM768X25519PublicKey(mlkem_key, x25519_key)


def _load_hybrid_private(raw: bytes) -> tuple[_PrivateKey, bytes]:
    mlkem_key = mlkem.MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED_SIZE])
    x25519_key = x25519.X25519PrivateKey.from_private_bytes(raw[_MLKEM_SEED_SIZE:])
    public = (mlkem_key.public_key(), x25519_key.public_key())
    return (
        MLKEM768X25519PrivateKey(mlkem_key, x25519_key),
        b"".join(part.public_bytes_raw() for part in public),
    )


def _generate_hybrid() -> bytes:
    mlkem_key = mlkem.MLKEM768PrivateKey.generate()
    x25519_key = x25519.X25519PrivateKey.generate()
    return mlkem_key.private_bytes_raw() + x25519_key.private_bytes_raw()


def _load_p384_public(raw: bytes) -> _PublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), raw)


def _load_p384_private(raw: bytes) -> tuple[_PrivateKey, bytes]:
    key = ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP384R1())
    public = key.public_key().public_bytes(
        Encoding.X962, PublicFormat.UncompressedPoint
    )
    return key, public


def _generate_p384() -> bytes:
    key = ec.generate_private_key(ec.SECP384R1())
    return key.private_numbers().private_value.to_bytes(_P384_SCALAR_SIZE, "big")


_SUITES: Final[Mapping[SealingSuite.ValueType, _Suite]] = {
    SealingSuite.SEALING_SUITE_MLKEM768_X25519: _Suite(
        name="MLKEM768_X25519",
        hpke=Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
        kem=KEM.MLKEM768_X25519,
        public_size=_MLKEM_PUBLIC_SIZE + _X25519_SIZE,
        private_size=_MLKEM_SEED_SIZE + _X25519_SIZE,
        load_public=_load_hybrid_public,
        load_private=_load_hybrid_private,
        generate=_generate_hybrid,
    ),
    SealingSuite.SEALING_SUITE_P384: _Suite(
        name="P384",
        hpke=Suite(KEM.P384, KDF.HKDF_SHA384, AEAD.AES_256_GCM),
        kem=KEM.P384,
        public_size=_P384_POINT_SIZE,
        private_size=_P384_SCALAR_SIZE,
        load_public=_load_p384_public,
        load_private=_load_p384_private,
        generate=_generate_p384,
    ),
}
_SUITE_BY_NAME: Final = {suite.name: number for number, suite in _SUITES.items()}


@dataclass(frozen=True, slots=True)
class ContentPublicKey:
    """A public key to which content is sealed. A value of this type can be sealed to.

    Args:
        suite: the HPKE ciphersuite that it is for.
        raw: the raw public key, as ``directory.proto`` describes it.

    Attributes:
        key_id: base64url SHA-256 over the suite's name, a zero byte, and ``raw``.

    Raises:
        MalformedError: unknown suite, or no public key of it.
    """

    suite: SealingSuite.ValueType
    raw: bytes = field(repr=False)
    key_id: str = field(init=False, compare=False)
    _key: _PublicKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        suite = _suite(self.suite)
        digest = sha256(suite.name.encode() + b"\0" + self.raw).digest()
        try:
            _check_size(self.raw, suite.public_size)
            key = suite.load_public(self.raw)
        except ValueError:
            raise MalformedError(f"not a public content key for {suite.name}") from None
        object.__setattr__(self, "key_id", base64url(digest))
        object.__setattr__(self, "_key", key)

    @classmethod
    def from_proto(cls, message: directory_pb2.ContentKey) -> Self:
        """Read ``suite`` and ``public_key``; a ``key_id``, if there is one, must fit.

        Raises:
            MalformedError: unknown suite, no public key of it, or another key's id.
        """
        key = cls(message.suite, message.public_key)
        if message.key_id not in {"", key.key_id}:
            raise MalformedError(f"the id of content key {key.key_id} is another one")
        return key

    def to_proto(self) -> directory_pb2.ContentKey:
        """Write id, suite and raw key; status and validity are the directory's."""
        return directory_pb2.ContentKey(
            key_id=self.key_id, suite=self.suite, public_key=self.raw
        )

    def seal(self, secret: bytes, info: bytes) -> bytes:
        """Seal ``secret`` (RFC 9180, base mode); returns ``enc`` then ciphertext."""
        return _suite(self.suite).hpke.encrypt(secret, self._key, info)


class ContentPrivateKey:
    """A private key that opens sealed content. Nothing of it shows in its ``repr``.

    Args:
        suite: the HPKE ciphersuite that it is for.
        raw: ``MLKEM768_X25519``: ML-KEM-768 seed (64 bytes, FIPS 203 d then z), then
            X25519 key (32 bytes). ``P384``: the scalar, 48 bytes, big-endian.

    Raises:
        MalformedError: unknown suite, or no private key of it.
    """

    __slots__ = ("_key", "_raw", "public")

    public: ContentPublicKey
    """The public key that belongs to it."""

    def __init__(self, suite: SealingSuite.ValueType, raw: bytes) -> None:
        row = _suite(suite)
        try:
            _check_size(raw, row.private_size)
            self._key, public = row.load_private(raw)
        except ValueError:
            raise MalformedError(f"not a private content key for {row.name}") from None
        self._raw = raw
        self.public = ContentPublicKey(suite, public)

    @classmethod
    def generate(
        cls,
        suite: SealingSuite.ValueType = SealingSuite.SEALING_SUITE_MLKEM768_X25519,
    ) -> Self:
        """Make a new key.

        Raises:
            MalformedError: unknown suite.
        """
        return cls(suite, _suite(suite).generate())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            MalformedError: it is something else.
        """
        if len(data) > _MAX_PRIVATE_KEY_SIZE:
            raise TooLargeError("the content key", len(data), _MAX_PRIVATE_KEY_SIZE)
        members = json_object(data, "the private content key")
        suite, raw = members.get("suite"), members.get("private_key")
        if (
            members.keys() != _PRIVATE_KEY_MEMBERS
            or members["format"] != _PRIVATE_KEY_FORMAT
            or not isinstance(suite, str)
            or suite not in _SUITE_BY_NAME
            or not isinstance(raw, str)
        ):
            raise MalformedError(f"not a private content key ({_PRIVATE_KEY_FORMAT})")
        return cls(_SUITE_BY_NAME[suite], from_base64url(raw, "the private key"))

    def to_bytes(self) -> bytes:
        r"""Write the key, unencrypted, as one line of JSON.

        ``{"format": "onward-content-key-v1", "suite": "<name>", "private_key": "<raw,
        base64url without padding>"}\n``, where raw is as for the class.
        """
        members = {
            "format": _PRIVATE_KEY_FORMAT,
            "suite": _suite(self.public.suite).name,
            "private_key": base64url(self._raw),
        }
        return json.dumps(members).encode() + b"\n"

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Open what :meth:`ContentPublicKey.seal` sealed with the same ``info``.

        Raises:
            VerificationError: CANNOT_OPEN.
        """
        try:
            return _suite(self.public.suite).hpke.decrypt(sealed, self._key, info)
        except (InvalidTag, ValueError):
            raise cannot_open() from None

    def __repr__(self) -> str:
        suite = _suite(self.public.suite).name
        return f"ContentPrivateKey({suite}, key_id={self.public.key_id!r})"


def cannot_open() -> VerificationError:
    """Make the one error of opening: it does not say what was wrong."""
    return VerificationError(
        Reason.ERROR_REASON_CANNOT_OPEN,
        "the seal does not open with this key in this context",
    )


def sealed_size(suite: SealingSuite.ValueType, secret_size: int) -> int:
    """How long the seal of a secret is: ``enc``, ciphertext and tag, in bytes.

    Raises:
        MalformedError: unknown suite.
    """
    return _suite(suite).kem.enc_length() + secret_size + _TAG_SIZE


def _suite(number: SealingSuite.ValueType) -> _Suite:
    if number not in _SUITES:
        raise MalformedError(f"the sealing suite {number} is not known to this version")
    return _SUITES[number]


def _check_size(raw: bytes, size: int) -> None:
    if len(raw) != size:
        raise ValueError
