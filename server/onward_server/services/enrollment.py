"""Becoming a member; served on a port of its own."""

from __future__ import annotations

from onward.v1 import enrollment_pb2, enrollment_pb2_grpc
from onward_server.exchange.enrolment import Enrolment
from onward_server.services import convert
from onward_server.services.interceptor import Context


class EnrollmentService(enrollment_pb2_grpc.EnrollmentServiceServicer):
    """See ``proto/onward/v1/enrollment.proto``."""

    def __init__(self, enrolment: Enrolment) -> None:
        self._enrolment = enrolment

    async def StartEnrollment(
        self, request: enrollment_pb2.StartEnrollmentRequest, context: Context
    ) -> enrollment_pb2.StartEnrollmentResponse:
        """Returns what to prove."""
        challenges = await self._enrolment.start(
            request.token, request.csr, request.offer
        )
        return enrollment_pb2.StartEnrollmentResponse(challenges=challenges)

    async def CompleteEnrollment(
        self, request: enrollment_pb2.CompleteEnrollmentRequest, context: Context
    ) -> enrollment_pb2.CompleteEnrollmentResponse:
        """Enrols a member that has proven what it must."""
        enrolled = await self._enrolment.complete(
            request.token, request.csr, request.offer, request.possessions
        )
        return enrollment_pb2.CompleteEnrollmentResponse(
            certificate_chain=enrolled.certificate_chain,
            server_ca=enrolled.server_ca,
            change=convert.to_logged_statement(enrolled.change),
            trust=enrolled.trust,
        )
