"""What the exchange tells about itself: every name of it stands in this module.

Traces, metrics and logs hold names of organisations, methods, states, counts and times.
They never hold content, statements, tokens, keys, or anything about a person.

Without an exporter everything here does nothing, at the price of one comparison.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from opentelemetry.metrics import Meter, MeterProvider, NoOpMeterProvider
from opentelemetry.trace import (
    NoOpTracerProvider,
    Span,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
    format_trace_id,
)
from opentelemetry.trace.propagation.tracecontext import (
    TraceContextTextMapPropagator,
)

SCOPE = "onward_server"

# --- attributes: of the semantic conventions for RPC, and our own ---------------------

RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS = "rpc.response.status_code"
ERROR_TYPE = "error.type"
MEMBER = "onward.member"
URGENCY = "onward.urgency"
RESULT = "onward.result"
STATE = "onward.delivery.state"
DEADLINE = "onward.deadline"
TASK = "onward.task"
LOG = "onward.log"
WITNESS = "onward.witness"
EVIDENCE = "onward.evidence"
AUTHORITY = "onward.authority"


Attributes = Mapping[str, str]
Tell = Callable[[float, Attributes | None], None]


class Kind(Enum):
    """Kinds of metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as the reference documentation lists it."""

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()


RPC_DURATION = Metric(
    "rpc.server.call.duration",
    Kind.HISTOGRAM,
    "s",
    "How long calls took; streams, until they ended.",
    (RPC_SYSTEM, RPC_METHOD, RPC_STATUS, ERROR_TYPE),
)
STREAMS_OPEN = Metric(
    "onward.streams.open",
    Kind.GAUGE,
    "{stream}",
    "Streams open at present.",
)
PUBLISHED = Metric(
    "onward.referrals.published",
    Kind.COUNTER,
    "{referral}",
    "New referrals in the log: accepted, or rejected by the disclosure policy. Without "
    "tests.",
    (URGENCY, RESULT),
)
RECEIVE_LATENCY = Metric(
    "onward.delivery.latency",
    Kind.HISTOGRAM,
    "s",
    "From a referral's acceptance to the logged Received of a recipient.",
    (URGENCY,),
)
DELIVERIES = Metric(
    "onward.deliveries",
    Kind.GAUGE,
    "{delivery}",
    "Deliveries by their present state.",
    (STATE,),
)
OLDEST_WAITING = Metric(
    "onward.deliveries.oldest_waiting",
    Kind.GAUGE,
    "s",
    "Age of the delivery that has waited longest for its recipient; 0 for none.",
    (URGENCY,),
)
WARNINGS = Metric(
    "onward.deadlines.warnings",
    Kind.COUNTER,
    "{warning}",
    "Warnings in the log: half the time to a deadline was over. Without tests.",
    (DEADLINE, URGENCY),
)
BREACHES = Metric(
    "onward.deadlines.breaches",
    Kind.COUNTER,
    "{breach}",
    "Breaches in the log: a deadline passed. Without tests.",
    (DEADLINE, URGENCY),
)
ALARMS_LATE = Metric(
    "onward.deadlines.late",
    Kind.GAUGE,
    "s",
    "For how long a warning or breach has been due that is not in the log yet; a few "
    "seconds at most when all is well.",
)
GROUP_SIZE = Metric(
    "onward.ledger.group.size",
    Kind.HISTOGRAM,
    "{statement}",
    "Statements of one group commit.",
)
COMMIT_DURATION = Metric(
    "onward.ledger.commit.duration",
    Kind.HISTOGRAM,
    "s",
    "From the beginning of a write transaction to its durable end.",
)
COMMIT_FAILURES = Metric(
    "onward.ledger.commit.failures",
    Kind.COUNTER,
    "{commit}",
    "Write transactions that failed.",
)
LOG_SIZE = Metric(
    "onward.log.size", Kind.GAUGE, "{entry}", "Entries of the log at its newest head."
)
CERTIFICATE_LEFT = Metric(
    "onward.tls.certificate.left",
    Kind.GAUGE,
    "d",
    "Days until the exchange's own certificate expires.",
)
RELOAD_FAILURES = Metric(
    "onward.tls.reload.failures",
    Kind.COUNTER,
    "{reload}",
    "Changed TLS files that could not be used; the ones before stay in force.",
)
ERASED = Metric(
    "onward.contents.erased",
    Kind.COUNTER,
    "{content}",
    "Contents erased since their retention ended.",
)
TASK_FAILURES = Metric(
    "onward.background.failures",
    Kind.COUNTER,
    "{failure}",
    "Crashes of background tasks; they are started again.",
    (TASK,),
)
WITNESSES_SILENT = Metric(
    "onward.witnesses.silent",
    Kind.GAUGE,
    "s",
    "For how long a witness of this log has cosigned nothing; a minute at most when "
    "all is well.",
    (WITNESS,),
)
WITNESSES_ACCUSATIONS = Metric(
    "onward.witnesses.accusations",
    Kind.GAUGE,
    "{accusation}",
    "How often witnesses said that this log has forked, as kept in "
    "`witnesses.evidence_file`. Never more than 0 when all is well.",
)
TIMESTAMPS_BEHIND = Metric(
    "onward.timestamps.behind",
    Kind.GAUGE,
    "s",
    "For how long a timestamp authority has not stamped all that the log had; two "
    "minutes at most when all is well.",
    (AUTHORITY,),
)
WITNESS_COSIGNED = Metric(
    "onward.witness.cosigned",
    Kind.COUNTER,
    "{cosignature}",
    "Cosignatures given to other logs, as their witness.",
    (LOG,),
)
WITNESS_EVIDENCE = Metric(
    "onward.witness.evidence",
    Kind.COUNTER,
    "{checkpoint}",
    "Signed checkpoints that contradict what was cosigned (fork), or came with a proof "
    "that fails (unproven); `onward-server witness evidence` shows them.",
    (LOG, EVIDENCE),
)
READY = Metric(
    "onward.ready", Kind.GAUGE, "1", "1 when the health service says SERVING, else 0."
)

METRICS: tuple[Metric, ...] = (
    RPC_DURATION,
    STREAMS_OPEN,
    PUBLISHED,
    RECEIVE_LATENCY,
    DELIVERIES,
    OLDEST_WAITING,
    WARNINGS,
    BREACHES,
    ALARMS_LATE,
    GROUP_SIZE,
    COMMIT_DURATION,
    COMMIT_FAILURES,
    LOG_SIZE,
    CERTIFICATE_LEFT,
    RELOAD_FAILURES,
    ERASED,
    TASK_FAILURES,
    WITNESSES_SILENT,
    WITNESSES_ACCUSATIONS,
    TIMESTAMPS_BEHIND,
    WITNESS_COSIGNED,
    WITNESS_EVIDENCE,
    READY,
)
"""All of them; the reference page is made of this."""

_BUCKETS: Mapping[str, tuple[float, ...]] = {
    "s": (
        *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
        *(10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0),
    ),
    "{statement}": tuple(float(2**power) for power in range(12)),
}
"""Bounds of histograms, by unit."""

UNKNOWN_METHOD = "_OTHER"
"""What the conventions call a method that nobody serves: names must be bounded."""

_OUR_FAULT = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE"}
)
"""Status codes that make a server's span one of an error (conventions for gRPC)."""

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_PROPAGATOR = TraceContextTextMapPropagator()
_TRACE_CONTEXT = frozenset(_PROPAGATOR.fields)

Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(slots=True)
class Observation:
    """One call as it is observed. Whoever serves it fills in how it ended.

    Attributes:
        traceparent: W3C Trace Context to hand on, or empty.
        member: who is calling; empty where anyone may.
        status: the canonical code's name.
        error: the reason of a failure, or empty.
    """

    traceparent: str = ""
    member: str = ""
    status: str = "OK"
    error: str = ""
    _correlation_id: str = field(default="", repr=False)

    @property
    def correlation_id(self) -> str:
        """Finds the call in logs: its trace id when it is traced, else random."""
        if not self._correlation_id:
            self._correlation_id = secrets.token_hex(16)
        return self._correlation_id

    def failed(self, status: str, error: str) -> None:
        """Says how the call ended."""
        self.status, self.error = status, error


