"""When statements were made, and whether deadlines were kept.

A statement's own time is a claim. What bounds it is the order of the log, which nobody
can change: a statement that has *seen* a tree of n entries was made after entry n - 1,
and one that is in a tree was made before whoever cosigned that tree first saw it.

* **Not before.** The claimed time of the exchange's last statement that the issuer had
  seen, or that the statement answers, be it by way of others: a ``previous`` cannot be
  known before what it names was signed. So an old ``seen`` does not help to backdate.
  Only the exchange says so, so this bound is a claim too. The *place* in the log of a
  member's statement is no such bound for what answers it: whoever was offline signs
  both first and sends them later.
* **Not after.** The time at which the quorum of the trust file had cosigned a
  checkpoint that covers the statement. Whoever wrote the trust file says by the quorum
  that any such group of witnesses has an honest one in it, and what an honest witness
  had seen by then existed. This is the (f+1)-th smallest cosignature time of a quorum
  of f+1. Or the time at which a trusted timestamp authority had stamped such a
  checkpoint; of both, the earlier. Without either: the claimed time of the exchange's
  first statement that answers it or has seen it, which again is a claim.

A claim of the exchange that witnesses or authorities refute, because they had seen the
statement long before the time that it claims, is wrong itself, and bounds nobody else.

Deadlines are judged on these intervals. Where nobody but the exchange says when
something existed, the interval is the claimed time alone, and every judgement says
``claimed only``.

A step that claims to have been made in time, but which the log has only after the
exchange's breach, was told late or is backdated; nothing in the log can say which. That
is no contradiction; it would be unjust to those who were offline if it were one. But
the claim alone does not count against a breach that stood in the log when it came: the
deadline is ``undetermined`` and called *disputed*, unless witnesses or an authority had
seen the step in time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import accumulate
from typing import Final, TypeVar

from onward.core.statements import UnverifiedStatement
from onward.core.tlog_policy import Policy

_Time = TypeVar("_Time", datetime, int)

MAX_CLOCK_SKEW: Final = timedelta(minutes=5)
"""By how much an honest clock may be off: a claim is contradicted only beyond it."""


class Source(StrEnum):
    """Who vouches for the upper end of an interval."""

    CLAIMS = "claimed only"
    WITNESSES = "witnessed"
    TIMESTAMPS = "timestamped"


@dataclass(frozen=True, slots=True)
class Interval:
    """When a statement was made.

    Attributes:
        claimed: the issuer's own clock.
        not_before: the lower bound, None where nothing gives one.
        not_after: the upper bound, None where nothing gives one.
        source: who vouches for ``not_after``.
        by: the name of that one: the exchange's SPIFFE ID, the quorum of the trust
            file, or the timestamp authority; empty where there is no upper bound.
    """

    claimed: datetime
    not_before: datetime | None = None
    not_after: datetime | None = None
    source: Source = Source.CLAIMS
    by: str = ""

    @property
    def earliest(self) -> datetime:
        """The claimed time, or the lower bound where that is later."""
        return max(self.claimed, self.not_before or self.claimed)

    @property
    def vouched(self) -> datetime | None:
        """The upper bound where others vouch for it."""
        return self.not_after if self.source is not Source.CLAIMS else None

    @property
    def latest(self) -> datetime:
        """The upper bound where others vouch for it, else :attr:`earliest`."""
        return self.vouched or self.earliest

    def contradiction(self) -> str:
        """Returns how the claimed time contradicts a bound, or an empty string."""
        claimed = self.claimed
        if self.not_before and self.not_before - claimed > MAX_CLOCK_SKEW:
            return (
                f"it claims {_text(claimed)}, and has seen what was made at "
                f"{_text(self.not_before)}: it is backdated, or a clock is wrong"
            )
        if self.not_after and claimed - self.not_after > MAX_CLOCK_SKEW:
            return (
                f"it claims {_text(claimed)}, and existed at {_text(self.not_after)} "
                f"({self.source}): it is postdated, or a clock is wrong"
            )
        return ""

    def to_dict(self) -> dict[str, str | None]:
        """Returns plain values for JSON; times are RFC 3339, UTC."""
        return {
            "claimed": _text(self.claimed),
            "not_before": _text(self.not_before) if self.not_before else None,
            "not_after": _text(self.not_after) if self.not_after else None,
            "source": self.source,
            "by": self.by,
        }


@dataclass(frozen=True, slots=True)
class Placed:
    """A statement and its place in the log."""

    index: int
    statement: UnverifiedStatement

    @property
    def claimed(self) -> datetime:
        """The statement's ``made_time``."""
        return self.statement.message.made_time.ToDatetime(tzinfo=UTC)

    def seen_size(self, origin: str) -> int:
        """Returns how many entries of a log the issuer had seen; 0 if none."""
        seen = self.statement.message.seen
        return seen.size if seen.origin == origin else 0


