"""Completeness: received = passed on + withheld + duplicates + open, whatever happens.

Random lives of two hotlines are played against a real ledger and database, steps of one
group at the same time. Then the states are computed once more from the log alone, by
the functions that an auditor runs, and compared with what the exchange's tables say.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import reduce
from itertools import count
from operator import or_
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
from onward_server.exchange.receipts import Logged
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
class Receive:
    """An agency fetches its last referral, and perhaps confirms that."""

    recipient: str
    confirms: bool


@dataclass(frozen=True)
class Retract:
    """It retracts its last referral."""


@dataclass(frozen=True)
class Erase:
    """It has the content of its last referral erased."""


@dataclass(frozen=True)
class Wait:
    """Time passes, and what is due is said."""

    hours: int


Step: TypeAlias = (
    Register | Withhold | Hold | Repeat | PassOn | Receive | Retract | Erase | Wait
)

numbers = st.integers(1, 3)
tips = st.builds(
    Register,
    st.sampled_from([V.URGENCY_ROUTINE, V.URGENCY_IMMINENT_DANGER]),
    st.sampled_from([V.AGE_GROUP_ADULT, V.AGE_GROUP_13_17]),
    st.sampled_from(["US-OH", "US-NV"]),
)
sendings = st.builds(
    PassOn,
    st.frozensets(numbers, min_size=1, max_size=2),
    st.lists(st.sampled_from(AGENCIES), min_size=1, max_size=2, unique=True).map(tuple),
    st.sampled_from([{}, AT_WISH, MANDATED]),
)
"""More often than all else: what is received, taken back or repeated was sent first."""

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
    *3 * (sendings,),
    st.builds(Receive, st.sampled_from(AGENCIES), st.booleans()),
    *2 * (st.just(Retract()),),
    st.just(Erase()),
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
            case Receive() | Retract() | Erase():
                if hotline in self.referrals:
                    await self._change(hotline, step, self.referrals[hotline])
            case Withhold() | Hold() | Repeat():
                await self._decide(hotline, step)

    async def _change(
        self, hotline: str, step: Receive | Retract | Erase, referral: str
    ) -> None:
        """Changes what becomes of a referral."""
        world, message = self.world, parse_statement(referral).message
        match step:
            case Receive(recipient, confirms):
                parts = world.delivering.content(world.caller(recipient), message.id)
                *_, handover = [part async for part in parts]
                if confirms and isinstance(handover, Logged):
                    body = statement_pb2.Received(
                        content_digest=message.referral.content_digest,
                        check=V.CONTENT_CHECK_VERIFIED,
                    )
                    jws = handover.jws
                    await world.answer(recipient, jws, message.id, received=body)
            case Retract():
                reason = V.RETRACTION_REASON_SENT_IN_ERROR
                retraction = statement_pb2.Retraction(reason=reason)
                await world.answer(hotline, referral, message.id, retraction=retraction)
            case Erase():
                await world.erasing.by_publisher(world.caller(hotline), message.id)

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
class Sent:
    """What the log says of a referral, and which tips it passes on."""

    tips: Sequence[Key]
    reach: intakes.Reach
    handed_over: bool = False
    received: bool = False


@dataclass
class Tip:
    """What the log says of an intake, and which referrals pass it on."""

    body: statement_pb2.Intake
    state: int = intakes.INITIAL
    sent: dict[str, Sent] = field(default_factory=dict)

    def meant(self, event_of: Callable[..., intakes.Event]) -> intakes.Event:
        """Returns what an event means that changed by which referrals it goes on."""
        reached = reduce(or_, (sent.reach for sent in self.sent.values()), NOBODY)
        needed = intakes.mandated(self.body.urgency, self.body.subject_age_group)
        return event_of(self.state, reached, needed)


Key: TypeAlias = tuple[str, int]


def replay(rows: Sequence[StatementRow], world: World) -> dict[Key, Tip]:
    """Computes the states of all intakes from the log alone, as an auditor does."""
    tips: dict[Key, Tip] = {}
    sent: dict[str, Sent] = {}
    messages = [parse_statement(row.jws).message for row in rows]
    refused = {
        message.previous
        for message in messages
        if message.WhichOneof("body") == "rejection"
    }
    for row, message in zip(rows, messages, strict=True):
        if row.digest in refused:
            continue
        changes = (
            *events(message, tips),
            *passed_on(message, tips, sent, world),
            *taken_back(message, tips, sent),
        )
        for key, event in changes:
            tips[key].state = intakes.advance(tips[key].state, event)
    return tips


def events(
    message: statement_pb2.Statement, tips: dict[Key, Tip]
) -> Iterator[tuple[Key, intakes.Event]]:
    """Yields what a statement about an intake means to it."""
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


def passed_on(
    message: statement_pb2.Statement,
    tips: dict[Key, Tip],
    sent: dict[str, Sent],
    world: World,
) -> Iterator[tuple[Key, intakes.Event]]:
    """Yields what a referral means, and to which intakes."""
    if message.WhichOneof("body") != "referral":
        return
    body = message.referral
    kinds = [world.parties[name].kind for name in body.recipients]
    keys = [(message.issuer, number) for number in body.intake_numbers]
    sent[message.id] = Sent(keys, intakes.reach(kinds))
    for key in keys:
        tips[key].sent[message.id] = sent[message.id]
        yield key, tips[key].meant(intakes.event_of_referral)


def taken_back(
    message: statement_pb2.Statement, tips: dict[Key, Tip], sent: dict[str, Sent]
) -> Iterator[tuple[Key, intakes.Event]]:
    """Yields what it means to intakes that nobody has received a referral."""
    referral = sent.get(message.referral_id)
    if referral is None:
        return
    match message.WhichOneof("body"):
        case "handover":
            referral.handed_over = True
        case "received":
            referral.received = True
        case "retraction" if not referral.received:
            del sent[message.referral_id]
        case "erasure" if not referral.handed_over:
            del sent[message.referral_id]
    if message.referral_id not in sent:
        for key in referral.tips:
            del tips[key].sent[message.referral_id]
            yield key, tips[key].meant(intakes.event_of_taking_back)


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
            max_examples=50,
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
