"""What an accepted referral means to the intakes that it names.

A tip is passed on when its referrals have reached all that must have it; see
``onward.core.intakes``. Several referrals may do so together, and one may answer
several tips. So an intake counts the referrals that reach somebody, and one that is
taken back before anybody received it is counted no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from itertools import compress
from operator import or_
from typing import Final

from onward.core import intakes
from onward.core.custody import State
from onward.core.errors import MalformedError, Reason, UnknownError
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange import duties
from onward_server.exchange.alarming import tell_intake
from onward_server.exchange.draft import Draft
from onward_server.storage.contract import DeliveryRow, IntakeRow, ReferralRow

NOBODY: Final = (0,) * len(intakes.Reach)
"""What an intake counts that no referral passes on."""

_OPEN = vocabulary_pb2.INTAKE_STATE_OPEN
_PASSED_ON = vocabulary_pb2.INTAKE_STATE_PASSED_ON
_ENDED = frozenset(
    {
        State.DELIVERY_STATE_CANCELLED,
        State.DELIVERY_STATE_EXPIRED,
        State.DELIVERY_STATE_RETRACTION_PENDING,
    }
)
"""The states of a delivery right after its content was retracted or erased, where it
does not go on."""
_FIELD = "referral.intake_numbers"


def answered(
    draft: Draft, publisher: str, referral: statement_pb2.Referral
) -> list[IntakeRow]:
    """Returns the intakes that a referral answers, in its order.

    Raises:
        UnknownError: ``INTAKE_UNKNOWN``: the publisher has no such intake.
        MalformedError: a test would answer a tip, or the other way round.
    """
    rows = []
    for number in referral.intake_numbers:
        row = draft.intake(publisher, number)
        if row is None:
            raise intake_unknown(number, _FIELD)
        if row.test != referral.test:
            raise MalformedError(
                f"intake {number} is {_kind(row.test)}, and the referral is "
                f"{_kind(referral.test)}; a test answers tests, and nothing else does",
                field=_FIELD,
            )
        rows.append(row)
    return rows


def pass_on(draft: Draft, rows: Sequence[IntakeRow], kinds: Iterable[int]) -> None:
    """Moves intakes on by an accepted referral to recipients of these kinds.

    Called before the referral is logged: what has been due comes first.
    """
    reached = intakes.reach(kinds)
    for row in rows:
        draft.put_intake(_passed_on(_counted(tell_intake(draft, row), reached, 1)))


def take_back(draft: Draft, referral: ReferralRow) -> ReferralRow:
    """Opens intakes again whose referral nobody has received, and nobody will.

    Called after its deliveries were moved, and before the statement is logged that did
    so: what has been due comes first.

    Args:
        draft: the change that is being planned, with the referral's intakes.
        referral: is being retracted or erased. The caller keeps what is returned.
    """
    deliveries = draft.deliveries(referral.referral_id)
    if not referral.intakes or not all(map(_is_unread, deliveries)):
        return referral
    members = filter(None, (draft.member(row.recipient) for row in deliveries))
    reached = intakes.reach(member.proto.kind for member in members)
    for number in referral.intakes:
        row = draft.intake(referral.publisher, number)
        if row is not None:
            present = _counted(tell_intake(draft, row), reached, -1)
            draft.put_intake(_taken_back(draft, present))
    return replace(referral, intakes=())


def reached_now(row: IntakeRow) -> intakes.Reach:
    """Returns whom the referrals of an intake reach."""
    return reduce(or_, compress(intakes.Reach, row.reached), intakes.Reach(0))


def _counted(row: IntakeRow, reached: intakes.Reach, change: int) -> IntakeRow:
    """Returns an intake with one referral more, or less, to those whom it reached."""
    counts = zip(intakes.Reach, row.reached, strict=True)
    return replace(
        row,
        reached=tuple(
            count + change if whom in reached else count for whom, count in counts
        ),
    )


def _passed_on(row: IntakeRow) -> IntakeRow:
    """Returns an intake, in the state that it had, after a referral that it counts.

    The deadline ends where nothing is missing any more, and only there.
    """
    needed = intakes.mandated(row.urgency, row.age_group)
    event = intakes.event_of_referral(row.state, reached_now(row), needed)
    after = replace(row, state=intakes.advance(row.state, event))
    return duties.intake_closed(after) if after.state == _PASSED_ON else after


def _taken_back(draft: Draft, row: IntakeRow) -> IntakeRow:
    """Returns an intake, in the state that it had, after a referral was taken back.

    The time of one that is open again runs from when the tip was received, as it always
    did: a referral that nobody gets is no way to more time.
    """
    needed = intakes.mandated(row.urgency, row.age_group)
    event = intakes.event_of_taking_back(row.state, reached_now(row), needed)
    after = replace(row, state=intakes.advance(row.state, event))
    if (row.state, after.state) != (_PASSED_ON, _OPEN):
        return after
    deadlines = draft.policy.deadlines(row.urgency, row.jurisdiction)
    return duties.intake_opened(after, deadlines, draft.now_ms)


def _is_unread(delivery: DeliveryRow) -> bool:
    """Whether a delivery has ended, and its recipient has not received it."""
    return delivery.state in _ENDED and not delivery.received_ms


def intake_unknown(number: int, field: str) -> UnknownError:
    """Returns the error for an intake that a hotline does not have."""
    return UnknownError(
        Reason.ERROR_REASON_INTAKE_UNKNOWN,
        f"you have no intake {number}; register the tip first, and name it by the "
        "number that it was registered with",
        field=field,
        metadata={"number": str(number)},
    )


def _kind(test: bool) -> str:  # noqa: FBT001
    """Returns a test flag as people read it."""
    return "a test" if test else "no test"
