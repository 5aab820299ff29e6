"""Warnings and breaches in the log: each once, by its holder, whatever happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from onward.core.due import kind_name, role_name
from onward.core.errors import UnavailableError
from onward.core.statements import SignedStatement, parse_statement
from onward.core.verify import verify_bundle
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.alarming import (
    AT_ONCE,
    DeliveryAlarm,
    IntakeAlarm,
)
from onward_server.exchange.clock import timestamp_ms, to_timestamp
from onward_server.exchange.delivering import HandedOver
from onward_server.storage.contract import Topic, intake_subject
from tests.exchange.test_bundles import explain, trust
from tests.exchange.test_ledger import FailingStore
from tests.exchange.test_submission import acknowledged, transfer, transfer_of
from tests.support.world import (
    EXCHANGE,
    HOTLINE,
    NEVADA,
    START_MS,
    STATE_POLICE,
    SettableClock,
    World,
    open_world,
    populate,
)

V = vocabulary_pb2
MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Said:
    """A warning or breach, in words."""

    what: str
    kind: str
    role: str
    holder: str
    due_ms: int


async def alerts(world: World, member: str = EXCHANGE) -> list[Said]:
    """Returns all that a member has been alerted to, in the log's order."""
    indexes = await world.store.feed(member, Topic.ALERT, -1, 10_000)
    said = []
    for row in await world.store.statements(indexes):
        due = getattr(parse_statement(row.jws).message, row.kind).due
        kind, role = kind_name(due.kind), role_name(due.holder_role)
        said.append(Said(row.kind, kind, role, due.holder, timestamp_ms(due.due_time)))
    return said


async def words(world: World) -> list[tuple[str, str]]:
    """Returns the kinds of all that was said."""
    return [(said.what, said.kind) for said in await alerts(world)]


async def publish(world: World, **fields: Any) -> statement_pb2.Statement:
    """Publishes a referral, and returns it."""
    caller = world.caller(HOTLINE)
    done = await world.publishing.publish(caller, world.referral(**fields))
    return parse_statement(done.referral.jws).message


async def hand_over(world: World, recipient: str = STATE_POLICE) -> str:
    """Gives out what waits; returns the ``Handover``."""
    events = world.delivering.receive(world.caller(recipient), 16, lambda: None)
    async with aclosing(events) as stream:
        async for event in stream:
            if isinstance(event, HandedOver):
                return event.handover.jws
    raise AssertionError


async def receive(
    world: World,
    referral: statement_pb2.Statement,
    check: V.ContentCheck.ValueType = V.CONTENT_CHECK_VERIFIED,
) -> str:
    """Gives out what waits, and receives it; returns the ``Received``."""
    return await world.answer(
        STATE_POLICE,
        await hand_over(world),
        referral.id,
        received={
            "content_digest": referral.referral.content_digest,
            "check": check,
        },
    )


async def at(world: World, seconds: float) -> None:
    """Sets the time since the beginning, and lets the alarms have their turn twice."""
    world.clock.ms = START_MS + int(seconds * 1000)
    await world.alarming.turn()
    await world.alarming.turn()


# ------------------------------------------------------------------ every step, once


CLASSES = [
    ("IMMINENT_DANGER", 15 * MINUTE, 15 * MINUTE, 5 * MINUTE, 30 * MINUTE, DAY),
    ("MINOR", HOUR, DAY, 15 * MINUTE, 4 * HOUR, 3 * DAY),
    ("TIME_SENSITIVE", 4 * HOUR, 4 * HOUR, HOUR, 12 * HOUR, 7 * DAY),
    ("ROUTINE", DAY, DAY, 4 * HOUR, 72 * HOUR, 30 * DAY),
    ("INFORMATIONAL", 7 * DAY, 7 * DAY, DAY, 14 * DAY, None),
]
"""Class, pass on (warned at half), pass on (breach), deliver, acknowledge, outcome."""


