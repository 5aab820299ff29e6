"""Two replicas on one database: real processes, real members, and kill -9."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onward.client import Client, Incoming, PreparedReferral
from onward.core.errors import ForbiddenError
from onward.core.statements import parse_statement
from onward.home import Home
from onward.testing import sample_tip
from onward.v1 import alert_pb2, alert_pb2_grpc, referral_pb2, vocabulary_pb2
from onward_server.exchange.authority import private_key_pem
from onward_server.exchange.policy_files import VERSION
from tests.support.clock import Clock
from tests.support.process import (
    HOTLINE,
    POLICE,
    TRUST_DOMAIN,
    ExchangeProcess,
)
from tests.support.reckoning import reckon
from tests.support.replicas import founded
from tests.support.traffic import PATIENCE, UNHURRIED, open_traffic

SHERIFF = f"spiffe://{TRUST_DOMAIN}/agency/franklin-county-sheriff"
SOON = 5.0
"""Seconds within which one replica does what another one no longer can: the lease of a
delivery is twelve times as long."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replicas that run, and the clock that both go by."""

    first: ExchangeProcess
    second: ExchangeProcess
    clock: Clock

    def both(self, name: str, path: Path) -> Home:
        """Copies a member's home, as that of a machine that knows both replicas."""
        home = Home(Path(shutil.copytree(self.first.home(name).path, path)))
        ports = self.first.port, self.second.port
        address = ",".join(f"127.0.0.1:{port}" for port in ports)
        settings = replace(home.settings, address=address)
        (home.path / "member.toml").write_text(settings.format())
        return home


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two replicas with a few members."""
    folder = tmp_path_factory.mktemp("replicas")
    clock = Clock(folder / "clock")
    (folder / "first").mkdir()
    with founded(folder / "first", UNHURRIED | clock.settings) as first:
        first.start()
        try:
            asyncio.run(first.populate())
            asyncio.run(first.join(SHERIFF, vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT))
            second = first.copied(folder / "second", first.environment)
            yield Pair(first, second, clock)
            second.kill()
        finally:
            first.kill()


@pytest.fixture
def pair(made: Pair) -> Pair:
    """The same, both running."""
    for replica in (made.first, made.second):
        if replica.process is None:
            replica.start()
    return made


@asynccontextmanager
async def opened(*homes: Home) -> AsyncIterator[list[Client]]:
    """Opens clients."""
    async with Client.open(homes[0]) as first:
        if len(homes) == 1:
            yield [first]
            return
        async with opened(*homes[1:]) as rest:
            yield [first, *rest]


def run(
    verb: str, exchange: ExchangeProcess, settings: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs a command of the exchange's program that is to be refused."""
    program, _ = exchange.program
    return subprocess.run(
        [program, verb, "--config", exchange.config],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
        env=os.environ | settings,
    )


async def prepare(client: Client, recipient: str = POLICE) -> PreparedReferral:
    """Signs and seals a referral."""
    return await client.prepare_referral(
        sample_tip(),
        recipients=[recipient],
        urgency=vocabulary_pb2.URGENCY_ROUTINE,
        jurisdiction="US-OH",
        basis=vocabulary_pb2.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
        subject_age_group=vocabulary_pb2.AGE_GROUP_ADULT,
    )


async def test_members_publish_and_receive_at_both_and_the_log_is_one(
    pair: Pair,
) -> None:
    first, second = pair.first, pair.second
    async with (
        open_traffic(first.home(HOTLINE), second.home(POLICE), callers=0) as one,
        open_traffic(second.home(HOTLINE), first.home(SHERIFF), callers=0) as other,
    ):
        await asyncio.gather(*(both.publish() for both in [one, other] * 25))
    seen = await reckon(second, one, other)
    assert seen["lost"] == seen["doubled"] == seen["handed over again"] == 0
    assert {*one.stored.values(), *other.stored.values()} == {1}


async def test_a_retry_at_the_other_replica_gets_the_first_answer(pair: Pair) -> None:
    homes = pair.first.home(HOTLINE), pair.second.home(HOTLINE)
    async with opened(*homes) as (one, other):
        prepared = await prepare(one)
        done = await one.publish_prepared(prepared)
        again = await other.publish_prepared(prepared)
        bundle = await other.bundle(prepared.referral_id)
    assert again == done
    assert prepared.referral_id in bundle.decode()


