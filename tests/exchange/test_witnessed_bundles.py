"""Bundles of an exchange whose log is witnessed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from onward.core.bundle import Bundle
from onward.core.timing import Judgement, Source
from onward.core.verify import Report, Verdict, verify_bundle
from onward_server.exchange.records import Records
from onward_server.exchange.vouching import Vouching
from tests.exchange.test_submission import acknowledged
from tests.exchange.test_witnesses import dated
from tests.support.witnesses import WitnessedWorld, open_witnessed
from tests.support.world import HOTLINE, populate


@pytest.fixture
async def witnessed(tmp_path: Path) -> AsyncIterator[WitnessedWorld]:
    async with open_witnessed(tmp_path) as opened:
        await populate(opened.world)
        yield opened


def trust(witnessed: WitnessedWorld, quorum: str) -> str:
    policy = witnessed.policy
    lines = [f"log {log.vkey.format()}" for log in policy.logs]
    lines += [f"witness {item.name} {item.vkey.format()}" for item in policy.witnesses]
    names = " ".join(item.name for item in policy.witnesses)
    lines += [f"group g {quorum} {names}", "quorum g"]
    return "\n".join(lines) + "\n"


async def bundle(witnessed: WitnessedWorld, referral_id: str) -> bytes:
    world = witnessed.world
    vouching = Vouching(world.ledger, world.store, witnessed.log)
    records = Records(world.ledger, world.store, vouching)
    return await records.bundle(world.caller(HOTLINE), referral_id)


def bounds(report: Report) -> dict[str, float]:
    return {
        item.kind: item.interval.not_after.timestamp()
        for item in report.statements
        if item.interval.not_after and item.interval.source is Source.WITNESSES
    }


async def test_each_statement_is_bounded_by_the_first_quorum_over_it(
    witnessed: WitnessedWorld,
) -> None:
    world = witnessed.world
    chain = await acknowledged(world)
    await witnessed.ask()
    first = world.clock.now_ms() // 1000
    world.clock.advance(7200)
    await world.erasing.by_publisher(world.caller(HOTLINE), chain.referral_id)
    await witnessed.ask()
    report = verify_bundle(
        await bundle(witnessed, chain.referral_id), trust(witnessed, "all")
    )
    assert report.exit_code == 0, report.steps
    found = bounds(report)
    assert found.pop("erasure") == first + 7200
    assert set(found) >= {"referral", "acceptance", "received", "acknowledgment"}
    assert set(found.values()) == {first}


async def test_a_bundle_leads_to_the_newest_checkpoint_that_is_witnessed(
    witnessed: WitnessedWorld,
) -> None:
    chain = await acknowledged(witnessed.world)
    await witnessed.ask()
    size = witnessed.world.ledger.head().size
    await witnessed.grow()
    data = await bundle(witnessed, chain.referral_id)
    assert Bundle.parse(data).checkpoint.split("\n")[1] == str(size)
    assert verify_bundle(data, trust(witnessed, "all")).exit_code == 0


async def test_what_is_not_witnessed_yet_is_said_to_be_so(
    witnessed: WitnessedWorld,
) -> None:
    chain = await acknowledged(witnessed.world)
    await witnessed.ask("a")
    data = await bundle(witnessed, chain.referral_id)
    report = verify_bundle(data, trust(witnessed, "all"))
    failing = {s.number for s in report.steps if s.verdict is Verdict.NOT_PROVEN}
    assert failing == {6}
    assert report.reason == "QUORUM_UNMET"


async def test_who_trusts_fewer_witnesses_has_a_closer_bound(
    witnessed: WitnessedWorld,
) -> None:
    """One dishonest witness among three: the second smallest time is sound."""
    world = witnessed.world
    chain = await acknowledged(world)
    begin = world.clock.now_ms() // 1000
    for name in "abc":
        world.clock.advance(60)
        await witnessed.ask(name)
    data = await bundle(witnessed, chain.referral_id)
    for quorum, seconds in (("any", 60), ("2", 120), ("all", 180)):
        report = verify_bundle(data, trust(witnessed, quorum))
        assert report.exit_code == 0, report.steps
        assert set(bounds(report).values()) == {begin + seconds}


async def test_a_clock_that_jumps_ahead_makes_nobody_late(
    witnessed: WitnessedWorld,
) -> None:
    """What witnesses had seen long before is no evidence of a year without answer."""
    world = witnessed.world
    chain = await acknowledged(world)
    honest = world.clock.now_ms() // 1000 + 60
    world.clock.advance(365 * 24 * 3600)
    await world.erasing.by_publisher(world.caller(HOTLINE), chain.referral_id)
    for name in "abc":
        witnessed.town.moods[name] = dated(witnessed, name, honest)
    await witnessed.ask()
    data = await bundle(witnessed, chain.referral_id)
    report = verify_bundle(data, trust(witnessed, "all"))
    (delivery,) = report.deliveries
    judged = {item.name: item.judgement for item in delivery.deadlines}
    assert judged["outcome"] is Judgement.UNDETERMINED
    assert judged["acknowledge"] is Judgement.MET
    refused = [step for step in report.steps if step.verdict is Verdict.NOT_PROVEN]
    assert {step.number for step in refused} == {9}
    assert any("erasure" in step.subject for step in refused)
