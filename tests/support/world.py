"""A whole exchange without a network: real ledger, real database, real keys.

Members are put into the directory by a change of the ledger, as enrolment does. Their
private keys are in the test's hands, so a test can sign whatever it likes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.keys import DEFAULT_ALGORITHM, StatementPrivateKey
from onward.core.notes import NoteSigner
from onward.core.sealing import ContentPrivateKey, seal_content
from onward.core.statements import (
    SignedStatement,
    new_statement_id,
    sign_statement,
    statement_digest,
)
from onward.core.tlog_policy import Policy
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.alarming import Alarming
from onward_server.exchange.auditing import Auditing
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.cosigning import LogCosigner
from onward_server.exchange.deciding import Deciding
from onward_server.exchange.delivering import Delivering
from onward_server.exchange.directory import Caller
from onward_server.exchange.draft import Draft, Voice
from onward_server.exchange.erasing import Erasing
from onward_server.exchange.guard import Guard
from onward_server.exchange.intakes import Intakes
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.limits import Limits
from onward_server.exchange.policies import Policies
from onward_server.exchange.publishing import Publishing, Sending
from onward_server.exchange.reading import Reader
from onward_server.exchange.records import Records
from onward_server.exchange.submission import Submission
from onward_server.exchange.vouching import Vouching
from onward_server.exchange.watching import Watching
from onward_server.exchange.witnessed_log import WitnessedLog
from onward_server.storage.contract import EVERYBODY, Needs, Store
from onward_server.storage.sqlite import open_sqlite

TRUST_DOMAIN = "national.example"
EXCHANGE = f"spiffe://{TRUST_DOMAIN}/exchange"
ORIGIN = f"{TRUST_DOMAIN}/log"
YEAR_MS = 365 * 24 * 3600 * 1000
START_MS = 1_790_000_000_000


class SettableClock:
    """A clock that a test moves."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        """The time that the test set."""
        return self.ms

    def monotonic(self) -> float:
        """Follows the wall time."""
        return self.ms / 1000

    def advance(self, seconds: float) -> None:
        """Moves on."""
        self.ms += int(seconds * 1000)


@dataclass(slots=True)
class Party:
    """A member with its private keys."""

    name: str
    kind: vocabulary_pb2.MemberKind.ValueType
    jurisdictions: Sequence[str] = ("US",)
    roles: Sequence[vocabulary_pb2.Role.ValueType] = (
        vocabulary_pb2.ROLE_PUBLISHER,
        vocabulary_pb2.ROLE_RECIPIENT,
    )
    algorithm: str = DEFAULT_ALGORITHM
    key: StatementPrivateKey = field(init=False)
    content_key: ContentPrivateKey = field(init=False)

    def __post_init__(self) -> None:
        self.key = StatementPrivateKey.generate(self.algorithm)
        self.content_key = ContentPrivateKey.generate(
            vocabulary_pb2.SEALING_SUITE_MLKEM768_X25519
        )

    def entry(self, now_ms: int) -> directory_pb2.Member:
        """Returns the directory entry."""
        before, after = to_timestamp(now_ms - YEAR_MS), to_timestamp(now_ms + YEAR_MS)
        content_key = self.content_key.public.to_proto()
        content_key.status = vocabulary_pb2.KEY_STATUS_ACTIVE
        content_key.not_before_time.CopyFrom(before)
        content_key.not_after_time.CopyFrom(after)
        return directory_pb2.Member(
            name=self.name,
            display_name=self.name.rpartition("/")[2],
            kind=self.kind,
            roles=self.roles,
            jurisdictions=self.jurisdictions,
            status=vocabulary_pb2.MEMBER_STATUS_ACTIVE,
            statement_keys=[statement_key(self.key, before, after)],
            content_keys=[content_key],
        )


def statement_key(
    key: StatementPrivateKey, before: Timestamp, after: Timestamp
) -> directory_pb2.StatementKey:
    """Returns an active key for the directory."""
    return directory_pb2.StatementKey(
        key_id=key.public.key_id,
        jwk=key.public.jwk,
        status=vocabulary_pb2.KEY_STATUS_ACTIVE,
        not_before_time=before,
        not_after_time=after,
    )


@dataclass(slots=True)
class _Genesis:
    """The log's first entry."""

    body: statement_pb2.KeyChange
    needs: Needs = field(default_factory=Needs)

    def plan(self, draft: Draft) -> Sequence[int]:
        return [draft.log(draft.say(key_change=self.body), places=EVERYBODY)]


