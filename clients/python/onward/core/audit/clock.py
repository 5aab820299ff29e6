"""When the statements of an audit were made, and when they were logged.

The rules are those of :mod:`onward.core.timing`, over arrays: there are hundreds of
thousands of statements. A statement was made

* **not before** the exchange's last statement in the tree that its issuer had seen, nor
  before the statement that it answers was made;
* **not after** the exchange's first statement that had seen a tree with it, or that
  answers it; nor after the quorum of witnesses had cosigned the audit's checkpoint.

It was *logged* after the exchange's last statement before it, and before the first one
after it. That is what deadlines are kept by: what the log has after a breach came
late, whatever its issuer claims.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from onward.core.audit.facts import NONE, Finding
from onward.core.audit.steps import TIMING
from onward.core.timing import MAX_CLOCK_SKEW

SKEW_MS: Final = int(MAX_CLOCK_SKEW.total_seconds() * 1000)
"""By how much an honest clock may be off, in milliseconds."""

_UNKNOWN: Final = -(2**62)
_NEVER: Final = 2**62
_COLUMNS: Final = 5

_BACKDATED: Final = (
    "it claims a time before that of statements which its issuer had seen, or which it "
    "answers: it is backdated, or a clock is wrong"
)
_POSTDATED: Final = (
    "it claims a time after that of statements which had already seen it in the log: "
    "it is postdated, or a clock is wrong"
)


class Clock:
    """The times of all statements shown, by their index. Milliseconds since 1970, UTC.

    Add all readings, then :meth:`settle` once.

    Args:
        size: the number of the log's entries.
    """

    __slots__ = ("_answered", "_earliest", "_exchange", "_first", "_last", "_seen")

    def __init__(self, size: int) -> None:
        self._earliest = array("q", [_UNKNOWN]) * size
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
            if 0 <= at < len(self._earliest):
                self._earliest[at] = claimed
                self._seen[at] = seen
                self._answered[at] = answered
                self._exchange[at] = exchange

    def shown(self, at: int) -> bool:
        """Whether an entry has a statement that was shown and could be read."""
        return self._earliest[at] != _UNKNOWN

    def count(self, first: int, end: int) -> int:
        """Returns how many entries from one to before another were shown."""
        return sum(time != _UNKNOWN for time in self._earliest[first:end])

    def settle(self, witnessed_ms: int | None) -> Iterator[Finding]:
        """Computes all times, and yields the claims that contradict the log's order.

        Args:
            witnessed_ms: when the quorum of witnesses had cosigned the checkpoint.
        """
        self._settle_log()
        claims, lower = self._earliest, self._lower_bounds()
        upper = self._upper_bounds(witnessed_ms)
        earliest = array("q", claims)
        for at, claimed in enumerate(claims):
            if claimed == _UNKNOWN:
                continue
            if lower[at] - claimed > SKEW_MS:
                yield _contradiction(at, _BACKDATED)
            elif claimed - upper[at] > SKEW_MS:
                yield _contradiction(at, _POSTDATED)
            earliest[at] = max(claimed, lower[at])
        self._earliest = earliest

    def made(self, at: int) -> int:
        """Returns when a statement was made: its claim, or its lower bound if later."""
        return self._earliest[at]

    def logged_after(self, at: int) -> int:
        """Returns a time before which an entry was not logged."""
        return self._last[min(at, len(self._last) - 1)] if self._last else _UNKNOWN

    def logged_before(self, at: int) -> int:
        """Returns a time after which an entry was not logged; far away if unknown."""
        return self._first[at] if 0 <= at < len(self._first) else _NEVER

    def first_after(self, time_ms: int, opened: int = 0) -> int:
        """Returns when the exchange first said anything at or after a time.

        Args:
            time_ms: the time.
            opened: only what it said after this entry counts.
        """
        at = max(bisect_left(self._last, time_ms), opened + 1)
        return self._last[at] if at < len(self._last) else _NEVER

    def place(self, time_ms: int) -> int:
        """Returns how many entries had been logged at a time."""
        return max(bisect_left(self._last, time_ms) - 1, 0)

    def _settle_log(self) -> None:
        """Computes when each entry was logged, from what the exchange claims."""
        marks = [
            time if self._exchange[at] else _UNKNOWN
            for at, time in enumerate(self._earliest)
        ]
        # `_last[n]` is the latest claim among the first n entries.
        self._last = array("q", accumulate([_UNKNOWN, *marks], max))
        after = (time if time != _UNKNOWN else _NEVER for time in reversed(marks))
        self._first = array("q", accumulate(after, min))[::-1]

    def _lower_bounds(self) -> array[int]:
        """Returns a time before which each statement was not made."""
        lower = array("q", [_UNKNOWN]) * len(self._seen)
        size = len(self._last) - 1
        for at, seen in enumerate(self._seen):
            bound = self._last[min(seen, at, size)]
            answered = self._answered[at]
            if NONE < answered < at:
                said = (
                    self._earliest[answered] if self._exchange[answered] else _UNKNOWN
                )
                bound = max(bound, lower[answered], said)
            lower[at] = bound
        return lower

    def _upper_bounds(self, witnessed_ms: int | None) -> array[int]:
        """Returns a time after which each statement was not made."""
        size = len(self._seen)
        by_size = array("q", [_NEVER]) * (size + 1)
        upper = array("q", [_NEVER if witnessed_ms is None else witnessed_ms]) * size
        for at, exchange in enumerate(self._exchange):
            if not exchange:
                continue
            time, seen, answered = (
                self._earliest[at],
                self._seen[at],
                self._answered[at],
            )
            by_size[min(seen, size)] = min(by_size[min(seen, size)], time)
            if NONE < answered < size:
                upper[answered] = min(upper[answered], time)
        beyond = _NEVER
        for at in range(size - 1, -1, -1):
            beyond = min(beyond, by_size[at + 1])
            upper[at] = min(upper[at], beyond)
        return upper


def _contradiction(at: int, why: str) -> Finding:
    return Finding(TIMING, f"log entry {at}", why, "TIME_IMPLAUSIBLE")
