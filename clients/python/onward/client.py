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

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from os import PathLike
from secrets import token_bytes
from typing import Final, Unpack

from onward import _publishing
from onward._admin import Admin
from onward._alerts import Alert, watch_alerts
from onward._audit import Audits
from onward._clock import Clock, Entropy, system_clock
from onward._content import InvalidContentError, get_content
from onward._custody import Custody
from onward._errors import DisclosureForbiddenError, WithholdingForbiddenError
from onward._incoming import Incoming, Invalid, Retracted
from onward._intake_values import IntakeDetail, IntakeDraft, Queued, Registered
from onward._intakes import Intakes
from onward._membership import renew_certificate, rotate_keys
from onward._policies import Policies, PolicyDetail
from onward._reading import (
    list_chains,
    list_looks,
    list_members,
    list_referrals,
    watch_own,
)
from onward._receiving import receive
from onward._session import Session
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
from onward.core.errors import OnwardError, Reason, StateError
from onward.core.tlog_proof import TlogProof
from onward.home import Home
from onward.v1 import (
    capability_pb2,
    custody_pb2,
    directory_pb2,
    referral_pb2,
    vocabulary_pb2,
)
from onward.v1.capability_pb2_grpc import CapabilityServiceStub
from onward.v1.custody_pb2_grpc import CustodyServiceStub

__all__ = [
    "Admin",
    "Alert",
    "Client",
    "DisclosureForbiddenError",
    "Incoming",
    "IntakeDetail",
    "IntakeDraft",
    "Intakes",
    "Invalid",
    "InvalidContentError",
    "Logged",
    "Policies",
    "PolicyDetail",
    "PreparedReferral",
    "Published",
    "Queued",
    "ReferralDetail",
    "Registered",
    "Retracted",
    "Routing",
    "RoutingChanges",
    "Tip",
    "Transferred",
    "Watched",
    "WithholdingForbiddenError",
]

_KEYS_HAVE_CHANGED: Final = frozenset(
    {Reason.ERROR_REASON_SEALED_KEYS_MISMATCH, Reason.ERROR_REASON_KEY_NOT_VALID}
)


