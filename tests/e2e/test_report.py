"""The auditor's report and the certificate, from a real exchange to the files."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from onward.v1.vocabulary_pb2 import (
    MEMBER_KIND_AUDITOR,
    MEMBER_KIND_HOTLINE,
    MEMBER_KIND_LAW_ENFORCEMENT,
)
from onward_server.config import load
from tests.support.desk import Desk
from tests.support.process import (
    AUDITOR,
    HOTLINE,
    POLICE,
    TRUST_DOMAIN,
    ExchangeProcess,
)

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
FLORIDA_AUDITOR = f"spiffe://{TRUST_DOMAIN}/auditor/florida-inspector"
MEMBERS = {
    HOTLINE: (MEMBER_KIND_HOTLINE, ["US"]),
    POLICE: (MEMBER_KIND_LAW_ENFORCEMENT, ["US-OH"]),
    AUDITOR: (MEMBER_KIND_AUDITOR, ["*"]),
    FLORIDA_AUDITOR: (MEMBER_KIND_AUDITOR, ["US-FL"]),
}
TODAY = datetime.now(UTC)
PERIOD = (
    *("--from", f"{TODAY - timedelta(days=2):%Y-%m-%d}"),
    *("--to", f"{TODAY + timedelta(days=1):%Y-%m-%d}"),
)


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExchangeProcess]:
    """An exchange at which tips were passed on, withheld and found twice."""
    folder = tmp_path_factory.mktemp("exchange")
    running = ExchangeProcess.found(folder)
    running.start()

    async def populate() -> None:
        for name, (kind, jurisdictions) in MEMBERS.items():
            await running.join(name, kind, jurisdictions)

    try:
        asyncio.run(populate())
        work(running, folder)
        yield running
    finally:
        running.stop()


def work(exchange: ExchangeProcess, folder: Path) -> None:
    """Four tips in Ohio, one in Florida; one is passed on and closed."""
    hotline, police = Desk(exchange, HOTLINE), Desk(exchange, POLICE)
    tips = [written(folder / f"{name}.json", name) for name in range(5)]
    places = ("US-OH", "US-OH", "US-OH", "US-OH", "US-FL")
    for tip, place in zip(tips, places, strict=True):
        hotline.does("intake", tip, *class_of(place))
    hotline.does("publish", tips[0], "--to", POLICE, "--intake", "1", *routing())
    withheld = (
        "--reason",
        "NO_TRAFFICKING_INDICATORS",
        "--approver-role",
        "supervisor",
    )
    hotline.does("withhold", "2", *withheld)
    hotline.does("duplicate", "3", "--of", "1")
    hotline.does("withhold", "5", *withheld)
    (received,) = police.asks("receive", "--once")
    referral = received["referral_id"]
    police.does("ack", referral, "--role", "watch officer")
    police.does("take", referral)
    police.does("outcome", referral, "--code", "ASSIGNED", "--close")


def written(file: Path, minutes: int) -> Path:
    tip = json.loads((SAMPLES / "NH-0004.json").read_text())
    received = datetime.now(UTC) - timedelta(minutes=minutes + 1)
    tip["receivedTime"] = received.isoformat()
    file.write_text(json.dumps(tip))
    return file


def class_of(place: str) -> list[str]:
    return ["--urgency", "ROUTINE", "--jurisdiction", place, "--subject", "ADULT"]


def routing() -> list[str]:
    return [*class_of("US-OH"), "--basis", "THIRD_PARTY_TIP"]


def report_of(desk: Desk, out: Path, *options: str | Path, code: int = 0) -> Any:
    """Makes a report; returns it as JSON."""
    words = ("report", *PERIOD, "-o", out, "--json", *options)
    result = desk.types(*words)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def answer(report: Any, number: int) -> Any:
    return report["answers"][number - 1]


def test_an_auditor_of_everything_has_every_question_answered_and_proven(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    desk = Desk(exchange, AUDITOR)
    report = report_of(desk, tmp_path, "--jurisdiction", "US", "--verify-sample", "1")
    assert report["verdict"] == "PROVEN"
    assert {step["verdict"] for step in report["steps"]} == {"PROVEN"}
    assert {item["verdict"] for item in report["answers"]} == {"PROVEN"}
    figures = answer(report, 1)["figures"]
    assert [figures[name] for name in ("received", "passed_on", "withheld")] == [
        5,
        1,
        2,
    ]
    assert [figures[name] for name in ("duplicates", "open")] == [1, 1]
    assert answer(report, 10)["figures"] == {"delivered": 1, "outcome": 1, "share": 1}
    (bundle,) = (tmp_path / "sample").iterdir()
    trust = desk.home / "trust.txt"
    assert desk.types("verify", bundle, "--trust", trust).exit_code == 0
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "http://" not in page.replace("http-equiv", "")
    assert (tmp_path / "intakes.csv").read_text().count("\n") == 6


def test_an_auditor_of_one_state_has_that_state_proven_and_nothing_else(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    desk = Desk(exchange, FLORIDA_AUDITOR)
    report = report_of(desk, tmp_path, "--jurisdiction", "US-FL")
    assert report["verdict"] == "PROVEN"
    figures = answer(report, 1)["figures"]
    assert [figures[name] for name in ("received", "withheld", "open")] == [1, 1, 0]
    assert figures["entries_shown"] < figures["entries_gained"]
    assert "US-OH" not in (tmp_path / "evidence" / "statements.jsonl").read_text()
    (coverage,) = [step for step in report["steps"] if step["name"] == "coverage"]
    assert coverage["verdict"] == "NOT_CHECKED"
    ohio = report_of(desk, tmp_path / "ohio", "--jurisdiction", "US-OH", code=1)
    assert ohio["verdict"] == "NOT_PROVEN"


def test_evidence_can_be_judged_again_elsewhere_and_offline(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    desk = Desk(exchange, AUDITOR)
    first = report_of(desk, tmp_path, "--jurisdiction", "US")
    elsewhere = Path(shutil.move(tmp_path / "evidence", tmp_path / "archive"))
    trust = tmp_path / "trust.txt"
    shutil.copy(desk.home / "trust.txt", trust)
    words = ("--jurisdiction", "US", "--offline", "--evidence", elsewhere)
    stranger = Desk(exchange, "spiffe://nobody.example/auditor/without-a-home")
    again = report_of(stranger, tmp_path, *words, "--trust", trust)
    assert again == first
    sampled = report_of(
        stranger, tmp_path, *words, "--trust", trust, "--verify-sample", "1"
    )
    assert answer(sampled, 10)["verdict"] == "NOT_CHECKED"


@pytest.mark.parametrize(("code", "named"), [("*", "the whole log"), ("US", "US")])
def test_the_last_line_says_what_is_proven(
    exchange: ExchangeProcess, tmp_path: Path, code: str, named: str
) -> None:
    words = ("report", *PERIOD, "-o", tmp_path, "--jurisdiction", code)
    assert Desk(exchange, AUDITOR).does(*words).splitlines()[-1] == f"PROVEN: {named}"


def test_the_chain_of_one_tip_is_shown_from_its_registration_to_its_outcome(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    desk = Desk(exchange, AUDITOR)
    words = ("--jurisdiction", "US", "--tip", "national-hotline#1")
    report = report_of(desk, tmp_path, *words)
    (table,) = answer(report, 5)["tables"]
    steps = [row[2] for row in table["rows"]]
    assert steps[:3] == ["registered", "published", "accepted"]
    assert {"received", "read by a person", "taken", "closed"} <= set(steps)


def test_a_report_for_publication_names_no_tip_and_no_small_number(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    desk = Desk(exchange, AUDITOR)
    report = report_of(desk, tmp_path, "--jurisdiction", "US", "--publish")
    figures = answer(report, 1)["figures"]
    assert figures["passed_on"] == figures["withheld"] == figures["open"] == "<3"
    assert figures["received"] == 5
    assert not (tmp_path / "intakes.csv").exists()
    assert "<3" not in (tmp_path / "report.html").read_text()  # it is escaped there
    assert "&lt;3" in (tmp_path / "report.html").read_text()
    refused = desk.types(
        "report", *PERIOD, "--jurisdiction", "US", "--publish", "--tip"
    )
    assert refused.exit_code == 2


def test_a_missing_statement_ends_with_1_and_missing_evidence_with_2(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    desk = Desk(exchange, AUDITOR)
    report_of(desk, tmp_path, "--jurisdiction", "US")
    file = tmp_path / "evidence" / "statements.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    words = ("--jurisdiction", "US", "--offline")
    report = report_of(desk, tmp_path, *words, code=1)
    assert report["verdict"] == "NOT_PROVEN"
    assert "not proven" in (tmp_path / "report.html").read_text()
    (tmp_path / "evidence" / "header.json").unlink()
    result = desk.types("report", *PERIOD, "-o", tmp_path, *words)
    assert result.exit_code == 2
    assert "header.json" in result.stderr


def test_only_auditors_are_shown_statements(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    words = ("report", *PERIOD, "-o", tmp_path, "--jurisdiction", "US")
    Desk(exchange, HOTLINE).is_refused(*words, reason="ROLE_REQUIRED")


def test_a_certificate_is_a_form_with_the_digest_of_a_proven_bundle(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    desk, bundle = Desk(exchange, AUDITOR), tmp_path / "bundle.json"
    (referral,) = desk.asks("chains")
    desk.does("bundle", referral["referral_id"], "-o", bundle)
    trust, form = desk.home / "trust.txt", tmp_path / "certificate.html"
    desk.does("certificate", bundle, "--trust", trust, "-o", form)
    page = form.read_text()
    assert sha256(bundle.read_bytes()).hexdigest() in page
    assert "902(13)" in page
    assert "no legal advice" in page
    assert page.count("<input") + page.count("<textarea") == 9
    changed = json.loads(bundle.read_text())
    changed["statements"].pop()
    changed["view"].pop()
    bundle.write_text(json.dumps(changed))
    form.unlink()
    refused = desk.types("certificate", bundle, "--trust", trust, "-o", form)
    assert refused.exit_code in {0, 1}
    changed["statements"].pop(0)
    bundle.write_text(json.dumps(changed))
    assert (
        desk.types("certificate", bundle, "--trust", trust, "-o", form).exit_code == 1
    )


def test_a_changed_figure_in_the_exchanges_tables_is_noticed(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    """The last one: it leaves the exchange's tables as they should not be."""
    database = load(exchange.config, {}).storage.database_file
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("UPDATE intakes SET state = 2 WHERE number = 4")
    report = report_of(
        Desk(exchange, AUDITOR), tmp_path, "--jurisdiction", "US", code=1
    )
    (figures,) = [step for step in report["steps"] if step["name"] == "figures"]
    assert figures["verdict"] == "NOT_PROVEN"
    assert answer(report, 1)["verdict"] == "NOT_PROVEN"
    assert answer(report, 1)["figures"]["open"] == 1
