"""What the doctor sees on the way to the exchange: address, port, TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Final

from onward._clock import Clock
from onward.cli._findings import Finding, fine, problem
from onward.home import Home

_TIMEOUT: Final = 5.0

_REFUSED: Final = (
    "the exchange ends the connection when it has seen this member's certificate. "
    "That is all that a refused client ever sees, and why gRPC says no more than "
    "'Socket closed'"
)
_ASK_OPERATOR: Final = (
    "see what is said of the certificate above; if it is valid, ask the operator which "
    "authorities the exchange accepts (tls.client_ca_file)"
)


def check_way(home: Home, _: Clock) -> Iterator[Finding]:
    """Connects as the client does, one layer after the other."""
    address = home.settings.address
    host, port = address.rsplit(":", 1)
    try:
        connection = socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT)
    except OSError as error:
        yield problem(
            "address",
            f"{address} cannot be reached: {error}",
            "look at the network, and at 'address' in member.toml; if both are right, "
            "the exchange is down",
        )
        return
    yield fine("address", f"{address} can be reached")
    with connection:
        yield _handshake(home, connection)


def _handshake(home: Home, connection: socket.socket) -> Finding:
    """Speaks TLS as this member."""
    subject, name = "TLS", home.settings.server_name
    try:
        with _context(home).wrap_socket(connection, server_hostname=name) as channel:
            # TLS 1.3 tells a client that it is refused only after the handshake: the
            # first bytes that come are either HTTP/2's settings or an alert.
            if not channel.recv(1):
                return problem(subject, _REFUSED, _ASK_OPERATOR)
            return fine(subject, f"{channel.version()} with {name}")
    except ssl.SSLCertVerificationError as error:
        return problem(
            subject,
            f"the exchange's certificate is not to be trusted: {error.verify_message}",
            "if this machine's clock is right, ask the operator: either its "
            "certificate must be renewed, or this is not the exchange",
        )
    except (ssl.SSLError, ConnectionError) as error:
        return problem(subject, f"{_REFUSED} ({error})", _ASK_OPERATOR)
    except TimeoutError:
        return problem(
            subject,
            "whoever listens there says nothing",
            "look at 'address' in member.toml; if it is right, the exchange is stuck",
        )


def _context(home: Home) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=home.server_ca.decode("ascii"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(home.path / "tls.crt", home.path / "keys" / "tls.key")
    return context
