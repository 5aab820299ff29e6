"""Where telemetry goes: OTLP, Prometheus, and logs as JSON lines on standard error.

Set up once for the process, by configuration. Importing this module imports the
OpenTelemetry SDK; nothing else of the exchange does.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import TextIO

import structlog
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from prometheus_client import CollectorRegistry, start_http_server

from onward_server import config
from onward_server.telemetry import Telemetry

_SERVICE = "onward-exchange"


def make_telemetry(settings: config.Telemetry, namespace: str) -> Telemetry:
    """Returns telemetry that goes where the configuration says.

    Args:
        settings: the section of the configuration.
        namespace: whose telemetry it is: a trust domain, or the name of a witness.

    Raises:
        OSError: the address for Prometheus cannot be listened on.
    """
    resource = Resource.create(
        {
            "service.name": _SERVICE,
            "service.version": version("onward"),
            "service.namespace": namespace,
        }
    )
    readers: list[MetricReader] = []
    endings: list[Callable[[], object]] = []
    tracers = None
    if settings.otlp_endpoint:
        tracers = _tracers(settings, resource)
        endings.append(tracers.shutdown)
        readers.append(
            PeriodicExportingMetricReader(
                OTLPMetricExporter(endpoint=settings.otlp_endpoint),
                export_interval_millis=settings.otlp_interval_seconds * 1000,
            )
        )
    if settings.prometheus_listen:
        reader, stop = _prometheus(settings.prometheus_listen)
        readers.append(reader)
        endings.append(stop)
    if not readers:
        return Telemetry()
    meters = MeterProvider(readers, resource, shutdown_on_exit=False)

    def shutdown() -> None:
        for end in (meters.shutdown, *endings):
            end()

    return Telemetry(tracers, meters, shutdown)


def configure_logging(level: str, stream: TextIO = sys.stderr) -> None:
    """Makes every log line of the process one JSON object.

    Each has ``time``, ``level``, ``event`` (a constant) and fields. Stacks come without
    the values of variables, which could be content.

    Args:
        level: the least important level that is written.
        stream: where to.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        ),
    ]
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    foreign = logging.StreamHandler(stream)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(
        handlers=[foreign], level=max(number, logging.WARNING), force=True
    )


def _tracers(settings: config.Telemetry, resource: Resource) -> TracerProvider:
    """Returns what sends spans."""
    tracers = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.trace_ratio)),
        resource=resource,
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint)
    tracers.add_span_processor(BatchSpanProcessor(exporter))
    return tracers


def _prometheus(address: str) -> tuple[MetricReader, Callable[[], None]]:
    """Returns what Prometheus reads from, and what ends it."""
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
    host = address.rpartition(":")[0].strip("[]")
    server, thread = start_http_server(config.port_of(address), host, registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return reader, stop
