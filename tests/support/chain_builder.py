"""An exchange in memory, made of nothing but the core: it signs, logs and proves.

It behaves: what it logs is in a real Merkle tree, receipts and checkpoints are real,
keys are in its directory. It does not judge: a test makes it log whatever it wants to
see refused. Everything is a function of the calls, so the same calls give the same
bytes: keys come from their names, ids are counted, the clock is the test's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.bundle import (
    ConsistencyProof,
    LoggedStatement,
    Vouchers,
    build_bundle,
    needed_sizes,
)
from onward.core.checkpoints import Checkpoint
from onward.core.keys import StatementPrivateKey
from onward.core.merkle import leaf_hash
from onward.core.notes import Cosigner, NoteSigner, parse_note
from onward.core.statements import SignedStatement, new_statement_id, sign_statement
from onward.core.tlog_proof import TlogProof
from onward.core.tree import Tree
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2

DOMAIN = "national.example"
HOTLINE = f"spiffe://{DOMAIN}/agency/national-hotline"
OHIO = f"spiffe://{DOMAIN}/agency/ohio-state-police"
NEVADA = f"spiffe://{DOMAIN}/agency/nevada-state-police"
UTAH = f"spiffe://{DOMAIN}/agency/utah-state-police"
START = datetime(2026, 11, 2, 2, 14, tzinfo=UTC)
CONTENT = b"sealed content that nobody here opens"

DELIVER = vocabulary_pb2.DEADLINE_KIND_DELIVER
ACKNOWLEDGE = vocabulary_pb2.DEADLINE_KIND_ACKNOWLEDGE
OUTCOME = vocabulary_pb2.DEADLINE_KIND_OUTCOME

_KEYS_FROM = START - timedelta(days=1)
_KEYS_UNTIL = START + timedelta(days=365)


def private_key(name: str) -> StatementPrivateKey:
    """Returns the Ed25519 key of a name: always the same."""
    seed = sha256(b"statement key " + name.encode()).digest()
    return StatementPrivateKey(Ed25519PrivateKey.from_private_bytes(seed))


def note_key(name: str) -> Ed25519PrivateKey:
    """Returns the key of a log or witness: always the same."""
    return Ed25519PrivateKey.from_private_bytes(
        sha256(b"note " + name.encode()).digest()
    )


def timestamp(time: datetime) -> Timestamp:
    """Returns a time as protobuf has it."""
    message = Timestamp()
    message.FromDatetime(time)
    return message


def duration(seconds: float) -> Duration:
    """Returns a length of time as protobuf has it."""
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds))
    return message


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry of the log, with the receipt of its commit."""

    index: int
    statement: SignedStatement
    receipt: TlogProof

    @property
    def id(self) -> str:
        """The statement's id."""
        return self.statement.message.id

    @property
    def digest(self) -> bytes:
        """The statement's digest."""
        return self.statement.digest

    def bundled(self) -> LoggedStatement:
        """Returns it as a bundle has it."""
        return LoggedStatement(self.statement.jws, self.receipt.format())


@dataclass(slots=True)
class Party:
    """A member: its entry, and the key that it signs with at present."""

    entry: directory_pb2.Member
    key: StatementPrivateKey


