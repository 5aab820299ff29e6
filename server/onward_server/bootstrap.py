"""Setting up an exchange: ``onward-server init``.

What it makes, in a folder that only its owner may enter::

    exchange.toml          the configuration, with a comment on every value
    tls/                   the certificate authority, and the exchange's certificate
    keys/                  the statement key, and the log's key
    db/                    the database, its log begun; not where it is on a server
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
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from onward._files import make_private_dir, write_atomically
from onward.core.directory import MemberEntry
from onward.core.errors import ConflictError, Reason
from onward.core.identity import IdentityKind, SpiffeId
from onward.core.keys import DEFAULT_ALGORITHM, StatementPrivateKey
from onward.core.statements import POSSESSION_TYPE, sign_jws
from onward.home import Home
from onward.v1 import directory_pb2, vocabulary_pb2
from onward_server import config_pages, settings
from onward_server.config import FILE_NAME, Config, make
from onward_server.databases import describe, is_server, open_store
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
from onward_server.exchange.issuing import Issuing
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.policies import Policies
from onward_server.exchange.registry import Registry
from onward_server.material import Material, load_material, make_issuing
from onward_server.renewal import home_settings, renew_server_certificate
from onward_server.replicas import facts, join_alone
from onward_server.storage.contract import Store

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
        test_clock: the file that sets the clock, for demonstrations; see ``Test``.
        database_url_file: the file with the URL of a database on a server; empty for
            one in the folder.
    """

    directory: Path
    trust_domain: str
    server_name: str = "localhost"
    other_hosts: Sequence[str] = ()
    listen: str = "0.0.0.0:7443"
    enrolment_listen: str = "0.0.0.0:7444"
    operator: str = "admin"
    algorithm: str = DEFAULT_ALGORITHM
    origin: str = ""
    test_clock: str = ""
    database_url_file: str = ""


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


async def found(founding: Founding, clock: Clock | None, entropy: Entropy) -> Founded:
    """Makes an exchange: keys, certificates, database, first operator, configuration.

    Args:
        founding: what it is to be.
        clock: tells the time; what the configuration says if None.
        entropy: returns random bytes.

    Raises:
        ConflictError: there is one already, or what an attempt left behind.
        MalformedError: a name or address is not allowed.
        UnavailableError: a file cannot be written.
    """
    directory = founding.directory.absolute()
    chosen = _chosen(founding)
    config = make(chosen, directory, "the choices for init")
    clock = clock or settings.clock(config)
    operator = SpiffeId(founding.trust_domain, IdentityKind.OPERATOR, founding.operator)
    _check_free(directory)
    make_private_dir(directory)
    try:
        _make_keys(config, founding, clock)
        material = load_material(config)
        issuing = make_issuing(config, material, entropy)
        async with open_ledger(config, material, clock, entropy) as (store, ledger):
            await _check_empty(config, store)
            vkey = material.log_signer.vkey.format()
            await ledger.apply(GenesisChange(material.statement_key.public, vkey))
            await Policies(ledger, store).begin()
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


@asynccontextmanager
async def open_ledger(
    config: Config, material: Material, clock: Clock, entropy: Entropy
) -> AsyncIterator[tuple[Store, Ledger]]:
    """Opens the database and the ledger of an exchange that does not run.

    Raises:
        UnavailableError: the exchange runs, or its database cannot be written, or is
            older than its log.
    """
    store = await open_store(config)
    try:
        await join_alone(store, facts(config, material))
        voice = Voice(str(config.name), material.statement_key, entropy)
        guard = Guard(config.storage.guard_file)
        ledger = Ledger(store, material.log_signer, voice, clock, guard)
        try:
            await ledger.start()
            yield store, ledger
        finally:
            await ledger.stop()
    finally:
        await store.close()


def _chosen(founding: Founding) -> dict[str, dict[str, object]]:
    """Returns the values that the configuration file states."""
    exchange = {"trust_domain": founding.trust_domain, "origin": founding.origin}
    test: dict[str, object] = {}
    if founding.test_clock:
        test["clock"] = str(Path(founding.test_clock).absolute())
    storage: dict[str, object] = {}
    if founding.database_url_file:
        storage["url_file"] = str(Path(founding.database_url_file).absolute())
    return {
        "exchange": {name: value for name, value in exchange.items() if value},
        "storage": storage,
        "api": {"listen": founding.listen, "server_name": founding.server_name},
        "enrolment": {"listen": founding.enrolment_listen},
        "test": test,
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


async def _check_empty(config: Config, store: Store) -> None:
    """Refuses a database with a log of another exchange, or of an earlier attempt."""
    if await store.head() is not None:
        raise ConflictError(
            Reason.ERROR_REASON_STATE_FORBIDS,
            f"{describe(config)} holds a log already; name an empty database. For "
            "another replica of that exchange, copy its folder instead",
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
    files = [
        config.tls.ca_certificate_file,
        config.keys.log_key_file,
        config.storage.guard_file,
    ]
    if not is_server(config):
        files.append(config.storage.database_file)
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
    make_log_keys(config)


def make_log_keys(config: Config) -> None:
    """Makes the log's keys, in place of any that are there."""
    for path, key in (
        (config.keys.log_key_file, Ed25519PrivateKey.generate()),
        (config.keys.log_mldsa_key_file, MLDSA44PrivateKey.generate()),
    ):
        make_private_dir(path.parent)
        write_atomically(path, private_key_pem(key))


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
        home_settings(config, operator),
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
        key_ids=[key.key_id],
    )
    signed = sign_jws(possession.SerializeToString(), POSSESSION_TYPE, key)
    return await enrolment.complete(token, request, offer, [signed])
