"""Policy sets, as they were put in force."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onward_server.storage.contract import MemberRow, PolicyRow, Standing, Store
from tests.storage.scribe import OHIO, Scribe, digest_of


@pytest.fixture
async def sets(store: Store, scribe: Scribe) -> list[PolicyRow]:
    """The first set, another, and the first again."""
    rows = []
    for version in ("1", "2", "1"):
        statement = scribe.say("policy_change")
        files = f'{{"VERSION": "{version}", "\N{SNOWMAN}.cedar": "\\"\\\\"}}'
        row = PolicyRow(statement.log_index, digest_of(version), version, files)
        scribe.batch.policies.append(row)
        rows.append(row)
    await scribe.commit(store)
    return rows


async def test_policy_in_force_is_the_last(
    store: Store, sets: list[PolicyRow], scribe: Scribe
) -> None:
    assert await store.policy(b"") == sets[2]
    statement = scribe.say("policy_change")
    row = PolicyRow(statement.log_index, digest_of("3"), "3", "{}")
    scribe.batch.policies.append(row)
    await scribe.commit(store)
    assert await store.policy(b"") == row


async def test_policy_by_digest_as_put_in_force_last(
    store: Store, sets: list[PolicyRow]
) -> None:
    assert await store.policy(digest_of("1")) == sets[2]
    assert await store.policy(digest_of("2")) == sets[1]
    assert await store.policy(digest_of("4")) is None


async def test_policies_are_listed_without_files(
    store: Store, sets: list[PolicyRow]
) -> None:
    assert await store.policies() == [replace(row, files="") for row in sets]


async def test_no_policy(store: Store) -> None:
    assert await store.policies() == []
    assert await store.policy(b"") is None


async def test_standing_of_nothing(store: Store) -> None:
    assert await store.standing() == Standing(None, -1, -1)


async def test_standing_names_the_newest_changes(
    store: Store, sets: list[PolicyRow], scribe: Scribe
) -> None:
    change = scribe.say("directory_change", subject=OHIO)
    scribe.batch.members[OHIO] = MemberRow(OHIO, b"", change.log_index)
    await scribe.commit(store)
    head = await store.head()
    assert await store.standing() == Standing(head, 3, 2)
