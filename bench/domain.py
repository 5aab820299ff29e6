"""An exchange without its ports, and members whose private keys are at hand.

It is the same exchange: its ledger, policy, rules and database file, as ``init`` makes
and ``serve`` runs them. Only the network is left out, and the clock is somebody else's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from onward._possession import NewKeys, certificate_request, make_tls_key
from onward.core.keys import StatementPrivateKey
from onward.core.sealing import ContentPrivateKey, seal_content
from onward.core.statements import SignedStatement, new_statement_id, sign_statement
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server import settings
from onward_server.bootstrap import open_ledger
from onward_server.config import Config
from onward_server.exchange.alarming import Alarming
from onward_server.exchange.auditing import Auditing
from onward_server.exchange.clock import Clock, system_entropy, to_timestamp
from onward_server.exchange.deciding import Deciding
from onward_server.exchange.delivering import Delivering
from onward_server.exchange.directory import Caller
from onward_server.exchange.enrolment import Enrolment
from onward_server.exchange.erasing import Erasing
from onward_server.exchange.intakes import Intakes
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.publishing import Publishing, Sending
from onward_server.exchange.reading import Reader
from onward_server.exchange.receipts import Logged
from onward_server.exchange.registry import Registry
from onward_server.exchange.submission import Submission
from onward_server.material import load_material, make_issuing
from onward_server.storage.contract import Store

_SUITE: Final = vocabulary_pb2.SEALING_SUITE_MLKEM768_X25519
_AUDITOR: Final = vocabulary_pb2.MEMBER_KIND_AUDITOR


@dataclass(slots=True)
class Domain:
    """What members reach of an exchange. Made by :func:`open_domain`."""

    clock: Clock
    store: Store
    ledger: Ledger
    registry: Registry
    enrolment: Enrolment
    publishing: Publishing
    submission: Submission
    delivering: Delivering
    intakes: Intakes
    deciding: Deciding
    auditing: Auditing
    erasing: Erasing
    alarming: Alarming

    async def next(self) -> int | None:
        """Returns when a warning or breach is to be said next."""
        return await self.store.next_alarm()

    async def sound(self) -> None:
        """Says all warnings and breaches that are due."""
        await self.alarming.turn()

    async def enrol(self, operator: str, member: directory_pb2.Member) -> Member:
        """Adds a member, and enrols it with its one-time token."""
        by = Caller(self.ledger.directory.entry(operator), b"")
        token = (await self.registry.add_member(by, member)).token.text
        receives = member.kind != _AUDITOR
        content_key = ContentPrivateKey.generate(_SUITE) if receives else None
        keys = NewKeys(StatementPrivateKey.generate(), content_key)
        request = certificate_request(make_tls_key())
        challenges = await self.enrolment.start(token, request, keys.offer)
        possession = directory_pb2.Possession(
            member=member.name,
            token_digest=sha256(token.encode()).digest(),
            csr_digest=sha256(request).digest(),
        )
        proofs = keys.prove(possession, challenges, [keys.statement_key])
        await self.enrolment.complete(token, request, keys.offer, proofs)
        return Member(self, member.name, keys, sha256(request).digest())


@dataclass(frozen=True, slots=True)
class Member:
    """A member at its desk.

    Attributes:
        name: its SPIFFE ID.
        keys: its private keys.
        fingerprint: stands for the certificate with which it calls.
    """

    domain: Domain
    name: str
    keys: NewKeys
    fingerprint: bytes = field(repr=False)

    @property
    def caller(self) -> Caller:
        """The member as the interceptor resolves it."""
        return Caller(self.domain.ledger.directory.entry(self.name), self.fingerprint)

    def sign(
        self,
        *,
        statement_id: str = "",
        **fields: Any,  # noqa: ANN401 - protobuf's constructors take what they take
    ) -> SignedStatement:
        """Signs a statement that is made now, and has seen the newest checkpoint."""
        now = self.domain.clock.now_ms()
        message = statement_pb2.Statement(
            id=statement_id or self.new_id(),
            issuer=self.name,
            made_time=to_timestamp(now),
            seen=self.domain.ledger.seen(),
            **fields,
        )
        return sign_statement(message, self.keys.statement_key)

    def refer(
        self, body: statement_pb2.Referral, content: bytes, to: list[Member]
    ) -> tuple[SignedStatement, Sending]:
        """Signs a referral, and seals its content to its recipients."""
        referral_id = self.new_id()
        keys = {
            member.name: member.keys.content_key.public
            for member in to
            if member.keys.content_key
        }
        sealed = seal_content(content, referral_id, keys, system_entropy)
        body.recipients[:] = keys
        body.content_digest = sha256(sealed).digest()
        body.content_size = len(sealed)
        signed = self.sign(
            statement_id=referral_id, referral_id=referral_id, referral=body
        )
        return signed, Sending(signed.jws, sealed)

    async def decide(
        self,
        intake: SignedStatement,
        **body: Any,  # noqa: ANN401 - as in sign
    ) -> None:
        """Says what becomes of an intake."""
        signed = self.sign(previous=intake.digest, **body)
        await self.domain.deciding.decide(self.caller, signed.jws)

    async def answer(
        self,
        previous: bytes,
        referral_id: str,
        child: Sending | None = None,
        **body: Any,  # noqa: ANN401 - as in sign
    ) -> SignedStatement:
        """Says something about a referral; a transfer comes with its child."""
        signed = self.sign(previous=previous, referral_id=referral_id, **body)
        await self.domain.submission.submit(self.caller, signed.jws, child)
        return signed

    async def fetch(self, referral_id: str) -> tuple[bytes, Logged]:
        """Takes the content of a delivery; returns its digest, and the handover."""
        digest = sha256()
        stream = self.domain.delivering.content(self.caller, referral_id)
        handover = None
        async for part in stream:
            if isinstance(part, Logged):
                handover = part
            else:
                digest.update(part)
        if handover is None:
            raise ValueError("content came without its handover")
        return digest.digest(), handover

    def new_id(self) -> str:
        """Returns a new statement's id."""
        return new_statement_id(self.domain.clock.now_ms(), system_entropy(10))


@asynccontextmanager
async def open_domain(config: Config, clock: Clock) -> AsyncIterator[Domain]:
    """Opens an exchange that does not run, without its ports.

    Args:
        config: the exchange's configuration.
        clock: what it takes for the time.
    """
    material, limits = load_material(config), settings.limits(config)
    issuing = make_issuing(config, material, system_entropy)
    async with open_ledger(config, material, clock, system_entropy) as (store, ledger):
        reader = Reader(ledger, clock, limits)
        publishing = Publishing(ledger, store, reader, clock, limits)
        erasing = Erasing(ledger, store, clock, limits)
        yield Domain(
            clock=clock,
            store=store,
            ledger=ledger,
            registry=Registry(ledger, store, issuing, clock),
            enrolment=Enrolment(ledger, store, issuing, clock),
            publishing=publishing,
            submission=Submission(ledger, store, reader, publishing, erasing),
            delivering=Delivering(ledger, store, clock, system_entropy, limits),
            intakes=Intakes(ledger, store, reader, clock, limits),
            deciding=Deciding(ledger, store, reader),
            auditing=Auditing(ledger, store),
            erasing=erasing,
            alarming=Alarming(ledger, store, clock),
        )
