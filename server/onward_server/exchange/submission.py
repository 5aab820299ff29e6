"""Statements about a referral: of its recipients, of its publisher, and links.

One way for all of them. What each kind requires is not code here but three tables of
``onward.core.custody``: who signs it, what it answers, and in which state it may come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from onward.core import custody
from onward.core.errors import (
    MalformedError,
    OnwardError,
    Reason,
    StateError,
    VerificationError,
)
from onward.core.statements import UnverifiedStatement
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.directory import Caller
from onward_server.exchange.draft import Draft
from onward_server.exchange.erasing import Erasing
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.linking import same_referral
from onward_server.exchange.moving import moved, referral_unknown
from onward_server.exchange.passing_on import take_back
from onward_server.exchange.publishing import (
    Publication,
    Published,
    Publishing,
    Sending,
    require_role,
)
from onward_server.exchange.reading import Reader, Signed
from onward_server.exchange.receipts import Logged
from onward_server.storage.contract import (
    DeliveryRow,
    Needs,
    ReferralRow,
    Store,
)

_REFERRAL = frozenset({"referral"})
_TRANSFER_OF = statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF
_PUBLISHER = vocabulary_pb2.ROLE_PUBLISHER
_RECIPIENT = vocabulary_pb2.ROLE_RECIPIENT

_ROLES = MappingProxyType(
    {
        custody.Signer.PUBLISHER: (_PUBLISHER,),
        custody.Signer.RECIPIENT: (_RECIPIENT,),
        custody.Signer.PARTY: (_PUBLISHER, _RECIPIENT),
    }
)
"""By who signs a kind of statement: the roles of which one is needed."""


def _published(_: Draft, row: ReferralRow, name: str) -> bool:
    return row.publisher == name


def _received(draft: Draft, row: ReferralRow, name: str) -> bool:
    return draft.delivery(row.referral_id, name) is not None


_PARTIES: Mapping[custody.Signer, Callable[[Draft, ReferralRow, str], bool]] = (
    MappingProxyType(
        {
            custody.Signer.PUBLISHER: _published,
            custody.Signer.RECIPIENT: _received,
            custody.Signer.PARTY: lambda *of: _published(*of) or _received(*of),
        }
    )
)
"""By who signs a kind of statement: whether a member is that party of a referral."""

KINDS = frozenset(
    kind for kind, signer in custody.SIGNERS.items() if signer in _ROLES
) - {"referral"}
"""The kinds of statement that members submit."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A logged statement; for a transfer with the child's acceptance."""

    statement: Logged
    child: Published | None


@dataclass(slots=True)
class Entry:
    """The change that a submitted statement is."""

    signed: Signed
    child: Publication | None = None

    @property
    def needs(self) -> Needs:
        """The referral, the statement answered, and what a link or a child needs."""
        message, digest = self.signed.message, self.signed.statement.digest
        needs = Needs(
            referrals={message.referral_id, message.link.same_as_referral_id} - {""},
            digests={digest, message.previous},
        )
        if self._retracts:
            needs.intakes_of = {message.referral_id}
        if self.child is not None:
            needs.add(self.child.needs)
        return needs

    def plan(self, draft: Draft) -> Sequence[int]:
        """Checks it against the chain, and moves the deliveries that it concerns.

        A transfer whose child is refused by the disclosure policy is not logged; the
        refusal is.
        """
        known = draft.statement(self.signed.statement.digest)
        if known is not None:
            return [known.log_index, *self._plan_child(draft)]
        referral = self._check(draft)
        moves = self._move(draft, referral)
        children = self._plan_child(draft)
        if self.child is not None and self.child.rejected:
            return children
        return [self._append(draft, referral, moves), *children]

    def _check(self, draft: Draft) -> ReferralRow:
        """Checks who says it, and what it answers; returns the referral."""
        self.signed.still_valid(draft)
        referral = self._referral(draft)
        self._check_previous(draft, referral)
        self._check_content(referral)
        return referral

    def _append(
        self, draft: Draft, referral: ReferralRow, moves: Sequence[DeliveryRow]
    ) -> int:
        """Logs the statement, and puts in force what follows from it."""
        for delivery in moves:
            draft.put_delivery(delivery)
        if self._retracts:
            draft.put_referral(take_back(draft, replace(referral, retracted=True)))
        issuer = self.signed.message.issuer
        return draft.log(
            self.signed.statement,
            places=referral.places,
            subject="" if issuer == referral.publisher else issuer,
            watchers=self._watchers(draft, referral),
        )

    @property
    def _retracts(self) -> bool:
        """Whether it takes the referral back."""
        return self.signed.statement.body_kind == "retraction"

    @property
    def _signer(self) -> custody.Signer:
        """Which party says this."""
        return custody.SIGNERS[self.signed.statement.body_kind]

    def _watchers(self, draft: Draft, referral: ReferralRow) -> Iterable[str]:
        """Returns who hears of it: of a link, those of both referrals."""
        message = self.signed.message
        if not message.HasField("link"):
            return referral.watchers
        other = same_referral(draft, message)
        return dict.fromkeys([*referral.watchers, *other.watchers])

    def _plan_child(self, draft: Draft) -> Sequence[int]:
        """Plans a transfer's child referral together with the transfer."""
        child = self.child
        if child is None:
            return ()
        transfer = self.signed.message.transfer
        named = (transfer.child_referral_id, transfer.child_digest)
        if named != (child.signed.message.id, child.signed.statement.digest):
            msg = "transfer names another child referral than the one that is sent"
            raise MalformedError(msg, field="transfer.child_digest")
        return child.plan(draft)

    def _referral(self, draft: Draft) -> ReferralRow:
        """Returns the referral, if the issuer is the party that says this kind."""
        message = self.signed.message
        row = draft.referral(message.referral_id)
        is_signer = _PARTIES[self._signer]
        if row is None or row.rejected or not is_signer(draft, row, message.issuer):
            raise referral_unknown(message.referral_id)
        return row

    def _check_previous(self, draft: Draft, referral: ReferralRow) -> None:
        """It answers a statement of this chain, of a fitting kind."""
        message = self.signed.message
        row = draft.statement(message.previous)
        of_chain = (
            row is not None
            and row.referral_id == referral.referral_id
            and row.subject in ("", message.issuer)
        )
        if row is None or not of_chain:
            raise StateError(
                Reason.ERROR_REASON_PREVIOUS_MISMATCH,
                "previous does not name a statement of this delivery; fetch the "
                "referral, and answer one of its statements",
                field="previous",
            )
        custody.check_answers(self.signed.statement.body_kind, row.kind)

    def _move(self, draft: Draft, referral: ReferralRow) -> list[DeliveryRow]:
        """Returns the deliveries as they are after this statement."""
        message = self.signed.message
        event = custody.event_of(message)
        if event is None:  # a remark
            return []
        if event in custody.WHOLE_REFERRAL:
            concerned = draft.deliveries(referral.referral_id)
        else:
            found = draft.delivery(referral.referral_id, message.issuer)
            concerned = [found] if found else []
        return [moved(draft, referral, delivery, event) for delivery in concerned]

    def _check_content(self, referral: ReferralRow) -> None:
        """A ``Received`` that says *verified* names the content that was signed."""
        body = self.signed.message.received
        if (
            self.signed.statement.body_kind == "received"
            and body.check == vocabulary_pb2.CONTENT_CHECK_VERIFIED
            and body.content_digest != referral.content_digest
        ):
            raise VerificationError(
                Reason.ERROR_REASON_CONTENT_MISMATCH,
                "received says that the content is verified, but names another digest "
                "than the referral; report what was found",
                field="received.content_digest",
            )


