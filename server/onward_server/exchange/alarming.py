"""Saying that half the time to a deadline is over, or all of it.

What is due is found by its alarm and said in one change, which looks at everything
again at its place in the log: a step may have been made meanwhile, or the clock may
have gone back, and then nothing is said. The row's ``told`` and ``alarm_ms`` change
with the log, so after a crash each warning and breach was either said or is still due.

The alarms are not the only ones who say it. A step that comes late, because the
exchange was down or because nobody has looked yet, would close what was due before it.
So every change that moves a delivery or an intake begins by saying what is due of it,
and names as its holder whoever held it until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from onward.core import intakes
from onward.core.due import Kind, Role
from onward.v1 import statement_pb2
from onward_server.exchange import duties
from onward_server.exchange.clock import Clock, to_timestamp
from onward_server.exchange.draft import Draft
from onward_server.exchange.duties import Step
from onward_server.exchange.ledger import Change, Ledger
from onward_server.storage.contract import (
    DeliveryRow,
    IntakeRow,
    Needs,
    ReferralRow,
    Store,
    intake_subject,
)

AT_ONCE = 128
"""Deliveries, and as many intakes, of one commit: bounds how long others wait."""

_REVIEW = Kind.DEADLINE_KIND_REVIEW


def tell_delivery(draft: Draft, referral: ReferralRow, row: DeliveryRow) -> DeliveryRow:
    """Logs what is to be said of a delivery by now; returns it as it is then.

    Whoever moves a delivery calls this first, and moves what it returns.
    """
    steps = duties.due_steps(row, draft.now_ms)
    if not steps:
        return row
    about = _About(
        referral_id=referral.referral_id,
        digest=referral.digest,
        subject=row.recipient,
        places=referral.places,
        watchers=referral.watchers,
        holders={
            Role.HOLDER_ROLE_PUBLISHER: referral.publisher,
            Role.HOLDER_ROLE_EXCHANGE: draft.exchange,
            Role.HOLDER_ROLE_RECIPIENT: row.recipient,
        },
        named=statement_pb2.Due(recipient=row.recipient),
    )
    for step in steps:
        _say(draft, about, step)
    row = duties.told(row, steps)
    draft.put_delivery(row)
    return row


def tell_intake(draft: Draft, row: IntakeRow) -> IntakeRow:
    """Logs what is to be said of an intake by now; returns it as it is then.

    Whoever decides about an intake calls this first, and goes on with what it returns:
    a review that was not made in time has opened the intake again.
    """
    steps = duties.due_steps(row, draft.now_ms)
    if not steps:
        return row
    about = _About(
        referral_id="",
        digest=row.digest,
        subject=intake_subject(row.hotline, row.number),
        places=(row.jurisdiction,),
        watchers=(row.hotline,),
        holders={Role.HOLDER_ROLE_PUBLISHER: row.hotline},
        named=statement_pb2.Due(hotline=row.hotline, intake_number=row.number),
    )
    for step in steps:
        _say(draft, about, step)
        row = _reviewed(draft, row, step)
    draft.put_intake(row)
    return row


@dataclass(frozen=True, slots=True)
class _About:
    """What a warning or breach is about.

    Attributes:
        digest: of the ``Referral`` or ``Intake`` that it answers.
        holders: who plays which part.
        named: the delivery or intake, as ``Due`` names it.
    """

    referral_id: str
    digest: bytes
    subject: str
    places: tuple[str, ...]
    watchers: tuple[str, ...]
    holders: Mapping[int, str]
    named: statement_pb2.Due


def _say(draft: Draft, about: _About, step: Step) -> None:
    """Logs one warning or breach."""
    due = statement_pb2.Due(
        kind=step.kind,
        due_time=to_timestamp(step.due_ms),
        holder=about.holders[step.holder],
        holder_role=step.holder,
    )
    due.MergeFrom(about.named)
    body = (
        {"breach": statement_pb2.Breach(due=due)}
        if step.breach
        else {"warning": statement_pb2.Warning(due=due)}
    )
    said = draft.say(referral_id=about.referral_id, previous=about.digest, **body)
    concerned = (due.holder, due.recipient, *about.watchers, draft.exchange)
    draft.log(
        said,
        places=about.places,
        subject=about.subject,
        watchers=about.watchers,
        alerted=dict.fromkeys(filter(None, concerned)),
    )


def _reviewed(draft: Draft, row: IntakeRow, step: Step) -> IntakeRow:
    """Returns an intake of which a step was said; a missed review opens it again."""
    if not step.breach or step.kind != _REVIEW:
        return duties.told(row, [step])
    state = intakes.advance(row.state, intakes.Event.REVIEW_BREACH)
    deadlines = draft.policy.deadlines(row.urgency, row.jurisdiction)
    return duties.intake_reopened(replace(row, state=state), deadlines, draft.now_ms)


@dataclass(frozen=True, slots=True)
class DeliveryAlarm:
    """The change: what is due of a delivery is said."""

    referral_id: str
    recipient: str

    @property
    def needs(self) -> Needs:
        """The referral and its deliveries."""
        return Needs(referrals={self.referral_id})

    def plan(self, draft: Draft) -> Sequence[int]:
        """Says it, if it is still due."""
        referral = draft.referral(self.referral_id)
        row = draft.delivery(self.referral_id, self.recipient)
        if referral is not None and row is not None:
            tell_delivery(draft, referral, row)
        return ()


@dataclass(frozen=True, slots=True)
class IntakeAlarm:
    """The change: what is due of an intake is said."""

    hotline: str
    number: int

    @property
    def needs(self) -> Needs:
        """The intake."""
        return Needs(intakes={(self.hotline, self.number)})

    def plan(self, draft: Draft) -> Sequence[int]:
        """Says it, if it is still due."""
        row = draft.intake(self.hotline, self.number)
        if row is not None:
            tell_intake(draft, row)
        return ()


class Alarming:
    """Says what is due."""

    def __init__(self, ledger: Ledger, store: Store, clock: Clock) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock

    async def turn(self) -> None:
        """Says everything that is due by now.

        Raises:
            OnwardError: something could not be said; it is still due. What is due with
                it was said, and what is due later is left for the next turn.
        """
        tried: list[Change] = []
        while (changes := await self._due()) and changes != tried:
            tried = changes
            results = await asyncio.gather(
                *map(self._ledger.apply, changes), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    async def late(self) -> float:
        """Returns for how many seconds something has been due and was not said."""
        alarm_ms = await self._store.next_alarm()
        late_ms = 0 if alarm_ms is None else self._clock.now_ms() - alarm_ms
        return max(late_ms, 0) / 1000

    async def _due(self) -> list[Change]:
        """Returns the changes that say what is due, the longest due first."""
        alarms = await self._store.due(self._clock.now_ms(), AT_ONCE)
        return [
            *(DeliveryAlarm(*key) for key in alarms.deliveries),
            *(IntakeAlarm(*key) for key in alarms.intakes),
        ]
