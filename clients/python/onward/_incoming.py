"""What :meth:`onward.client.Client.receive` yields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Unpack

from onward._custody import Custody
from onward._values import Logged, RoutingChanges, Tip, Transferred
from onward.v1 import vocabulary_pb2


@dataclass(slots=True, eq=False)
class Incoming:
    """A referral that arrived, verified and opened.

    The verbs sign and log one statement each, and return it with its receipt. They log
    ``Received`` first if that was not done yet.

    Attributes:
        tip: the opened content.
        referral: the ``Referral`` with its receipt.
        acceptance: the exchange's ``Acceptance`` with its receipt.
        handover: the exchange's ``Handover`` with its receipt.
        attempt: 1 for the first delivery of it.
        traceparent: W3C ``traceparent`` of the publishing call, or empty. Untrusted.
        received: our ``Received``; None until it is confirmed.
    """

    tip: Tip = field(repr=False)
    referral: Logged
    acceptance: Logged
    handover: Logged
    attempt: int
    traceparent: str
    _custody: Custody = field(repr=False)
    received: Logged | None = None

    @property
    def referral_id(self) -> str:
        """The referral's id."""
        return self._custody.referral_id

    async def confirm(self) -> Logged:
        """Logs ``Received``, once; needed after ``receive(confirm=False)``."""
        if self.received is None:
            self.received = await self._custody.receive(
                self.handover.message.handover.content_digest,
                vocabulary_pb2.CONTENT_CHECK_VERIFIED,
            )
        return self.received

    async def acknowledge(self, reader_role: str) -> Logged:
        """Logs that a person in this role has read the tip; never a name."""
        await self.confirm()
        return await self._custody.acknowledge(reader_role)

    async def take(self) -> Logged:
        """Logs that this agency takes responsibility."""
        return await self._custody.take()

    async def decline(
        self,
        reason: vocabulary_pb2.DeclineReason.ValueType,
        suggested_agency: str = "",
    ) -> Logged:
        """Logs that this agency does not take responsibility, and why."""
        return await self._custody.decline(reason, suggested_agency)

    async def transfer(
        self, recipients: Sequence[str], **changes: Unpack[RoutingChanges]
    ) -> Transferred:
        """Passes the tip on, by a child referral; see :meth:`Client.transfer`."""
        return await self._custody.transfer(recipients, self.tip, changes)

    async def report_outcome(
        self, code: vocabulary_pb2.OutcomeCode.ValueType, *, closes: bool = False
    ) -> Logged:
        """Logs what came of it; ``closes`` when nothing more is to come."""
        return await self._custody.report_outcome(code, closes=closes)


@dataclass(slots=True, eq=False)
class Invalid:
    """A referral that arrived and could not be verified or opened.

    Attributes:
        referral_id: the referral's id.
        check: what is wrong with it.
        attempt: 1 for the first delivery of it.
        received: our ``Received``, which says so; None until it is confirmed.
    """

    referral_id: str
    check: vocabulary_pb2.ContentCheck.ValueType
    attempt: int
    _content_digest: bytes = field(repr=False)
    _custody: Custody = field(repr=False)
    received: Logged | None = None

    async def confirm(self) -> Logged:
        """Logs ``Received``, once; needed after ``receive(confirm=False)``."""
        if self.received is None:
            self.received = await self._custody.receive(
                self._content_digest, self.check
            )
        return self.received

    async def decline(
        self,
        reason: vocabulary_pb2.DeclineReason.ValueType,
        suggested_agency: str = "",
    ) -> Logged:
        """Logs that this agency does not take responsibility, and why."""
        await self.confirm()
        return await self._custody.decline(reason, suggested_agency)


@dataclass(frozen=True, slots=True, eq=False)
class Retracted:
    """A referral that went out to this agency, and was taken back by its publisher.

    Attributes:
        referral: the ``Referral`` with its receipt.
        retraction: the ``Retraction`` with its receipt.
    """

    referral: Logged
    retraction: Logged
    _custody: Custody = field(repr=False)

    @property
    def referral_id(self) -> str:
        """The referral's id."""
        return self._custody.referral_id

    async def reply(
        self,
        action: vocabulary_pb2.RetractionAction.ValueType,
        citation: str = "",
    ) -> Logged:
        """Logs what we do about it; a legal duty to retain needs its citation."""
        return await self._custody.reply_to_retraction(action, citation)
