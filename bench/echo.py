"""The baseline: a gRPC server over mutual TLS that does nothing but answer.

It has the transport of the exchange, certificates included, and answers ``Publish``
with the bytes that it was told last, which are a reply that the exchange gave. So what
it takes for a call is what any server in Python with grpc.aio takes at least.

``python -m bench.echo HOST:PORT FOLDER`` serves with the TLS files of an exchange.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc

from bench.channels import SERVER_OPTIONS

PUBLISH = ("onward.v1.ReferralService", "Publish")
LEARN = ("bench.Echo", "Learn")


class Echo:
    """Answers each call with the same bytes."""

    def __init__(self) -> None:
        self._reply = b""

    async def learn(self, request: bytes, _: object) -> bytes:
        """Takes the bytes to answer with from now on."""
        self._reply = request
        return b""

    async def answer(self, _request: bytes, _: object) -> bytes:
        """Answers."""
        return self._reply


async def serve(address: str, tls: Path) -> None:
    """Serves until the process is ended.

    Args:
        address: ``host:port``.
        tls: holds ``server.pem``, ``server.key`` and ``ca.pem``.
    """
    echo = Echo()
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers(
        (
            _handler(*PUBLISH, echo.answer),
            _handler(*LEARN, echo.learn),
        )
    )
    credentials = grpc.ssl_server_credentials(
        [((tls / "server.key").read_bytes(), (tls / "server.pem").read_bytes())],
        (tls / "ca.pem").read_bytes(),
        require_client_auth=True,
    )
    server.add_secure_port(address, credentials)
    await server.start()
    await server.wait_for_termination()


def _handler(service: str, method: str, behaviour: Any) -> grpc.GenericRpcHandler:  # noqa: ANN401 - grpc's own type for it excludes coroutines
    """Returns a service of one method, without (de)serializers: bytes as they are."""
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        method: grpc.unary_unary_rpc_method_handler(behaviour)
    }
    return grpc.method_handlers_generic_handler(service, handlers)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
