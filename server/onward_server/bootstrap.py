"""Setting up an exchange: ``onward-server init``.

What it makes, in a folder that only its owner may enter::

    exchange.toml          the configuration, with a comment on every value
    tls/                   the certificate authority, and the exchange's certificate
    keys/                  the statement key, and the log's key
    db/                    the database, its log begun
    guard/head             the restore guard; not for backups
    operator/              the first operator's home, as the SDK keeps one

Nothing is overwritten. The configuration comes last: without it there is no exchange,
and what an interrupted attempt left behind may be removed.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onward._files import make_private_dir, write_atomically
from onward.core.directory import MemberEntry
from onward.core.errors import ConflictError, Reason
from onward.core.identity import IdentityKind, SpiffeId
from onward.core.keys import StatementPrivateKey
from onward.core.statements import POSSESSION_TYPE, sign_jws
from onward.home import Home, MemberSettings
from onward.v1 import directory_pb2, vocabulary_pb2
from onward_server import config_pages
from onward_server.config import FILE_NAME, Config, make
from onward_server.exchange.authority import (
    CertificateAuthority,
    make_request,
    private_key_pem,
)
from onward_server.exchange.clock import Clock, Entropy, to_datetime
from onward_server.exchange.directory import Caller
from onward_server.exchange.draft import Voice
from onward_server.exchange.enrolment import Enrolled, Enrolment
from onward_server.exchange.genesis import GenesisChange
from onward_server.exchange.guard import Guard
from onward_server.exchange.issuing import Issuing, trust_file
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.registry import Registry
from onward_server.material import (
    Material,
    load_authority,
    load_material,
    load_server_key,
    make_issuing,
)
from onward_server.storage.contract import Store
from onward_server.storage.sqlite import open_sqlite

OPERATOR_HOME: Final = "operator"

_MADE: Final = (FILE_NAME, "tls", "keys", "db", "guard", OPERATOR_HOME)


@dataclass(frozen=True, slots=True)
class Founding:
    """What ``init`` must be told.

    Attributes:
        directory: where the exchange is to be.
        trust_domain: the part after ``spiffe://`` in every name.
        server_name: the DNS name under which members connect.
        other_hosts: further DNS names or IP addresses for the certificate.
        listen: address and port for members.
        enrolment_listen: address and port for enrolment.
        operator: the name of the first operator, the last part of its SPIFFE ID.
        algorithm: of the exchange's statement key.
        origin: the log's origin, if it is not to be ``<trust_domain>/log``.
    """

    directory: Path
    trust_domain: str
    server_name: str = "localhost"
    other_hosts: Sequence[str] = ()
    listen: str = "0.0.0.0:7443"
    enrolment_listen: str = "0.0.0.0:7444"
    operator: str = "admin"
    algorithm: str = "EdDSA"
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Founded:
    """What came out.

    Attributes:
        config_file: the configuration.
        operator: the first operator's SPIFFE ID.
        operator_home: its home.
        authority: SHA-256 of the authority's certificate in DER.
        trust: the trust file for this exchange's receipts.
    """

    config_file: Path
    operator: str
    operator_home: Path
    authority: bytes
    trust: str


async def found(founding: Founding, clock: Clock, entropy: Entropy) -> Founded:
    """Makes an exchange: keys, certificates, database, first operator, configuration.

    Raises:
        ConflictError: there is one already, or what an attempt left behind.
        MalformedError: a name or address is not allowed.
        UnavailableError: a file cannot be written.
    """
    directory = founding.directory.absolute()
    chosen = _chosen(founding)
    config = make(chosen, directory, "the choices for init")
    operator = SpiffeId(founding.trust_domain, IdentityKind.OPERATOR, founding.operator)
    _check_free(directory)
    make_private_dir(directory)
    try:
        _make_keys(config, founding, clock)
        material = load_material(config)
        issuing = make_issuing(config, material, entropy)
        async with _begun(config, material, clock, entropy) as (store, ledger):
            home = directory / OPERATOR_HOME
            await _enrol_operator(config, ledger, store, issuing, clock, operator, home)
        text = config_pages.commented_toml(chosen)
        write_atomically(directory / FILE_NAME, text.encode())
    except BaseException:
        _remove(directory)
        raise
    return Founded(
        directory / FILE_NAME,
        str(operator),
        home,
        material.authority.fingerprint,
        issuing.trust,
    )


def renew_server_certificate(
    config: Config, other_hosts: Sequence[str], clock: Clock
) -> None:
    """Makes the exchange a new certificate, which a running one takes over.

    The key stays, so that one file changes and no moment comes at which certificate
    and key do not match. If the key's file was removed, a new key is made.

    Raises:
        MalformedError: a file cannot be used, or a host is none.
        UnavailableError: the authority has expired, or a file cannot be written.
    """
    authority = load_authority(config)
    if not config.tls.key_file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        write_atomically(config.tls.key_file, private_key_pem(key))
    chain = authority.issue_server(
        load_server_key(config).public_key(),
        config.name,
        list(dict.fromkeys([config.api.server_name, *other_hosts])),
        to_datetime(clock.now_ms()),
        timedelta(days=config.tls.server_certificate_days),
    )
    write_atomically(config.tls.certificate_file, chain.encode())


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
        _settings(config, name),
        certificate_chain=chain.encode(),
        server_ca=material.authority.certificate_pem.encode(),
        trust=trust_file(str(config.name), material.log_signer.vkey.format()),
    )


def _settings(config: Config, member: SpiffeId) -> MemberSettings:
    """Returns what a home says about its member and this exchange."""
    return MemberSettings(
        member=str(member),
        exchange=str(config.name),
        address=config.api.advertised,
        server_name=config.api.server_name,
    )


def _chosen(founding: Founding) -> dict[str, dict[str, object]]:
    """Returns the values that the configuration file states."""
    exchange = {"trust_domain": founding.trust_domain, "origin": founding.origin}
    return {
        "exchange": {name: value for name, value in exchange.items() if value},
        "api": {"listen": founding.listen, "server_name": founding.server_name},
        "enrolment": {"listen": founding.enrolment_listen},
    }


def _check_free(directory: Path) -> None:
    """Refuses a folder in which something would be overwritten."""
    if (directory / FILE_NAME).exists():
        raise ConflictError(
            Reason.ERROR_REASON_STATE_FORBIDS,
            f"there is an exchange in {directory} already; name another folder",
        )
    found_names = [name for name in _MADE if (directory / name).exists()]
    if found_names:
        raise ConflictError(
            Reason.ERROR_REASON_STATE_FORBIDS,
            f"{directory} holds {', '.join(found_names)} but no {FILE_NAME}: what an "
            "interrupted attempt left behind, or another program's. Remove it, or name "
            "another folder",
        )


def _remove(directory: Path) -> None:
    """Removes what a failed attempt has made."""
    for name in _MADE:
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _make_keys(config: Config, founding: Founding, clock: Clock) -> None:
    """Makes the folders, the authority, the certificate and the keys."""
    files = (
        config.tls.ca_certificate_file,
        config.keys.log_key_file,
        config.storage.database_file,
        config.storage.guard_file,
    )
    for path in files:
        make_private_dir(path.parent)
    now = to_datetime(clock.now_ms())
    authority = CertificateAuthority.create(founding.trust_domain, now)
    write_atomically(config.tls.ca_key_file, authority.key_pem())
    certificate = authority.certificate_pem.encode()
    write_atomically(config.tls.ca_certificate_file, certificate)
    renew_server_certificate(config, founding.other_hosts, clock)
    statement_key = StatementPrivateKey.generate(founding.algorithm)
    write_atomically(config.keys.statement_key_file, statement_key.to_pem())
    log_key = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_atomically(config.keys.log_key_file, log_key)


@asynccontextmanager
async def _begun(
    config: Config, material: Material, clock: Clock, entropy: Entropy
) -> AsyncIterator[tuple[Store, Ledger]]:
    """Opens a new database and begins its log."""
    store = await open_sqlite(str(config.storage.database_file))
    try:
        voice = Voice(str(config.name), material.statement_key, entropy)
        guard = Guard(config.storage.guard_file)
        ledger = Ledger(store, material.log_signer, voice, clock, guard)
        try:
            await ledger.start()
            vkey = material.log_signer.vkey.format()
            await ledger.apply(GenesisChange(material.statement_key.public, vkey))
            yield store, ledger
        finally:
            await ledger.stop()
    finally:
        await store.close()


async def _enrol_operator(
    config: Config,
    ledger: Ledger,
    store: Store,
    issuing: Issuing,
    clock: Clock,
    operator: SpiffeId,
    path: Path,
) -> None:
    """Adds and enrols the first operator, by the rules for everybody."""
    registry = Registry(ledger, store, issuing, clock)
    description = directory_pb2.Member(
        name=str(operator),
        display_name=f"Operator {operator.name}"[:100],
        kind=vocabulary_pb2.MEMBER_KIND_OPERATOR,
    )
    itself = directory_pb2.Member(name=ledger.exchange)
    founder = Caller(MemberEntry.from_proto(itself), b"")
    added = await registry.add_member(founder, description)
    home = Home.create(path)
    tls_key = ec.generate_private_key(ec.SECP256R1())
    key = StatementPrivateKey.generate()
    home.save_tls_key(private_key_pem(tls_key))
    home.add_statement_key(key)
    enrolled = await _enrol(
        Enrolment(ledger, store, issuing, clock),
        added.token.text,
        make_request(tls_key),
        key,
        str(operator),
    )
    home.save_enrollment(
        _settings(config, operator),
        certificate_chain=enrolled.certificate_chain.encode(),
        server_ca=enrolled.server_ca.encode(),
        trust=enrolled.trust,
    )


async def _enrol(
    enrolment: Enrolment,
    token: str,
    request: bytes,
    key: StatementPrivateKey,
    member: str,
) -> Enrolled:
    """Enrols with one statement key and no content key."""
    offer = directory_pb2.KeyOffer(statement_jwks=[key.public.jwk])
    possession = directory_pb2.Possession(
        member=member,
        token_digest=sha256(token.encode()).digest(),
        csr_digest=sha256(request).digest(),
    )
    signed = sign_jws(possession.SerializeToString(), POSSESSION_TYPE, key)
    return await enrolment.complete(token, request, offer, [signed])
