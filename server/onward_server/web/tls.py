"""The certificate of the port for strangers, which changes while it runs.

Changed files are taken over for the handshakes that follow. What is not sound is
reported, and the certificate before stays in force.
"""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path

import structlog
from cryptography import x509

from onward.core.errors import MalformedError
from onward_server import telemetry as names
from onward_server.telemetry import Telemetry

_log = structlog.get_logger(__name__)


class WebCertificate:
    """A certificate and its key, from files.

    Args:
        certificate: PEM: the server's certificate, then its issuers.
        key: PEM: the private key of that certificate.
        telemetry: told of each change of the files that could not be taken over.

    Attributes:
        context: for handshakes. It stays the same one when the files change.
        not_after: when the certificate expires.

    Raises:
        MalformedError: the files are not sound now, when they are read first.
    """

    def __init__(self, certificate: Path, key: Path, telemetry: Telemetry) -> None:
        self._certificate = certificate
        self._key = key
        self._telemetry = telemetry
        self._state = self._look()
        self.not_after: datetime = self._check()
        self.context = _context()
        self.context.load_cert_chain(certificate, key)

    def refresh(self) -> None:
        """Takes over files that changed."""
        state = self._look()
        if state == self._state:
            return
        self._state = state
        try:
            self.not_after = self._check()
            self.context.load_cert_chain(self._certificate, self._key)
        except (MalformedError, OSError) as error:
            _log.error("web.reload_failed", rule=str(error))
            self._telemetry.tell(names.RELOAD_FAILURES, 1)
        else:
            _log.info("web.reloaded", not_after=self.not_after.isoformat())

    def _check(self) -> datetime:
        """Reads the files without taking them over; returns when they expire."""
        try:
            _context().load_cert_chain(self._certificate, self._key)
            pem = self._certificate.read_bytes()
        except ssl.SSLError:
            raise MalformedError(
                f"{self._certificate} and {self._key} are no certificate in PEM and "
                "its unencrypted private key",
                field="web.certificate_file",
            ) from None
        except OSError as error:
            raise MalformedError(
                f"{self._certificate} or {self._key} cannot be read: {error.strerror}",
                field="web.certificate_file",
            ) from None
        return x509.load_pem_x509_certificates(pem)[0].not_valid_after_utc

    def _look(self) -> list[tuple[int, int, int] | None]:
        """Returns what changes when a file changes."""
        return [_stat(path) for path in (self._certificate, self._key)]


def _context() -> ssl.SSLContext:
    """Returns what every handshake keeps to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def _stat(path: Path) -> tuple[int, int, int] | None:
    """Returns a file's identity; None for a file that is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