@dataclass(slots=True)
class _Change:
    """A change of a member's entry."""

    kind: statement_pb2.DirectoryChangeKind.ValueType
    member: directory_pb2.Member
    needs: Needs = field(default_factory=Needs)

    def plan(self, draft: Draft) -> Sequence[int]:
        return [draft.change_member(self.kind, self.member, EXCHANGE)]


HOTLINE = f"spiffe://{TRUST_DOMAIN}/agency/national-hotline"
STATE_POLICE = f"spiffe://{TRUST_DOMAIN}/agency/ohio-state-police"
NEVADA = f"spiffe://{TRUST_DOMAIN}/agency/nevada-state-police"
AUDITOR = f"spiffe://{TRUST_DOMAIN}/auditor/inspector-general"


class World:
    """An exchange with members; make it with :func:`open_world`."""

    def __init__(self, store: Store, ledger: Ledger, clock: SettableClock) -> None:
        self.store = store
        self.ledger = ledger
        self.clock = clock
        self.limits = Limits()
        self.parties: dict[str, Party] = {}
        reader = Reader(ledger, clock, self.limits)
        self.publishing = Publishing(ledger, store, reader, clock, self.limits)
        self.alarming = Alarming(ledger, store, clock)
        self.erasing = Erasing(ledger, store, clock, self.limits)
        self.submission = Submission(
            ledger, store, reader, self.publishing, self.erasing
        )
        self.delivering = Delivering(ledger, store, clock, os.urandom, self.limits)
        self.watching = Watching(ledger, store, clock, self.limits)
        witnessed = WitnessedLog(ledger, store, Policy(()), LogCosigner(None), clock)
        self.records = Records(ledger, store, Vouching(ledger, store, witnessed))
        self.policies = Policies(ledger, store)
        self.auditing = Auditing(ledger, store)
        self.intakes = Intakes(ledger, store, reader, clock, self.limits)
        self.deciding = Deciding(ledger, store, reader)

    async def join(self, party: Party) -> Party:
        """Puts a member into the directory."""
        self.parties[party.name] = party
        await self.change(
            statement_pb2.DIRECTORY_CHANGE_KIND_ENROLLED, party.entry(self.clock.ms)
        )
        return party

    async def change(
        self,
        kind: statement_pb2.DirectoryChangeKind.ValueType,
        member: directory_pb2.Member,
    ) -> None:
        """Logs a change of a member's entry."""
        await self.ledger.apply(_Change(kind, member))

    def caller(self, name: str) -> Caller:
        """Returns a member as the interceptor would resolve it."""
        return Caller(self.ledger.directory.entry(name), hashlib.sha256(b"").digest())

    def sign(
        self,
        issuer: str,
        *,
        referral_id: str = "",
        previous: bytes = b"",
        statement_id: str = "",
        **body: Any,
    ) -> SignedStatement:
        """Signs a statement of a member."""
        message = statement_pb2.Statement(
            id=statement_id or new_statement_id(self.clock.ms, os.urandom(10)),
            issuer=issuer,
            made_time=to_timestamp(self.clock.ms),
            seen=self.ledger.seen(),
            previous=previous,
            referral_id=referral_id,
            **body,
        )
        return sign_statement(message, self.parties[issuer].key)

    def referral(
        self,
        publisher: str = HOTLINE,
        recipients: Sequence[str] = (STATE_POLICE,),
        content: bytes = b"a tip",
        urgency: vocabulary_pb2.Urgency.ValueType = vocabulary_pb2.URGENCY_ROUTINE,
        links: Sequence[statement_pb2.ReferralLink] = (),
        **fields: Any,
    ) -> Sending:
        """Returns a signed referral with its sealed content."""
        referral_id = new_statement_id(self.clock.ms, os.urandom(10))
        sealed = seal_content(
            content,
            referral_id,
            {name: self.parties[name].content_key.public for name in recipients},
            os.urandom,
        )
        values: dict[str, Any] = {
            "recipients": recipients,
            "urgency": urgency,
            "urgency_reason": "stated",
            "jurisdiction": statement_pb2.Jurisdiction(code="US-OH"),
            "basis": vocabulary_pb2.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
            "reporter_type": vocabulary_pb2.REPORTER_TYPE_COMMUNITY_MEMBER,
            "subject_age_group": vocabulary_pb2.AGE_GROUP_ADULT,
            "trafficking_type": vocabulary_pb2.TRAFFICKING_TYPE_LABOR,
            "channel": vocabulary_pb2.CHANNEL_CALL,
            "tip_received_time": to_timestamp(self.clock.ms - 60_000),
            "content_digest": hashlib.sha256(sealed).digest(),
            "content_size": len(sealed),
            "expire_time": to_timestamp(self.clock.ms + YEAR_MS),
            "links": links,
        }
        body = statement_pb2.Referral(**(values | fields))
        statement = self.sign(
            publisher,
            statement_id=referral_id,
            referral_id=referral_id,
            referral=body,
        )
        return Sending(statement.jws, sealed)

    async def intake(
        self, hotline: str = HOTLINE, code: str = "US-OH", **fields: Any
    ) -> SignedStatement:
        """Returns a signed intake, numbered as the hotline's book stands."""
        book = await self.intakes.book(self.caller(hotline), code)
        values: dict[str, Any] = {
            "number": book.last_number + 1,
            "number_in_jurisdiction": book.last_in_jurisdiction + 1,
            "urgency": vocabulary_pb2.URGENCY_ROUTINE,
            "urgency_reason": "stated",
            "channel": vocabulary_pb2.CHANNEL_CALL,
            "reporter_type": vocabulary_pb2.REPORTER_TYPE_COMMUNITY_MEMBER,
            "subject_age_group": vocabulary_pb2.AGE_GROUP_ADULT,
            "trafficking_type": vocabulary_pb2.TRAFFICKING_TYPE_LABOR,
            "jurisdiction": statement_pb2.Jurisdiction(code=code),
            "received_time": to_timestamp(self.clock.ms),
            "content_commitment": os.urandom(32),
        }
        body = statement_pb2.Intake(**(values | fields))
        return self.sign(hotline, previous=book.last_digest, intake=body)

    async def register(
        self, hotline: str = HOTLINE, code: str = "US-OH", **fields: Any
    ) -> SignedStatement:
        """Registers a tip; returns its intake."""
        signed = await self.intake(hotline, code, **fields)
        await self.intakes.register(self.caller(hotline), signed.jws)
        return signed

    async def decide(self, intake: SignedStatement, **body: Any) -> str:
        """Submits what its hotline says about an intake; returns the statement."""
        hotline = intake.message.issuer
        signed = self.sign(hotline, previous=intake.digest, **body)
        done = await self.deciding.decide(self.caller(hotline), signed.jws)
        return done.jws

    async def answer(
        self, issuer: str, previous: str, referral_id: str, **body: Any
    ) -> str:
        """Submits a statement that answers another; returns the statement."""
        statement = self.sign(
            issuer,
            referral_id=referral_id,
            previous=statement_digest(previous),
            **body,
        )
        done = await self.submission.submit(self.caller(issuer), statement.jws, None)
        return done.statement.jws


