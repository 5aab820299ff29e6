"""Transfers of what came by a release: to whom, until when, and how far it binds."""

from __future__ import annotations

from typing import Any

import pytest

from onward.core.errors import MalformedError, StateError, UnknownError
from onward.core.statements import parse_statement, statement_digest
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.publishing import DisclosureForbiddenError
from onward_server.storage.contract import ReferralRow
from tests.exchange.test_hostile import passed_on
from tests.exchange.test_submission import Chain, acknowledged, transfer, transfer_of
from tests.support.world import (
    HOTLINE,
    NEVADA,
    START_MS,
    STATE_POLICE,
    TRUST_DOMAIN,
    Party,
    World,
)

V = vocabulary_pb2
UTAH = f"spiffe://{TRUST_DOMAIN}/agency/utah-police"
RULE = "transfer-within-consent"
END_MS = START_MS + 3_600_000
RELEASED = V.DISCLOSURE_BASIS_VICTIM_WRITTEN_RELEASE
DANGER: dict[str, Any] = {
    "basis": V.DISCLOSURE_BASIS_IMMINENT_DANGER,
    "urgency": V.URGENCY_IMMINENT_DANGER,
}
MINOR: dict[str, Any] = {"subject_age_group": V.AGE_GROUP_13_17}


@pytest.fixture
async def states(world: World) -> World:
    """An exchange with law enforcement of a third state."""
    await world.join(Party(UTAH, V.MEMBER_KIND_LAW_ENFORCEMENT, ("US-UT",)))
    return world


def release(*recipients: str, end_ms: int = END_MS) -> statement_pb2.Consent:
    return statement_pb2.Consent(
        state=V.CONSENT_STATE_GRANTED,
        recipients=recipients,
        expire_time=to_timestamp(end_ms),
    )


async def released(world: World, *covered: str) -> Chain:
    """A tip that Nevada has by a release, which covers these agencies as well."""
    consent = release(NEVADA, *covered)
    return await acknowledged(world, NEVADA, basis=RELEASED, consent=consent)


async def submit(
    world: World, chain: Chain, issuer: str, to: str, **fields: Any
) -> ReferralRow:
    """Transfers a tip; returns the child referral."""
    child = transfer_of(world, chain, issuer, to, **fields)
    jws = transfer(world, chain, issuer, child)
    await world.submission.submit(world.caller(issuer), jws, child)
    row = await world.store.referral(parse_statement(child.jws).message.id)
    assert row is not None
    return row


async def refusal(world: World, *transfer: Any, **fields: Any) -> str:
    """Transfers what must not go; returns the rule that the signed refusal names."""
    with pytest.raises(DisclosureForbiddenError) as caught:
        await submit(world, *transfer, **fields)
    return parse_statement(caught.value.rejection.jws).message.rejection.rule


async def test_a_release_covers_those_whom_it_names(states: World) -> None:
    chain = await released(states, STATE_POLICE)
    assert await refusal(states, chain, NEVADA, UTAH) == RULE
    (delivery,) = await states.store.deliveries([chain.referral_id])
    assert delivery.state == V.DELIVERY_STATE_ACKNOWLEDGED
    kinds = [entry.kind for entry in await states.store.chain(chain.referral_id)]
    assert "transfer" not in kinds
    assert not (await submit(states, chain, NEVADA, STATE_POLICE)).rejected


@pytest.mark.parametrize(("now_ms", "goes"), [(END_MS - 1, True), (END_MS, False)])
async def test_a_release_covers_them_until_it_ends(
    world: World, now_ms: int, goes: bool
) -> None:
    chain = await released(world, STATE_POLICE)
    world.clock.ms = now_ms
    if goes:
        await submit(world, chain, NEVADA, STATE_POLICE)
    else:
        assert await refusal(world, chain, NEVADA, STATE_POLICE) == RULE


async def test_what_was_transferred_goes_out_until_the_release_ends(
    states: World,
) -> None:
    """Also where nobody below states the release again."""
    chain = await released(states, STATE_POLICE, UTAH)
    child = await passed_on(states, chain, NEVADA, STATE_POLICE)
    row = await submit(states, child, STATE_POLICE, UTAH)
    assert row.expire_ms == END_MS
    states.clock.ms = END_MS
    await states.erasing.sweep()
    (erasure,) = [
        parse_statement(entry.jws).message.erasure
        for entry in await states.store.chain(row.referral_id)
        if entry.kind == "erasure"
    ]
    assert erasure.reason == V.ERASURE_REASON_CONSENT_EXPIRED


async def test_a_release_binds_however_often_the_tip_is_transferred(
    states: World,
) -> None:
    chain = await released(states, STATE_POLICE)
    child = await passed_on(states, chain, NEVADA, STATE_POLICE)
    assert await refusal(states, child, STATE_POLICE, UTAH) == RULE


async def test_an_emergency_in_between_does_not_set_a_tip_free(states: World) -> None:
    chain = await released(states)
    child = await passed_on(states, chain, NEVADA, STATE_POLICE, **DANGER)
    assert await refusal(states, child, STATE_POLICE, UTAH) == RULE
    await submit(states, child, STATE_POLICE, UTAH, **DANGER)


