"""The clock of the demonstration: the exchange's, by a file, and the members'.

The samples are dated; here their first day is 45 days before today, so that everything
is over when the report is made. Only whole days are moved: the times of day are true.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from google.protobuf.json_format import Parse

from onward.v1 import content_pb2

FIRST_DAY = datetime(2026, 11, 2, tzinfo=UTC)
DAYS = 45
SAMPLES = Path(__file__).parents[2] / "docs" / "samples"

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(slots=True)
class Timeline:
    """What time it is for the exchange and its members.

    Attributes:
        file: tells the exchange by how much its clock is ahead, in milliseconds.
        moved: by how much the samples' dates are moved.
        ahead: by how much the clock is ahead of the machine's; negative.
    """

    file: Path
    moved: timedelta
    ahead: timedelta = timedelta.min

    @classmethod
    def begin(cls, file: Path) -> Self:
        """Begins on the evening before the first tip."""
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        timeline = cls(file, today - timedelta(days=DAYS) - FIRST_DAY)
        timeline.set(0, "00:10")
        return timeline

    def now(self) -> datetime:
        """Returns the time."""
        return datetime.now(UTC) + self.ahead

    def set(self, day: int, time: str) -> None:
        """Makes it a time of a day, such as ``02:24`` of day 0, the first.

        The clock goes forward only: a time that is over already is let be.
        """
        hours, minutes = map(int, time.split(":"))
        at = self.day(day) + timedelta(hours=hours, minutes=minutes)
        self.ahead = max(at - datetime.now(UTC), self.ahead)
        self._tell()

    def day(self, day: int) -> datetime:
        """Returns the beginning of a day, counted from the first, which is 0."""
        return self.first_day + timedelta(days=day)

    def end(self) -> None:
        """Makes it the machine's time again."""
        self.ahead = timedelta()
        self._tell()

    @property
    def first_day(self) -> datetime:
        """The day of the first tip."""
        return FIRST_DAY + self.moved

    def sample(self, reference: str) -> content_pb2.Tip:
        """Returns a sample tip, with its times moved by whole days."""
        tip = Parse((SAMPLES / f"{reference}.json").read_text(), content_pb2.Tip())
        for stamp in (tip.received_time, *(call.made_time for call in tip.calls)):
            stamp.FromDatetime(stamp.ToDatetime(tzinfo=UTC) + self.moved)
        return tip

    def _tell(self) -> None:
        """Tells the exchange, at once as a whole."""
        written = self.file.with_suffix(".new")
        written.write_text(str(self.ahead // _MILLISECOND))
        written.replace(self.file)
