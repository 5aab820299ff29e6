"""What the exchange says to this member, and of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from onward._clock import Clock
from onward.cli._connection import connected
from onward.cli._doctor_home import EXPIRES_SOON
from onward.cli._errors import told
from onward.cli._findings import Finding, fine, problem, warning
from onward.cli._messages import word_of
from onward.client import Client
from onward.core.directory import MemberEntry
from onward.core.errors import OnwardError, Reason
from onward.core.identity import IdentityKind, SpiffeId
from onward.home import Home
from onward.v1 import vocabulary_pb2

REMEDIES: Final[Mapping[int, str]] = MappingProxyType(
    {
        Reason.ERROR_REASON_NOT_A_MEMBER: "ask the operator to add this member again",
        Reason.ERROR_REASON_MEMBER_SUSPENDED: "ask the operator why, and to reinstate "
        "this member",
        Reason.ERROR_REASON_CERTIFICATE_REVOKED: "ask the operator for a new enrolment "
        "token",
        Reason.ERROR_REASON_TLS_VERSION: "something between here and the exchange "
        "ends TLS; ask for a way without it",
        Reason.ERROR_REASON_LOG_FORKED: "keep the evidence file, and give it to an "
        "auditor",
        Reason.ERROR_REASON_QUOTA_EXCEEDED: "wait; if it stays so, another program is "
        "using this home",
        Reason.ERROR_REASON_DRAINING: "the exchange is being restarted: look again",
    }
)
"""What to do about what the exchange refuses."""

_LOOK_AGAIN: Final = "look again later; if it stays so, tell the operator"


def check_exchange(home: Home, clock: Clock) -> Iterator[Finding]:
    """Calls the exchange as the client does."""

    async def work(client: Client) -> list[Finding]:
        able = await client.capabilities()
        found = [
            fine(
                "exchange",
                f"{able.exchange}, version {able.software_version}, serves "
                f"{', '.join(able.protocol_versions)}",
            )
        ]
        checkpoint = await client.checkpoint()
        found.append(
            fine(
                "log",
                f"{checkpoint.origin}: {checkpoint.size} entries, which continue "
                "everything seen before",
            )
        )
        entry = await client.find_member(client.member)
        found += _membership(entry)
        found += check_keys(home, entry, clock)
        return found

    try:
        yield from connected(home.path, work)
    except OnwardError as error:
        remedy = REMEDIES.get(error.reason, _LOOK_AGAIN)
        yield problem("exchange", told(error), remedy)


def _membership(entry: MemberEntry) -> Iterator[Finding]:
    status = word_of(vocabulary_pb2.MemberStatus, entry.proto.status)
    roles = [word_of(vocabulary_pb2.Role, role) for role in entry.proto.roles]
    yield fine("membership", f"{entry.name} is {status}: {', '.join(roles)}")


def check_keys(home: Home, entry: MemberEntry, clock: Clock) -> Iterator[Finding]:
    """Compares the keys in the home with those that the directory has in force."""
    now = clock()
    receives = SpiffeId.parse(entry.name).kind is IdentityKind.AGENCY
    for use, here, registered, needed in (
        ("statement key", home.statement_keys(), entry.statement_keys.keys, True),
        ("content key", home.content_keys(), entry.content_keys, receives),
    ):
        strange = [
            key_id
            for key_id, (_, validity) in registered.items()
            if key_id not in here and not validity.problem(now)
        ]
        if strange:
            yield warning(
                use,
                f"the directory has keys in force that are not in this home: "
                f"{', '.join(strange)}",
                "if no other home of this member has them, somebody planted them: ask "
                "the operator to revoke them, and tell your auditor",
            )
        ends = [
            validity.not_after
            for key_id, (_, validity) in registered.items()
            if key_id in here and not validity.problem(now)
        ]
        if ends and max(ends) - now < EXPIRES_SOON:
            detail = f"it is valid until {max(ends):%Y-%m-%d}"
            yield warning(use, detail, "run 'onward keys rotate'")
        elif ends:
            yield fine(use, f"it is in force until {max(ends):%Y-%m-%d}")
        elif needed:
            yield problem(
                use,
                "this home has none that is in force",
                "restore 'keys' from a backup, or ask the operator for a new "
                "enrolment token",
            )