async def test_what_an_agency_says_of_consent_is_no_release(states: World) -> None:
    """It takes the place of no release, though the victim is said to have reported."""
    chain = await released(states, STATE_POLICE)
    wider = statement_pb2.Consent(state=V.CONSENT_STATE_GRANTED)
    victim = V.REPORTER_TYPE_POTENTIAL_VICTIM
    child = await passed_on(
        states, chain, NEVADA, STATE_POLICE, reporter_type=victim, consent=wider
    )
    assert await refusal(states, child, STATE_POLICE, UTAH) == RULE


async def test_a_release_of_its_own_takes_the_place_of_the_first(
    states: World,
) -> None:
    chain = await released(states)
    later = release(STATE_POLICE, UTAH, end_ms=END_MS + 5000)
    child = await passed_on(
        states, chain, NEVADA, STATE_POLICE, basis=RELEASED, consent=later
    )
    row = await submit(states, child, STATE_POLICE, UTAH)
    assert row.expire_ms == END_MS + 5000


@pytest.mark.parametrize("law", [DANGER, MINOR], ids=["danger", "minor"])
async def test_what_the_law_wants_goes_on_whoever_consents(
    states: World, law: dict[str, Any]
) -> None:
    chain = await released(states)
    states.clock.ms = END_MS
    row = await submit(states, chain, NEVADA, UTAH, **law)
    assert row.expire_ms > END_MS


async def test_a_withdrawal_stops_what_was_transferred_within_the_release(
    states: World,
) -> None:
    chain = await released(states, STATE_POLICE)
    child = await submit(states, chain, NEVADA, STATE_POLICE)
    withdrawn = {"reason": V.RETRACTION_REASON_CONSENT_WITHDRAWN}
    await states.answer(
        HOTLINE, chain.referral, chain.referral_id, retraction=withdrawn
    )
    (delivery,) = await states.store.deliveries([child.referral_id])
    assert delivery.state == V.DELIVERY_STATE_EXPIRED


async def test_what_needed_no_consent_is_transferred_without(states: World) -> None:
    chain = await acknowledged(states, NEVADA, consent=release(NEVADA))
    states.clock.ms = END_MS
    await submit(states, chain, NEVADA, UTAH)


async def passed_back(world: World) -> Chain:
    """A tip that Nevada transferred, and has again: it is above it and below."""
    chain = await released(world, STATE_POLICE)
    child = await passed_on(world, chain, NEVADA, STATE_POLICE)
    return await passed_on(world, child, STATE_POLICE, NEVADA)


async def test_only_the_child_of_a_transfer_says_that_it_is_one(states: World) -> None:
    """Else whoever watches a tip could send it on as one that nothing binds."""
    chain = await passed_back(states)
    alone = transfer_of(states, chain, NEVADA, UTAH)
    with pytest.raises(UnknownError, match="Transfer"):
        await states.publishing.publish(states.caller(NEVADA), alone)


async def test_the_child_of_a_transfer_says_that_it_is_one(states: World) -> None:
    """Else a withdrawal would not reach it."""
    chain = await passed_back(states)
    link = statement_pb2.ReferralLink(
        kind=statement_pb2.REFERRAL_LINK_KIND_SUPPLEMENT_OF,
        referral_id=chain.referral_id,
        referral_digest=statement_digest(chain.referral),
    )
    child = states.referral(
        NEVADA,
        (STATE_POLICE,),
        links=[link],
        basis=V.DISCLOSURE_BASIS_AGENCY_TO_AGENCY,
    )
    jws = transfer(states, chain, NEVADA, child)
    with pytest.raises(MalformedError, match="TRANSFER_OF"):
        await states.submission.submit(states.caller(NEVADA), jws, child)


async def interrupted(
    world: World, monkeypatch: pytest.MonkeyPatch, chain: Chain
) -> None:
    """A withdrawal is logged, and the exchange ends before all follows from it."""

    async def ends(_: str) -> None:
        return

    with monkeypatch.context() as patch:
        patch.setattr(world.erasing, "follow", ends)
        await world.answer(
            HOTLINE,
            chain.referral,
            chain.referral_id,
            retraction={"reason": V.RETRACTION_REASON_CONSENT_WITHDRAWN},
        )


async def test_a_withdrawal_ends_transfers_further_down_at_once(
    states: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = await released(states, STATE_POLICE, UTAH)
    child = await passed_on(states, chain, NEVADA, STATE_POLICE)
    await interrupted(states, monkeypatch, chain)
    with pytest.raises(StateError, match="retracted"):
        await submit(states, child, STATE_POLICE, UTAH)


async def test_a_withdrawal_reaches_what_is_below_content_that_was_erased(
    states: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = await released(states, STATE_POLICE, UTAH)
    child = await passed_on(states, chain, NEVADA, STATE_POLICE)
    last = await submit(states, child, STATE_POLICE, UTAH)
    await states.erasing.by_publisher(states.caller(NEVADA), child.referral_id)
    await interrupted(states, monkeypatch, chain)
    await states.erasing.sweep()
    (delivery,) = await states.store.deliveries([last.referral_id])
    assert delivery.state == V.DELIVERY_STATE_EXPIRED
    assert await states.store.retracted_parents(10) == []
