"""When things happen in a year, and by what luck."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from datetime import timedelta
from random import Random
from typing import Final, TypeAlias, TypeVar

from google.protobuf.duration_pb2 import Duration

from bench.scribe import Scribe

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
"""In milliseconds, as all times here."""

T = TypeVar("T")

Step: TypeAlias = Callable[[], None]
Weights: TypeAlias = Sequence[tuple[T, int]]


class Timeline:
    """What is still to happen, in order. The scribe's clock goes from step to step.

    Attributes:
        random: decides everything, and the same each time.
    """

    def __init__(self, scribe: Scribe, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - a year that can be told again
        self._scribe = scribe
        self._steps: list[tuple[int, int, Step]] = []
        self._order = 0

    @property
    def now_ms(self) -> int:
        """The present."""
        return self._scribe.now_ms

    def run(self, end_ms: int) -> None:
        """Lets everything happen until a moment, which is then the present."""
        while self._steps and self._steps[0][0] < end_ms:
            self._scribe.now_ms, _, step = heapq.heappop(self._steps)
            step()
        self._scribe.now_ms = end_ms

    def at(self, ms: int, step: Step) -> None:
        """Has something happen at a moment."""
        self._order += 1
        heapq.heappush(self._steps, (ms, self._order, step))

    def after(self, span_ms: int, step: Step) -> None:
        """Has something happen later."""
        self.at(self.now_ms + max(span_ms, 1), step)

    def watch(
        self,
        warn_ms: int,
        due_ms: int,
        is_open: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        """Has the exchange warn of something, and say that its time is over."""

        def at(kind: str) -> Step:
            return lambda: say(kind) if is_open() else None

        self.at(max(warn_ms, self.now_ms + 1), at("warning"))
        self.at(max(due_ms, self.now_ms + 2), at("breach"))

    def pick(self, weights: Weights[T]) -> T:
        """Returns one of some values, by their weights."""
        values, parts = zip(*weights, strict=True)
        chosen: T = self.random.choices(values, parts)[0]
        return chosen


def milliseconds_of(span: timedelta) -> int:
    """Returns a length of time in milliseconds."""
    return span // timedelta(milliseconds=1)


def duration(span: timedelta) -> Duration:
    """Returns a length of time, in whole seconds."""
    return Duration(seconds=span // timedelta(seconds=1))
