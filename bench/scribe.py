"""A log that is written without an exchange: signed, in a real tree, into a folder.

What it writes is what an auditor of the whole exchange downloads. It does not judge:
whoever uses it says what is logged, and when.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, TextIO

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp

from onward._evidence import Folder
from onward.core.audit.chains import ChainNamer
from onward.core.audit.evidence import covers, format_header
from onward.core.audit.policies import set_digest
from onward.core.audit.prefixes import tree_root
from onward.core.checkpoints import Checkpoint
from onward.core.keys import StatementPrivateKey
from onward.core.merkle import EMPTY_ROOT, leaf_hash, node_hash
from onward.core.notes import NoteSigner
from onward.core.statements import (
    SignedStatement,
    UnverifiedStatement,
    new_statement_id,
    sign_statement,
)
from onward.core.tlog_proof import TlogProof
from onward.v1 import audit_pb2, directory_pb2, log_pb2, statement_pb2
from onward.v1 import vocabulary_pb2 as v

DOMAIN: Final = "national.example"
EXCHANGE: Final = f"spiffe://{DOMAIN}/exchange"
AUDITOR: Final = f"spiffe://{DOMAIN}/auditor/inspector-general"

_ORIGIN: Final = f"{DOMAIN}/log"
_YEAR: Final = 366 * 86_400_000


def timestamp(ms: int) -> Timestamp:
    """Returns a time as protobuf has it."""
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


def private_key(name: str) -> StatementPrivateKey:
    """Returns the key of a name: always the same."""
    seed = sha256(b"statement key " + name.encode()).digest()
    number = int.from_bytes(seed[:31], "big")  # surely below the curve's order
    return StatementPrivateKey(ec.derive_private_key(number, ec.SECP256R1()))


@dataclass(slots=True)
class Roots:
    """The root of a growing tree, from its peaks."""

    size: int = 0
    _peaks: list[bytes] = field(default_factory=list)

    def append(self, digest: bytes) -> None:
        """Adds an entry."""
        node, size = leaf_hash(digest), self.size
        while size & 1:
            node, size = node_hash(self._peaks.pop(), node), size >> 1
        self._peaks.append(node)
        self.size += 1

    @property
    def root(self) -> bytes:
        """The root of the present tree."""
        if not self._peaks:
            return EMPTY_ROOT
        node = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            node = node_hash(peak, node)
        return node


@dataclass(frozen=True, slots=True)
class Said:
    """A statement that is in the log."""

    index: int
    statement: SignedStatement

    @property
    def digest(self) -> bytes:
        """The statement's digest."""
        return self.statement.digest

    @property
    def id(self) -> str:
        """The statement's id."""
        return self.statement.message.id


