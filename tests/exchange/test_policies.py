"""Policies: which one is in force at each place of the log, and changing it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from onward.core.errors import Reason, StateError, UnknownError
from onward.core.policy_sets import policy_digest
from onward.core.statements import parse_statement
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.clock import to_datetime
from onward_server.exchange.policies import PolicyChange
from onward_server.exchange.policy import DisclosurePolicy
from onward_server.exchange.policy_files import (
    PolicyInvalidError,
    default_policy_folder,
    read_policy_files,
)
from onward_server.exchange.publishing import DisclosureForbiddenError
from tests.support.world import (
    EXCHANGE,
    HOTLINE,
    STATE_POLICE,
    SettableClock,
    World,
    open_world,
    populate,
)

DEFAULT = dict(read_policy_files(default_policy_folder()))
OHIO_STOPS = """
@id("ohio-stops")
@citation("Ohio Rev. Code (fictional)")
@sentence("Nothing that points to Ohio is passed on.")
forbid (principal, action == Action::"pass-on", resource);
"""
STRICT = DEFAULT | {"VERSION": "strict-1\n", "US-OH.cedar": OHIO_STOPS}
SLOW = DEFAULT | {
    "VERSION": "slow-1\n",
    "deadlines.toml": DEFAULT["deadlines.toml"]
    + '\n[jurisdiction.US-OH.ROUTINE]\ndeliver = "9 h"\n',
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        await populate(opened)
        yield opened


async def apply(world: World, texts: Mapping[str, str]) -> statement_pb2.PolicyChange:
    """Puts a set in force, in the place of the one that is; returns what was logged."""
    caller = world.caller(STATE_POLICE)
    logged = await world.policies.apply(caller, texts, world.ledger.policy.digest)
    return parse_statement(logged.jws).message.policy_change


async def publish(world: World) -> statement_pb2.Acceptance:
    """Publishes a referral that the default set permits."""
    done = await world.publishing.publish(world.caller(HOTLINE), world.referral())
    return parse_statement(done.acceptance.jws).message.acceptance


async def refused(world: World) -> statement_pb2.Rejection:
    """Publishes the same, and expects the refusal."""
    with pytest.raises(DisclosureForbiddenError) as error:
        await publish(world)
    return parse_statement(error.value.rejection.jws).message.rejection


async def changes(world: World) -> list[statement_pb2.Statement]:
    return [parse_statement(one.jws).message for one in await world.policies.changes()]


async def test_an_exchange_begins_with_the_default_set(world: World) -> None:
    (change,) = await changes(world)
    assert change.issuer == EXCHANGE
    assert not change.previous
    assert change.policy_change == statement_pb2.PolicyChange(
        policy_version=DEFAULT["VERSION"].strip(),
        policy_digest=policy_digest(DEFAULT),
        requested_by=EXCHANGE,
    )
    kept = await world.policies.get(b"")
    assert kept.files == DEFAULT


async def test_the_beginning_is_logged_once(world: World) -> None:
    size = world.ledger.head().size
    await asyncio.gather(*(world.policies.begin() for _ in range(5)))
    assert world.ledger.head().size == size


async def test_each_change_names_the_one_before_it(world: World) -> None:
    applied = await apply(world, STRICT)
    assert applied == statement_pb2.PolicyChange(
        policy_version="strict-1",
        policy_digest=policy_digest(STRICT),
        requested_by=STATE_POLICE,
    )
    await apply(world, DEFAULT)
    logged = await world.policies.changes()
    digests = [parse_statement(one.jws).digest for one in logged]
    assert [item.previous for item in await changes(world)] == [b"", *digests[:2]]


async def test_a_referral_is_judged_by_the_policy_at_its_place(world: World) -> None:
    first = await publish(world)
    await apply(world, STRICT)
    rejection = await refused(world)
    await apply(world, DEFAULT)
    last = await publish(world)
    assert first.policy_digest == last.policy_digest == policy_digest(DEFAULT)
    assert rejection.policy_digest == policy_digest(STRICT)
    assert (rejection.policy_version, rejection.rule) == ("strict-1", "ohio-stops")


async def test_what_was_verified_before_a_change_is_judged_after_it(
    world: World,
) -> None:
    sending = world.referral()
    statement = parse_statement(sending.jws)
    caller = world.caller(HOTLINE)
    publication = await world.publishing.verify(caller, statement, sending)
    await apply(world, STRICT)
    referral, answer = await world.ledger.apply(publication)
    rejection = parse_statement(answer.jws).message.rejection
    assert (rejection.policy_version, rejection.rule) == ("strict-1", "ohio-stops")
    assert answer.log_index == referral.log_index + 1


async def test_consent_that_ends_before_the_commit_refuses(
    world: World,
) -> None:
    consent = statement_pb2.Consent(state=vocabulary_pb2.CONSENT_STATE_GRANTED)
    end = to_datetime(world.clock.ms) + timedelta(seconds=1)
    consent.expire_time.FromDatetime(end)
    sending = world.referral(
        basis=vocabulary_pb2.DISCLOSURE_BASIS_VICTIM_WRITTEN_RELEASE,
        reporter_type=vocabulary_pb2.REPORTER_TYPE_POTENTIAL_VICTIM,
        consent=consent,
    )
    statement = parse_statement(sending.jws)
    caller = world.caller(HOTLINE)
    publication = await world.publishing.verify(caller, statement, sending)
    world.clock.advance(1)
    _, answer = await world.ledger.apply(publication)
    body = parse_statement(answer.jws).message
    assert body.rejection.rule == "victim-declined"


async def test_a_retry_gets_its_first_answer_under_another_policy(
    world: World,
) -> None:
    sending = world.referral()
    first = await world.publishing.publish(world.caller(HOTLINE), sending)
    await apply(world, STRICT)
    again = await world.publishing.publish(world.caller(HOTLINE), sending)
    assert again == first


async def test_every_answer_names_the_last_change_before_it(world: World) -> None:
    """However publishing and applying interleave, the log's order decides."""
    done = asyncio.Event()

    async def alternate() -> None:
        for number in range(6):
            await apply(world, DEFAULT if number % 2 else STRICT)
        done.set()

    async def go_on_publishing() -> None:
        while not done.is_set():
            with suppress(DisclosureForbiddenError):
                await publish(world)

    await asyncio.gather(alternate(), *(go_on_publishing() for _ in range(4)))
    rows = await world.store.statements(range(world.ledger.head().size))
    in_force, seen = b"", set()
    for row in rows:
        body = parse_statement(row.jws).message
        if row.kind == "policy_change":
            in_force = body.policy_change.policy_digest
        if row.kind in {"acceptance", "rejection"}:
            answer = body.acceptance if row.kind == "acceptance" else body.rejection
            assert answer.policy_digest == in_force
            assert (row.kind == "rejection") == (in_force == policy_digest(STRICT))
            seen.add(row.kind)
    assert seen == {"acceptance", "rejection"}


