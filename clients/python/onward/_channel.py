"""The channel to the exchange, and calls that outlast its absence.

Every call of the contract may be repeated with the same bytes, so :class:`Caller`
repeats what fails for the moment, with growing pauses until the deadline. A stream is
opened again for as long as its reader wants it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, TypeVar

import grpc

from onward._clock import Entropy
from onward._errors import error_of_call
from onward._tracing import active_traceparent
from onward.core.errors import (
    MalformedError,
    OnwardError,
    QuotaError,
    Reason,
    UnavailableError,
)

_logger = logging.getLogger("onward")

Request = TypeVar("Request")
Response = TypeVar("Response")

STREAM_SILENCE: Final = 45.0
"""Seconds without a message after which a stream is lost (``referral.proto``)."""

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
_MAX_DOUBLINGS: Final = 16
_MAX_RESPONSE: Final = 64 * 1024 * 1024

_OPTIONS: Final[Sequence[tuple[str, str | int]]] = (
    # gRPC's own retries abort the whole process (grpcio 1.85: "ILLEGAL STATE") when a
    # server ends an upload early. Caller repeats calls, and knows RetryInfo as well.
    ("grpc.enable_retries", 0),
    # A connection that somebody on the way has forgotten is lost well before a call
    # gives up. A ping's answer has its own time: that of keepalive does not count
    # (grpcio 1.85), and by default it is a minute.
    ("grpc.keepalive_time_ms", 12_000),
    ("grpc.http2.ping_timeout_ms", 12_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", _MAX_RESPONSE),
    ("grpc.max_send_message_length", -1),
)


def open_channel(
    address: str,
    server_name: str,
    *,
    root_certificates: bytes,
    private_key: bytes | None = None,
    certificate_chain: bytes | None = None,
) -> grpc.aio.Channel:
    """Opens a TLS channel; it connects at the first call.

    Args:
        address: ``host:port`` of the server. Several IP addresses, separated by
            commas, are tried in turn, and another one when a connection is lost.
        server_name: the DNS name that its certificate must have.
        root_certificates: whom to trust for having issued it, PEM.
        private_key: ours, PEM; None to stay anonymous.
        certificate_chain: our certificate and its issuers, PEM.

    Raises:
        MalformedError: several addresses are not all of IPv4, or all of IPv6.
    """
    credentials = grpc.ssl_channel_credentials(
        root_certificates, private_key, certificate_chain
    )
    name = ("grpc.ssl_target_name_override", server_name)
    options = [*_OPTIONS, name]
    return grpc.aio.secure_channel(_target(address), credentials, options=options)


def _target(address: str) -> str:
    """Returns what gRPC calls an address; only lists need a scheme."""
    if "," not in address:
        return address
    hosts = (part.rpartition(":")[0].strip("[]") for part in address.split(","))
    try:
        (version,) = {ip_address(host).version for host in hosts}
    except ValueError:
        raise MalformedError(
            f"{address}: several addresses must be IP addresses of one version, each "
            "with its port; a DNS name can have several addresses too",
            field="address",
        ) from None
    return f"ipv{version}:{address}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Makes calls, and repeats those which may succeed later.

    Attributes:
        deadline: seconds after which to give up.
        entropy: spreads the pauses of many clients.
        check: raises what forbids every further call.
    """

    deadline: float
    entropy: Entropy
    check: Callable[[], None] = lambda: None

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        traceparent: str = "",
    ) -> Response:
        """Calls a method, with the same bytes until it succeeds or cannot.

        Raises:
            OnwardError: why it was refused, or why it did not succeed in time.
        """
        metadata = trace_metadata(traceparent)
        return await self.repeat(
            lambda left: method(request, timeout=left, metadata=metadata)
        )

    async def repeat(self, attempt: Callable[[float], Awaitable[Response]]) -> Response:
        """Makes attempts, each with the seconds that are left, until one succeeds.

        Raises:
            OnwardError: as :meth:`call`.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.deadline
        number, error = 0, None
        while True:
            self.check()
            try:
                return await attempt(end - loop.time())
            except grpc.aio.AioRpcError as failure:
                late = failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                # That time ran out says less than why the attempts before failed.
                error = (late and error) or error_of_call(failure)
            pause = self.pause(number, error.retry_after)
            if not is_passing(error) or loop.time() + pause >= end:
                raise error
            await asyncio.sleep(pause)
            number += 1

    def pause(self, number: int, retry_after: float | None = None) -> float:
        """Returns the seconds to wait after attempt ``number``, counted from 0.

        Grows exponentially. A quarter of it is random, so that many clients do not come
        back at once; never less than what the exchange asks for.
        """
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * (1 << min(number, _MAX_DOUBLINGS)))
        jitter = int.from_bytes(self.entropy(2), "big") / 0xFFFF
        return max(retry_after or 0.0, longest * 0.75) + longest * 0.25 * jitter

    def messages(
        self, stream: grpc.aio.UnaryStreamCall[Request, Response]
    ) -> AsyncGenerator[Response, None]:
        """Yields the messages of one stream until it ends; it is not opened again.

        Raises:
            OnwardError: it was refused, failed, or fell silent.
        """
        self.check()
        return _messages(stream)

    async def reopened(
        self, open_stream: Callable[[], grpc.aio.UnaryStreamCall[Request, Response]]
    ) -> AsyncGenerator[Response, None]:
        """Yields the messages of a stream, opening it again whenever it ends.

        It is opened at once after an end in good order, and after growing pauses when
        that does not help or something failed.

        Args:
            open_stream: opens it, to go on where the last one ended.

        Raises:
            OnwardError: it was refused for a reason that does not pass.
        """
        failures = 0
        while True:
            self.check()
            error = None
            try:
                async with aclosing(_messages(open_stream())) as messages:
                    async for message in messages:
                        failures = 0
                        yield message
            except OnwardError as failure:
                if not _ends_in_passing(failure):
                    raise
                error = failure
            if failures or not _ends_in_order(error):
                _logger.warning("a stream failed", extra={"reason": str(error)})
                pause = self.pause(failures, error.retry_after if error else None)
                await asyncio.sleep(pause)
            failures += 1


async def _messages(
    stream: grpc.aio.UnaryStreamCall[Request, Response],
) -> AsyncGenerator[Response, None]:
    """Yields the messages of one stream until it ends, fails or falls silent."""
    messages = aiter(stream)
    try:
        while True:
            async with asyncio.timeout(STREAM_SILENCE):
                message = await anext(messages, None)
            if message is None:
                return
            yield message
    except grpc.aio.AioRpcError as failure:
        raise error_of_call(failure) from None
    except TimeoutError:
        raise UnavailableError(
            Reason.ERROR_REASON_UNSPECIFIED,
            f"the exchange said nothing for {STREAM_SILENCE:.0f} seconds",
        ) from None
    finally:
        stream.cancel()


def is_passing(error: OnwardError) -> bool:
    """Whether the same bytes may succeed later."""
    return isinstance(error, UnavailableError | QuotaError)


def _ends_in_passing(error: OnwardError) -> bool:
    """Whether a stream that ended so may be opened again without a person's help."""
    unexplained = type(error) is OnwardError
    unknown_method = error.reason == Reason.ERROR_REASON_METHOD_UNKNOWN
    return is_passing(error) or (unexplained and not unknown_method)


def _ends_in_order(error: OnwardError | None) -> bool:
    return error is None or error.reason == Reason.ERROR_REASON_DRAINING


def trace_metadata(traceparent: str = "") -> tuple[tuple[str, str], ...]:
    """Returns the metadata of a call: where it belongs in a trace, if anywhere."""
    value = traceparent or active_traceparent()
    return (("traceparent", value),) if value else ()
