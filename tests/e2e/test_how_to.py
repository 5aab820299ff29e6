"""The how-to pages: what they tell people to type is run here.

Some pages have test files of their own: those about certificates and about running an
exchange.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest

from onward.core.verify import STEPS, verify_bundle
from onward_server.telemetry import METRICS, Telemetry
from tests.support.pages import BIN, DOCS, ROOT, SECONDS, Step, blocks, run, session
from tests.support.process import (
    HOTLINE,
    POLICE,
    ExchangeProcess,
    command,
    free_port,
)
from tests.support.tsa import TimestampAuthority

SAMPLE = DOCS / "samples" / "NH-0001.json"
REFERRAL = (
    *("--to", POLICE, "--subject", "ADULT", "--jurisdiction", "US-OH"),
    *("--urgency", "IMMINENT_DANGER", "--urgency-reason", "may leave at any moment"),
    *("--basis", "IMMINENT_DANGER"),
)

pytestmark = pytest.mark.timeout(SECONDS + 30)


def page(name: str) -> str:
    """Returns the text of a page."""
    return (DOCS / "how-to" / name).read_text("utf-8")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TimestampAuthority:
    """Who stamps the exchange's log."""
    return TimestampAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def exchange(
    tmp_path_factory: pytest.TempPathFactory, authority: TimestampAuthority
) -> Iterator[ExchangeProcess]:
    """A running exchange; beside it what the pages speak of, by the names there."""
    with authority.serving() as url:
        yield from stamped_exchange(tmp_path_factory.mktemp("exchange"), authority, url)


def stamped_exchange(
    folder: Path, authority: TimestampAuthority, url: str
) -> Iterator[ExchangeProcess]:
    """Runs an exchange whose log an authority stamps."""
    metrics = f"127.0.0.1:{free_port()}"
    founded = ExchangeProcess.found(
        folder,
        {
            "ONWARD__TELEMETRY__PROMETHEUS_LISTEN": metrics,
            "ONWARD__TIMESTAMPS__INTERVAL_SECONDS": "0.5",
        },
    )
    with founded.config.open("a") as config:
        config.write(
            f'\n[[timestamps.authorities]]\nname = "public"\nurl = "{url}"\n'
            f'certificate_file = "{authority.root_file}"\n'
        )
    founded.start()
    asyncio.run(founded.populate())
    for name, target in (
        ("hotline", founded.home(HOTLINE).path),
        ("police", founded.home(POLICE).path),
        ("docs", DOCS),
        ("NH-0001.json", SAMPLE),
    ):
        (folder / name).symlink_to(target)
    yield founded
    founded.stop()


def publish(exchange: ExchangeProcess) -> str:
    """Publishes the sample tip; returns the referral's id."""
    home = str(exchange.folder / "hotline")
    told = command(
        "onward", "publish", str(SAMPLE), "--home", home, "--json", *REFERRAL
    )
    referral_id: str = json.loads(told)["referral_id"]
    return referral_id


@pytest.fixture(scope="module")
def taken(exchange: ExchangeProcess) -> str:
    """The id of a referral that the police took."""
    referral_id = publish(exchange)
    home = "--home", str(exchange.folder / "police")
    command("onward", "receive", "--drain", *home)
    command("onward", "ack", referral_id, "--role", "watch officer", *home)
    command("onward", "take", referral_id, *home)
    return referral_id


@pytest.fixture
def bundle(
    exchange: ExchangeProcess,
    authority: TimestampAuthority,
    taken: str,
    tmp_path: Path,
) -> Path:
    """A folder with a bundle and what it takes to verify it, and nothing of ours."""
    home = "--home", str(exchange.folder / "hotline")
    file = tmp_path / "bundle.json"
    deadline = time.monotonic() + SECONDS
    while not (file.exists() and "timestamps" in json.loads(file.read_bytes())):
        assert time.monotonic() < deadline, exchange.log()[-3000:]
        command("onward", "bundle", taken, "--out", str(file), *home)
    shutil.copy(authority.root_file, tmp_path / "authority.pem")
    (tmp_path / "trust.txt").write_text(exchange.home(HOTLINE).trust)
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    protoc = tmp_path / "protoc"
    protoc.write_text(f'#!/bin/sh\nexec {sys.executable} -m grpc_tools.protoc "$@"\n')
    protoc.chmod(0o700)
    return tmp_path


