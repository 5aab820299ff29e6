"""Which keys a member had at each place of the log, and when they may be used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from onward.core.directory import (
    ROLES_OF_KIND,
    DirectoryHistory,
    MemberEntry,
    StatementKeySet,
)
from onward.core.errors import MalformedError, StateError, UnknownError
from onward.core.keys import StatementPrivateKey
from onward.core.sealing import ContentPrivateKey
from onward.v1 import directory_pb2, vocabulary_pb2
from tests.support.chain_builder import OHIO, private_key, statement_key, timestamp

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)

ACTIVE = vocabulary_pb2.KEY_STATUS_ACTIVE
RETIRED = vocabulary_pb2.KEY_STATUS_RETIRED
REVOKED = vocabulary_pb2.KEY_STATUS_REVOKED


def listed(
    key: StatementPrivateKey,
    status: vocabulary_pb2.KeyStatus.ValueType = ACTIVE,
) -> directory_pb2.StatementKey:
    """Returns a key that is valid for a day from noon."""
    entry = statement_key(key, status)
    entry.not_before_time.CopyFrom(timestamp(NOON))
    entry.not_after_time.CopyFrom(timestamp(NOON + DAY))
    return entry


def member(
    *keys: directory_pb2.StatementKey, name: str = OHIO, **fields: object
) -> directory_pb2.Member:
    values = {"status": vocabulary_pb2.MEMBER_STATUS_ACTIVE} | fields
    return directory_pb2.Member(name=name, statement_keys=keys, **values)  # type: ignore[arg-type]


OLD, NEW = private_key("old"), private_key("new")


# --- keys


def test_an_active_key_is_usable_within_its_validity() -> None:
    keys = StatementKeySet.from_protos(OHIO, [listed(OLD)])
    for at in (NOON, NOON + DAY / 2, NOON + DAY - timedelta(microseconds=1)):
        assert keys.usable(OLD.key_id, at) == OLD.public


@pytest.mark.parametrize(
    ("key", "at", "why"),
    [
        (listed(OLD), NOON - timedelta(microseconds=1), "not valid before"),
        (listed(OLD), NOON + DAY, "not valid since"),
        (listed(OLD, RETIRED), NOON, "retired"),
        (listed(OLD, REVOKED), NOON, "revoked"),
        (listed(OLD, vocabulary_pb2.KEY_STATUS_UNSPECIFIED), NOON, "unspecified"),
        (listed(NEW), NOON, "not one of its keys"),
    ],
)
def test_any_other_key_is_not_usable(
    key: directory_pb2.StatementKey, at: datetime, why: str
) -> None:
    keys = StatementKeySet.from_protos(OHIO, [key])
    with pytest.raises(StateError, match=why) as error:
        keys.usable(OLD.key_id, at)
    assert error.value.reason_name == "KEY_NOT_VALID"
    assert error.value.metadata["key_id"] == OLD.key_id
    assert OHIO in error.value.message


def test_a_key_is_known_by_what_it_is() -> None:
    keys = StatementKeySet.from_protos(OHIO, [listed(OLD), listed(NEW)])
    assert keys.usable(NEW.key_id, NOON) == NEW.public
    assert keys.usable(OLD.key_id, NOON) == OLD.public


def test_a_key_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(MalformedError):
        StatementKeySet.from_protos(OHIO, [directory_pb2.StatementKey(jwk="{}")])


# --- entries


def content_key(
    suite: vocabulary_pb2.SealingSuite.ValueType,
    status: vocabulary_pb2.KeyStatus.ValueType = ACTIVE,
) -> directory_pb2.ContentKey:
    entry = ContentPrivateKey.generate(suite).public.to_proto()
    entry.status = status
    entry.not_before_time.CopyFrom(timestamp(NOON))
    entry.not_after_time.CopyFrom(timestamp(NOON + DAY))
    return entry


def test_content_is_sealed_to_active_keys_of_the_time() -> None:
    active = content_key(vocabulary_pb2.SEALING_SUITE_MLKEM768_X25519)
    second = content_key(vocabulary_pb2.SEALING_SUITE_P384)
    retired = content_key(vocabulary_pb2.SEALING_SUITE_P384, RETIRED)
    entry = MemberEntry.from_proto(member(content_keys=[active, second, retired]))
    assert set(entry.usable_content_keys(NOON)) == {active.key_id, second.key_id}
    assert entry.usable_content_keys(NOON + DAY) == {}


@pytest.mark.parametrize(
    ("jurisdictions", "code", "covered"),
    [
        (["US-OH"], "US-OH", True),
        (["US-OH"], "US-NV", False),
        (["US"], "US-NV", True),
        (["US"], "CA-ON", False),
        (["US-O"], "US-OH", False),
        (["US-OH", "US-NV"], "US-NV", True),
        ([], "US-OH", False),
        (["US"], "US", True),
        (["US-OH"], "US", False),
        (["*"], "US-OH", True),
        (["*"], "CA", True),
        (["US"], "*", False),
    ],
)
def test_a_country_covers_its_subdivisions_and_an_asterisk_everything(
    jurisdictions: list[str], code: str, covered: bool
) -> None:
    entry = MemberEntry.from_proto(member(jurisdictions=jurisdictions))
    assert entry.covers(code) is covered


@pytest.mark.parametrize(
    ("status", "active"),
    [
        (vocabulary_pb2.MEMBER_STATUS_ACTIVE, True),
        (vocabulary_pb2.MEMBER_STATUS_PENDING, False),
        (vocabulary_pb2.MEMBER_STATUS_SUSPENDED, False),
        (vocabulary_pb2.MEMBER_STATUS_UNSPECIFIED, False),
    ],
)
def test_only_active_members_take_part(
    status: vocabulary_pb2.MemberStatus.ValueType, active: bool
) -> None:
    assert MemberEntry.from_proto(member(status=status)).active is active


def test_every_kind_of_member_has_roles() -> None:
    kinds = set(vocabulary_pb2.MemberKind.values())
    assert set(ROLES_OF_KIND) == kinds - {vocabulary_pb2.MEMBER_KIND_UNSPECIFIED}
    agencies = {
        kind
        for kind, roles in ROLES_OF_KIND.items()
        if vocabulary_pb2.ROLE_PUBLISHER in roles
    }
    assert vocabulary_pb2.MEMBER_KIND_AUDITOR not in agencies
    assert vocabulary_pb2.MEMBER_KIND_OPERATOR not in agencies


# --- history


def history() -> DirectoryHistory:
    """Returns what an agency went through: enrolled at 5, its key replaced at 9."""
    found = DirectoryHistory()
    found.add(5, member(listed(OLD)))
    found.add(9, member(listed(OLD, RETIRED), listed(NEW)))
    return found


@pytest.mark.parametrize(
    ("log_index", "key"), [(6, OLD), (8, OLD), (9, OLD), (10, NEW), (10_000, NEW)]
)
def test_a_statement_is_judged_by_the_change_before_it(
    log_index: int, key: StatementPrivateKey
) -> None:
    keys = history().before(log_index, OHIO).statement_keys
    assert keys.usable(key.key_id, NOON) == key.public


def test_yesterdays_key_signs_nothing_today() -> None:
    keys = history().before(10, OHIO).statement_keys
    with pytest.raises(StateError, match="retired"):
        keys.usable(OLD.key_id, NOON)


@pytest.mark.parametrize(
    ("log_index", "name"), [(5, OHIO), (0, OHIO), (100, f"{OHIO}-2")]
)
def test_nobody_is_a_member_before_the_first_change(log_index: int, name: str) -> None:
    with pytest.raises(UnknownError) as error:
        history().before(log_index, name)
    assert error.value.reason_name == "MEMBER_UNKNOWN"


@pytest.mark.parametrize("log_index", [9, 8])
def test_changes_of_a_member_come_in_the_order_of_the_log(log_index: int) -> None:
    found = history()
    with pytest.raises(ValueError, match="order"):
        found.add(log_index, member(listed(NEW)))
    keys = found.before(10, OHIO).statement_keys
    assert keys.usable(NEW.key_id, NOON) == NEW.public


def test_members_have_histories_of_their_own() -> None:
    found = history()
    found.add(7, member(listed(NEW), name=f"{OHIO}-2"))
    assert found.before(8, f"{OHIO}-2").name == f"{OHIO}-2"
    keys = found.before(8, OHIO).statement_keys
    assert keys.usable(OLD.key_id, NOON) == OLD.public
