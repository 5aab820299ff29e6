"""Vectors of ``open``.

Sealing is never the same twice, so the sealed bytes of the vectors that hold are kept
as they were made once; the others are made from them.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from hashlib import shake_256

from onward.core.sealing import ContentPrivateKey, key_seal_info, seal_content
from onward.core.statements import new_statement_id
from onward.v1 import content_pb2, vocabulary_pb2
from tests.conformance.case import VECTORS, Case, base64
from tests.support.chain_builder import NEVADA, OHIO, START

_Suite = vocabulary_pb2.SealingSuite.ValueType
_Change = Callable[[content_pb2.SealedContent], None]

_ID, _OTHER_ID = (
    new_statement_id(int(START.timestamp() * 1000), bytes([number] * 10))
    for number in (0, 1)
)
_CONTENT = b"Motel clerk says a guest asked for help."
_SUITES = {
    "mlkem768-x25519": (vocabulary_pb2.SEALING_SUITE_MLKEM768_X25519, 96),
    "p384": (vocabulary_pb2.SEALING_SUITE_P384, 48),
}


def cases() -> Iterator[Case]:
    """Yields the vectors."""
    for suite in _SUITES:
        sealed = _kept(suite)
        why = f"Content sealed to two recipients with {suite}; the first one opens it."
        request = _request(suite, sealed)
        yield Case("open", suite, why, request, answer={"content": base64(_CONTENT)})
        for name, why, request in _fails(suite, sealed):
            yield Case("open", f"{suite}-{name}", why, request, "CANNOT_OPEN")


def _fails(suite: str, sealed: bytes) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Yields what must not open: name, reason, request."""
    right = _request(suite, sealed)
    yield (
        "other-recipient",
        "The key of the other recipient, with the context of the first.",
        right | {"private_key": base64(_key(suite, NEVADA).to_bytes())},
    )
    yield (
        "other-referral",
        "The context names another referral: sealed content cannot be moved to one.",
        _request(suite, sealed, referral_id=_OTHER_ID),
    )
    yield (
        "info-of-other-content",
        "The context has the digest of another ciphertext.",
        right | {"info": base64(key_seal_info(_ID, OHIO, b"another ciphertext"))},
    )
    yield (
        "ciphertext-changed",
        "One bit of the content was changed, and the context fits the change.",
        _request(suite, _changed(sealed, _flip_ciphertext)),
    )
    yield (
        "sealed-key-changed",
        "One bit of the sealed key was changed.",
        _request(suite, _changed(sealed, _flip_key)),
    )
    yield (
        "nobody-sealed-to",
        "The recipient's sealed key was taken out.",
        _request(suite, _changed(sealed, _drop_key)),
    )


def _kept(suite: str) -> bytes:
    """Returns the sealed content that the vector has, or makes it."""
    kept = VECTORS / "open" / suite / "request.json"
    if kept.exists():
        return b64decode(json.loads(kept.read_text())["sealed"])
    recipients = {name: _key(suite, name).public for name in (OHIO, NEVADA)}
    return seal_content(_CONTENT, _ID, recipients, bytes)


def _key(suite: str, name: str) -> ContentPrivateKey:
    """Returns the content key of a recipient: always the same."""
    number, size = _SUITES[suite]
    raw = b"\0" + shake_256(f"{suite} {name}".encode()).digest(size - 1)
    return ContentPrivateKey(number, raw)


def _request(suite: str, sealed: bytes, referral_id: str = _ID) -> dict[str, object]:
    ciphertext = content_pb2.SealedContent.FromString(sealed).ciphertext
    return {
        "sealed": base64(sealed),
        "private_key": base64(_key(suite, OHIO).to_bytes()),
        "info": base64(key_seal_info(referral_id, OHIO, ciphertext)),
    }


def _changed(sealed: bytes, change: _Change) -> bytes:
    message = content_pb2.SealedContent.FromString(sealed)
    change(message)
    return message.SerializeToString(deterministic=True)


def _flip_ciphertext(message: content_pb2.SealedContent) -> None:
    message.ciphertext = bytes([message.ciphertext[0] ^ 1]) + message.ciphertext[1:]


def _flip_key(message: content_pb2.SealedContent) -> None:
    sealed = message.keys[0].sealed
    message.keys[0].sealed = sealed[:-1] + bytes([sealed[-1] ^ 1])


def _drop_key(message: content_pb2.SealedContent) -> None:
    del message.keys[0]
