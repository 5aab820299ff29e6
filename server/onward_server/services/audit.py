"""Looking from outside, and who looked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from onward.core.errors import MalformedError
from onward.v1 import audit_pb2, audit_pb2_grpc
from onward_server.exchange.auditing import Auditing
from onward_server.services import calls, convert
from onward_server.services.interceptor import Context
from onward_server.services.paging import Pages, page_size

_DEFAULT_PAGE = 100
_MAX_PAGE = 500
_NEWEST = 2**62


class AuditService(audit_pb2_grpc.AuditServiceServicer):
    """See ``proto/onward/v1/audit.proto``."""

    def __init__(self, auditing: Auditing) -> None:
        self._auditing = auditing

    async def ExportStatements(
        self, request: audit_pb2.ExportStatementsRequest, context: Context
    ) -> AsyncGenerator[audit_pb2.ExportStatementsResponse, None]:
        """Streams what an auditor may see."""
        if request.first_index < 0:
            raise MalformedError("indexes begin with 0", field="first_index")
        parts = self._auditing.export(
            calls.caller(), request.first_index, calls.current().recheck
        )
        async with aclosing(parts):
            async for part in parts:
                yield convert.to_export_response(part)

    async def ListAuditAccess(
        self, request: audit_pb2.ListAuditAccessRequest, context: Context
    ) -> audit_pb2.ListAuditAccessResponse:
        """Lists the looks that concern the caller, newest first."""
        caller = calls.caller()
        size = page_size(request.page_size, _DEFAULT_PAGE, _MAX_PAGE)
        pages = Pages("ListAuditAccess", caller.name)
        before = pages.number(request.page_token, _NEWEST)
        found = await self._auditing.accesses(caller, before, size + 1)
        shown, more = found[:size], found[size:]
        return audit_pb2.ListAuditAccessResponse(
            accesses=convert.to_logged_statements(shown),
            next_page_token=pages.token(shown[-1].log_index) if more else "",
        )
