"""What the exchange refused, as errors of :mod:`onward.core.errors`.

The reason comes from the ``google.rpc.ErrorInfo`` of domain ``onward.v1`` that each
error of an Onward service carries, the class from the canonical gRPC code. What carries
no such reason was not said by an exchange: it is the connection's failure, or that of
something in between, and only ``UNAVAILABLE`` and a passed deadline are worth a retry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from onward._values import Logged
from onward.core.errors import (
    ConflictError,
    ForbiddenError,
    MalformedError,
    OnwardError,
    QuotaError,
    RangeError,
    Reason,
    StateError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnknownError,
    VerificationError,
)
from onward.v1 import log_pb2, referral_pb2

DOMAIN: Final = "onward.v1"

_STATUS_KEY: Final = "grpc-status-details-bin"
_NO_REASON: Final = Reason.ERROR_REASON_UNSPECIFIED
_PREFIX: Final = "ERROR_REASON_"

_CLASS_OF_CODE: Final[Mapping[grpc.StatusCode, type[OnwardError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: VerificationError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: ForbiddenError,
    grpc.StatusCode.NOT_FOUND: UnknownError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.OUT_OF_RANGE: RangeError,
    grpc.StatusCode.FAILED_PRECONDITION: StateError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: QuotaError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnavailableError,
}
# The code INVALID_ARGUMENT has two kinds of failure behind it.
_CLASS_OF_REASON: Final[Mapping[int, type[OnwardError]]] = {
    Reason.ERROR_REASON_MALFORMED: MalformedError,
    Reason.ERROR_REASON_TOO_LARGE: TooLargeError,
}
_CODE_OF_NUMBER: Final = {code.value[0]: code for code in grpc.StatusCode}

_UNREACHABLE: Final = "the exchange cannot be reached"
_CUT: Final = (
    "the exchange closed the connection: if it does so again, it does not accept this "
    "member's certificate, or speaks no TLS 1.3; 'onward doctor' tells them apart"
)
# What gRPC says when a stream ended while we wrote to it; sometimes the only thing.
_CUT_WHILE_WRITING: Final = "Internal error from Core"
# How gRPC begins to say that bytes did not arrive as they were sent, and with UNKNOWN.
_DISTURBED: Final = "Stream removed"
# What gRPC says when the peer ends a TLS connection: a refused client certificate
# looks no other in TLS 1.3, where the handshake is over before it is judged.
_CUT_PHRASES: Final = ("socket closed", "connection reset", "broken pipe")


class _ForbiddenByPolicyError(StateError):
    """The exchange's disclosure policy forbids what was signed.

    Attributes:
        rejection: the signed and logged ``Rejection``, verified: the rule, its
            citation, and the rule in a plain sentence.
    """

    def __init__(self, refused: OnwardError, rejection: Logged) -> None:
        super().__init__(refused.reason, refused.message, metadata=refused.metadata)
        self.rejection = rejection


class DisclosureForbiddenError(_ForbiddenByPolicyError):
    """The exchange's disclosure policy forbids the referral."""


class WithholdingForbiddenError(_ForbiddenByPolicyError):
    """The exchange's disclosure policy forbids the withholding."""


FORBIDDEN: Final[Mapping[int, type[_ForbiddenByPolicyError]]] = {
    Reason.ERROR_REASON_DISCLOSURE_FORBIDDEN: DisclosureForbiddenError,
    Reason.ERROR_REASON_WITHHOLDING_FORBIDDEN: WithholdingForbiddenError,
}
"""What is raised once the ``Rejection`` is verified, by its reason."""


class UnprovenRejectionError(StateError):
    """The exchange says that its policy forbids it; its proof is not yet checked.

    Never leaves the client. Attributes:
        rejection: what it sent as proof.
    """

    def __init__(
        self, refused: OnwardError, rejection: log_pb2.LoggedStatement
    ) -> None:
        super().__init__(refused.reason, refused.message, metadata=refused.metadata)
        self.rejection = rejection


