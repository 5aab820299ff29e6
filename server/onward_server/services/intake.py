"""The hotline's book."""

from __future__ import annotations

from onward.core.errors import MalformedError, OnwardError
from onward.v1 import intake_pb2, intake_pb2_grpc, vocabulary_pb2
from onward_server.exchange.deciding import Deciding
from onward_server.exchange.intakes import Intakes
from onward_server.exchange.limits import Limits
from onward_server.services import calls, convert, errors
from onward_server.services.interceptor import Context
from onward_server.services.paging import Pages, page_size
from onward_server.services.shapes import check_items

_DEFAULT_PAGE = 100
_MAX_PAGE = 500


class IntakeService(intake_pb2_grpc.IntakeServiceServicer):
    """See ``proto/onward/v1/intake.proto``."""

    def __init__(self, intakes: Intakes, deciding: Deciding, limits: Limits) -> None:
        self._intakes = intakes
        self._deciding = deciding
        self._limits = limits

    async def RegisterIntake(
        self, request: intake_pb2.RegisterIntakeRequest, context: Context
    ) -> intake_pb2.RegisterIntakeResponse:
        """Registers one tip."""
        intake = await self._intakes.register(calls.caller(), request.intake)
        return convert.to_register_intake_response(intake)

    async def RegisterIntakes(
        self, request: intake_pb2.RegisterIntakesRequest, context: Context
    ) -> intake_pb2.RegisterIntakesResponse:
        """Registers many, in their order."""
        check_items(request.requests, self._limits.batch_items)
        results = await self._intakes.register_all(
            calls.caller(), [item.intake for item in request.requests]
        )
        return intake_pb2.RegisterIntakesResponse(
            results=[
                intake_pb2.RegisterIntakeResult(error=errors.item_error(result))
                if isinstance(result, OnwardError)
                else intake_pb2.RegisterIntakeResult(
                    response=convert.to_register_intake_response(result)
                )
                for result in results
            ]
        )

    async def DecideIntake(
        self, request: intake_pb2.DecideIntakeRequest, context: Context
    ) -> intake_pb2.DecideIntakeResponse:
        """Logs what the hotline says about an intake."""
        decision = await self._deciding.decide(calls.caller(), request.statement)
        return intake_pb2.DecideIntakeResponse(
            statement=convert.to_logged_statement(decision)
        )

    async def GetBook(
        self, request: intake_pb2.GetBookRequest, context: Context
    ) -> intake_pb2.GetBookResponse:
        """Returns where the book stands."""
        book = await self._intakes.book(calls.caller(), request.jurisdiction)
        return intake_pb2.GetBookResponse(
            last_number=book.last_number,
            last_digest=book.last_digest,
            last_number_in_jurisdiction=book.last_in_jurisdiction,
        )

    async def GetIntake(
        self, request: intake_pb2.GetIntakeRequest, context: Context
    ) -> intake_pb2.GetIntakeResponse:
        """Returns one intake."""
        record = await self._intakes.get(calls.caller(), request.number)
        return intake_pb2.GetIntakeResponse(intake=convert.to_intake_view(record))

    async def ListIntakes(
        self, request: intake_pb2.ListIntakesRequest, context: Context
    ) -> intake_pb2.ListIntakesResponse:
        """Lists intakes, the oldest first."""
        if request.state not in vocabulary_pb2.IntakeState.values():
            raise MalformedError("state is one of IntakeState", field="state")
        caller = calls.caller()
        size = page_size(request.page_size, _DEFAULT_PAGE, _MAX_PAGE)
        pages = Pages(f"ListIntakes {request.state}", caller.name)
        after = pages.number(request.page_token, 0)
        found = await self._intakes.page(caller, request.state, after, size + 1)
        shown, more = found[:size], found[size:]
        return intake_pb2.ListIntakesResponse(
            intakes=map(convert.to_intake_view, shown),
            next_page_token=pages.token(shown[-1].row.number) if more else "",
        )
