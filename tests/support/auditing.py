"""Auditors of a state, of the nation and of the whole log, and what they are shown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from onward.core.statements import parse_statement, statement_digest
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.auditing import Excerpt, ExportHeader
from tests.support.world import TRUST_DOMAIN, Party, World

WHOLE_AUDITOR = f"spiffe://{TRUST_DOMAIN}/auditor/whole"
NATION_AUDITOR = f"spiffe://{TRUST_DOMAIN}/auditor/nation"
NEVADA_AUDITOR = f"spiffe://{TRUST_DOMAIN}/auditor/nevada"
_CODES = {WHOLE_AUDITOR: "*", NATION_AUDITOR: "US", NEVADA_AUDITOR: "US-NV"}

SHARED = frozenset({"key_change", "directory_change", "policy_change"})
"""The kinds of statements that concern everybody."""


@dataclass(frozen=True, slots=True)
class Export:
    """What one look showed."""

    header: ExportHeader
    indexes: Sequence[int]
    statements: Sequence[str]

    @property
    def access(self) -> statement_pb2.AuditAccess:
        """What the log says of it."""
        return parse_statement(self.header.access.jws).message.audit_access

    @property
    def digests(self) -> list[bytes]:
        """The digests of what was shown."""
        return list(map(statement_digest, self.statements))

    def about(self, referral_id: str) -> list[str]:
        """The kinds of the statements shown about one referral, in order."""
        parsed = [parse_statement(jws) for jws in self.statements]
        return [s.body_kind for s in parsed if s.message.referral_id == referral_id]


async def join_auditors(world: World) -> None:
    """Puts auditors into the directory, of Nevada, of the nation and of everything."""
    kind, roles = vocabulary_pb2.MEMBER_KIND_AUDITOR, (vocabulary_pb2.ROLE_AUDITOR,)
    for name, code in _CODES.items():
        await world.join(Party(name, kind, (code,), roles))


def nothing() -> None:
    """Lets everybody stay."""


async def export(world: World, name: str, first_index: int = 0) -> Export:
    """Takes a whole export."""
    parts = world.auditing.export(world.caller(name), first_index, nothing)
    header = await anext(parts)
    assert isinstance(header, ExportHeader)
    rows = [row async for part in _excerpts(parts) for row in part.statements]
    return Export(header, [row.log_index for row in rows], [row.jws for row in rows])


async def looks(world: World, name: str) -> list[str]:
    """Returns the methods of the looks that concern a member, newest first."""
    found = await world.auditing.accesses(world.caller(name), 2**62, 100)
    return [parse_statement(one.jws).message.audit_access.method for one in found]


async def _excerpts(
    parts: AsyncIterator[ExportHeader | Excerpt],
) -> AsyncIterator[Excerpt]:
    """Yields what comes after the header."""
    async for part in parts:
        assert isinstance(part, Excerpt)
        yield part
