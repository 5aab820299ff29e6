"""How each deadline was kept, on the intervals of :mod:`onward.core.timing`.

``duties`` asks whether the exchange logged what it had to log, by the log's order. This
asks what is proven about the step itself: that it was made in time, that it was not, or
neither; and on whose word. A dishonest exchange can make the first question come out
well, by a clock of its own. Who else had seen the log by when, it cannot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from onward.core.audit.clock import Clock, time_of
from onward.core.audit.duties import Duty
from onward.core.audit.facts import NONE
from onward.core.due import kind_name
from onward.core.timing import Judgement, Source, judge


class Kept(NamedTuple):
    """How a deadline was kept.

    Attributes:
        judgement: how.
        source: what that rests on.
        waiting: whether it was not due yet when the log was looked at.
        disputed: see :class:`onward.core.timing.Deadline`.
    """

    judgement: Judgement
    source: Source
    waiting: bool
    disputed: bool


def proofs_of(duties: Iterable[Duty]) -> Iterator[tuple[int, int]]:
    """Yields what is to be proven so that a step counts as made in time.

    Returns:
        Entries, with the times by which they had to exist.
    """
    for duty in duties:
        if duty.done != NONE and duty.due is not None:
            yield duty.done, duty.due[0]


def judge_duty(duty: Duty, clock: Clock, size: int) -> Kept | None:
    """Judges a deadline; None if it lapsed, or if it is not known when it was.

    Args:
        duty: what was due.
        clock: when things were made.
        size: the number of entries that were looked at.
    """
    if duty.due is None:
        return None
    first, last = duty.due
    breach = duty.breach
    # A missed review ends by its breach, which is nobody's having made it.
    closed = NONE if breach and breach.at == duty.span.closed else duty.span.closed
    done = NONE if breach and breach.at == duty.done else duty.done
    event = closed if done == NONE else done
    interval = None if event == NONE else clock.interval(event)
    until = clock.logged_after(size)
    kept = judge(
        kind_name(duty.kind),
        (time_of(first), time_of(last)),
        None if done == NONE else interval,
        interval if done == NONE else None,
        time_of(until),
        late=breach is not None and breach.at < event,
    )
    if kept is None:
        return None
    waiting = event == NONE and until <= first
    return Kept(kept.judgement, kept.source, waiting, kept.disputed)
