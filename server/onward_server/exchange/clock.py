"""The one clock and the one source of randomness, both injectable."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

Entropy = Callable[[int], bytes]
"""Returns that many unpredictable bytes; :func:`os.urandom` in production."""

system_entropy: Entropy = os.urandom


class Clock(Protocol):
    """Tells the time."""

    def now_ms(self) -> int:
        """Wall time: whole milliseconds since 1970-01-01 UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back, for intervals only."""


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Wall time in milliseconds."""
        return time.time_ns() // 1_000_000  # noqa: TID251 - this is the one clock

    def monotonic(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()


class SettableClock(SystemClock):
    """The machine's clock, ahead or behind: for demonstrations, never for real tips.

    Args:
        file: holds a whole number: milliseconds to add. Read at each look at the clock,
            so whoever writes it sets the time; replace it atomically.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def now_ms(self) -> int:
        """Wall time in milliseconds, moved by what the file says."""
        return super().now_ms() + int(self._file.read_text("ascii"))


def to_datetime(ms: int) -> datetime:
    """Returns milliseconds as an aware UTC datetime."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def to_timestamp(ms: int) -> Timestamp:
    """Returns milliseconds as a protobuf timestamp."""
    seconds, rest = divmod(ms, 1000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000_000)


def timestamp_ms(value: Timestamp) -> int:
    """Returns a protobuf timestamp in whole milliseconds, rounded down."""
    return value.seconds * 1000 + value.nanos // 1_000_000
