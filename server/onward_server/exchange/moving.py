"""Moving a delivery on by an event, and the one answer for what is not a caller's."""

from __future__ import annotations

from dataclasses import replace

from onward.core import custody
from onward.core.errors import Reason, UnknownError
from onward.v1 import vocabulary_pb2
from onward_server.exchange import duties
from onward_server.exchange.alarming import tell_delivery
from onward_server.exchange.draft import Draft
from onward_server.storage.contract import DeliveryRow, ReferralRow


def moved(
    draft: Draft,
    referral: ReferralRow,
    delivery: DeliveryRow,
    event: custody.Event,
) -> DeliveryRow:
    """Returns a delivery after an event; what was due of it before is logged first.

    Args:
        draft: the change that is being planned.
        referral: the delivery's; once its content is erased, nothing waits to go out.
        delivery: as it was. The caller keeps what is returned.
        event: what happened.

    Raises:
        StateError: ``STATE_FORBIDS``.
    """
    delivery = tell_delivery(draft, referral, delivery)
    state = custody.advance(
        vocabulary_pb2.DeliveryState.ValueType(delivery.state), event
    )
    waiting = state in custody.WAITING and not referral.erased
    keeps_lease = waiting and event is custody.Event.HANDOVER
    after = replace(
        delivery,
        state=state,
        state_ms=draft.now_ms if state != delivery.state else delivery.state_ms,
        waiting=waiting,
        lease_holder=delivery.lease_holder if keeps_lease else "",
        lease_until_ms=delivery.lease_until_ms if keeps_lease else 0,
    )
    return duties.after(after, event, draft.now_ms)


def referral_unknown(referral_id: str) -> UnknownError:
    """Returns the error for a referral that is not there, or not for this caller."""
    return UnknownError(
        Reason.ERROR_REASON_REFERRAL_UNKNOWN,
        f"there is no referral {referral_id}, or you are not a party to it that may "
        "do this",
        field="referral_id",
    )
