"""Certificates as nobody should present them, and some as they should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """A private key with its certificate, both as PEM."""

    key: bytes = field(repr=False)
    certificate: bytes = field(repr=False)

    @property
    def fingerprint(self) -> bytes:
        parsed = x509.load_pem_x509_certificate(self.certificate)
        return parsed.fingerprint(hashes.SHA256())


@dataclass(frozen=True, slots=True)
class TestAuthority:
    """An authority that signs whatever it is told to."""

    __test__ = False

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate

    @classmethod
    def create(cls, name: str) -> TestAuthority:
        key = new_key()
        subject = _name(name)
        builder = _builder(
            subject, subject, key, timedelta(days=-1), timedelta(days=365)
        )
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return cls(key, builder.sign(key, hashes.SHA256()))

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> TestAuthority:
        loaded = serialization.load_pem_private_key(key, None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        return cls(loaded, x509.load_pem_x509_certificate(certificate))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        uris: Sequence[str],
        dns: Sequence[str] = (),
        begins: timedelta = timedelta(minutes=-5),
        ends: timedelta = timedelta(days=30),
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    ) -> Identity:
        """Issues a certificate with these names; times are from now."""
        key = new_key()
        builder = _builder(
            _name("a member"), self.certificate.subject, key, begins, ends
        ).add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        )
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        names: list[x509.GeneralName] = [
            *map(x509.UniformResourceIdentifier, uris),
            *map(x509.DNSName, dns),
        ]
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(names), critical=False
            )
        signed = builder.sign(self.key, hashes.SHA256())
        return Identity(key_pem(key), signed.public_bytes(serialization.Encoding.PEM))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: timedelta,
    ends: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )
