"""Publishing a referral, in the eleven steps of DESIGN.md section 8.

1.  The caller is an active member with the publisher role.
2.  Sizes and shape.
3.  The signature holds, with a key that is valid now.
4.  The issuer is the caller.
5.  Id and digest: the same bytes return the original acceptance and receipt; the same
    id with other bytes is refused. For ever, not in a window.
6.  The recipients exist, are active, and have the content keys for which the content
    is sealed.
7.  The disclosure policy allows it, perhaps for a time only. If not, the refusal is
    signed and logged.
8.  The content is the one whose digest was signed.
9.  ``seen`` is a checkpoint of ours, and the time is plausible.
10. The intakes that it answers move on; referral, acceptance and deliveries are
    appended.
11. The recipients are woken (by the ledger, after the commit).

Steps 1 to 4, 6, 8 and 9 are verified outside the ledger, so that they cost its one
writer nothing; 5, 7 and 10 are planned in it, in the log's order. The policy is asked
outside, too, since the one in force is seldom another by then: its answer is remembered
and costs the writer a look. A retry must get its original answer even when the world
has changed since: so when any step refuses, the last question is whether exactly these
bytes were answered before.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias

from onward.core import custody
from onward.core.directory import MemberEntry
from onward.core.errors import (
    ConflictError,
    ForbiddenError,
    MalformedError,
    OnwardError,
    Reason,
    StateError,
    TooLargeError,
    UnknownError,
    VerificationError,
)
from onward.core.sealing import parse_sealed
from onward.core.statements import UnverifiedStatement, parse_statement
from onward.v1 import content_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange import duties
from onward_server.exchange.clock import Clock, timestamp_ms, to_datetime
from onward_server.exchange.deadlines import delivery_deadlines
from onward_server.exchange.directory import Caller
from onward_server.exchange.draft import Draft
from onward_server.exchange.ending import end_ms
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.limits import Limits
from onward_server.exchange.lineage import NO_TRANSFER, Lineage, read_lineage
from onward_server.exchange.passing_on import answered, pass_on
from onward_server.exchange.policy import DisclosurePolicy, Refusal
from onward_server.exchange.reading import Reader, Signed
from onward_server.exchange.receipts import Logged
from onward_server.storage.contract import (
    DeliveryRow,
    IntakeRow,
    Needs,
    ReferralRow,
    Store,
    UploadRow,
)

_PUBLISHER = vocabulary_pb2.ROLE_PUBLISHER
_RECIPIENT = vocabulary_pb2.ROLE_RECIPIENT
_TRANSFER_OF = statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF
_REFERRAL = frozenset({"referral"})
_REMEMBERED_UPLOADS = 256

SealedTo: TypeAlias = frozenset[tuple[str, str]]
"""To whom content is sealed: recipients and ids of their content keys."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A referral as it came in; ``sealed`` is empty when it was uploaded before."""

    jws: str
    sealed: bytes
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """A referral and the exchange's acceptance."""

    referral: Logged
    acceptance: Logged


class DisclosureForbiddenError(StateError):
    """The policy forbids it. ``rejection`` is the signed and logged refusal."""

    def __init__(self, rejection: Logged, body: statement_pb2.Rejection) -> None:
        super().__init__(
            Reason.ERROR_REASON_DISCLOSURE_FORBIDDEN,
            f"the rule {body.rule} forbids sending this to {body.recipient}: "
            f"{body.sentence}",
            metadata={"rule": body.rule, "citation": body.citation},
        )
        self.rejection = rejection