@dataclass(slots=True)
class ChainBuilder:
    """An exchange and its members.

    Attributes:
        domain: its trust domain, from which all its keys come.
        now: the clock of everybody; each statement takes a second.
        witnesses: names of the witnesses that cosign each checkpoint at once.
    """

    domain: str = DOMAIN
    now: datetime = START
    witnesses: Sequence[str] = ()
    parties: dict[str, Party] = field(default_factory=dict)
    log: list[Logged] = field(default_factory=list)
    _leaves: list[bytes] = field(default_factory=list)
    _counter: int = 0

    def __post_init__(self) -> None:
        key = private_key(self.exchange)
        self.parties[self.exchange] = Party(directory_pb2.Member(), key)

    # Names and keys

    @property
    def exchange(self) -> str:
        """The exchange's SPIFFE ID."""
        return f"spiffe://{self.domain}/exchange"

    @property
    def signer(self) -> NoteSigner:
        """The log's key."""
        origin = f"{self.domain}/log"
        return NoteSigner(origin, note_key(origin))

    def trust(self) -> str:
        """Returns a trust file: the log's key and, if there are any, all witnesses."""
        keys = {name: Cosigner(name, note_key(name)).vkey for name in self.witnesses}
        lines = [f"log {self.signer.vkey.format()}"]
        lines += [f"witness {name} {key.format()}" for name, key in keys.items()]
        if self.witnesses:
            majority = len(self.witnesses) // 2 + 1
            lines.append(f"group all-of-them {majority} {' '.join(self.witnesses)}")
        lines.append(f"quorum {'all-of-them' if self.witnesses else 'none'}")
        return "\n".join(lines) + "\n"

    # The log

    def checkpoint(self, size: int | None = None) -> str:
        """Returns the checkpoint of a size, the present one if none is given."""
        tree = self._tree(size)
        origin = self.signer.name
        note = parse_note(Checkpoint(origin, tree.size, tree.root).sign(self.signer))
        seconds = int(self.now.timestamp())
        cosigners = (Cosigner(name, note_key(name)) for name in self.witnesses)
        return note.with_signatures(
            *(cosigner.sign(note.text, seconds) for cosigner in cosigners)
        ).format()

    def receipt(self, index: int, size: int | None = None) -> TlogProof:
        """Returns the receipt of an entry up to a size."""
        path = self._tree(size).inclusion_proof(index)
        return TlogProof(index, tuple(path), self.checkpoint(size))

    def consistency(self, size: int) -> ConsistencyProof:
        """Returns the proof that the present tree grew from an older one."""
        path = self._tree().consistency_proof(size)
        return ConsistencyProof(size, self._tree(size).root, tuple(path))

    def seen(self) -> statement_pb2.Seen | None:
        """Returns the present checkpoint as a statement names it."""
        if not self._leaves:
            return None
        tree = self._tree()
        return statement_pb2.Seen(
            origin=self.signer.name, size=tree.size, root=tree.root
        )

    def append(self, *statements: SignedStatement) -> Logged:
        """Commits statements together, whatever they say; returns the first."""
        first = len(self.log)
        self._leaves += [leaf_hash(statement.digest) for statement in statements]
        for index, statement in enumerate(statements, start=first):
            self.log.append(Logged(index, statement, self.receipt(index)))
        return self.log[first]

    def sign(
        self,
        issuer: str,
        *,
        key: StatementPrivateKey | None = None,
        referral_id: str = "",
        previous: Logged | SignedStatement | None = None,
        **fields: Any,
    ) -> SignedStatement:
        """Signs a statement, with the issuer's own key unless another is given."""
        self.now += timedelta(seconds=1)
        values: dict[str, Any] = {
            "id": self.new_id(),
            "issuer": issuer,
            "made_time": timestamp(self.now),
            "seen": self.seen(),
            "previous": previous.digest if previous else b"",
            "referral_id": referral_id,
        }
        message = statement_pb2.Statement(**(values | fields))
        return sign_statement(message, key or self.parties[issuer].key)

    def say(self, issuer: str, **fields: Any) -> Logged:
        """Signs a statement, and commits it."""
        return self.append(self.sign(issuer, **fields))

    def new_id(self) -> str:
        """Returns the next id."""
        self._counter += 1
        milliseconds = int(self.now.timestamp() * 1000)
        return new_statement_id(milliseconds, self._counter.to_bytes(10, "big"))

    def wait(self, **span: float) -> None:
        """Lets time pass, as ``timedelta`` names it."""
        self.now += timedelta(**span)

    # The directory

    def found(self) -> Logged:
        """Logs the first entry, which introduces the exchange's key."""
        return self.say(self.exchange, key_change=self.key_change())

    def key_change(self, *more: directory_pb2.StatementKey) -> statement_pb2.KeyChange:
        """Returns what introduces the exchange's key."""
        key = statement_key(self.parties[self.exchange].key)
        vkey = self.signer.vkey.format()
        return statement_pb2.KeyChange(keys=[key, *more], log_vkey=vkey)

    def enrol(self, name: str) -> Logged:
        """Adds a member with its key."""
        key = private_key(name)
        entry = directory_pb2.Member(
            name=name,
            kind=vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT,
            roles=[vocabulary_pb2.ROLE_PUBLISHER, vocabulary_pb2.ROLE_RECIPIENT],
            status=vocabulary_pb2.MEMBER_STATUS_ACTIVE,
            statement_keys=[statement_key(key)],
        )
        self.parties[name] = Party(entry, key)
        return self.change(name, statement_pb2.DIRECTORY_CHANGE_KIND_ENROLLED)

    def rotate(
        self,
        name: str,
        status: vocabulary_pb2.KeyStatus.ValueType = vocabulary_pb2.KEY_STATUS_RETIRED,
    ) -> StatementPrivateKey:
        """Gives a member a new key; returns the old one, which now has a status."""
        party = self.parties[name]
        old, party.key = party.key, private_key(f"{name} {len(self.log)}")
        for key in party.entry.statement_keys:
            key.status = status
        party.entry.statement_keys.append(statement_key(party.key))
        self.change(name, statement_pb2.DIRECTORY_CHANGE_KIND_KEYS_ROTATED)
        return old

    def change(
        self, name: str, kind: statement_pb2.DirectoryChangeKind.ValueType
    ) -> Logged:
        """Logs the present entry of a member."""
        body = statement_pb2.DirectoryChange(kind=kind, member=self.parties[name].entry)
        before = [item for item in self.log if _member(item) == name]
        return self.say(
            self.exchange,
            directory_change=body,
            previous=before[-1] if before else None,
        )

    # Custody

    def referral(
        self,
        publisher: str,
        *recipients: str,
        **fields: Any,
    ) -> SignedStatement:
        """Signs a referral that is well-formed but for the fields given."""
        referral_id = self.new_id()
        body = statement_pb2.Referral(**(_referral(recipients, self.now) | fields))
        return self.sign(
            publisher, id=referral_id, referral_id=referral_id, referral=body
        )

    def acceptance(self, referral: SignedStatement) -> SignedStatement:
        """Signs the exchange's acceptance of a referral."""
        body = statement_pb2.Acceptance(
            policy_version="2026-11",
            policy_digest=sha256(b"policy").digest(),
            deadlines=[
                statement_pb2.DeliveryDeadlines(
                    recipient=recipient,
                    deliver_by_time=timestamp(self.now + timedelta(hours=1)),
                    acknowledge_within=duration(12 * 3600),
                    outcome_within=duration(7 * 86400),
                )
                for recipient in referral.message.referral.recipients
            ],
        )
        return self.sign(
            self.exchange,
            referral_id=referral.message.id,
            previous=referral,
            acceptance=body,
        )

    def publish(
        self,
        publisher: str,
        *recipients: str,
        **fields: Any,
    ) -> Logged:
        """Publishes a referral, and accepts it in the same commit."""
        referral = self.referral(publisher, *recipients, **fields)
        return self.append(referral, self.acceptance(referral))

    def answer(self, issuer: str, previous: Logged, **body: Any) -> Logged:
        """Logs an answer to a statement of a chain."""
        chain = previous.statement.message.referral_id
        return self.say(issuer, referral_id=chain, previous=previous, **body)

    def hand_over(self, referral: Logged, recipient: str) -> Logged:
        """Logs that the content went out."""
        body = statement_pb2.Handover(
            recipient=recipient,
            certificate_fingerprint=sha256(recipient.encode()).digest(),
            content_digest=referral.statement.message.referral.content_digest,
        )
        return self.answer(self.exchange, self.log[referral.index + 1], handover=body)

    def receive(self, referral: Logged, recipient: str) -> Logged:
        """Logs that it was handed over and received; returns the ``Received``."""
        body = statement_pb2.Received(
            content_digest=referral.statement.message.referral.content_digest,
            check=vocabulary_pb2.CONTENT_CHECK_VERIFIED,
        )
        return self.answer(
            recipient, self.hand_over(referral, recipient), received=body
        )

    def acknowledge(self, received: Logged) -> Logged:
        """Logs that a person read it."""
        body = statement_pb2.Acknowledgment(reader_role="watch officer")
        return self.answer(
            received.statement.message.issuer, received, acknowledgment=body
        )

    def take(self, acknowledged: Logged) -> Logged:
        """Logs that the recipient takes responsibility."""
        issuer = acknowledged.statement.message.issuer
        return self.answer(issuer, acknowledged, taking=statement_pb2.Taking())

    def decline(self, acknowledged: Logged, suggested: str = "") -> Logged:
        """Logs that the recipient does not take responsibility."""
        body = statement_pb2.Decline(
            reason=vocabulary_pb2.DECLINE_REASON_NOT_OUR_JURISDICTION,
            suggested_agency=suggested,
        )
        return self.answer(
            acknowledged.statement.message.issuer, acknowledged, decline=body
        )

    def close(self, taken: Logged) -> Logged:
        """Logs an outcome that closes."""
        body = statement_pb2.Outcome(
            code=vocabulary_pb2.OUTCOME_CODE_VICTIM_LOCATED_SAFE, closes=True
        )
        return self.answer(taken.statement.message.issuer, taken, outcome=body)

    def transfer(self, parent: Logged, answered: Logged, recipient: str) -> Logged:
        """Logs a transfer with its child referral; returns the child."""
        issuer = answered.statement.message.issuer
        link = statement_pb2.ReferralLink(
            kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF,
            referral_id=parent.id,
            referral_digest=parent.digest,
        )
        child = self.referral(issuer, recipient, links=[link])
        body = statement_pb2.Transfer(
            child_referral_id=child.message.id, child_digest=child.digest
        )
        transfer = self.sign(
            issuer, referral_id=parent.id, previous=answered, transfer=body
        )
        first = self.append(transfer, child, self.acceptance(child))
        return self.log[first.index + 1]

    def due(
        self,
        referral: Logged,
        recipient: str,
        kind: vocabulary_pb2.DeadlineKind.ValueType = DELIVER,
        /,
        **fields: Any,
    ) -> statement_pb2.Due:
        """Returns what is due of a delivery; its recipient holds the tip.

        Args:
            referral: the referral, which was accepted.
            recipient: whose delivery.
            kind: what is due; after receipt, unless it is the receipt.
            fields: what the statement shall say instead.
        """
        acceptance = self.log[referral.index + 1].statement.message.acceptance
        (terms,) = (
            item for item in acceptance.deadlines if item.recipient == recipient
        )
        within = {ACKNOWLEDGE: terms.acknowledge_within, OUTCOME: terms.outcome_within}
        time = terms.deliver_by_time
        if kind in within:
            received = next(
                item.statement.message
                for item in self.chain(referral.id)
                if item.statement.body_kind == "received"
                and item.statement.message.issuer == recipient
            )
            made = received.made_time.ToDatetime(tzinfo=UTC)
            time = timestamp(made + within[kind].ToTimedelta())
        right: dict[str, Any] = {
            "kind": kind,
            "due_time": time,
            "holder": recipient,
            "holder_role": vocabulary_pb2.HOLDER_ROLE_RECIPIENT,
            "recipient": recipient,
        }
        return statement_pb2.Due(**(right | fields))

    def warn(self, referral: Logged, due: statement_pb2.Due) -> Logged:
        """Logs that half the time to a deadline is over."""
        body = statement_pb2.Warning(due=due)
        return self.answer(self.exchange, referral, warning=body)

    def breach(self, referral: Logged, due: statement_pb2.Due) -> Logged:
        """Logs that a deadline passed."""
        body = statement_pb2.Breach(due=due)
        return self.answer(self.exchange, referral, breach=body)

    def link(self, issuer: str, referral: Logged, other: Logged) -> Logged:
        """Logs that two referrals concern the same tip."""
        body = statement_pb2.Link(same_as=other.digest, same_as_referral_id=other.id)
        return self.answer(issuer, referral, link=body)

    def retract(self, referral: Logged) -> Logged:
        """Logs that the publisher takes it back."""
        body = statement_pb2.Retraction(
            reason=vocabulary_pb2.RETRACTION_REASON_CONSENT_WITHDRAWN
        )
        return self.answer(referral.statement.message.issuer, referral, retraction=body)

    def erase(self, referral: Logged) -> Logged:
        """Logs that the content was erased."""
        body = statement_pb2.Erasure(
            content_digest=referral.statement.message.referral.content_digest,
            reason=vocabulary_pb2.ERASURE_REASON_PUBLISHER_REQUEST,
            requested_by=referral.statement.message.issuer,
        )
        return self.answer(self.exchange, self.log[referral.index + 1], erasure=body)

    # Bundles

    def chain(self, referral_id: str) -> list[Logged]:
        """Returns the statements about a referral."""
        return [
            item
            for item in self.log
            if item.statement.message.referral_id == referral_id
        ]

    def directory(self) -> list[Logged]:
        """Returns the statements about keys."""
        kinds = {"key_change", "directory_change"}
        return [item for item in self.log if item.statement.body_kind in kinds]

    def bundle(self, *referrals: Logged, **changes: Any) -> bytes:
        """Returns the bundle of a referral and those into which it was transferred.

        Args:
            referrals: the referral, then its descendants.
            changes: parts of the bundle that shall be others: ``statements``,
                ``directory``, ``checkpoint``, ``consistency``, ``recipient``,
                ``vouchers``.
        """
        chains = [item for referral in referrals for item in self.chain(referral.id)]
        ordered = sorted(chains, key=lambda item: item.index)
        statements = [item.bundled() for item in ordered]
        directory = [item.bundled() for item in self.directory()]
        parts: dict[str, Any] = {
            "checkpoint": self.checkpoint(),
            "statements": statements,
            "directory": directory,
            "vouchers": Vouchers(),
        } | changes
        needed = needed_sizes(
            parts["checkpoint"],
            [*parts["statements"], *parts["directory"]],
            parts["vouchers"].notes,
        )
        parts.setdefault("consistency", [self.consistency(size) for size in needed])
        return build_bundle(referrals[0].id, **parts)

    def _tree(self, size: int | None = None) -> Tree:
        return Tree().extend(self._leaves[:size])


