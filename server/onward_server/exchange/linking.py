"""What a ``Link`` names: the other tip, which its issuer must know of.

A link is a pointer. Of two referrals it moves nothing; how it ends an intake, the
module ``deciding`` says.
"""

from __future__ import annotations

from onward.core import intakes
from onward.core.errors import Reason, StateError, UnknownError
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.draft import Draft
from onward_server.exchange.passing_on import intake_unknown, reached_now
from onward_server.storage.contract import IntakeRow, ReferralRow

_DUPLICATE = vocabulary_pb2.INTAKE_STATE_DUPLICATE


def is_party(draft: Draft, row: ReferralRow, name: str) -> bool:
    """Returns whether a member watches a referral, or is a recipient of it."""
    return name in row.watchers or draft.delivery(row.referral_id, name) is not None


def same_referral(draft: Draft, message: statement_pb2.Statement) -> ReferralRow:
    """Returns the referral that a link names by ``same_as``.

    Raises:
        UnknownError: ``REFERRAL_UNKNOWN``: not there, or the issuer is no party to it.
    """
    link = message.link
    row = draft.referral(link.same_as_referral_id)
    if (
        row is None
        or row.rejected
        or row.digest != link.same_as
        or not is_party(draft, row, message.issuer)
    ):
        raise UnknownError(
            Reason.ERROR_REASON_REFERRAL_UNKNOWN,
            f"link names {link.same_as_referral_id}, which is not a referral with that "
            "digest to which you are a party",
            field="link.same_as_referral_id",
        )
    return row


def same_intake(draft: Draft, message: statement_pb2.Statement) -> IntakeRow:
    """Returns the issuer's intake that a link names by ``same_as``.

    Raises:
        UnknownError: ``INTAKE_UNKNOWN``.
        StateError: ``INTAKE_DECIDED``: it is a duplicate itself.
    """
    link, field = message.link, "link.same_as_intake_number"
    row = draft.intake(message.issuer, link.same_as_intake_number)
    if row is None or row.digest != link.same_as:
        raise intake_unknown(link.same_as_intake_number, field)
    if row.state == _DUPLICATE:
        raise StateError(
            Reason.ERROR_REASON_INTAKE_DECIDED,
            f"intake {row.number} is a duplicate itself; name the tip that it repeats",
            field=field,
            metadata={"state": intakes.state_name(row.state)},
        )
    return row


def reached_by(draft: Draft, other: IntakeRow | ReferralRow) -> intakes.Reach:
    """Returns whom a tip that a link names has reached, and who must have it.

    What was retracted has reached nobody: it may never have gone out.
    """
    if isinstance(other, IntakeRow):
        needed = intakes.mandated(other.urgency, other.age_group)
        return needed | reached_now(other)
    if other.retracted:
        return intakes.Reach(0)
    recipients = (row.recipient for row in draft.deliveries(other.referral_id))
    members = filter(None, map(draft.member, {*other.watchers, *recipients}))
    return intakes.reach(member.proto.kind for member in members)
