"""Text forms with exactly one spelling per value, as signed formats need them."""

from __future__ import annotations

import binascii
import re
from typing import Final

from onward.core.errors import MalformedError

MAX_NUMBER: Final = 2**63 - 1
"""The largest number: a signed 64-bit integer in any language."""

_DECIMAL: Final = re.compile("0|[1-9][0-9]{0,18}")


def encode_base64(data: bytes) -> str:
    """Return standard base64 with padding (RFC 4648 section 4)."""
    return binascii.b2a_base64(data, newline=False).decode()


def decode_base64(text: str, what: str) -> bytes:
    """Decode base64 as :func:`encode_base64` writes it.

    Raises:
        MalformedError: ``text`` is anything else; ``what`` names it.
    """
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        data = b""  # which is not spelled like this text
    if encode_base64(data) != text:
        raise MalformedError(f"{what} is not standard base64 with padding")
    return data


def decode_decimal(text: str, what: str) -> int:
    """Decode a decimal number of at most 2**63 - 1, without sign or leading zeros.

    Raises:
        MalformedError: ``text`` is anything else; ``what`` names it.
    """
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_NUMBER:
        raise MalformedError(f"{what} is not a decimal number below 2**63")
    return int(text)
