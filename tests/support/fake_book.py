"""The book, the alerts and the looks of a fake exchange."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import grpc

from onward.v1 import (
    alert_pb2,
    alert_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    intake_pb2,
    intake_pb2_grpc,
    referral_pb2,
)
from onward.v1.error_pb2 import ERROR_REASON_INTAKE_NUMBER_UNEXPECTED
from tests.support.chain_builder import Logged
from tests.support.fake_exchange import FakeExchange, to_proto


def add_book(exchange: FakeExchange, server: grpc.aio.Server) -> None:
    """Adds the services to a server."""
    book = FakeBook(exchange)  # type: ignore[abstract]
    intake_pb2_grpc.add_IntakeServiceServicer_to_server(book, server)
    alert_pb2_grpc.add_AlertServiceServicer_to_server(book, server)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(book, server)


@dataclass
class FakeBook(
    intake_pb2_grpc.IntakeServiceServicer,
    alert_pb2_grpc.AlertServiceServicer,
    audit_pb2_grpc.AuditServiceServicer,
):
    """Honest by itself; the exchange's ``tamper`` changes its answers."""

    exchange: FakeExchange

    async def RegisterIntakes(self, request: Any, context: Any) -> Any:
        results = [self._register(item.intake) for item in request.requests]
        return intake_pb2.RegisterIntakesResponse(results=results)

    async def DecideIntake(self, request: Any, context: Any) -> Any:
        logged = self.exchange.builder.append(self.exchange.signed(request.statement))
        return intake_pb2.DecideIntakeResponse(statement=to_proto(logged))

    async def GetBook(self, request: Any, context: Any) -> Any:
        intakes = self._intakes()
        code = request.jurisdiction
        places = [item.statement.message.intake.jurisdiction.code for item in intakes]
        return intake_pb2.GetBookResponse(
            last_number=len(intakes),
            last_digest=intakes[-1].digest if intakes else b"",
            last_number_in_jurisdiction=places.count(code),
        )

    async def GetIntake(self, request: Any, context: Any) -> Any:
        found = self._intakes()[request.number - 1 : request.number]
        view = intake_pb2.IntakeView(
            number=request.number, statements=map(to_proto, found)
        )
        return intake_pb2.GetIntakeResponse(intake=view)

    async def WatchAlerts(
        self, request: Any, context: Any
    ) -> AsyncGenerator[Any, None]:
        for item in self.exchange.builder.log[int(request.resume_token or 0) :]:
            if item.statement.body_kind in {"warning", "breach"}:
                yield alert_pb2.WatchAlertsResponse(
                    alert=to_proto(item), resume_token=str(item.index + 1)
                )

    async def ListAuditAccess(self, request: Any, context: Any) -> Any:
        looks = [
            to_proto(item)
            for item in reversed(self.exchange.builder.log)
            if item.statement.body_kind == "audit_access"
        ]
        return audit_pb2.ListAuditAccessResponse(accesses=looks)

    def _register(self, jws: str) -> Any:
        statement = self.exchange.signed(jws)
        known = [item for item in self._intakes() if item.statement.jws == jws]
        if not known and statement.message.intake.number != len(self._intakes()) + 1:
            error = referral_pb2.ItemError(
                code=grpc.StatusCode.FAILED_PRECONDITION.value[0],
                reason=ERROR_REASON_INTAKE_NUMBER_UNEXPECTED,
                message="the number is not the next one",
            )
            return intake_pb2.RegisterIntakeResult(error=error)
        logged = known[0] if known else self.exchange.builder.append(statement)
        response = intake_pb2.RegisterIntakeResponse(intake=to_proto(logged))
        return intake_pb2.RegisterIntakeResult(response=response)

    def _intakes(self) -> list[Logged]:
        log = self.exchange.builder.log
        return [item for item in log if item.statement.body_kind == "intake"]
