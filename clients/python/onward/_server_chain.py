"""Finding the authority that an enrolment token names, before anything is trusted."""

from __future__ import annotations

import socket
import ssl
from hashlib import sha256
from typing import Final

from onward.core.errors import Reason, UnavailableError, VerificationError

_CONNECT_TIMEOUT: Final = 10.0


def find_authority(address: str, server_name: str, fingerprint: bytes) -> bytes:
    """Returns the certificate with a fingerprint from the chain that a server shows.

    The connection itself is not trusted, and nothing is sent on it: whoever answers,
    only the certificate that the operator's token names is taken. Blocks.

    Args:
        address: ``host:port`` of the server.
        server_name: the DNS name to ask for.
        fingerprint: SHA-256 of the certificate, DER.

    Returns:
        The certificate, PEM.

    Raises:
        UnavailableError: the server cannot be reached.
        VerificationError: it does not show that certificate.
    """
    host, _, port = address.rpartition(":")
    try:
        with (
            socket.create_connection(
                (host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT
            ) as plain,
            _untrusting().wrap_socket(plain, server_hostname=server_name) as tls,
        ):
            chain = _shown_chain(tls)
    except (OSError, ValueError) as error:
        raise UnavailableError(
            Reason.ERROR_REASON_UNSPECIFIED,
            f"the exchange cannot be reached at {address} for enrolment: {error}",
        ) from error
    for certificate in chain:
        if sha256(certificate).digest() == fingerprint:
            return ssl.DER_cert_to_PEM_cert(certificate).encode()
    raise VerificationError(
        Reason.ERROR_REASON_NOT_AUTHENTICATED,
        f"the server at {address} is not of the authority that the token names: it is "
        "not this exchange, or the token is of another one; ask the operator",
    )


def _untrusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the fingerprint decides, see above
    context.set_alpn_protocols(["h2"])
    return context


def _shown_chain(tls: ssl.SSLSocket) -> list[bytes]:
    """Returns the certificates that the server sent, DER.

    Public from Python 3.13 on; before, the same method is one layer below.
    """
    if hasattr(tls, "get_unverified_chain"):
        return list(tls.get_unverified_chain())
    certificates = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined] # noqa: SLF001
    return [ssl.PEM_cert_to_DER_cert(item.public_bytes()) for item in certificates]
