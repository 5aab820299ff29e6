"""Until when the content of a referral goes out.

Consent that is given for a time ends at once. So the policy is asked once more: may it
still go out when that time is over? Where it may not, the content goes out until then,
and no longer. Two consents may end: the referral's own, and the one that binds a
transfer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    above: statement_pb2.Referral | None = None,
) -> int:
    """Returns from when on a referral's content goes out to nobody.

    Args:
        policy: permits the referral at present.
        publisher: who signed it.
        referral: well-formed by ``onward.core.bodies``.
        recipients: in the referral's order.
        above: for a transfer, the referral above it whose consent binds it.
    """
    expire_ms = timestamp_ms(referral.expire_time)
    members = [member.proto for member in recipients]
    for consent_ms in sorted(_ends(referral, above)):
        if consent_ms >= expire_ms:
            break
        after = to_datetime(consent_ms + 1)
        if policy.refusal(publisher.proto, referral, members, after, above):
            return consent_ms
    return expire_ms


def _ends(*referrals: statement_pb2.Referral | None) -> Iterator[int]:
    """Yields when the consents of some referrals end that are given for a time."""
    for referral in referrals:
        if referral and referral.consent.HasField("expire_time"):
            yield _first_ms(referral.consent.expire_time)


def _first_ms(end: Timestamp) -> int:
    """Returns the first whole millisecond that is not before a time."""
    return timestamp_ms(end) + (end.nanos % _MS > 0)
