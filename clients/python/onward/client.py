"""The SDK: one member's connection to its exchange. Async, typed, verifying.

Open a client on a member's home directory, which :func:`onward.enroll.enroll` made::

    async with Client.open("~/.onward") as client:
        published = await client.publish(tip, recipients=[...], urgency=..., ...)
        async for item in client.receive():
            match item:
                case Incoming():
                    await item.acknowledge("watch officer")

Everything that comes back was verified before you see it: each signature with the keys
that its issuer had at that place of the log, each receipt, and that every checkpoint
agrees with all the ones seen before. When two do not, the client keeps both as
evidence in the home and refuses to work until a person has looked at it.

Every call may be repeated. Calls that fail since the exchange cannot be reached, or
since a quota is used up, are repeated with the same bytes until ``deadline``. Errors
are those of :mod:`onward.core.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from os import PathLike
from secrets import token_bytes
from typing import Unpack

from onward._clock import Clock, Entropy, system_clock
from onward._values import (
    Logged,
    PreparedReferral,
    Published,
    ReferralDetail,
    Routing,
    RoutingChanges,
    Tip,
    Transferred,
    Watched,
)
from onward.core.checkpoints import Checkpoint
from onward.core.directory import MemberEntry
from onward.core.errors import OnwardError, StateError
from onward.home import Home
from onward.v1 import (
    admin_pb2,
    capability_pb2,
    directory_pb2,
    referral_pb2,
    vocabulary_pb2,
)


class DisclosureForbiddenError(StateError):
    """The exchange's disclosure policy forbids the referral.

    Attributes:
        rejection: the signed and logged ``Rejection``, verified: rule, citation and
            plain sentence.
    """

    rejection: Logged


class Incoming:
    """A referral that arrived, verified and opened.

    The verbs sign and log one statement each and return it with its receipt.

    Attributes:
        tip: the opened content.
        referral: the ``Referral`` with its receipt.
        acceptance: the exchange's ``Acceptance`` with its receipt.
        handover: the exchange's ``Handover`` with its receipt.
        received: our ``Received``; None until it is confirmed.
        attempt: 1 for the first delivery of it.
        traceparent: W3C ``traceparent`` of the publishing call, or empty. Untrusted.
    """

    tip: Tip
    referral: Logged
    acceptance: Logged
    handover: Logged
    received: Logged | None
    attempt: int
    traceparent: str

    @property
    def referral_id(self) -> str:
        """The referral's id."""
        raise NotImplementedError

    async def confirm(self) -> Logged:
        """Logs ``Received``, once; needed after ``receive(confirm=False)``."""
        raise NotImplementedError

    async def acknowledge(self, reader_role: str) -> Logged:
        """Logs that a person in this role has read the tip."""
        raise NotImplementedError

    async def take(self) -> Logged:
        """Logs that the recipient takes responsibility."""
        raise NotImplementedError

    async def decline(
        self,
        reason: vocabulary_pb2.DeclineReason.ValueType,
        suggested_agency: str = "",
    ) -> Logged:
        """Logs that the recipient does not take responsibility, and why."""
        raise NotImplementedError

    async def transfer(
        self, recipients: Sequence[str], **changes: Unpack[RoutingChanges]
    ) -> Transferred:
        """Passes the tip on, by a child referral; see :meth:`Client.transfer`."""
        raise NotImplementedError

    async def report_outcome(
        self, code: vocabulary_pb2.OutcomeCode.ValueType, *, closes: bool = False
    ) -> Logged:
        """Logs what came of it; ``closes`` when nothing more is to come."""
        raise NotImplementedError


class Invalid:
    """A referral that arrived and could not be verified or opened.

    Attributes:
        check: what is wrong with it.
        received: our ``Received``, which says so; None until it is confirmed.
        attempt: 1 for the first delivery of it.
    """

    referral_id: str
    check: vocabulary_pb2.ContentCheck.ValueType
    received: Logged | None
    attempt: int

    async def confirm(self) -> Logged:
        """Logs ``Received``, once; needed after ``receive(confirm=False)``."""
        raise NotImplementedError

    async def decline(
        self,
        reason: vocabulary_pb2.DeclineReason.ValueType,
        suggested_agency: str = "",
    ) -> Logged:
        """Logs that the recipient does not take responsibility, and why."""
        raise NotImplementedError


