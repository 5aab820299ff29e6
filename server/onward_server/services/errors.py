"""Domain errors on the wire (DESIGN.md section 16, AIP-193).

Every error has a canonical code, which follows from its class by one table, and exactly
one ``google.rpc.ErrorInfo``, whose reason is the domain's. What is not an
:class:`~onward.core.errors.OnwardError` is a defect: its text stays here, and the
caller gets the correlation id that finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from onward.core.errors import (
    ConflictError,
    ForbiddenError,
    MalformedError,
    OnwardError,
    QuotaError,
    RangeError,
    Reason,
    StateError,
    UnauthenticatedError,
    UnavailableError,
    UnknownError,
    VerificationError,
)
from onward.v1 import log_pb2, referral_pb2
from onward_server.exchange.deciding import WithholdingForbiddenError
from onward_server.exchange.publishing import DisclosureForbiddenError
from onward_server.services.convert import to_logged_statement

DOMAIN = "onward.v1"
CORRELATION_KEY = "onward-correlation-id"
"""Trailing metadata of every refused call."""

STATUS_KEY = "grpc-status-details-bin"
"""Trailing metadata with the ``google.rpc.Status`` (the gRPC richer error model)."""


_MAX_MESSAGE = 1000
_MAX_METADATA = 200
"""Characters: a message may repeat what the caller sent, and goes into HTTP headers."""


class MethodUnknownError(OnwardError):
    """There is no such method."""

    def __init__(self) -> None:
        super().__init__(
            Reason.ERROR_REASON_METHOD_UNKNOWN,
            "this port serves no such method; GetCapabilities and reflection say which",
        )


class InternalError(OnwardError):
    """A defect, told to a caller."""

    def __init__(self) -> None:
        super().__init__(
            Reason.ERROR_REASON_INTERNAL,
            "the exchange failed; give its operator the correlation id",
        )


CODES: Mapping[type[OnwardError], grpc.StatusCode] = MappingProxyType(
    {
        MalformedError: grpc.StatusCode.INVALID_ARGUMENT,
        VerificationError: grpc.StatusCode.INVALID_ARGUMENT,
        UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
        ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
        UnknownError: grpc.StatusCode.NOT_FOUND,
        ConflictError: grpc.StatusCode.ALREADY_EXISTS,
        RangeError: grpc.StatusCode.OUT_OF_RANGE,
        StateError: grpc.StatusCode.FAILED_PRECONDITION,
        QuotaError: grpc.StatusCode.RESOURCE_EXHAUSTED,
        UnavailableError: grpc.StatusCode.UNAVAILABLE,
        MethodUnknownError: grpc.StatusCode.UNIMPLEMENTED,
        OnwardError: grpc.StatusCode.INTERNAL,
    }
)
"""By class; a class that is not listed has its parent's code."""


def code_of(error: OnwardError) -> grpc.StatusCode:
    """Returns the canonical code of an error."""
    return next(CODES[cls] for cls in type(error).__mro__ if cls in CODES)


def told(error: Exception) -> OnwardError:
    """Returns what a caller is told of an error: itself, or that there is a defect."""
    return error if isinstance(error, OnwardError) else InternalError()


def message_of(error: OnwardError) -> str:
    """Returns an error's message, of a bounded length."""
    return error.message[:_MAX_MESSAGE]


def to_status(error: OnwardError, correlation_id: str) -> status_pb2.Status:
    """Returns the rich status of an error."""
    facts = {key: value[:_MAX_METADATA] for key, value in error.metadata.items()}
    info = error_details_pb2.ErrorInfo(
        reason=error.reason_name,
        domain=DOMAIN,
        metadata={**facts, "correlation_id": correlation_id},
    )
    return status_pb2.Status(
        code=code_of(error).value[0],
        message=message_of(error),
        details=[_pack(info), *map(_pack, _helpful_details(error))],
    )


def item_error(error: OnwardError) -> referral_pb2.ItemError:
    """Returns an error as the result of one item of a batch."""
    return referral_pb2.ItemError(
        code=code_of(error).value[0],
        reason=error.reason,
        message=message_of(error),
        field=error.field,
        rejection=_rejection(error),
    )


def _bad_request(error: OnwardError) -> Message | None:
    """Returns which field is wrong."""
    if not error.field or code_of(error) is not grpc.StatusCode.INVALID_ARGUMENT:
        return None
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=error.field, description=message_of(error), reason=error.reason_name
    )
    detail: Message = error_details_pb2.BadRequest(field_violations=[violation])
    return detail


def _precondition_failure(error: OnwardError) -> Message | None:
    """Returns what must be otherwise first."""
    if not isinstance(error, StateError):
        return None
    violation = error_details_pb2.PreconditionFailure.Violation(
        type=error.reason_name, subject=error.field, description=message_of(error)
    )
    detail: Message = error_details_pb2.PreconditionFailure(violations=[violation])
    return detail


def _retry_info(error: OnwardError) -> Message | None:
    """Returns when to try again."""
    if error.retry_after is None:
        return None
    delay = Duration()
    delay.FromNanoseconds(int(error.retry_after * 1e9))
    detail: Message = error_details_pb2.RetryInfo(retry_delay=delay)
    return detail


def _rejection(error: OnwardError) -> log_pb2.LoggedStatement | None:
    """Returns the signed and logged refusal."""
    if not isinstance(error, DisclosureForbiddenError | WithholdingForbiddenError):
        return None
    return to_logged_statement(error.rejection)


_DETAILS: tuple[Callable[[OnwardError], Message | None], ...] = (
    _bad_request,
    _precondition_failure,
    _retry_info,
    _rejection,
)


def _helpful_details(error: OnwardError) -> Iterator[Message]:
    """Yields the details that go beside the ``ErrorInfo``."""
    for make in _DETAILS:
        detail = make(error)
        if detail is not None:
            yield detail


def _pack(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
