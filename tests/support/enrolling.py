"""Enrolling without a network: a registry, an enrolment, and newcomers with keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec

from onward.core.directory import MemberEntry
from onward.core.keys import StatementPrivateKey
from onward.core.sealing import ContentPrivateKey, open_secret
from onward.core.statements import POSSESSION_TYPE, sign_jws
from onward.v1 import directory_pb2, vocabulary_pb2
from onward_server.exchange.authority import CertificateAuthority, make_request
from onward_server.exchange.clock import to_datetime
from onward_server.exchange.directory import Caller
from onward_server.exchange.enrolment import Enrolled, Enrolment
from onward_server.exchange.issuing import Issuing, Terms, trust_file
from onward_server.exchange.possession import CHALLENGE_INFO, Challenger
from onward_server.exchange.registry import Registry
from onward_server.exchange.tokens import Tokens, Venue
from tests.support.world import EXCHANGE, TRUST_DOMAIN, World

OPERATOR = f"spiffe://{TRUST_DOMAIN}/operator/admin"
SECOND_OPERATOR = f"spiffe://{TRUST_DOMAIN}/operator/second"
OHIO = f"spiffe://{TRUST_DOMAIN}/agency/ohio-bureau"

HYBRID = vocabulary_pb2.SEALING_SUITE_MLKEM768_X25519
P384 = vocabulary_pb2.SEALING_SUITE_P384


def make_issuing(world: World) -> Issuing:
    """Returns what the members of a world get."""
    now = to_datetime(world.clock.ms)
    authority = CertificateAuthority.create(TRUST_DOMAIN, now)
    key = StatementPrivateKey.generate()
    venue = Venue(
        EXCHANGE, "localhost:7444", "localhost:7443", "localhost", authority.fingerprint
    )
    terms = Terms(timedelta(days=730), timedelta(days=90), timedelta(minutes=5))
    return Issuing(
        authority,
        Tokens(key, venue, timedelta(hours=72), os.urandom),
        Challenger(key),
        terms,
        trust_file(EXCHANGE, "national.example/log+00000000+none"),
    )


@dataclass(slots=True)
class Office:
    """What operators and newcomers of a world talk to."""

    world: World
    issuing: Issuing
    registry: Registry = field(init=False)
    enrolment: Enrolment = field(init=False)

    def __post_init__(self) -> None:
        ledger, store, clock = self.world.ledger, self.world.store, self.world.clock
        self.registry = Registry(ledger, store, self.issuing, clock)
        self.enrolment = Enrolment(ledger, store, self.issuing, clock)

    @property
    def founder(self) -> Caller:
        """The exchange itself, which adds the first operator."""
        return Caller(MemberEntry.from_proto(directory_pb2.Member(name=EXCHANGE)), b"")

    async def add(self, wanted: directory_pb2.Member) -> str:
        """Adds a member; returns its token."""
        return (await self.registry.add_member(self.founder, wanted)).token.text

    async def join(self, newcomer: Newcomer, wanted: directory_pb2.Member) -> Enrolled:
        """Adds and enrols a member."""
        return await newcomer.enrol(self.enrolment, await self.add(wanted))

    def entry(self, name: str) -> directory_pb2.Member:
        """A member's entry in force."""
        return self.world.ledger.directory.entry(name).proto


@dataclass(slots=True)
class Newcomer:
    """Somebody with keys, who proves that they are theirs."""

    name: str
    statement_keys: Sequence[StatementPrivateKey] = field(
        default_factory=lambda: [StatementPrivateKey.generate()]
    )
    content_keys: Sequence[ContentPrivateKey] = field(
        default_factory=lambda: [ContentPrivateKey.generate(HYBRID)]
    )
    csr: bytes = field(
        default_factory=lambda: make_request(ec.generate_private_key(ec.SECP256R1()))
    )

    @property
    def offer(self) -> directory_pb2.KeyOffer:
        """The public keys."""
        return directory_pb2.KeyOffer(
            statement_jwks=[key.public.jwk for key in self.statement_keys],
            content_keys=[key.public.to_proto() for key in self.content_keys],
        )

    def possession(self, challenges: Sequence[bytes], token: str = "") -> bytes:
        """What there is to sign; for a rotation without a token."""
        return directory_pb2.Possession(
            member=self.name,
            token_digest=sha256(token.encode()).digest() if token else b"",
            csr_digest=sha256(self.csr).digest() if token else b"",
            answers=[
                open_secret(challenge, key, CHALLENGE_INFO)
                for challenge, key in zip(challenges, self.content_keys, strict=True)
            ],
            key_ids=[
                *(key.key_id for key in self.statement_keys),
                *(key.public.key_id for key in self.content_keys),
            ],
        ).SerializeToString()

    def prove(
        self,
        challenges: Sequence[bytes],
        token: str = "",
        also: Sequence[StatementPrivateKey] = (),
    ) -> list[str]:
        """Signs with each offered key, and with others besides."""
        payload = self.possession(challenges, token)
        keys = [*self.statement_keys, *also]
        return [sign_jws(payload, POSSESSION_TYPE, key) for key in keys]

    async def enrol(self, enrolment: Enrolment, token: str) -> Enrolled:
        """Enrols."""
        challenges = await enrolment.start(token, self.csr, self.offer)
        proof = self.prove(challenges, token)
        return await enrolment.complete(token, self.csr, self.offer, proof)


def description(
    name: str = OHIO,
    kind: vocabulary_pb2.MemberKind.ValueType = (
        vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT
    ),
    **fields: object,
) -> directory_pb2.Member:
    """Returns a member to add."""
    values: dict[str, object] = {
        "name": name,
        "display_name": "Ohio Bureau",
        "kind": kind,
        "jurisdictions": ["US-OH"],
    }
    return directory_pb2.Member(**(values | fields))  # type: ignore[arg-type]


def operator(name: str = OPERATOR) -> directory_pb2.Member:
    """Returns an operator to add."""
    return description(name, vocabulary_pb2.MEMBER_KIND_OPERATOR, jurisdictions=[])