class Retracted:
    """A referral that went out to us and was taken back by its publisher.

    Attributes:
        referral_id: the referral's id.
        retraction: the ``Retraction`` with its receipt.
    """

    referral_id: str
    retraction: Logged

    async def reply(
        self,
        action: vocabulary_pb2.RetractionAction.ValueType,
        citation: str = "",
    ) -> Logged:
        """Logs what we did about it; a legal duty to retain needs its citation."""
        raise NotImplementedError


class Admin:
    """Running the exchange: calls for members with the operator role."""

    async def add_member(
        self, member: directory_pb2.Member
    ) -> admin_pb2.AddMemberResponse:
        """Adds a member; the answer holds its one-time enrolment token."""
        raise NotImplementedError

    async def issue_token(self, name: str) -> admin_pb2.IssueTokenResponse:
        """Issues another enrolment token; earlier ones become invalid."""
        raise NotImplementedError

    async def suspend(self, name: str) -> Logged:
        """Locks a member out."""
        raise NotImplementedError

    async def reinstate(self, name: str) -> Logged:
        """Lets a suspended member in again."""
        raise NotImplementedError

    async def revoke_key(self, name: str, key_id: str) -> Logged:
        """Revokes a statement or content key of a member."""
        raise NotImplementedError

    async def revoke_certificate(self, name: str, fingerprint: bytes) -> Logged:
        """Revokes a certificate, by the SHA-256 of its DER form."""
        raise NotImplementedError

    async def erase_content(self, referral_id: str, citation: str) -> Logged:
        """Erases the content of a referral by a legal duty."""
        raise NotImplementedError

    async def status(self) -> admin_pb2.GetStatusResponse:
        """Returns how the exchange is."""
        raise NotImplementedError