def go_through(text: str, folder: Path, **environment: str) -> list[Step]:
    """Does what a page says; requires that each block printed what the page shows."""
    steps = session(text, folder, environment)
    for step in steps:
        step.check()
    return steps


def test_a_bundle_is_verified_without_our_software(bundle: Path) -> None:
    path = {"PATH": f"{bundle}:{BIN}:{os.environ['PATH']}"}
    text = page("verify-without-our-software.md")
    steps = session(text, bundle, path, languages=("sh", "python"))
    said = "".join(step.printed for step in steps)
    assert said.count("Signature Verified Successfully") == 2
    assert re.search(r"^verified \d+ bytes$", said, re.MULTILINE)
    assert re.search(
        r"^index \d+ is in national.example/log of size \d+$", said, re.MULTILINE
    )
    assert f'issuer: "{HOTLINE}"' in said
    assert "Verification: OK" in said
    assert re.search(r"^Time stamp: .* GMT$", said, re.MULTILINE)
    for name, key in (("signed-bytes", "key"), ("checkpoint", "log")):
        signed = bundle / name
        data = bytearray(signed.read_bytes())
        data[len(data) // 2] ^= 1
        signed.write_bytes(data)
        (check,) = re.findall(
            rf"^openssl pkeyutl .*{key}.pem(?:.*\\\n)?.*$", text, re.MULTILINE
        )
        code, said = run(check, bundle, {})
        assert code != 0
        assert "Signature Verified Successfully" not in said
    with (bundle / "stamped").open("a") as stamped:
        stamped.write("\n")
    (check,) = re.findall(r"^openssl ts -verify .*$", text, re.MULTILINE)
    code, said = run(check, bundle, {})
    assert code != 0
    assert "Verification: OK" not in said


def test_the_proof_of_inclusion_is_checked_without_our_software(bundle: Path) -> None:
    *_, program, _ = blocks(page("verify-without-our-software.md"), "python")
    path = bundle / "bundle.json"
    members = json.loads(path.read_bytes())
    first = members["statements"][0]
    first["receipt"] = first["receipt"].replace("index ", "index 1")
    path.write_text(json.dumps(members))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=bundle, capture_output=True, check=False
    )
    assert b"AssertionError" in done.stderr


def test_verifying_a_bundle_is_as_described(
    exchange: ExchangeProcess, taken: str
) -> None:
    text = page("verify-a-bundle.md")
    trust = exchange.folder / "trust.txt"
    trust.write_text(exchange.home(HOTLINE).trust)
    go_through(text, exchange.folder, ID=taken)
    questions = re.findall(r"^\| (\w+) \| [A-Z][^|]*\? \|$", text, re.MULTILINE)
    assert questions == list(STEPS.values())


CONNECT = "connect-a-state-system.md"


def test_a_state_system_is_connected_by_a_program(exchange: ExchangeProcess) -> None:
    referral_id = publish(exchange)
    go_through(page(CONNECT), exchange.folder)
    hotline = "--home", str(exchange.folder / "hotline")
    shown = json.loads(command("onward", "show", referral_id, "--json", *hotline))
    assert [delivery["state"] for delivery in shown["deliveries"]] == ["TAKEN"]
    command("onward", "retract", referral_id, "--reason", "SENT_IN_ERROR", *hotline)
    again = "onward receive --home police --exec ./take-in --drain"
    code, said = run(again, exchange.folder, {})
    assert code == 0, said
    shown = json.loads(command("onward", "show", referral_id, "--json", *hotline))
    states = [delivery["state"] for delivery in shown["deliveries"]]
    assert states == ["RETRACTION_ANSWERED"]


