"""Certificates that only the authority's own key can make: the server's, an operator's.

Everybody else renews through the running exchange.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from onward._files import write_atomically
from onward.core.errors import ConflictError, Reason
from onward.core.identity import IdentityKind, SpiffeId
from onward.home import Home, MemberSettings
from onward_server.config import Config
from onward_server.exchange.authority import hosts_of, make_request, private_key_pem
from onward_server.exchange.clock import Clock, to_datetime
from onward_server.exchange.issuing import trust_file
from onward_server.material import (
    certificates_in,
    load_authority,
    load_material,
    load_server_key,
    second_vkey,
)


def renew_server_certificate(
    config: Config, other_hosts: Sequence[str], clock: Clock
) -> None:
    """Makes the exchange a new certificate, which a running one takes over.

    The key stays, so that one file changes and no moment comes at which certificate
    and key do not match. If the key's file was removed, a new key is made.

    Args:
        config: of the exchange.
        other_hosts: DNS names and IP addresses beside ``api.server_name``; if empty,
            those that the certificate has so far.
        clock: tells the time.

    Raises:
        MalformedError: a file cannot be used, or a host is none.
        UnavailableError: the authority has expired, or a file cannot be written.
    """
    authority = load_authority(config)
    if not config.tls.key_file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        write_atomically(config.tls.key_file, private_key_pem(key))
    others = other_hosts or _present_hosts(config.tls.certificate_file)
    chain = authority.issue_server(
        load_server_key(config).public_key(),
        config.name,
        list(dict.fromkeys([config.api.server_name, *others])),
        to_datetime(clock.now_ms()),
        timedelta(days=config.tls.server_certificate_days),
    )
    write_atomically(config.tls.certificate_file, chain.encode())


def _present_hosts(path: Path) -> list[str]:
    """Returns the hosts that a certificate is for; none if there is no certificate."""
    if not path.exists():
        return []
    return hosts_of(certificates_in(path)[0])


def renew_operator_certificate(
    config: Config, operator: str, path: Path, clock: Clock
) -> None:
    """Makes an operator a new key and certificate, with the authority's own key.

    For an operator whose certificate has expired or was revoked, or whose home is lost:
    it cannot ask the exchange any more, but whoever may read the authority's key may do
    this. A home that is not there is made, without a statement key; none is needed to
    issue oneself an enrolment token.

    Args:
        config: of the exchange.
        operator: the name, the last part of the SPIFFE ID.
        path: the operator's home.
        clock: tells the time.

    Raises:
        ConflictError: somebody else's home is there.
        MalformedError: the authority's files cannot be used.
        UnavailableError: the authority has expired, or a file cannot be written.
    """
    material = load_material(config)
    name = SpiffeId(config.exchange.trust_domain, IdentityKind.OPERATOR, operator)
    home = Home(path)
    if home.is_enrolled and home.settings.member != str(name):
        raise ConflictError(
            Reason.ERROR_REASON_STATE_FORBIDS,
            f"{path} is the home of {home.settings.member}; name another with --home",
        )
    key = ec.generate_private_key(ec.SECP256R1())
    lifetime = timedelta(days=config.tls.member_certificate_days)
    now = to_datetime(clock.now_ms())
    chain = material.authority.issue(make_request(key), name, now, lifetime)
    home = Home.create(path)
    home.save_tls_key(private_key_pem(key))
    home.save_enrollment(
        home_settings(config, name),
        certificate_chain=chain.encode(),
        server_ca=material.authority.certificate_pem.encode(),
        trust=trust_file(
            str(config.name),
            material.log_signer.vkey.format(),
            config.web.url,
            second_vkey(material),
        ),
    )


def home_settings(config: Config, member: SpiffeId) -> MemberSettings:
    """Returns what a home says about its member and this exchange."""
    return MemberSettings(
        member=str(member),
        exchange=str(config.name),
        address=config.api.advertised,
        server_name=config.api.server_name,
    )