@dataclass(frozen=True, slots=True)
class Sighting:
    """That a tree existed by a time: a checkpoint's size, and who says when.

    Attributes:
        size: the tree's number of entries.
        time: by when it existed.
        source: who vouches for it.
        by: the name of that one; see :class:`Interval`.
    """

    size: int
    time: datetime
    source: Source = Source.WITNESSES
    by: str = ""


class Judgement(StrEnum):
    """How a deadline was kept."""

    MET = "met"
    MISSED = "missed"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True)
class Deadline:
    """A deadline of a delivery, judged.

    Attributes:
        name: what was due: ``deliver``, ``acknowledge`` or ``outcome``.
        due: when; None where the acceptance states no valid time.
        done: when it was done, None if it was not.
        judgement: how it was kept.
        source: what the judgement rests on.
        breach: when the exchange logged that it was missed, None if it did not.
        disputed: whether it claims to have been done in time, and the log has it only
            after the breach: it was told late, or is backdated.
    """

    name: str
    due: datetime | None
    done: Interval | None
    judgement: Judgement
    source: Source
    breach: Interval | None = None
    disputed: bool = False

    def __str__(self) -> str:
        """Returns how it was kept, and when a breach was logged, for people."""
        kept = f"{self.name} {self.judgement}{', disputed' if self.disputed else ''}"
        if self.breach is None:
            return kept
        return f"{kept} (breach logged {_text(self.breach.claimed)})"

    def to_dict(self) -> dict[str, object]:
        """Returns plain values for JSON; times are RFC 3339, UTC."""
        return {
            "name": self.name,
            "due": _text(self.due) if self.due else None,
            "done": self.done.to_dict() if self.done else None,
            "judgement": self.judgement,
            "source": self.source,
            "breach": self.breach.to_dict() if self.breach else None,
            "disputed": self.disputed,
        }


def quorum_time(policy: Policy, times: Mapping[str, int]) -> datetime | None:
    """Returns when a policy's quorum had cosigned, None if it asks for none.

    Args:
        policy: the trust file.
        times: when each witness first saw the checkpoint, by its name in the policy.
    """
    met = dict(times)
    for group in policy.groups:
        members = sorted(met[name] for name in group.members if name in met)
        if len(members) >= group.threshold:
            met[group.name] = members[group.threshold - 1]
    time = met.get(policy.quorum or "")
    try:
        return None if time is None else datetime.fromtimestamp(time, UTC)
    except (ValueError, OverflowError, OSError):
        return None  # past the year 9999: no bound


def intervals(
    placed: Sequence[Placed],
    exchange: str,
    origin: str,
    sightings: Iterable[Sighting] = (),
) -> dict[int, Interval]:
    """Returns when each statement was made, by its index in the log.

    Args:
        placed: all statements of the log that are known, those of the directory too.
        exchange: SPIFFE ID of the exchange.
        origin: the log's origin; a ``seen`` of another log bounds nothing here.
        sightings: the trees that a quorum of witnesses or an authority had seen.
    """
    ordered = sorted(placed, key=lambda item: item.index)
    marks = [item for item in ordered if item.statement.message.issuer == exchange]
    seen = Earliest(sightings)
    plausible = [mark for mark in marks if not _refuted(mark, seen)]
    lowest = _lower_bounds(ordered, plausible, origin)
    later = Earliest(
        Sighting(mark.seen_size(origin), mark.claimed, Source.CLAIMS) for mark in marks
    )
    answers = _answers(marks)

    def interval(item: Placed) -> Interval:
        lower = lowest[item.index]
        upper = seen.beyond(item.index)
        if upper:
            return Interval(item.claimed, lower, upper.time, upper.source, upper.by)
        looked = later.beyond(item.index)
        claims = [looked and looked.time, answers.get(item.statement.digest)]
        time = min((time for time in claims if time), default=None)
        return Interval(item.claimed, lower, time, by=exchange if time else "")

    return {item.index: interval(item) for item in placed}


