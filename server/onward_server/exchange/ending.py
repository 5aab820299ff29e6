"""Until when the content of a referral goes out.

Consent that is given for a time ends at once. So the policy is asked once more: may it
still go out when that time is over? Where it may not, the content goes out until then,
and no longer.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.directory import MemberEntry
from onward.v1 import statement_pb2
from onward_server.exchange.clock import timestamp_ms, to_datetime
from onward_server.exchange.policy import DisclosurePolicy

_MS = 1_000_000


def end_ms(
    policy: DisclosurePolicy,
    publisher: MemberEntry,
    referral: statement_pb2.Referral,
    recipients: Sequence[MemberEntry],
) -> int:
    """Returns from when on a referral's content goes out to nobody.

    Args:
        policy: permits the referral at present.
        publisher: who signed it.
        referral: well-formed by ``onward.core.bodies``.
        recipients: in the referral's order.
    """
    expire_ms = timestamp_ms(referral.expire_time)
    if not referral.consent.HasField("expire_time"):
        return expire_ms
    consent_ms = _first_ms(referral.consent.expire_time)
    if consent_ms >= expire_ms:
        return expire_ms
    refusal = policy.refusal(
        publisher.proto,
        referral,
        [member.proto for member in recipients],
        to_datetime(consent_ms + 1),
    )
    return expire_ms if refusal is None else consent_ms


def _first_ms(end: Timestamp) -> int:
    """Returns the first whole millisecond that is not before a time."""
    return timestamp_ms(end) + (end.nanos % _MS > 0)