@dataclass(slots=True)
class Publication:
    """The change that publishing is: a verified referral, ready to be planned.

    Attributes:
        lineage: for a transfer, what is above it; planned with its parent.
        rejected: after planning: whether the answer is a ``Rejection``.
    """

    signed: Signed
    sending: Sending
    recipients: Sequence[MemberEntry]
    sealed_to: SealedTo
    lineage: Lineage = NO_TRANSFER
    rejected: bool = field(default=False, init=False)

    @property
    def needs(self) -> Needs:
        """The referral itself, what it links to and answers, and its content."""
        message, body = self.signed.message, self.signed.message.referral
        linked = {link.referral_id for link in body.links}
        return Needs(
            referrals={message.id, *linked, *self.lineage.ids},
            contents={body.content_digest},
            intakes={(message.issuer, number) for number in body.intake_numbers},
        )

    def plan(self, draft: Draft) -> Sequence[int]:
        """Steps 5, 7 and 10."""
        known = draft.referral(self.signed.message.id)  # 5
        if known is not None:
            return self._answer_again(known)
        self.signed.still_valid(draft)
        recipients = self._check_recipients_again(draft)
        parent = self._check_links(draft)
        body = self.signed.message.referral
        intakes = answered(draft, self.signed.author.name, body)
        places = _places(body, intakes, parent)
        refusal = self._refusal(draft, recipients)  # 7
        self.rejected = refusal is not None
        if refusal is not None:
            answer = _rejection(draft.policy, refusal)
            return self._append(draft, answer, parent, places)
        self._check_content(draft)
        pass_on(draft, intakes, (member.proto.kind for member in recipients))
        answer = self._acceptance(draft)
        return self._append(draft, answer, parent, places)  # 10

    def _check_recipients_again(self, draft: Draft) -> Sequence[MemberEntry]:
        """Step 6 at its place in the log, where the directory changed meanwhile.

        Returns the recipients as they are there.
        """
        present = [draft.member(member.name) for member in self.recipients]
        if all(a is b for a, b in zip(present, self.recipients, strict=True)):
            return self.recipients
        members = [
            check_recipient(member.name, entry)
            for member, entry in zip(self.recipients, present, strict=True)
        ]
        check_sealed_to(self.sealed_to, members, to_datetime(draft.now_ms))
        return members

    def _answer_again(self, known: ReferralRow) -> Sequence[int]:
        """The same bytes get the same answer; other bytes under the id get none."""
        if known.digest != self.signed.statement.digest:
            raise ConflictError(
                Reason.ERROR_REASON_REFERRAL_ID_REUSED,
                f"the id {known.referral_id} was used for another referral; ids are "
                "never reused: make a new id, and sign again",
                field="id",
            )
        self.rejected = known.rejected
        return [known.log_index, known.answer_index]

    def _check_links(self, draft: Draft) -> ReferralRow | None:
        """Links name referrals of the publisher's; returns a transfer's parent.

        ``TRANSFER_OF`` names the parent, and nothing else: whoever only says that it
        passes something on would be bound by no consent, and have a chain that nobody
        can follow.
        """
        parent = None
        for link in self.signed.message.referral.links:
            row = draft.referral(link.referral_id)
            transferred = link.kind == _TRANSFER_OF
            if transferred:
                parent = row
                mine = link.referral_id == self.lineage.parent_id
            else:
                mine = row is not None and self.signed.author.name in row.watchers
            if row is None or not mine or row.digest != link.referral_digest:
                raise UnknownError(
                    Reason.ERROR_REASON_REFERRAL_UNKNOWN,
                    f"links names {link.referral_id}, which is not a referral of "
                    f"{self.signed.author.name} with that digest"
                    + ("; pass it on with a Transfer" if transferred else ""),
                    field="referral.links",
                )
        if parent is not None:
            self._check_parent(draft, parent)
        return parent

    def _check_parent(self, draft: Draft, parent: ReferralRow) -> None:
        """A tip is transferred until it is retracted, and stays a tip, or a test.

        All above it are asked: what follows from a retraction is said of those below
        one after the other.
        """
        above = map(draft.referral, self.lineage.ids)
        if any(row is not None and row.retracted for row in above):
            raise StateError(
                Reason.ERROR_REASON_STATE_FORBIDS,
                f"{parent.referral_id}, or what it was transferred from, was "
                "retracted; the tip is not passed on any more",
                field="referral.links",
                metadata={"state": "RETRACTED", "event": "transfer"},
            )
        if parent.test != self.signed.message.referral.test:
            raise MalformedError(
                "a test is transferred as a test, and nothing else is",
                field="referral.test",
            )

    def _refusal(
        self, draft: Draft, recipients: Sequence[MemberEntry]
    ) -> Refusal | None:
        """Step 7: why the policy in force at this place of the log forbids it."""
        author = draft.member(self.signed.author.name) or self.signed.author
        return draft.policy.refusal(
            author.proto,
            self.signed.message.referral,
            [member.proto for member in recipients],
            to_datetime(draft.now_ms),
            self.lineage.binding,
        )

    def _check_content(self, draft: Draft) -> None:
        """The content is here, or here already; and is no other referral's."""
        digest = self.signed.message.referral.content_digest
        owner = draft.content_owner(digest)
        if owner:
            raise VerificationError(
                Reason.ERROR_REASON_CONTENT_MISMATCH,
                "these sealed bytes belong to another referral; seal the content again",
                field="referral.content_digest",
            )
        if self.sending.sealed:
            draft.put_content(digest, self.sending.sealed)
        elif owner is None:
            raise _content_unknown()

    def _acceptance(self, draft: Draft) -> dict[str, object]:
        """Returns the body that accepts it."""
        body = self.signed.message.referral
        due = delivery_deadlines(
            draft.policy.deadlines(body.urgency, body.jurisdiction.code),
            [member.proto for member in self.recipients],
            to_datetime(draft.now_ms),
        )
        accepted = statement_pb2.Acceptance(
            policy_version=draft.policy.version,
            policy_digest=draft.policy.digest,
            deadlines=due,
        )
        return {"acceptance": accepted}

    def _append(
        self,
        draft: Draft,
        answer: dict[str, object],
        parent: ReferralRow | None,
        places: tuple[str, ...],
    ) -> Sequence[int]:
        """Step 10: referral and answer, and a delivery for each recipient."""
        message, body = self.signed.message, self.signed.message.referral
        above = parent.watchers if parent else ()
        watchers = tuple(dict.fromkeys([message.issuer, *above]))
        log_index = draft.log(self.signed.statement, places=places, watchers=watchers)
        said = draft.say(
            referral_id=message.id, previous=self.signed.statement.digest, **answer
        )
        answer_index = draft.log(said, places=places, watchers=watchers)
        draft.put_referral(
            ReferralRow(
                referral_id=message.id,
                digest=self.signed.statement.digest,
                log_index=log_index,
                answer_index=answer_index,
                rejected=self.rejected,
                publisher=message.issuer,
                watchers=watchers,
                parent_id=parent.referral_id if parent else "",
                urgency=body.urgency,
                jurisdiction=body.jurisdiction.code,
                accepted_ms=draft.now_ms,
                expire_ms=end_ms(
                    draft.policy,
                    self.signed.author,
                    body,
                    self.recipients,
                    self.lineage.binding,
                ),
                content_digest=b"" if self.rejected else body.content_digest,
                content_size=body.content_size,
                erased=False,
                retracted=False,
                test=body.test,
                traceparent=self.sending.traceparent,
                places=places,
                intakes=() if self.rejected else tuple(body.intake_numbers),
            )
        )
        for terms in said.message.acceptance.deadlines:  # a rejection has none
            delivery = DeliveryRow(
                referral_id=message.id,
                recipient=terms.recipient,
                state=custody.INITIAL,
                state_ms=draft.now_ms,
                urgency=body.urgency,
                order_index=answer_index,
                waiting=True,
            )
            draft.put_delivery(duties.begun(delivery, terms, draft.now_ms))
        return [log_index, answer_index]


