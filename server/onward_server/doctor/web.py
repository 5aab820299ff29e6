"""Can strangers find the log, and is it this one?"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final

from onward.core.errors import MalformedError
from onward_server import settings
from onward_server.config import Config
from onward_server.doctor.findings import Finding, fine, problem, warning
from onward_server.doctor.network import free, reach
from onward_server.exchange.clock import Clock, to_datetime
from onward_server.telemetry import Telemetry
from onward_server.web.tls import WebCertificate

_TIMEOUT: Final = 5.0
_SOON: Final = timedelta(days=14)
_ENOUGH: Final = 4096


def check_web(config: Config, clock: Clock) -> Iterator[Finding]:
    """Looks at the port for strangers, if there is to be one."""
    if not config.web.listen:
        return
    yield from _certificate(config, clock)
    yield _port(config)
    if not config.web.url:
        yield warning(
            "log's URL",
            "trust files do not say where the log is",
            "set web.url to where strangers find it",
        )


def _certificate(config: Config, clock: Clock) -> Iterator[Finding]:
    """Looks at the certificate of the port."""
    subject, section = "web certificate", config.web
    if section.certificate_file is None or section.key_file is None:
        return
    try:
        certificate = WebCertificate(
            section.certificate_file, section.key_file, Telemetry()
        )
    except MalformedError as error:
        yield problem(subject, error.message, "name a certificate and its own key")
        return
    left = certificate.not_after - to_datetime(clock.now_ms())
    detail = f"valid until {certificate.not_after:%Y-%m-%d}"
    remedy = "replace the files; the exchange takes them over"
    if left < timedelta():
        yield problem(subject, f"it was {detail}", remedy)
    elif left < _SOON:
        yield warning(subject, detail, remedy)
    else:
        yield fine(subject, detail)


def _port(config: Config) -> Finding:
    """Looks at who answers: nobody, this log, or something else."""
    subject, listen = "port for strangers", config.web.listen
    host, port = reach(listen)
    if not port:
        return fine(subject, f"{listen}: any free port")
    try:
        origin = _origin(config, host, port)
    except ConnectionRefusedError:
        return free(subject, host, port)
    except (OSError, HTTPException):
        origin = ""
    if origin == config.exchange.origin:
        return fine(subject, f"{listen}: the log {origin} is there")
    return problem(
        subject,
        f"{listen}: something answers that is not the log {config.exchange.origin}",
        "stop the program that has the port, or choose another port",
    )


def _origin(config: Config, host: str, port: int) -> str:
    """Returns the first line of the checkpoint that a port answers with."""
    connection: HTTPConnection
    if config.web.certificate_file:
        context = ssl.create_default_context()
        # It is asked for its log, and not for who it is.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = HTTPSConnection(host, port, timeout=_TIMEOUT, context=context)
    else:
        connection = HTTPConnection(host, port, timeout=_TIMEOUT)
    with closing(connection):
        connection.request("GET", f"{settings.web_prefix(config.web)}/checkpoint")
        answer = connection.getresponse().read(_ENOUGH).decode("utf-8", "replace")
    return answer.partition("\n")[0]
