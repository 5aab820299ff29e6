"""The one place where the client asks what time it is, or for random bytes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Returns the present time in UTC."""

Entropy: TypeAlias = Callable[[int], bytes]
"""Returns that many unpredictable bytes."""


def system_clock() -> datetime:
    """Returns the time of this machine's clock, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - this is the clock
