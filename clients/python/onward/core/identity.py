"""Names of parties: SPIFFE IDs of the four shapes that Onward uses.

Source: the SPIFFE-ID specification, section 2 (scheme, trust domain, path) and its
limits of 255 bytes for a trust domain and 2048 for the whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, Self

from onward.core.errors import MalformedError, TooLargeError

MAX_SPIFFE_ID_SIZE: Final = 2048

_SCHEME: Final = "spiffe://"
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+")
_DOTS: Final = frozenset({".", ".."})


class IdentityKind(StrEnum):
    """What a name stands for: the first segment of the path."""

    AGENCY = "agency"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    EXCHANGE = "exchange"


_KINDS: Final = {kind.value: kind for kind in IdentityKind}


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A party's name. A value of this type is well-formed.

    Args:
        trust_domain: names the home exchange, such as ``national.example``.
        kind: what the name stands for.
        name: the party's own segment; empty for an exchange, which has none.

    Raises:
        MalformedError: a part does not have the shape that the specification asks for.
    """

    trust_domain: str
    kind: IdentityKind
    name: str

    def __post_init__(self) -> None:
        if not _TRUST_DOMAIN.fullmatch(self.trust_domain):
            raise _malformed(
                "its trust domain must be 1 to 255 of a-z, 0-9, dot, dash, underscore"
            )
        if self.kind is IdentityKind.EXCHANGE:
            if self.name:
                raise _malformed("nothing may follow /exchange")
        elif not _SEGMENT.fullmatch(self.name) or self.name in _DOTS:
            raise _malformed(
                "its name must be letters, digits, dots, dashes and underscores, "
                "and neither . nor .."
            )
        size = len(str(self))
        if size > MAX_SPIFFE_ID_SIZE:
            raise TooLargeError("the SPIFFE ID", size, MAX_SPIFFE_ID_SIZE)

    @classmethod
    @lru_cache(maxsize=4096)  # the same few names come with every statement
    def parse(cls, text: str) -> Self:
        """Parse the one spelling that a name has; nothing is normalized.

        Raises:
            MalformedError: not a SPIFFE ID, or not of one of our four shapes.
        """
        if not text.startswith(_SCHEME):
            raise _malformed(f"it must begin with {_SCHEME}")
        trust_domain, _, path = text[len(_SCHEME) :].partition("/")
        segment, separator, name = path.partition("/")
        kind = _KINDS.get(segment)
        if kind is None or (separator and not name):
            raise _malformed(
                "its path must be /agency/<name>, /auditor/<name>, /operator/<name> "
                "or /exchange"
            )
        return cls(trust_domain, kind, name)

    def __str__(self) -> str:
        path = f"{self.kind}/{self.name}" if self.name else str(self.kind)
        return f"{_SCHEME}{self.trust_domain}/{path}"

    @property
    def exchange(self) -> SpiffeId:
        """The exchange at which this party is at home."""
        return SpiffeId(self.trust_domain, IdentityKind.EXCHANGE, "")


def _malformed(rule: str) -> MalformedError:
    # What was given is not repeated: it may be anything, of any length.
    return MalformedError(f"not a SPIFFE ID: {rule}")
