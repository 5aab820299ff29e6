"""Vectors of ``statement``: one signature, in the one form that is accepted."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from onward.core.keys import StatementPrivateKey
from onward.core.statements import new_statement_id
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.conformance.case import Case
from tests.support.chain_builder import OHIO, START, timestamp

_Signer = Callable[[bytes], bytes]
_TYPE = "onward-statement+jws"

_ED25519 = Ed25519PrivateKey.from_private_bytes(sha256(b"vector").digest())
_P256 = ec.derive_private_key(0x5EED256, ec.SECP256R1())
_P384 = ec.derive_private_key(0x5EED384, ec.SECP384R1())
_KEYS = {
    "EdDSA": StatementPrivateKey(_ED25519),
    "ES256": StatementPrivateKey(_P256),
    "ES384": StatementPrivateKey(_P384),
}
_MESSAGE = statement_pb2.Statement(
    id=new_statement_id(int(START.timestamp() * 1000), bytes(10)),
    issuer=OHIO,
    made_time=timestamp(START),
    seen=statement_pb2.Seen(
        origin="national.example/log", size=7, root=sha256(b"root").digest()
    ),
    previous=sha256(b"previous").digest(),
    referral_id=new_statement_id(int(START.timestamp() * 1000), bytes([1] * 10)),
    received=statement_pb2.Received(
        content_digest=sha256(b"content").digest(),
        check=vocabulary_pb2.CONTENT_CHECK_VERIFIED,
    ),
)
_PAYLOAD = _MESSAGE.SerializeToString(deterministic=True)


def cases() -> Iterator[Case]:
    """Yields the vectors."""
    yield from _verified()
    yield from _signatures_fail()
    yield from _headers_fail()
    yield from _spellings_fail()
    yield from _payloads_fail()
    yield from _jwks_fail()


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _ecdsa(key: ec.EllipticCurvePrivateKey, digest: hashes.HashAlgorithm) -> _Signer:
    """Returns what signs with the lower s, and always the same (RFC 6979)."""
    size, order = key.key_size // 8, key.curve.group_order

    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(
            key.sign(message, ec.ECDSA(digest, deterministic_signing=True))
        )
        return r.to_bytes(size, "big") + min(s, order - s).to_bytes(size, "big")

    return sign


_SIGNERS: dict[str, _Signer] = {
    "EdDSA": _ED25519.sign,
    "ES256": _ecdsa(_P256, hashes.SHA256()),
    "ES384": _ecdsa(_P384, hashes.SHA384()),
}


def _jws(
    algorithm: str = "EdDSA",
    header: str = "",
    payload: bytes = _PAYLOAD,
    **changes: object,
) -> str:
    """Returns a compact JWS that is right but for what is given.

    Args:
        algorithm: with whose key it is signed.
        header: the header's JSON, in place of the right one.
        payload: the payload.
        changes: members of the header; None leaves one out.
    """
    members = {"alg": algorithm, "kid": _KEYS[algorithm].key_id, "typ": _TYPE} | changes
    kept = {name: value for name, value in members.items() if value is not None}
    text = header or json.dumps(kept, separators=(",", ":"))
    signed = f"{_base64url(text.encode())}.{_base64url(payload)}"
    return f"{signed}.{_base64url(_SIGNERS[algorithm](signed.encode()))}"


def _jwk(algorithm: str = "EdDSA") -> dict[str, object]:
    jwk: dict[str, object] = json.loads(_KEYS[algorithm].public.jwk)
    return jwk


def _case(
    name: str,
    why: str,
    jws: str,
    error: str = "MALFORMED",
    jwk: dict[str, object] | None = None,
) -> Case:
    request = {"jws": jws, "jwk": jwk or _jwk()}
    return Case("statement", name, why, request, error)


def _verified() -> Iterator[Case]:
    for algorithm, curve in (
        ("EdDSA", "Ed25519"),
        ("ES256", "P-256"),
        ("ES384", "P-384"),
    ):
        yield _case(
            algorithm.lower(),
            f"A statement signed with {curve}.",
            _jws(algorithm),
            "",
            _jwk(algorithm),
        )
    described = _jwk() | {"kid": _KEYS["EdDSA"].key_id, "alg": "EdDSA", "use": "sig"}
    yield _case(
        "described-jwk",
        "The JWK has alg, kid and use beside its required members: they are ignored.",
        _jws(),
        "",
        described,
    )
    header = json.dumps(
        {"typ": _TYPE, "kid": _KEYS["EdDSA"].key_id, "alg": "EdDSA"}, indent=2
    )
    yield _case(
        "header-in-other-order",
        "The header's members may stand in any order, and with white space: what was "
        "signed is its bytes.",
        _jws(header=header),
        "",
    )
    later = _PAYLOAD + b"\x98\x06\x01"  # field 99, varint 1
    yield _case(
        "unknown-field",
        "A field of a later version that is no body is kept, since it is signed.",
        _jws(payload=later),
        "",
    )


def _signatures_fail() -> Iterator[Case]:
    right = _jws()
    other = statement_pb2.Statement.FromString(_PAYLOAD)
    other.id = new_statement_id(int(START.timestamp() * 1000), bytes([2] * 10))
    parts = right.split(".")
    replayed = _base64url(other.SerializeToString(deterministic=True))
    yield _case(
        "replayed-signature-over-another-id",
        "The signature of one statement under the same statement with another id.",
        ".".join((parts[0], replayed, parts[2])),
        "SIGNATURE_INVALID",
    )
    yield _case(
        "signature-changed",
        "One bit of the signature was changed.",
        f"{right[:-10]}{'A' if right[-10] != 'A' else 'B'}{right[-9:]}",
        "SIGNATURE_INVALID",
    )
    yield _case(
        "signature-of-another-type",
        "The key signed the same payload as a proof of possession. The signature holds "
        "for that type only.",
        ".".join((parts[0], parts[1], _jws(typ="onward-possession+jws").split(".")[2])),
        "SIGNATURE_INVALID",
    )
    yield _case(
        "key-of-another-party",
        "The header names a key, and the request gives another one.",
        _jws("ES256"),
        "SIGNATURE_INVALID",
    )
    yield _case(
        "algorithm-of-another-key",
        "The header says ES256 with the thumbprint of an Ed25519 key.",
        _jws(alg="ES256"),
        "SIGNATURE_INVALID",
    )
    yield _case(
        "empty-signature",
        "There is no signature.",
        f"{parts[0]}.{parts[1]}.",
        "SIGNATURE_INVALID",
    )
    yield _case(
        "der-signature",
        "An ECDSA signature in DER, as TLS has it: JOSE has r and s, 32 bytes each.",
        _der(),
        "SIGNATURE_INVALID",
        _jwk("ES256"),
    )
    for algorithm, curve in (("ES256", ec.SECP256R1()), ("ES384", ec.SECP384R1())):
        yield _case(
            f"higher-s-{algorithm.lower()}",
            "The signature (r, n - s), which whoever has (r, s) can make without the "
            "key. Cryptography libraries verify both; the lower s alone is accepted, "
            "so that nobody else can give a statement another digest.",
            _higher_s(_jws(algorithm), curve.group_order),
            "SIGNATURE_INVALID",
            _jwk(algorithm),
        )


def _higher_s(jws: str, order: int) -> str:
    """Returns a JWS with the other one of the two signatures that have this r."""
    signed, _, encoded = jws.rpartition(".")
    signature = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    r, s = signature[: len(signature) // 2], signature[len(signature) // 2 :]
    other = (order - int.from_bytes(s, "big")).to_bytes(len(s), "big")
    return f"{signed}.{_base64url(r + other)}"


def _der() -> str:
    signed = _jws("ES256").rpartition(".")[0]
    der = _P256.sign(
        signed.encode(), ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    )
    return f"{signed}.{_base64url(der)}"


def _headers_fail() -> Iterator[Case]:
    key_id = _KEYS["EdDSA"].key_id
    yield _case(
        "unknown-critical-header",
        "The header makes a parameter critical that nobody here understands (RFC 7515 "
        "4.1.11).",
        _jws(crit=["exp"], exp=1),
    )
    yield _case(
        "wrong-typ",
        "The type is that of a proof of possession: what was signed for one purpose "
        "must not serve another.",
        _jws(typ="onward-possession+jws"),
    )
    yield _case("no-typ", "The header has no type.", _jws(typ=None))
    yield _case("no-kid", "The header names no key.", _jws(kid=None))
    yield _case("alg-none", "An unsigned JWS.", _jws(alg="none"))
    yield _case("alg-hs256", "A symmetric algorithm.", _jws(alg="HS256"))
    yield _case(
        "embedded-jwk",
        "The header brings its own key, which must never be used.",
        _jws(jwk=_jwk()),
    )
    twice = f'{{"alg":"EdDSA","alg":"EdDSA","kid":"{key_id}","typ":"{_TYPE}"}}'
    yield _case(
        "duplicate-header-name",
        "A name stands twice: readers disagree about which counts.",
        _jws(header=twice),
    )
    yield _case(
        "header-no-json", "The header is not a JSON object.", _jws(header="EdDSA")
    )
    yield _case(
        "header-deeply-nested",
        "The header is a hundred arrays in each other.",
        _jws(header="[" * 100 + "]" * 100),
    )


def _spellings_fail() -> Iterator[Case]:
    right = _jws()
    header, payload, signature = right.split(".")
    yield _case("two-parts", "The signature part is missing.", f"{header}.{payload}")
    yield _case("four-parts", "There is a fourth part.", f"{right}.{signature}")
    yield _case("padding", "base64url has no padding here.", f"{right}==")
    yield _case("line-break", "A line break follows the text.", f"{right}\n")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = alphabet[alphabet.index(right[-1]) ^ 1]
    yield _case(
        "other-spelling-of-the-signature",
        "The last character has bits that no byte uses: the same signature, spelled "
        "otherwise, would be another digest in the log.",
        right[:-1] + other,
    )
    yield _case(
        "standard-base64",
        "The payload is in standard base64, with + and / for - and _.",
        f"{header}.{_standard(payload)}.{signature}",
    )


def _standard(payload: str) -> str:
    return payload.replace("-", "+").replace("_", "/") + "+"


def _payloads_fail() -> Iterator[Case]:
    def changed(**fields: object) -> str:
        message = statement_pb2.Statement.FromString(_PAYLOAD)
        message.MergeFrom(statement_pb2.Statement(**fields))  # type: ignore[arg-type]
        return _jws(payload=message.SerializeToString(deterministic=True))

    yield _case("payload-empty", "There is no message.", _jws(payload=b""))
    yield _case(
        "payload-no-message",
        "The payload is not a protobuf message.",
        _jws(payload=b"\xff\xff\xff\xff"),
    )
    yield _case(
        "id-of-another-version",
        "An id is a UUIDv7, and this is a UUIDv4.",
        changed(id="0f8fad5b-d9cb-469f-a165-70867728950e"),
    )
    yield _case(
        "id-in-upper-case",
        "An id is in lower case: it must have one spelling.",
        changed(id=_MESSAGE.id.upper()),
    )
    yield _case(
        "issuer-no-spiffe-id",
        "The issuer is a web address.",
        changed(issuer="https://national.example/agency/ohio-state-police"),
    )
    yield _case(
        "previous-of-31-bytes", "A digest has 32 bytes.", changed(previous=bytes(31))
    )
    yield _case(
        "two-bodies",
        "The payload has a second body: a parser would show the last one, and another "
        "reader the first.",
        _jws(
            payload=_PAYLOAD
            + statement_pb2.Statement(taking=statement_pb2.Taking()).SerializeToString()
        ),
    )
    message = statement_pb2.Statement.FromString(_PAYLOAD)
    message.ClearField("body")
    without = message.SerializeToString(deterministic=True)
    yield _case("no-body", "The statement says nothing.", _jws(payload=without))
    yield _case(
        "body-of-a-later-version",
        "The body's number is one that this version does not know (63): it cannot be "
        "judged.",
        _jws(payload=without + b"\xfa\x03\x00"),
    )
    yield _case(
        "id-twice",
        "The id stands twice in the payload.",
        _jws(
            payload=_PAYLOAD
            + statement_pb2.Statement(id=_MESSAGE.id).SerializeToString()
        ),
    )


def _jwks_fail() -> Iterator[Case]:
    yield _case(
        "private-jwk",
        "The JWK has a private member: whoever sends that has made a mistake.",
        _jws(),
        jwk=_jwk() | {"d": "AAAA"},
    )
    yield _case(
        "jwk-not-on-curve",
        "The coordinates are no point of the curve.",
        _jws("ES256"),
        jwk=_jwk("ES256") | {"y": _base64url(bytes(32))},
    )
    yield _case(
        "jwk-of-small-order",
        "An Ed25519 point of small order verifies signatures that nobody made.",
        _jws(),
        jwk={"kty": "OKP", "crv": "Ed25519", "x": _base64url(b"\1" + bytes(31))},
    )
    yield _case(
        "jwk-of-another-curve",
        "X25519 keys do not sign.",
        _jws(),
        jwk=_jwk() | {"crv": "X25519"},
    )
