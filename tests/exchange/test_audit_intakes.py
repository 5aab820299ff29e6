"""What auditors are shown of intakes: all of their state's, and none of another's."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from onward.core.statements import SignedStatement, parse_statement
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.support.auditing import (
    NATION_AUDITOR,
    NEVADA_AUDITOR,
    SHARED,
    WHOLE_AUDITOR,
    Export,
    export,
    join_auditors,
    looks,
)
from tests.support.world import AUDITOR, HOTLINE, NEVADA, STATE_POLICE, World

V = vocabulary_pb2
DAY = 24 * 3600


@pytest.fixture
async def audited(world: World) -> World:
    """An exchange with auditors of one state, of another, of all, and of the log."""
    await join_auditors(world)
    return world


async def withhold(world: World, intake: SignedStatement) -> None:
    """Withholds a tip for good."""
    await world.decide(
        intake,
        withholding={
            "intake_number": intake.message.intake.number,
            "reason": V.WITHHOLD_REASON_VICTIM_DECLINED,
            "approver_role": "shift supervisor",
        },
    )


async def pass_on(
    world: World, intake: SignedStatement, recipient: str, code: str
) -> None:
    """Passes a tip on by a referral that points to a state."""
    sending = world.referral(
        recipients=(recipient,),
        jurisdiction=statement_pb2.Jurisdiction(code=code),
        intake_numbers=[intake.message.intake.number],
    )
    await world.publishing.publish(world.caller(HOTLINE), sending)


def kinds(got: Export) -> Counter[str]:
    """Counts the statements shown by their kind, without those for everybody."""
    found = Counter(parse_statement(jws).body_kind for jws in got.statements)
    return Counter({kind: n for kind, n in found.items() if kind not in SHARED})


def states(got: Export) -> dict[int, int]:
    """Returns the figures of the hotline's intakes, by state."""
    figures = got.header.figures.intakes
    assert {(hotline, urgency) for hotline, urgency, _ in figures} <= {
        (HOTLINE, V.URGENCY_ROUTINE)
    }
    return {state: count for (_, _, state), count in figures.items()}


async def decide_about_all_but_one(world: World) -> None:
    """Registers tips to two states, which end in every way that there is."""
    declined, _ = await world.register(), await world.register(code="US-NV")
    again, held = await world.register(), await world.register(code="US-NV")
    await withhold(world, declined)
    await world.decide(
        again,
        link={
            "intake_number": again.message.intake.number,
            "same_as_intake_number": declined.message.intake.number,
            "same_as": declined.digest,
        },
    )
    await world.decide(
        held,
        hold={
            "intake_number": held.message.intake.number,
            "approver_role": "supervisor",
            "reason": "a call back is agreed",
        },
    )
    await pass_on(world, held, NEVADA, "US-NV")
    for _ in range(2):  # after half of the time, and after all of it
        world.clock.advance(0.6 * DAY)
        await world.alarming.turn()


async def test_all_about_the_tips_of_a_state_is_shown_and_nothing_of_another(
    audited: World,
) -> None:
    await decide_about_all_but_one(audited)
    ohio = kinds(await export(audited, AUDITOR))
    assert ohio == {"intake": 2, "withholding": 1, "link": 1}
    nevada = kinds(await export(audited, NEVADA_AUDITOR))
    assert nevada == {
        "intake": 2,
        "hold": 1,
        "referral": 1,
        "acceptance": 1,
        "warning": 1,  # of the tip about which nothing was decided
        "breach": 2,  # of that tip, and of the delivery that nobody took
    }
    both = kinds(await export(audited, NATION_AUDITOR))
    assert both == ohio + nevada


async def test_the_figures_are_those_of_the_state(audited: World) -> None:
    await decide_about_all_but_one(audited)
    for name, expected in (
        (AUDITOR, {V.INTAKE_STATE_WITHHELD: 1, V.INTAKE_STATE_DUPLICATE: 1}),
        (NEVADA_AUDITOR, {V.INTAKE_STATE_OPEN: 1, V.INTAKE_STATE_PASSED_ON: 1}),
    ):
        assert states(await export(audited, name)) == expected
    for name in (NATION_AUDITOR, WHOLE_AUDITOR):
        assert sum(states(await export(audited, name)).values()) == 4


async def test_tests_count_in_no_figure(audited: World) -> None:
    await audited.register(test=True)
    got = await export(audited, AUDITOR)
    assert kinds(got) == {"intake": 1}
    assert states(got) == {}


async def test_a_tip_that_went_to_another_state_is_followed_from_both(
    audited: World,
) -> None:
    intake = await audited.register(code="US-NV")
    await pass_on(audited, intake, STATE_POLICE, "US-OH")
    for name, intakes in ((NEVADA_AUDITOR, 1), (AUDITOR, 0)):
        shown = kinds(await export(audited, name))
        assert (shown["referral"], shown["acceptance"]) == (1, 1)
        assert shown["intake"] == intakes
    figures = states(await export(audited, NEVADA_AUDITOR))
    assert figures == {V.INTAKE_STATE_PASSED_ON: 1}


async def test_a_hotline_hears_of_looks_at_its_tips(audited: World) -> None:
    await audited.register()
    await export(audited, NEVADA_AUDITOR)
    assert await looks(audited, HOTLINE) == []
    await export(audited, AUDITOR)
    assert await looks(audited, HOTLINE) == ["ExportStatements"]


@pytest.mark.parametrize("name", [AUDITOR, WHOLE_AUDITOR])
async def test_the_figures_of_tips_are_those_of_the_size_while_others_write(
    audited: World, name: str
) -> None:
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            intake = await audited.register()
            if intake.message.intake.number % 2:
                await withhold(audited, intake)

    writer = asyncio.create_task(write())
    sizes = range(0)
    try:
        while not writer.done() and len(sizes) < 40:
            got = await export(audited, name)
            shown = kinds(got)
            expected = {
                V.INTAKE_STATE_OPEN: shown["intake"] - shown["withholding"],
                V.INTAKE_STATE_WITHHELD: shown["withholding"],
            }
            assert states(got) == {s: n for s, n in expected.items() if n}
            size = got.access.log_size
            sizes = range(sizes.start or size, size)
    finally:
        stop.set()
        await writer
