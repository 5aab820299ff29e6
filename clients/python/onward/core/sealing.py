"""Sealing: content that only its recipients can read (``content.proto``).

Content is encrypted once with a fresh AES-256-GCM key, and that key is sealed to each
recipient's content key with HPKE (RFC 9180, base mode). What the seal is for is bound
in: the referral's id in the content's additional data; the referral's id, the recipient
and the digest of the ciphertext in the ``info`` of each sealed key. So a seal opens for
this recipient and this referral only.

The content also commits to its key, since AES-GCM does not: what one recipient reads is
what all of them read.

Opening fails in one way, whatever was wrong, so that nobody learns from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from onward.core._content_keys import (
    ContentPrivateKey,
    ContentPublicKey,
    cannot_open,
    sealed_size,
)
from onward.core._jose import is_key_id
from onward.core.errors import MalformedError, TooLargeError
from onward.core.identity import SpiffeId
from onward.core.statements import is_statement_id
from onward.v1.content_pb2 import SealedContent, SealedKey

__all__ = [
    "MAX_RECIPIENTS",
    "MAX_SEALED_SIZE",
    "ContentPrivateKey",
    "ContentPublicKey",
    "key_seal_info",
    "open_content",
    "open_content_with_info",
    "open_secret",
    "parse_sealed",
    "seal_content",
    "seal_secret",
]

MAX_SEALED_SIZE: Final = 25 * 1024 * 1024
"""Of the serialized ``SealedContent`` in bytes, unless the caller states a limit."""

MAX_RECIPIENTS: Final = 16

_CONTENT_CONTEXT: Final = b"onward-content-v1"
_SEAL_CONTEXT: Final = b"onward-seal-v1"
_KEY_CONTEXT: Final = b"onward-key-v1"
_INFO_PARTS: Final = 4
_KEY_SIZE: Final = 32
_NONCE_SIZE: Final = 12
_TAG_SIZE: Final = 16


def seal_content(
    content: bytes,
    referral_id: str,
    recipients: Mapping[str, ContentPublicKey],
    random: Callable[[int], bytes],
) -> bytes:
    """Seal ``content`` for the recipients of a referral.

    Args:
        content: the serialized ``Tip``.
        referral_id: the id that the referral will have.
        recipients: 1 to 16 content keys by the SPIFFE ID of the recipient.
        random: returns as many random bytes as it is asked for; makes the nonce.

    Returns:
        The serialized ``SealedContent``, whose SHA-256 the referral signs.

    Raises:
        MalformedError: no recipient or too many, or a name is none.
    """
    if not is_statement_id(referral_id):
        raise MalformedError("a referral's id must be a UUIDv7", field="referral_id")
    _check_recipients(list(recipients))
    key, nonce = AESGCM.generate_key(8 * _KEY_SIZE), random(_NONCE_SIZE)
    ciphertext = AESGCM(key).encrypt(nonce, content, _aad(referral_id))
    digest = sha256(ciphertext).digest()
    sealed_keys = [
        SealedKey(
            recipient=recipient,
            key_id=public.key_id,
            suite=public.suite,
            sealed=public.seal(key, _info(referral_id, recipient, digest)),
        )
        for recipient, public in recipients.items()
    ]
    return SealedContent(
        nonce=nonce,
        ciphertext=ciphertext,
        keys=sealed_keys,
        key_commitment=_commitment(key),
    ).SerializeToString()


def parse_sealed(data: bytes, max_size: int = MAX_SEALED_SIZE) -> SealedContent:
    """Read sealed content, and check all that needs no key.

    Raises:
        TooLargeError: over ``max_size`` bytes.
        MalformedError: not of the shape that ``content.proto`` describes.
    """
    if len(data) > max_size:
        raise TooLargeError("the sealed content", len(data), max_size)
    try:
        sealed = SealedContent.FromString(data)
    except DecodeError:
        raise MalformedError("not a SealedContent message") from None
    if len(sealed.nonce) != _NONCE_SIZE:
        raise MalformedError("the nonce must have 12 bytes", field="nonce")
    if len(sealed.ciphertext) < _TAG_SIZE:
        raise MalformedError("no ciphertext is so short", field="ciphertext")
    if len(sealed.key_commitment) != sha256().digest_size:
        raise MalformedError(
            "the key commitment must have 32 bytes", field="key_commitment"
        )
    _check_recipients([key.recipient for key in sealed.keys])
    _check_sealed_keys(sealed.keys)
    return sealed


def open_content(
    sealed: bytes, key: ContentPrivateKey, referral_id: str, recipient: str
) -> bytes:
    """Open sealed content as one of its recipients.

    Args:
        sealed: the serialized ``SealedContent``, whose digest was checked.
        key: the recipient's content key that it names.
        referral_id: the referral that it came with.
        recipient: the recipient's SPIFFE ID.

    Returns:
        The content, as it was given to :func:`seal_content`.

    Raises:
        VerificationError: CANNOT_OPEN.
    """
    message = _read(sealed)
    info = key_seal_info(referral_id, recipient, message.ciphertext)
    return _open(message, key, referral_id, recipient, info)


def open_content_with_info(sealed: bytes, key: ContentPrivateKey, info: bytes) -> bytes:
    """Open sealed content, given the HPKE ``info`` of :func:`key_seal_info`.

    Raises:
        VerificationError: CANNOT_OPEN; also if ``info`` is for other content.
    """
    message = _read(sealed)
    try:
        # The digest comes last, and may hold zero bytes.
        _, *names, _ = info.split(b"\0", _INFO_PARTS - 1)
        referral_id, recipient = (name.decode() for name in names)
    except ValueError:
        raise cannot_open() from None
    if info != key_seal_info(referral_id, recipient, message.ciphertext):
        raise cannot_open()
    return _open(message, key, referral_id, recipient, info)


def key_seal_info(referral_id: str, recipient: str, ciphertext: bytes) -> bytes:
    """What a sealed key is for: the HPKE ``info`` of ``SealedKey.sealed``."""
    return _info(referral_id, recipient, sha256(ciphertext).digest())


def seal_secret(secret: bytes, key: ContentPublicKey, info: bytes) -> bytes:
    """Seal a short secret to one key, such as a challenge; HPKE ``enc || ct``."""
    return key.seal(secret, info)


def open_secret(sealed: bytes, key: ContentPrivateKey, info: bytes) -> bytes:
    """Open what :func:`seal_secret` sealed with the same ``info``.

    Raises:
        VerificationError: CANNOT_OPEN.
    """
    return key.open(sealed, info)


def _open(
    message: SealedContent,
    key: ContentPrivateKey,
    referral_id: str,
    recipient: str,
    info: bytes,
) -> bytes:
    # Keys of others are not looked at: they may be of suites that are new to us.
    mine = (recipient, key.public.key_id, key.public.suite)
    try:
        (sealed,) = (
            entry.sealed
            for entry in message.keys
            if (entry.recipient, entry.key_id, entry.suite) == mine
        )
        content_key = key.open(sealed, info)
        if len(content_key) != _KEY_SIZE:  # AESGCM would take AES-128 as well
            raise cannot_open()
        if not compare_digest(_commitment(content_key), message.key_commitment):
            raise cannot_open()
        aad = _aad(referral_id)
        return AESGCM(content_key).decrypt(message.nonce, message.ciphertext, aad)
    except (InvalidTag, ValueError):
        raise cannot_open() from None


def _read(sealed: bytes) -> SealedContent:
    try:
        return SealedContent.FromString(sealed)
    except DecodeError:
        raise cannot_open() from None


def _check_recipients(recipients: Sequence[str]) -> None:
    if not 0 < len(recipients) <= MAX_RECIPIENTS:
        raise MalformedError(
            f"content is sealed to 1 to {MAX_RECIPIENTS} keys", field="keys"
        )
    for recipient in recipients:
        SpiffeId.parse(recipient)


def _check_sealed_keys(keys: Sequence[SealedKey]) -> None:
    if len({(key.recipient, key.key_id) for key in keys}) != len(keys):
        raise MalformedError("the content is sealed twice to one key", field="keys")
    for key in keys:
        if not is_key_id(key.key_id):
            raise MalformedError("a sealed key names no key", field="keys.key_id")
        if len(key.sealed) != sealed_size(key.suite, _KEY_SIZE):
            raise MalformedError("a sealed key has the wrong size", field="keys.sealed")


def _commitment(key: bytes) -> bytes:
    return sha256(b"\0".join((_KEY_CONTEXT, key))).digest()


def _aad(referral_id: str) -> bytes:
    return b"\0".join((_CONTENT_CONTEXT, referral_id.encode()))


def _info(referral_id: str, recipient: str, digest: bytes) -> bytes:
    return b"\0".join((_SEAL_CONTEXT, referral_id.encode(), recipient.encode(), digest))
