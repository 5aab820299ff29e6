"""What the client hands out and takes: values that were verified, or that were signed.

A value of type :class:`Logged` is a statement whose signature held with a key that its
issuer had at that place of the log, and whose receipt led to a checkpoint that the
trust file accepts and that agrees with every checkpoint seen before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self, TypeAlias, TypedDict

from google.protobuf.message import DecodeError

from onward.core.checkpoints import Checkpoint
from onward.core.errors import MalformedError
from onward.core.statements import SignedStatement, parse_statement, statement_digest
from onward.v1 import (
    content_pb2,
    log_pb2,
    referral_pb2,
    statement_pb2,
    vocabulary_pb2,
)

Tip: TypeAlias = content_pb2.Tip
"""What somebody told a hotline (``proto/onward/v1/content.proto``)."""


class RoutingDetails(TypedDict, total=False):
    """What a publisher may decide about a referral.

    The exchange and the auditors of the jurisdiction read these fields, so none of them
    may hold personal data. Their rules are those of ``onward.v1.Referral``.

    Attributes:
        urgency_reason: required for ``IMMINENT_DANGER`` and ``MINOR``.
        basis_citation: required for ``COURT_ORDER`` and ``STATUTE``.
        consent: what the person concerned permits.
        expire_time: when the exchange erases the content at the latest; 90 days from
            now if absent, or when the consent ends if that is earlier.
        links: how this referral relates to earlier ones.
        intake_numbers: the publisher's intake numbers that it answers.
        markings: handling labels.
    """

    urgency_reason: str
    basis_citation: str
    consent: statement_pb2.Consent
    expire_time: datetime
    links: Sequence[statement_pb2.ReferralLink]
    intake_numbers: Sequence[int]
    markings: Sequence[str]


class Routing(RoutingDetails):
    """What a publisher decides about a new referral: everything of it but the tip.

    Attributes:
        recipients: SPIFFE IDs of 1 to 16 agencies.
        urgency: how fast it must move.
        jurisdiction: ISO 3166-2 code such as ``US-OH``, or the whole message.
        basis: why the tip may be passed on.
        subject_age_group: the age of the person concerned.
    """

    recipients: Sequence[str]
    urgency: vocabulary_pb2.Urgency.ValueType
    jurisdiction: str | statement_pb2.Jurisdiction
    basis: vocabulary_pb2.DisclosureBasis.ValueType
    subject_age_group: vocabulary_pb2.AgeGroup.ValueType


class RoutingChanges(RoutingDetails, total=False):
    """What a child referral has else than the one that it passes on; as ``Routing``."""

    urgency: vocabulary_pb2.Urgency.ValueType
    jurisdiction: str | statement_pb2.Jurisdiction
    basis: vocabulary_pb2.DisclosureBasis.ValueType
    subject_age_group: vocabulary_pb2.AgeGroup.ValueType


@dataclass(frozen=True, slots=True)
class Logged:
    """A verified statement with its verified receipt.

    Attributes:
        statement: the statement; its signature holds.
        receipt: the receipt as it came, in the ``tlog-proof`` format.
        log_index: the statement's place in the exchange's log.
        checkpoint: the checkpoint that the receipt leads to.
    """

    statement: SignedStatement
    receipt: str = field(repr=False)
    log_index: int
    checkpoint: Checkpoint = field(repr=False)

    @property
    def message(self) -> statement_pb2.Statement:
        """The parsed statement."""
        return self.statement.message

    @property
    def kind(self) -> str:
        """The name of the statement's body, such as ``acceptance``."""
        return self.statement.body_kind

    @property
    def issuer(self) -> str:
        """The SPIFFE ID of who said it."""
        return self.statement.message.issuer

    @property
    def digest(self) -> bytes:
        """SHA-256 of the statement, 32 bytes: its entry in the log."""
        return self.statement.digest

    def to_proto(self) -> log_pb2.LoggedStatement:
        """Returns statement and receipt exactly as they came."""
        return log_pb2.LoggedStatement(
            statement=self.statement.jws, receipt=self.receipt
        )


@dataclass(frozen=True, slots=True)
class PreparedReferral:
    """A signed referral with its sealed content, ready to be published.

    Publishing it twice, or again after a crash, publishes one referral: keep the bytes
    of :meth:`to_bytes` before the first attempt, and nothing can be lost or doubled.

    Attributes:
        referral: the ``Referral`` statement, a compact JWS.
        sealed_content: the serialized ``SealedContent``.
    """

    referral: str = field(repr=False)
    sealed_content: bytes = field(repr=False)

    @property
    def referral_id(self) -> str:
        """The referral's id."""
        return parse_statement(self.referral).message.id

    @property
    def digest(self) -> bytes:
        """The digest of the referral's statement, 32 bytes."""
        return statement_digest(self.referral)

    def to_bytes(self) -> bytes:
        """Returns one string of bytes to keep; it holds nothing readable of the tip."""
        message = referral_pb2.PublishRequest(
            referral=self.referral, sealed_content=self.sealed_content
        )
        return message.SerializeToString()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Reads what :meth:`to_bytes` wrote.

        Raises:
            MalformedError: it is something else.
        """
        try:
            message = referral_pb2.PublishRequest.FromString(data)
        except DecodeError:
            raise MalformedError("these bytes are no prepared referral") from None
        parse_statement(message.referral)
        return cls(message.referral, message.sealed_content)


@dataclass(frozen=True, slots=True)
class Published:
    """A referral that the exchange accepted.

    Attributes:
        referral: the referral with its receipt.
        acceptance: the exchange's ``Acceptance`` with its receipt; its deadlines say
            when each recipient must have it.
    """

    referral: Logged
    acceptance: Logged

    @property
    def referral_id(self) -> str:
        """The referral's id."""
        return self.referral.message.id


@dataclass(frozen=True, slots=True)
class Transferred:
    """A referral that was passed on.

    Attributes:
        transfer: the ``Transfer`` with its receipt.
        child: the child referral, accepted.
    """

    transfer: Logged
    child: Published


@dataclass(frozen=True, slots=True)
class Watched:
    """A statement about one of the caller's own referrals or intakes.

    Attributes:
        statement: the statement with its receipt.
        resume_token: keep it; watching from it continues after this statement.
    """

    statement: Logged
    resume_token: str


@dataclass(frozen=True, slots=True)
class ReferralDetail:
    """One referral as the caller may see it.

    Attributes:
        view: what the exchange says about it; deliveries and their states. A claim.
        statements: the statements that the caller may see, in the log's order. Proven.
    """

    view: referral_pb2.ReferralView
    statements: tuple[Logged, ...]