@asynccontextmanager
async def open_world(
    folder: Path,
    clock: SettableClock | None = None,
    seed: bytes = b"\1" * 32,
) -> AsyncIterator[World]:
    """Opens an exchange in a folder: a new one, or again the one that is there."""
    clock = clock or SettableClock()
    store = await open_sqlite(str(folder / "exchange.sqlite"))
    signer = NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(seed))
    key_file = folder / "statement.pem"
    fresh = not key_file.exists()
    if fresh:
        key_file.write_bytes(StatementPrivateKey.generate().to_pem())
    voice = Voice(
        EXCHANGE, StatementPrivateKey.from_pem(key_file.read_bytes()), os.urandom
    )
    ledger = Ledger(store, signer, voice, clock, Guard(folder / "guard"))
    try:
        await ledger.start()
        if fresh:
            before = to_timestamp(clock.ms - 60_000)
            after = to_timestamp(clock.ms + 10 * YEAR_MS)
            await ledger.apply(
                _Genesis(
                    statement_pb2.KeyChange(
                        keys=[statement_key(voice.key, before, after)],
                        log_vkey=signer.vkey.format(),
                    )
                )
            )
        world = World(store, ledger, clock)
        await world.policies.begin()
        yield world
    finally:
        await ledger.stop()
        await store.close()


async def populate(world: World) -> None:
    """Adds a hotline, two agencies and an auditor."""
    kinds = vocabulary_pb2
    await world.join(Party(HOTLINE, kinds.MEMBER_KIND_HOTLINE))
    await world.join(Party(STATE_POLICE, kinds.MEMBER_KIND_LAW_ENFORCEMENT, ("US-OH",)))
    await world.join(Party(NEVADA, kinds.MEMBER_KIND_LAW_ENFORCEMENT, ("US-NV",)))
    await world.join(
        Party(AUDITOR, kinds.MEMBER_KIND_AUDITOR, ("US-OH",), (kinds.ROLE_AUDITOR,))
    )
