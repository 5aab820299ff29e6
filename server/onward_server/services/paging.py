"""Page tokens (AIP-158): where a list goes on, for whom, and of which list.

A token is opaque to clients, and neither secret nor trusted: what it may reach is
decided anew for each call. It is bound to the caller and to the list, so that one that
was cut, altered, or taken from another list is refused and not misread.

Bytes: version 1, the first 8 of SHA-256 over version, list, caller and position, then
the position; in base64url without padding.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from onward.core.errors import MalformedError

MAX_TOKEN = 4096

_VERSION = b"\x01"
_CHECK_SIZE = 8
_NUMBER = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Pages:
    """The tokens of one list for one caller.

    Args:
        of: names the list with everything that selects its items.
        caller: the caller's SPIFFE ID.
        field: the request's field, for errors.
    """

    of: str
    caller: str
    field: str = "page_token"

    def token(self, position: int | str) -> str:
        """Returns the token for what comes after a position; numbers from 0."""
        place = str(position).encode()
        data = _VERSION + self._check(place) + place
        return urlsafe_b64encode(data).rstrip(b"=").decode()

    def position(self, token: str) -> str:
        """Returns the position of a token.

        Raises:
            MalformedError: not a token of this list for this caller.
        """
        try:
            data = urlsafe_b64decode(token[:MAX_TOKEN] + "==")
        except (binascii.Error, ValueError):
            data = b""
        check, place = data[1 : 1 + _CHECK_SIZE], data[1 + _CHECK_SIZE :]
        if data[:1] != _VERSION or not compare_digest(check, self._check(place)):
            raise self._malformed()
        return place.decode("ascii", "replace")

    def number(self, token: str, default: int) -> int:
        """Returns the position of a token as a number; ``default`` without a token.

        Raises:
            MalformedError: not a token of this list for this caller.
        """
        if not token:
            return default
        position = self.position(token)
        if not _NUMBER.fullmatch(position):
            raise self._malformed()
        return int(position)

    def _check(self, place: bytes) -> bytes:
        """Returns what binds a position to its list and caller."""
        bound = b"\0".join((_VERSION, self.of.encode(), self.caller.encode(), place))
        return sha256(bound).digest()[:_CHECK_SIZE]

    def _malformed(self) -> MalformedError:
        return MalformedError(
            f"{self.field} is not one that this call returned to this caller; begin "
            "without one",
            field=self.field,
        )


def page_size(asked: int, default: int, largest: int) -> int:
    """Returns the size of a page; larger ones are cut (AIP-158).

    Raises:
        MalformedError: it is negative.
    """
    if asked < 0:
        raise MalformedError("page_size must not be negative", field="page_size")
    return min(asked or default, largest)
