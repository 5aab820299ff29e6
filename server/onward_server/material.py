"""The keys and certificates that a configuration names: read, checked, and used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from onward.core.errors import MalformedError
from onward.core.keys import StatementPrivateKey
from onward.core.notes import MlDsaCosigner, NoteSigner
from onward.core.timestamps import Authorities
from onward.core.tlog_policy import Policy
from onward_server.config import Config, TimestampsSection
from onward_server.exchange.authority import CertificateAuthority
from onward_server.exchange.clock import Entropy
from onward_server.exchange.issuing import Issuing, Terms, trust_file
from onward_server.exchange.possession import Challenger
from onward_server.exchange.timestamps import Authority
from onward_server.exchange.tokens import Tokens, Venue


@dataclass(frozen=True, slots=True)
class Material:
    """What an exchange signs with.

    Attributes:
        statement_key: signs its statements.
        log_signer: signs checkpoints; its name is the log's origin.
        authority: signs members' certificates.
        log_cosigner: signs published checkpoints a second time; None without a key.
    """

    statement_key: StatementPrivateKey
    log_signer: NoteSigner
    authority: CertificateAuthority
    log_cosigner: MlDsaCosigner | None = None


def load_material(config: Config) -> Material:
    """Reads the keys that a configuration names.

    Raises:
        MalformedError: a file cannot be read, or is not what it should be; the message
            names it.
    """
    return Material(
        load_statement_key(config.keys.statement_key_file),
        load_log_signer(config.keys.log_key_file, config.exchange.origin),
        load_authority(config),
        load_log_cosigner(config.keys.log_mldsa_key_file, config.exchange.origin),
    )


def load_statement_key(path: Path) -> StatementPrivateKey:
    """Reads the exchange's statement key.

    Raises:
        MalformedError: it cannot be read, or is no such key.
    """
    try:
        return StatementPrivateKey.from_pem(read_file(path))
    except MalformedError as error:
        raise MalformedError(f"{path}: {error.message}") from None


def load_log_signer(path: Path, origin: str) -> NoteSigner:
    """Reads the log's key.

    Raises:
        MalformedError: it cannot be read, or is no such key.
    """
    try:
        key = load_pem_private_key(read_file(path), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise MalformedError(f"{path}: the log's key must be Ed25519 in PEM (PKCS #8)")
    return NoteSigner(origin, key)


def load_log_cosigner(path: Path, origin: str) -> MlDsaCosigner | None:
    """Reads the log's second key; None where there is no such file.

    Raises:
        MalformedError: it cannot be read, or is no such key.
    """
    if not path.exists():
        return None
    try:
        key = load_pem_private_key(read_file(path), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, MLDSA44PrivateKey):
        raise MalformedError(
            f"{path}: the log's second key must be ML-DSA-44 in PEM (PKCS #8)"
        )
    return MlDsaCosigner(origin, key)


def second_vkey(material: Material) -> str:
    """Returns the verifier key of the log's second key; empty without one."""
    cosigner = material.log_cosigner
    return cosigner.vkey.format() if cosigner else ""


def load_authorities(section: TimestampsSection) -> list[Authority]:
    """Reads whom to ask for timestamps.

    Raises:
        MalformedError: a file cannot be read, or has no certificates.
    """
    authorities = []
    for item in section.authorities:
        try:
            pem = read_file(item.certificate_file).decode()
            certificates = Authorities.parse(pem)
        except UnicodeDecodeError:
            raise MalformedError(f"{item.certificate_file} is not PEM") from None
        except MalformedError as error:
            raise MalformedError(f"{item.certificate_file}: {error.message}") from None
        if not certificates.certificates:
            raise MalformedError(f"{item.certificate_file} is empty")
        authorities.append(Authority(item.name, item.url, certificates, item.policy))
    return authorities


def load_witnesses(path: Path | None) -> Policy:
    """Reads who witnesses this log; nobody without a file.

    Raises:
        MalformedError: it cannot be read, or is no policy that can be used for this.
    """
    if path is None:
        return Policy(())
    try:
        policy = Policy.parse(read_file(path).decode())
    except UnicodeDecodeError:
        raise MalformedError(f"{path} is not UTF-8") from None
    except MalformedError as error:
        raise MalformedError(f"{path}: {error.message}") from None
    for witness in policy.witnesses:
        if urlsplit(witness.url or "").scheme not in {"http", "https"}:
            raise MalformedError(
                f"{path}: the witness {witness.name} needs the URL where it takes "
                "checkpoints, http:// or https://, at the end of its line"
            )
    return policy


def load_authority(config: Config) -> CertificateAuthority:
    """Reads the certificate authority.

    Raises:
        MalformedError: a file cannot be read, or the two do not belong together.
    """
    certificate, key = config.tls.ca_certificate_file, config.tls.ca_key_file
    try:
        return CertificateAuthority.load(read_file(certificate), read_file(key))
    except MalformedError as error:
        raise MalformedError(f"{certificate}, {key}: {error.message}") from None


def load_server_key(config: Config) -> ec.EllipticCurvePrivateKey:
    """Reads the private key of the exchange's certificate.

    Raises:
        MalformedError: it cannot be read, or cannot be used for TLS here.
    """
    path = config.tls.key_file
    try:
        key = load_pem_private_key(read_file(path), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise MalformedError(f"{path}: the key must be on P-256 or P-384, in PEM")
    return key


def certificates_in(path: Path) -> list[x509.Certificate]:
    """Reads the certificates of a PEM file; at least one.

    Raises:
        MalformedError: it cannot be read, or holds none.
    """
    try:
        return x509.load_pem_x509_certificates(read_file(path))
    except ValueError:
        raise MalformedError(f"{path} holds no certificates in PEM") from None


def make_issuing(config: Config, material: Material, entropy: Entropy) -> Issuing:
    """Returns what members get, as configured."""
    venue = Venue(
        exchange=str(config.name),
        enroll=config.enrolment.advertised,
        api=config.api.advertised,
        server_name=config.api.server_name,
        authority=material.authority.fingerprint,
    )
    lifetime = timedelta(hours=config.enrolment.token_hours)
    terms = Terms(
        key_validity=timedelta(days=config.enrolment.key_days),
        certificate_validity=timedelta(days=config.tls.member_certificate_days),
        clock_tolerance=timedelta(seconds=config.limits.clock_tolerance_seconds),
    )
    return Issuing(
        authority=material.authority,
        tokens=Tokens(material.statement_key, venue, lifetime, entropy),
        challenger=Challenger(material.statement_key),
        terms=terms,
        trust=trust_file(
            str(config.name),
            material.log_signer.vkey.format(),
            config.web.url,
            second_vkey(material),
        ),
    )


def read_file(path: Path) -> bytes:
    """Reads a file.

    Raises:
        MalformedError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise MalformedError(f"{path} cannot be read: {error.strerror}") from None