@pytest.mark.parametrize("row", CLASSES, ids=lambda row: row[0])
async def test_what_is_not_done_is_warned_of_and_breached_once_in_every_class(
    world: World, row: tuple[str, float, float, float, float, float | None]
) -> None:
    name, aim, latest, deliver, acknowledge, outcome = row
    urgency = V.Urgency.ValueType(V.Urgency.Value(f"URGENCY_{name}"))
    await world.register(urgency=urgency)
    referral = await publish(world, urgency=urgency)
    moments = sorted({aim / 2, latest, deliver / 2, deliver})
    said: list[tuple[str, str]] = []
    for moment in moments:
        await at(world, moment - 0.001)
        assert await words(world) == said
        said += [("warning", "DELIVER")] if moment == deliver / 2 else []
        said += [("breach", "DELIVER")] if moment == deliver else []
        said += [("warning", "PASS_ON")] if moment == aim / 2 else []
        said += [("breach", "PASS_ON")] if moment == latest else []
        await at(world, moment)
        assert sorted(await words(world)) == sorted(said)
        said = await words(world)
    got = latest + deliver
    await at(world, got)
    received = await receive(world, referral)
    await at(world, got + acknowledge / 2)
    assert ("warning", "ACKNOWLEDGE") in await words(world)
    await at(world, got + acknowledge)
    assert ("breach", "ACKNOWLEDGE") in await words(world)
    role = {"reader_role": "watch officer"}
    await world.answer(STATE_POLICE, received, referral.id, acknowledgment=role)
    await at(world, 1000 * DAY)
    expected = {"PASS_ON", "DELIVER", "ACKNOWLEDGE"} | (
        {"OUTCOME"} if outcome else set()
    )
    assert {kind for what, kind in await words(world) if what == "breach"} == expected
    assert len(await words(world)) == len(set(await words(world)))
    by_kind = {said.kind: said.due_ms for said in await alerts(world)}
    due = {
        "PASS_ON": latest,
        "DELIVER": deliver,
        "ACKNOWLEDGE": got + acknowledge,
        **({"OUTCOME": got + outcome} if outcome else {}),
    }
    assert by_kind == {k: START_MS + int(v * 1000) for k, v in due.items()}


async def test_it_is_said_who_holds_a_delivery(world: World) -> None:
    referral = await publish(world)
    await at(world, 2 * HOUR)
    (held,) = await alerts(world)
    assert (held.role, held.holder) == ("EXCHANGE", EXCHANGE)
    await receive(world, referral, V.CONTENT_CHECK_CANNOT_OPEN)
    await at(world, 4 * HOUR)
    (_, held) = await alerts(world)
    assert (held.role, held.holder) == ("PUBLISHER", HOTLINE)


async def test_what_went_out_and_was_not_confirmed_is_held_by_the_recipient(
    world: World,
) -> None:
    await publish(world)
    await hand_over(world)
    await at(world, 4 * HOUR)
    (held,) = await alerts(world)
    assert (held.what, held.role, held.holder) == ("breach", "RECIPIENT", STATE_POLICE)


async def test_each_whom_it_concerns_is_alerted_and_nobody_else(world: World) -> None:
    await world.register()
    both = {"recipients": (STATE_POLICE, NEVADA), "urgency": V.URGENCY_IMMINENT_DANGER}
    await publish(world, basis=V.DISCLOSURE_BASIS_IMMINENT_DANGER, **both)
    await at(world, DAY)
    everything = await alerts(world)
    assert len(everything) == 3
    assert await alerts(world, HOTLINE) == everything
    for recipient in (STATE_POLICE, NEVADA):
        (its,) = await alerts(world, recipient)
        assert its.kind == "DELIVER"
    # A publisher hears of it among the news of its referrals as well.
    indexes = await world.store.feed(HOTLINE, Topic.CUSTODY, -1, 100)
    kinds = [row.kind for row in await world.store.statements(indexes)]
    assert kinds.count("breach") == 3


async def test_a_statement_about_an_intake_names_it_and_stands_with_it(
    world: World,
) -> None:
    intake = await world.register()
    await at(world, 12 * HOUR)
    rows = await world.store.intake_statements(HOTLINE, 1)
    assert [row.kind for row in rows] == ["intake", "warning"]
    message = parse_statement(rows[1].jws).message
    assert message.previous == intake.digest
    assert (message.warning.due.hotline, message.warning.due.intake_number) == (
        HOTLINE,
        1,
    )
    assert rows[1].places == ("US-OH",)
    assert rows[1].subject == intake_subject(HOTLINE, 1)


