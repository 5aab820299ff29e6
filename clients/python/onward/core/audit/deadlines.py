"""How each deadline was kept, on the intervals of :mod:`onward.core.timing`.

``duties`` asks whether the exchange logged what it had to log, by the log's order. This
asks what is proven about the step itself: that it was made in time, that it was not, or
neither; and on whose word. A dishonest exchange can make the first question come out
well, by a clock of its own. Who else had seen the log by when, it cannot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from onward.core.audit.clock import Clock
from onward.core.audit.duties import Duty
from onward.core.audit.facts import NONE
from onward.core.timing import Judgement, Source, judgement_of


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
    breach = duty.breach
    # A missed review ends by its breach, which is nobody's having made it.
    closed = NONE if breach and breach.at == duty.span.closed else duty.span.closed
    done = NONE if breach and breach.at == duty.done else duty.done
    event = closed if done == NONE else done
    until = clock.logged_after(size)
    if event == NONE:
        made, source = (until, until), Source.CLAIMS
    else:
        made, source = clock.settled(event)
    late = breach is not None and breach.at < event
    judgement = judgement_of(
        duty.due,
        made,
        done=done != NONE,
        ended=event != done,
        supported=not late or source is not Source.CLAIMS,
    )
    if judgement is None:
        return None
    disputed = late and judgement is Judgement.UNDETERMINED
    waiting = event == NONE and until <= duty.due[0]
    return Kept(judgement, source, waiting, disputed)
