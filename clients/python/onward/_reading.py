"""Lists and news: what the exchange has, page by page or as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, TypeVar

import grpc

from onward._channel import trace_metadata
from onward._session import Session
from onward._values import Logged, Watched
from onward.core.errors import Reason, VerificationError
from onward.v1 import audit_pb2, custody_pb2, directory_pb2, referral_pb2
from onward.v1.audit_pb2_grpc import AuditServiceStub
from onward.v1.custody_pb2_grpc import CustodyServiceStub
from onward.v1.directory_pb2_grpc import DirectoryServiceStub


async def watch_own(
    session: Session, resume_token: str
) -> AsyncGenerator[Watched, None]:
    """Yields statements about own referrals; see ``Client.watch_own``."""
    token = resume_token

    def open_stream() -> grpc.aio.UnaryStreamCall[
        referral_pb2.WatchOwnRequest, referral_pb2.WatchOwnResponse
    ]:
        request = referral_pb2.WatchOwnRequest(resume_token=token)
        return session.referrals.WatchOwn(request, metadata=trace_metadata())

    async with aclosing(session.caller.reopened(open_stream)) as responses:
        async for response in responses:
            if response.WhichOneof("event") == "heartbeat":
                await session.log.observe(response.heartbeat.checkpoint)
            elif response.HasField("statement"):
                logged = await session.verify_known(response.statement)
                if logged:
                    # What is said about an intake is kept when it is decided.
                    if logged.message.referral_id:
                        await session.keep(logged.message.referral_id, logged)
                    yield Watched(logged, response.resume_token)
            token = response.resume_token or token


async def list_referrals(
    session: Session, side: referral_pb2.ReferralSide.ValueType
) -> AsyncGenerator[referral_pb2.ReferralView, None]:
    """Yields the referrals of one side; see ``Client.list_referrals``."""
    request = referral_pb2.ListReferralsRequest(side=side)
    async for page in pages(session, session.referrals.ListReferrals, request):
        for referral in page.referrals:
            yield referral


async def list_members(session: Session) -> AsyncGenerator[directory_pb2.Member, None]:
    """Yields the present directory; see ``Client.members``."""
    method = DirectoryServiceStub(session.channel).ListMembers
    async for page in pages(session, method, directory_pb2.ListMembersRequest()):
        for member in page.members:
            yield member


async def list_chains(session: Session) -> AsyncGenerator[str, None]:
    """Yields the ids of an auditor's referrals; see ``Client.list_chains``."""
    method = CustodyServiceStub(session.channel).ListChains
    async for page in pages(session, method, custody_pb2.ListChainsRequest()):
        for referral_id in page.referral_ids:
            yield referral_id


async def list_looks(session: Session) -> AsyncGenerator[Logged, None]:
    """Yields who looked at what concerns us; see ``Client.looks``."""
    method = AuditServiceStub(session.channel).ListAuditAccess
    async for page in pages(session, method, audit_pb2.ListAuditAccessRequest()):
        for look in await session.verify_all(page.accesses):
            if (look.kind, look.issuer) != ("audit_access", session.exchange):
                raise VerificationError(
                    Reason.ERROR_REASON_ISSUER_MISMATCH,
                    "what the exchange sent is not its record of an auditor's look",
                )
            yield look


class _PageRequest(Protocol):
    page_token: str


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


_RequestT = TypeVar("_RequestT", bound=_PageRequest)
_PageT = TypeVar("_PageT", bound=_Page)


async def pages(
    session: Session,
    method: grpc.aio.UnaryUnaryMultiCallable[_RequestT, _PageT],
    request: _RequestT,
) -> AsyncGenerator[_PageT, None]:
    """Yields all pages of a list (AIP-158)."""
    while True:
        page = await session.call(method, request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
