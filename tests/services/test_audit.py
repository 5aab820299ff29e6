"""Auditing over the wire: whole exports, who is refused, and no content for anybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory

from onward.core.merkle import leaf_hash
from onward.core.statements import parse_statement, statement_digest
from onward.core.tree import Tree
from onward.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    custody_pb2,
    custody_pb2_grpc,
    log_pb2,
    log_pb2_grpc,
    statement_pb2,
    vocabulary_pb2,
)
from onward_server.exchange.draft import Draft
from onward_server.services import access
from onward_server.storage.contract import Needs
from tests.services.test_access import call_of, method_of
from tests.support.service import OPERATOR, Service, first, refused
from tests.support.world import (
    AUDITOR,
    HOTLINE,
    NEVADA,
    STATE_POLICE,
    TRUST_DOMAIN,
    Party,
)

WHOLE_AUDITOR = f"spiffe://{TRUST_DOMAIN}/auditor/whole"
MESSAGE_LIMIT = 4 * 1024 * 1024
"""What a gRPC client takes unless it was told otherwise."""


@dataclass(slots=True)
class LongStatements:
    """A change that logs statements of nearly the largest size, for Ohio's auditors."""

    number: int
    needs: Needs = field(default_factory=Needs)

    def plan(self, draft: Draft) -> Sequence[int]:
        """Logs them."""
        long = statement_pb2.AuditAccess(method="x" * 48_000)
        return [
            draft.log(draft.say(audit_access=long), places=("US-OH",))
            for _ in range(self.number)
        ]


@pytest.fixture
async def audited(service: Service) -> Service:
    """A running exchange with an auditor of the whole log."""
    await service.world.join(
        Party(
            WHOLE_AUDITOR,
            vocabulary_pb2.MEMBER_KIND_AUDITOR,
            ("*",),
            (vocabulary_pb2.ROLE_AUDITOR,),
        )
    )
    return service


def audits(service: Service, who: str) -> audit_pb2_grpc.AuditServiceStub:
    """Returns the service of auditors."""
    return audit_pb2_grpc.AuditServiceStub(service.channel(who))


def ask(first_index: int = 0) -> audit_pb2.ExportStatementsRequest:
    """Returns the request of an export."""
    return audit_pb2.ExportStatementsRequest(first_index=first_index)


async def publish(service: Service, content: bytes = b"a tip") -> str:
    """Publishes a referral to the state police; returns its id."""
    request = service.publish_request(content=content)
    await service.referrals(HOTLINE).Publish(request)
    return parse_statement(request.referral).message.id


async def test_an_export_proves_itself_from_what_the_log_gives_to_everybody(
    audited: Service,
) -> None:
    for _ in range(3):
        await publish(audited)
    messages = [m async for m in audits(audited, WHOLE_AUDITOR).ExportStatements(ask())]
    header = messages[0].header
    shown = [one for m in messages[1:] for one in m.statements.statements]
    audited.verify(header.access)
    access = parse_statement(header.access.statement).message.audit_access
    _, size, _, *_ = header.checkpoint.splitlines()
    entries = await _entries(audited, int(size))
    for one in shown:
        assert entries[one.log_index] == statement_digest(one.statement)
    root = Tree().extend([leaf_hash(statement_digest(o.statement)) for o in shown]).root
    assert (len(shown), root) == (access.statement_count, access.statements_root)
    assert len(shown) == access.log_size
    assert statement_digest(header.access.statement) in entries[access.log_size :]
    (figure,) = header.deliveries
    assert (figure.recipient, figure.count) == (STATE_POLICE, 3)
    assert figure.urgency == vocabulary_pb2.URGENCY_ROUTINE
    assert figure.state == vocabulary_pb2.DELIVERY_STATE_ACCEPTED


async def _entries(service: Service, size: int) -> list[bytes]:
    """Returns the digests of all entries up to a size, as any member gets them."""
    stub = log_pb2_grpc.LogServiceStub(service.channel(HOTLINE))
    answer = await stub.ListEntries(log_pb2.ListEntriesRequest(page_size=1000))
    return list(answer.digests[:size])


async def test_the_longest_statements_fit_the_messages_of_any_client(
    audited: Service,
) -> None:
    await audited.world.ledger.apply(LongStatements(150))
    messages = [m async for m in audits(audited, AUDITOR).ExportStatements(ask())]
    long = [
        one
        for message in messages[1:]
        for one in message.statements.statements
        if len(one.statement) > 48_000
    ]
    assert len(long) == 150
    assert max(message.ByteSize() for message in messages) < MESSAGE_LIMIT


async def test_a_suspended_auditor_is_cut_within_the_stream(audited: Service) -> None:
    await audited.world.ledger.apply(LongStatements(500))
    call = audits(audited, AUDITOR).ExportStatements(ask())
    assert (await first(call)).HasField("header")
    await audited.suspend(AUDITOR)
    answer = await refused(_drained(call))
    assert answer.reason == "MEMBER_SUSPENDED"