async def test_a_chain_with_warnings_and_breaches_is_proven(world: World) -> None:
    referral = await publish(world)
    await at(world, 3 * HOUR)
    await at(world, 5 * HOUR)
    await receive(world, referral)
    await at(world, 9 * DAY)
    for name in (HOTLINE, STATE_POLICE):
        data = await world.records.bundle(world.caller(name), referral.id)
        report = verify_bundle(data, trust(world))
        assert report.exit_code == 0, explain(data, trust(world))
        kinds = [
            parse_statement(item["statement"]).body_kind
            for item in json.loads(data)["statements"]
        ]
        assert kinds.count("breach") == 2
        assert kinds.count("warning") == 1


async def test_tests_are_warned_of_as_all_else_is(world: World) -> None:
    await world.register(test=True)
    await publish(world, test=True)
    await at(world, DAY)
    assert sorted(await words(world)) == [("breach", "DELIVER"), ("breach", "PASS_ON")]


# -------------------------------------------------------------------- what ends it


Ending = Callable[[World], Awaitable[None]]


async def declined(world: World) -> None:
    chain = await acknowledged(world)
    decline = {"reason": V.DECLINE_REASON_NO_CAPACITY}
    await world.answer(
        STATE_POLICE, chain.acknowledged, chain.referral_id, decline=decline
    )


async def transferred(world: World) -> None:
    chain = await acknowledged(world)
    child = transfer_of(world, chain, STATE_POLICE, NEVADA)
    jws = transfer(world, chain, STATE_POLICE, child)
    await world.submission.submit(world.caller(STATE_POLICE), jws, child)
    child_id = parse_statement(child.jws).message.id
    await world.erasing.by_publisher(world.caller(STATE_POLICE), child_id)


async def retracted(world: World) -> None:
    chain = await acknowledged(world)
    retraction = {"reason": V.RETRACTION_REASON_SENT_IN_ERROR}
    await world.answer(
        HOTLINE, chain.referral, chain.referral_id, retraction=retraction
    )


async def retracted_before_it_went_out(world: World) -> None:
    caller = world.caller(HOTLINE)
    done = await world.publishing.publish(caller, world.referral())
    retraction = {"reason": V.RETRACTION_REASON_CONSENT_WITHDRAWN}
    referral_id = parse_statement(done.referral.jws).message.id
    await world.answer(HOTLINE, done.referral.jws, referral_id, retraction=retraction)


async def erased_before_it_went_out(world: World) -> None:
    referral = await publish(world)
    await world.erasing.by_publisher(world.caller(HOTLINE), referral.id)


async def answered(world: World) -> None:
    chain = await acknowledged(world)
    taken = await world.answer(
        STATE_POLICE, chain.acknowledged, chain.referral_id, taking={}
    )
    outcome = {"code": V.OUTCOME_CODE_ASSIGNED}
    await world.answer(STATE_POLICE, taken, chain.referral_id, outcome=outcome)


async def passed_on(world: World) -> None:
    await world.register()
    referral = await publish(world, intake_numbers=[1])
    await receive(world, referral)
    signed = (await world.store.chain(referral.id))[0].jws
    retraction = {"reason": V.RETRACTION_REASON_SENT_IN_ERROR}
    await world.answer(HOTLINE, signed, referral.id, retraction=retraction)


async def withheld(world: World) -> None:
    intake = await world.register()
    await world.decide(
        intake,
        withholding={
            "intake_number": 1,
            "reason": V.WITHHOLD_REASON_NO_TRAFFICKING_INDICATORS,
            "approver_role": "shift supervisor",
        },
    )


@pytest.mark.parametrize(
    "ending",
    [
        declined,
        transferred,
        retracted,
        retracted_before_it_went_out,
        erased_before_it_went_out,
        answered,
        passed_on,
        withheld,
    ],
)
async def test_what_has_ended_is_never_due(world: World, ending: Ending) -> None:
    await ending(world)
    assert await world.store.next_alarm() is None
    await at(world, 1000 * DAY)
    assert await alerts(world) == []


# --------------------------------------------------------------- intakes, held back


