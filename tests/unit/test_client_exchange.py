"""The client and a real exchange in one process: enrolled, published, proven."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from onward.client import Client, DisclosureForbiddenError, Incoming, Published
from onward.core.errors import (
    ConflictError,
    ForbiddenError,
    OnwardError,
    Reason,
    StateError,
    UnauthenticatedError,
    UnknownError,
)
from onward.core.verify import verify_bundle
from onward.enroll import enroll
from onward.testing import sample_routing, sample_tip
from onward.v1 import directory_pb2, referral_pb2, statement_pb2, vocabulary_pb2
from onward_server.app import build
from onward_server.bootstrap import Founding, found
from onward_server.config import load
from onward_server.exchange.clock import SystemClock, system_entropy
from tests.support.process import free_port

DOMAIN = "national.example"
HOTLINE = f"spiffe://{DOMAIN}/agency/national-hotline"
OHIO = f"spiffe://{DOMAIN}/agency/ohio-state-police"
UTAH = f"spiffe://{DOMAIN}/agency/utah-state-police"
AUDITOR = f"spiffe://{DOMAIN}/auditor/inspector-general"

KINDS = {
    HOTLINE: vocabulary_pb2.MEMBER_KIND_HOTLINE,
    OHIO: vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT,
    UTAH: vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT,
    AUDITOR: vocabulary_pb2.MEMBER_KIND_AUDITOR,
}


@dataclass
class Scene:
    """An exchange with its operator; members join when they are asked for."""

    folder: Path
    operator: Client
    _stack: AsyncExitStack
    _clients: dict[str, Client] = field(default_factory=dict)

    async def token(self, name: str) -> str:
        """Adds a member; returns its token."""
        member = directory_pb2.Member(
            name=name,
            display_name=name.rpartition("/")[2],
            kind=KINDS[name],
            jurisdictions=["US"],
        )
        return (await self.operator.admin.add_member(member)).token

    async def client(self, name: str) -> Client:
        """Returns the client of a member, enrolled when it is asked for first."""
        if name not in self._clients:
            home = self.folder / name.rpartition("/")[2]
            await enroll(await self.token(name), home)
            self._clients[name] = await self.open(name)
        return self._clients[name]

    async def open(self, name: str) -> Client:
        """Opens another client of a member, as another process would."""
        home = self.folder / name.rpartition("/")[2]
        return await self._stack.enter_async_context(Client.open(home, deadline=10))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    founding = Founding(
        tmp_path / "exchange",
        DOMAIN,
        listen=f"127.0.0.1:{free_port()}",
        enrolment_listen=f"127.0.0.1:{free_port()}",
    )
    founded = await found(founding, SystemClock(), system_entropy)
    app = await build(load(founded.config_file, {}))
    await app.start()
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(Client.open(founded.operator_home))
        yield Scene(tmp_path, operator, stack)
    await app.drain(0.1)


async def receive_one(client: Client) -> Incoming:
    """Returns the tip that comes first."""
    items = client.receive()
    item = await anext(items)
    await items.aclose()
    assert isinstance(item, Incoming)
    return item


async def test_a_tip_goes_all_the_way(scene: Scene) -> None:
    hotline, ohio, utah = [await scene.client(name) for name in (HOTLINE, OHIO, UTAH)]
    auditor = await scene.client(AUDITOR)
    tip = sample_tip(test=False)
    tip.attachments.add(data=os.urandom(2_000_000))
    published = await hotline.publish(tip, **sample_routing(OHIO))
    item = await receive_one(ohio)
    assert item.tip == tip
    await item.acknowledge("watch officer")
    await item.decline(vocabulary_pb2.DECLINE_REASON_NOT_OUR_JURISDICTION, UTAH)
    again = await scene.open(OHIO)
    transferred = await again.transfer(item.referral_id, [UTAH])
    passed_on = await receive_one(utah)
    assert passed_on.tip == tip
    await passed_on.acknowledge("detective")
    await passed_on.take()
    code = vocabulary_pb2.OUTCOME_CODE_VICTIM_LOCATED_SAFE
    await passed_on.report_outcome(code, closes=True)
    watching = hotline.watch_own()
    seen = []
    while "outcome" not in seen:
        seen.append((await anext(watching)).statement.kind)
    await watching.aclose()
    assert seen.count("received") == 2
    assert [chain async for chain in auditor.list_chains()] == [
        published.referral_id,
        transferred.child.referral_id,
    ]
    for party in (hotline, ohio, auditor):
        bundle = await party.bundle(published.referral_id)
        assert verify_bundle(bundle, party.home.trust).exit_code == 0


async def test_a_refusal_by_policy_is_proven(scene: Scene) -> None:
    hotline = await scene.client(HOTLINE)
    await scene.client(OHIO)
    tip, routing = sample_tip(), sample_routing(OHIO)
    tip.reporter_type = vocabulary_pb2.REPORTER_TYPE_POTENTIAL_VICTIM
    routing["urgency"] = vocabulary_pb2.URGENCY_ROUTINE
    routing["basis"] = vocabulary_pb2.DISCLOSURE_BASIS_VICTIM_VERBAL_REQUEST
    routing["consent"] = statement_pb2.Consent(
        state=vocabulary_pb2.CONSENT_STATE_DECLINED
    )
    prepared = await hotline.prepare_referral(tip, **routing)
    with pytest.raises(DisclosureForbiddenError) as caught:
        await hotline.publish_prepared(prepared)
    assert caught.value.rejection.message.rejection.rule == "victim-declined"
    other = await hotline.prepare_referral(sample_tip(), **sample_routing(OHIO))
    accepted, refused = await hotline.publish_batch([other, prepared])
    assert isinstance(accepted, Published)
    assert isinstance(refused, DisclosureForbiddenError)
    assert refused.rejection == caught.value.rejection


async def test_fifty_retries_at_once_are_one_referral(scene: Scene) -> None:
    hotline = await scene.client(HOTLINE)
    await scene.client(OHIO)
    prepared = await hotline.prepare_referral(sample_tip(), **sample_routing(OHIO))
    results = await asyncio.gather(
        *(hotline.publish_prepared(prepared) for _ in range(50))
    )
    assert len({result.acceptance.receipt for result in results}) == 1
    side = referral_pb2.REFERRAL_SIDE_PUBLISHED
    listed = [view async for view in hotline.list_referrals(side)]
    assert [view.referral_id for view in listed] == [prepared.referral_id]


async def test_a_withdrawal_reaches_the_recipient(scene: Scene) -> None:
    hotline, ohio = await scene.client(HOTLINE), await scene.client(OHIO)
    published = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    await receive_one(ohio)
    reason = vocabulary_pb2.RETRACTION_REASON_CONSENT_WITHDRAWN
    await hotline.retract(published.referral_id, reason)
    (item,) = [item async for item in ohio.receive(idle_timeout=0.3)]
    assert item.referral_id == published.referral_id
    action = vocabulary_pb2.RETRACTION_ACTION_DESTROYED
    await ohio.reply_to_retraction(published.referral_id, action)
    erasure = await hotline.erase_content(published.referral_id)
    assert erasure.message.erasure.requested_by == HOTLINE
    shown = await hotline.show(published.referral_id)
    assert shown.view.content_erased
    assert [logged.kind for logged in shown.statements][-2:] == [
        "retraction_reply",
        "erasure",
    ]
    with pytest.raises(StateError) as caught:
        await ohio.get_content(published.referral_id)
    assert caught.value.reason in {
        Reason.ERROR_REASON_CONTENT_ERASED,
        Reason.ERROR_REASON_STATE_FORBIDS,
    }


async def test_new_keys_are_used_and_old_content_still_opens(scene: Scene) -> None:
    hotline, ohio = await scene.client(HOTLINE), await scene.client(OHIO)
    await hotline.publish(sample_tip("NH-1"), **sample_routing(OHIO))
    old = await ohio.find_member(OHIO)
    change = await ohio.rotate_keys(
        statement_algorithm="ES384", suite=vocabulary_pb2.SEALING_SUITE_P384
    )
    assert change.kind == "directory_change"
    await hotline.publish(sample_tip("NH-2"), **sample_routing(OHIO))
    items = [item async for item in ohio.receive(idle_timeout=0.3)]
    tips = {item.tip.reference: item for item in items if isinstance(item, Incoming)}
    assert set(tips) == {"NH-1", "NH-2"}
    received = tips["NH-2"].received
    assert received
    assert received.statement.algorithm == "ES384"
    assert received.statement.key_id not in old.statement_keys.keys
    await ohio.rotate_keys()
    algorithms = [key.algorithm for key in ohio.home.statement_keys().values()]
    assert sorted(algorithms) == ["ES256", "ES384", "ES384"]


async def test_another_process_of_the_home_uses_new_keys_as_well(scene: Scene) -> None:
    hotline = await scene.client(HOTLINE)
    await scene.client(OHIO)
    await hotline.publish(sample_tip("NH-1"), **sample_routing(OHIO))
    await (await scene.open(HOTLINE)).rotate_keys()
    published = await hotline.publish(sample_tip("NH-2"), **sample_routing(OHIO))
    await (await scene.open(HOTLINE)).rotate_keys()
    reason = vocabulary_pb2.RETRACTION_REASON_SENT_IN_ERROR
    retraction = await hotline.retract(published.referral_id, reason)
    assert retraction.statement.key_id != published.referral.statement.key_id


async def test_a_new_certificate_is_used_by_the_next_client(scene: Scene) -> None:
    hotline = await scene.client(HOTLINE)
    before = hotline.home.certificate_chain
    await hotline.renew_certificate()
    after = hotline.home.certificate_chain
    assert before != after
    await scene.operator.admin.revoke_certificate(HOTLINE, fingerprint(before))
    with pytest.raises(ForbiddenError) as caught:
        await hotline.checkpoint()
    assert caught.value.reason == Reason.ERROR_REASON_CERTIFICATE_REVOKED
    await (await scene.open(HOTLINE)).checkpoint()


def fingerprint(chain: bytes) -> bytes:
    """Returns the fingerprint of a member's certificate."""
    certificate, *_ = x509.load_pem_x509_certificates(chain)
    return certificate.fingerprint(hashes.SHA256())


