"""What the exchange tells about itself, and what it never tells."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from onward.core.statements import parse_statement, statement_digest
from onward.v1 import log_pb2, log_pb2_grpc, referral_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.log_reader import LogReader
from onward_server.exporting import configure_logging, make_telemetry
from onward_server.telemetry import METRICS, Telemetry
from tests.support.process import free_port
from tests.support.service import Service, first, open_service, refused
from tests.support.world import HOTLINE, STATE_POLICE

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "the clerk at the motel, 555-0100"


class Told:
    """Everything that was told."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.metrics = InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        meters = MeterProvider([self.metrics], shutdown_on_exit=False)
        self.telemetry = Telemetry(tracers, meters)

    def span(self, method: str) -> ReadableSpan:
        """Returns the newest span of a method."""
        name = f"onward.v1.{method}"
        return [s for s in self.spans.get_finished_spans() if s.name == name][-1]

    def points(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        """Returns the points of a metric by their attributes."""
        data = self.metrics.get_metrics_data()
        return {
            frozenset((point.attributes or {}).items()): point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }

    def value(self, name: str, **attributes: str) -> Any:
        """Returns the value of one point."""
        wanted = frozenset((key.replace("__", "."), v) for key, v in attributes.items())
        point = self.points(name)[wanted]
        return getattr(point, "value", None) or getattr(point, "count", 0)


async def receive(service: Service) -> referral_pb2.Delivery:
    """Receives one delivery, up to the logged Received."""
    stub = service.referrals(STATE_POLICE)
    stream = stub.Receive(referral_pb2.ReceiveRequest(max_outstanding=1))
    delivery: referral_pb2.Delivery = (await first(stream)).delivery
    handover = (await first(stream)).handover
    received = service.world.sign(
        STATE_POLICE,
        referral_id=handover.referral_id,
        previous=statement_digest(handover.handover.statement),
        received=statement_pb2.Received(
            content_digest=parse_statement(
                delivery.referral.statement
            ).message.referral.content_digest,
            check=vocabulary_pb2.CONTENT_CHECK_VERIFIED,
        ),
    )
    request = referral_pb2.SubmitStatementRequest(statement=received.jws)
    await stub.SubmitStatement(request)
    stream.cancel()
    return delivery


async def test_a_call_is_one_server_span_that_continues_the_callers_trace(
    tmp_path: Path,
) -> None:
    told = Told()
    async with open_service(tmp_path, telemetry=told.telemetry) as service:
        metadata = (("traceparent", TRACEPARENT), ("x-other", "not told"))
        await service.referrals(HOTLINE).Publish(
            service.publish_request(content=SECRET.encode()), metadata=metadata
        )
        delivery = await receive(service)
    span = told.span("ReferralService/Publish")
    assert span.kind is SpanKind.SERVER
    assert dict(span.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": "onward.v1.ReferralService/Publish",
        "rpc.response.status_code": "OK",
        "onward.member": HOTLINE,
    }
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" in TRACEPARENT
    assert not span.events
    # The recipient goes on from the publishing call.
    assert span.context is not None
    handed = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"
    assert delivery.traceparent == handed


async def test_without_telemetry_the_callers_context_is_handed_on_if_it_is_one(
    service: Service,
) -> None:
    stub = service.referrals(HOTLINE)
    wrong = "00-" + "x" * 500
    for given, expected in ((TRACEPARENT, TRACEPARENT), (wrong, "")):
        await stub.Publish(
            service.publish_request(), metadata=(("traceparent", given),)
        )
        assert (await receive(service)).traceparent == expected


async def test_a_refusal_is_told_by_its_reason_and_is_not_our_error(
    tmp_path: Path,
) -> None:
    told = Told()
    async with open_service(tmp_path, telemetry=told.telemetry) as service:
        publish = service.referrals(HOTLINE).Publish
        answer = await refused(publish(referral_pb2.PublishRequest(referral=SECRET)))
    span = told.span("ReferralService/Publish")
    assert span.attributes is not None
    assert span.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert span.attributes["error.type"] == "MALFORMED"
    assert span.status.status_code is StatusCode.UNSET
    assert span.context is not None
    assert answer.correlation_id == f"{span.context.trace_id:032x}"
    assert (
        told.value(
            "rpc.server.call.duration",
            rpc__system__name="grpc",
            rpc__method="onward.v1.ReferralService/Publish",
            rpc__response__status_code="INVALID_ARGUMENT",
            error__type="MALFORMED",
        )
        == 1
    )


async def test_a_defect_is_our_error_and_its_text_stays_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> str:
        raise RuntimeError(SECRET)

    told = Told()
    async with open_service(tmp_path, telemetry=told.telemetry) as service:
        monkeypatch.setattr(LogReader, "checkpoint", broken)
        stub = log_pb2_grpc.LogServiceStub(service.channel(HOTLINE))
        await refused(stub.GetCheckpoint(log_pb2.GetCheckpointRequest()))
    # The caller may have its answer before the span ends; a stopped exchange has none.
    span = told.span("LogService/GetCheckpoint")
    assert span.status.status_code is StatusCode.ERROR
    assert SECRET not in span.to_json()


async def test_names_of_methods_that_nobody_serves_are_not_kept(
    tmp_path: Path,
) -> None:
    told = Told()
    async with open_service(tmp_path, telemetry=told.telemetry) as service:
        channel: Any = service.channel(HOTLINE)
        for number in range(3):
            await refused(channel.unary_unary(f"/guess/{number}")(b""))
    points = told.points("rpc.server.call.duration")
    methods = {dict(point)["rpc.method"] for point in points}
    assert methods == {"_OTHER"}


async def test_the_metrics_of_a_referral(tmp_path: Path) -> None:
    told = Told()
    async with open_service(tmp_path, telemetry=told.telemetry) as service:
        stub = service.referrals(HOTLINE)
        for fields in (
            {},
            {"test": True},
            {
                "reporter_type": vocabulary_pb2.REPORTER_TYPE_POTENTIAL_VICTIM,
                "consent": {"state": vocabulary_pb2.CONSENT_STATE_DECLINED},
            },
        ):
            request = service.publish_request(**fields)
            batch = referral_pb2.PublishBatchRequest(requests=[request, request])
            await stub.PublishBatch(batch)
        for result in ("accepted", "rejected"):
            published = told.value(
                "onward.referrals.published",
                onward__urgency="ROUTINE",
                onward__result=result,
            )
            assert published == 1
        service.clock.advance(90)
        for _ in range(2):
            delivery = await receive(service)
            referral = parse_statement(delivery.referral.statement).message
            # Stays as it is: received, once.
            erase = referral_pb2.EraseContentRequest(referral_id=referral.id)
            await stub.EraseContent(erase)
        ((_, latency),) = told.points("onward.delivery.latency").items()
        assert latency.count == 1, "the test referral does not count"
        assert 90 <= latency.sum < 100
        await service.app._ports.upkeep.gauge()
        assert told.value("onward.deliveries", onward__delivery__state="RECEIVED") == 2
        assert told.value("onward.log.size") == service.app.ledger.head().size
        (group,) = told.points("onward.ledger.group.size").values()
        (commit,) = told.points("onward.ledger.commit.duration").values()
        assert group.sum >= 6 + 2
        assert commit.count >= group.count


async def test_gauges_of_what_waits_and_of_the_certificate(tmp_path: Path) -> None:
    told = Told()
    async with open_service(tmp_path, telemetry=told.telemetry) as service:
        await service.referrals(HOTLINE).Publish(service.publish_request())
        service.clock.advance(3600)
        await service.app._ports.upkeep.gauge()
        await service.app._ports.upkeep.watch_certificates()
        oldest = "onward.deliveries.oldest_waiting"
        assert 3600 <= told.value(oldest, onward__urgency="ROUTINE") < 3700
        assert told.value(oldest, onward__urgency="MINOR") == 0
        assert told.value("onward.deliveries", onward__delivery__state="ACCEPTED") == 1
        assert 360 < told.value("onward.tls.certificate.left") < 366
        assert told.value("onward.ready") == 1


def test_every_metric_has_a_name_of_its_own_and_says_what_it_is() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.description.endswith(".")
        assert metric.name.startswith(("onward.", "rpc.server."))


async def test_prometheus_reads_what_was_told(tmp_path: Path) -> None:
    port = free_port()
    settings = {"ONWARD__TELEMETRY__PROMETHEUS_LISTEN": f"127.0.0.1:{port}"}
    async with open_service(tmp_path, settings) as service:
        telemetry = make_telemetry(service.config.telemetry, "national.example")
        telemetry.tell(METRICS[0], 0.2, {"rpc.method": "a/B"})
        page = await read_http(port)
        assert "rpc_server_call_duration_seconds_count{" in page
        assert 'rpc_method="a/B"' in page
        telemetry.shutdown()


async def read_http(port: int) -> str:
    """Fetches the page that Prometheus would."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    page = await reader.read()
    writer.close()
    await writer.wait_closed()
    return page.decode()


# --- logs -----------------------------------------------------------------------------


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Where log lines of the process go."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    configure_logging("debug", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_log_line_is_one_json_object_with_a_constant_event(
    lines: io.StringIO,
) -> None:
    structlog.get_logger("x").info("thing.happened", count=3)
    line = json.loads(lines.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "event": "thing.happened", "count": 3}


def test_a_stack_comes_without_the_values_of_variables(lines: io.StringIO) -> None:
    def fails(narrative: str) -> None:
        raise ValueError

    try:
        fails(SECRET)
    except ValueError:
        structlog.get_logger("x").exception("thing.failed")
    line = json.loads(lines.getvalue())
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert SECRET not in lines.getvalue()


def test_lines_of_libraries_have_the_same_form(lines: io.StringIO) -> None:
    logging.getLogger("grpc").error("it is %s", "gone")
    line = json.loads(lines.getvalue())
    assert (line["event"], line["level"]) == ("it is gone", "error")


async def test_logs_never_hold_statements_content_or_tokens(
    tmp_path: Path, lines: io.StringIO
) -> None:
    async with open_service(tmp_path) as service:
        request = service.publish_request(content=SECRET.encode())
        stub = service.referrals(HOTLINE)
        await stub.Publish(request)
        await refused(stub.Publish(referral_pb2.PublishRequest(referral=SECRET)))
        request.sealed_content = SECRET.encode()
        changed = request.referral[:-4] + "AAAA"
        await refused(stub.Publish(referral_pb2.PublishRequest(referral=changed)))
        await receive(service)
    written = lines.getvalue()
    assert '"reason": "MALFORMED"' in written
    assert SECRET not in written
    assert not any(len(word) > 200 for word in written.split())
    assert "eyJ" not in written, "a compact JWS begins so"
