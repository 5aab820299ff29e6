"""The directory: who is a member, and with which keys, at each place of the log.

Every change of an entry is a logged ``DirectoryChange`` that holds the *whole* entry
after the change. So the entry that was in force when the log had a given entry is the
last change of that member before it, and yesterday's signature is judged by
yesterday's keys.

A key is usable when its status is active and the time is within its validity. A key
that was retired or revoked later leaves what was logged before it untouched, since the
log's order, and not anybody's clock, decides what came first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from onward.core.errors import MalformedError, Reason, StateError, UnknownError
from onward.core.keys import StatementPublicKey
from onward.core.sealing import ContentPublicKey
from onward.v1 import directory_pb2, vocabulary_pb2

_ACTIVE_KEY = vocabulary_pb2.KEY_STATUS_ACTIVE
_ACTIVE_MEMBER = vocabulary_pb2.MEMBER_STATUS_ACTIVE

EVERYWHERE = "*"
"""The jurisdiction of an auditor who audits the whole exchange."""

_AGENCY_ROLES = (vocabulary_pb2.ROLE_PUBLISHER, vocabulary_pb2.ROLE_RECIPIENT)

ROLES_OF_KIND: Mapping[int, tuple[vocabulary_pb2.Role.ValueType, ...]] = (
    MappingProxyType(
        {
            vocabulary_pb2.MEMBER_KIND_HOTLINE: _AGENCY_ROLES,
            vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT: _AGENCY_ROLES,
            vocabulary_pb2.MEMBER_KIND_CHILD_WELFARE: _AGENCY_ROLES,
            vocabulary_pb2.MEMBER_KIND_TASK_FORCE: _AGENCY_ROLES,
            vocabulary_pb2.MEMBER_KIND_SERVICE_PROVIDER: _AGENCY_ROLES,
            vocabulary_pb2.MEMBER_KIND_PROSECUTOR: _AGENCY_ROLES,
            vocabulary_pb2.MEMBER_KIND_AUDITOR: (vocabulary_pb2.ROLE_AUDITOR,),
            vocabulary_pb2.MEMBER_KIND_OPERATOR: (vocabulary_pb2.ROLE_OPERATOR,),
        }
    )
)
"""The roles that a member has unless the operator says otherwise."""


@dataclass(frozen=True, slots=True)
class Validity:
    """When a key may be used: its status, and [not before, not after)."""

    status: vocabulary_pb2.KeyStatus.ValueType
    not_before: datetime
    not_after: datetime

    def problem(self, at: datetime) -> str:
        """Returns why the key may not be used at a time, or an empty string."""
        if self.status != _ACTIVE_KEY:
            return f"is {_status_name(self.status)}"
        if at < self.not_before:
            return f"is not valid before {self.not_before.isoformat()}"
        if at >= self.not_after:
            return f"is not valid since {self.not_after.isoformat()}"
        return ""


@dataclass(frozen=True, slots=True)
class StatementKeySet:
    """Statement keys of one party, by key id."""

    owner: str
    keys: Mapping[str, tuple[StatementPublicKey, Validity]]

    @classmethod
    def from_protos(
        cls, owner: str, keys: list[directory_pb2.StatementKey]
    ) -> StatementKeySet:
        """Parses the keys of a directory entry or a ``KeyChange``.

        Raises:
            MalformedError: a key cannot be parsed, or is not the one of its id.
        """
        parsed = {}
        for key in keys:
            public = StatementPublicKey.from_jwk(key.jwk)
            if public.key_id != key.key_id:
                message = f"the directory has a key of {owner} under another key's id"
                raise MalformedError(message, field="key_id")
            parsed[public.key_id] = (public, _validity(key))
        return cls(owner, MappingProxyType(parsed))

    def usable(self, key_id: str, at: datetime) -> StatementPublicKey:
        """Returns a key that may be used at a time.

        Raises:
            StateError: ``KEY_NOT_VALID``: unknown, retired, revoked, or outside its
                validity.
        """
        found = self.keys.get(key_id)
        problem = found[1].problem(at) if found else "is not one of its keys"
        if found is None or problem:
            raise StateError(
                Reason.ERROR_REASON_KEY_NOT_VALID,
                f"key {key_id} of {self.owner} {problem}; sign with an active key",
                metadata={"key_id": key_id, "owner": self.owner},
            )
        return found[0]


@dataclass(frozen=True, slots=True)
class MemberEntry:
    """A directory entry, parsed once. ``proto`` is the entry as it was signed."""

    proto: directory_pb2.Member
    roles: frozenset[int]
    statement_keys: StatementKeySet
    content_keys: Mapping[str, tuple[ContentPublicKey, Validity]]
    revoked_certificates: frozenset[bytes]

    @classmethod
    def from_proto(cls, proto: directory_pb2.Member) -> MemberEntry:
        """Parses an entry.

        Raises:
            MalformedError: a key of the entry cannot be parsed.
        """
        content_keys = {
            key.key_id: (ContentPublicKey.from_proto(key), _validity(key))
            for key in proto.content_keys
        }
        return cls(
            proto=proto,
            roles=frozenset(proto.roles),
            statement_keys=StatementKeySet.from_protos(
                proto.name, list(proto.statement_keys)
            ),
            content_keys=MappingProxyType(content_keys),
            revoked_certificates=frozenset(proto.revoked_certificates),
        )

    @property
    def name(self) -> str:
        """The member's SPIFFE ID."""
        return self.proto.name

    @property
    def active(self) -> bool:
        """Whether the member takes part."""
        return self.proto.status == _ACTIVE_MEMBER

    def usable_content_keys(self, at: datetime) -> dict[str, ContentPublicKey]:
        """Returns the content keys to which content may be sealed at a time."""
        return {
            key_id: key
            for key_id, (key, validity) in self.content_keys.items()
            if not validity.problem(at)
        }

    def covers(self, jurisdiction: str) -> bool:
        """Whether the member is competent for an ISO 3166 code.

        A country's code covers its subdivisions, and :data:`EVERYWHERE` all codes.
        """
        country = jurisdiction.partition("-")[0]
        wider = {jurisdiction, country, EVERYWHERE}
        return not wider.isdisjoint(self.proto.jurisdictions)