class Publishing:
    """Publishes referrals, and takes uploads of their content."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        reader: Reader,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._reader = reader
        self._clock = clock
        self._limits = limits
        self._reading_uploads = asyncio.Lock()
        self._uploads: OrderedDict[bytes, tuple[int, SealedTo]] = OrderedDict()

    async def publish(self, caller: Caller, sending: Sending) -> Published:
        """Publishes one referral. When this returns it is durable and proven.

        Raises:
            DisclosureForbiddenError: the policy forbids it; the refusal is logged.
            OnwardError: any other refusal; nothing was logged.
        """
        require_role(caller, _PUBLISHER)  # 1
        statement = self._reader.parse(sending.jws, _REFERRAL)  # 2
        try:
            publication = await self.verify(caller, statement, sending)
        except OnwardError:
            original = await self.original(caller, statement)
            if original is None:
                raise
            return original
        return self.outcome(publication, await self._ledger.apply(publication))

    async def verify(
        self,
        caller: Caller,
        statement: UnverifiedStatement,
        sending: Sending,
        child_of: str = "",
    ) -> Publication:
        """Steps 3, 4 and 6 to 9: all that can be verified without the log's order."""
        signed = await self._reader.verify(caller, statement)  # 3, 4, 9
        body = statement.message.referral
        now = to_datetime(self._clock.now_ms())
        sealed_to = await self._check_content(body, sending)  # 8
        recipients = self._check_recipients(body, sealed_to, now)  # 6
        members = [member.proto for member in recipients]
        lineage = await read_lineage(self._store, child_of)
        policy, above = self._ledger.policy, lineage.binding
        policy.refusal(caller.entry.proto, body, members, now, above)  # 7
        return Publication(signed, sending, recipients, sealed_to, lineage)

    @staticmethod
    def outcome(publication: Publication, answer: Sequence[Logged]) -> Published:
        """Returns what became of a publication, or raises that it was refused."""
        referral, said = answer
        if publication.rejected:
            raise _forbidden(said)
        return Published(referral, said)

    async def put_content(
        self, caller: Caller, digest: bytes, size: int, chunks: AsyncIterator[bytes]
    ) -> None:
        """Keeps content that a referral will name. Durable when this returns.

        Raises:
            TooLargeError: the stated or the real size exceeds the limit.
            VerificationError: ``CONTENT_MISMATCH``: other bytes than stated came.
        """
        require_role(caller, _PUBLISHER, _RECIPIENT)
        if size > self._limits.content:
            raise TooLargeError("content", size, self._limits.content)
        # Two uploads of the same content at once must not mix their chunks.
        attempt = f"{caller.name} {self._ledger.entropy(8).hex()}"
        upload = UploadRow(digest, attempt, self._clock.now_ms())
        hasher, position, waiting = hashlib.sha256(), 0, bytearray()
        async for chunk in chunks:
            if not 0 < len(chunk) <= self._limits.chunk:
                raise TooLargeError("a chunk", len(chunk), self._limits.chunk)
            hasher.update(chunk)
            waiting += chunk
            if position + len(waiting) > size:
                raise _content_mismatch()
            if len(waiting) >= self._limits.chunk:  # small chunks are kept together
                await self._keep_chunk(upload, position, bytes(waiting))
                position += len(waiting)
                waiting.clear()
        if waiting:
            await self._keep_chunk(upload, position, bytes(waiting))
            position += len(waiting)
        if position != size or hasher.digest() != digest:
            raise _content_mismatch()
        done = replace(upload, uploaded_ms=self._clock.now_ms())
        await self._ledger.write(lambda writer: writer.complete_upload(done))

    async def _keep_chunk(self, upload: UploadRow, position: int, chunk: bytes) -> None:
        """Writes one chunk of an upload."""
        await self._ledger.write(
            lambda writer: writer.put_chunk(upload, position, chunk)
        )

    async def _check_content(
        self, body: statement_pb2.Referral, sending: Sending
    ) -> SealedTo:
        """Step 8: digest and size are those that were signed, and it is kept a while.

        Returns to whom the content is sealed.
        """
        if timestamp_ms(body.expire_time) <= self._clock.now_ms():
            msg = "expire_time is over: the content would be erased before it goes out"
            raise MalformedError(msg, field="referral.expire_time")
        sealed = sending.sealed
        if not sealed:
            return await self._sealed_to_of_upload(body)
        if len(sealed) > self._limits.inline_content:
            raise TooLargeError(
                "sealed_content", len(sealed), self._limits.inline_content
            )
        digest = hashlib.sha256(sealed).digest()
        if len(sealed) != body.content_size or digest != body.content_digest:
            raise _content_mismatch()
        return _sealed_to(parse_sealed(sealed))

    async def _sealed_to_of_upload(self, body: statement_pb2.Referral) -> SealedTo:
        """Reads whom an upload is sealed to, once for each upload.

        An upload may be large, and referrals that name it are cheap to send: so it is
        read once, one is read at a time, and only what is needed is kept.
        """
        digest = body.content_digest
        async with self._reading_uploads:
            known = self._uploads.get(digest)
            if known is None:
                stored = await self._store.content(digest)
                if stored is None:
                    raise _content_unknown()
                message = parse_sealed(stored, self._limits.content)
                known = len(stored), _sealed_to(message)
                self._uploads[digest] = known
                if len(self._uploads) > _REMEMBERED_UPLOADS:
                    self._uploads.popitem(last=False)
        size, sealed_to = known
        if size != body.content_size:
            raise _content_mismatch()
        return sealed_to

    def _check_recipients(
        self, body: statement_pb2.Referral, sealed_to: SealedTo, now: datetime
    ) -> list[MemberEntry]:
        """Step 6: each recipient takes part, and the content is sealed to it."""
        recipients = [
            check_recipient(name, self._ledger.directory.find(name))
            for name in body.recipients
        ]
        check_sealed_to(sealed_to, recipients, now)
        return recipients

    async def original(
        self, caller: Caller, statement: UnverifiedStatement
    ) -> Published | None:
        """When a step refused: the original answer to exactly these bytes, if any."""
        row = await self._store.referral(statement.message.id)
        if row is None or row.digest != statement.digest:
            return None
        if row.publisher != caller.name:
            return None
        referral, said = await self._ledger.logged([row.log_index, row.answer_index])
        if row.rejected:
            raise _forbidden(said)
        return Published(referral, said)


