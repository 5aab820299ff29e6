"""Completeness: received = passed on + withheld + duplicates + open, whatever happens.

Random lives of two hotlines are played against a real ledger and database, steps of one
group at the same time. Then the states are computed once more from the log alone, by
the functions that an auditor runs, and compared with what the exchange's tables say.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onward.core import intakes
from onward.core.errors import OnwardError, UnavailableError
from onward.core.statements import parse_statement
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.clock import to_timestamp
from onward_server.storage.contract import WHOLE, IntakeRow, StatementRow
from tests.support.world import (
    STATE_POLICE,
    TRUST_DOMAIN,
    Party,
    World,
    open_world,
    populate,
)

V = vocabulary_pb2
CHILD_WELFARE = f"spiffe://{TRUST_DOMAIN}/agency/ohio-child-welfare"
SHELTER = f"spiffe://{TRUST_DOMAIN}/agency/shelter"
AGENCIES = (STATE_POLICE, CHILD_WELFARE, SHELTER)
HOUR = 3600
MEMBERS = count()
NOBODY = intakes.Reach(0)

AT_WISH: dict[str, Any] = {
    "reporter_type": V.REPORTER_TYPE_POTENTIAL_VICTIM,
    "basis": V.DISCLOSURE_BASIS_VICTIM_WRITTEN_RELEASE,
    "consent": statement_pb2.Consent(state=V.CONSENT_STATE_GRANTED),
}
MANDATED: dict[str, Any] = {"basis": V.DISCLOSURE_BASIS_MANDATED_REPORT}


@dataclass(frozen=True)
class Register:
    """A hotline registers a tip."""

    urgency: V.Urgency.ValueType
    age: V.AgeGroup.ValueType
    code: str


@dataclass(frozen=True)
class Withhold:
    """It withholds a tip."""

    tip: int
    reason: V.WithholdReason.ValueType


@dataclass(frozen=True)
class Hold:
    """It takes more time."""

    tip: int


@dataclass(frozen=True)
class Repeat:
    """It says that a tip repeats another."""

    tip: int
    other: int


@dataclass(frozen=True)
class PassOn:
    """It publishes a referral that answers tips."""

    tips: frozenset[int]
    recipients: tuple[str, ...]
    basis: dict[str, Any]


@dataclass(frozen=True)
class Retract:
    """It retracts its last referral."""


@dataclass(frozen=True)
class Wait:
    """Time passes, and what is due is said."""

    hours: int


Step: TypeAlias = Register | Withhold | Hold | Repeat | PassOn | Retract | Wait

numbers = st.integers(1, 3)
tips = st.builds(
    Register,
    st.sampled_from([V.URGENCY_ROUTINE, V.URGENCY_IMMINENT_DANGER]),
    st.sampled_from([V.AGE_GROUP_ADULT, V.AGE_GROUP_13_17]),
    st.sampled_from(["US-OH", "US-NV"]),
)
steps = st.one_of(
    tips,
    st.builds(
        Withhold,
        numbers,
        st.sampled_from(
            [
                V.WITHHOLD_REASON_NO_TRAFFICKING_INDICATORS,
                V.WITHHOLD_REASON_VICTIM_DECLINED,
                V.WITHHOLD_REASON_SAFETY_RISK,
            ]
        ),
    ),
    st.builds(Hold, numbers),
    st.builds(Repeat, numbers, numbers),
    st.builds(
        PassOn,
        st.frozensets(numbers, min_size=1, max_size=2),
        st.lists(st.sampled_from(AGENCIES), min_size=1, max_size=2, unique=True).map(
            tuple
        ),
        st.sampled_from([{}, AT_WISH, MANDATED]),
    ),
    st.just(Retract()),
    st.builds(Wait, st.sampled_from([1, 2, 25])),
)
groups = st.lists(st.tuples(st.integers(0, 1), steps), min_size=1, max_size=4)
lives = st.tuples(
    st.lists(tips, min_size=2, max_size=3), st.lists(groups, min_size=4, max_size=12)
)
"""The tips that both hotlines begin with, and groups of steps of either of them."""

Life: TypeAlias = tuple[list[Register], list[list[tuple[int, Step]]]]


class Stage:
    """Two hotlines of one exchange, new for each life."""

    def __init__(self, world: World, hotlines: Sequence[str]) -> None:
        self.world = world
        self.hotlines = hotlines
        self.first = world.ledger.head().size
        self.referrals: dict[str, str] = {}

    async def play(self, hotline: str, step: Step) -> None:
        """Makes a step; a refusal is a step as well."""
        try:
            await self._make(hotline, step)
        except UnavailableError:
            raise
        except OnwardError:
            pass

    async def _make(self, hotline: str, step: Step) -> None:
        world = self.world
        match step:
            case Register(urgency, age, code):
                await world.register(
                    hotline, code, urgency=urgency, subject_age_group=age
                )
            case Wait(hours):
                world.clock.advance(hours * HOUR)
                await world.alarming.turn()
            case PassOn(tips, recipients, basis):
                sending = world.referral(
                    hotline, recipients, intake_numbers=sorted(tips), **basis
                )
                await world.publishing.publish(world.caller(hotline), sending)
                self.referrals[hotline] = sending.jws
            case Retract():
                if hotline in self.referrals:
                    jws = self.referrals[hotline]
                    body = statement_pb2.Retraction(
                        reason=V.RETRACTION_REASON_SENT_IN_ERROR
                    )
                    referral_id = parse_statement(jws).message.id
                    await world.answer(hotline, jws, referral_id, retraction=body)
            case Withhold() | Hold() | Repeat():
                await self._decide(hotline, step)

    async def _decide(self, hotline: str, step: Withhold | Hold | Repeat) -> None:
        """Signs and submits a decision."""
        world = self.world
        row = await world.store.intake(hotline, step.tip)
        if row is None:
            return
        same = None
        if isinstance(step, Repeat):
            same = await world.store.intake(hotline, step.other)
        body = decision(step, same.digest if same else bytes(32), world.clock.ms)
        signed = world.sign(hotline, previous=row.digest, **body)
        await world.deciding.decide(world.caller(hotline), signed.jws)


def decision(
    step: Withhold | Hold | Repeat, same_as: bytes, now_ms: int
) -> dict[str, Any]:
    """Returns the body of a decision."""
    match step:
        case Withhold(tip, reason):
            provisional = reason == V.WITHHOLD_REASON_SAFETY_RISK
            review = to_timestamp(now_ms + HOUR * 1000) if provisional else None
            return {
                "withholding": statement_pb2.Withholding(
                    intake_number=tip,
                    reason=reason,
                    approver_role="lead",
                    review_time=review,
                )
            }
        case Hold(tip):
            return {
                "hold": statement_pb2.Hold(
                    intake_number=tip, approver_role="lead", reason="stated"
                )
            }
        case Repeat(tip, other):
            return {
                "link": statement_pb2.Link(
                    intake_number=tip, same_as=same_as, same_as_intake_number=other
                )
            }


@dataclass
class Tip:
    """What the log says of an intake."""

    body: statement_pb2.Intake
    state: int = intakes.INITIAL
    reached: intakes.Reach = NOBODY


def replay(rows: Sequence[StatementRow], world: World) -> dict[tuple[str, int], Tip]:
    """Computes the states of all intakes from the log alone, as an auditor does."""
    tips: dict[tuple[str, int], Tip] = {}
    messages = [parse_statement(row.jws).message for row in rows]
    refused = {
        message.previous
        for message in messages
        if message.WhichOneof("body") == "rejection"
    }
    for row, message in zip(rows, messages, strict=True):
        if row.digest in refused:
            continue
        for key, event in events(message, tips, world):
            tips[key].state = intakes.advance(tips[key].state, event)
    return tips


def events(
    message: statement_pb2.Statement, tips: dict[tuple[str, int], Tip], world: World
) -> Iterator[tuple[tuple[str, int], intakes.Event]]:
    """Yields what a statement means, and to which intakes."""
    match message.WhichOneof("body"):
        case "intake":
            tips[message.issuer, message.intake.number] = Tip(message.intake)
        case "withholding":
            key = (message.issuer, message.withholding.intake_number)
            yield key, intakes.Event.WITHHOLDING
        case "hold":
            yield (message.issuer, message.hold.intake_number), intakes.Event.HOLD
        case "link":
            yield (message.issuer, message.link.intake_number), intakes.Event.DUPLICATE
        case "breach":
            due = message.breach.due
            key = (due.hotline, due.intake_number)
            # Those of earlier lives go on as well.
            if due.kind == V.DEADLINE_KIND_REVIEW and key in tips:
                yield key, intakes.Event.REVIEW_BREACH
        case "referral":
            kinds = [world.parties[name].kind for name in message.referral.recipients]
            for number in message.referral.intake_numbers:
                tip = tips[message.issuer, number]
                tip.reached |= intakes.reach(kinds)
                needed = intakes.mandated(tip.body.urgency, tip.body.subject_age_group)
                yield (
                    (message.issuer, number),
                    intakes.event_of_referral(tip.state, tip.reached, needed),
                )


async def check(stage: Stage) -> None:
    """The tables say what the log says, and all of it sums."""
    world = stage.world
    indexes = range(stage.first, world.ledger.head().size)
    tips = replay(await world.store.statements(indexes), world)
    figures = await world.store.figures((WHOLE,))
    for hotline in stage.hotlines:
        rows: list[IntakeRow] = await world.store.intakes(hotline, 0, 0, 1000)
        assert {row.number: row.state for row in rows} == {
            number: tip.state for (name, number), tip in tips.items() if name == hotline
        }
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
        there = Counter(row.jurisdiction for row in rows)
        for code, received in there.items():
            gapless = list(range(1, received + 1))
            mine = [row for row in rows if row.jurisdiction == code]
            assert [row.number_in_jurisdiction for row in mine] == gapless
        by_state = Counter[int]()
        for (name, _, state), number in figures.intakes.items():
            by_state[state] += number if name == hotline else 0
        assert +by_state == Counter(row.state for row in rows)
        assert sum(by_state.values()) == len(rows)
        for row in rows:  # what is open has a deadline, and what has ended has none
            if row.state != V.INTAKE_STATE_WITHHELD:
                assert (row.due_ms > 0) == (row.state == V.INTAKE_STATE_OPEN)
    total = sum(figures.intakes.values())
    assert total == len(await _all_intakes(world))


async def _all_intakes(world: World) -> list[IntakeRow]:
    """Returns the intakes of all hotlines of all lives."""
    return [
        row
        for name, party in world.parties.items()
        if party.kind == V.MEMBER_KIND_HOTLINE
        for row in await world.store.intakes(name, 0, 0, 1000)
    ]


async def live(world: World, life: Life) -> None:
    """Plays a life of two new hotlines, and checks it."""
    hotlines = []
    for _ in range(2):
        name = f"spiffe://{TRUST_DOMAIN}/agency/hotline-{next(MEMBERS)}"
        hotlines.append((await world.join(Party(name, V.MEMBER_KIND_HOTLINE))).name)
    stage = Stage(world, hotlines)
    for tip in life[0]:
        await asyncio.gather(*(stage.play(name, tip) for name in hotlines))
    for group in life[1]:
        await asyncio.gather(*(stage.play(hotlines[who], step) for who, step in group))
    await check(stage)


@pytest.mark.timeout(180)
def test_whatever_happens_the_sum_holds(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        resources = AsyncExitStack()

        async def opened() -> World:
            world = await resources.enter_async_context(open_world(tmp_path))
            await populate(world)
            await world.join(
                Party(CHILD_WELFARE, V.MEMBER_KIND_CHILD_WELFARE, ("US-OH",))
            )
            await world.join(Party(SHELTER, V.MEMBER_KIND_SERVICE_PROVIDER))
            return world

        world = runner.run(opened())

        @settings(
            max_examples=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(lives)
        def lived(life: Life) -> None:
            runner.run(live(world, life))

        try:
            lived()
        finally:
            runner.run(resources.aclose())
