"""A port: a gRPC server with its services behind the one interceptor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection,
    reflection_pb2_grpc,
)

from onward.core.errors import MalformedError
from onward.v1 import (
    admin_pb2_grpc,
    alert_pb2_grpc,
    audit_pb2_grpc,
    capability_pb2_grpc,
    custody_pb2_grpc,
    directory_pb2_grpc,
    enrollment_pb2_grpc,
    intake_pb2_grpc,
    log_pb2_grpc,
    policy_pb2_grpc,
    referral_pb2_grpc,
)
from onward_server.exchange.gate import Gate
from onward_server.exchange.quotas import Quotas
from onward_server.services.access import rules_of
from onward_server.services.health import HealthService, Readiness
from onward_server.services.interceptor import Interceptor
from onward_server.services.tls import Certificates
from onward_server.telemetry import Telemetry

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"

_TRANSPORT_SLACK = 1.25
"""The transport refuses what is larger than our limit by this, and without details."""

_MAX_PENDING = 65_536
"""Calls that may wait until they are looked at; few callers have quotas for as many."""

_REGISTER: Mapping[str, Callable[[Any, grpc.aio.Server], None]] = MappingProxyType(
    {
        "onward.v1.AdminService": admin_pb2_grpc.add_AdminServiceServicer_to_server,
        "onward.v1.AlertService": alert_pb2_grpc.add_AlertServiceServicer_to_server,
        "onward.v1.AuditService": audit_pb2_grpc.add_AuditServiceServicer_to_server,
        "onward.v1.CapabilityService": (
            capability_pb2_grpc.add_CapabilityServiceServicer_to_server
        ),
        "onward.v1.CustodyService": (
            custody_pb2_grpc.add_CustodyServiceServicer_to_server
        ),
        "onward.v1.DirectoryService": (
            directory_pb2_grpc.add_DirectoryServiceServicer_to_server
        ),
        "onward.v1.EnrollmentService": (
            enrollment_pb2_grpc.add_EnrollmentServiceServicer_to_server
        ),
        "onward.v1.IntakeService": intake_pb2_grpc.add_IntakeServiceServicer_to_server,
        "onward.v1.LogService": log_pb2_grpc.add_LogServiceServicer_to_server,
        "onward.v1.PolicyService": policy_pb2_grpc.add_PolicyServiceServicer_to_server,
        "onward.v1.ReferralService": (
            referral_pb2_grpc.add_ReferralServiceServicer_to_server
        ),
        HEALTH: health_pb2_grpc.add_HealthServicer_to_server,
    }
)


@dataclass(frozen=True, slots=True)
class Port:
    """What a port is like.

    Attributes:
        address: ``host:port``; port 0 takes a free one.
        max_message: bytes of a request message.
        connection_age: seconds after which a connection is ended, gracefully.
        connection_grace: seconds that its calls then have.
        reflection: whether reflection is served.
        calls: how many calls one connection carries at once; further ones wait there.
            Each takes some 20 KB, from before it says anything.
    """

    address: str
    max_message: int
    connection_age: float
    connection_grace: float
    reflection: bool = False
    calls: int = 1024


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every port needs."""

    gate: Gate
    quotas: Quotas
    telemetry: Telemetry
    readiness: Readiness


def make_server(
    port: Port,
    services: Mapping[str, object],
    certificates: Certificates,
    surroundings: Surroundings,
) -> tuple[grpc.aio.Server, int]:
    """Makes a server that listens but does not yet answer.

    Args:
        port: what it is like.
        services: servicers by full service name; health is added.
        certificates: for its handshakes.
        surroundings: what every port needs.

    Returns:
        The server, and the number of its port.

    Raises:
        KeyError: a method of a service has no access rule.
        MalformedError: the address cannot be listened on.
    """
    served = [*services, HEALTH, *([REFLECTION] if port.reflection else [])]
    interceptor = Interceptor(
        rules_of(served),
        surroundings.gate,
        surroundings.quotas,
        surroundings.telemetry,
        port.max_message,
    )
    server = grpc.aio.server(options=_options(port))
    server.add_generic_rpc_handlers([interceptor])
    health = HealthService(surroundings.readiness, served)
    behind = cast("grpc.aio.Server", _Behind(interceptor))
    for name, servicer in {**services, HEALTH: health}.items():
        _REGISTER[name](servicer, behind)
    if port.reflection:
        reflector = reflection.aio.ReflectionServicer(served)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflector, behind)
    return server, _listen(server, port.address, certificates)


class _Behind:
    """Takes what the generated functions register with a server to an interceptor.

    Nothing is registered with the server by itself: with that, ``grpc.aio`` waits at
    every call for each of the methods to be the one that is called.
    """

    def __init__(self, interceptor: Interceptor) -> None:
        self.add_registered_method_handlers = interceptor.surround

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Leaves it: the same handlers come by name."""


def _listen(server: grpc.aio.Server, address: str, certificates: Certificates) -> int:
    """Takes the port."""
    try:
        return server.add_secure_port(address, certificates.credentials())
    except RuntimeError:
        raise MalformedError(
            f"cannot listen on {address}: it is taken by another program, perhaps this "
            "exchange itself, or is no address of this machine"
        ) from None


def _options(port: Port) -> list[tuple[str, int]]:
    """Returns the transport's settings; times in milliseconds."""
    return [
        # Else a second exchange could take the same port, and half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", int(port.max_message * _TRANSPORT_SLACK)),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.max_concurrent_streams", port.calls),
        # Of what arrives faster than it is looked at, gRPC drops some from 1,000 on,
        # and answers those callers nothing at all (grpcio 1.85).
        ("grpc.server.max_pending_requests", _MAX_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING),
        ("grpc.max_connection_age_ms", int(port.connection_age * 1000)),
        ("grpc.max_connection_age_grace_ms", int(port.connection_grace * 1000)),
        ("grpc.server_handshake_timeout_ms", 20_000),
        ("grpc.keepalive_time_ms", 30_000),
        # Keepalive's own timeout does not count (grpcio 1.85).
        ("grpc.http2.ping_timeout_ms", 15_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
