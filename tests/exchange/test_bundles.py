"""Bundles as the exchange makes them, judged by the verifier alone."""

from __future__ import annotations

import json

from onward.core.statements import parse_statement
from onward.core.verify import verify_bundle
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.exchange.test_submission import acknowledged, transfer, transfer_of
from tests.support.world import AUDITOR, HOTLINE, NEVADA, STATE_POLICE, World


def trust(world: World) -> str:
    """Returns a trust file for the exchange's log."""
    return f"log {world.ledger._signer.vkey.format()}\nquorum none\n"


def explain(data: bytes, trusted: str) -> str:
    """Returns what was not proven, for the test's output."""
    report = verify_bundle(data, trusted)
    return "\n".join(
        f"{s.number} {s.subject} {s.verdict} {s.why}" for s in report.steps
    )


async def test_every_party_and_the_auditor_get_a_bundle_that_proves_the_chain(
    world: World,
) -> None:
    chain = await acknowledged(world)
    for name in (HOTLINE, STATE_POLICE, AUDITOR):
        data = await world.records.bundle(world.caller(name), chain.referral_id)
        assert verify_bundle(data, trust(world)).exit_code == 0, explain(
            data, trust(world)
        )


async def test_a_transferred_tip_is_one_bundle_for_its_first_publisher(
    world: World,
) -> None:
    chain = await acknowledged(world, NEVADA)
    child = transfer_of(world, chain, NEVADA, STATE_POLICE)
    jws = transfer(world, chain, NEVADA, child)
    await world.submission.submit(world.caller(NEVADA), jws, child)
    data = await world.records.bundle(world.caller(HOTLINE), chain.referral_id)
    assert verify_bundle(data, trust(world)).exit_code == 0, explain(data, trust(world))
    kinds = [
        parse_statement(item["statement"]).body_kind
        for item in json.loads(data)["statements"]
    ]
    assert kinds.count("acceptance") == 2


async def test_yesterdays_signature_is_judged_by_yesterdays_keys(world: World) -> None:
    chain = await acknowledged(world)
    member = world.parties[STATE_POLICE].entry(world.clock.ms)
    member.statement_keys[0].status = vocabulary_pb2.KEY_STATUS_REVOKED
    await world.change(statement_pb2.DIRECTORY_CHANGE_KIND_KEY_REVOKED, member)
    data = await world.records.bundle(world.caller(HOTLINE), chain.referral_id)
    assert verify_bundle(data, trust(world)).exit_code == 0, explain(data, trust(world))


async def test_erasure_leaves_the_proofs(world: World) -> None:
    chain = await acknowledged(world)
    await world.erasing.by_publisher(world.caller(HOTLINE), chain.referral_id)
    data = await world.records.bundle(world.caller(HOTLINE), chain.referral_id)
    report = verify_bundle(data, trust(world))
    assert report.exit_code == 0, explain(data, trust(world))
    assert any("content erased, timing intact" in step.why for step in report.steps)


async def test_a_recipient_of_several_sees_its_own_delivery_only(world: World) -> None:
    done = await world.publishing.publish(
        world.caller(HOTLINE),
        world.referral(
            recipients=(STATE_POLICE, NEVADA),
            urgency=vocabulary_pb2.URGENCY_IMMINENT_DANGER,
            basis=vocabulary_pb2.DISCLOSURE_BASIS_IMMINENT_DANGER,
        ),
    )
    referral_id = parse_statement(done.referral.jws).message.id
    parts = world.delivering.content(world.caller(NEVADA), referral_id)
    assert [part async for part in parts]
    data = await world.records.bundle(world.caller(STATE_POLICE), referral_id)
    assert verify_bundle(data, trust(world)).exit_code != 1, explain(data, trust(world))
    shown = [
        parse_statement(item["statement"]).message
        for item in json.loads(data)["statements"]
    ]
    assert not any(message.HasField("handover") for message in shown)