async def test_the_operator_runs_the_exchange(scene: Scene) -> None:
    admin = scene.operator.admin
    hotline = await scene.client(HOTLINE)
    await scene.client(OHIO)
    published = await hotline.publish(sample_tip(), **sample_routing(OHIO))
    with pytest.raises(ConflictError):
        await scene.token(HOTLINE)
    suspended = await admin.suspend(HOTLINE)
    assert suspended.message.directory_change.requested_by == scene.operator.member
    with pytest.raises(ForbiddenError) as caught:
        await hotline.checkpoint()
    assert caught.value.reason == Reason.ERROR_REASON_MEMBER_SUSPENDED
    await admin.reinstate(HOTLINE)
    await hotline.checkpoint()
    (key_id,) = hotline.home.statement_keys()
    revoked = await admin.revoke_key(HOTLINE, key_id)
    (key,) = revoked.message.directory_change.member.statement_keys
    assert key.status == vocabulary_pb2.KEY_STATUS_REVOKED
    erasure = await admin.erase_content(published.referral_id, "Some Act, section 1")
    assert erasure.message.erasure.citation == "Some Act, section 1"
    status = await admin.status()
    assert sum(count.count for count in status.deliveries) == 1
    with pytest.raises(UnknownError):
        await admin.suspend(UTAH)


async def test_a_token_works_once(scene: Scene) -> None:
    token = await scene.token(UTAH)
    await enroll(token, scene.folder / "utah")
    with pytest.raises(UnauthenticatedError) as caught:
        await enroll(token, scene.folder / "thief")
    assert caught.value.reason == Reason.ERROR_REASON_TOKEN_INVALID
    another = (await scene.operator.admin.issue_token(UTAH)).token
    await enroll(another, scene.folder / "utah")
    async with Client.open(scene.folder / "utah") as utah:
        await utah.checkpoint()
        entry = await utah.find_member(UTAH)
    assert len(entry.statement_keys.keys) == 2


async def test_everybody_can_look_things_up(scene: Scene) -> None:
    auditor = await scene.client(AUDITOR)
    names = [member.name async for member in auditor.members()]
    assert names == sorted([AUDITOR, scene.operator.member])
    capabilities = await auditor.capabilities()
    assert capabilities.exchange == auditor.exchange
    with pytest.raises(ForbiddenError) as caught:
        await anext(auditor.receive())
    assert caught.value.reason == Reason.ERROR_REASON_ROLE_REQUIRED
    with pytest.raises(OnwardError):
        await auditor.bundle("01a1ff84-c176-7a81-af64-19b0158f2b38")
