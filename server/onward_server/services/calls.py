"""The call that is being served: set by the interceptor, read by the handlers."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from onward.core.errors import Reason, UnauthenticatedError
from onward_server.exchange.directory import Caller
from onward_server.telemetry import Observation


@dataclass(frozen=True, slots=True)
class Call:
    """One RPC.

    Attributes:
        method: the full method name, such as ``/onward.v1.LogService/GetReceipt``.
        caller: who is calling; None where anyone may.
        holder: whose quotas it uses up: the caller's name, or the peer's address.
        observation: how it is observed.
        recheck: raises when the caller may no longer be here.
    """

    method: str
    caller: Caller | None
    holder: str
    observation: Observation
    recheck: Callable[[], None]


_current: ContextVar[Call] = ContextVar("onward_call")


def enter(call: Call) -> None:
    """Makes a call the one that this task serves: a task serves one and ends."""
    _current.set(call)


def current() -> Call:
    """Returns the call that is being served."""
    return _current.get()


def caller() -> Caller:
    """Returns who is calling.

    Raises:
        UnauthenticatedError: the method is open to anyone, so nobody was asked.
    """
    found = _current.get().caller
    if found is None:
        raise UnauthenticatedError(
            Reason.ERROR_REASON_NOT_AUTHENTICATED, "this call says not who is calling"
        )
    return found
