"""How each kind of change turns one directory entry into the next.

Pure functions from one ``onward.v1.Member`` to another. None changes its argument, so
what is refused leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias, TypeVar

from onward.core.errors import Reason, StateError
from onward.v1 import directory_pb2, vocabulary_pb2
from onward_server.exchange.clock import timestamp_ms
from onward_server.exchange.issuing import Terms
from onward_server.exchange.possession import Offer

MAX_REVOKED_CERTIFICATES: Final = 128

MAX_FORMER_KEYS: Final = 12
"""Retired and revoked keys of one use that an entry still lists. A whole entry is in
each ``DirectoryChange``, which has at most 64 KiB; what an entry does not list any more
stands in the changes before."""

_ACTIVE: Final = vocabulary_pb2.KEY_STATUS_ACTIVE
_RETIRED: Final = vocabulary_pb2.KEY_STATUS_RETIRED
_REVOKED: Final = vocabulary_pb2.KEY_STATUS_REVOKED

_Key: TypeAlias = directory_pb2.StatementKey | directory_pb2.ContentKey
K = TypeVar("K", directory_pb2.StatementKey, directory_pb2.ContentKey)
M = TypeVar(
    "M", directory_pb2.Member, directory_pb2.StatementKey, directory_pb2.ContentKey
)


def with_keys(
    member: directory_pb2.Member, offer: Offer, terms: Terms, now_ms: int
) -> directory_pb2.Member:
    """Returns an entry in which the offered keys are the active ones.

    For each use of which the offer has keys: new ones are active from now on; those
    that are active already stay as they are; all other active ones are retired.

    Raises:
        StateError: KEY_NOT_VALID: an offered key was retired or revoked, or expired.
    """
    validity = terms.validity(now_ms)
    statement_keys = {
        key.key_id: directory_pb2.StatementKey(
            key_id=key.key_id, jwk=key.jwk, status=_ACTIVE, **validity
        )
        for key in offer.statement_keys
    }
    content_keys = {
        key.key_id: directory_pb2.ContentKey(
            key_id=key.key_id,
            suite=key.suite,
            public_key=key.raw,
            status=_ACTIVE,
            **validity,
        )
        for key in offer.content_keys
    }
    changed = _copy(member)
    changed.ClearField("statement_keys")
    changed.statement_keys.extend(
        _replaced(member.statement_keys, statement_keys, now_ms)
    )
    changed.ClearField("content_keys")
    changed.content_keys.extend(_replaced(member.content_keys, content_keys, now_ms))
    return changed


def has_exactly(member: directory_pb2.Member, offer: Offer) -> bool:
    """Whether the offered keys are already the active ones, of the uses offered."""
    return all(
        not offered or active == {key.key_id for key in offered}
        for active, offered in (
            (_active_ids(member.statement_keys), offer.statement_keys),
            (_active_ids(member.content_keys), offer.content_keys),
        )
    )


def with_status(
    member: directory_pb2.Member, status: vocabulary_pb2.MemberStatus.ValueType
) -> directory_pb2.Member:
    """Returns an entry with another status."""
    changed = _copy(member)
    changed.status = status
    return changed


def with_revoked_key(
    member: directory_pb2.Member, key_id: str
) -> directory_pb2.Member | None:
    """Returns an entry in which a key is revoked; None if it is already.

    Raises:
        StateError: KEY_NOT_VALID: the entry has no such key.
    """
    changed = _copy(member)
    keys: list[_Key] = [*changed.statement_keys, *changed.content_keys]
    for key in keys:
        if key.key_id == key_id:
            if key.status == _REVOKED:
                return None
            key.status = _REVOKED
            return changed
    raise StateError(
        Reason.ERROR_REASON_KEY_NOT_VALID,
        f"{member.name} has no key with the id that was given; "
        "`onward-server member show` lists its keys",
        metadata={"member": member.name},
    )


def with_revoked_certificate(
    member: directory_pb2.Member, fingerprint: bytes
) -> directory_pb2.Member | None:
    """Returns an entry in which a certificate is revoked; None if it is already.

    Raises:
        StateError: STATE_FORBIDS: too many were revoked.
    """
    if fingerprint in member.revoked_certificates:
        return None
    if len(member.revoked_certificates) >= MAX_REVOKED_CERTIFICATES:
        raise StateError(
            Reason.ERROR_REASON_STATE_FORBIDS,
            f"{member.name} has {MAX_REVOKED_CERTIFICATES} revoked certificates, and "
            "its entry holds no more; suspend it, and add it again by another name",
        )
    changed = _copy(member)
    changed.revoked_certificates.append(fingerprint)
    return changed


def _replaced(keys: Iterable[K], offered: Mapping[str, K], now_ms: int) -> list[K]:
    """Returns the keys of one use after the offered ones became the active ones."""
    if not offered:
        return list(keys)
    active: dict[str, K] = dict(offered)
    former: list[K] = []
    for key in keys:
        if key.key_id not in offered:
            former.append(_retired(key))
        elif key.status == _ACTIVE and now_ms < timestamp_ms(key.not_after_time):
            active[key.key_id] = key
        else:
            raise StateError(
                Reason.ERROR_REASON_KEY_NOT_VALID,
                f"key {key.key_id} was retired, revoked or has expired; make a new one",
                metadata={"key_id": key.key_id},
            )
    listed = _still_listed(former)
    listed.extend(active.values())
    return listed


def _retired(key: K) -> K:
    """Returns a key that is not active any more."""
    retired = _copy(key)
    retired.status = _RETIRED if key.status == _ACTIVE else key.status
    return retired


def _still_listed(former: list[K]) -> list[K]:
    """Returns the former keys that stay listed; the oldest retired ones go first."""
    excess = max(0, len(former) - MAX_FORMER_KEYS)
    going = sorted(former, key=lambda key: key.status == _REVOKED)[:excess]
    gone = {key.key_id for key in going}
    return [key for key in former if key.key_id not in gone]


def _active_ids(keys: Iterable[_Key]) -> set[str]:
    return {key.key_id for key in keys if key.status == _ACTIVE}


def _copy(message: M) -> M:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
