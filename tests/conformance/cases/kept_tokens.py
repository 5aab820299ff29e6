"""Tokens of timestamp authorities, kept as they were made once.

A signature is never the same twice, so what a vector has is taken from it again as
long as it is about the same text.
"""

from __future__ import annotations

import json
import tempfile
from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from onward.core.timestamps import Token
from tests.conformance.case import VECTORS
from tests.support.tsa import TimestampAuthority


@dataclass(frozen=True, slots=True)
class Kept:
    """A token, and the root of the authority that gave it, PEM."""

    token: bytes
    root: str


_MADE: dict[str, Kept] = {}


def kept(vector: str, text: str, time: datetime, **options: Any) -> Kept:
    """Returns the token of a vector.

    Args:
        vector: the folder of a vector, below that of all; its token is the first one.
        text: what is stamped.
        time: when.
        options: of the authority, where it is none that should be trusted.
    """
    if vector not in _MADE:
        _MADE[vector] = _read(vector, text) or _make(text, time, **options)
    return _MADE[vector]


def _read(vector: str, text: str) -> Kept | None:
    """Returns the token that a vector has, if it is about this text."""
    file = VECTORS / vector / "request.json"
    if file.exists():
        request = json.loads(file.read_text())
        if "bundle" in request:
            token = request["bundle"]["timestamps"][0]["token"]
        else:
            token = request["token"]
        found = Kept(b64decode(token), request["authorities"])
        if Token.parse(found.token).stamps(text):
            return found
    return None


def _make(text: str, time: datetime, **options: Any) -> Kept:
    """Has a new authority stamp a text."""
    with tempfile.TemporaryDirectory() as folder:
        authority = TimestampAuthority(Path(folder), **options)
        return Kept(authority.stamp(text, time), authority.root)