def judge(
    name: str,
    due: tuple[datetime, datetime] | None,
    done: Interval | None,
    ended: Interval | None,
    until: datetime,
    *,
    late: bool = False,
) -> Deadline | None:
    """Judges one deadline.

    Args:
        name: what is due.
        due: when at the earliest and at the latest; None if no valid time is stated.
        done: when it was done, None if it was not.
        ended: when the delivery took a turn after which it is not due any more, such as
            a decline; None if there was none.
        until: up to when the evidence goes.
        late: whether the log has that event only after the exchange's breach.

    Returns:
        The deadline, or None when it lapsed: it was not done, and not due any more.
    """
    undone = Interval(until)
    event = done or ended or undone
    if due is None:
        return Deadline(name, None, done, Judgement.UNDETERMINED, event.source)
    judgement = judgement_of(
        due,
        (event.earliest, event.latest),
        done=event is done,
        ended=event is ended,
        supported=not late or event.source is not Source.CLAIMS,
    )
    if judgement is None:
        return None
    disputed = late and judgement is Judgement.UNDETERMINED
    return Deadline(name, due[0], done, judgement, event.source, disputed=disputed)


def judgement_of(
    due: tuple[_Time, _Time],
    made: tuple[_Time, _Time],
    *,
    done: bool,
    ended: bool,
    supported: bool,
) -> Judgement | None:
    """Judges a deadline by its times, whatever they are counted in.

    Args:
        due: when it was due, at the earliest and at the latest.
        made: when what settles it was made, at the earliest and at the latest; where
            nothing does, up to when the evidence goes, twice.
        done: whether it was done.
        ended: whether the delivery took a turn instead, after which it is not due.
        supported: whether what settles it was there in time by the log's order, or by
            the word of others than its issuer.

    Returns:
        The judgement, or None when it lapsed.
    """
    if made[0] > due[1]:
        return Judgement.MISSED
    if ended and supported:
        return None
    if done and supported and made[1] <= due[0]:
        return Judgement.MET
    return Judgement.UNDETERMINED


def _lower_bounds(
    ordered: Iterable[Placed], marks: Sequence[Placed], origin: str
) -> dict[int, datetime | None]:
    """Returns before when each statement was not made, by its index in the log.

    Args:
        ordered: all statements, in the log's order.
        marks: those of the exchange whose times may be right, in the log's order.
        origin: the log's origin.
    """
    places = [mark.index for mark in marks]
    own = set(places)
    bounds: dict[int, datetime | None] = {}
    after: dict[bytes, datetime | None] = {}
    for item in ordered:
        seen = bisect_left(places, item.seen_size(origin))
        reasons = [
            marks[seen - 1].claimed if seen else None,
            after.get(item.statement.message.previous),
        ]
        bounds[item.index] = bound = _latest(reasons)
        claims = item.claimed if item.index in own else None
        after[item.statement.digest] = _latest([bound, claims])
    return bounds


def _refuted(mark: Placed, seen: Earliest) -> bool:
    """Says whether others had seen a statement before the time that it claims."""
    upper = seen.beyond(mark.index)
    return upper is not None and mark.claimed - upper.time > MAX_CLOCK_SKEW


def _latest(times: Iterable[datetime | None]) -> datetime | None:
    return max((time for time in times if time), default=None)


def _answers(marks: Iterable[Placed]) -> dict[bytes, datetime]:
    """Returns when the exchange first answered a statement, by its digest."""
    answers: dict[bytes, datetime] = {}
    for mark in marks:
        previous = mark.statement.message.previous
        answers[previous] = min(mark.claimed, answers.get(previous, mark.claimed))
    return answers


class Earliest:
    """The earliest of those sightings whose tree is larger than some index.

    Args:
        sightings: in any order.
    """

    def __init__(self, sightings: Iterable[Sighting]) -> None:
        ordered = sorted(sightings, key=lambda item: item.size)
        self._sizes = [item.size for item in ordered]
        earliest = accumulate(reversed(ordered), _earlier)
        self._earliest = list(earliest)[::-1]

    def beyond(self, index: int) -> Sighting | None:
        """Returns the earliest sighting of a tree that holds entry ``index``."""
        place = bisect_right(self._sizes, index)
        return self._earliest[place] if place < len(self._earliest) else None


def _earlier(one: Sighting, other: Sighting) -> Sighting:
    return other if other.time < one.time else one


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
