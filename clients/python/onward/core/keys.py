"""Keys that sign statements: P-256, P-384 and Ed25519, as JWK and by thumbprint.

An ECDSA signature ``(r, s)`` has a twin, ``(r, n - s)``, which anybody can compute. A
statement's digest is over its signature too, so only the one with the lower ``s`` is a
signature here: nobody but the key's owner can give a statement another digest.

Sources: RFC 7517 and 7518 (JWK; ECDSA signatures are ``r || s``), RFC 8037 (Ed25519),
RFC 7638 (thumbprints), RFC 8032 5.1.3 (which 32 bytes are a point).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Self, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from onward.core._jose import base64url, from_base64url, json_object
from onward.core.errors import MalformedError, Reason, TooLargeError, VerificationError

MAX_JWK_SIZE: Final = 1024

_ED25519_SIZE: Final = 32
_ED25519_P: Final = 2**255 - 19
_ED25519_D: Final = -121665 * pow(121666, -1, _ED25519_P) % _ED25519_P


@dataclass(frozen=True, slots=True)
class _Curve:
    """How JOSE uses one NIST curve (RFC 7518 3.4 and 6.2.1)."""

    name: str
    curve: ec.EllipticCurve
    signature: ec.ECDSA
    size: int

    def from_der(self, der: bytes) -> bytes:
        """Return a signature in JOSE's form, with the lower ``s``."""
        r, s = decode_dss_signature(der)
        low = min(s, self.curve.group_order - s)
        return r.to_bytes(self.size, "big") + low.to_bytes(self.size, "big")

    def to_der(self, signature: bytes) -> bytes:
        """Return a signature as it is verified.

        Raises:
            InvalidSignature: it is not in JOSE's form, or has the higher ``s``.
        """
        r = int.from_bytes(signature[: self.size], "big")
        s = int.from_bytes(signature[self.size :], "big")
        if len(signature) != 2 * self.size or 2 * s > self.curve.group_order:
            raise InvalidSignature
        return encode_dss_signature(r, s)


_EDDSA: Final = "EdDSA"
_CURVES: Final[Mapping[str, _Curve]] = {
    "ES256": _Curve("P-256", ec.SECP256R1(), ec.ECDSA(hashes.SHA256()), 32),
    "ES384": _Curve("P-384", ec.SECP384R1(), ec.ECDSA(hashes.SHA384()), 48),
}

ALGORITHMS: Final = (*_CURVES, _EDDSA)
"""The algorithms that statements may be signed with, by their JOSE names."""

DEFAULT_ALGORITHM: Final = "ES256"
"""Of a new key: quick to verify, and in every smart card, HSM and TPM."""

_ALGORITHM_BY_JWK: Final[Mapping[tuple[object, object], str]] = {
    ("OKP", "Ed25519"): _EDDSA,
    **{("EC", curve.name): name for name, curve in _CURVES.items()},
}
_ALGORITHM_BY_CURVE: Final = {curve.curve.name: name for name, curve in _CURVES.items()}
_COORDINATES: Final = {"OKP": ("x",), "EC": ("x", "y")}
_IGNORED_MEMBERS: Final = frozenset({"alg", "kid", "use"})