def error_of_call(error: grpc.aio.AioRpcError) -> OnwardError:
    """Returns why a call failed."""
    details = _Details.of(error)
    if details.info.domain != DOMAIN:
        return _connection_error(error)
    refused = _error(
        error.code(),
        _reason(details.info.reason),
        error.details() or details.info.reason,
        field="".join(item.field for item in details.bad_request.field_violations[:1]),
        metadata=dict(details.info.metadata),
        retry_after=details.retry_after,
    )
    return _with_rejection(refused, details.logged)


def error_of_item(item: referral_pb2.ItemError) -> OnwardError:
    """Returns why one item of a batch was refused."""
    code = _CODE_OF_NUMBER.get(item.code, grpc.StatusCode.UNKNOWN)
    refused = _error(code, item.reason, item.message, field=item.field)
    return _with_rejection(refused, item.rejection)


def _with_rejection(
    refused: OnwardError, rejection: log_pb2.LoggedStatement
) -> OnwardError:
    if refused.reason in FORBIDDEN:
        return UnprovenRejectionError(refused, rejection)
    return refused


def _error(
    code: grpc.StatusCode,
    reason: Reason.ValueType,
    message: str,
    *,
    field: str = "",
    metadata: Mapping[str, str] | None = None,
    retry_after: float | None = None,
) -> OnwardError:
    """Makes the error of a code and reason, whatever arguments its class takes."""
    kind = _CLASS_OF_REASON.get(reason) or _CLASS_OF_CODE.get(code, OnwardError)
    error = kind.__new__(kind)
    OnwardError.__init__(
        error,
        reason,
        message,
        field=field,
        metadata=metadata,
        retry_after=retry_after,
    )
    return error


def _connection_error(error: grpc.aio.AioRpcError) -> OnwardError:
    """Explains a failure that no exchange has given a reason for."""
    said = error.details() or ""
    if said == _CUT_WHILE_WRITING:
        return UnavailableError(_NO_REASON, "the exchange ended the upload")
    if said.startswith(_DISTURBED):
        message = "something on the way to the exchange changed what was sent"
        return UnavailableError(_NO_REASON, message)
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = "the exchange did not answer in time"
    elif error.code() is not grpc.StatusCode.UNAVAILABLE:
        message = f"the call failed with {error.code().name}: {said}"
    elif any(phrase in said.lower() for phrase in _CUT_PHRASES):
        message = _CUT
    else:
        message = f"{_UNREACHABLE}: {said}"
    return _error(error.code(), _NO_REASON, message)


@dataclass(frozen=True, slots=True)
class _Details:
    """The details of a status that are understood; empty where there are none."""

    info: error_details_pb2.ErrorInfo
    retry: error_details_pb2.RetryInfo
    bad_request: error_details_pb2.BadRequest
    logged: log_pb2.LoggedStatement

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> Self:
        found = cls(
            error_details_pb2.ErrorInfo(),
            error_details_pb2.RetryInfo(),
            error_details_pb2.BadRequest(),
            log_pb2.LoggedStatement(),
        )
        for detail in _status(error).details:
            for message in (found.info, found.retry, found.bad_request, found.logged):
                detail.Unpack(message)  # does nothing to a message of another type
        return found

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, if the exchange says how many."""
        if not self.retry.HasField("retry_delay"):
            return None
        return float(self.retry.retry_delay.ToTimedelta().total_seconds())


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    value = dict(error.trailing_metadata() or ()).get(_STATUS_KEY, b"")
    try:
        return status_pb2.Status.FromString(value)
    except (DecodeError, TypeError):
        return status_pb2.Status()


def _reason(name: str) -> Reason.ValueType:
    """Returns a reason by its name; one of a later version has no value here."""
    full_name = _PREFIX + name
    return Reason.Value(full_name) if full_name in Reason.keys() else _NO_REASON  # noqa: SIM118 - an enum wrapper is no mapping