class Submission:
    """Takes statements of members about referrals."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        reader: Reader,
        publishing: Publishing,
        erasing: Erasing,
    ) -> None:
        self._ledger = ledger
        self._erasing = erasing
        self._store = store
        self._reader = reader
        self._publishing = publishing

    async def submit(
        self, caller: Caller, jws: str, child: Sending | None
    ) -> Submitted:
        """Logs a statement. When this returns it is durable and proven.

        Raises:
            OnwardError: it is refused; nothing was logged, of a child neither.
        """
        statement = self._reader.parse(jws, KINDS)
        require_role(caller, *_ROLES[custody.SIGNERS[statement.body_kind]])
        if statement.message.link.intake_number:
            msg = "a link of an intake is sent with DecideIntake"
            raise MalformedError(msg, field="link.intake_number")
        if (child is None) == (statement.body_kind == "transfer"):
            msg = "a transfer, and nothing else, is sent with its child referral"
            raise MalformedError(msg, field="child")
        try:
            entry = await self._verify(caller, statement, child)
        except OnwardError:
            original = await self._original(caller, statement, child)
            if original is None:
                raise
            return original
        done = self._outcome(entry, await self._ledger.apply(entry))
        if statement.body_kind == "retraction":
            await self._erasing.follow(statement.message.referral_id)
        return done

    async def _verify(
        self, caller: Caller, statement: UnverifiedStatement, child: Sending | None
    ) -> Entry:
        """All that can be verified without the log's order."""
        entry = Entry(await self._reader.verify(caller, statement))
        if child is not None:
            entry.child = await self._child(caller, statement, child)
        return entry

    def _outcome(self, entry: Entry, answer: Sequence[Logged]) -> Submitted:
        """Returns what became of a statement, or raises that its child was refused."""
        if entry.child is None:
            return Submitted(answer[0], None)
        child = self._publishing.outcome(entry.child, answer[-2:])
        return Submitted(answer[0], child)

    async def _child(
        self, caller: Caller, transfer: UnverifiedStatement, child: Sending
    ) -> Publication:
        """Verifies a transfer's child, which must link back to its parent."""
        statement = self._reader.parse(child.jws, _REFERRAL)
        parent = transfer.message.referral_id
        links = statement.message.referral.links
        named = [link.referral_id for link in links if link.kind == _TRANSFER_OF]
        if named != [parent]:
            msg = "the child referral must link to its parent with TRANSFER_OF"
            raise MalformedError(msg, field="child.referral.links")
        if statement.message.referral.intake_numbers:
            msg = "a child referral answers no intake: its parent did"
            raise MalformedError(msg, field="child.referral.intake_numbers")
        return await self._publishing.verify(caller, statement, child, child_of=parent)

    async def _original(
        self, caller: Caller, statement: UnverifiedStatement, child: Sending | None
    ) -> Submitted | None:
        """When a step refused: the original answer to exactly these bytes, if any."""
        row = await self._store.find_statement(statement.digest)
        if row is None or statement.message.issuer != caller.name:
            return None
        (logged,) = await self._ledger.logged([row.log_index])
        if child is None:
            return Submitted(logged, None)
        parsed = self._reader.parse(child.jws, _REFERRAL)
        published = await self._publishing.original(caller, parsed)
        return Submitted(logged, published) if published else None
