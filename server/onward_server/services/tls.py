"""TLS of the exchange's ports, with certificates that change while it runs.

The transport asks :meth:`Certificates.fetch` before every handshake, on a thread of its
own. Files that changed and are sound are taken over; what is not sound is reported, and
the certificates before stay in force, since the transport would keep them silently.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from onward.core.errors import MalformedError
from onward_server import telemetry as names
from onward_server.telemetry import Telemetry

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the PEM files are.

    Attributes:
        certificate: the server's certificate, then its issuers.
        key: the private key of that certificate.
        client_ca: the authorities whose certificates clients may present; None on a
            port where clients have none.
        issuer: the authority that clients pin; sent at the end of the chain if it is
            not there already.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    issuer: Path | None = None

    @property
    def all(self) -> list[Path]:
        """All of them."""
        paths = (self.certificate, self.key, self.client_ca, self.issuer)
        return [path for path in paths if path is not None]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What the files held."""

    configuration: grpc.ServerCertificateConfiguration
    not_after: datetime


class Certificates:
    """The certificates of one port. Safe to use from several threads.

    Args:
        files: where they are.
        telemetry: told of each change of the files that could not be taken over.

    Raises:
        MalformedError: the files are not sound now, when they are read first.
    """

    def __init__(self, files: TlsFiles, telemetry: Telemetry) -> None:
        self._files = files
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self._state = _state(files)
        self._loaded = self._in_use = _load(files)

    @property
    def not_after(self) -> datetime:
        """When the server's certificate expires."""
        return self._loaded.not_after

    def credentials(self) -> grpc.ServerCredentials:
        """Returns the credentials of a port: mutual TLS if there are client CAs."""
        return grpc.dynamic_ssl_server_credentials(
            self._loaded.configuration,
            self.fetch,  # type: ignore[arg-type]  # None means no change
            require_client_authentication=self._files.client_ca is not None,
        )

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Returns what the next handshake is to use; None for the same as the last."""
        self.refresh()
        with self._lock:
            if self._loaded is self._in_use:
                return None
            self._in_use = self._loaded
            return self._loaded.configuration

    def refresh(self) -> None:
        """Takes over files that changed, so that a mistake in them is told early."""
        with self._lock:
            state = _state(self._files)
            if state != self._state:
                self._state = state
                self._reload()

    def _reload(self) -> None:
        """Takes changed files over, or says that they cannot be."""
        try:
            self._loaded = _load(self._files)
        except MalformedError as error:
            _log.error("tls.reload_failed", rule=error.message)
            self._telemetry.tell(names.RELOAD_FAILURES, 1)
        else:
            _log.info("tls.reloaded", not_after=self._loaded.not_after.isoformat())


def _state(files: TlsFiles) -> list[tuple[int, int, int] | None]:
    """Returns what changes when a file changes; None for a file that is not there."""
    return [_stat(path) for path in files.all]


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _load(files: TlsFiles) -> _Loaded:
    """Reads the files, and checks that they belong together.

    Raises:
        MalformedError: names the file that is wrong, and why.
    """
    chain = _read(files.certificate)
    certificates = _certificates(files.certificate, chain)
    key = _read(files.key)
    _check_key(files, certificates[0], key)
    if files.issuer is not None:
        issuer = _read(files.issuer)
        (authority, *_) = _certificates(files.issuer, issuer)
        if authority not in certificates:
            chain = chain.rstrip() + b"\n" + authority.public_bytes(Encoding.PEM)
    roots = None
    if files.client_ca is not None:
        roots = _read(files.client_ca)
        _certificates(files.client_ca, roots)
    return _Loaded(
        grpc.ssl_server_certificate_configuration([(key, chain)], roots),
        certificates[0].not_valid_after_utc,
    )


def _read(path: Path) -> bytes:
    """Returns what a file holds."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise MalformedError(f"{path} cannot be read: {error.strerror}") from None


def _certificates(path: Path, pem: bytes) -> list[x509.Certificate]:
    """Returns the certificates of a file; at least one."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise MalformedError(f"{path} holds no certificates in PEM") from None


def _check_key(files: TlsFiles, certificate: x509.Certificate, pem: bytes) -> None:
    """Checks that a private key is the certificate's."""
    try:
        public = load_pem_private_key(pem, None).public_key()
    except (ValueError, TypeError):
        raise MalformedError(
            f"{files.key} holds no unencrypted private key in PEM"
        ) from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if public.public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise MalformedError(
            f"{files.key} is not the key of the certificate in {files.certificate}"
        )
