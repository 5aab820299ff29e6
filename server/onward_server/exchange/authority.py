"""The certificate authority: who calls is what a certificate of ours says.

A member sends a certificate request, and of it only the public key is taken, once the
request's own signature proved that the member holds the private key. The name in the
certificate is the one that the directory has; what the request asks for does not count.
Profile (SPIFFE X.509-SVID, RFC 5280): exactly one URI name, the subject empty, so the
name extension is critical; key usage digital signature; never an authority itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from typing import Final, Self

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from onward.core.errors import (
    MalformedError,
    Reason,
    TooLargeError,
    UnavailableError,
    VerificationError,
)
from onward.core.identity import SpiffeId

MAX_REQUEST_SIZE: Final = 4096
"""Of a certificate request in DER (``enrollment.proto``)."""

AUTHORITY_LIFETIME: Final = timedelta(days=3650)

BACKDATED: Final = timedelta(minutes=5)
"""How long before it was made a certificate is valid: members' clocks may be slow."""

_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_END_ENTITY: Final = x509.BasicConstraints(ca=False, path_length=None)
_MAX_COMMON_NAME: Final = 64  # RFC 5280, ub-common-name
_CLIENT: Final = (ExtendedKeyUsageOID.CLIENT_AUTH,)
_SERVER: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """Issues certificates. Made by :meth:`create` or :meth:`load`.

    Attributes:
        certificate: the authority's own certificate.
    """

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, trust_domain: str, now: datetime) -> Self:
        """Makes a new authority with a P-384 key and a certificate for ten years."""
        key = ec.generate_private_key(ec.SECP384R1())
        common_name = f"{trust_domain} authority"[:_MAX_COMMON_NAME]
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            x509.CertificateBuilder(
                issuer_name=name,
                subject_name=name,
                public_key=key.public_key(),
                serial_number=x509.random_serial_number(),
                not_valid_before=now - BACKDATED,
                not_valid_after=now + AUTHORITY_LIFETIME,
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(identifier, critical=False)
            .sign(key, hashes.SHA384())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate_pem: bytes, key_pem: bytes) -> Self:
        """Reads an authority.

        Raises:
            MalformedError: not a certificate of an authority, or not its key.
        """
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            key = serialization.load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError):
            raise MalformedError(
                "the authority's certificate or key is not PEM, or the key is encrypted"
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(
            key.curve, _CURVES
        ):
            raise MalformedError("the authority's key must be on P-256 or P-384")
        if key.public_key() != certificate.public_key():
            raise MalformedError("the authority's key is not that of its certificate")
        if not _is_authority(certificate):
            raise MalformedError("the authority's certificate may not issue others")
        return cls(certificate, key)

    @property
    def certificate_pem(self) -> str:
        """The authority's certificate, PEM."""
        return _pem(self.certificate)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the authority's certificate in DER: what tokens pin."""
        return fingerprint(self.certificate)

    def key_pem(self) -> bytes:
        """The authority's private key, PEM, not encrypted."""
        return private_key_pem(self._key)

    def issue(
        self, request: bytes, name: SpiffeId, now: datetime, lifetime: timedelta
    ) -> str:
        """Issues a member's certificate.

        Args:
            request: PKCS #10, DER, at most 4 KiB. Only its public key is used.
            name: the member.
            now: the present time.
            lifetime: at most how long; the authority's own end comes first.

        Returns:
            PEM: the certificate, then the authority's.

        Raises:
            TooLargeError: the request is over 4 KiB.
            MalformedError: it is no request, or its key is not on P-256 or P-384.
            VerificationError: POSSESSION_UNPROVEN: it is not signed with its key.
            UnavailableError: the authority has expired.
        """
        public_key = requested_key(request)
        names = [x509.UniformResourceIdentifier(str(name))]
        certificate = self._sign(public_key, names, _CLIENT, now, lifetime)
        _log.info(
            "authority.issued",
            member=str(name),
            fingerprint=fingerprint(certificate).hex(),
            not_after=certificate.not_valid_after_utc.isoformat(),
        )
        return _pem(certificate) + self.certificate_pem

    def issue_server(
        self,
        public_key: ec.EllipticCurvePublicKey,
        name: SpiffeId,
        hosts: Sequence[str],
        now: datetime,
        lifetime: timedelta,
    ) -> str:
        """Issues the exchange's own certificate.

        Args:
            public_key: its key.
            name: the exchange.
            hosts: the DNS names and IP addresses under which members connect.
            now: the present time.
            lifetime: at most how long.

        Returns:
            PEM: the certificate, then the authority's.

        Raises:
            MalformedError: a host is neither a DNS name nor an IP address.
            UnavailableError: the authority has expired.
        """
        names = [
            x509.UniformResourceIdentifier(str(name)),
            *(_host_name(host) for host in hosts),
        ]
        certificate = self._sign(public_key, names, _SERVER, now, lifetime)
        return _pem(certificate) + self.certificate_pem

    def _sign(
        self,
        public_key: ec.EllipticCurvePublicKey,
        names: Sequence[x509.GeneralName],
        usages: tuple[x509.ObjectIdentifier, ...],
        now: datetime,
        lifetime: timedelta,
    ) -> x509.Certificate:
        """Signs an end-entity certificate."""
        end = self.certificate.not_valid_after_utc
        if now >= end:
            raise UnavailableError(
                Reason.ERROR_REASON_INTERNAL,
                "the exchange's certificate authority has expired; its operator must "
                "make a new one",
            )
        builder = (
            x509.CertificateBuilder(
                issuer_name=self.certificate.subject,
                subject_name=x509.Name([]),
                public_key=public_key,
                serial_number=x509.random_serial_number(),
                not_valid_before=now - BACKDATED,
                not_valid_after=min(now + lifetime, end),
            )
            .add_extension(_END_ENTITY, critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False
            )
            .add_extension(self._identifier(), critical=False)
        )
        return builder.sign(self._key, _hash_for(self._key))

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        """Returns how certificates of this authority name its key."""
        own = self.certificate.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier
        )
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def requested_key(request: bytes) -> ec.EllipticCurvePublicKey:
    """Returns the public key of a certificate request whose signature holds.

    Raises:
        TooLargeError: the request is over 4 KiB.
        MalformedError: it is no request in DER, or its key is not on P-256 or P-384.
        VerificationError: POSSESSION_UNPROVEN: it is not signed with its key.
    """
    if len(request) > MAX_REQUEST_SIZE:
        raise TooLargeError(
            "the certificate request", len(request), MAX_REQUEST_SIZE, field="csr"
        )
    try:
        parsed = x509.load_der_x509_csr(request)
        key = parsed.public_key()
        proven = parsed.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise MalformedError(
            "the certificate request is not PKCS #10 in DER", field="csr"
        ) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        key.curve, _CURVES
    ):
        raise MalformedError(
            "the key of the certificate request must be on P-256 or P-384", field="csr"
        )
    if not proven:
        raise VerificationError(
            Reason.ERROR_REASON_POSSESSION_UNPROVEN,
            "the certificate request is not signed with its own key",
            field="csr",
        )
    return key


