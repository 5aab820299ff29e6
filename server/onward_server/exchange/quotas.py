"""How much one member may do: allowances over time, and places at the same time.

An allowance refills steadily up to its burst (the generic cell rate algorithm of ITU-T
I.371, which needs one number for each bucket: the time at which it will be full again).
What is larger than a whole burst is let through when the bucket is full, and then paid
off, so that no single permitted request is impossible.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from onward.core.errors import QuotaError, Reason

_MAX_BUCKETS = 65_536
"""Of one :class:`Quotas`. Beyond it the one unused for longest is forgotten: filled."""


class Resource(StrEnum):
    """What an allowance is about."""

    PUBLISH = "referrals to publish"
    STATEMENTS = "statements"
    READS = "reads"
    UPLOAD_BYTES = "uploaded bytes"
    ENROLMENT = "enrolment calls"


class Place(StrEnum):
    """What only so many of may be open at the same time."""

    STREAM = "open streams"
    EXPORT = "exports at once"
    ENROLMENT = "enrolment calls at once"


@dataclass(frozen=True, slots=True)
class Allowance:
    """So much in the long run, and so much at once after a pause."""

    per_second: float
    burst: float


class Quotas:
    """Keeps count. Not thread-safe: for one event loop.

    Args:
        allowances: by resource; a resource without one is not limited.
        places: how many places each holder has; a kind without one is not limited.
        monotonic: seconds that never go back.
    """

    def __init__(
        self,
        allowances: Mapping[Resource, Allowance],
        places: Mapping[Place, int],
        monotonic: Callable[[], float],
    ) -> None:
        self._allowances = dict(allowances)
        self._places = dict(places)
        self._monotonic = monotonic
        self._full_at: OrderedDict[tuple[Resource, str], float] = OrderedDict()
        self._taken: Counter[tuple[Place, str]] = Counter()

    def take(self, holder: str, resource: Resource, amount: float = 1) -> None:
        """Uses up some of a holder's allowance.

        Raises:
            QuotaError: there is not so much left; nothing was used up.
                ``retry_after`` says when there will be.
        """
        allowance = self._allowances.get(resource)
        if allowance is None:
            return
        now, key = self._monotonic(), (resource, holder)
        full_at = max(self._full_at.get(key, now), now)
        needed = min(amount, allowance.burst) / allowance.per_second
        room = allowance.burst / allowance.per_second - (full_at - now)
        if needed > room:
            raise _exceeded(resource, allowance.burst, needed - room)
        self._full_at[key] = full_at + amount / allowance.per_second
        self._full_at.move_to_end(key)
        if len(self._full_at) > _MAX_BUCKETS:
            self._full_at.popitem(last=False)

    def taken(self, kind: Place) -> int:
        """Returns how many places of a kind are taken, by all holders."""
        return sum(n for (taken, _), n in self._taken.items() if taken is kind)

    @contextmanager
    def place(self, holder: str, kind: Place) -> Iterator[None]:
        """Holds a place while the block runs.

        Raises:
            QuotaError: all places of this holder are taken.
        """
        limit, key = self._places.get(kind), (kind, holder)
        if limit is not None and self._taken[key] >= limit:
            raise _exceeded(kind, limit, 1.0)
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]


def _exceeded(what: Resource | Place, limit: float, retry_after: float) -> QuotaError:
    """Returns the error of a quota that is used up."""
    return QuotaError(
        Reason.ERROR_REASON_QUOTA_EXCEEDED,
        f"the quota of {what} is used up ({limit:.0f} at once); retry in "
        f"{retry_after:.1f} s",
        metadata={"quota": what.name, "limit": f"{limit:.0f}"},
        retry_after=retry_after,
    )
