"""Who may come in: the caller's certificate, judged again for every call.

The handshake has checked that the certificate leads to a trusted authority, and that
the caller holds its key. Everything else is decided here, each time anew, since a
connection may outlive whatever was true when it was made: the certificate expires, the
member is suspended, the certificate is revoked, the exchange shuts down. A stream asks
again while it is open, so it ends by the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtensionOID

from onward.core.directory import MemberEntry
from onward.core.errors import (
    ForbiddenError,
    MalformedError,
    Reason,
    UnauthenticatedError,
    UnavailableError,
)
from onward.core.identity import SpiffeId
from onward.v1 import vocabulary_pb2
from onward_server.exchange.clock import Clock
from onward_server.exchange.directory import Caller, Directory

TLS_VERSION = b"TLSv1.3"
_CACHED_CERTIFICATES = 4096

_LOCKED_OUT: Mapping[int, tuple[Reason.ValueType, str]] = MappingProxyType(
    {
        vocabulary_pb2.MEMBER_STATUS_PENDING: (
            Reason.ERROR_REASON_NOT_A_MEMBER,
            "was added but has not enrolled; enrol with the operator's token",
        ),
        vocabulary_pb2.MEMBER_STATUS_SUSPENDED: (
            Reason.ERROR_REASON_MEMBER_SUSPENDED,
            "is suspended; ask the operator of the exchange",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What counts of a client certificate.

    ``fingerprint`` is the SHA-256 of the DER certificate; times are milliseconds since
    1970-01-01 UTC, both inclusive.
    """

    name: SpiffeId
    fingerprint: bytes
    not_before_ms: int
    not_after_ms: int


@lru_cache(maxsize=_CACHED_CERTIFICATES)
def read_certificate(pem: bytes) -> PeerCertificate:
    """Reads a client certificate.

    Raises:
        UnauthenticatedError: ``NOT_AUTHENTICATED``: it is no certificate, or does not
            have exactly one URI name that is a SPIFFE ID (X.509-SVID section 2).
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = _uri_names(certificate)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise _not_authenticated("cannot be read") from None
    if len(names) != 1:
        raise _not_authenticated(
            f"has {len(names)} URI names, and must have exactly one: the member's "
            "SPIFFE ID"
        )
    try:
        name = SpiffeId.parse(names[0])
    except MalformedError as error:
        raise _not_authenticated(f"has a name that is {error.message}") from None
    return PeerCertificate(
        name,
        certificate.fingerprint(SHA256()),
        int(certificate.not_valid_before_utc.timestamp() * 1000),
        int(certificate.not_valid_after_utc.timestamp() * 1000),
    )


class Gate:
    """Admits callers.

    Args:
        directory: the members as they are now.
        trust_domain: that of this exchange.
        clock: judges the validity of certificates.
    """

    def __init__(self, directory: Directory, trust_domain: str, clock: Clock) -> None:
        self._directory = directory
        self._trust_domain = trust_domain
        self._clock = clock
        self._draining = False

    def drain(self) -> None:
        """From here on nobody is admitted, and open streams end."""
        self._draining = True

    @staticmethod
    def check_channel(tls_version: bytes) -> None:
        """Checks what holds for every caller, members or not.

        Raises:
            UnauthenticatedError: ``TLS_VERSION``: the channel is not TLS 1.3. The
                transport cannot be told to refuse the handshake, so the call is.
        """
        if tls_version != TLS_VERSION:
            raise UnauthenticatedError(
                Reason.ERROR_REASON_TLS_VERSION,
                "this exchange takes calls over TLS 1.3 only; use a client that speaks "
                "it",
            )

    def admit(self, certificate: bytes, tls_version: bytes) -> Caller:
        """Returns who is calling. Cheap enough to be asked again and again.

        Args:
            certificate: the verified client certificate as PEM; empty if there is none.
            tls_version: as the transport names it, such as ``TLSv1.3``.

        Raises:
            UnauthenticatedError: ``TLS_VERSION``, or ``NOT_AUTHENTICATED``: no usable
                certificate, or it is not valid at this time.
            ForbiddenError: ``NOT_A_MEMBER``, ``MEMBER_SUSPENDED`` or
                ``CERTIFICATE_REVOKED``.
            UnavailableError: ``DRAINING``.
        """
        self.check_channel(tls_version)
        if not certificate:
            raise _not_authenticated("is missing")
        peer = read_certificate(certificate)
        self._check_validity(peer)
        caller = Caller(self._member(peer.name), peer.fingerprint)
        if peer.fingerprint in caller.entry.revoked_certificates:
            raise ForbiddenError(
                Reason.ERROR_REASON_CERTIFICATE_REVOKED,
                f"this certificate of {caller.name} has been revoked; enrol again",
                metadata={"member": caller.name},
            )
        self._check_draining()
        return caller

    def _check_validity(self, peer: PeerCertificate) -> None:
        """A connection may be older than the end of its certificate."""
        now = self._clock.now_ms()
        if not peer.not_before_ms <= now <= peer.not_after_ms:
            raise _not_authenticated(
                "is not valid at this time; renew it, and check the clock"
            )

    def _member(self, name: SpiffeId) -> MemberEntry:
        """Returns the entry of a member who takes part."""
        own = name.trust_domain == self._trust_domain
        entry = self._directory.find(str(name)) if own else None
        if entry is None:
            raise ForbiddenError(
                Reason.ERROR_REASON_NOT_A_MEMBER,
                f"{name} is not a member of this exchange",
                metadata={"member": str(name)},
            )
        if not entry.active:
            reason, why = _LOCKED_OUT.get(entry.proto.status, _INACTIVE)
            raise ForbiddenError(
                reason, f"{name} {why}", metadata={"member": str(name)}
            )
        return entry

    def _check_draining(self) -> None:
        """Comes last, so that nobody without access learns of it."""
        if self._draining:
            raise UnavailableError(
                Reason.ERROR_REASON_DRAINING,
                "the exchange is shutting down; connect again",
                retry_after=1.0,
            )


_INACTIVE = (Reason.ERROR_REASON_NOT_A_MEMBER, "does not take part")


def _uri_names(certificate: x509.Certificate) -> list[str]:
    """Returns all URI names of a certificate."""
    try:
        names = certificate.extensions.get_extension_for_oid(
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        ).value
    except x509.ExtensionNotFound:
        return []
    assert isinstance(names, x509.SubjectAlternativeName)  # noqa: S101 - by its OID
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _not_authenticated(problem: str) -> UnauthenticatedError:
    """Returns the error for a certificate that does not say who is calling."""
    return UnauthenticatedError(
        Reason.ERROR_REASON_NOT_AUTHENTICATED, f"the client certificate {problem}"
    )