class Telemetry:
    """Records metrics and spans.

    Args:
        tracers: where spans go; nowhere if None.
        meters: where metrics go; nowhere if None.
        shutdown: sends what is left, and ends the exporters.

    Attributes:
        enabled: whether anything goes anywhere.
    """

    def __init__(
        self,
        tracers: TracerProvider | None = None,
        meters: MeterProvider | None = None,
        shutdown: Callable[[], None] = lambda: None,
    ) -> None:
        self.enabled = tracers is not None or meters is not None
        self._tracer = (tracers or NoOpTracerProvider()).get_tracer(SCOPE)
        meter = (meters or NoOpMeterProvider()).get_meter(SCOPE)
        self._tell = {metric.name: _instrument(meter, metric) for metric in METRICS}
        self.shutdown = shutdown

    def tell(
        self, metric: Metric, value: float, attributes: Attributes | None = None
    ) -> None:
        """Adds to a counter, sets a gauge, or records in a histogram."""
        if self.enabled:
            self._tell[metric.name](value, attributes)

    @contextmanager
    def call(self, method: str, metadata: Metadata) -> Iterator[Observation]:
        """Observes one call while the block runs.

        Args:
            method: the full method name without the leading slash.
            metadata: the caller's; only Trace Context is read.
        """
        carrier = {
            key: value
            for key, value in metadata
            if key in _TRACE_CONTEXT and isinstance(value, str)
        }
        if not self.enabled:
            yield Observation(_valid_traceparent(carrier))
            return
        with self._span(method, carrier) as observation:
            yield observation

    @contextmanager
    def _span(self, method: str, carrier: dict[str, str]) -> Iterator[Observation]:
        """Observes a call with a span and its duration."""
        attributes = {RPC_SYSTEM: "grpc", RPC_METHOD: method}
        begun = time.perf_counter()
        with self._tracer.start_as_current_span(
            method,
            context=_PROPAGATOR.extract(carrier),
            kind=SpanKind.SERVER,
            attributes=attributes,
            # Texts of exceptions may say more than is wanted outside.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            observation = _observation(span, carrier)
            try:
                yield observation
            finally:
                ended = _ending(observation)
                _end(span, observation, ended)
                duration = time.perf_counter() - begun
                self.tell(RPC_DURATION, duration, attributes | ended)


def _instrument(meter: Meter, metric: Metric) -> Tell:
    """Makes a metric's instrument; returns what records in it."""
    of = metric.name, metric.unit, metric.description
    match metric.kind:
        case Kind.COUNTER:
            return meter.create_counter(*of).add
        case Kind.GAUGE:
            return meter.create_gauge(*of).set
        case Kind.HISTOGRAM:
            bounds = _BUCKETS[metric.unit]
            create = partial(meter.create_histogram, *of)
            return create(explicit_bucket_boundaries_advisory=bounds).record


def _observation(span: Span, carrier: dict[str, str]) -> Observation:
    """Returns the observation of a call that has a span."""
    if not span.is_recording():
        return Observation(_valid_traceparent(carrier))
    outgoing: dict[str, str] = {}
    _PROPAGATOR.inject(outgoing)
    trace_id = format_trace_id(span.get_span_context().trace_id)
    return Observation(outgoing.get("traceparent", ""), _correlation_id=trace_id)


def _ending(observation: Observation) -> dict[str, str]:
    """Returns the attributes that say how a call ended."""
    ended = {RPC_STATUS: observation.status}
    if observation.error:
        ended[ERROR_TYPE] = observation.error
    return ended


def _end(span: Span, observation: Observation, ended: Attributes) -> None:
    """Writes down in a span how its call ended."""
    span.set_attributes({**ended, MEMBER: observation.member})
    if observation.status in _OUR_FAULT:
        span.set_status(Status(StatusCode.ERROR))


def _valid_traceparent(carrier: Mapping[str, str]) -> str:
    """Returns the caller's ``traceparent`` if it is one, to hand on as it came."""
    value = carrier.get("traceparent", "")
    return value if _TRACEPARENT.fullmatch(value) else ""