async def test_what_a_killed_replica_had_leased_is_given_out_by_the_other(
    pair: Pair,
) -> None:
    first, second = pair.first, pair.second
    async with opened(first.home(HOTLINE)) as (hotline,):
        await hotline.publish_prepared(await prepare(hotline))
    async with (
        opened(second.home(POLICE), first.home(POLICE)) as (there, here),
        aclosing(there.receive(confirm=False)) as leased,
    ):
        held = await anext(leased)
        second.kill()
        async with asyncio.timeout(SOON), aclosing(here.receive()) as given:
            item = await anext(given)
    assert isinstance(item, Incoming)
    assert item.referral_id == held.referral_id


async def test_a_client_that_knows_both_goes_on_where_it_was(
    pair: Pair, tmp_path: Path
) -> None:
    homes = pair.both(HOTLINE, tmp_path / "hotline"), pair.second.home(HOTLINE)
    async with opened(*homes) as (hotline, other):
        sent, places = [], []
        async with aclosing(hotline.watch_own()) as news:
            for number in range(4):
                if number == 2:
                    pair.first.kill()
                prepared = await prepare(hotline)
                done = await hotline.publish_prepared(prepared)
                sent.append(prepared.referral_id)
                async with asyncio.timeout(PATIENCE):
                    async for event in news:
                        places.append(event.statement.log_index)
                        if event.statement.digest == done.acceptance.digest:
                            break
        assert places == sorted(set(places))
        published = other.list_referrals(referral_pb2.REFERRAL_SIDE_PUBLISHED)
        listed = [item.referral_id async for item in published]
        assert [name for name in listed if name in sent] == sent[::-1]


async def test_who_is_suspended_at_one_is_out_at_the_other_within_a_second(
    pair: Pair,
) -> None:
    async with opened(Home(pair.first.operator), pair.second.home(SHERIFF)) as (
        operator,
        sheriff,
    ):
        async with aclosing(sheriff.receive()) as stream:
            waiting = asyncio.ensure_future(anext(stream))
            await anext(sheriff.members())
            await operator.admin.suspend(SHERIFF)
            with pytest.raises(ForbiddenError):
                await asyncio.wait_for(waiting, 1)
        with pytest.raises(ForbiddenError):
            await anext(sheriff.members())
        await operator.admin.reinstate(SHERIFF)


async def test_a_policy_applied_at_one_is_in_force_at_the_other(pair: Pair) -> None:
    homes = Home(pair.first.operator), pair.second.home(HOTLINE)
    async with opened(*homes) as (operator, hotline):
        present = await operator.policies.get()
        files = {**present.files, VERSION: "ours-1\n"}
        await operator.admin.apply_policy(files, present.digest)
        published = await hotline.publish_prepared(await prepare(hotline))
    acceptance = published.acceptance.statement.message.acceptance
    assert acceptance.policy_version == "ours-1"


async def test_what_is_due_is_said_once(pair: Pair) -> None:
    names = set()
    async with opened(pair.first.home(HOTLINE)) as (hotline,):
        for _ in range(20):
            prepared = await prepare(hotline)
            await hotline.publish_prepared(prepared)
            names.add(prepared.referral_id)
    pair.clock.set(24)
    said: Counter[tuple[str, str, int]] = Counter()
    try:
        async with pair.second.channel(HOTLINE) as channel, asyncio.timeout(20):
            stub = alert_pb2_grpc.AlertServiceStub(channel)
            stream = stub.WatchAlerts(alert_pb2.WatchAlertsRequest())
            async for news in stream:
                if news.HasField("heartbeat"):
                    if {name for name, kind, _ in said if kind == "breach"} >= names:
                        break
                    continue
                statement = parse_statement(news.alert.statement)
                body = getattr(statement.message, statement.body_kind)
                name = statement.message.referral_id
                said[name, statement.body_kind, body.due.kind] += 1
    finally:
        pair.clock.set(0)
    assert set(said.values()) == {1}


def test_a_replica_with_another_log_key_is_not_let_in(
    pair: Pair, tmp_path: Path
) -> None:
    key = tmp_path / "other.key"
    key.write_bytes(private_key_pem(Ed25519PrivateKey.generate()))
    third = pair.second.copied(tmp_path / "third")
    settings = {"ONWARD__KEYS__LOG_KEY_FILE": str(key)}
    refused = run("serve", third, pair.first.environment | settings)
    assert refused.returncode == 1
    assert "another key of the log" in refused.stderr


def test_what_only_one_process_may_do_waits_for_the_replicas(pair: Pair) -> None:
    refused = run("rotate-key", pair.first, {})
    assert refused.returncode == 3
    assert "stop every replica" in refused.stderr
    assert not list(pair.first.folder.glob("exchange/keys/*.next"))
