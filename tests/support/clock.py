"""The clock of an exchange that is a test."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from onward._clock import system_clock

_HOURS_MS = 3_600_000


class Clock:
    """A clock that a test sets, by a file that the exchange reads.

    Attributes:
        file: what the setting ``test.clock`` names.
        hours: how far ahead it is.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set(0)

    @property
    def settings(self) -> dict[str, str]:
        """The settings of an exchange that goes by this clock."""
        return {"ONWARD__TEST__CLOCK": str(self.file)}

    def set(self, hours: float) -> None:
        """Sets it so many hours ahead."""
        self.hours = hours
        fresh = self.file.with_suffix(".new")
        fresh.write_text(str(int(hours * _HOURS_MS)), "ascii")
        fresh.replace(self.file)

    def now(self) -> datetime:
        """Returns the time of a member whose clock is set alike."""
        return system_clock() + timedelta(hours=self.hours)
