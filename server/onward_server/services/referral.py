"""Passing referrals on: the service of publishers and recipients."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

import structlog

from onward.core.errors import MalformedError, OnwardError
from onward.core.statements import parse_statement
from onward.v1 import referral_pb2, referral_pb2_grpc
from onward_server.exchange.delivering import Delivering
from onward_server.exchange.erasing import Erasing
from onward_server.exchange.limits import Limits
from onward_server.exchange.publishing import Publishing, Sending
from onward_server.exchange.records import Records
from onward_server.exchange.submission import Submission
from onward_server.exchange.watching import Watching
from onward_server.services import calls, convert, errors
from onward_server.services.interceptor import Context
from onward_server.services.paging import Pages, page_size
from onward_server.services.shapes import check_digest, check_items

_DEFAULT_OUTSTANDING = 16
_MAX_OUTSTANDING = 1000
_DEFAULT_PAGE = 100
_MAX_PAGE = 500
_SIDES = frozenset(
    {referral_pb2.REFERRAL_SIDE_PUBLISHED, referral_pb2.REFERRAL_SIDE_RECEIVED}
)
_NEWEST = 2**62
"""A log index that no entry has: lists that go backwards begin before it."""

T = TypeVar("T")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReferralDomain:
    """The parts of the domain that this service speaks for."""

    publishing: Publishing
    submission: Submission
    delivering: Delivering
    watching: Watching
    records: Records
    erasing: Erasing
    limits: Limits


class ReferralService(referral_pb2_grpc.ReferralServiceServicer):
    """See ``proto/onward/v1/referral.proto``."""

    def __init__(self, domain: ReferralDomain) -> None:
        self._domain = domain

    async def Publish(
        self, request: referral_pb2.PublishRequest, context: Context
    ) -> referral_pb2.PublishResponse:
        """Publishes one referral."""
        published = await self._domain.publishing.publish(
            calls.caller(), _sending(request)
        )
        return convert.to_publish_response(published)

    async def PublishBatch(
        self, request: referral_pb2.PublishBatchRequest, context: Context
    ) -> referral_pb2.PublishBatchResponse:
        """Publishes many, each for itself."""
        check_items(request.requests, self._domain.limits.batch_items)
        results = await asyncio.gather(
            *(_settled(self.Publish(item, context)) for item in request.requests)
        )
        return referral_pb2.PublishBatchResponse(
            results=[
                referral_pb2.PublishResult(error=errors.item_error(result))
                if isinstance(result, OnwardError)
                else referral_pb2.PublishResult(response=result)
                for result in results
            ]
        )

    async def PutContent(
        self,
        request_iterator: AsyncIterator[referral_pb2.PutContentRequest],
        context: Context,
    ) -> referral_pb2.PutContentResponse:
        """Keeps content that a referral will name."""
        first = await anext(request_iterator, referral_pb2.PutContentRequest())
        if first.WhichOneof("part") != "header":
            raise MalformedError("the first message is the header", field="header")
        header = first.header
        check_digest(header.content_digest, "header.content_digest")
        if header.content_size < 1:
            raise MalformedError("the size is positive", field="header.content_size")
        await self._domain.publishing.put_content(
            calls.caller(),
            header.content_digest,
            header.content_size,
            _chunks(request_iterator),
        )
        return referral_pb2.PutContentResponse()

    async def Receive(
        self, request: referral_pb2.ReceiveRequest, context: Context
    ) -> AsyncGenerator[referral_pb2.ReceiveResponse, None]:
        """Streams deliveries."""
        places = request.max_outstanding or _DEFAULT_OUTSTANDING
        if not 1 <= places <= _MAX_OUTSTANDING:
            raise MalformedError(
                f"max_outstanding is 1 to {_MAX_OUTSTANDING}", field="max_outstanding"
            )
        call = calls.current()
        events = self._domain.delivering.receive(calls.caller(), places, call.recheck)
        async with aclosing(events):
            async for event in events:
                yield convert.to_receive_response(event)

    async def GetContent(
        self, request: referral_pb2.GetContentRequest, context: Context
    ) -> AsyncGenerator[referral_pb2.GetContentResponse, None]:
        """Streams the content of one delivery."""
        parts = self._domain.delivering.content(calls.caller(), request.referral_id)
        async with aclosing(parts):
            async for part in parts:
                yield convert.to_content_response(part)

    async def SubmitStatement(
        self, request: referral_pb2.SubmitStatementRequest, context: Context
    ) -> referral_pb2.SubmitStatementResponse:
        """Logs a statement about a referral."""
        child = _sending(request.child) if request.HasField("child") else None
        submitted = await self._domain.submission.submit(
            calls.caller(), request.statement, child
        )
        return convert.to_submit_response(submitted)

    async def SubmitStatements(
        self, request: referral_pb2.SubmitStatementsRequest, context: Context
    ) -> referral_pb2.SubmitStatementsResponse:
        """Logs many statements: those of one chain one after the other."""
        check_items(request.requests, self._domain.limits.batch_items)
        results: list[referral_pb2.SubmitStatementResult] = [
            referral_pb2.SubmitStatementResult() for _ in request.requests
        ]

        async def submit_in_order(places: Sequence[int]) -> None:
            for place in places:
                result = await _settled(
                    self.SubmitStatement(request.requests[place], context)
                )
                if isinstance(result, OnwardError):
                    results[place].error.CopyFrom(errors.item_error(result))
                else:
                    results[place].response.CopyFrom(result)

        await asyncio.gather(*map(submit_in_order, _by_chain(request.requests)))
        return referral_pb2.SubmitStatementsResponse(results=results)

    async def WatchOwn(
        self, request: referral_pb2.WatchOwnRequest, context: Context
    ) -> AsyncGenerator[referral_pb2.WatchOwnResponse, None]:
        """Streams news of the caller's own referrals."""
        call, caller = calls.current(), calls.caller()
        pages = Pages("WatchOwn", caller.name, "resume_token")
        # Tokens count from 0, which is before the first entry.
        after = pages.number(request.resume_token, 0) - 1
        news = self._domain.watching.watch(caller, after, call.recheck)
        async with aclosing(news):
            async for event, index in news:
                yield convert.to_watch_response(event, pages.token(index + 1))

    async def GetReferral(
        self, request: referral_pb2.GetReferralRequest, context: Context
    ) -> referral_pb2.GetReferralResponse:
        """Returns one referral."""
        record = await self._domain.records.get(calls.caller(), request.referral_id)
        return referral_pb2.GetReferralResponse(
            referral=convert.to_referral_view(record)
        )

    async def ListReferrals(
        self, request: referral_pb2.ListReferralsRequest, context: Context
    ) -> referral_pb2.ListReferralsResponse:
        """Lists referrals, newest first."""
        if request.side not in _SIDES:
            raise MalformedError("side is PUBLISHED or RECEIVED", field="side")
        caller = calls.caller()
        size = page_size(request.page_size, _DEFAULT_PAGE, _MAX_PAGE)
        pages = Pages(f"ListReferrals {request.side}", caller.name)
        before = pages.number(request.page_token, _NEWEST)
        found = await self._domain.records.page(caller, request.side, before, size + 1)
        shown, more = found[:size], found[size:]
        return referral_pb2.ListReferralsResponse(
            referrals=map(convert.to_referral_view, shown),
            next_page_token=pages.token(shown[-1].row.log_index) if more else "",
        )

    async def EraseContent(
        self, request: referral_pb2.EraseContentRequest, context: Context
    ) -> referral_pb2.EraseContentResponse:
        """Erases the content of a referral."""
        erasure = await self._domain.erasing.by_publisher(
            calls.caller(), request.referral_id
        )
        return referral_pb2.EraseContentResponse(
            erasure=convert.to_logged_statement(erasure)
        )


