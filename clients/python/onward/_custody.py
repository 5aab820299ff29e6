"""What a party adds to the custody chain of one referral.

Each statement answers an earlier one of the chain, and the custody table says which. A
:class:`Custody` knows the statements that this process has seen. When the one to answer
is not among them (another desk of the agency logged it, or another process) it asks the
exchange for all of them, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NoReturn

from onward._errors import UnprovenRejectionError
from onward._publishing import (
    accepted,
    child_routing,
    prepare,
    referral_of,
    upload,
)
from onward._session import Session
from onward._values import (
    Logged,
    ReferralDetail,
    RoutingChanges,
    Tip,
    Transferred,
)
from onward.core.custody import ANSWERS, INITIAL, TRANSITIONS, advance, event_of
from onward.core.errors import Reason, StateError, VerificationError
from onward.v1 import referral_pb2, statement_pb2, vocabulary_pb2

State = vocabulary_pb2.DeliveryState

# They concern every delivery of the referral.
_SHARED = frozenset({"referral", "retraction", "erasure"})


class Custody:
    """One referral, as one of its parties sees it.

    Args:
        session: asks the exchange, and signs.
        referral_id: the referral.
        statements: those of it that are known and verified.
    """

    def __init__(
        self, session: Session, referral_id: str, statements: Iterable[Logged] = ()
    ) -> None:
        self.referral_id = referral_id
        self._session = session
        self._statements = {item.digest: item for item in statements}

    def know(self, statement: Logged) -> None:
        """Adds a verified statement of the chain to those that are known."""
        self._statements[statement.digest] = statement

    async def load(self) -> ReferralDetail:
        """Asks the exchange for all statements of the chain that we may see."""
        session = self._session
        response = await session.call(
            session.referrals.GetReferral,
            referral_pb2.GetReferralRequest(referral_id=self.referral_id),
        )
        statements = await session.verify_all(response.referral.statements)
        if any(item.message.referral_id != self.referral_id for item in statements):
            raise VerificationError(
                Reason.ERROR_REASON_PREVIOUS_MISMATCH,
                "the exchange sent statements of another referral",
            )
        self._statements = {item.digest: item for item in statements}
        return ReferralDetail(response.referral, tuple(statements))

    async def referral(self) -> Logged:
        """Returns the referral itself.

        Raises:
            StateError: the exchange does not show it.
        """
        return await self._last({"referral"}) or _missing(
            self.referral_id, {"referral"}
        )

    async def receive(
        self, content_digest: bytes, check: vocabulary_pb2.ContentCheck.ValueType
    ) -> Logged:
        """Logs what our machine found when it checked content."""
        received = statement_pb2.Received(content_digest=content_digest, check=check)
        return await self._add(statement_pb2.Statement(received=received))

    async def acknowledge(self, reader_role: str) -> Logged:
        """Logs that a person in this role has read the tip."""
        body = statement_pb2.Acknowledgment(reader_role=reader_role)
        return await self._add(statement_pb2.Statement(acknowledgment=body))

    async def take(self) -> Logged:
        """Logs that we take responsibility."""
        return await self._add(statement_pb2.Statement(taking=statement_pb2.Taking()))

    async def decline(
        self, reason: vocabulary_pb2.DeclineReason.ValueType, suggested_agency: str
    ) -> Logged:
        """Logs that we do not take responsibility."""
        body = statement_pb2.Decline(reason=reason, suggested_agency=suggested_agency)
        return await self._add(statement_pb2.Statement(decline=body))

    async def report_outcome(
        self, code: vocabulary_pb2.OutcomeCode.ValueType, *, closes: bool
    ) -> Logged:
        """Logs what came of it. A closed referral's content is not needed any more."""
        body = statement_pb2.Outcome(code=code, closes=closes)
        logged = await self._add(statement_pb2.Statement(outcome=body))
        if closes:
            await self._forget_content()
        return logged

    async def retract(
        self, reason: vocabulary_pb2.RetractionReason.ValueType
    ) -> Logged:
        """Logs that we, the publisher, take the referral back."""
        body = statement_pb2.Retraction(reason=reason)
        return await self._add(statement_pb2.Statement(retraction=body))

    async def link(self, other: Logged) -> Logged:
        """Logs that another referral, given by its statement, is about the same tip."""
        body = statement_pb2.Link(
            same_as=other.digest, same_as_referral_id=other.message.referral_id
        )
        return await self._add(statement_pb2.Statement(link=body))

    async def reply_to_retraction(
        self, action: vocabulary_pb2.RetractionAction.ValueType, citation: str
    ) -> Logged:
        """Logs what we do about a retraction; what is destroyed goes first."""
        if action == vocabulary_pb2.RETRACTION_ACTION_DESTROYED:
            await self._forget_content()
        body = statement_pb2.RetractionReply(action=action, citation=citation)
        return await self._add(statement_pb2.Statement(retraction_reply=body))

    async def transfer(
        self, recipients: Sequence[str], tip: Tip, changes: RoutingChanges
    ) -> Transferred:
        """Passes a tip on, by a child referral that is logged together with it.

        Raises:
            StateError: the custody table does not allow it at present.
            DisclosureForbiddenError: the exchange's policy forbids the child.
        """
        session = self._session
        draft = statement_pb2.Statement(transfer=statement_pb2.Transfer())
        await self._answer(draft)  # before anything is sealed or uploaded in vain
        parent = await self.referral()
        routing = child_routing(parent, recipients, changes)
        referral = referral_of(tip, routing, session.clock())
        # What was signed decides, and not what the content says.
        referral.test = parent.message.referral.test
        child = await prepare(session, tip, referral)
        draft.transfer.child_referral_id = child.referral_id
        draft.transfer.child_digest = child.digest
        try:
            transfer, response = await self._submit(draft, await upload(session, child))
        except UnprovenRejectionError as error:
            raise await session.prove_rejection(error, child.digest) from None
        published = await accepted(session, child, response)
        await self._forget_content()
        return Transferred(transfer, published)

    async def _add(self, draft: statement_pb2.Statement) -> Logged:
        """Signs and logs a body that answers the chain's last fitting statement.

        Raises:
            StateError: the custody table does not allow it at present.
        """
        await self._answer(draft)
        logged, _ = await self._submit(draft)
        return logged

    async def _forget_content(self) -> None:
        await asyncio.to_thread(self._session.home.forget_content, self.referral_id)

    async def _answer(self, draft: statement_pb2.Statement) -> None:
        """Has a draft answer the last statement of the chain that it may answer."""
        kinds = ANSWERS[draft.WhichOneof("body") or ""]
        answered = await self._last(kinds)
        if answered is None:
            event = event_of(draft)
            if event:
                advance(self._state(), event)  # mostly says more than we can here
            raise _missing(self.referral_id, kinds)
        draft.referral_id = self.referral_id
        draft.previous = answered.digest

    async def _submit(
        self,
        draft: statement_pb2.Statement,
        child: referral_pb2.PublishRequest | None = None,
    ) -> tuple[Logged, referral_pb2.PublishResponse]:
        """Signs and logs a draft; returns it with what was said of the child."""
        try:
            return await self._sign_and_submit(draft, child)
        except StateError as error:
            if error.reason != Reason.ERROR_REASON_KEY_NOT_VALID:
                raise
        # Another process of this home has replaced our keys since we asked for them.
        await self._session.directory.member(self._session.member, fresh=True)
        return await self._sign_and_submit(draft, child)

    async def _sign_and_submit(
        self,
        draft: statement_pb2.Statement,
        child: referral_pb2.PublishRequest | None,
    ) -> tuple[Logged, referral_pb2.PublishResponse]:
        session = self._session
        draft.id = session.new_id()
        signed = await session.sign(draft)
        response = await session.call(
            session.referrals.SubmitStatement,
            referral_pb2.SubmitStatementRequest(statement=signed.jws, child=child),
        )
        logged = await session.verify_own(response.statement, signed.jws)
        self.know(logged)
        await session.keep(self.referral_id, logged)
        return logged, response.child

    async def _last(self, kinds: Collection[str]) -> Logged | None:
        """Returns the last statement of some kinds, after asking if none is known."""
        found = self._last_known(kinds)
        if found is None:
            await self.load()
            found = self._last_known(kinds)
        return found

    def _last_known(self, kinds: Collection[str]) -> Logged | None:
        """Returns the last known statement of some kinds, in the log's order.

        A ``Received`` counts only where there is nothing else: another desk may log one
        after a person has read the tip.
        """
        return max(
            (item for item in self._ours() if item.kind in kinds),
            key=lambda item: (item.kind != "received", item.log_index),
            default=None,
        )

    def _state(self) -> State.ValueType:
        """Returns where our delivery stands, by the statements that are known."""
        state = INITIAL
        for item in sorted(self._ours(), key=lambda item: item.log_index):
            event = event_of(item.message)
            state = TRANSITIONS[state].get(event, state) if event else state
        return state

    def _ours(self) -> Iterator[Logged]:
        """Yields the statements about the whole referral, and about our delivery."""
        member = self._session.member
        for item in self._statements.values():
            handed_to_us = item.message.handover.recipient == member
            if item.issuer == member or item.kind in _SHARED or handed_to_us:
                yield item


def _missing(referral_id: str, kinds: Collection[str]) -> NoReturn:
    raise StateError(
        Reason.ERROR_REASON_PREVIOUS_MISMATCH,
        f"referral {referral_id} has no {' or '.join(sorted(kinds))} to answer",
        metadata={"referral_id": referral_id},
    )
