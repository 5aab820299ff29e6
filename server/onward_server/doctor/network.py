"""Who has the ports, and what do members see there?"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from onward.core.errors import MalformedError
from onward.home import Home
from onward_server.bootstrap import OPERATOR_HOME
from onward_server.config import Config, port_of
from onward_server.doctor.findings import Finding, fine, problem, warning
from onward_server.exchange.clock import Clock
from onward_server.material import read_file

_TIMEOUT: Final = 5.0
_ANYWHERE: Final = {
    "0.0.0.0": "127.0.0.1",  # noqa: S104 - recognized, not bound
    "[::]": "::1",
}

NO_CERTIFICATE: Final = (
    "a client without a certificate that this exchange accepts is refused in the "
    "handshake, and gRPC shows it no more than `UNAVAILABLE: Socket closed`"
)


def check_ports(config: Config, _: Clock) -> Iterator[Finding]:
    """Looks at the two ports: free, ours, or somebody else's."""
    running = False
    for subject, listen in (
        ("port for members", config.api.listen),
        ("port for enrolment", config.enrolment.listen),
    ):
        finding, answers = _port(subject, listen, config)
        running = running or (answers and not finding.remedy)
        yield finding
    if running:
        yield _handshake(config)


def _port(subject: str, listen: str, config: Config) -> tuple[Finding, bool]:
    """Returns what a port is, and whether somebody answers there."""
    host, port = reach(listen)
    if not port:
        return fine(subject, f"{listen}: any free port"), False
    try:
        presented = _presented(host, port, Home(_operator(config)))
    except ConnectionRefusedError:
        return free(subject, host, port), False
    except (OSError, ValueError):
        presented = b""
    if presented == _leaf(config.tls.certificate_file):
        return fine(subject, f"{listen}: this exchange answers"), True
    if not presented:
        detail = f"{listen}: something answers, but not with TLS"
        remedy = "stop the program that has the port, or choose another port"
        return problem(subject, detail, remedy), True
    return (
        problem(
            subject,
            f"{listen}: whoever answers has another certificate than "
            f"{config.tls.certificate_file}",
            "if it is this exchange, its log says why it did not take the file over; "
            "if not, choose another port",
        ),
        True,
    )


def free(subject: str, host: str, port: int) -> Finding:
    """Tries whether this user may listen on a port where nobody answers."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            reason = errno.errorcode.get(error.errno or 0, "")
            return problem(
                subject,
                f"nobody answers on {host} port {port}, and it cannot be had: "
                f"{error.strerror} ({reason})",
                "choose another port, or give this user the right to it",
            )
    return fine(subject, f"{host} port {port} is free: the exchange is not running")


def _handshake(config: Config) -> Finding:
    """Connects as the operator does."""
    subject = "handshake"
    home = Home(_operator(config))
    if not home.is_enrolled:
        return fine(subject, f"not tried, without an operator's home; {NO_CERTIFICATE}")
    host, port = reach(config.api.listen)
    context = ssl.create_default_context(cadata=home.server_ca.decode("ascii"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    _show_certificate(context, home)
    try:
        with (
            socket.create_connection((host, port), _TIMEOUT) as connection,
            context.wrap_socket(
                connection, server_hostname=config.api.server_name
            ) as channel,
        ):
            # TLS 1.3 tells a client that it is refused only after the handshake: the
            # first bytes that come are either HTTP/2's settings or an alert.
            channel.recv(1)
            version = channel.version()
    except (OSError, ValueError) as error:
        return problem(
            subject,
            f"as the operator: {error}; {NO_CERTIFICATE}",
            "compare tls.client_ca_file with the operator's certificate, and look at "
            "what is said about certificates above",
        )
    if version != "TLSv1.3":
        return warning(subject, f"{version} was agreed", "only TLS 1.3 is served")
    return fine(subject, f"{version} as the operator; {NO_CERTIFICATE}")


def _presented(host: str, port: int, home: Home) -> bytes:
    """Returns the certificate (DER) with which a port answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if home.is_enrolled:
        _show_certificate(context, home)
    with (
        socket.create_connection((host, port), _TIMEOUT) as connection,
        context.wrap_socket(connection) as channel,
    ):
        return channel.getpeercert(binary_form=True) or b""


def _show_certificate(context: ssl.SSLContext, home: Home) -> None:
    """Has a member's certificate shown when a server asks for one."""
    context.load_cert_chain(home.path / "tls.crt", home.path / "keys" / "tls.key")


def _operator(config: Config) -> Path:
    return config.exchange.data_dir / OPERATOR_HOME


def _leaf(path: Path) -> bytes:
    """Returns the first certificate of a PEM file in DER."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = read_file(path).decode("ascii", "replace")
    try:
        first = text[text.index(begin) : text.index(end) + len(end)]
        return ssl.PEM_cert_to_DER_cert(first)
    except ValueError:
        raise MalformedError(f"{path} holds no certificate in PEM") from None


def reach(listen: str) -> tuple[str, int]:
    """Returns how to connect to an address that is listened on."""
    host = listen.rpartition(":")[0]
    return _ANYWHERE.get(host, host.strip("[]")), port_of(listen)
