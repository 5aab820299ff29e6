"""A log ends, and another one goes on: members, chains and receipts come along."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from onward.client import Client
from onward.core.errors import VerificationError
from onward.core.notes import parse_note
from onward.core.verify import ExitCode, verify_bundle
from onward.testing import sample_tip
from onward.v1 import vocabulary_pb2
from tests.support.process import HOTLINE, POLICE, ExchangeProcess, command

ORIGIN = "national.example/log/2"


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[ExchangeProcess]:
    """A running exchange with a few members."""
    started = ExchangeProcess.found(tmp_path)
    started.start()
    await started.populate()
    yield started
    started.kill()


async def publish(client: Client) -> str:
    """Publishes a tip to the police; returns the referral's id."""
    published = await client.publish(
        sample_tip(),
        recipients=[POLICE],
        urgency=vocabulary_pb2.URGENCY_ROUTINE,
        jurisdiction="US-OH",
        basis=vocabulary_pb2.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
        subject_age_group=vocabulary_pb2.AGE_GROUP_ADULT,
    )
    return published.referral_id


def succeed(exchange: ExchangeProcess, folder: str, origin: str, *more: str) -> str:
    """Begins a successor; the exchange's process is that one from now on."""
    config = str(exchange.config)
    target = exchange.folder / folder
    told = command(
        *("onward-server", "log", "succeed", str(target)),
        *("--origin", origin, "--config", config, "--json", *more),
    )
    (exchange.folder / "exchange").rename(exchange.folder / f"before-{folder}")
    target.rename(exchange.folder / "exchange")
    return str(json.loads(told)["trust"])


async def bundle_of(exchange: ExchangeProcess, referral_id: str) -> bytes:
    """Fetches the bundle of a referral, as its publisher."""
    async with Client.open(exchange.home(HOTLINE)) as client:
        return await client.bundle(referral_id)


async def test_a_chain_goes_on_in_the_successor_and_both_halves_are_provable(
    exchange: ExchangeProcess,
) -> None:
    # 1. A tip is published in the first log.
    async with Client.open(exchange.home(HOTLINE)) as client:
        begun = await publish(client)
    first_bundle = await bundle_of(exchange, begun)
    first_trust = exchange.home(HOTLINE).trust
    exchange.stop()
    # 2. Its log is succeeded, twice: also a successor can be.
    succeed(exchange, "second", ORIGIN)
    trust = succeed(exchange, "third", "national.example/log/3")
    exchange.start()
    # 3. Members do not believe it before they are told by somebody they trust.
    async with Client.open(exchange.home(HOTLINE)) as client:
        with pytest.raises(VerificationError, match="no known key"):
            await publish(client)
    file = exchange.folder / "trust.txt"
    file.write_text(trust)
    for name in (HOTLINE, POLICE):
        home = exchange.home(name).path
        command("onward", "follow", str(file), "--home", str(home))
    # 4. The recipient gets the tip that was published before, and acts on it.
    async with Client.open(exchange.home(POLICE)) as client:
        async for received in client.receive():
            assert received.referral_id == begun
            await client.acknowledge(received.referral_id, "desk officer")
            break
    # 5. The whole chain is provable in the new log, by the new trust file.
    report = verify_bundle(await bundle_of(exchange, begun), trust)
    assert report.exit_code is ExitCode.PROVEN, report
    # 6. What was proven before still is, with the old trust file.
    assert verify_bundle(first_bundle, first_trust).exit_code is ExitCode.PROVEN
    # 7. New members and new tips are as ever, and the database is sound.
    async with Client.open(exchange.home(HOTLINE)) as client:
        later = await publish(client)
    report = verify_bundle(await bundle_of(exchange, later), trust)
    assert report.exit_code is ExitCode.PROVEN, report
    exchange.stop()
    config = str(exchange.config)
    command("onward-server", "log", "verify", "--config", config)


async def test_an_auditor_finds_nothing_wrong_with_a_successor(
    exchange: ExchangeProcess,
) -> None:
    everything = "spiffe://national.example/auditor/everything"
    await exchange.join(everything, vocabulary_pb2.MEMBER_KIND_AUDITOR, ["*"])
    async with Client.open(exchange.home(HOTLINE)) as client:
        await publish(client)
    exchange.stop()
    succeed(exchange, "second", ORIGIN)
    trust = succeed(exchange, "third", "national.example/log/3")
    exchange.start()
    (exchange.folder / "trust.txt").write_text(trust)
    home = ("--home", str(exchange.home(everything).path))
    command("onward", "follow", str(exchange.folder / "trust.txt"), *home)
    out = str(exchange.folder / "report")
    asked = ("--jurisdiction", "*", "--from", "2000-01-01", "--to", "2100-01-01")
    report = json.loads(command("onward", "report", *asked, "-o", out, "--json", *home))
    assert report["verdict"] == "PROVEN"


async def test_a_retired_log_signs_nothing_more(exchange: ExchangeProcess) -> None:
    exchange.stop()
    note = command_checkpoint(exchange, exchange.config.parent)
    succeed(exchange, "second", ORIGIN)
    old = exchange.folder / "before-second" / "exchange.toml"
    command("onward-server", "serve", "--config", str(old), code=1)
    assert command_checkpoint(exchange, old.parent) == note


def command_checkpoint(exchange: ExchangeProcess, made: Path) -> str:
    """Exports the log of an exchange's folder; returns what its checkpoint says.

    The signatures are left out, since the second one is another one each time.
    """
    folder = exchange.folder / f"export-{made.name}"
    command("onward-server", "log", "export", str(folder), "--config", str(made))
    return parse_note((folder / "checkpoint").read_text()).text