class Client:
    """One member's verified connection to its exchange. Made by :meth:`open`.

    Attributes:
        admin: calls for members with the operator role.
        intakes: calls for hotlines about the tips that came in.
        audit: calls for auditors.
        policies: by which rules and deadlines the exchange judges.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._custody = CustodyServiceStub(session.channel)
        self.admin = Admin(session)
        self.intakes = Intakes(session)
        self.audit = Audits(session)
        self.policies = Policies(session)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        home: Home | str | PathLike[str],
        *,
        deadline: float = 30.0,
        clock: Clock = system_clock,
        entropy: Entropy = token_bytes,
    ) -> AsyncGenerator[Client, None]:
        """Opens a client. It connects at the first call.

        Args:
            home: the member's home, or its path.
            deadline: seconds after which a call that cannot succeed at present fails.
            clock: tells the time, in UTC.
            entropy: returns random bytes.

        Raises:
            StateError: no member has enrolled in the home.
            ForkError: the home holds evidence of a forked log.
            UnauthenticatedError: the member's certificate has expired.
        """
        opened = home if isinstance(home, Home) else Home.open(home)
        session = Session(opened, deadline=deadline, clock=clock, entropy=entropy)
        try:
            yield cls(session)
        finally:
            await session.close()

    @property
    def home(self) -> Home:
        """The member's home directory."""
        return self._session.home

    @property
    def member(self) -> str:
        """The member's SPIFFE ID."""
        return self._session.member

    @property
    def exchange(self) -> str:
        """The exchange's SPIFFE ID."""
        return self._session.exchange

    # --- publishers -------------------------------------------------------------------

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
        try:
            prepared = await self.prepare_referral(tip, **routing)
            return await self.publish_prepared(prepared, traceparent=traceparent)
        except StateError as error:
            if error.reason not in _KEYS_HAVE_CHANGED:
                raise
        # A recipient, or this member in another process of the home, has other keys
        # since we asked. The refused referral is nowhere, so it may have another id.
        await self._session.directory.member(self.member, fresh=True)
        prepared = await self._prepare(tip, routing, fresh=True)
        return await self.publish_prepared(prepared, traceparent=traceparent)

    async def prepare_referral(
        self, tip: Tip, **routing: Unpack[Routing]
    ) -> PreparedReferral:
        """Seals and signs, and publishes nothing; the result may be kept."""
        return await self._prepare(tip, routing, fresh=False)

    async def publish_prepared(
        self, prepared: PreparedReferral, *, traceparent: str = ""
    ) -> Published:
        """Publishes a prepared referral. Safe to repeat, for ever."""
        return await _publishing.publish(self._session, prepared, traceparent)

    async def publish_batch(
        self, prepared: Sequence[PreparedReferral]
    ) -> list[Published | OnwardError]:
        """Publishes many; each is accepted or refused for itself, in their order.

        Raises:
            UnavailableError: not answered before the deadline; repeat all of it.
        """
        return await _publishing.publish_batch(self._session, prepared)

    async def retract(
        self,
        referral_id: str,
        reason: vocabulary_pb2.RetractionReason.ValueType,
    ) -> Logged:
        """Takes an own referral back."""
        return await Custody(self._session, referral_id).retract(reason)

    async def erase_content(self, referral_id: str) -> Logged:
        """Has the exchange erase the content of an own referral; the proofs stay."""
        request = referral_pb2.EraseContentRequest(referral_id=referral_id)
        session = self._session
        response = await session.call(session.referrals.EraseContent, request)
        erasure = await session.verify(response.erasure)
        await session.keep(referral_id, erasure)
        return erasure

    def watch_own(self, resume_token: str = "") -> AsyncGenerator[Watched, None]:
        """Yields every statement about own referrals and intakes, in the log's order.

        Reconnects by itself, and goes on for ever.

        Args:
            resume_token: of the last statement seen; from the beginning if empty.
        """
        return watch_own(self._session, resume_token)

    # --- recipients -------------------------------------------------------------------

    def receive(
        self,
        *,
        max_outstanding: int = 16,
        confirm: bool = True,
        idle_timeout: float | None = None,
    ) -> AsyncGenerator[Incoming | Invalid | Retracted, None]:
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
        return receive(
            self._session,
            max_outstanding=max_outstanding,
            confirm=confirm,
            idle_timeout=idle_timeout,
        )

    async def acknowledge(self, referral_id: str, reader_role: str) -> Logged:
        """Logs that a person in this role has read the tip; never a name."""
        return await Custody(self._session, referral_id).acknowledge(reader_role)

    async def take(self, referral_id: str) -> Logged:
        """Logs that this agency takes responsibility."""
        return await Custody(self._session, referral_id).take()

    async def decline(
        self,
        referral_id: str,
        reason: vocabulary_pb2.DeclineReason.ValueType,
        suggested_agency: str = "",
    ) -> Logged:
        """Logs that this agency does not take responsibility, and why."""
        custody = Custody(self._session, referral_id)
        return await custody.decline(reason, suggested_agency)

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
        custody = Custody(self._session, referral_id)
        if tip is None:
            tip = await get_content(self._session, custody)
        return await custody.transfer(recipients, tip, changes)

    async def report_outcome(
        self,
        referral_id: str,
        code: vocabulary_pb2.OutcomeCode.ValueType,
        *,
        closes: bool = False,
    ) -> Logged:
        """Logs what came of it; ``closes`` when nothing more is to come."""
        custody = Custody(self._session, referral_id)
        return await custody.report_outcome(code, closes=closes)

    async def reply_to_retraction(
        self,
        referral_id: str,
        action: vocabulary_pb2.RetractionAction.ValueType,
        citation: str = "",
    ) -> Logged:
        """Logs what was done about a retraction.

        Args:
            referral_id: the referral that was retracted.
            action: what was done. ``DESTROYED`` removes the copy in the home as well.
            citation: the law, for ``RETAINED_LEGAL_DUTY``.
        """
        custody = Custody(self._session, referral_id)
        return await custody.reply_to_retraction(action, citation)

    async def get_content(self, referral_id: str) -> Tip:
        """Returns the tip of a referral received: the copy kept, or fetched again.

        Raises:
            InvalidContentError: it is not what was signed, or cannot be opened.
        """
        return await get_content(self._session, Custody(self._session, referral_id))

    async def link(self, first: str, second: str) -> tuple[Logged, Logged]:
        """Logs in the chains of two referrals that they are about the same tip.

        It merges nothing: both keep their own clocks.

        Args:
            first: id of a referral that this agency published or received.
            second: id of another one.
        """
        chains = Custody(self._session, first), Custody(self._session, second)
        one, other = [await chain.referral() for chain in chains]
        return await chains[0].link(other), await chains[1].link(one)

    # --- everybody --------------------------------------------------------------------

    def alerts(self, resume_token: str | None = None) -> AsyncGenerator[Alert, None]:
        """Yields warnings and breaches that concern the member, in the log's order.

        Reconnects by itself, and goes on for ever. Say ``done`` of each alert once it
        was dealt with: one of which that was not said comes again to the next reader.

        Args:
            resume_token: of the last alert seen; that of the last one done if absent,
                and from the beginning if empty.
        """
        return watch_alerts(self._session, resume_token)

    def looks(self) -> AsyncGenerator[Logged, None]:
        """Yields the auditors' looks that concern the member, the newest first."""
        return list_looks(self._session)

    async def show(self, referral_id: str) -> ReferralDetail:
        """Returns one referral with its statements, verified."""
        return await Custody(self._session, referral_id).load()

    def list_referrals(
        self, side: referral_pb2.ReferralSide.ValueType
    ) -> AsyncGenerator[referral_pb2.ReferralView, None]:
        """Yields the referrals that the member published or received, newest first."""
        return list_referrals(self._session, side)

    async def bundle(self, referral_id: str) -> bytes:
        """Returns the bundle of a referral, for ``onward verify``."""
        request = custody_pb2.GetBundleRequest(referral_id=referral_id)
        response = await self._session.call(self._custody.GetBundle, request)
        return response.bundle

    def list_chains(self) -> AsyncGenerator[str, None]:
        """Yields the ids of an auditor's referrals, in the log's order; logged."""
        return list_chains(self._session)

    def members(self) -> AsyncGenerator[directory_pb2.Member, None]:
        """Yields the present directory as the exchange tells it: a claim."""
        return list_members(self._session)

    async def find_member(self, name: str) -> MemberEntry:
        """Returns a member's entry in force, proven by its logged changes.

        Raises:
            UnknownError: there is no such member.
        """
        return await self._session.directory.member(name, fresh=True)

    async def capabilities(self) -> capability_pb2.GetCapabilitiesResponse:
        """Returns what the exchange can do, and its limits."""
        stub = CapabilityServiceStub(self._session.channel)
        request = capability_pb2.GetCapabilitiesRequest()
        return await self._session.call(stub.GetCapabilities, request)

    async def checkpoint(self) -> Checkpoint:
        """Fetches the newest checkpoint, and checks that it continues the last one."""
        return await self._session.log.latest()

    async def receipt(self, digest: bytes, *, wait: float | None = None) -> TlogProof:
        """Fetches a receipt of any entry of the log, verified.

        The receipts that come with statements are there at once, and say nothing about
        when others saw them. For one that does, wait for the witnesses::

            proof = await client.receipt(published.acceptance.digest, wait=30)
            Path("proof.tlog-proof").write_text(proof.format())

        Args:
            digest: SHA-256 over the statement's compact JWS.
            wait: seconds that the witnesses of the exchange may take; without them if
                None.

        Raises:
            UnknownError: the log has no such entry.
            UnavailableError: ``QUORUM_UNMET``: it was not witnessed in this time.
        """
        return await self._session.log.receipt(digest, wait)

    async def rotate_keys(
        self,
        *,
        statement_algorithm: str | None = None,
        suite: vocabulary_pb2.SealingSuite.ValueType | None = None,
    ) -> Logged:
        """Replaces the member's statement and content keys.

        Args:
            statement_algorithm: of the new statement key; as before if absent.
            suite: of the new content key; as before if absent.

        Returns:
            The logged change of the directory.
        """
        return await rotate_keys(self._session, statement_algorithm, suite)

    async def renew_certificate(self) -> None:
        """Gets a new certificate for the same key; the next ``open`` uses it."""
        await renew_certificate(self._session)

    async def _prepare(
        self, tip: Tip, routing: Routing, *, fresh: bool
    ) -> PreparedReferral:
        """Seals and signs."""
        session = self._session
        referral = _publishing.referral_of(tip, routing, session.clock())
        return await _publishing.prepare(session, tip, referral, fresh=fresh)
