"""What an accepted referral means to the intakes that it names.

A tip is passed on when its referrals have reached all that must have it; see
``onward.core.intakes``. Several referrals may do so together, and one may answer
several tips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from onward.core import intakes
from onward.core.errors import MalformedError, Reason, UnknownError
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange import duties
from onward_server.exchange.alarming import tell_intake
from onward_server.exchange.draft import Draft
from onward_server.storage.contract import IntakeRow

_PASSED_ON = vocabulary_pb2.INTAKE_STATE_PASSED_ON
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
        present = tell_intake(draft, row)
        draft.put_intake(_passed_on(present, present.reached | reached))


def _passed_on(row: IntakeRow, reached: int) -> IntakeRow:
    """Returns an intake after a referral; ``reached`` are all that referrals reached.

    The deadline ends where nothing is missing any more, and only there.
    """
    event = intakes.event_of_referral(
        row.state,
        intakes.Reach(reached),
        intakes.mandated(row.urgency, row.age_group),
    )
    after = replace(row, reached=reached, state=intakes.advance(row.state, event))
    return duties.intake_closed(after) if after.state == _PASSED_ON else after


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
