"""Erasing content: on request, by a legal duty, after a retraction, or in time.

In time is when its retention ends, or the consent on which it rests.

A retraction takes effect at once, and on what the tip was transferred into as well: the
content of such a child goes out to nobody any more.

What is erased is the sealed content, beyond recovery. The statements stay, and so do
all proofs: who sent what to whom, and when. That it was erased, why, and who asked for
it, is itself a logged statement.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from onward.core import custody
from onward.core.errors import OnwardError
from onward.core.statements import parse_statement
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.clock import Clock, timestamp_ms
from onward_server.exchange.directory import Caller
from onward_server.exchange.draft import Draft
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.limits import Limits
from onward_server.exchange.moving import moved, referral_unknown
from onward_server.exchange.passing_on import take_back
from onward_server.exchange.publishing import require_role
from onward_server.exchange.receipts import Logged
from onward_server.storage.contract import Needs, ReferralRow, Store

_SWEEP_AT_ONCE = 200
_PARENT_RETRACTED = vocabulary_pb2.ERASURE_REASON_PARENT_RETRACTED

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ErasureChange:
    """The change: the content of a referral is erased."""

    referral_id: str
    acceptance_digest: bytes
    reason: vocabulary_pb2.ErasureReason.ValueType
    requested_by: str
    citation: str = ""

    @property
    def needs(self) -> Needs:
        """The referral with its deliveries, and the intakes that it passes on."""
        named = {self.referral_id}
        return Needs(referrals=named, intakes_of=named)

    def plan(self, draft: Draft) -> Sequence[int]:
        """Logs an ``Erasure``; nothing when it was erased already.

        What was transferred from a retracted referral is transferred no further, from
        here on.
        """
        referral = draft.referral(self.referral_id)
        if referral is None:
            raise referral_unknown(self.referral_id)
        if self.reason == _PARENT_RETRACTED:
            referral = replace(referral, retracted=True)
            draft.put_referral(referral)
        if referral.erased:
            return []
        referral = replace(referral, erased=True)
        for delivery in draft.deliveries(self.referral_id):
            draft.put_delivery(moved(draft, referral, delivery, custody.Event.ERASURE))
        draft.put_referral(take_back(draft, referral))
        draft.erase_content(referral.content_digest)
        statement = draft.say(
            referral_id=self.referral_id,
            previous=self.acceptance_digest,
            erasure=statement_pb2.Erasure(
                content_digest=referral.content_digest,
                reason=self.reason,
                requested_by=self.requested_by,
                citation=self.citation,
            ),
        )
        return [
            draft.log(statement, places=referral.places, watchers=referral.watchers)
        ]


class Erasing:
    """Erases content."""

    def __init__(
        self, ledger: Ledger, store: Store, clock: Clock, limits: Limits
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._limits = limits

    async def by_publisher(self, caller: Caller, referral_id: str) -> Logged:
        """Erases what the caller published.

        Raises:
            UnknownError: ``REFERRAL_UNKNOWN``.
        """
        require_role(caller, vocabulary_pb2.ROLE_PUBLISHER)
        row = await self._store.referral(referral_id)
        if row is None or row.rejected or row.publisher != caller.name:
            raise referral_unknown(referral_id)
        reason = vocabulary_pb2.ERASURE_REASON_PUBLISHER_REQUEST
        return await self._erase(row, reason, caller.name)

    async def by_operator(
        self, caller: Caller, referral_id: str, citation: str
    ) -> Logged:
        """Erases by a legal duty, which ``citation`` names.

        Raises:
            UnknownError: ``REFERRAL_UNKNOWN``.
        """
        require_role(caller, vocabulary_pb2.ROLE_OPERATOR)
        row = await self._store.referral(referral_id)
        if row is None or row.rejected:
            raise referral_unknown(referral_id)
        reason = vocabulary_pb2.ERASURE_REASON_LEGAL_DUTY
        return await self._erase(row, reason, caller.name, citation)

    async def follow(self, referral_id: str) -> None:
        """Erases what a retracted referral was transferred into.

        Each referral comes after those that it was transferred into. So whoever is
        interrupted leaves one that ``sweep`` finds, and nothing below it.
        """
        for row in reversed(await self._descendants(referral_id)):
            if not (row.erased and row.retracted):
                await self._erase(row, _PARENT_RETRACTED, self._ledger.exchange)

    async def _descendants(self, referral_id: str) -> list[ReferralRow]:
        """Returns what a referral was transferred into, each before its own children.

        However often a tip was passed on: agencies decide that, and none of them is to
        keep a retraction from reaching the others.
        """
        found: list[ReferralRow] = []
        waiting = deque([referral_id])
        while waiting:
            for child_id in await self._store.children(waiting.popleft()):
                row = await self._store.referral(child_id)
                if row is not None and not row.rejected:
                    found.append(row)
                    waiting.append(child_id)
        return found

    async def sweep(self) -> int:
        """Erases what is due, and drops uploads that nobody named.

        Due is what its retention or its consent says, and what was transferred from a
        referral that has been retracted.

        Returns how many contents were erased. One that cannot be erased now does not
        keep the others from it.
        """
        now = self._clock.now_ms()
        erased = 0
        for referral_id in await self._store.expired(now, _SWEEP_AT_ONCE):
            row = await self._store.referral(referral_id)
            if row is None:
                continue
            try:
                reason = await self._reason_in_time(row)
                await self._erase(row, reason, self._ledger.exchange)
                erased += 1
            except OnwardError as error:
                _log.warning("erasing.failed", reason=error.reason_name)
        for parent_id in await self._store.retracted_parents(_SWEEP_AT_ONCE):
            try:
                await self.follow(parent_id)
            except OnwardError as error:
                _log.warning("erasing.failed", reason=error.reason_name)
        before = now - int(self._limits.upload_kept * 1000)
        await self._ledger.write(lambda writer: writer.drop_uploads(before))
        return erased

    async def _reason_in_time(
        self, row: ReferralRow
    ) -> vocabulary_pb2.ErasureReason.ValueType:
        """Returns why content is due: its retention ended, or before it the consent."""
        (entry,) = await self._store.statements([row.log_index])
        stated = parse_statement(entry.jws).message.referral.expire_time
        if row.expire_ms < timestamp_ms(stated):
            return vocabulary_pb2.ERASURE_REASON_CONSENT_EXPIRED
        return vocabulary_pb2.ERASURE_REASON_RETENTION_ENDED

    async def _erase(
        self,
        row: ReferralRow,
        reason: vocabulary_pb2.ErasureReason.ValueType,
        requested_by: str,
        citation: str = "",
    ) -> Logged:
        """Erases once; a second time returns the first erasure."""
        (acceptance,) = await self._store.statements([row.answer_index])
        change = ErasureChange(
            row.referral_id, acceptance.digest, reason, requested_by, citation
        )
        logged = await self._ledger.apply(change)
        if not logged:
            chain = await self._store.chain(row.referral_id)
            index = next(entry.log_index for entry in chain if entry.kind == "erasure")
            logged = await self._ledger.logged([index])
        return logged[0]
