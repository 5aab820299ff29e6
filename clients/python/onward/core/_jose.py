"""The two encodings that JOSE and the ids of keys rest on, read strictly.

A signed text must have one spelling only, or two digests could name one signature. So
base64url is accepted only as it would be written, and JSON only without duplicate
names, about which readers disagree (RFC 8259 section 4).
"""

from __future__ import annotations

import json
import re
from binascii import a2b_base64, b2a_base64
from typing import Final

from onward.core.errors import MalformedError

# Of each statement three parts are decoded: no detours.
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
# What only the other alphabet has becomes what neither has.
_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/...")
_PADDING: Final = (b"", b"", b"==", b"=")

# What the last of so many characters over may be: its bits after the last byte are
# zero. One alone is too short for a byte.
_LAST: Final = {1: "", 2: "AQgw", 3: "AEIMQUYcgkosw048"}

# The last of 43 characters carries four bits, and two that must be zero.
_SHA256_ID: Final = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


def base64url(data: bytes) -> str:
    """Encode without padding (RFC 7515 section 2)."""
    text = b2a_base64(data, newline=False).rstrip(b"=")
    return text.translate(_URL_SAFE).decode("ascii")


def from_base64url(text: str, what: str) -> bytes:
    """Decode ``text``, which must be exactly what :func:`base64url` writes.

    Args:
        text: base64url without padding.
        what: names the text in the error.

    Raises:
        MalformedError: padding, foreign characters, or bits after the last byte.
    """
    over = len(text) % 4
    try:
        padded = text.encode("ascii").translate(_STANDARD) + _PADDING[over]
        data = a2b_base64(padded, strict_mode=True)
    except ValueError:
        data = None
    if data is None or (over and text[-1] not in _LAST[over]):
        raise MalformedError(f"{what} is not canonical base64url without padding")
    return data


def is_key_id(text: str) -> bool:
    """Whether ``text`` is base64url of a SHA-256, as all ids of keys are."""
    return _SHA256_ID.fullmatch(text) is not None


def json_object(text: str | bytes, what: str) -> dict[str, object]:
    """Read a JSON object (bytes are UTF-8), refusing a name that occurs twice.

    The caller bounds the length of ``text``.

    Raises:
        MalformedError: not a JSON object, or one that could be read in two ways.
    """
    try:
        # json.loads would guess the encoding of bytes.
        decoded = text.decode() if isinstance(text, bytes) else text
        value = json.loads(
            decoded, object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is not a JSON object with unique names")
    return value


def _no_constant(name: str) -> None:
    """Refuse what is not JSON, though Python reads it: NaN and the infinities."""
    raise ValueError(name)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members