async def provisionally_withheld(world: World) -> SignedStatement:
    """Registers a tip, and withholds it for ten days."""
    intake = await world.register()
    await world.decide(intake, withholding=consent_pending(world, 10 * DAY))
    return intake


def consent_pending(world: World, seconds: float) -> dict[str, Any]:
    """Returns a withholding to be decided again."""
    return {
        "intake_number": 1,
        "reason": V.WITHHOLD_REASON_CONSENT_PENDING,
        "approver_role": "shift supervisor",
        "review_time": to_timestamp(world.clock.ms + int(seconds * 1000)),
    }


async def state(world: World) -> int:
    """Returns the state of the first intake."""
    row = await world.store.intake(HOTLINE, 1)
    assert row
    return row.state


async def test_a_review_that_is_not_made_opens_the_intake_again(world: World) -> None:
    await provisionally_withheld(world)
    await at(world, 5 * DAY)
    assert await words(world) == [("warning", "REVIEW")]
    assert await state(world) == V.INTAKE_STATE_WITHHELD
    await at(world, 10 * DAY)
    assert await words(world) == [("warning", "REVIEW"), ("breach", "REVIEW")]
    assert await state(world) == V.INTAKE_STATE_OPEN
    await at(world, 11 * DAY)
    (_, _, last) = await alerts(world)
    assert (last.what, last.kind) == ("breach", "PASS_ON")
    assert last.due_ms == START_MS + int(11 * DAY * 1000)


async def test_a_late_review_was_late_though_nobody_had_looked(world: World) -> None:
    intake = await provisionally_withheld(world)
    world.clock.advance(12 * DAY)
    await world.decide(intake, withholding=consent_pending(world, DAY))
    assert await words(world) == [("breach", "REVIEW")]
    rows = await world.store.intake_statements(HOTLINE, 1)
    assert [row.kind for row in rows][2:] == ["breach", "withholding"]
    assert await state(world) == V.INTAKE_STATE_WITHHELD


async def test_a_hold_puts_the_breach_off_and_not_the_record(world: World) -> None:
    intake = await world.register()
    await at(world, 13 * HOUR)
    hold = {"intake_number": 1, "approver_role": "supervisor", "reason": "interpreter"}
    await world.decide(intake, hold=hold)
    await at(world, 35 * HOUR)
    assert await words(world) == [("warning", "PASS_ON")]
    await at(world, 36 * HOUR)
    await at(world, 72 * HOUR)
    what = [said.what for said in await alerts(world)]
    assert what == ["warning", "warning", "breach"]


async def test_a_tip_that_is_registered_late_is_late_and_passing_it_on_hides_nothing(
    world: World,
) -> None:
    days_ago = to_timestamp(world.clock.ms - int(3 * DAY * 1000))
    await world.register(received_time=days_ago)
    await publish(world, intake_numbers=[1])
    assert await words(world) == [("breach", "PASS_ON")]
    assert await state(world) == V.INTAKE_STATE_PASSED_ON


# -------------------------------------------------------- late steps, clocks, crashes


async def test_a_step_that_comes_late_does_not_take_back_the_breach(
    world: World,
) -> None:
    referral = await publish(world)
    handover = await hand_over(world)
    world.clock.advance(5 * HOUR)  # nobody looked meanwhile
    content = {"content_digest": referral.referral.content_digest, "check": 1}
    await world.answer(STATE_POLICE, handover, referral.id, received=content)
    (said,) = await alerts(world)
    assert (said.what, said.role, said.kind) == ("breach", "RECIPIENT", "DELIVER")
    kinds = [row.kind for row in await world.store.chain(referral.id)]
    assert kinds[-2:] == ["breach", "received"]
    await world.alarming.turn()
    assert len(await alerts(world)) == 1


