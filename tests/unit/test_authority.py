"""The authority: what it certifies, and what it does not take from a request."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from onward.core.errors import (
    MalformedError,
    Reason,
    TooLargeError,
    UnavailableError,
)
from onward.core.errors import VerificationError as UnprovenError
from onward.core.identity import SpiffeId
from onward_server.exchange.authority import CertificateAuthority, make_request

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
QUARTER = timedelta(days=90)
POLICE = SpiffeId.parse("spiffe://national.example/agency/ohio-state-police")
EXCHANGE = POLICE.exchange


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.create("national.example", NOW)


def request(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    *,
    padding: int = 0,
) -> bytes:
    """A request that asks for everything that it must not get."""
    names = x509.SubjectAlternativeName(
        [
            x509.UniformResourceIdentifier("spiffe://national.example/operator/admin"),
            x509.DNSName("x" * 60 + ".example"),
            *(x509.DNSName(f"{number:050}.example") for number in range(padding)),
        ]
    )
    is_ed25519 = isinstance(key, ed25519.Ed25519PrivateKey)
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")]))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None if is_ed25519 else hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


def chain_of(pem: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem.encode())


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_a_member_gets_its_name_and_nothing_that_it_asked_for(
    authority: CertificateAuthority, curve: ec.EllipticCurve
) -> None:
    key = ec.generate_private_key(curve)
    leaf, issuer = chain_of(authority.issue(request(key), POLICE, NOW, QUARTER))
    verified = (
        PolicyBuilder()
        .store(Store([authority.certificate]))
        .time(NOW)
        .build_client_verifier()
        .verify(leaf, [])
    )
    assert issuer == authority.certificate
    assert leaf.public_key() == key.public_key()
    assert verified.subjects == [x509.UniformResourceIdentifier(str(POLICE))]
    assert list(leaf.subject) == []
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca


def test_a_certificate_lasts_as_long_as_was_said(
    authority: CertificateAuthority,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf, _ = chain_of(authority.issue(make_request(key), POLICE, NOW, QUARTER))
    assert leaf.not_valid_before_utc == NOW - timedelta(minutes=5)
    assert leaf.not_valid_after_utc == NOW + QUARTER


def test_no_certificate_outlives_the_authority(
    authority: CertificateAuthority,
) -> None:
    csr = make_request(ec.generate_private_key(ec.SECP256R1()))
    end = authority.certificate.not_valid_after_utc
    leaf, _ = chain_of(authority.issue(csr, POLICE, end - timedelta(days=1), QUARTER))
    assert leaf.not_valid_after_utc == end
    with pytest.raises(UnavailableError, match="expired"):
        authority.issue(csr, POLICE, end, QUARTER)


def test_two_certificates_have_different_serial_numbers(
    authority: CertificateAuthority,
) -> None:
    csr = make_request(ec.generate_private_key(ec.SECP256R1()))
    first, second = (authority.issue(csr, POLICE, NOW, QUARTER) for _ in range(2))
    assert chain_of(first)[0].serial_number != chain_of(second)[0].serial_number


def unusable_requests() -> Iterator[tuple[str, bytes]]:
    p256 = make_request(ec.generate_private_key(ec.SECP256R1()))
    yield "nothing", b""
    yield "noise", b"\x30\x82" + bytes(100)
    yield "cut off", p256[:-1]
    yield "something behind it", p256 + b"\0"
    yield "pem", b"-----BEGIN CERTIFICATE REQUEST-----"
    yield "rsa", request(rsa.generate_private_key(65537, 2048))
    yield "ed25519", request(ed25519.Ed25519PrivateKey.generate())
    yield "other curve", request(ec.generate_private_key(ec.SECP521R1()))
    yield "secp256k1", request(ec.generate_private_key(ec.SECP256K1()))


@pytest.mark.parametrize(
    "csr", [pytest.param(csr, id=name) for name, csr in unusable_requests()]
)
def test_what_cannot_be_certified_is_malformed(
    authority: CertificateAuthority, csr: bytes
) -> None:
    with pytest.raises(MalformedError) as refused:
        authority.issue(csr, POLICE, NOW, QUARTER)
    assert refused.value.field == "csr"


def test_whoever_does_not_hold_the_key_gets_no_certificate(
    authority: CertificateAuthority,
) -> None:
    csr = bytearray(make_request(ec.generate_private_key(ec.SECP256R1())))
    csr[-1] ^= 1
    with pytest.raises(UnprovenError) as refused:
        authority.issue(bytes(csr), POLICE, NOW, QUARTER)
    assert refused.value.reason == Reason.ERROR_REASON_POSSESSION_UNPROVEN


def test_a_large_request_is_not_even_parsed(authority: CertificateAuthority) -> None:
    csr = request(ec.generate_private_key(ec.SECP256R1()), padding=100)
    with pytest.raises(TooLargeError):
        authority.issue(csr, POLICE, NOW, QUARTER)


def test_the_exchange_is_found_by_name_and_by_address(
    authority: CertificateAuthority,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    hosts = ["exchange.national.example", "127.0.0.1"]
    leaf, _ = chain_of(authority.issue_server(key, EXCHANGE, hosts, NOW, QUARTER))
    builder = PolicyBuilder().store(Store([authority.certificate])).time(NOW)
    for name in (
        x509.DNSName("exchange.national.example"),
        x509.IPAddress(IPv4Address("127.0.0.1")),
    ):
        assert builder.build_server_verifier(name).verify(leaf, [])
    with pytest.raises(VerificationError):
        builder.build_server_verifier(x509.DNSName("other.example")).verify(leaf, [])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(EXCHANGE)]


def test_a_host_name_must_be_one(authority: CertificateAuthority) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(MalformedError, match="DNS name"):
        authority.issue_server(key, EXCHANGE, ["exchänge.example"], NOW, QUARTER)


def test_an_authority_survives_being_written_and_read(
    authority: CertificateAuthority,
) -> None:
    again = CertificateAuthority.load(
        authority.certificate_pem.encode(), authority.key_pem()
    )
    csr = make_request(ec.generate_private_key(ec.SECP256R1()))
    leaf, _ = chain_of(again.issue(csr, POLICE, NOW, QUARTER))
    leaf.verify_directly_issued_by(authority.certificate)
    assert again.fingerprint == authority.certificate.fingerprint(hashes.SHA256())


def test_only_an_authority_with_its_own_key_is_loaded(
    authority: CertificateAuthority,
) -> None:
    certificate, key = authority.certificate_pem.encode(), authority.key_pem()
    other = CertificateAuthority.create("national.example", NOW)
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    leaf = authority.issue(make_request(leaf_key), POLICE, NOW, QUARTER).encode()
    leaf_pem = leaf_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for pair in (
        (certificate, other.key_pem()),
        (leaf, leaf_pem),
        (certificate, b"no key"),
        (b"no certificate", key),
    ):
        with pytest.raises(MalformedError):
            CertificateAuthority.load(*pair)


def test_nothing_of_the_key_shows(authority: CertificateAuthority) -> None:
    assert "PRIVATE" not in repr(authority)
