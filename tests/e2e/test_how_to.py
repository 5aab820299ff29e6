"""The how-to pages: what they tell people to type is run here."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onward.client import Client
from onward.core.verify import verify_bundle
from tests.exchange.test_submission import acknowledged
from tests.support.process import HOTLINE, POLICE, ExchangeProcess
from tests.support.world import open_world, populate

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
SAMPLE = ROOT / "docs" / "samples" / "NH-0001.json"


def blocks(page: str, language: str) -> list[str]:
    """Returns the code blocks of a page in one language."""
    text = (HOW_TO / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
async def bundle(tmp_path: Path) -> Path:
    """A folder with ``bundle.json`` in it, and nothing else."""
    (tmp_path / "exchange").mkdir()
    async with open_world(tmp_path / "exchange") as world:
        await populate(world)
        chain = await acknowledged(world)
        data = await world.records.bundle(world.caller(HOTLINE), chain.referral_id)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "bundle.json").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExchangeProcess]:
    """A running exchange; beside it what the pages speak of, by the names there."""
    folder = tmp_path_factory.mktemp("exchange")
    founded = ExchangeProcess.found(folder)
    founded.start()
    asyncio.run(founded.populate())
    for name, target in (
        ("hotline", founded.home(HOTLINE).path),
        ("police", founded.home(POLICE).path),
        ("docs", ROOT / "docs"),
        ("NH-0001.json", SAMPLE),
    ):
        (folder / name).symlink_to(target)
    yield founded
    founded.stop()


def shell(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Runs a script as a person would, and stops at the first failure."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_openssl_verifies_a_statement_from_a_bundle(bundle: Path) -> None:
    script = "\n".join(blocks("verify-without-our-software.md", "sh"))
    done = shell(bundle, script)
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout
    signed = bundle / "signed-bytes"
    data = bytearray(signed.read_bytes())
    data[len(data) // 2] ^= 1
    signed.write_bytes(data)
    (check,) = re.findall(r"^openssl pkeyutl .*$", script, re.MULTILINE)
    again = shell(bundle, check)
    assert again.returncode != 0
    assert "Signature Verified Successfully" not in again.stdout


def test_a_jose_library_verifies_a_statement_from_a_bundle(bundle: Path) -> None:
    shell(bundle, "\n".join(blocks("verify-without-our-software.md", "sh")))
    (program,) = blocks("verify-without-our-software.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("verified ")


WITHOUT_SDK = "write-a-client-without-the-sdk.md"


async def test_a_client_without_the_sdk_publishes_and_receives(
    exchange: ExchangeProcess,
) -> None:
    done = shell(exchange.folder, "\n".join(blocks(WITHOUT_SDK, "sh")))
    assert done.returncode == 0, done.stderr
    (referral_id,) = re.findall(r"accepted (\S+)", done.stdout)
    (shown,) = blocks(WITHOUT_SDK, "text")
    assert done.stdout == re.sub(r"(?<=accepted )\S+", referral_id, shown)
    home = exchange.home(HOTLINE)
    async with Client.open(home.path) as client:
        bundle = await client.bundle(referral_id)
    report = verify_bundle(bundle, home.trust)
    assert report.exit_code == 0, report.summary()
    assert [delivery.state for delivery in report.deliveries] == ["RECEIVED"]


PUBLISH = {
    "the SDK": f"onward publish NH-0001.json --home hotline --to {POLICE} "
    "--subject ADULT --urgency ROUTINE --jurisdiction US-OH --basis THIRD_PARTY_TIP",
    "stubs": f"python client.py hotline publish NH-0001.json {POLICE}",
}
RECEIVE = {
    "the SDK": "onward receive --home police --out tips --drain; cat tips/*",
    "stubs": "python client.py police receive; cat police/NH-0001.txt",
}


@pytest.mark.parametrize(("by", "to"), [("the SDK", "stubs"), ("stubs", "the SDK")])
def test_clients_with_and_without_the_sdk_understand_each_other(
    exchange: ExchangeProcess, by: str, to: str
) -> None:
    make, _ = blocks(WITHOUT_SDK, "sh")
    script = f"{make}\nrm -rf tips police/NH-0001.txt\n{PUBLISH[by]}\n{RECEIVE[to]}"
    done = shell(exchange.folder, script)
    assert done.returncode == 0, done.stderr
    assert "motel clerk" in done.stdout


def test_reflection_describes_the_exchange_to_a_member(
    exchange: ExchangeProcess,
) -> None:
    program = "\n".join(
        [*blocks(WITHOUT_SDK, "python"), *blocks(WITHOUT_SDK, "python reflection")]
    )
    done = subprocess.run(
        [sys.executable, "-c", program, exchange.folder / "hotline"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "onward.v1.ReferralService\n" in done.stdout
    assert 'exchange: "spiffe://national.example/exchange"' in done.stdout
