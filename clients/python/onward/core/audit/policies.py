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

from onward.core.errors import MalformedError, TooLargeError
from onward.v1 import vocabulary_pb2

DEADLINES: Final = "deadlines.toml"

MAX_SET: Final = 256 * 1024
MAX_FILES: Final = 64
MAX_LINE: Final = 200
"""Characters of a line. Reading a key takes as long as the square of its parts."""

_NAME: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SPAN: Final = re.compile("([1-9][0-9]{0,5}) ?(min|h|d)")
_UNITS: Final = {"min": "minutes", "h": "hours", "d": "days"}
_CLASSES: Final[Mapping[str, int]] = {
    name.removeprefix("URGENCY_"): value
    for name, value in vocabulary_pb2.Urgency.items()
    if value
}

_Row: TypeAlias = Mapping[str, object]


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
    """The times of one policy set for passing on, by jurisdiction and class.

    What holds where a jurisdiction has no times of its own stands under ``""``.
    """

    _times: Mapping[tuple[str, int], PassOn]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``deadlines.toml``; whoever wrote it may have meant to do harm.

        Raises:
            MalformedError: it is not such a file, or leaves out a class.
        """
        if max(map(len, text.split("\n"))) > MAX_LINE:
            raise MalformedError(f"a line of {DEADLINES} is too long to be one")
        try:
            sheet: _Row = tomllib.loads(text)
        except (ValueError, RecursionError):
            raise MalformedError(f"{DEADLINES} is not TOML") from None
        default = _rows(sheet.get("default"))
        times = {("", _CLASSES[name]): _pass_on(default, name, {}) for name in _CLASSES}
        for code, rows in _table(sheet.get("jurisdiction", {})).items():
            own = _rows(rows)
            for name in own.keys() & _CLASSES.keys():
                times[code, _CLASSES[name]] = _pass_on(default, name, own[name])
        return cls(times)

    def of(self, urgency: int, jurisdiction: str) -> PassOn | None:
        """Returns the times of a class of tips that point to a place, if stated."""
        own = self._times.get((jurisdiction, urgency))
        return own or self._times.get(("", urgency))


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
            MalformedError: its deadlines cannot be read; they stay unknown.
        """
        text = files.get(DEADLINES, b"").decode(errors="replace")
        self.times[digest] = PassOnTimes.parse(text)

    @property
    def known(self) -> bool:
        """Whether the times of every set that was in force are known."""
        return bool(self._digests) and set(self._digests) <= self.times.keys()


def check_policy_name(name: str) -> None:
    """Refuses what could not be the name of a policy set's file.

    Raises:
        MalformedError: it is empty or long, or has characters that other names or
            folders could be made of.
    """
    if not _NAME.fullmatch(name):
        raise MalformedError(f"{name[:64]!r} is no name of a policy set's file")


def set_digest(files: Mapping[str, bytes]) -> bytes:
    """Returns the digest of a policy set: SHA-256 of what ``sha256sum`` prints.

    Raises:
        MalformedError: a name is none, or there are too many files, or too large ones.
    """
    for name in files:
        check_policy_name(name)
    size = sum(map(len, files.values()))
    if size > MAX_SET or len(files) > MAX_FILES:
        raise TooLargeError(f"a policy set of {len(files)} files", size, MAX_SET)
    lines = (
        f"{sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())
    )
    return sha256("".join(lines).encode()).digest()


def _pass_on(default: Mapping[str, _Row], name: str, own: _Row) -> PassOn:
    """Returns the times of a class; a jurisdiction's row takes what it lacks."""
    row = {**default.get(name, {}), **own}
    breach = _milliseconds(row.get("pass_on_breach"))
    breach = breach or _milliseconds(row.get("pass_on"))
    if not breach:
        raise MalformedError(f"{DEADLINES} leaves out when {name} is passed on")
    return PassOn(breach, _milliseconds(row.get("hold_to")))


def _rows(value: object) -> Mapping[str, _Row]:
    return {name: _table(row) for name, row in _table(value).items()}


def _table(value: object) -> _Row:
    if not isinstance(value, dict):
        raise MalformedError(f"{DEADLINES} has no table where one belongs")
    return value


def _milliseconds(text: object) -> int:
    """Returns a length of time, 0 where there is none."""
    if text is None or text == "none":
        return 0
    found = _SPAN.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise MalformedError(f"{DEADLINES} states no time where one belongs")
    span = timedelta(**{_UNITS[found[2]]: int(found[1])})
    return span // timedelta(milliseconds=1)