def test_a_connected_program_finds_the_variables_of_the_page(
    exchange: ExchangeProcess,
) -> None:
    described = set(re.findall(r"^\| `(ONWARD_\w+)` \|", page(CONNECT), re.MULTILINE))
    receive = (
        "onward receive --home police --drain --exec "
        "\"sh -c 'env | grep -o ^ONWARD_[A-Z_]* >> variables'\""
    )
    hotline = "--home", str(exchange.folder / "hotline")
    referral_id = publish(exchange)
    run(receive, exchange.folder, {})
    command("onward", "retract", referral_id, "--reason", "SENT_IN_ERROR", *hotline)
    code, said = run(receive, exchange.folder, {})
    assert code == 0, said
    found = (exchange.folder / "variables").read_text().split()
    assert {name for name in found if name != "ONWARD_HOME"} == described


OBSERVE = "read-logs-and-metrics.md"


def test_logs_and_metrics_are_read_as_described(exchange: ExchangeProcess) -> None:
    metrics = exchange.environment["ONWARD__TELEMETRY__PROMETHEUS_LISTEN"]
    text = page(OBSERVE).replace("127.0.0.1:9464", metrics)
    go_through(text, exchange.folder)


def test_every_event_of_the_exchange_is_described() -> None:
    called = re.compile(r"_log\.(info|warning|error|exception)\(\s*\"([^\"]+)\"")
    found = {
        (event, level.replace("exception", "error"))
        for file in (ROOT / "server").rglob("*.py")
        for level, event in called.findall(file.read_text("utf-8"))
    }
    rows = re.findall(
        r"^\| (`.*`) \| (info|warning|error) \|", page(OBSERVE), re.MULTILINE
    )
    described = {
        (event, level)
        for events, level in rows
        for event in re.findall("`(.*?)`", events)
    }
    assert described == found


def test_every_expression_is_about_a_metric_that_prometheus_sees() -> None:
    registry = CollectorRegistry()
    meters = MeterProvider([PrometheusMetricReader(registry=registry)])
    telemetry = Telemetry(meters=meters)
    for metric in METRICS:
        telemetry.tell(metric, 1, dict.fromkeys(metric.attributes, "any"))
    seen = generate_latest(registry).decode()
    meters.shutdown()
    names = re.findall(r"(?<![\w.])(?:onward|rpc)_\w+", page(OBSERVE))
    assert names
    for name in names:
        assert re.search(rf"\b{name}\b", seen), name


WITHOUT_SDK = "write-a-client-without-the-sdk.md"


def test_a_client_without_the_sdk_publishes_and_receives(
    exchange: ExchangeProcess, taken: str
) -> None:
    steps = go_through(page(WITHOUT_SDK), exchange.folder)
    (referral_id,) = re.findall(r"accepted (\S+)", steps[-1].printed)
    home = "--home", str(exchange.folder / "hotline")
    data = command("onward", "bundle", referral_id, "--out", "-", *home).encode()
    report = verify_bundle(data, exchange.home(HOTLINE).trust)
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
    make, _ = blocks(page(WITHOUT_SDK), "sh")
    script = f"{make}\nrm -rf tips police/NH-0001.txt\n{PUBLISH[by]}\n{RECEIVE[to]}"
    code, said = run(script, exchange.folder, {})
    assert code == 0, said
    assert "motel clerk" in said


def test_reflection_describes_the_exchange_to_a_member(
    exchange: ExchangeProcess,
) -> None:
    client, reflection = "python", "python reflection"
    text = page(WITHOUT_SDK)
    program = "\n".join([*blocks(text, client), *blocks(text, reflection)])
    done = subprocess.run(
        [sys.executable, "-c", program, exchange.folder / "hotline"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "onward.v1.ReferralService\n" in done.stdout
    assert 'exchange: "spiffe://national.example/exchange"' in done.stdout
