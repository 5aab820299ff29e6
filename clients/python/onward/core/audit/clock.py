"""When the statements of an audit were made, and when they were logged.

The rules are those of :mod:`onward.core.timing`, over arrays: there are hundreds of
thousands of statements. A statement was made

* **not before** the exchange's last statement in the tree that its issuer had seen, nor
  before the statement that it answers was made;
* **not after** the quorum of witnesses had cosigned a tree with it, or an authority had
  stamped one; without either, not after the exchange's first statement that had seen a
  tree with it, or that answers it.

What the exchange claims after others had seen it is refuted, and bounds nothing.

It was *logged* after the exchange's last statement before it, and before the first one
after it. That is what deadlines are kept by: what the log has after a breach came
late, whatever its issuer claims.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import accumulate, compress
from typing import Final

from onward.core.audit.facts import NONE, Finding
from onward.core.audit.sightings import NEVER, Sightings, milliseconds
from onward.core.audit.steps import TIMING
from onward.core.timing import MAX_CLOCK_SKEW, Interval, Sighting, Source

SKEW_MS: Final = int(MAX_CLOCK_SKEW.total_seconds() * 1000)
"""By how much an honest clock may be off, in milliseconds."""

_UNKNOWN: Final = -(2**62)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = 253_402_300_799_000
"""The end of the year 9999, in milliseconds."""

_COLUMNS: Final = 5

_BACKDATED: Final = (
    "it claims a time before that of statements which its issuer had seen, or which it "
    "answers: it is backdated, or a clock is wrong"
)
_POSTDATED: Final = (
    "it claims a time after that of statements which had already seen it in the log: "
    "it is postdated, or a clock is wrong"
)
_REFUTED: Final = (
    "it claims a time after {by} had seen it in the log ({source}): it is postdated, "
    "or a clock is wrong"
)


class Clock:
    """The times of all statements shown, by their index. Milliseconds since 1970, UTC.

    Add all readings, then :meth:`settle` once.

    Args:
        size: the number of the log's entries.
    """

    __slots__ = (
        "_answered",
        "_claims",
        "_earliest",
        "_exchange",
        "_first",
        "_last",
        "_lower",
        "_seen",
        "_sightings",
        "_upper",
    )

    def __init__(self, size: int) -> None:
        self._claims = array("q", [_UNKNOWN]) * size
        self._earliest = self._claims
        self._lower = self._upper = array("q")
        self._sightings: Sightings | None = None
        self._seen = array("q", [0]) * size
        self._answered = array("q", [NONE]) * size
        self._exchange = bytearray(size)
        self._last = array("q")
        self._first = array("q")

    def add(self, times: bytes) -> None:
        """Adds the times of a reading; see :class:`onward.core.audit.facts.Reading`."""
        rows = array("q")
        rows.frombytes(times)
        for start in range(0, len(rows), _COLUMNS):
            at, claimed, seen, answered, exchange = rows[start : start + _COLUMNS]
            if 0 <= at < len(self._claims):
                self._claims[at] = claimed
                self._seen[at] = seen
                self._answered[at] = answered
                self._exchange[at] = exchange

    def shown(self, at: int) -> bool:
        """Whether an entry has a statement that was shown and could be read."""
        return self._claims[at] != _UNKNOWN

    def count(self, first: int, end: int) -> int:
        """Returns how many entries from one to before another were shown."""
        return sum(time != _UNKNOWN for time in self._claims[first:end])

    def settle(self, sightings: Sightings) -> Iterator[Finding]:
        """Computes all times, and yields the claims that contradict the log's order.

        Args:
            sightings: who had seen which trees of the log by when.
        """
        self._sightings = sightings
        yield from sightings.prove(self._refutable(sightings))
        refuted = self._refuted(sightings)
        self._settle_log(refuted)
        self._lower = self._lower_bounds(refuted)
        self._upper = self._upper_bounds()
        claims = zip(self._claims, self._lower, strict=True)
        made = (one if one == _UNKNOWN else max(one, lower) for one, lower in claims)
        self._earliest = array("q", made)
        yield from self._contradictions(refuted, sightings)

    def prove(self, needs: Iterable[tuple[int, int]]) -> list[Finding]:
        """Has others' word verified; see :meth:`Sightings.prove`."""
        return self._sightings.prove(needs) if self._sightings else []

    def prove_closely(self, places: Iterable[int]) -> list[Finding]:
        """Verifies the closest upper bounds that others give some statements."""
        seen = self._sightings
        return self.prove((at, seen.expected(at)) for at in places) if seen else []

    def interval(self, at: int) -> Interval:
        """Returns when a statement was made, as far as it was proven.

        Of the bounds that others give only those count which :meth:`prove` was asked
        for.
        """
        seen = self._sightings.bound(at) if self._sightings else None
        claimed, lower = time_of(self._claims[at]), self._lower[at]
        first = None if lower == _UNKNOWN else time_of(lower)
        if seen:
            return Interval(claimed, first, seen.time, seen.source, seen.by)
        upper = self._upper[at]
        return Interval(claimed, first, None if upper == NEVER else time_of(upper))

    def source(self, at: int) -> Source:
        """Returns who vouches for the upper end of that interval."""
        seen = self._sightings.bound(at) if self._sightings else None
        return seen.source if seen else Source.CLAIMS

    def sources(self, places: Collection[int]) -> Counter[Source]:
        """Returns for how many statements each of them vouches."""
        newest = self._sightings.newest if self._sightings else 0
        counts = Counter(self.source(at) for at in places if at < newest)
        counts[Source.CLAIMS] += len(places) - counts.total()
        return counts

    def made(self, at: int) -> int:
        """Returns when a statement was made: its claim, or its lower bound if later."""
        return self._earliest[at]

    def settled(self, at: int) -> tuple[tuple[int, int], Source]:
        """Returns when a statement was made, and on whose word that rests.

        Returns:
            When at the earliest, as above, and at the latest: by the word of others
            where there is one, else the same.
        """
        made = self._earliest[at]
        seen = self._sightings.bound(at) if self._sightings else None
        if seen is None:
            return (made, made), Source.CLAIMS
        return (made, milliseconds(seen.time)), seen.source

    def logged_after(self, at: int) -> int:
        """Returns a time before which an entry was not logged."""
        return self._last[min(at, len(self._last) - 1)] if self._last else _UNKNOWN

    def logged_before(self, at: int) -> int:
        """Returns a time after which an entry was not logged; far away if unknown."""
        return self._first[at] if 0 <= at < len(self._first) else NEVER

    def first_after(self, time_ms: int, opened: int = 0) -> int:
        """Returns when the exchange first said anything at or after a time.

        Args:
            time_ms: the time.
            opened: only what it said after this entry counts.
        """
        at = max(bisect_left(self._last, time_ms), opened + 1)
        return self._last[at] if at < len(self._last) else NEVER

    def place(self, time_ms: int) -> int:
        """Returns how many entries had been logged at a time."""
        return max(bisect_left(self._last, time_ms) - 1, 0)

    def _refutable(self, sightings: Sightings) -> Iterator[tuple[int, int]]:
        """Yields what is to be proven: that the log was seen, and refuted claims."""
        newest = min(sightings.newest, len(self._claims))
        if newest:
            yield newest - 1, NEVER
        for at in range(newest):
            latest = self._claims[at] - SKEW_MS - 1
            if sightings.expected(at) <= latest:
                yield at, latest

    def _refuted(self, sightings: Sightings) -> dict[int, Sighting]:
        """Returns the claims that others refute, and who does."""
        found: dict[int, Sighting] = {}
        for at, claimed in enumerate(self._claims[: sightings.newest]):
            seen = sightings.bound(at) if claimed != _UNKNOWN else None
            if seen and claimed - milliseconds(seen.time) > SKEW_MS:
                found[at] = seen
        return found

    def _contradictions(
        self, refuted: Mapping[int, Sighting], sightings: Sightings
    ) -> Iterator[Finding]:
        """Yields the claims that contradict a bound."""
        bounds = zip(self._claims, self._lower, self._upper, strict=True)
        for at, (claimed, lower, upper) in enumerate(bounds):
            if lower - claimed <= SKEW_MS >= claimed - upper and at not in refuted:
                continue
            if claimed == _UNKNOWN:
                continue
            if lower - claimed > SKEW_MS:
                yield _contradiction(at, _BACKDATED)
            elif at in refuted:
                seen = refuted[at]
                why = _REFUTED.format(by=seen.by, source=seen.source)
                yield _contradiction(at, why)
            elif not sightings.bound(at):
                yield _contradiction(at, _POSTDATED)

    def _settle_log(self, refuted: Container[int]) -> None:
        """Computes when each entry was logged, from what the exchange claims."""
        said = zip(self._claims, self._exchange, strict=True)
        marks = [
            time if exchange and at not in refuted else _UNKNOWN
            for at, (time, exchange) in enumerate(said)
        ]
        # `_last[n]` is the latest claim among the first n entries.
        self._last = array("q", accumulate([_UNKNOWN, *marks], max))
        after = (time if time != _UNKNOWN else NEVER for time in reversed(marks))
        self._first = array("q", accumulate(after, min))[::-1]

    def _lower_bounds(self, refuted: Container[int]) -> array[int]:
        """Returns a time before which each statement was not made."""
        lower = array("q", [_UNKNOWN]) * len(self._seen)
        last = self._last
        for at, (seen, answered) in enumerate(
            zip(self._seen, self._answered, strict=True)
        ):
            bound = last[min(at, seen)]
            if NONE < answered < at:
                told = self._exchange[answered] and answered not in refuted
                said = self._claims[answered] if told else _UNKNOWN
                bound = max(bound, lower[answered], said)
            lower[at] = bound
        return lower

    def _upper_bounds(self) -> array[int]:
        """Returns a time after which each was not made, as the exchange claims."""
        size = len(self._seen)
        by_size = array("q", [NEVER]) * (size + 1)
        upper = array("q", [NEVER]) * size
        said = zip(self._claims, self._seen, self._answered, strict=True)
        for time, seen, answered in compress(said, self._exchange):
            place = min(seen, size)
            by_size[place] = min(by_size[place], time)
            if NONE < answered < size:
                upper[answered] = min(upper[answered], time)
        # By entry: the earliest of what had seen a tree with it.
        beyond = array("q", accumulate(reversed(by_size[1:]), min))[::-1]
        return array("q", map(min, upper, beyond))


def time_of(ms: int) -> datetime:
    """Returns a time; one that Python cannot hold is as far away as it can."""
    return _EPOCH + timedelta(milliseconds=min(max(ms, 0), _LAST))


def _contradiction(at: int, why: str) -> Finding:
    return Finding(TIMING, f"log entry {at}", why, "TIME_IMPLAUSIBLE")
