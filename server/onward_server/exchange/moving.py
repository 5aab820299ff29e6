"""Moving a delivery on by an event, and the one answer for what is not a caller's."""

from __future__ import annotations

from dataclasses import replace

from onward.core import custody
from onward.core.errors import Reason, UnknownError
from onward.v1 import vocabulary_pb2
from onward_server.storage.contract import DeliveryRow


def moved(
    delivery: DeliveryRow, event: custody.Event, now_ms: int, *, erased: bool
) -> DeliveryRow:
    """Returns a delivery after an event.

    Args:
        delivery: as it was.
        event: what happened.
        now_ms: when.
        erased: whether the content is erased; then nothing waits to go out any more.

    Raises:
        StateError: ``STATE_FORBIDS``.
    """
    state = custody.advance(
        vocabulary_pb2.DeliveryState.ValueType(delivery.state), event
    )
    waiting = state in custody.WAITING and not erased
    keeps_lease = waiting and event is custody.Event.HANDOVER
    return replace(
        delivery,
        state=state,
        state_ms=now_ms if state != delivery.state else delivery.state_ms,
        waiting=waiting,
        lease_holder=delivery.lease_holder if keeps_lease else "",
        lease_until_ms=delivery.lease_until_ms if keeps_lease else 0,
    )


def referral_unknown(referral_id: str) -> UnknownError:
    """Returns the error for a referral that is not there, or not for this caller."""
    return UnknownError(
        Reason.ERROR_REASON_REFERRAL_UNKNOWN,
        f"there is no referral {referral_id}, or you are not a party to it that may "
        "do this",
        field="referral_id",
    )