class Client:
    """One member's verified connection to its exchange. Made by :meth:`open`.

    Attributes:
        home: the member's home directory.
        admin: calls for operators.
    """

    home: Home
    admin: Admin

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        home: Home | str | PathLike[str],
        *,
        deadline: float = 60.0,
        clock: Clock = system_clock,
        entropy: Entropy = token_bytes,
    ) -> AsyncIterator[Client]:
        """Opens a client. The connection is made by the first call.

        Args:
            home: the member's home, or its path.
            deadline: seconds after which a call that cannot succeed at present fails.
            clock: tells the time, in UTC.
            entropy: returns random bytes.

        Raises:
            StateError: the home has no member yet, or holds evidence of a forked log.
            UnauthenticatedError: the member's certificate has expired.
        """
        raise NotImplementedError
        yield cls()

    @property
    def member(self) -> str:
        """The member's SPIFFE ID."""
        raise NotImplementedError

    @property
    def exchange(self) -> str:
        """The exchange's SPIFFE ID."""
        raise NotImplementedError

    # --- publishers -----------------------------------------------------------------

    async def publish(
        self, tip: Tip, *, traceparent: str = "", **routing: Unpack[Routing]
    ) -> Published:
        """Seals a tip to its recipients, signs the referral and publishes it.

        Args:
            tip: the content. Its channel, reporter type, trafficking type, received
                time and test flag are signed into the referral too.
            traceparent: W3C ``traceparent``; the active OpenTelemetry span if absent.
            **routing: what the publisher decides; see :class:`Routing`.

        Raises:
            MalformedError: the referral would not be well-formed; nothing was sent.
            DisclosureForbiddenError: the exchange's policy forbids it.
            StateError: for example a recipient that is not active.
            UnavailableError: not answered before the deadline; whether it was published
                is unknown. Use :meth:`prepare_referral` where that matters.
        """
        raise NotImplementedError

    async def prepare_referral(
        self, tip: Tip, **routing: Unpack[Routing]
    ) -> PreparedReferral:
        """Seals and signs, and sends nothing; the result may be kept and published."""
        raise NotImplementedError

    async def publish_prepared(
        self, prepared: PreparedReferral, *, traceparent: str = ""
    ) -> Published:
        """Publishes a prepared referral. Safe to repeat, for ever."""
        raise NotImplementedError

    async def publish_batch(
        self, prepared: Sequence[PreparedReferral]
    ) -> list[Published | OnwardError]:
        """Publishes many; each is accepted or refused for itself, in their order."""
        raise NotImplementedError

    async def retract(
        self,
        referral_id: str,
        reason: vocabulary_pb2.RetractionReason.ValueType,
    ) -> Logged:
        """Takes a referral back."""
        raise NotImplementedError

    async def erase_content(self, referral_id: str) -> Logged:
        """Has the exchange erase the content of an own referral; the proofs stay."""
        raise NotImplementedError

    def watch_own(self, resume_token: str = "") -> AsyncIterator[Watched]:
        """Yields every statement about the caller's own referrals, in the log's order.

        Reconnects by itself, and goes on for ever.

        Args:
            resume_token: of the last statement seen; from the beginning if empty.
        """
        raise NotImplementedError

    # --- recipients -----------------------------------------------------------------

    def receive(
        self,
        *,
        max_outstanding: int = 16,
        confirm: bool = True,
        idle_timeout: float | None = None,
    ) -> AsyncIterator[Incoming | Invalid | Retracted]:
        """Yields what the exchange has for this agency, the most urgent first.

        Reconnects by itself. A referral may come more than once, to this process or to
        another of the same agency, until a ``Received`` of it is logged.

        Args:
            max_outstanding: how many may be out without a ``Received``, 1 to 1000.
            confirm: log ``Received`` before yielding. With False, call ``confirm`` of
                each item, after you have stored it.
            idle_timeout: end after this many seconds without anything; else never.

        Raises:
            ForbiddenError: this member may not receive, or not any more.
            VerificationError: the exchange sent what it cannot prove.
        """
        raise NotImplementedError

    async def acknowledge(self, referral_id: str, reader_role: str) -> Logged:
        """Logs that a person in this role has read the tip; never a name."""
        raise NotImplementedError

    async def take(self, referral_id: str) -> Logged:
        """Logs that this agency takes responsibility."""
        raise NotImplementedError

    async def decline(
        self,
        referral_id: str,
        reason: vocabulary_pb2.DeclineReason.ValueType,
        suggested_agency: str = "",
    ) -> Logged:
        """Logs that this agency does not take responsibility, and why."""
        raise NotImplementedError

    async def transfer(
        self,
        referral_id: str,
        recipients: Sequence[str],
        *,
        tip: Tip | None = None,
        **changes: Unpack[RoutingChanges],
    ) -> Transferred:
        """Passes a tip on to other recipients, by a child referral that links back.

        Args:
            referral_id: the referral that this agency received.
            recipients: SPIFFE IDs of who gets it.
            tip: the content; the one received if absent.
            **changes: what differs from the referral received.
        """
        raise NotImplementedError

    async def report_outcome(
        self,
        referral_id: str,
        code: vocabulary_pb2.OutcomeCode.ValueType,
        *,
        closes: bool = False,
    ) -> Logged:
        """Logs what came of it; ``closes`` when nothing more is to come."""
        raise NotImplementedError

    async def reply_to_retraction(
        self,
        referral_id: str,
        action: vocabulary_pb2.RetractionAction.ValueType,
        citation: str = "",
    ) -> Logged:
        """Logs what was done about a retraction."""
        raise NotImplementedError

    async def get_content(self, referral_id: str) -> Tip:
        """Returns the tip of a referral received: the copy kept, or fetched again."""
        raise NotImplementedError

    # --- everybody ------------------------------------------------------------------

    async def show(self, referral_id: str) -> ReferralDetail:
        """Returns one referral with its statements, verified."""
        raise NotImplementedError

    def list_referrals(
        self, side: referral_pb2.ReferralSide.ValueType
    ) -> AsyncIterator[referral_pb2.ReferralView]:
        """Yields the referrals that the member published or received, newest first."""
        raise NotImplementedError

    async def bundle(self, referral_id: str) -> bytes:
        """Returns the bundle of a referral, for ``onward verify``."""
        raise NotImplementedError

    def list_chains(self) -> AsyncIterator[str]:
        """Yields the ids of an auditor's referrals, in the log's order. It is logged."""
        raise NotImplementedError

    def members(self) -> AsyncIterator[directory_pb2.Member]:
        """Yields the present directory as the exchange tells it: a claim."""
        raise NotImplementedError

    async def find_member(self, name: str) -> MemberEntry:
        """Returns a member's entry in force, proven by its logged changes."""
        raise NotImplementedError

    async def capabilities(self) -> capability_pb2.GetCapabilitiesResponse:
        """Returns what the exchange can do, and its limits."""
        raise NotImplementedError

    async def checkpoint(self) -> Checkpoint:
        """Fetches the newest checkpoint, and checks that it continues the last one."""
        raise NotImplementedError

    async def rotate_keys(
        self,
        *,
        statement_algorithm: str | None = None,
        suite: vocabulary_pb2.SealingSuite.ValueType | None = None,
    ) -> Logged:
        """Replaces the member's statement and content keys; same kinds if not given."""
        raise NotImplementedError

    async def renew_certificate(self) -> None:
        """Gets a new certificate for the same key; the next ``open`` uses it."""
        raise NotImplementedError
