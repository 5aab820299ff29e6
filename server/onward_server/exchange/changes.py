"""The changes of the directory that the ledger plans, each at its place in the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from onward.core.errors import ConflictError, Reason, UnknownError
from onward.v1 import directory_pb2, statement_pb2
from onward_server.exchange.draft import Draft
from onward_server.storage.contract import Needs, TokenRow


@dataclass(frozen=True, slots=True)
class AddMemberChange:
    """The change: a member is added, with a token to enrol."""

    entry: directory_pb2.Member
    token: TokenRow
    requested_by: str

    @property
    def needs(self) -> Needs:
        """Nothing but the directory, which is always at hand."""
        return Needs()

    def plan(self, draft: Draft) -> Sequence[int]:
        """Logs the entry, unless the name is taken."""
        if draft.member(self.entry.name) is not None:
            raise ConflictError(
                Reason.ERROR_REASON_MEMBER_EXISTS,
                f"{self.entry.name} is a member already; for new keys, issue a token",
                metadata={"member": self.entry.name},
            )
        draft.put_token(self.token)
        kind = statement_pb2.DIRECTORY_CHANGE_KIND_ADDED
        return [draft.change_member(kind, self.entry, self.requested_by)]


@dataclass(frozen=True, slots=True)
class TokenChange:
    """The change: a new token, and the end of the earlier ones."""

    token: TokenRow
    earlier: Sequence[str]

    @property
    def needs(self) -> Needs:
        """The earlier tokens."""
        return Needs(tokens=set(self.earlier))

    def plan(self, draft: Draft) -> Sequence[int]:
        """Keeps the token; nothing is logged, since the directory stays as it is."""
        for token_id in self.earlier:
            row = draft.token(token_id)
            if row is not None and not row.request_digest:
                draft.put_token(replace(row, revoked=True))
        draft.put_token(self.token)
        return []


Edit = Callable[[Draft, directory_pb2.Member], directory_pb2.Member | None]
"""Returns the entry after a change, or None when it is so already."""


@dataclass(frozen=True, slots=True)
class EntryChange:
    """The change: one member's entry becomes what ``edit`` makes of it."""

    kind: statement_pb2.DirectoryChangeKind.ValueType
    name: str
    requested_by: str
    edit: Edit

    @property
    def needs(self) -> Needs:
        """Nothing but the directory, which is always at hand."""
        return Needs()

    def plan(self, draft: Draft) -> Sequence[int]:
        """Logs the changed entry, or answers with the change in force."""
        registration = draft.registration(self.name)
        if registration is None:
            raise member_unknown(self.name)
        changed = self.edit(draft, registration.entry.proto)
        if changed is None:
            return [registration.log_index]
        return [draft.change_member(self.kind, changed, self.requested_by)]


def member_unknown(name: str) -> UnknownError:
    """Returns the error that there is no such member."""
    return UnknownError(
        Reason.ERROR_REASON_MEMBER_UNKNOWN,
        f"there is no member {name} at this exchange",
        metadata={"member": name},
    )
