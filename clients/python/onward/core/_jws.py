"""The compact JWS (RFC 7515), in the one form that Onward signs and accepts.

The protected header has exactly ``alg``, ``kid`` and ``typ``, and base64url is
canonical, so one signature has one spelling, and nobody but the signer can change it.
(The signer can: an ECDSA signature has a random part. So whoever means one text must
name its digest.)
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from onward.core._jose import base64url, from_base64url, is_key_id, json_object
from onward.core.errors import MalformedError, Reason, TooLargeError, VerificationError
from onward.core.keys import ALGORITHMS, StatementPrivateKey, StatementPublicKey

MAX_JWS_SIZE: Final = 65536
"""Of the compact form, in bytes."""

_MAX_HEADER_SIZE: Final = 512  # base64url; the three members need about 140
_PARTS: Final = 3
_HEADER_MEMBERS: Final = {"alg", "kid", "typ"}


def sign_jws(payload: bytes, typ: str, key: StatementPrivateKey) -> str:
    """Sign ``payload`` as a compact JWS with the header ``alg``, ``kid``, ``typ``.

    Raises:
        TooLargeError: it would exceed :data:`MAX_JWS_SIZE`.
    """
    header = _format_header(key.algorithm, key.key_id, typ)
    signing_input = f"{header}.{base64url(payload)}"
    jws = f"{signing_input}.{base64url(key.sign(signing_input.encode()))}"
    _check_size(jws)
    return jws


def verify_jws(jws: str, typ: str, key: StatementPublicKey) -> bytes:
    """Return the payload of a compact JWS of type ``typ`` signed with ``key``.

    Raises:
        TooLargeError: over :data:`MAX_JWS_SIZE`.
        MalformedError: not a compact JWS with the header ``alg``, ``kid``, ``typ``.
        VerificationError: SIGNATURE_INVALID: not signed with ``key``.
    """
    algorithm, key_id, payload = parse_jws(jws, typ)
    check_signature(jws, algorithm, key_id, key)
    return payload


def parse_jws(jws: str, typ: str) -> tuple[str, str, bytes]:
    """Return algorithm, key id and payload; nothing of it is proven yet.

    Raises:
        TooLargeError: over :data:`MAX_JWS_SIZE`.
        MalformedError: not a compact JWS of type ``typ`` in the form above.
    """
    _check_size(jws)
    parts = jws.split(".", _PARTS)
    if len(parts) != _PARTS:
        raise MalformedError("not a compact JWS: three parts with dots between")
    algorithm, key_id = _parse_header(parts[0], typ)
    from_base64url(parts[2], "the JWS signature")
    return algorithm, key_id, from_base64url(parts[1], "the JWS payload")


def check_signature(
    jws: str, algorithm: str, key_id: str, key: StatementPublicKey
) -> None:
    """Check the signature of ``jws``, which :func:`parse_jws` has read.

    Args:
        jws: the compact form.
        algorithm: what its header names.
        key_id: what its header names.
        key: the key to check with; it must be the one named, for that algorithm.

    Raises:
        VerificationError: SIGNATURE_INVALID: not signed with ``key``.
    """
    if (algorithm, key_id) != (key.algorithm, key.key_id):
        raise VerificationError(
            Reason.ERROR_REASON_SIGNATURE_INVALID,
            f"the JWS names key {key_id} for {algorithm}, and was checked with "
            f"key {key.key_id} for {key.algorithm}",
        )
    signing_input, _, signature = jws.rpartition(".")
    key.verify(from_base64url(signature, "the JWS signature"), signing_input.encode())


def _check_size(jws: str) -> None:
    if len(jws) > MAX_JWS_SIZE:
        raise TooLargeError("the JWS", len(jws), MAX_JWS_SIZE)


# All statements of one key have the same header: both ways are remembered.
@lru_cache(maxsize=4096)
def _format_header(algorithm: str, key_id: str, typ: str) -> str:
    header = {"alg": algorithm, "kid": key_id, "typ": typ}
    return base64url(json.dumps(header, separators=(",", ":")).encode())


@lru_cache(maxsize=4096)
def _parse_header(segment: str, typ: str) -> tuple[str, str]:
    if len(segment) > _MAX_HEADER_SIZE:
        raise TooLargeError("the JWS header", len(segment), _MAX_HEADER_SIZE)
    header = json_object(from_base64url(segment, "the JWS header"), "the JWS header")
    # That also refuses `crit`, and with it every extension that would change what the
    # other parts mean (RFC 7515 4.1.11).
    if header.keys() != _HEADER_MEMBERS:
        raise MalformedError("the JWS header must have exactly alg, kid and typ")
    algorithm, key_id = header["alg"], header["kid"]
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise MalformedError(f"the JWS alg must be one of {', '.join(ALGORITHMS)}")
    if not isinstance(key_id, str) or not is_key_id(key_id):
        raise MalformedError("the JWS kid must be a SHA-256 thumbprint, base64url")
    if header["typ"] != typ:
        raise MalformedError(f"the JWS typ must be {typ}")
    return algorithm, key_id