def check_sealed_to(
    sealed_to: SealedTo, recipients: Sequence[MemberEntry], now: datetime
) -> None:
    """Checks that content is sealed to keys in force of all recipients, and no others.

    Raises:
        StateError: ``SEALED_KEYS_MISMATCH``.
    """
    usable = {
        (member.name, key_id)
        for member in recipients
        for key_id in member.usable_content_keys(now)
    }
    reached = {name for name, _ in sealed_to}
    if not sealed_to <= usable or reached != {member.name for member in recipients}:
        raise StateError(
            Reason.ERROR_REASON_SEALED_KEYS_MISMATCH,
            "the content must be sealed to an active content key of each recipient "
            "and to nobody else; fetch the recipients' keys and seal again",
            field="sealed_content",
        )


def check_recipient(name: str, member: MemberEntry | None) -> MemberEntry:
    """Returns a member that can be a recipient at present.

    Raises:
        StateError: ``RECIPIENT_UNAVAILABLE``.
    """
    if member is None or not member.active or _RECIPIENT not in member.roles:
        raise StateError(
            Reason.ERROR_REASON_RECIPIENT_UNAVAILABLE,
            f"{name} is not an active recipient at this exchange",
            field="referral.recipients",
            metadata={"recipient": name},
        )
    return member