@dataclass(slots=True)
class Scribe:
    """Writes a log.

    Attributes:
        folder: where it is written.
        now_ms: the time of what is said next.
        codes: the auditor's jurisdictions.
        hides: names of chains that the exchange leaves out of what it shows.
    """

    folder: Folder
    now_ms: int
    codes: Sequence[str] = ("*",)
    hides: frozenset[str] = frozenset()
    roots: Roots = field(default_factory=Roots)
    _keys: dict[str, StatementPrivateKey] = field(default_factory=dict)
    _entries: bytearray = field(default_factory=bytearray)
    _shown: bytearray = field(default_factory=bytearray)
    _count: int = 0
    _namer: ChainNamer = field(default_factory=ChainNamer)
    _lines: TextIO | None = None
    _counter: int = 0
    _policy: bytes = b""
    _begun_ms: int = 0

    def __post_init__(self) -> None:
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self._lines = self.folder.statements.open("w", encoding="ascii")
        self._begun_ms = self.now_ms

    @property
    def signer(self) -> NoteSigner:
        """The log's key."""
        seed = sha256(b"log key " + _ORIGIN.encode()).digest()
        return NoteSigner(_ORIGIN, Ed25519PrivateKey.from_private_bytes(seed))

    def trust(self) -> str:
        """Returns a trust file for this log."""
        return f"log {self.signer.vkey.format()}\nquorum none\n"

    def new_id(self) -> str:
        """Returns the next id."""
        self._counter += 1
        return new_statement_id(self.now_ms, self._counter.to_bytes(10, "big"))

    def say(
        self,
        issuer: str,
        *,
        places: Sequence[str] | None = None,
        previous: bytes = b"",
        **fields: Any,  # noqa: ANN401 - protobuf's constructors take what they take
    ) -> Said:
        """Signs and logs a statement.

        Args:
            issuer: who says it.
            places: whose auditors may see it; everybody's if None.
            previous: digest of what it answers.
            **fields: more of the statement, its body among them.
        """
        return self.log(self.sign(issuer, previous=previous, **fields), places=places)

    def sign(
        self,
        issuer: str,
        *,
        previous: bytes = b"",
        **fields: Any,  # noqa: ANN401 - protobuf's constructors take what they take
    ) -> SignedStatement:
        """Signs a statement, and logs nothing."""
        values: dict[str, Any] = {
            "id": self.new_id(),
            "issuer": issuer,
            "made_time": timestamp(self.now_ms),
            "previous": previous,
        }
        if self.roots.size:
            values["seen"] = statement_pb2.Seen(
                origin=_ORIGIN, size=self.roots.size, root=self.roots.root
            )
        message = statement_pb2.Statement(**(values | fields))
        return sign_statement(message, self._key(issuer))

    def log(
        self, statement: SignedStatement, *, places: Sequence[str] | None = None
    ) -> Said:
        """Logs a statement, and shows it to the auditor if it may see it."""
        said = Said(self.roots.size, statement)
        self.roots.append(said.digest)
        self._entries += said.digest
        codes = frozenset(self.codes)
        if places is None or any(covers(codes, place) for place in places):
            self._show(said)
        return said

    def found(self, members: Mapping[str, directory_pb2.Member]) -> None:
        """Logs the first entry and the directory."""
        change = statement_pb2.KeyChange(
            keys=[self._statement_key(EXCHANGE)], log_vkey=self.signer.vkey.format()
        )
        self.say(EXCHANGE, key_change=change)
        for member in members.values():
            member.statement_keys.append(self._statement_key(member.name))
            member.status = v.MEMBER_STATUS_ACTIVE
            enrolled = statement_pb2.DIRECTORY_CHANGE_KIND_ENROLLED
            body = statement_pb2.DirectoryChange(kind=enrolled, member=member)
            self.say(EXCHANGE, directory_change=body)

    def put_in_force(self, files: Mapping[str, bytes]) -> bytes:
        """Logs a policy set, and returns its digest."""
        digest = set_digest(files)
        body = statement_pb2.PolicyChange(
            policy_version="2026-11", policy_digest=digest, requested_by=EXCHANGE
        )
        said = self.say(EXCHANGE, previous=self._policy, policy_change=body)
        self._policy = said.digest
        folder = self.folder.policies / digest.hex()
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return digest

    def close(
        self,
        intakes: Counter[tuple[str, int, int]],
        deliveries: Counter[tuple[str, int, int]],
    ) -> None:
        """Logs that the auditor looked, and writes the rest of the folder.

        Args:
            intakes: the exchange's own figures, by hotline, urgency and state.
            deliveries: the same by recipient, urgency and state.
        """
        access = self.say(
            EXCHANGE,
            places=(),
            audit_access=statement_pb2.AuditAccess(
                auditor=AUDITOR,
                method="ExportStatements",
                jurisdictions=self.codes,
                log_size=self.roots.size,
                statement_count=self._count,
                statements_root=tree_root(bytes(self._shown)),
            ),
        )
        note = Checkpoint(_ORIGIN, self.roots.size, self.roots.root).sign(self.signer)
        header = audit_pb2.ExportHeader(
            access=log_pb2.LoggedStatement(
                statement=access.statement.jws,
                receipt=TlogProof(access.index, (), note).format(),
            ),
            checkpoint=note,
            intakes=[
                audit_pb2.IntakeFigure(
                    hotline=member,
                    urgency=v.Urgency.ValueType(urgency),
                    state=v.IntakeState.ValueType(state),
                    count=count,
                )
                for (member, urgency, state), count in intakes.items()
                if count
            ],
            deliveries=[
                audit_pb2.DeliveryFigure(
                    recipient=member,
                    urgency=v.Urgency.ValueType(urgency),
                    state=v.DeliveryState.ValueType(state),
                    count=count,
                )
                for (member, urgency, state), count in deliveries.items()
                if count
            ],
        )
        self.folder.checkpoint.write_text(note, encoding="utf-8")
        self.folder.entries.write_bytes(self._entries)
        self.folder.header.write_bytes(format_header(header))
        if self._lines:
            self._lines.close()

    def _show(self, said: Said) -> None:
        """Writes a statement as it is exported."""
        statement = said.statement
        unverified = UnverifiedStatement(
            statement.jws,
            statement.digest,
            statement.key_id,
            statement.algorithm,
            statement.message,
        )
        chain = self._namer.name(unverified)
        if chain in self.hides:
            return
        line = {"index": said.index, "chain": chain, "statement": statement.jws}
        if self._lines:
            self._lines.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._shown += said.digest
        self._count += 1

    def _key(self, name: str) -> StatementPrivateKey:
        if name not in self._keys:
            self._keys[name] = private_key(name)
        return self._keys[name]

    def _statement_key(self, name: str) -> directory_pb2.StatementKey:
        key = self._key(name)
        return directory_pb2.StatementKey(
            key_id=key.key_id,
            jwk=key.public.jwk,
            status=v.KEY_STATUS_ACTIVE,
            not_before_time=timestamp(self._begun_ms - 1000),
            not_after_time=timestamp(self._begun_ms + 2 * _YEAR),
        )


def milliseconds(time: datetime) -> int:
    """Returns a time in milliseconds since 1970."""
    return int(time.astimezone(UTC).timestamp() * 1000)