async def test_deadlines_are_those_of_the_policy_in_force(world: World) -> None:
    before = await publish(world)
    await apply(world, SLOW)
    after = await publish(world)
    hours = [
        (each.deadlines[0].deliver_by_time.seconds * 1000 - world.clock.ms) // 3_600_000
        for each in (before, after)
    ]
    assert hours == [4, 9]


async def test_the_set_in_force_is_not_logged_again(world: World) -> None:
    applied = await apply(world, STRICT)
    size = world.ledger.head().size
    assert await apply(world, STRICT) == applied
    stale = policy_digest(DEFAULT)
    caller = world.caller(STATE_POLICE)
    again = await world.policies.apply(caller, STRICT, stale)
    assert parse_statement(again.jws).message.policy_change == applied
    assert world.ledger.head().size == size


async def test_nobody_undoes_a_change_that_they_have_not_seen(world: World) -> None:
    seen = world.ledger.policy.digest
    await apply(world, STRICT)
    with pytest.raises(StateError) as error:
        await world.policies.apply(world.caller(STATE_POLICE), SLOW, seen)
    assert error.value.reason == Reason.ERROR_REASON_POLICY_CHANGED
    assert error.value.metadata["digest"] == policy_digest(STRICT).hex()
    assert world.ledger.policy.version == "strict-1"


async def test_of_two_who_apply_at_once_one_wins(world: World) -> None:
    caller, seen = world.caller(STATE_POLICE), world.ledger.policy.digest
    results = await asyncio.gather(
        *(
            world.policies.apply(caller, texts, seen)
            for texts in (STRICT, SLOW, STRICT, SLOW)
        ),
        return_exceptions=True,
    )
    lost = [item for item in results if isinstance(item, StateError)]
    assert len(lost) == 2
    assert {item.reason for item in lost} == {Reason.ERROR_REASON_POLICY_CHANGED}
    assert len(await changes(world)) == 2


async def test_a_set_that_is_not_sound_changes_nothing(world: World) -> None:
    size = world.ledger.head().size
    broken = STRICT | {"US-OH.cedar": OHIO_STOPS.replace("forbid", "forbidden")}
    with pytest.raises(PolicyInvalidError, match="line 2: rule ohio-stops") as error:
        await apply(world, broken)
    assert error.value.reason == Reason.ERROR_REASON_POLICY_INVALID
    assert world.ledger.head().size == size


async def test_earlier_sets_are_kept_whole(world: World) -> None:
    await apply(world, STRICT)
    await apply(world, SLOW)
    kept = await world.policies.get(policy_digest(STRICT))
    assert kept.files == STRICT
    assert list(kept.files) == sorted(STRICT)
    assert (await world.policies.get(b"")).files == SLOW
    with pytest.raises(UnknownError) as error:
        await world.policies.get(b"\7" * 32)
    assert error.value.reason == Reason.ERROR_REASON_POLICY_UNKNOWN


async def test_the_policy_outlives_a_restart(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await populate(world)
        await apply(world, STRICT)
        head = world.ledger.head()
    async with open_world(tmp_path, SettableClock()) as again:
        assert again.ledger.policy.digest == policy_digest(STRICT)
        assert again.ledger.head() == head
        assert len(await again.policies.changes()) == 2


async def force(world: World, **texts: str) -> None:
    """Puts in force what no release would take, as another release may have."""
    present = world.ledger.policy
    files = dict(present.policy_set.files) | {
        name.replace("_", "."): text for name, text in texts.items()
    }
    other = replace(present.policy_set, files=files, digest=policy_digest(files))
    change = PolicyChange(DisclosurePolicy(other), present.digest, EXCHANGE)
    await world.ledger.apply(change)


async def test_a_set_of_an_earlier_release_stays_in_force(tmp_path: Path) -> None:
    older = DEFAULT["schema.cedarschema"].replace("    test: Bool,\n", "", 1)
    async with open_world(tmp_path) as world:
        await force(world, schema_cedarschema=older)
        digest = world.ledger.policy.digest
    async with open_world(tmp_path) as again:
        await populate(again)
        assert (await publish(again)).policy_digest == digest


async def test_an_exchange_does_not_start_with_a_set_that_it_cannot_use(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path) as world:
        await force(world, default_cedar="permit (principal);")
    with pytest.raises(StateError, match="Start the release before") as error:
        async with open_world(tmp_path):
            pass
    assert error.value.reason == Reason.ERROR_REASON_POLICY_INVALID