def make_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Returns a certificate request for a key, DER, with nothing in it but the key."""
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    return builder.sign(key, _hash_for(key)).public_bytes(serialization.Encoding.DER)


def private_key_pem(
    key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey | MLDSA44PrivateKey,
) -> bytes:
    """Returns a private key as PEM (PKCS #8), not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def fingerprint(certificate: x509.Certificate) -> bytes:
    """Returns SHA-256 over a certificate in DER."""
    return sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()


def names_of(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    """Returns the names in a certificate; none where it has no such extension."""
    try:
        return certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """Returns the DNS names and IP addresses that a certificate is for."""
    names = names_of(certificate)
    return [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]


def _is_authority(certificate: x509.Certificate) -> bool:
    """Whether a certificate says that its key may sign others, and which key it is."""
    extensions = certificate.extensions
    try:
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return constraints.value.ca


def _host_name(host: str) -> x509.GeneralName:
    """Returns a host as the kind of name that it is."""
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise MalformedError(
            f"{host} is neither a DNS name in ASCII nor an IP address"
        ) from None


def _hash_for(key: ec.EllipticCurvePrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """Returns the hash that fits the strength of a key's curve."""
    return hashes.SHA256() if isinstance(key.curve, ec.SECP256R1) else hashes.SHA384()


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Returns the key usage of an authority, or of an end entity."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
