"""Who takes part, with which keys."""

from __future__ import annotations

from onward.v1 import directory_pb2, directory_pb2_grpc
from onward_server.exchange.registry import Registry
from onward_server.services import calls, convert
from onward_server.services.interceptor import Context
from onward_server.services.paging import Pages, page_size

_DEFAULT_PAGE = 100
_MAX_PAGE = 500


class DirectoryService(directory_pb2_grpc.DirectoryServiceServicer):
    """See ``proto/onward/v1/directory.proto``."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def GetMember(
        self, request: directory_pb2.GetMemberRequest, context: Context
    ) -> directory_pb2.GetMemberResponse:
        """Returns one member's history."""
        changes = await self._registry.get_member(request.name)
        return directory_pb2.GetMemberResponse(
            changes=convert.to_logged_statements(changes)
        )

    async def ListMembers(
        self, request: directory_pb2.ListMembersRequest, context: Context
    ) -> directory_pb2.ListMembersResponse:
        """Lists the present entries of all members."""
        size = page_size(request.page_size, _DEFAULT_PAGE, _MAX_PAGE)
        pages = Pages("ListMembers", calls.caller().name)
        after = pages.position(request.page_token) if request.page_token else ""
        members = self._registry.list_members(after, size + 1)
        shown, more = members[:size], members[size:]
        return directory_pb2.ListMembersResponse(
            members=shown, next_page_token=pages.token(shown[-1].name) if more else ""
        )

    async def GetExchangeKeys(
        self, request: directory_pb2.GetExchangeKeysRequest, context: Context
    ) -> directory_pb2.GetExchangeKeysResponse:
        """Returns the key changes of the exchange itself."""
        changes = await self._registry.exchange_keys()
        return directory_pb2.GetExchangeKeysResponse(
            changes=convert.to_logged_statements(changes)
        )

    async def RotateKeys(
        self, request: directory_pb2.RotateKeysRequest, context: Context
    ) -> directory_pb2.RotateKeysResponse:
        """Replaces keys of the caller, in two calls."""
        rotation = await self._registry.rotate_keys(
            calls.caller(), request.offer, request.possessions
        )
        change = rotation.change
        return directory_pb2.RotateKeysResponse(
            challenges=rotation.challenges,
            change=convert.to_logged_statement(change) if change else None,
        )

    async def RenewCertificate(
        self, request: directory_pb2.RenewCertificateRequest, context: Context
    ) -> directory_pb2.RenewCertificateResponse:
        """Issues a new certificate to the caller."""
        chain = self._registry.renew_certificate(calls.caller(), request.csr)
        return directory_pb2.RenewCertificateResponse(certificate_chain=chain)
