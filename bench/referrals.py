"""Referrals made ready before the clock runs: sealed, signed, and all different.

A publisher seals and signs on its own machine. Here one machine plays both parts, so
what the publisher does must be done before the exchange is measured.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any, Final, TypeVar

from google.protobuf.json_format import Parse
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.checkpoints import Checkpoint
from onward.core.keys import StatementPrivateKey
from onward.core.notes import parse_note
from onward.core.sealing import ContentPublicKey, seal_content
from onward.core.statements import (
    SignedStatement,
    new_statement_id,
    sign_statement,
    statement_digest,
)
from onward.home import Home
from onward.v1 import content_pb2, referral_pb2, statement_pb2, vocabulary_pb2

T = TypeVar("T")

_SAMPLES: Final = Path(__file__).parent.parent / "docs" / "samples"
_URGENCIES: Final = (
    vocabulary_pb2.URGENCY_TIME_SENSITIVE,
    vocabulary_pb2.URGENCY_ROUTINE,
)
_PLACES: Final = ("US-OH", "US-TX", "US-FL", "US-NV", "US-UT")
_READER: Final = "watch officer"
_RETENTION_SECONDS: Final = 90 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Prepared:
    """A referral that is ready to be published."""

    referral_id: str
    request: referral_pb2.PublishRequest


@dataclass(frozen=True, slots=True)
class Publisher:
    """A hotline's machine.

    Attributes:
        name: its SPIFFE ID.
        key: signs its referrals.
        tips: what it was told.
    """

    name: str
    key: StatementPrivateKey
    tips: tuple[content_pb2.Tip, ...]

    @classmethod
    def open(cls, home: Home) -> Publisher:
        """Returns the publisher whose home it is, with the sample tips."""
        tips = tuple(
            Parse(path.read_text("utf-8"), content_pb2.Tip())
            for path in sorted(_SAMPLES.glob("*.json"))
        )
        return cls(home.settings.member, _only(home.statement_keys()), tips)

    def prepare(
        self, count: int, recipient: Recipient, seen: statement_pb2.Seen
    ) -> list[Prepared]:
        """Returns different referrals, which have seen a checkpoint."""
        kinds = cycle(product(self.tips, _URGENCIES, _PLACES))
        return [self._prepare(recipient, seen, *kind) for kind in islice(kinds, count)]

    def _prepare(
        self,
        recipient: Recipient,
        seen: statement_pb2.Seen,
        tip: content_pb2.Tip,
        urgency: vocabulary_pb2.Urgency.ValueType,
        place: str,
    ) -> Prepared:
        """Seals a tip and signs its referral."""
        now = present()
        referral_id = _new_id(now)
        content, keys = tip.SerializeToString(), {recipient.name: recipient.sealing_key}
        sealed = seal_content(content, referral_id, keys, os.urandom)
        body = statement_pb2.Referral(
            recipients=[recipient.name],
            urgency=urgency,
            jurisdiction=statement_pb2.Jurisdiction(code=place),
            basis=vocabulary_pb2.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
            reporter_type=vocabulary_pb2.REPORTER_TYPE_COMMUNITY_MEMBER,
            subject_age_group=vocabulary_pb2.AGE_GROUP_ADULT,
            trafficking_type=tip.trafficking_type,
            channel=tip.channel,
            tip_received_time=now,
            content_digest=sha256(sealed).digest(),
            content_size=len(sealed),
            expire_time=Timestamp(seconds=now.seconds + _RETENTION_SECONDS),
        )
        statement = statement_pb2.Statement(
            id=referral_id,
            issuer=self.name,
            made_time=now,
            seen=seen,
            referral_id=referral_id,
            referral=body,
        )
        signed = sign_statement(statement, self.key)
        return Prepared(
            referral_id,
            referral_pb2.PublishRequest(referral=signed.jws, sealed_content=sealed),
        )


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient's machine.

    Attributes:
        name: its SPIFFE ID.
        key: signs its statements.
        sealing_key: content for it is sealed to this key.
    """

    name: str
    key: StatementPrivateKey
    sealing_key: ContentPublicKey

    @classmethod
    def open(cls, home: Home) -> Recipient:
        """Returns the recipient whose home it is."""
        content_key = _only(home.content_keys())
        return cls(
            home.settings.member, _only(home.statement_keys()), content_key.public
        )

    def receive(
        self,
        delivery: referral_pb2.Delivery,
        notice: referral_pb2.HandoverNotice,
        seen: statement_pb2.Seen,
    ) -> SignedStatement:
        """Returns the signed ``Received`` that answers a handover."""
        previous = statement_digest(notice.handover.statement)
        received = statement_pb2.Received(
            content_digest=sha256(delivery.sealed_content).digest(),
            check=vocabulary_pb2.CONTENT_CHECK_VERIFIED,
        )
        return self._say(notice.referral_id, previous, seen, received=received)

    def acknowledge(
        self, received: SignedStatement, seen: statement_pb2.Seen
    ) -> SignedStatement:
        """Returns the signed ``Acknowledgment`` that follows a ``Received``."""
        read = statement_pb2.Acknowledgment(reader_role=_READER)
        return self._say(
            received.message.referral_id, received.digest, seen, acknowledgment=read
        )

    def _say(
        self,
        referral_id: str,
        previous: bytes,
        seen: statement_pb2.Seen,
        **body: Any,  # noqa: ANN401 - protobuf's constructors take what they take
    ) -> SignedStatement:
        """Signs a statement about a referral, made now."""
        now = present()
        statement = statement_pb2.Statement(
            id=_new_id(now),
            issuer=self.name,
            made_time=now,
            seen=seen,
            previous=previous,
            referral_id=referral_id,
            **body,
        )
        return sign_statement(statement, self.key)


def seen_of(checkpoint: str) -> statement_pb2.Seen:
    """Returns a checkpoint, a signed note, as statements name it."""
    read = Checkpoint.parse(parse_note(checkpoint).text)
    return statement_pb2.Seen(origin=read.origin, size=read.size, root=read.root)


def present() -> Timestamp:
    """Returns the time of this machine, to whole milliseconds."""
    now = Timestamp()
    now.GetCurrentTime()
    now.nanos -= now.nanos % 1_000_000
    return now


def _new_id(now: Timestamp) -> str:
    """Returns a new statement's id."""
    return new_statement_id(now.ToMilliseconds(), os.urandom(10))


def _only(keys: Mapping[str, T]) -> T:
    """Returns the one key that a member has when it has just enrolled."""
    (key,) = keys.values()
    return key