def require_role(caller: Caller, *roles: vocabulary_pb2.Role.ValueType) -> None:
    """Checks that the caller has one of the roles.

    Raises:
        ForbiddenError: ``ROLE_REQUIRED``.
    """
    if caller.entry.roles.isdisjoint(roles):
        names = " or ".join(
            vocabulary_pb2.Role.Name(role).removeprefix("ROLE_").lower()
            for role in roles
        )
        raise ForbiddenError(
            Reason.ERROR_REASON_ROLE_REQUIRED,
            f"{caller.name} does not have the role that this needs: {names}; the "
            "operator of the exchange gives roles",
            metadata={"required": names},
        )


def _rejection(policy: DisclosurePolicy, refusal: Refusal) -> dict[str, object]:
    """Returns the body that refuses it."""
    body = statement_pb2.Rejection(
        policy_version=policy.version,
        policy_digest=policy.digest,
        rule=refusal.rule,
        citation=refusal.citation,
        sentence=refusal.sentence,
        recipient=refusal.recipient,
    )
    return {"rejection": body}


def _forbidden(rejection: Logged) -> DisclosureForbiddenError:
    """Returns the error that carries a logged rejection."""
    message = parse_statement(rejection.jws).message
    return DisclosureForbiddenError(rejection, message.rejection)


def _places(
    body: statement_pb2.Referral,
    intakes: Sequence[IntakeRow],
    parent: ReferralRow | None,
) -> tuple[str, ...]:
    """Returns whose auditors may see a referral.

    Who sees an intake sees how it ended as well, wherever the referral points to.
    """
    answers = [row.jurisdiction for row in intakes]
    above = parent.places if parent else ()
    return tuple(dict.fromkeys([body.jurisdiction.code, *answers, *above]))


def _sealed_to(message: content_pb2.SealedContent) -> SealedTo:
    return frozenset((key.recipient, key.key_id) for key in message.keys)


def _content_unknown() -> UnknownError:
    return UnknownError(
        Reason.ERROR_REASON_CONTENT_UNKNOWN,
        "the request has no content, and content with this digest was not uploaded; "
        "send it in the request, or upload it with PutContent first",
        field="sealed_content",
    )


def _content_mismatch() -> VerificationError:
    return VerificationError(
        Reason.ERROR_REASON_CONTENT_MISMATCH,
        "the content is not the one whose digest and size were stated",
        field="sealed_content",
    )