@dataclass(slots=True)
class DirectoryHistory:
    """All changes of all entries that a verifier has seen, by their place in the log.

    Changes of one member must be added in the log's order.
    """

    _indexes: dict[str, list[int]] = field(default_factory=dict)
    _entries: dict[str, list[MemberEntry]] = field(default_factory=dict)

    def add(self, log_index: int, member: directory_pb2.Member) -> None:
        """Adds the entry that is in force after ``log_index``.

        Raises:
            MalformedError: the entry cannot be parsed.
            ValueError: a later change of this member was added before.
        """
        indexes = self._indexes.setdefault(member.name, [])
        if indexes and indexes[-1] >= log_index:
            msg = f"changes of {member.name} are not in the log's order"
            raise ValueError(msg)
        self._entries.setdefault(member.name, []).append(MemberEntry.from_proto(member))
        indexes.append(log_index)

    def before(self, log_index: int, name: str) -> MemberEntry:
        """Returns the entry in force when ``log_index`` was appended.

        Raises:
            UnknownError: ``MEMBER_UNKNOWN``: no earlier change is known.
        """
        place = bisect_left(self._indexes.get(name, []), log_index)
        if place == 0:
            raise UnknownError(
                Reason.ERROR_REASON_MEMBER_UNKNOWN,
                f"no directory change of {name} comes before log entry {log_index}",
                metadata={"member": name},
            )
        return self._entries[name][place - 1]


def _status_name(status: vocabulary_pb2.KeyStatus.ValueType) -> str:
    """Returns a status as people read it, known to this version or not."""
    if status not in vocabulary_pb2.KeyStatus.values():
        return f"of a status that this version does not know, {status}"
    name = vocabulary_pb2.KeyStatus.Name(status)
    return name.removeprefix("KEY_STATUS_").lower()


def _validity(
    key: directory_pb2.StatementKey | directory_pb2.ContentKey,
) -> Validity:
    """Returns the validity that a key's entry states."""
    return Validity(
        key.status,
        key.not_before_time.ToDatetime(tzinfo=UTC),
        key.not_after_time.ToDatetime(tzinfo=UTC),
    )
