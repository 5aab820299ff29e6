"""Planning in memory: what one change reads and writes, before anything is stored.

A group commit loads the present state of everything that its changes need into a
:class:`View`. Each change then plans in a :class:`Draft` of its own, which sees the
view and the changes planned before it. A change that is refused leaves nothing behind,
since its draft is thrown away; one that succeeds is merged into the view. So planning
is plain synchronous code that can be tested without a database, and no change can see
half of another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from onward.core.directory import MemberEntry
from onward.core.keys import StatementPrivateKey
from onward.core.statements import (
    SignedStatement,
    new_statement_id,
    sign_statement,
)
from onward.v1 import directory_pb2, statement_pb2
from onward_server.exchange.clock import Entropy, to_timestamp
from onward_server.exchange.directory import Directory, Registration
from onward_server.exchange.policy import DisclosurePolicy, PolicyInForce
from onward_server.storage.contract import (
    EVERYBODY,
    Batch,
    DeliveryRow,
    IntakeRow,
    Loaded,
    MemberRow,
    PolicyRow,
    ReferralRow,
    StatementRow,
    TokenRow,
    Topic,
)


@dataclass(frozen=True, slots=True)
class Voice:
    """What the exchange needs to make a statement of its own."""

    name: str
    key: StatementPrivateKey
    entropy: Entropy


class View:
    """The state that a group commit sees: loaded, and changed by what is planned.

    Args:
        loaded: the stored state of what is needed.
        directory: the present entries.
        in_force: the policy.
        voice: signs the exchange's own statements.
        seen: the newest checkpoint, None only for the log's first entry.
        size: the log's size before this commit.
        now_ms: the time of this commit, captured once.
    """

    def __init__(
        self,
        loaded: Loaded,
        directory: Directory,
        in_force: PolicyInForce,
        voice: Voice,
        seen: statement_pb2.Seen | None,
        size: int,
        now_ms: int,
    ) -> None:
        self.loaded = loaded
        self.directory = directory
        self.in_force = in_force
        self.voice = voice
        self.seen = seen
        self.size = size
        self.now_ms = now_ms
        self.batch = Batch(old_size=size)
        self.registrations: dict[str, Registration] = {}
        self.by_digest: dict[bytes, StatementRow] = {}
        self.content_owners: dict[bytes, str] = {}

    def merge(self, draft: Draft) -> None:
        """Takes over what a change planned."""
        mine, its = self.batch, draft.batch
        mine.statements += its.statements
        mine.referrals |= its.referrals
        mine.deliveries |= its.deliveries
        mine.intakes |= its.intakes
        mine.feed += its.feed
        mine.contents += its.contents
        mine.erase_contents += its.erase_contents
        mine.members |= its.members
        mine.tokens |= its.tokens
        mine.policies += its.policies
        self.in_force = draft.in_force
        self.registrations |= draft.registrations
        self.by_digest |= {row.digest: row for row in its.statements}
        self.content_owners |= {
            row.content_digest: row.referral_id for row in its.referrals.values()
        }


class Draft:
    """One change being planned."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._in_force: PolicyInForce | None = None
        self.batch = Batch()
        self.registrations: dict[str, Registration] = {}

    # ------------------------------------------------------------------ reading

    @property
    def now_ms(self) -> int:
        """The time of this commit."""
        return self._view.now_ms

    @property
    def exchange(self) -> str:
        """The exchange's own name."""
        return self._view.voice.name

    @property
    def policy(self) -> DisclosurePolicy:
        """The policy in force at this place of the log."""
        return self.in_force.policy

    @property
    def in_force(self) -> PolicyInForce:
        """The same, with the statement that put it in force."""
        return self._in_force or self._view.in_force

    def referral(self, referral_id: str) -> ReferralRow | None:
        """A referral that was declared as needed."""
        for rows in (self.batch.referrals, self._view.batch.referrals):
            if referral_id in rows:
                return rows[referral_id]
        return self._view.loaded.referrals.get(referral_id)

    def delivery(self, referral_id: str, recipient: str) -> DeliveryRow | None:
        """A delivery of a referral that was declared as needed."""
        key = (referral_id, recipient)
        for rows in (self.batch.deliveries, self._view.batch.deliveries):
            if key in rows:
                return rows[key]
        return self._view.loaded.deliveries.get(key)

    def deliveries(self, referral_id: str) -> list[DeliveryRow]:
        """All deliveries of a referral that was declared as needed."""
        merged = {
            key: row
            for rows in (
                self._view.loaded.deliveries,
                self._view.batch.deliveries,
                self.batch.deliveries,
            )
            for key, row in rows.items()
            if key[0] == referral_id
        }
        return list(merged.values())

    def statement(self, digest: bytes) -> StatementRow | None:
        """A logged statement whose digest was declared as needed."""
        found = self._view.by_digest.get(digest) or self._view.loaded.statements.get(
            digest
        )
        if found is not None:
            return found
        return next(
            (row for row in self.batch.statements if row.digest == digest), None
        )

    def intake(self, hotline: str, number: int) -> IntakeRow | None:
        """An intake that was declared as needed."""
        key = (hotline, number)
        for rows in (self.batch.intakes, self._view.batch.intakes):
            if key in rows:
                return rows[key]
        return self._view.loaded.intakes.get(key)

    def last_intake(self, hotline: str) -> IntakeRow | None:
        """The last intake of a hotline whose book was declared as needed."""
        planned = self._planned_intakes(hotline)
        last = max(planned, key=lambda row: row.number, default=None)
        return last or self._view.loaded.last_intakes.get(hotline)

    def last_in_jurisdiction(self, hotline: str, code: str) -> int:
        """The last number there, of a book that was declared as needed."""
        planned = (
            row.number_in_jurisdiction
            for row in self._planned_intakes(hotline)
            if row.jurisdiction == code
        )
        stored = self._view.loaded.last_in_jurisdictions.get((hotline, code), 0)
        return max(planned, default=stored)

    def _planned_intakes(self, hotline: str) -> list[IntakeRow]:
        """A hotline's intakes that this commit adds."""
        stored = self._view.loaded.last_intakes.get(hotline)
        after = stored.number if stored else 0
        return [
            row
            for rows in (self._view.batch.intakes, self.batch.intakes)
            for row in rows.values()
            if row.hotline == hotline and row.number > after
        ]

    def token(self, token_id: str) -> TokenRow | None:
        """An enrolment token that was declared as needed."""
        planned = self._view.batch.tokens.get(token_id)
        return planned or self._view.loaded.tokens.get(token_id)

    def content_owner(self, digest: bytes) -> str | None:
        """Whose content this is.

        Returns the id of the referral that names it, an empty string for an upload
        that none names yet, or None when it is not stored.
        """
        planned = self._view.content_owners.get(digest)
        if planned is not None:
            return planned
        return self._view.loaded.contents.get(digest)

    def member(self, name: str) -> MemberEntry | None:
        """A member's entry as it is at this place of the log."""
        registration = self.registration(name)
        return registration.entry if registration else None

    def registration(self, name: str) -> Registration | None:
        """A member's registration as it is at this place of the log."""
        for registrations in (self.registrations, self._view.registrations):
            if name in registrations:
                return registrations[name]
        return self._view.directory.registration(name)

    # ------------------------------------------------------------------ writing

    def say(
        self,
        *,
        referral_id: str = "",
        previous: bytes = b"",
        **body: object,
    ) -> SignedStatement:
        """Signs a statement of the exchange; ``body`` is the one body, by its name."""
        voice = self._view.voice
        message = statement_pb2.Statement(
            id=new_statement_id(self.now_ms, voice.entropy(10)),
            issuer=voice.name,
            made_time=to_timestamp(self.now_ms),
            seen=self._view.seen,
            previous=previous,
            referral_id=referral_id,
            **body,  # type: ignore[arg-type]
        )
        return sign_statement(message, voice.key)

    def log(
        self,
        statement: SignedStatement,
        *,
        places: tuple[str, ...],
        subject: str = "",
        watchers: Iterable[str] = (),
        alerted: Iterable[str] = (),
        looked_at: Iterable[str] = (),
    ) -> int:
        """Appends a statement; returns its log index.

        Args:
            statement: what to append; its signature was verified.
            places: whose auditors may see it.
            subject: the recipient, member or intake that it is about.
            watchers: who is to hear of it by ``WatchOwn``.
            alerted: who is to hear of it by ``WatchAlerts``.
            looked_at: whom an auditor's look concerns.
        """
        batch = self.batch
        index = (
            self._view.size + len(self._view.batch.statements) + len(batch.statements)
        )
        batch.statements.append(
            StatementRow(
                log_index=index,
                digest=statement.digest,
                jws=statement.jws,
                kind=statement.body_kind,
                referral_id=statement.message.referral_id,
                subject=subject,
                logged_ms=self.now_ms,
                places=places,
            )
        )
        for topic, members in (
            (Topic.CUSTODY, watchers),
            (Topic.ALERT, alerted),
            (Topic.AUDIT, looked_at),
        ):
            batch.feed += [(member, topic, index) for member in members]
        return index

    def put_referral(self, row: ReferralRow) -> None:
        """Keeps a referral's new state."""
        self.batch.referrals[row.referral_id] = row

    def put_delivery(self, row: DeliveryRow) -> None:
        """Keeps a delivery's new state."""
        self.batch.deliveries[row.referral_id, row.recipient] = row

    def put_intake(self, row: IntakeRow) -> None:
        """Keeps an intake's new state."""
        self.batch.intakes[row.hotline, row.number] = row

    def put_token(self, row: TokenRow) -> None:
        """Keeps an enrolment token's new state."""
        self.batch.tokens[row.token_id] = row

    def put_content(self, digest: bytes, sealed: bytes) -> None:
        """Keeps sealed content."""
        self.batch.contents.append((digest, sealed))

    def erase_content(self, digest: bytes) -> None:
        """Erases content beyond recovery."""
        self.batch.erase_contents.append(digest)

    def change_member(
        self,
        kind: statement_pb2.DirectoryChangeKind.ValueType,
        member: directory_pb2.Member,
        requested_by: str,
    ) -> int:
        """Logs that a member's entry is this from here on; returns the log index."""
        before = self.registration(member.name)
        statement = self.say(
            previous=before.digest if before else b"",
            directory_change=statement_pb2.DirectoryChange(
                kind=kind, member=member, requested_by=requested_by
            ),
        )
        index = self.log(statement, places=EVERYBODY, subject=member.name)
        self.registrations[member.name] = Registration(
            MemberEntry.from_proto(member), index, statement.digest
        )
        self.batch.members[member.name] = MemberRow(
            member.name, member.SerializeToString(), index
        )
        return index

    def change_policy(self, policy: DisclosurePolicy, requested_by: str) -> int:
        """Logs that this policy is in force from here on; returns the log index."""
        statement = self.say(
            previous=self.in_force.digest,
            policy_change=statement_pb2.PolicyChange(
                policy_version=policy.version,
                policy_digest=policy.digest,
                requested_by=requested_by,
            ),
        )
        index = self.log(statement, places=EVERYBODY)
        self._in_force = PolicyInForce(policy, index, statement.digest)
        files = json.dumps(dict(policy.policy_set.files), ensure_ascii=False)
        self.batch.policies.append(
            PolicyRow(index, policy.digest, policy.version, files)
        )
        return index