async def test_an_auditor_reads_the_whole_log_only_so_often_at_the_same_time(
    audited: Service,
) -> None:
    await audited.world.ledger.apply(LongStatements(500))
    calls = [audits(audited, AUDITOR).ExportStatements(ask()) for _ in range(2)]
    for call in calls:
        assert (await first(call)).HasField("header")
    answer = await refused(_drained(audits(audited, AUDITOR).ExportStatements(ask())))
    assert answer.reason == "QUOTA_EXCEEDED"
    other = audits(audited, WHOLE_AUDITOR).ExportStatements(ask())
    assert (await first(other)).HasField("header")


async def test_an_exchange_that_shuts_down_ends_an_export(audited: Service) -> None:
    await audited.world.ledger.apply(LongStatements(500))
    call = audits(audited, AUDITOR).ExportStatements(ask())
    assert (await first(call)).HasField("header")
    draining = asyncio.create_task(audited.app.drain(30))
    answer = await refused(_drained(call))
    assert answer.reason == "DRAINING"
    await draining


async def _drained(call: AsyncIterable[Any]) -> int:
    """Takes all messages; returns how many came."""
    return len([message async for message in call])


@pytest.mark.parametrize(
    ("index", "reason"), [(-1, "MALFORMED"), (10_000, "LOG_RANGE")]
)
async def test_an_export_begins_within_the_log(
    service: Service, index: int, reason: str
) -> None:
    call = audits(service, AUDITOR).ExportStatements(ask(index))
    answer = await refused(_drained(call))
    assert answer.reason == reason


@pytest.mark.parametrize("name", [HOTLINE, STATE_POLICE, OPERATOR])
async def test_only_auditors_export(service: Service, name: str) -> None:
    answer = await refused(_drained(audits(service, name).ExportStatements(ask())))
    assert answer.reason == "ROLE_REQUIRED"


async def test_members_page_through_the_looks_that_concern_them(
    service: Service,
) -> None:
    referral_id = await publish(service)
    custody = custody_pb2_grpc.CustodyServiceStub(service.channel(AUDITOR))
    for _ in range(3):
        await custody.GetBundle(custody_pb2.GetBundleRequest(referral_id=referral_id))
    stub, request = audits(service, STATE_POLICE), audit_pb2.ListAuditAccessRequest()
    request.page_size, digests = 2, set()
    while True:
        page = await stub.ListAuditAccess(request)
        for look in page.accesses:
            service.verify(look)
            said = parse_statement(look.statement).message.audit_access
            assert (said.auditor, list(said.referral_ids)) == (AUDITOR, [referral_id])
            digests.add(statement_digest(look.statement))
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert len(digests) == 3
    nobody = await audits(service, NEVADA).ListAuditAccess(
        audit_pb2.ListAuditAccessRequest()
    )
    assert list(nobody.accesses) == []
    request.page_token = "AAAA"
    assert (await refused(stub.ListAuditAccess(request))).reason == "MALFORMED"


async def test_no_call_gives_an_auditor_content(audited: Service) -> None:
    request = audited.publish_request(content=b"the motel by the river")
    await audited.referrals(HOTLINE).Publish(request)
    sealed, statement = request.sealed_content, parse_statement(request.referral)
    facts = {
        "referral_id": statement.message.id,
        "digest": statement.message.referral.content_digest,
        "max_outstanding": 16,
        "hotline": HOTLINE,
        "name": HOTLINE,
    }
    answered = set()
    for path in SERVED:
        said = await _all_said(audited.channel(WHOLE_AUDITOR), path, facts)
        assert not any(piece in said for piece in _pieces(sealed)), path
        answered |= {path.rpartition("/")[2]} if said else set()
    assert answered >= {"GetBundle", "ListChains", "ExportStatements", "ListEntries"}
    assert not answered & set(_METHODS_WITH_CONTENT)
    # The same calls do give it to the recipient, so they were asked in the right way.
    police = audited.channel(STATE_POLICE)
    said = await _all_said(police, "onward.v1.ReferralService/GetContent", facts)
    assert all(piece in said for piece in _pieces(sealed))


SERVED = [
    path.removeprefix("/") for path in access.RULES if path.startswith("/onward.v1.")
]
_METHODS_WITH_CONTENT = ("Receive", "GetContent", "GetReferral", "ListReferrals")


def _pieces(sealed: bytes) -> list[bytes]:
    """Returns pieces of sealed content, any of which would be a leak."""
    return [sealed[start : start + 64] for start in range(0, len(sealed) - 64, 64)]


async def _all_said(
    channel: grpc.aio.Channel, path: str, facts: Mapping[str, object]
) -> bytes:
    """Calls any method, and returns all bytes that it answers within a moment."""
    method = method_of(path)
    pool = message_factory.GetMessageClass(method.input_type)
    named = {field.name for field in method.input_type.fields}
    message = pool(**{name: facts[name] for name in named & facts.keys()})
    raw, said = message.SerializeToString(), b""
    call = call_of(channel, method, path)(
        iter([raw]) if method.client_streaming else raw
    )
    try:
        async with asyncio.timeout(2):
            if not method.server_streaming:
                return bytes(await call)
            async for answer in call:
                said += answer
    except (grpc.aio.AioRpcError, TimeoutError):
        pass
    return said