def _sending(request: referral_pb2.PublishRequest) -> Sending:
    """Returns a referral as it came in."""
    traceparent = calls.current().observation.traceparent
    return Sending(request.referral, request.sealed_content, traceparent)


async def _chunks(
    requests: AsyncIterator[referral_pb2.PutContentRequest],
) -> AsyncIterator[bytes]:
    """Yields the bytes of an upload."""
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise MalformedError("after the header come chunks only", field="chunk")
        yield request.chunk


async def _settled(work: Awaitable[T]) -> T | OnwardError:
    """Returns what came of one item, also when it is an error."""
    try:
        return await work
    except OnwardError as error:
        return error
    except Exception:  # noqa: BLE001 - as the interceptor does for a whole call
        call = calls.current()
        _log.exception(
            "rpc.item_failed",
            method=call.method,
            correlation_id=call.observation.correlation_id,
        )
        return errors.InternalError()


def _by_chain(
    requests: Sequence[referral_pb2.SubmitStatementRequest],
) -> list[list[int]]:
    """Returns the places of the items, those about one referral together.

    The order matters within a chain: a person acknowledges what a machine received.
    """
    places: dict[object, list[int]] = defaultdict(list)
    for place, request in enumerate(requests):
        try:
            chain: object = parse_statement(request.statement).message.referral_id
        except OnwardError:
            chain = place
        places[chain].append(place)
    return list(places.values())