@pytest.mark.parametrize(
    "end", [retracted_before_it_went_out, erased_before_it_went_out]
)
async def test_what_ends_late_was_late(
    world: World, end: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing, now = world.publishing.publish, world.clock

    async def publish_and_forget(*of: Any) -> Any:
        done = await publishing(*of)
        now.advance(5 * HOUR)
        return done

    monkeypatch.setattr(world.publishing, "publish", publish_and_forget)
    await end(world)
    (said,) = await alerts(world)
    assert (said.what, said.role) == ("breach", "EXCHANGE")
    assert await world.store.next_alarm() is None


async def test_a_step_in_the_commit_of_its_deadline_is_followed_by_nothing(
    world: World,
) -> None:
    referral = await publish(world)
    handover = await hand_over(world)
    content = {"content_digest": referral.referral.content_digest, "check": 1}
    world.clock.advance(4 * HOUR - 0.001)
    received = world.answer(STATE_POLICE, handover, referral.id, received=content)
    alarm = world.ledger.apply(DeliveryAlarm(referral.id, STATE_POLICE))
    await asyncio.gather(received, alarm)
    assert await words(world) == [("warning", "DELIVER")]
    kinds = [row.kind for row in await world.store.chain(referral.id)]
    assert sorted(kinds[-2:]) == ["received", "warning"]
    assert kinds[-2:] == ["warning", "received"]


async def test_many_alarms_at_once_say_it_once(world: World) -> None:
    referral = await publish(world)
    await world.register()
    world.clock.advance(DAY)
    await asyncio.gather(
        *(world.alarming.turn() for _ in range(10)),
        *(
            world.ledger.apply(alarm)
            for _ in range(10)
            for alarm in (
                DeliveryAlarm(referral.id, STATE_POLICE),
                IntakeAlarm(HOTLINE, 1),
            )
        ),
    )
    assert sorted(await words(world)) == [("breach", "DELIVER"), ("breach", "PASS_ON")]


async def test_a_clock_that_goes_back_and_forth_changes_nothing(world: World) -> None:
    await publish(world)
    for hours in (1, 3, 1, 3, -20, 5, 0, 2, 4, 200, -500, 3):
        await at(world, hours * HOUR)
    assert await words(world) == [("warning", "DELIVER"), ("breach", "DELIVER")]


async def test_a_clock_that_went_back_between_looking_and_planning_says_nothing(
    world: World,
) -> None:
    referral = await publish(world)
    await at(world, HOUR)
    await world.ledger.apply(DeliveryAlarm(referral.id, STATE_POLICE))
    assert await alerts(world) == []
    assert await world.store.next_alarm() == START_MS + int(2 * HOUR * 1000)


async def test_a_restart_between_loses_nothing_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    clock = SettableClock()
    async with open_world(tmp_path, clock) as world:
        await populate(world)
        await publish(world)
        await world.register()
        await at(world, 2 * HOUR)
    clock.ms = START_MS + int(30 * HOUR * 1000)
    for _ in range(3):
        async with open_world(tmp_path, clock) as world:
            await world.alarming.turn()
    async with open_world(tmp_path, clock) as world:
        assert sorted(await words(world)) == [
            ("breach", "DELIVER"),
            ("breach", "PASS_ON"),
            ("warning", "DELIVER"),
        ]


@pytest.fixture
async def failing(world: World) -> AsyncIterator[FailingStore]:
    """A store that can fail, beneath the ledger of the world."""
    store = FailingStore(world.store)
    world.ledger._store = store
    yield store
    world.ledger._store = world.store


@pytest.mark.parametrize("how", ["not persisted", "persisted but reported failed"])
async def test_a_commit_that_fails_either_way_says_each_thing_once(
    world: World, failing: FailingStore, how: str
) -> None:
    await publish(world)
    world.clock.advance(2 * HOUR)
    failing.fail = how
    if how == "not persisted":
        with pytest.raises(UnavailableError):
            await world.alarming.turn()
    await world.alarming.turn()
    assert await words(world) == [("warning", "DELIVER")]


async def test_more_than_one_page_is_said_in_one_turn(world: World) -> None:
    many = AT_ONCE + 20
    for _ in range(many):
        await world.register()
    world.clock.advance(DAY)
    await world.alarming.turn()
    assert await words(world) == [("breach", "PASS_ON")] * many
    assert await world.store.next_alarm() is None


async def test_it_is_known_for_how_long_something_has_not_been_said(
    world: World,
) -> None:
    assert await world.alarming.late() == 0
    await publish(world)
    assert await world.alarming.late() == 0
    world.clock.advance(2 * HOUR + 30)
    assert await world.alarming.late() == 30
    await world.alarming.turn()
    assert await world.alarming.late() == 0