def statement_key(
    key: StatementPrivateKey,
    status: vocabulary_pb2.KeyStatus.ValueType = vocabulary_pb2.KEY_STATUS_ACTIVE,
) -> directory_pb2.StatementKey:
    """Returns a key as the directory lists it."""
    return directory_pb2.StatementKey(
        key_id=key.key_id,
        jwk=key.public.jwk,
        status=status,
        not_before_time=timestamp(_KEYS_FROM),
        not_after_time=timestamp(_KEYS_UNTIL),
    )


def established(*, witnesses: Sequence[str] = ()) -> ChainBuilder:
    """Returns an exchange with a hotline and three agencies."""
    builder = ChainBuilder(witnesses=witnesses)
    builder.found()
    for name in (HOTLINE, OHIO, NEVADA, UTAH):
        builder.enrol(name)
    return builder


def _member(item: Logged) -> str:
    """Returns whose entry a directory statement changes."""
    return item.statement.message.directory_change.member.name


def _referral(recipients: Sequence[str], now: datetime) -> dict[str, Any]:
    return {
        "recipients": recipients,
        "urgency": vocabulary_pb2.URGENCY_TIME_SENSITIVE,
        "jurisdiction": statement_pb2.Jurisdiction(code="US-OH"),
        "basis": vocabulary_pb2.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
        "reporter_type": vocabulary_pb2.REPORTER_TYPE_COMMUNITY_MEMBER,
        "subject_age_group": vocabulary_pb2.AGE_GROUP_ADULT,
        "trafficking_type": vocabulary_pb2.TRAFFICKING_TYPE_LABOR,
        "channel": vocabulary_pb2.CHANNEL_CALL,
        "tip_received_time": timestamp(now - timedelta(minutes=10)),
        "content_digest": sha256(CONTENT).digest(),
        "content_size": len(CONTENT),
        "expire_time": timestamp(now + timedelta(days=30)),
    }
