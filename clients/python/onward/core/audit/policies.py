"""Which policy set was in force where, and how long it gave a hotline to pass on."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Final, NamedTuple, Self, TypeAlias

from onward.core.errors import MalformedError
from onward.v1 import vocabulary_pb2

DEADLINES: Final = "deadlines.toml"

_SPAN: Final = re.compile("([1-9][0-9]{0,5}) ?(min|h|d)")
_UNITS: Final = {"min": "minutes", "h": "hours", "d": "days"}
_PREFIX: Final = "URGENCY_"

Sheet: TypeAlias = Mapping[str, Mapping[str, str]]
"""Times by the name of a class and of a step, as the file has them."""


class PassOn(NamedTuple):
    """How long a hotline had for one class of tip, in milliseconds.

    Attributes:
        breach_ms: from the tip's receipt, at the latest.
        hold_ms: the same where a supervisor holds it; 0 where no hold is possible.
    """

    breach_ms: int
    hold_ms: int


@dataclass(frozen=True, slots=True)
class PassOnTimes:
    """The times of one policy set for passing on."""

    _default: Sheet
    _jurisdictions: Mapping[str, Sheet]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``deadlines.toml``; the exchange has refused one that is not sound.

        Raises:
            MalformedError: it is not such a file.
        """
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            raise MalformedError(f"{DEADLINES} is not TOML") from None
        return cls(tables.get("default", {}), tables.get("jurisdiction", {}))

    def of(self, urgency: int, jurisdiction: str) -> PassOn | None:
        """Returns the times of a class of tips that point to a place, if stated."""
        if urgency not in vocabulary_pb2.Urgency.values():
            return None
        name = vocabulary_pb2.Urgency.Name(vocabulary_pb2.Urgency.ValueType(urgency))
        name = name.removeprefix(_PREFIX)
        own = self._jurisdictions.get(jurisdiction, {}).get(name, {})
        row = {**self._default.get(name, {}), **own}
        breach = _milliseconds(row.get("pass_on_breach") or row.get("pass_on", ""))
        return PassOn(breach, _milliseconds(row.get("hold_to", ""))) if breach else None


@dataclass(slots=True)
class Policies:
    """The policy sets that were in force, by their places in the log.

    Attributes:
        times: what is known of the sets, by digest.
    """

    times: dict[bytes, PassOnTimes] = field(default_factory=dict)
    _known: dict[tuple[bytes, int, str], PassOn | None] = field(default_factory=dict)
    _places: list[int] = field(default_factory=list)
    _digests: list[bytes] = field(default_factory=list)

    def add(self, at: int, digest: bytes) -> None:
        """Puts a set in force from a log entry on. Changes come in the log's order."""
        self._places.append(at)
        self._digests.append(digest)

    def in_force(self, at: int) -> bytes:
        """Returns the digest of the set in force when an entry was appended."""
        place = bisect_left(self._places, at)
        return self._digests[place - 1] if place else b""

    def pass_on(self, at: int, urgency: int, jurisdiction: str) -> PassOn | None:
        """Returns what a hotline had to keep from an entry on; None if not known."""
        key = self.in_force(at), urgency, jurisdiction
        if key not in self._known:
            times = self.times.get(key[0])
            self._known[key] = times.of(urgency, jurisdiction) if times else None
        return self._known[key]

    def learn(self, digest: bytes, files: Mapping[str, bytes]) -> None:
        """Adds what is known of a set; one that was never in force does no harm.

        Raises:
            MalformedError: it has no deadlines that could be read.
        """
        text = files.get(DEADLINES, b"").decode(errors="replace")
        self.times[digest] = PassOnTimes.parse(text)

    @property
    def known(self) -> bool:
        """Whether the times of every set that was in force are known."""
        return bool(self._digests) and set(self._digests) <= self.times.keys()


def set_digest(files: Mapping[str, bytes]) -> bytes:
    """Returns the digest of a policy set: SHA-256 of what ``sha256sum`` prints."""
    lines = (
        f"{sha256(data).hexdigest()}  {name}\n"
        for name, data in sorted(files.items(), key=lambda item: item[0].encode())
    )
    return sha256("".join(lines).encode()).digest()


def _milliseconds(text: str) -> int:
    """Returns a length of time, 0 where none is stated."""
    found = _SPAN.fullmatch(text)
    if found is None:
        return 0
    span = timedelta(**{_UNITS[found[2]]: int(found[1])})
    return span // timedelta(milliseconds=1)
