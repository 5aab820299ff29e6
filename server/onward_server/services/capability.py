"""What this exchange is and can do."""

from __future__ import annotations

from importlib.metadata import version

from google.protobuf.duration_pb2 import Duration

from onward.core.bodies import MAX_RECIPIENTS
from onward.core.keys import ALGORITHMS
from onward.core.statements import MAX_STATEMENT_SIZE
from onward.v1 import capability_pb2, capability_pb2_grpc, vocabulary_pb2
from onward_server.exchange.limits import Limits
from onward_server.services.interceptor import Context

PROTOCOL_VERSIONS = ("onward.v1",)

_SUITES = (
    vocabulary_pb2.SEALING_SUITE_MLKEM768_X25519,
    vocabulary_pb2.SEALING_SUITE_P384,
)


class CapabilityService(capability_pb2_grpc.CapabilityServiceServicer):
    """See ``proto/onward/v1/capability.proto``.

    Args:
        capabilities: what is told; it does not change while the exchange runs.
    """

    def __init__(self, capabilities: capability_pb2.GetCapabilitiesResponse) -> None:
        self._capabilities = capabilities

    async def GetCapabilities(
        self, request: capability_pb2.GetCapabilitiesRequest, context: Context
    ) -> capability_pb2.GetCapabilitiesResponse:
        """Returns the exchange's capabilities."""
        return self._capabilities


def capabilities(
    exchange: str, log_vkey: str, limits: Limits, *, clock_settable: bool = False
) -> capability_pb2.GetCapabilitiesResponse:
    """Returns what an exchange tells about itself.

    Args:
        exchange: its SPIFFE ID.
        log_vkey: the log's verifier key.
        limits: its limits.
        clock_settable: whether it runs for a demonstration.
    """
    return capability_pb2.GetCapabilitiesResponse(
        exchange=exchange,
        software_version=version("onward"),
        protocol_versions=PROTOCOL_VERSIONS,
        statement_algorithms=ALGORITHMS,
        sealing_suites=_SUITES,
        log_vkey=log_vkey,
        clock_settable=clock_settable,
        limits=capability_pb2.Limits(
            statement_size=MAX_STATEMENT_SIZE,
            inline_content_size=limits.inline_content,
            content_size=limits.content,
            batch_items=limits.batch_items,
            chunk_size=limits.chunk,
            recipients=MAX_RECIPIENTS,
            clock_tolerance=_duration(limits.clock_tolerance),
            lease_time=_duration(limits.lease),
            heartbeat_interval=_duration(limits.heartbeat),
        ),
    )


def _duration(seconds: float) -> Duration:
    """Returns seconds as a message."""
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1_000_000_000))
