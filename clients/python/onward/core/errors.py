"""The one tree of domain errors.

Every error that Onward raises on purpose is an :class:`OnwardError`. Its class says
what kind of failure it is, and so which canonical gRPC code it has on the wire (the
table is in ``onward_server.services.errors``); its ``reason`` says which rule failed
(``onward.v1.ErrorReason``)::

    OnwardError
    +-- MalformedError        the bytes or fields do not have the required shape
    |   +-- TooLargeError     ... because they exceed a stated limit
    +-- VerificationError     a signature, proof, digest or seal does not hold
    |   +-- ForkError         two checkpoints of one log contradict each other
    +-- UnauthenticatedError  the channel or token does not say who is calling
    +-- ForbiddenError        who is calling may not do this
    +-- UnknownError          there is no such thing, or not for this caller
    +-- ConflictError         the name is taken by something else
    +-- RangeError            outside what exists, such as a size past the log's end
    +-- StateError            well-formed, but not in the present state of things
    +-- QuotaError            too much, too fast; carries ``retry_after``
    +-- UnavailableError      cannot be done at present; carries ``retry_after``

The ``message`` is for people: it names the thing, the rule and the next step. It must
never hold content, personal data, key material or internals, since it crosses the
wire. ``metadata`` holds the same facts for machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from onward.v1 import error_pb2

Reason = error_pb2.ErrorReason
"""The reasons of ``proto/onward/v1/error.proto``, as they are on the wire."""

_PREFIX = "ERROR_REASON_"


class OnwardError(Exception):
    """Something that Onward refuses, with the reason.

    Args:
        reason: which rule failed.
        message: for people: the thing, the rule, the next step.
        field: the path of the offending field, such as ``referral.recipients``.
        metadata: the same facts for machines; short strings.
        retry_after: seconds to wait before trying the same call again, if that helps.
    """

    def __init__(
        self,
        reason: Reason.ValueType,
        message: str,
        *,
        field: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = MappingProxyType(dict(metadata or {}))
        self.retry_after = retry_after

    @property
    def reason_name(self) -> str:
        """The reason as ``google.rpc.ErrorInfo.reason`` has it, without prefix."""
        return Reason.Name(self.reason).removeprefix(_PREFIX)

    def __reduce__(self) -> tuple[object, ...]:
        """Travels between processes whole, whatever its class asks for to be made."""
        state = {**self.__dict__, "metadata": dict(self.metadata)}
        return _remade, (type(self), self.args, state)


def _remade(
    kind: type[OnwardError], args: tuple[object, ...], state: dict[str, Any]
) -> OnwardError:
    """Returns an error that came from another process."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state, metadata=MappingProxyType(state["metadata"]))
    return error


class MalformedError(OnwardError):
    """The bytes or fields do not have the required shape."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(Reason.ERROR_REASON_MALFORMED, message, field=field)


class TooLargeError(MalformedError):
    """An input exceeds a stated limit."""

    def __init__(self, what: str, size: int, limit: int, *, field: str = "") -> None:
        OnwardError.__init__(
            self,
            Reason.ERROR_REASON_TOO_LARGE,
            f"{what} has {size} bytes; at most {limit} are allowed",
            field=field,
            metadata={"size": str(size), "limit": str(limit)},
        )


class VerificationError(OnwardError):
    """A signature, proof, digest or seal does not hold."""


class ForkError(VerificationError):
    """Two checkpoints of one log contradict each other: evidence to keep.

    Args:
        message: which log, and how.
        first: the checkpoint trusted before, as a signed note.
        second: the checkpoint that contradicts it, as a signed note.
    """

    def __init__(self, message: str, first: str, second: str) -> None:
        super().__init__(Reason.ERROR_REASON_LOG_FORKED, message)
        self.first = first
        self.second = second


class UnauthenticatedError(OnwardError):
    """The channel or token does not say who is calling."""


class ForbiddenError(OnwardError):
    """Who is calling may not do this."""


class UnknownError(OnwardError):
    """There is no such thing, or not for this caller."""


class ConflictError(OnwardError):
    """The name is taken by something else."""


class RangeError(OnwardError):
    """Outside what exists."""


class StateError(OnwardError):
    """Well-formed, but not allowed in the present state of things."""


class QuotaError(OnwardError):
    """Too much, too fast."""


class UnavailableError(OnwardError):
    """Cannot be done at present."""