_PublicKey: TypeAlias = Ed25519PublicKey | ec.EllipticCurvePublicKey
_PrivateKey: TypeAlias = Ed25519PrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class StatementPublicKey:
    """A public key for statements. Made by :meth:`from_jwk`; compared by its JWK.

    Attributes:
        algorithm: the one algorithm that it verifies, of :data:`ALGORITHMS`.
        key_id: RFC 7638 SHA-256 thumbprint, base64url.
        jwk: the text that the thumbprint is over: required members only, sorted,
            without white space.
    """

    algorithm: str = field(compare=False)
    key_id: str = field(compare=False)
    jwk: str
    _key: _PublicKey = field(repr=False, compare=False)

    @staticmethod
    def from_jwk(text: str) -> StatementPublicKey:
        """Read a JWK (RFC 7517): the required members, and no private ones.

        ``alg``, ``kid`` and ``use`` are ignored, since the key itself determines them.

        Raises:
            MalformedError: not such a JWK, or no point of its curve.
        """
        if len(text) > MAX_JWK_SIZE:
            raise TooLargeError("the JWK", len(text), MAX_JWK_SIZE)
        members = json_object(text, "the JWK")
        algorithm = _ALGORITHM_BY_JWK.get(_kind(members))
        if algorithm is None:
            raise MalformedError("a statement key must be P-256, P-384 or Ed25519")
        return _described(_public_key(algorithm, _coordinates(members)))

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check ``signature`` (JOSE form: 64 bytes, or ``r || s``) over ``message``.

        Of the two ECDSA signatures with one ``r``, the one with the lower ``s`` holds.

        Raises:
            VerificationError: SIGNATURE_INVALID: it does not hold.
        """
        try:
            if isinstance(self._key, Ed25519PublicKey):
                self._key.verify(signature, message)
            else:
                curve = _CURVES[self.algorithm]
                self._key.verify(curve.to_der(signature), message, curve.signature)
        except InvalidSignature:
            raise VerificationError(
                Reason.ERROR_REASON_SIGNATURE_INVALID,
                f"the signature does not verify with key {self.key_id}",
            ) from None


class StatementPrivateKey:
    """A private key for statements. Nothing of it shows in its ``repr``."""

    __slots__ = ("_key", "public")

    public: StatementPublicKey
    """The public key that belongs to it."""

    def __init__(self, key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._key: _PrivateKey = key
        self.public = _described(key.public_key())

    @classmethod
    def generate(cls, algorithm: str = DEFAULT_ALGORITHM) -> Self:
        """Make a new key for ``algorithm``, one of :data:`ALGORITHMS`.

        Raises:
            MalformedError: no such algorithm.
        """
        if algorithm == _EDDSA:
            return cls(Ed25519PrivateKey.generate())
        if algorithm not in _CURVES:
            raise MalformedError(f"a key's algorithm is one of {', '.join(ALGORITHMS)}")
        return cls(ec.generate_private_key(_CURVES[algorithm].curve))

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read an unencrypted private key, as :meth:`to_pem` or OpenSSL writes it.

        Raises:
            MalformedError: not PEM, encrypted, or a key of another kind.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except TypeError:
            raise MalformedError(
                "the private key is encrypted; decrypt it first"
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            raise MalformedError("not a private key in PEM (PKCS #8)") from None
        if not isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            raise MalformedError("a statement key must be P-256, P-384 or Ed25519")
        return cls(key)

    def to_pem(self) -> bytes:
        """Write the key, unencrypted, as PEM (PKCS #8)."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def algorithm(self) -> str:
        """The algorithm that it signs with."""
        return self.public.algorithm

    @property
    def key_id(self) -> str:
        """The public key's thumbprint."""
        return self.public.key_id

    def sign(self, message: bytes) -> bytes:
        """Sign ``message``; the signature has JOSE's form (RFC 7518 3.4, RFC 8037)."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(message)
        curve = _CURVES[self.algorithm]
        return curve.from_der(self._key.sign(message, curve.signature))

    def __repr__(self) -> str:
        return f"StatementPrivateKey({self.algorithm}, key_id={self.key_id!r})"


def _algorithm(key: _PublicKey | _PrivateKey) -> str:
    if isinstance(key, Ed25519PublicKey | Ed25519PrivateKey):
        return _EDDSA
    algorithm = _ALGORITHM_BY_CURVE.get(key.curve.name)
    if algorithm is None:
        raise MalformedError("a statement key must be P-256, P-384 or Ed25519")
    return algorithm


def _described(key: _PublicKey) -> StatementPublicKey:
    algorithm = _algorithm(key)
    members = _jwk_members(algorithm, key)
    jwk = json.dumps(members, separators=(",", ":"), sort_keys=True)
    key_id = base64url(sha256(jwk.encode()).digest())
    return StatementPublicKey(algorithm, key_id, jwk, key)


def _kind(members: Mapping[str, object]) -> tuple[object, object]:
    kind = members.get("kty"), members.get("crv")
    # Lists and objects would be no keys of a table.
    return kind if all(isinstance(part, str) for part in kind) else (None, None)


def _coordinates(members: Mapping[str, object]) -> list[bytes]:
    if "d" in members:
        raise MalformedError("the JWK holds a private key; only the public part may go")
    names = _COORDINATES[str(members["kty"])]
    if members.keys() - _IGNORED_MEMBERS != {"kty", "crv", *names}:
        raise MalformedError("the JWK must have the required members, and no others")
    values = [members[name] for name in names]
    if not all(isinstance(value, str) for value in values):
        raise MalformedError("the JWK's coordinates must be strings")
    return [from_base64url(str(value), "a JWK coordinate") for value in values]


def _public_key(algorithm: str, coordinates: list[bytes]) -> _PublicKey:
    curve = _CURVES.get(algorithm)
    size = curve.size if curve else _ED25519_SIZE
    if any(len(coordinate) != size for coordinate in coordinates):
        raise MalformedError(f"a coordinate of the JWK must have {size} bytes")
    if curve is None:
        _check_ed25519_point(coordinates[0])
        return Ed25519PublicKey.from_public_bytes(coordinates[0])
    x, y = (int.from_bytes(coordinate, "big") for coordinate in coordinates)
    try:
        return ec.EllipticCurvePublicNumbers(x, y, curve.curve).public_key()
    except ValueError:
        raise MalformedError("the JWK is no point of its curve") from None


def _check_ed25519_point(raw: bytes) -> None:
    """Refuse 32 bytes that are no point, or one whose order divides 8.

    OpenSSL takes both. With a point of small order as the key, one signature verifies
    for messages that nobody signed, so its owner could deny every statement.
    """
    p = _ED25519_P
    y = int.from_bytes(raw, "little") & (1 << 255) - 1
    y2 = y * y % p
    # Order 1, 2 and 4 have y = 1, -1 and 0. Twice a point of order 8 has y = 0, which
    # the doubling formula turns into this equation.
    small_order = y in {0, 1, p - 1} or (_ED25519_D * y2 * y2 + 2 * y2 - 1) % p == 0
    # x^2 = (y^2 - 1) / (d y^2 + 1); Euler's criterion says whether there is such an x.
    x_exists = pow((y2 - 1) * (_ED25519_D * y2 + 1), (p - 1) // 2, p) == 1
    if y >= p or small_order or not x_exists:
        raise MalformedError("the JWK is no usable point of its curve")


def _jwk_members(algorithm: str, key: _PublicKey) -> dict[str, str]:
    if isinstance(key, Ed25519PublicKey):
        return {"crv": "Ed25519", "kty": "OKP", "x": base64url(key.public_bytes_raw())}
    curve = _CURVES[algorithm]
    point = key.public_numbers()
    return {
        "crv": curve.name,
        "kty": "EC",
        "x": base64url(point.x.to_bytes(curve.size, "big")),
        "y": base64url(point.y.to_bytes(curve.size, "big")),
    }
