"""The registry: every change of the directory after enrolment, and looking it up.

Each change is planned at its place in the log, on the entry as it is there, so two
operators at once cannot undo each other's work unseen. Asking for what is already so
changes nothing, and is answered with the change in force.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from onward.core.directory import MemberEntry
from onward.core.errors import (
    MalformedError,
    OnwardError,
    Reason,
    StateError,
)
from onward.core.identity import SpiffeId
from onward.core.keys import StatementPublicKey
from onward.core.statements import POSSESSION_TYPE, verify_jws
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange import edits
from onward_server.exchange.changes import (
    AddMemberChange,
    Edit,
    EntryChange,
    TokenChange,
    member_unknown,
)
from onward_server.exchange.clock import Clock, to_datetime
from onward_server.exchange.directory import Caller, Registration
from onward_server.exchange.draft import Draft
from onward_server.exchange.entries import new_entry
from onward_server.exchange.issuing import Issuing
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.possession import Occasion, Offer, unproven
from onward_server.exchange.receipts import Logged
from onward_server.exchange.tokens import Token
from onward_server.storage.contract import Store

_ACTIVE = vocabulary_pb2.MEMBER_STATUS_ACTIVE
_PENDING = vocabulary_pb2.MEMBER_STATUS_PENDING
_SUSPENDED = vocabulary_pb2.MEMBER_STATUS_SUSPENDED
_OPERATOR = vocabulary_pb2.ROLE_OPERATOR
_FINGERPRINT_SIZE = 32


@dataclass(frozen=True, slots=True)
class Added:
    """A member that was added, and its enrolment token."""

    change: Logged
    token: Token


@dataclass(frozen=True, slots=True)
class Rotation:
    """A step of a rotation: challenges to answer, or the logged change."""

    challenges: Sequence[bytes] = ()
    change: Logged | None = None


class Registry:
    """Changes the directory, and looks it up.

    Args:
        ledger: where every change goes.
        store: where past changes are read.
        issuing: what members get.
        clock: tells the time.
    """

    def __init__(
        self, ledger: Ledger, store: Store, issuing: Issuing, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._authority = issuing.authority
        self._tokens = issuing.tokens
        self._challenger = issuing.challenger
        self._terms = issuing.terms
        self._clock = clock
        self._one_token = asyncio.Lock()

    # --- operators ------------------------------------------------------------------

    async def add_member(self, caller: Caller, wanted: directory_pb2.Member) -> Added:
        """Adds a member without keys, and makes its enrolment token.

        Raises:
            MalformedError: the description is not allowed.
            ConflictError: MEMBER_EXISTS.
        """
        exchange = SpiffeId.parse(self._ledger.exchange)
        entry = new_entry(wanted, exchange.trust_domain)
        token = self._tokens.issue(entry.name, self._clock.now_ms())
        change = AddMemberChange(entry, token.row, caller.name)
        (logged,) = await self._ledger.apply(change)
        return Added(logged, token)

    async def issue_token(self, name: str) -> Token:
        """Makes another token; earlier ones that were not used become invalid.

        Raises:
            UnknownError: MEMBER_UNKNOWN.
        """
        self._ledger.directory.entry(name)
        # One at a time: each must see the token before, to end it.
        async with self._one_token:
            earlier = await self._store.member_tokens(name)
            token = self._tokens.issue(name, self._clock.now_ms())
            change = TokenChange(token.row, [row.token_id for row in earlier])
            await self._ledger.apply(change)
        return token

    async def suspend(self, caller: Caller, name: str) -> Logged:
        """Locks a member out. Idempotent.

        Raises:
            UnknownError: MEMBER_UNKNOWN.
            StateError: STATE_FORBIDS: it is the last operator.
        """

        def edit(
            draft: Draft, member: directory_pb2.Member
        ) -> directory_pb2.Member | None:
            if member.status == _SUSPENDED:
                return None
            self._check_not_last_operator(draft, name)
            return edits.with_status(member, _SUSPENDED)

        return await self._change(
            statement_pb2.DIRECTORY_CHANGE_KIND_SUSPENDED, name, caller, edit
        )

    async def reinstate(self, caller: Caller, name: str) -> Logged:
        """Lets a suspended member in again. Idempotent.

        Raises:
            UnknownError: MEMBER_UNKNOWN.
        """

        def edit(_: Draft, member: directory_pb2.Member) -> directory_pb2.Member | None:
            if member.status != _SUSPENDED:
                return None
            return edits.with_status(
                member, _ACTIVE if member.statement_keys else _PENDING
            )

        return await self._change(
            statement_pb2.DIRECTORY_CHANGE_KIND_REINSTATED, name, caller, edit
        )

    async def revoke_key(self, caller: Caller, name: str, key_id: str) -> Logged:
        """Revokes a statement or content key. Idempotent.

        It locks nobody out: who calls is known by certificate, and a member without
        keys gets new ones with another token.

        Raises:
            UnknownError: MEMBER_UNKNOWN.
            StateError: KEY_NOT_VALID: the member has no such key.
        """
        return await self._change(
            statement_pb2.DIRECTORY_CHANGE_KIND_KEY_REVOKED,
            name,
            caller,
            lambda _, member: edits.with_revoked_key(member, key_id),
        )

    async def revoke_certificate(
        self, caller: Caller, name: str, fingerprint: bytes
    ) -> Logged:
        """Revokes a certificate, by the SHA-256 of its DER form. Idempotent.

        Raises:
            MalformedError: the fingerprint has not 32 bytes.
            UnknownError: MEMBER_UNKNOWN.
            StateError: STATE_FORBIDS: it is that of the last operator's own call.
        """
        if len(fingerprint) != _FINGERPRINT_SIZE:
            raise MalformedError(
                "a certificate's fingerprint is the 32 bytes of its SHA-256",
                field="fingerprint",
            )

        def edit(
            draft: Draft, member: directory_pb2.Member
        ) -> directory_pb2.Member | None:
            if (name, fingerprint) == (caller.name, caller.fingerprint):
                self._check_not_last_operator(draft, name)
            return edits.with_revoked_certificate(member, fingerprint)

        return await self._change(
            statement_pb2.DIRECTORY_CHANGE_KIND_CERTIFICATE_REVOKED, name, caller, edit
        )

    # --- members --------------------------------------------------------------------

    async def rotate_keys(
        self,
        caller: Caller,
        offer: directory_pb2.KeyOffer,
        possessions: Sequence[str],
    ) -> Rotation:
        """Replaces keys of the caller, in two steps.

        Repeating the second step after it succeeded is answered with the change in
        force.

        Args:
            caller: the member.
            offer: the new keys.
            possessions: empty in the first step; then one JWS of each offered
                statement key, and one of a statement key that is active now.

        Raises:
            MalformedError: an offered key cannot be used.
            VerificationError: POSSESSION_UNPROVEN.
            StateError: KEY_NOT_VALID: an offered key was retired, revoked or expired.
        """
        offered = Offer.parse(offer)
        registration = self._registration(caller.name)
        occasion = Occasion(caller.name, state=registration.digest)
        if not possessions:
            return Rotation(self._challenger.challenges(occasion, offered))
        if not edits.has_exactly(registration.entry.proto, offered):
            active = self._signer(registration.entry, possessions[-1])
            signers = [*offered.statement_keys, active]
            self._challenger.check(occasion, offered, possessions, signers)
        logged = await self._change(
            statement_pb2.DIRECTORY_CHANGE_KIND_KEYS_ROTATED,
            caller.name,
            caller,
            self._rotate(registration, offered),
        )
        return Rotation(change=logged)

    def renew_certificate(self, caller: Caller, request: bytes) -> str:
        """Issues a new certificate to the caller; PEM, with its issuer.

        Args:
            caller: the member.
            request: PKCS #10, DER, signed with the key that is to be certified: the
                one that the caller has, or a new one.

        Raises:
            MalformedError: not a request, or not on P-256 or P-384.
            VerificationError: POSSESSION_UNPROVEN: not signed with its key.
        """
        return self._authority.issue(
            request,
            SpiffeId.parse(caller.name),
            to_datetime(self._clock.now_ms()),
            self._terms.certificate_validity,
        )

    # --- everybody ------------------------------------------------------------------

    async def get_member(self, name: str) -> list[Logged]:
        """Returns all logged changes of a member's entry, oldest first.

        Raises:
            UnknownError: MEMBER_UNKNOWN.
        """
        self._ledger.directory.entry(name)
        return await self._history("directory_change", name)

    def list_members(self, after: str, limit: int) -> list[directory_pb2.Member]:
        """Returns present entries ordered by name, from the first one after a name."""
        entries = list(self._ledger.directory)
        first = bisect_right(entries, after, key=lambda entry: entry.name)
        return [entry.proto for entry in entries[first : first + limit]]

    async def exchange_keys(self) -> list[Logged]:
        """Returns the logged key changes of the exchange itself, oldest first."""
        return await self._history("key_change", "")

    # --------------------------------------------------------------------------------

    async def _change(
        self,
        kind: statement_pb2.DirectoryChangeKind.ValueType,
        name: str,
        caller: Caller,
        edit: Edit,
    ) -> Logged:
        (logged,) = await self._ledger.apply(EntryChange(kind, name, caller.name, edit))
        return logged

    async def _history(self, kind: str, subject: str) -> list[Logged]:
        rows = await self._store.history(kind, subject)
        head = await self._ledger.reach(rows[-1].log_index + 1 if rows else 0)
        return await self._ledger.receipts.up_to(rows, head)

    def _registration(self, name: str) -> Registration:
        found = self._ledger.directory.registration(name)
        if found is None:
            raise member_unknown(name)
        return found

    def _signer(self, entry: MemberEntry, possession: str) -> StatementPublicKey:
        """Returns the key, active now, that signed a possession."""
        now = to_datetime(self._clock.now_ms())
        for public, validity in entry.statement_keys.keys.values():
            if not validity.problem(now) and _verifies(possession, public):
                return public
        raise unproven(
            "the last possession is not signed with a key that is active now"
        )

    def _rotate(self, before: Registration, offered: Offer) -> Edit:
        """Returns the edit that puts proven keys in force, if nothing came between."""

        def edit(
            draft: Draft, member: directory_pb2.Member
        ) -> directory_pb2.Member | None:
            if edits.has_exactly(member, offered):
                return None
            present = draft.registration(member.name)
            if present is None or present.digest != before.digest:
                raise unproven(
                    "the directory entry changed meanwhile; ask for new challenges"
                )
            return edits.with_keys(member, offered, self._terms, draft.now_ms)

        return edit

    def _check_not_last_operator(self, draft: Draft, name: str) -> None:
        """Refuses to lock out the one member who could let it in again."""
        if _runs_the_exchange(draft.member(name)) and not any(
            _runs_the_exchange(draft.member(entry.name))
            for entry in self._ledger.directory
            if entry.name != name
        ):
            raise StateError(
                Reason.ERROR_REASON_STATE_FORBIDS,
                f"{name} is the last active operator, and nobody could undo this; "
                "add and enrol another operator first",
                metadata={"member": name},
            )


def _runs_the_exchange(entry: MemberEntry | None) -> bool:
    return entry is not None and entry.active and _OPERATOR in entry.roles


def _verifies(jws: str, key: StatementPublicKey) -> bool:
    try:
        verify_jws(jws, POSSESSION_TYPE, key)
    except OnwardError:
        return False
    return True
