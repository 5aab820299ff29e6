"""What a recipient does with a referral, until it is closed or somebody else's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from bench.domain import Member
from bench.mix import DECLINES, OUTCOMES, REPLIES, Tip, pick
from bench.stories import DAY
from bench.synthetic import agency
from onward.core.statements import SignedStatement, parse_statement
from onward.v1 import statement_pb2
from onward.v1 import vocabulary_pb2 as v
from onward_server.exchange.publishing import Sending

if TYPE_CHECKING:
    from bench.national import National

_ABSENT: Final = 0.01
_NEVER_READ: Final = 0.005
_READ_LATE: Final = 0.01
_DECLINED: Final = 0.03
_TRANSFERRED: Final = 0.7
_ASSIGNED_FIRST: Final = 0.3
_CLOSED_IN_TIME: Final = 0.91
_NEVER_CLOSED: Final = 0.04
_RETRACTED: Final = 0.04
_KEPT: Final = 180 * DAY
_UNTIL_CLOSED: Final = timedelta(days=20)


@dataclass(frozen=True, slots=True)
class Referred:
    """A referral that the exchange has accepted.

    Attributes:
        publisher: who sent it.
        tip: what it passes on.
        referral_id: its id.
        digest: of the referral.
        first: whether it comes from a hotline, and was not transferred.
    """

    publisher: Member
    tip: Tip
    referral_id: str
    digest: bytes
    first: bool = True

    @classmethod
    def by(
        cls,
        publisher: Member,
        tip: Tip,
        referral: SignedStatement,
        *,
        first: bool = True,
    ) -> Referred:
        """Returns a referral as its recipients know it."""
        return cls(publisher, tip, referral.message.id, referral.digest, first)


class Journey:
    """One delivery.

    Most are in time. Some find nobody at home, are read late or never, are declined,
    taken back, or have no outcome yet when the year ends.
    """

    def __init__(self, nation: National, referred: Referred, recipient: Member) -> None:
        self.nation = nation
        self.referred = referred
        self.recipient = recipient
        self.tip = referred.tip
        self.luck = nation.luck(referred.tip, f"{recipient.name} {referred.first}")
        self.times = nation.deadlines(referred.tip)

    async def begin(self) -> None:
        """Goes all the way."""
        received = await self._receive()
        luck = self.luck.random()
        if luck < _NEVER_READ:
            return
        late = luck < _NEVER_READ + _READ_LATE
        await self._sleep(self.times.acknowledge * (1.5 if late else luck * 0.55))
        read = await self._say(
            received,
            acknowledgment=statement_pb2.Acknowledgment(reader_role="watch officer"),
        )
        await self._sleep(timedelta(minutes=10))
        if self.referred.first and self.luck.random() < _DECLINED:
            await self._decline(read)
        else:
            await self._take(read)

    async def _receive(self) -> bytes:
        """Its machine takes the content; returns the digest of what it says then."""
        absent = self.luck.random() < _ABSENT
        soon = timedelta(seconds=self.luck.uniform(3, 60))
        await self._sleep(self.times.deliver * 3 if absent else soon)
        digest, handover = await self.recipient.fetch(self.referred.referral_id)
        return await self._say(
            parse_statement(handover.jws).digest,
            received=statement_pb2.Received(
                content_digest=digest, check=v.CONTENT_CHECK_VERIFIED
            ),
        )

    async def _decline(self, read: bytes) -> None:
        """Declines it, and mostly passes it on to who may take it."""
        declined = await self._say(
            read,
            decline=statement_pb2.Decline(
                reason=pick(self.luck, DECLINES),
                suggested_agency=agency("gulf-task-force"),
            ),
        )
        if self.luck.random() < _TRANSFERRED:
            await self._sleep(timedelta(hours=1))
            await self._transfer(declined)

    async def _transfer(self, declined: bytes) -> None:
        """Passes it on to the task force."""
        other = self.nation.members[agency("gulf-task-force")]
        consent = (
            v.CONSENT_STATE_GRANTED
            if self.tip.by_victim
            else v.CONSENT_STATE_NOT_REQUIRED
        )
        kept_until = self.nation.time.now_ms() + _KEPT
        body = self.tip.referral(self.tip.basis, consent, kept_until)
        body.links.add(
            kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF,
            referral_id=self.referred.referral_id,
            referral_digest=self.referred.digest,
        )
        child, sending = self.recipient.refer(body, self.luck.randbytes(900), [other])
        transfer = statement_pb2.Transfer(
            child_referral_id=child.message.id, child_digest=child.digest
        )
        await self._say(declined, sending, transfer=transfer)
        referred = Referred.by(self.recipient, self.tip, child, first=False)
        self.nation.time.tell(Journey(self.nation, referred, other).begin())

    async def _take(self, read: bytes) -> None:
        """Takes responsibility, and says what came of it."""
        taken = await self._say(read, taking=statement_pb2.Taking())
        if self._may_be_withdrawn and self.luck.random() < _RETRACTED:
            await self._retracted()
            return
        luck = self.luck.random()
        if luck > 1 - _NEVER_CLOSED:
            return
        if self.luck.random() < _ASSIGNED_FIRST:
            await self._sleep(timedelta(hours=3))
            taken = await self._outcome(taken, v.OUTCOME_CODE_ASSIGNED, closes=False)
        term = self.times.outcome or _UNTIL_CLOSED
        part = 0.1 + luck * 0.6 if luck < _CLOSED_IN_TIME else 1.2
        await self._sleep(term * part)
        await self._outcome(taken, pick(self.luck, OUTCOMES), closes=True)

    @property
    def _may_be_withdrawn(self) -> bool:
        """Whether it rests on a consent, and nobody else works on it."""
        by_consent = self.tip.by_victim and not self.tip.mandated
        return by_consent and self.referred.first

    async def _retracted(self) -> None:
        """The person concerned withdraws the consent; the recipient answers."""
        await self._sleep(timedelta(days=self.luck.uniform(0.2, 9)))
        retraction = await self.referred.publisher.answer(
            self.referred.digest,
            self.referred.referral_id,
            retraction=statement_pb2.Retraction(
                reason=v.RETRACTION_REASON_CONSENT_WITHDRAWN
            ),
        )
        await self._sleep(timedelta(hours=self.luck.uniform(0.1, 60)))
        action = pick(self.luck, REPLIES)
        retained = action == v.RETRACTION_ACTION_RETAINED_LEGAL_DUTY
        await self._say(
            retraction.digest,
            retraction_reply=statement_pb2.RetractionReply(
                action=action, citation="28 CFR 23.20" if retained else ""
            ),
        )

    async def _outcome(
        self, previous: bytes, code: v.OutcomeCode.ValueType, *, closes: bool
    ) -> bytes:
        """Says what came of it."""
        body = statement_pb2.Outcome(code=code, closes=closes)
        return await self._say(previous, outcome=body)

    async def _say(
        self,
        previous: bytes,
        child: Sending | None = None,
        **body: Any,  # noqa: ANN401 - as Member.answer
    ) -> bytes:
        """Says something about the delivery; returns the statement's digest."""
        referral_id = self.referred.referral_id
        said = await self.recipient.answer(previous, referral_id, child, **body)
        return said.digest

    async def _sleep(self, span: timedelta) -> None:
        await self.nation.time.sleep(span // timedelta(milliseconds=1))
