"""``onward`` as hotlines and watch desks use it, against a real exchange."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from onward.v1.vocabulary_pb2 import (
    MEMBER_KIND_AUDITOR,
    MEMBER_KIND_HOTLINE,
    MEMBER_KIND_LAW_ENFORCEMENT,
)
from tests.support.desk import Desk, Program, Words, lines
from tests.support.process import (
    AUDITOR,
    HOTLINE,
    POLICE,
    TRUST_DOMAIN,
    ExchangeProcess,
)

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
FLORIDA = f"spiffe://{TRUST_DOMAIN}/agency/florida-hotline"
MEMBERS = {
    HOTLINE: (MEMBER_KIND_HOTLINE, ["US"]),
    FLORIDA: (MEMBER_KIND_HOTLINE, ["US-FL"]),
    POLICE: (MEMBER_KIND_LAW_ENFORCEMENT, ["US-OH"]),
    AUDITOR: (MEMBER_KIND_AUDITOR, ["US"]),
}


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExchangeProcess]:
    """An exchange with members, for all tests of this module."""
    running = ExchangeProcess.found(tmp_path_factory.mktemp("exchange"))
    running.start()

    async def populate() -> None:
        for name, (kind, jurisdictions) in MEMBERS.items():
            await running.join(name, kind, jurisdictions)

    asyncio.run(populate())
    yield running
    running.stop()


@pytest.fixture(scope="module")
def hotline(exchange: ExchangeProcess) -> Desk:
    return Desk(exchange, HOTLINE)


@pytest.fixture(scope="module")
def police(exchange: ExchangeProcess) -> Desk:
    return Desk(exchange, POLICE)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


@pytest.fixture
def tip(tmp_path: Path) -> Path:
    """A tip that came in a minute ago."""
    return written(tmp_path / "tip.json", minutes=1)


def written(file: Path, *, minutes: float) -> Path:
    """Writes a tip that came in so many minutes ago."""
    tip = json.loads((SAMPLES / "NH-0004.json").read_text())
    received = datetime.now(UTC) - timedelta(minutes=minutes)
    tip["receivedTime"] = received.isoformat()
    file.write_text(json.dumps(tip))
    return file


def class_of(urgency: str = "ROUTINE", place: str = "US-OH") -> list[str]:
    """Returns the options of an intake that is sound."""
    return [
        *("--urgency", urgency, "--jurisdiction", place, "--subject", "ADULT"),
        *("--urgency-reason", "leaving soon"),
    ]


def registered(hotline: Desk, tip: Path, *options: str) -> int:
    """Registers a tip; returns its number."""
    (record,) = hotline.asks("intake", tip, *class_of(), *options)
    number: int = record["number"]
    return number


def state_of(hotline: Desk, number: int) -> str:
    (shown,) = hotline.asks("book", str(number))
    return str(shown["state"])


# --- the book -------------------------------------------------------------------------


def test_a_book_begins_where_the_hotline_stands_and_goes_on(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    florida = Desk(exchange, FLORIDA)
    first, second = (
        written(tmp_path / f"{name}.json", minutes=name) for name in (2, 1)
    )
    begin = ("--first-number", "118")
    assert registered(florida, first, *begin) == 118
    assert registered(florida, second, *begin) == 119
    (detail,) = florida.asks("book", "119")
    body = detail["statements"][0]["body"]
    assert body["number_in_jurisdiction"] == "2"
    assert body["urgency"] == "ROUTINE"
    listed = [view["number"] for view in florida.asks("book")]
    assert listed == ["118", "119"]


def test_the_same_tip_is_one_intake_however_often_it_is_handed_in(
    hotline: Desk, tip: Path
) -> None:
    first = registered(hotline, tip)
    assert registered(hotline, tip) == first
    assert registered(hotline, tip, "--channel", "MAIL") == first + 1


def test_any_file_is_a_tip_when_options_describe_it(
    hotline: Desk, tmp_path: Path
) -> None:
    recording = tmp_path / "call.wav"
    recording.write_bytes(bytes(1000))
    (record,) = hotline.asks(
        *("intake", recording),
        *(*class_of(), "--channel", "CALL", "--test"),
        *("--reporter", "FAMILY", "--trafficking", "SEX"),
        *("--received", "2026-11-01T10:00:00-05:00"),
    )
    assert record["body"]["received_time"] == "2026-11-01T15:00:00Z"
    assert record["body"]["test"] is True
    lacking = hotline.types("intake", recording, *class_of())
    assert lacking.exit_code == 2
    assert "--channel" in lacking.stderr


def test_what_is_kept_at_the_hotline_is_salt_and_receipt_and_no_content(
    hotline: Desk, tip: Path
) -> None:
    number = registered(hotline, tip)
    file = hotline.home / "intakes" / f"{number}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = json.loads(file.read_text())
    assert kept.keys() == {"number", "salt", "statement", "receipt"}
    narrative = json.loads(tip.read_text())["narrative"]
    for path in (hotline.home / "intakes").rglob("*.json"):
        assert narrative[:20] not in path.read_text()
    assert not list((hotline.home / "queue").glob("*.json"))


def test_many_tips_are_registered_line_by_line(hotline: Desk, tmp_path: Path) -> None:
    for name in range(3):
        written(tmp_path / f"{name}.json", minutes=10 - name)
    rows = [
        {"tip": "0.json"},
        {"tip": "1.json", "intake": {"urgency": "SOON"}},
        {"tip": "2.json", "intake": {"jurisdiction": {"code": "US-TX"}}},
    ]
    batch = tmp_path / "tips.jsonl"
    batch.write_text("\n".join(map(json.dumps, rows)))
    result = hotline.types("intake", "--batch", batch, *class_of(), "--json")
    assert result.exit_code == 2
    first, wrong, last = lines(result.stdout)
    assert [item["line"] for item in (first, wrong, last)] == [1, 2, 3]
    assert wrong["error"]["reason"] == "MALFORMED"
    assert last["number"] == first["number"] + 1
    assert last["body"]["jurisdiction"]["code"] == "US-TX"
    again = lines(
        hotline.types("intake", "--batch", batch, *class_of(), "--json").stdout
    )
    assert again[2]["number"] == last["number"]


# --- what becomes of an intake --------------------------------------------------------


def test_a_tip_is_withheld_and_decided_again(hotline: Desk, tip: Path) -> None:
    number = registered(hotline, tip)
    approved = ("--approver-role", "shift supervisor")
    review = (datetime.now(UTC) + timedelta(days=10)).date().isoformat()
    (pending,) = hotline.asks(
        *("withhold", str(number), "--reason", "CONSENT_PENDING", *approved),
        *("--review", review),
    )
    assert pending["body"]["review_time"] == f"{review}T00:00:00Z"
    assert state_of(hotline, number) == "WITHHELD"
    assert number in [
        int(view["number"]) for view in hotline.asks("book", "--state", "WITHHELD")
    ]
    hotline.does("withhold", str(number), "--reason", "VICTIM_DECLINED", *approved)
    shown = hotline.does("book", str(number))
    assert f"CONSENT_PENDING, approved by shift supervisor, again on {review}" in shown
    assert "VICTIM_DECLINED" in shown


def test_what_the_policy_forbids_to_withhold_is_refused_by_its_rule(
    hotline: Desk, tip: Path
) -> None:
    (record,) = hotline.asks(
        "intake", tip, *class_of("MINOR"), "--subject", "AGE_13_17"
    )
    number = str(record["number"])
    hotline.is_refused(
        *("withhold", number, "--reason", "VICTIM_DECLINED"),
        *("--approver-role", "supervisor"),
        reason="WITHHOLDING_FORBIDDEN",
    )
    assert state_of(hotline, record["number"]) == "OPEN"
    assert "withholding-needs-reason" in hotline.does("book", number)


def test_a_supervisor_takes_more_time(hotline: Desk, tip: Path) -> None:
    number = str(registered(hotline, tip))
    why = ("--approver-role", "supervisor", "--reason", "caller will call again")
    hotline.does("hold", number, *why)
    (shown,) = hotline.asks("book", number)
    received = datetime.fromisoformat(shown["received_time"])
    due = datetime.fromisoformat(shown["due_time"])
    assert due - received == timedelta(hours=72)


def test_a_duplicate_names_an_intake_or_a_referral(
    hotline: Desk, tmp_path: Path
) -> None:
    numbers = [
        registered(hotline, written(tmp_path / f"{name}.json", minutes=name))
        for name in (30, 20, 10)
    ]
    tip = tmp_path / "30.json"
    (published,) = hotline.asks(
        *("publish", tip, "--to", POLICE, "--jurisdiction", "US-OH"),
        *("--urgency", "ROUTINE", "--basis", "THIRD_PARTY_TIP", "--subject", "ADULT"),
        *("--intake", str(numbers[0])),
    )
    assert state_of(hotline, numbers[0]) == "PASSED_ON"
    hotline.does("duplicate", str(numbers[1]), "--of", str(numbers[0]))
    hotline.does("duplicate", str(numbers[2]), "--of", published["referral_id"])
    states = [state_of(hotline, number) for number in numbers]
    assert states == ["PASSED_ON", "DUPLICATE", "DUPLICATE"]
    assert "same as intake" in hotline.does("book", str(numbers[1]))
    hotline.is_refused(
        *("hold", str(numbers[0]), "--approver-role", "x", "--reason", "y"),
        reason="INTAKE_DECIDED",
    )


def test_two_referrals_are_linked_in_both_chains(hotline: Desk, tip: Path) -> None:
    ids = []
    for _ in range(2):
        (published,) = hotline.asks(
            *("publish", tip, "--to", POLICE, "--jurisdiction", "US-OH"),
            *("--urgency", "ROUTINE", "--basis", "THIRD_PARTY_TIP"),
            *("--subject", "ADULT"),
        )
        ids.append(published["referral_id"])
    assert "same as" not in hotline.does("show", ids[0])
    logged = hotline.asks("link", *ids)
    assert [item["referral_id"] for item in logged] == ids
    for one, other in (ids, ids[::-1]):
        assert f"same as {other}" in hotline.does("show", one)


# --- revealing ------------------------------------------------------------------------


def test_an_opening_proves_what_was_registered_and_nothing_else(
    hotline: Desk, tip: Path, tmp_path: Path
) -> None:
    number = registered(hotline, tip)
    opening, trust = tmp_path / "opening.json", hotline.home / "trust.txt"
    hotline.does("reveal", str(number), "-o", opening)
    assert stat.S_IMODE(opening.stat().st_mode) == 0o600
    check: Words = ["reveal", "--check", opening, "--trust", trust, "--content"]
    assert "PROVEN" in hotline.does(*check, tip)
    (report,) = hotline.asks(*check, tip)
    assert report["verdict"] == "PROVEN"
    # Other content, the salt of another intake, and no opening at all.
    other = written(tmp_path / "other.json", minutes=5)
    assert hotline.types(*check, other).exit_code == 1
    members = json.loads(opening.read_text())
    members["salt"] = "A" * 43 + "="
    opening.write_text(json.dumps(members))
    assert hotline.types(*check, tip).exit_code == 1
    assert hotline.types(*check[:2], tip, *check[3:], tip).exit_code == 2


def test_only_who_registered_an_intake_can_reveal_it(
    hotline: Desk, police: Desk, tip: Path
) -> None:
    number = str(registered(hotline, tip))
    police.is_refused("reveal", number, reason="INTAKE_UNKNOWN")
    police.is_refused("book", reason="ROLE_REQUIRED")


def test_a_hotline_that_watches_hears_of_its_intakes_too(
    hotline: Desk, tip: Path
) -> None:
    number = registered(hotline, tip)
    watching = hotline.starts("watch")
    assert watching.stdout
    wanted = f"intake {number}  national-hotline  intake  number {number}"
    assert any(wanted in line for line in watching.stdout)
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=30)
    assert "Traceback" not in said


# --- what must not wait ---------------------------------------------------------------


def test_alerts_come_until_they_are_dealt_with(
    exchange: ExchangeProcess, hotline: Desk, program: Program, tmp_path: Path
) -> None:
    hotline.does("alerts", "--drain")
    # A danger of which nobody was told for an hour.
    tip = written(tmp_path / "late.json", minutes=60)
    (record,) = hotline.asks("intake", tip, *class_of("IMMINENT_DANGER"))
    number = str(record["number"])
    # 1. The pager fails: the alert comes again.
    failed = hotline.types("alerts", "--once", "--exec", program.that("", ends=1))
    assert failed.exit_code == 1
    assert "comes again" in failed.stderr
    # 2. It succeeds, and the alert does not come again.
    (told,) = hotline.asks("alerts", "--once", "--exec", program.that(""))
    assert (told["kind"], told["body"]["due"]["kind"]) == ("breach", "PASS_ON")
    assert hotline.asks("alerts", "--drain") == []
    # 3. It was given the statement, and the facts.
    first, second = program.given()
    assert first == second
    assert json.loads(second["tip"]) == told
    facts = second["facts"]
    assert facts["ONWARD_EVENT"] == "breach"
    assert facts["ONWARD_DEADLINE"] == "PASS_ON"
    assert facts["ONWARD_HOLDER"] == facts["ONWARD_HOTLINE"] == HOTLINE
    assert facts["ONWARD_HOLDER_ROLE"] == "PUBLISHER"
    assert facts["ONWARD_INTAKE_NUMBER"] == number
    assert "ONWARD_REFERRAL_ID" not in facts
    # 4. Whoever runs the exchange hears of it too.
    operator = Desk(exchange, "operator")
    operator.home = exchange.operator
    assert f"breach of intake {number}" in operator.does("alerts", "--drain")


def test_members_see_who_looked(
    exchange: ExchangeProcess, hotline: Desk, police: Desk, tip: Path
) -> None:
    (published,) = hotline.asks(
        *("publish", tip, "--to", POLICE, "--jurisdiction", "US-OH"),
        *("--urgency", "ROUTINE", "--basis", "THIRD_PARTY_TIP", "--subject", "ADULT"),
    )
    referral_id = published["referral_id"]
    Desk(exchange, AUDITOR).does("bundle", referral_id, "-o", os.devnull)
    for desk in (hotline, police):
        look = desk.asks("looks")[0]
        assert look["body"]["auditor"] == AUDITOR
        assert look["body"]["referral_ids"] == [referral_id]
        assert "inspector-general" in desk.does("looks")
