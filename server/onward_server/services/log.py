"""The exchange's log and its proofs."""

from __future__ import annotations

from onward.core.errors import MalformedError
from onward.v1 import log_pb2, log_pb2_grpc
from onward_server.exchange.log_reader import LogReader
from onward_server.services import calls
from onward_server.services.interceptor import Context
from onward_server.services.paging import Pages, page_size
from onward_server.services.shapes import check_digest

_DEFAULT_PAGE = 256
_MAX_PAGE = 1000
_DEFAULT_VOUCHERS = 100
_MAX_VOUCHERS = 250
_MAX_SIZE = 2**62


class LogService(log_pb2_grpc.LogServiceServicer):
    """See ``proto/onward/v1/log.proto``."""

    def __init__(self, log: LogReader) -> None:
        self._log = log

    async def GetCheckpoint(
        self, request: log_pb2.GetCheckpointRequest, context: Context
    ) -> log_pb2.GetCheckpointResponse:
        """Returns the newest checkpoint."""
        return log_pb2.GetCheckpointResponse(
            checkpoint=self._log.checkpoint(), witnessed=self._log.witnessed()
        )

    async def GetReceipt(
        self, request: log_pb2.GetReceiptRequest, context: Context
    ) -> log_pb2.GetReceiptResponse:
        """Returns a receipt for an entry."""
        check_digest(request.digest, "digest")
        if request.HasField("wait"):
            seconds = request.wait.ToNanoseconds() / 1e9
            receipt = await self._log.witnessed_receipt(request.digest, seconds)
        else:
            receipt = await self._log.receipt(request.digest)
        return log_pb2.GetReceiptResponse(receipt=receipt)

    async def GetConsistencyProof(
        self, request: log_pb2.GetConsistencyProofRequest, context: Context
    ) -> log_pb2.GetConsistencyProofResponse:
        """Returns the proof that one tree began another."""
        path = await self._log.consistency(request.first_size, request.second_size)
        return log_pb2.GetConsistencyProofResponse(path=path)

    async def ListEntries(
        self, request: log_pb2.ListEntriesRequest, context: Context
    ) -> log_pb2.ListEntriesResponse:
        """Returns entries by their index."""
        if request.first_index < 0:
            raise MalformedError("indexes begin with 0", field="first_index")
        size = page_size(request.page_size, _DEFAULT_PAGE, _MAX_PAGE)
        digests = await self._log.entries(request.first_index, size)
        return log_pb2.ListEntriesResponse(digests=digests)

    async def ListVouchers(
        self, request: log_pb2.ListVouchersRequest, context: Context
    ) -> log_pb2.ListVouchersResponse:
        """Lists the checkpoints that others vouch for."""
        spacing = request.spacing.ToMilliseconds()
        if not 0 <= request.first_size < _MAX_SIZE:
            raise MalformedError("sizes begin with 0", field="first_size")
        if spacing < 0:
            raise MalformedError("no length of time is negative", field="spacing")
        of = f"ListVouchers {request.first_size} {spacing}"
        pages = Pages(of, calls.caller().name)
        first = pages.number(request.page_token, request.first_size)
        size = page_size(request.page_size, _DEFAULT_VOUCHERS, _MAX_VOUCHERS)
        page = await self._log.vouchers(first, spacing, size)
        return log_pb2.ListVouchersResponse(
            checkpoints=[
                log_pb2.VouchedCheckpoint(checkpoint=item.note, timestamps=item.tokens)
                for item in page.vouchers
            ],
            next_page_token=pages.token(page.next_size) if page.next_size else "",
        )
