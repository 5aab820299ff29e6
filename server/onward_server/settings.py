"""What the configuration means for each part of the exchange."""

from __future__ import annotations

from urllib.parse import urlsplit

from onward_server.config import Config, Web
from onward_server.exchange.clock import Clock, SettableClock, SystemClock
from onward_server.exchange.limits import Limits
from onward_server.exchange.quotas import Allowance, Place, Resource
from onward_server.services.server import Port
from onward_server.services.tls import TlsFiles
from onward_server.telemetry import Telemetry
from onward_server.web.server import WebPort
from onward_server.web.tls import WebCertificate

_API_MESSAGE = 4 * 1024 * 1024
_ENROLMENT_MESSAGE = 64 * 1024
_ENROLMENT_CONNECTION = 120.0
_ENROLMENT_CALLS = 16


def clock(config: Config) -> Clock:
    """Returns what tells the exchange the time."""
    if config.test.clock:
        return SettableClock(config.exchange.data_dir / config.test.clock)
    return SystemClock()


def api_port(config: Config) -> Port:
    """Returns what the port for members is like."""
    return Port(
        config.api.listen,
        _API_MESSAGE,
        config.api.connection_age_seconds,
        config.api.drain_seconds,
        reflection=True,
    )


def enrolment_port(config: Config) -> Port:
    """Returns what the port for enrolment is like: short visits, small messages."""
    return Port(
        config.enrolment.listen,
        _ENROLMENT_MESSAGE,
        _ENROLMENT_CONNECTION,
        config.api.drain_seconds,
        calls=_ENROLMENT_CALLS,
    )


def api_files(config: Config) -> TlsFiles:
    """Returns the files of the port for members, whose certificates it asks for."""
    tls = config.tls
    return TlsFiles(tls.certificate_file, tls.key_file, client_ca=tls.client_ca_file)


def enrolment_files(config: Config) -> TlsFiles:
    """Returns the files of the port for enrolment, where clients pin the authority."""
    tls = config.tls
    return TlsFiles(tls.certificate_file, tls.key_file, issuer=tls.ca_certificate_file)


def web_prefix(web: Web) -> str:
    """Returns the path of the URL for strangers, without a slash at its end."""
    return urlsplit(web.url).path.rstrip("/")


def web_port(web: Web, telemetry: Telemetry) -> WebPort:
    """Returns what the port for strangers is like.

    Raises:
        MalformedError: its certificate cannot be used.
    """
    certificate = None
    if web.certificate_file and web.key_file:
        certificate = WebCertificate(web.certificate_file, web.key_file, telemetry)
    return WebPort(web.listen, certificate)


def limits(config: Config) -> Limits:
    """Returns the limits of the domain."""
    section = config.limits
    return Limits(
        inline_content=section.inline_content_size,
        content=section.content_size,
        batch_items=section.batch_items,
        clock_tolerance=section.clock_tolerance_seconds,
        lease=section.lease_seconds,
        heartbeat=section.heartbeat_seconds,
        upload_kept=section.upload_hours * 3600,
    )


def allowances(config: Config) -> dict[Resource, Allowance]:
    """Returns what each caller may do over time."""
    quotas, enrolment = config.quotas, config.enrolment
    return {
        Resource.PUBLISH: Allowance(quotas.publish_per_second, quotas.publish_burst),
        Resource.STATEMENTS: Allowance(
            quotas.statements_per_second, quotas.statements_burst
        ),
        Resource.READS: Allowance(quotas.reads_per_second, quotas.reads_burst),
        Resource.UPLOAD_BYTES: Allowance(
            quotas.upload_bytes_per_second, quotas.upload_burst_bytes
        ),
        Resource.ENROLMENT: Allowance(
            enrolment.calls_per_minute / 60, enrolment.calls_per_minute
        ),
    }


def places(config: Config) -> dict[Place, int]:
    """Returns how much may be open at the same time."""
    return {
        Place.STREAM: config.quotas.streams,
        Place.EXPORT: config.quotas.exports,
        Place.ENROLMENT: config.enrolment.concurrent_calls,
    }
