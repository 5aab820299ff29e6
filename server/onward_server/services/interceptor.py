"""What every call passes, whatever it is: one way, and one place for each question.

1. The channel is TLS 1.3, and who is calling follows from the verified certificate
   (:class:`~onward_server.exchange.gate.Gate`).
2. The caller's role may call this method (:mod:`onward_server.services.access`).
3. The bytes are a message of the method, and not too many.
4. The caller's quota is not used up.
5. The handler.
6. Whatever was raised becomes a status (:mod:`onward_server.services.errors`).

Steps 1 and 2 are asked again for each message of a stream, in both directions, so what
changes while a stream is open takes effect on it.

A handler that streams responses is an async generator. It is resumed after a ``yield``
when that message was written to the caller's channel in full, and it is closed before
the call ends, also when the caller went away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError

from onward.core.errors import MalformedError, OnwardError, TooLargeError
from onward_server.exchange.directory import Caller
from onward_server.exchange.gate import Gate
from onward_server.exchange.quotas import Place, Quotas
from onward_server.services import calls, errors
from onward_server.services.access import ANYONE, Rule
from onward_server.services.calls import Call
from onward_server.telemetry import UNKNOWN_METHOD, Observation, Telemetry

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Work: TypeAlias = Callable[[Call], Awaitable[Any]]

_KINDS = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Peer:
    """What the handshake says about the other side.

    ``certificate`` is PEM, empty without one.
    """

    certificate: bytes
    tls_version: bytes

    @classmethod
    def of(cls, context: Context) -> Peer:
        """Returns the peer of a call."""
        said = context.auth_context()
        return cls(
            next(iter(said.get("x509_pem_cert", ())), b""),
            next(iter(said.get("ssl_tls_version", ())), b""),
        )


class Interceptor(grpc.GenericRpcHandler):
    """The one interceptor of a server: it stands around every handler.

    To gRPC it is the one thing that knows handlers, since what gRPC calls interceptors
    is gone through anew at each call.

    Args:
        rules: of the methods that the server serves, by full method name.
        gate: says who is calling.
        quotas: how much a caller may do.
        telemetry: observes each call.
        max_message: bytes of a request message. The transport's own limit should be
            higher, since it refuses without an ``ErrorInfo``.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        gate: Gate,
        quotas: Quotas,
        telemetry: Telemetry,
        max_message: int,
    ) -> None:
        self._rules = rules
        self._gate = gate
        self._quotas = quotas
        self._telemetry = telemetry
        self._max_message = max_message
        self._handlers: dict[str, Handler] = {}
        self._unknown: Handler = grpc.stream_stream_rpc_method_handler(
            self._answer_unknown
        )

    def surround(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Puts everything around the handlers of a service.

        Raises:
            KeyError: a method has no rule.
        """
        for name, handler in handlers.items():
            method = f"/{service}/{name}"
            self._handlers[method] = self._around(
                _Method(method, self._rules[method], handler)
            )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Returns the method's handler with everything around it."""
        return self._handlers.get(handler_call_details.method, self._unknown)

    def _around(self, method: _Method) -> Handler:
        """Puts steps 1 to 6 around a handler, of whatever kind."""
        kind, make = method.kind

        async def serve(incoming: Any, context: Context) -> Any:  # noqa: ANN401
            async def work(call: Call) -> Any:  # noqa: ANN401 - of any method
                if method.handler.request_streaming:
                    request = self._read_all(method, call, incoming)
                else:
                    request = self._read(method, call, incoming)
                answer = getattr(method.handler, kind)(request, context)  # 5
                if method.handler.response_streaming:
                    return await _send_all(call, answer, context)
                return await answer

            return await self._serve(method.name, method.rule, context, work)

        # Without a deserializer the bytes come as they are, so that malformed ones are
        # refused here like everything else.
        return make(serve, response_serializer=method.handler.response_serializer)

    async def _answer_unknown(self, _: object, context: Context) -> None:
        """Refuses a method that this server does not serve."""

        async def refuse(_: Call) -> NoReturn:
            raise errors.MethodUnknownError

        await self._serve(f"/{UNKNOWN_METHOD}", Rule(ANYONE), context, refuse)

    async def _serve(self, name: str, rule: Rule, context: Context, work: Work) -> Any:  # noqa: ANN401 - of any method
        """Runs steps 1 and 2, then ``work``, and maps what is raised."""
        metadata = context.invocation_metadata() or ()
        with self._telemetry.call(name[1:], metadata) as observation:
            try:
                call = self._begin(name, rule, context, observation)
                with self._place(rule, call):
                    return await work(call)
            except asyncio.CancelledError:
                observation.failed("CANCELLED", "CANCELLED")
                raise
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - this is where they all end
                refused = _judge(error, name, observation)  # 6
            return await _refuse(context, refused, observation)

    def _begin(
        self, name: str, rule: Rule, context: Context, observation: Observation
    ) -> Call:
        """Steps 1 and 2; the call is then the one that this task serves."""
        peer = Peer.of(context)
        caller = self._admit(rule, peer, observation)

        def recheck() -> None:
            self._admit(rule, peer, observation)

        # Without a name it is the address, without the port.
        holder = caller.name if caller else context.peer().rpartition(":")[0]
        call = Call(name, caller, holder, observation, recheck)
        calls.enter(call)
        return call

    def _admit(self, rule: Rule, peer: Peer, observation: Observation) -> Caller | None:
        """Steps 1 and 2; returns None where anyone may call."""
        if rule.roles is ANYONE:
            self._gate.check_channel(peer.tls_version)
            return None
        caller = self._gate.admit(peer.certificate, peer.tls_version)  # 1
        observation.member = caller.name
        rule.check(caller)  # 2
        return caller

    def _read(self, method: _Method, call: Call, raw: bytes) -> Any:  # noqa: ANN401 - of any method
        """Steps 3 and 4; returns the request message."""
        if len(raw) > self._max_message:
            raise TooLargeError("the request message", len(raw), self._max_message)
        message = method.parse(raw)
        self._quotas.take(call.holder, method.rule.resource, method.rule.cost(message))
        return message

    async def _read_all(
        self, method: _Method, call: Call, incoming: AsyncIterator[bytes]
    ) -> AsyncIterator[Any]:
        """Returns the messages of a stream; for each it is asked who sends it."""
        async for raw in incoming:
            call.recheck()
            yield self._read(method, call, raw)

    def _place(self, rule: Rule, call: Call) -> AbstractContextManager[None]:
        """Holds what a call holds while it runs."""
        if rule.place is None:
            return nullcontext()
        shared = rule.place is Place.ENROLMENT
        return self._quotas.place("" if shared else call.holder, rule.place)


@dataclass(frozen=True, slots=True)
class _Method:
    """A method that is served: its full name, its rule, and the service's handler."""

    name: str
    rule: Rule
    handler: Handler

    @property
    def kind(self) -> tuple[str, Callable[..., Handler]]:
        """The name of the handler's behaviour, and what makes such a handler."""
        return _KINDS[self.handler.request_streaming, self.handler.response_streaming]

    def parse(self, raw: bytes) -> Any:  # noqa: ANN401 - of any method
        """Returns the request message that bytes are.

        Raises:
            MalformedError: they are none.
        """
        deserialize = self.handler.request_deserializer
        try:
            return deserialize(raw) if deserialize else raw
        except DecodeError:
            raise MalformedError(
                "the bytes are not a request message of this method; generate the "
                "client from the current protos"
            ) from None


async def _send_all(
    call: Call, messages: AsyncGenerator[Any, None], context: Context
) -> None:
    """Sends a stream of responses to a caller who may still be here."""
    async with aclosing(messages):
        async for message in messages:
            call.recheck()
            await context.write(message)


def _judge(error: Exception, method: str, observation: Observation) -> OnwardError:
    """Returns what the caller is told of an error, and writes the log line."""
    refused = errors.told(error)
    code = errors.code_of(refused).name
    observation.failed(code, refused.reason_name)
    facts = {
        "method": method,
        "member": observation.member,
        "correlation_id": observation.correlation_id,
    }
    if refused is error:
        _log.info("rpc.refused", reason=refused.reason_name, **facts)
    else:
        _log.error("rpc.failed", exc_info=error, **facts)
    return refused


async def _refuse(
    context: Context, error: OnwardError, observation: Observation
) -> NoReturn:
    """Ends a call with an error."""
    correlation_id = observation.correlation_id
    status = errors.to_status(error, correlation_id)
    await context.abort(
        errors.code_of(error),
        errors.message_of(error),
        (
            (errors.STATUS_KEY, status.SerializeToString()),
            (errors.CORRELATION_KEY, correlation_id),
        ),
    )
