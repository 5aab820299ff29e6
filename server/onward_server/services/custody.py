"""Proof for people outside."""

from __future__ import annotations

from onward.v1 import custody_pb2, custody_pb2_grpc
from onward_server.exchange.records import Records
from onward_server.services import calls
from onward_server.services.interceptor import Context
from onward_server.services.paging import Pages, page_size

_DEFAULT_PAGE = 100
_MAX_PAGE = 500


class CustodyService(custody_pb2_grpc.CustodyServiceServicer):
    """See ``proto/onward/v1/custody.proto``."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def GetBundle(
        self, request: custody_pb2.GetBundleRequest, context: Context
    ) -> custody_pb2.GetBundleResponse:
        """Returns the bundle of a referral."""
        bundle = await self._records.bundle(calls.caller(), request.referral_id)
        return custody_pb2.GetBundleResponse(bundle=bundle)

    async def ListChains(
        self, request: custody_pb2.ListChainsRequest, context: Context
    ) -> custody_pb2.ListChainsResponse:
        """Lists the referrals of an auditor's jurisdictions."""
        caller = calls.caller()
        size = page_size(request.page_size, _DEFAULT_PAGE, _MAX_PAGE)
        pages = Pages("ListChains", caller.name)
        after = pages.number(request.page_token, -1)
        ids, more = await self._records.chains(caller, after, size)
        return custody_pb2.ListChainsResponse(
            referral_ids=ids, next_page_token=pages.token(more) if more >= 0 else ""
        )
