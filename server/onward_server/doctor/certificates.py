"""Do the certificates hold together, and for how long?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from onward.home import Home
from onward_server.bootstrap import OPERATOR_HOME
from onward_server.config import Config
from onward_server.doctor.findings import Finding, fine, problem, warning
from onward_server.exchange.authority import fingerprint, hosts_of, names_of
from onward_server.exchange.clock import Clock, to_datetime
from onward_server.material import certificates_in, load_authority, load_server_key

_SERVER_SOON: Final = timedelta(days=30)
_OPERATOR_SOON: Final = timedelta(days=14)
_AUTHORITY_SOON: Final = timedelta(days=365)


def check_authority(config: Config, clock: Clock) -> Iterator[Finding]:
    """Looks at the authority that issues certificates to members."""
    subject = "certificate authority"
    authority = load_authority(config)
    roots = certificates_in(config.tls.client_ca_file)
    if authority.certificate not in roots:
        yield problem(
            subject,
            f"{config.tls.client_ca_file} does not hold the authority's certificate: "
            "members with certificates of this exchange cannot connect",
            f"append {config.tls.ca_certificate_file} to that file",
        )
    yield _dates(
        subject,
        authority.certificate,
        clock,
        _AUTHORITY_SOON,
        "make a new authority in time: docs/how-to/rotate-keys.md",
    )


def check_server(config: Config, clock: Clock) -> Iterator[Finding]:
    """Looks at the exchange's own certificate."""
    subject = "server certificate"
    remedy = "run `onward-server certificate server`"
    leaf, *issuers = certificates_in(config.tls.certificate_file)
    if load_server_key(config).public_key() != leaf.public_key():
        yield problem(
            subject,
            f"{config.tls.key_file} is not the key of {config.tls.certificate_file}",
            remedy,
        )
        return
    yield _dates(subject, leaf, clock, _SERVER_SOON, remedy)
    yield from _names(config, leaf, remedy)
    authority = certificates_in(config.tls.ca_certificate_file)
    try:
        # As of when it began: whether it is still valid was looked at above.
        builder = (
            PolicyBuilder().store(Store(authority)).time(leaf.not_valid_before_utc)
        )
        builder.build_client_verifier().verify(leaf, issuers)
    except VerificationError:
        yield warning(
            subject,
            f"it was not issued by {config.tls.ca_certificate_file}, which is what "
            "members trust after they enrolled",
            remedy,
        )


def check_operator(config: Config, clock: Clock) -> Iterator[Finding]:
    """Looks at the certificate of the operator whose home is beside the data."""
    path = config.exchange.data_dir / OPERATOR_HOME
    subject, remedy = "operator", "run `onward-server certificate operator`"
    home = Home(path)
    if not home.is_enrolled:
        yield fine(subject, f"no operator's home in {path}; it is kept elsewhere")
        return
    leaf, *_ = certificates_in(path / "tls.crt")
    key = load_pem_private_key(home.tls_key, password=None)
    if key.public_key() != leaf.public_key():
        yield problem(subject, f"key and certificate in {path} do not match", remedy)
        return
    yield _dates(subject, leaf, clock, _OPERATOR_SOON, remedy)
    if home.settings.exchange != str(config.name):
        yield problem(
            subject,
            f"the home in {path} is for {home.settings.exchange}",
            f"move it away; this exchange is {config.name}",
        )


def _names(config: Config, leaf: x509.Certificate, remedy: str) -> Iterator[Finding]:
    """Looks at the names in the exchange's certificate."""
    subject = "server certificate"
    uris = names_of(leaf).get_values_for_type(x509.UniformResourceIdentifier)
    hosts = hosts_of(leaf)
    if uris != [str(config.name)]:
        yield problem(
            subject, f"its URI is not exactly one, {config.name}: {uris}", remedy
        )
    if config.api.server_name not in hosts:
        yield problem(
            subject,
            f"it is for {', '.join(sorted(hosts)) or 'no host'}, and members check "
            f"for {config.api.server_name}",
            remedy,
        )


def _dates(
    subject: str,
    certificate: x509.Certificate,
    clock: Clock,
    soon: timedelta,
    remedy: str,
) -> Finding:
    """Looks at a certificate's validity."""
    now = to_datetime(clock.now_ms())
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    detail = f"valid until {ends:%Y-%m-%d %H:%M} UTC, {_days(ends, now)}"
    if now < begins:
        return problem(
            subject,
            f"not valid before {begins:%Y-%m-%d %H:%M} UTC",
            "set the machine's clock",
        )
    if now >= ends:
        return problem(subject, f"expired at {ends:%Y-%m-%d %H:%M} UTC", remedy)
    if ends - now < soon:
        return warning(subject, detail, remedy)
    return fine(subject, f"{detail}; SHA-256 {fingerprint(certificate).hex()}")


def _days(end: datetime, now: datetime) -> str:
    days = (end - now).days
    return f"{days} day{'' if days == 1 else 's'} from now"
