"""``onward`` as members use it, against a real exchange."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
    TRUST_DOMAIN,
    ExchangeProcess,
    command,
)

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
NEVADA = f"spiffe://{TRUST_DOMAIN}/agency/nevada-state-police"
UTAH = f"spiffe://{TRUST_DOMAIN}/agency/utah-state-police"
OHIO = f"spiffe://{TRUST_DOMAIN}/agency/ohio-state-police"
MEMBERS = {
    HOTLINE: (MEMBER_KIND_HOTLINE, ["US"]),
    OHIO: (MEMBER_KIND_LAW_ENFORCEMENT, ["US-OH"]),
    NEVADA: (MEMBER_KIND_LAW_ENFORCEMENT, ["US-NV"]),
    UTAH: (MEMBER_KIND_LAW_ENFORCEMENT, ["US-UT"]),
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
def ohio(exchange: ExchangeProcess) -> Desk:
    return Desk(exchange, OHIO)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has ``--drain`` wait less long for nothing."""
    monkeypatch.setattr("onward.cli._receive.PAUSE", 0.3)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def routing(recipient: str = OHIO, place: str = "US-OH") -> list[str]:
    """Returns the options of a referral that is sound."""
    return [
        *("--to", recipient, "--jurisdiction", place, "--urgency", "ROUTINE"),
        *("--basis", "THIRD_PARTY_TIP", "--subject", "ADULT"),
    ]


def published(hotline: Desk, sample: str = "NH-0004", **where: str) -> str:
    """Publishes a sample; returns the referral's id."""
    tip = SAMPLES / f"{sample}.json"
    (record,) = hotline.asks("publish", tip, *routing(**where))
    referral_id: str = record["referral_id"]
    return referral_id


def kinds(desk: Desk, referral_id: str) -> list[str]:
    """Returns the kinds of the statements about a referral, as a party sees them."""
    (shown,) = desk.asks("show", referral_id)
    return [statement["kind"] for statement in shown["statements"]]


# --- joining --------------------------------------------------------------------------


def test_enrolling_with_a_token_from_standard_input(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    name = f"spiffe://{TRUST_DOMAIN}/agency/texas-state-police"
    added = command(
        *("onward-server", "member", "add", name, "--kind", "LAW_ENFORCEMENT"),
        *("--display-name", "Texas", "--jurisdiction", "US-TX", "--json"),
        *("--config", str(exchange.config)),
    )
    token = json.loads(added)["token"]
    desk = Desk(exchange, name)
    desk.home = tmp_path / "home"
    assert desk.types("enroll", "not a token").exit_code == 1
    said = desk.does("enroll", "-", data=f"{token}\n".encode())
    assert said.startswith(f"{name} is a member of ")
    (again,) = desk.asks("enroll", token)
    assert again["member"] == name
    (keys,) = desk.asks("keys", "list")
    assert [(key["use"], key["status"], key["here"]) for key in keys["keys"]] == [
        ("statement", "ACTIVE", True),
        ("content", "ACTIVE", True),
    ]
    assert desk.types("doctor").exit_code == 0


def test_rotating_keys_and_renewing_the_certificate(
    exchange: ExchangeProcess,
) -> None:
    desk = Desk(exchange, UTAH)
    (before,) = desk.asks("keys", "list")
    (change,) = desk.asks("keys", "rotate", "--algorithm", "ES384", "--suite", "P384")
    assert change["kind"] == "directory_change"
    (after,) = desk.asks("keys", "list")
    active = [key for key in after["keys"] if key["status"] == "ACTIVE"]
    assert [(key["use"], key["kind"]) for key in active] == [
        ("statement", "ES384"),
        ("content", "P384"),
    ]
    retired = {key["key_id"] for key in after["keys"] if key["status"] == "RETIRED"}
    assert retired == {key["key_id"] for key in before["keys"]}
    old = (desk.home / "tls.crt").read_bytes()
    (renewed,) = desk.asks("keys", "renew")
    assert renewed["certificate_not_after"] >= before["certificate_not_after"]
    assert (desk.home / "tls.crt").read_bytes() != old
    assert desk.types("doctor").exit_code == 0


def test_the_doctor_explains_a_suspension(exchange: ExchangeProcess) -> None:
    name = "agency/oregon-state-police"
    desk = Desk(exchange, name)
    asyncio.run(
        exchange.join(f"spiffe://{TRUST_DOMAIN}/{name}", MEMBER_KIND_LAW_ENFORCEMENT)
    )
    assert desk.types("doctor").exit_code == 0
    command(*("onward-server", "member", "suspend", name, "-c", str(exchange.config)))
    result = desk.types("doctor", "--json")
    assert result.exit_code == 1
    (wrong,) = [f for f in lines(result.stdout)[0]["findings"] if f["remedy"]]
    assert "MEMBER_SUSPENDED" in wrong["detail"]
    assert "reinstate" in wrong["remedy"]


# --- a tip's way ----------------------------------------------------------------------


def test_a_tip_from_publication_to_a_verified_bundle(
    exchange: ExchangeProcess, hotline: Desk, tmp_path: Path
) -> None:
    nevada, utah = Desk(exchange, NEVADA), Desk(exchange, UTAH)
    # 1. Published; the same command with the same file publishes nothing new.
    tip, kept = SAMPLES / "NH-0006.json", tmp_path / "kept"
    publish: Words = ["publish", tip, *routing(NEVADA, "US-NV"), "--keep", kept]
    (record,) = hotline.asks(*publish)
    (again,) = hotline.asks(*publish)
    assert again == record
    referral_id = record["referral_id"]
    assert [deadline["recipient"] for deadline in record["deadlines"]] == [NEVADA]
    # 2. Received, read, declined and passed on.
    (received,) = nevada.asks("receive", "--drain")
    assert (received["event"], received["referral_id"]) == ("received", referral_id)
    assert received["tip"]["reference"] == "NH-0006"
    assert json.loads(nevada.does("content", referral_id)) == received["tip"]
    nevada.is_refused("take", referral_id, reason="STATE_FORBIDS")
    nevada.does("ack", referral_id, "--role", "watch officer")
    reason = ("--reason", "NOT_OUR_JURISDICTION", "--suggest", UTAH)
    nevada.does("decline", referral_id, *reason)
    basis = ("--basis", "AGENCY_TO_AGENCY", "--jurisdiction", "US-UT")
    (transfer,) = nevada.asks("transfer", referral_id, "--to", UTAH, *basis)
    child = transfer["child"]["referral_id"]
    # 3. Taken and closed by the other agency.
    assert f"received {child} (ROUTINE, US-UT)" in utah.does("receive", "--once")
    utah.does("ack", child, "--role", "watch officer")
    utah.does("take", child)
    utah.does("outcome", child, "--code", "VICTIM_LOCATED_SAFE", "--close")
    # 4. The publisher sees all of it.
    shown = hotline.does("show", referral_id)
    for text in (
        "nevada-state-police RECEIVED",
        "NOT_OUR_JURISDICTION, try utah-state-police",
        "nevada-state-police TRANSFERRED",
        f"referral {child} (ROUTINE, US-UT)",
        "VICTIM_LOCATED_SAFE, closed",
        "utah-state-police CLOSED",
    ):
        assert text in shown
    (data,) = hotline.asks("show", referral_id)
    (transferred,) = data["transfers"]
    assert transferred["referral_id"] == child
    assert transferred["deliveries"][0]["state"] == "CLOSED"
    (first,) = [
        v for v in hotline.asks("list", "published") if v["referral_id"] == referral_id
    ]
    assert first["deliveries"][0]["state"] == "TRANSFERRED"
    digest = data["statements"][0]["digest"]
    assert hotline.does("receipt", digest).startswith("c2sp.org/tlog-proof@v1\n")
    (receipt,) = hotline.asks("receipt", digest, "--wait", "5")
    assert receipt["signers"] == ["national.example/log"] * 2
    hotline.is_refused("receipt", "00" * 32, reason="ENTRY_UNKNOWN")
    # 5. And can prove it to anybody.
    bundle, trust = tmp_path / "bundle.json", hotline.home / "trust.txt"
    hotline.does("bundle", referral_id, "--out", bundle)
    assert "PROVEN" in hotline.does("verify", bundle, "--trust", trust)


def test_a_bundle_with_the_sealed_content(
    hotline: Desk, ohio: Desk, tmp_path: Path
) -> None:
    referral_id = published(hotline)
    bundle = tmp_path / "bundle.json"
    attach = ("bundle", referral_id, "--content", "--out", bundle)
    hotline.is_refused(*attach, reason="CONTENT_UNKNOWN")
    assert not bundle.exists()
    ohio.does("receive", "--drain")
    ohio.does(*attach)
    (report,) = ohio.asks("verify", bundle, "--trust", ohio.home / "trust.txt")
    (content,) = [step for step in report["steps"] if step["name"] == "content"]
    assert content["verdict"] == "PROVEN"


def test_an_auditor_lists_and_fetches_chains(
    exchange: ExchangeProcess, hotline: Desk, tmp_path: Path
) -> None:
    referral_id = published(hotline)
    auditor = Desk(exchange, AUDITOR)
    listed = [line["referral_id"] for line in auditor.asks("chains")]
    assert referral_id in listed
    bundle = tmp_path / "bundle.json"
    auditor.does("bundle", referral_id, "-o", bundle)
    auditor.does("verify", bundle, "--trust", auditor.home / "trust.txt")
    hotline.is_refused("chains", reason="ROLE_REQUIRED")


def test_what_the_policy_forbids_is_refused_by_its_rule(hotline: Desk) -> None:
    tip = json.loads((SAMPLES / "NH-0004.json").read_text())
    tip["reporterType"] = "POTENTIAL_VICTIM"
    result = hotline.types(
        "publish",
        "-",
        *routing(),
        "--consent",
        "DECLINED",
        data=json.dumps(tip).encode(),
    )
    assert result.exit_code == 1
    assert "victim-declined" in result.stderr
    assert "[DISCLOSURE_FORBIDDEN]" in result.stderr


def test_a_tip_that_is_not_well_formed_goes_nowhere(hotline: Desk) -> None:
    before = hotline.asks("list", "published")
    result = hotline.types("publish", "-", *routing(), data=b'{"narrative": "secret"}')
    assert result.exit_code == 2
    assert "secret" not in result.output
    assert hotline.asks("list", "published") == before


def test_members_are_listed_by_their_names(hotline: Desk) -> None:
    kinds_of = {entry["name"]: entry["kind"] for entry in hotline.asks("members")}
    assert kinds_of[OHIO] == "LAW_ENFORCEMENT"
    assert kinds_of[AUDITOR] == "AUDITOR"


def test_what_is_kept_is_never_published_in_the_place_of_another_tip(
    hotline: Desk, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    keep: Words = [*routing(), "--keep", kept]
    hotline.does("publish", SAMPLES / "NH-0004.json", *keep)
    before = kept.read_bytes()
    hotline.is_refused(
        *("publish", SAMPLES / "NH-0002.json", *keep), reason="REFERRAL_ID_REUSED"
    )
    hotline.is_refused(
        *("publish", SAMPLES / "NH-0004.json", *keep, "--consent", "GRANTED"),
        reason="REFERRAL_ID_REUSED",
    )
    assert kept.read_bytes() == before


def test_a_refused_referral_is_not_kept(hotline: Desk, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    forbidden = ("--basis", "VICTIM_WRITTEN_RELEASE", "--consent", "EXPIRED")
    tip = json.loads((SAMPLES / "NH-0004.json").read_text())
    tip["reporterType"] = "POTENTIAL_VICTIM"
    words: Words = ["publish", "-", *routing(), *forbidden, "--keep", kept]
    result = hotline.types(*words, data=json.dumps(tip).encode())
    assert result.exit_code == 1
    assert not kept.exists()


# --- many at once ---------------------------------------------------------------------


def test_a_batch_is_answered_line_by_line(hotline: Desk, tmp_path: Path) -> None:
    tip = json.loads((SAMPLES / "NH-0004.json").read_text())
    nobody = f"spiffe://{TRUST_DOMAIN}/agency/nobody"
    rows: Sequence[object] = [
        {"tip": tip},
        {"tip": tip, "referral": {"recipients": [nobody]}},
        {"tip": tip | {"channel": "SMOKE"}},
        {"tip": tip, "referral": {"urgency": "INFORMATIONAL"}},
    ]
    file, kept = tmp_path / "tips.jsonl", tmp_path / "kept"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    publish: Words = ["publish", "--batch", file, *routing(), "--keep", kept, "--json"]
    result = hotline.types(*publish)
    assert result.exit_code == 1
    told = lines(result.stdout)
    assert [item["line"] for item in told] == [1, 2, 3, 4]
    assert [item.get("error", {}).get("reason") for item in told] == [
        None,
        "MEMBER_UNKNOWN",
        "MALFORMED",
        None,
    ]
    assert lines(hotline.types(*publish).stdout) == told
    (shown,) = hotline.asks("show", told[3]["referral_id"])
    assert shown["urgency"] == "INFORMATIONAL"


# --- a state system -------------------------------------------------------------------


def test_received_is_logged_only_after_the_program_stored_it(
    hotline: Desk, ohio: Desk, program: Program
) -> None:
    ohio.does("receive", "--drain")
    referral_id = published(hotline)
    # 1. The program fails: it is not received.
    result = ohio.types("receive", "--once", "--exec", program.that("", ends=3))
    assert result.exit_code == 1
    assert f"{referral_id} is not received, and comes again" in result.stderr
    assert "received" not in kinds(hotline, referral_id)
    # 2. It comes again; the program stores it, and the agency takes it.
    says = {"acknowledge": {"reader_role": "watch officer"}, "take": True}
    told = ohio.asks("receive", "--once", "--exec", program.that("", says))
    assert [(line["event"], line["kind"]) for line in told] == [
        ("received", "received"),
        ("logged", "acknowledgment"),
        ("logged", "taking"),
    ]
    assert not any("tip" in line for line in told)
    assert kinds(hotline, referral_id)[-3:] == ["received", "acknowledgment", "taking"]
    # 3. It was given the tip, and the facts.
    first, second = program.given()
    assert first["tip"] == second["tip"]
    assert json.loads(first["tip"])["reference"] == "NH-0004"
    facts = second["facts"]
    assert facts["ONWARD_EVENT"] == "referral"
    assert facts["ONWARD_REFERRAL_ID"] == referral_id
    assert facts["ONWARD_PUBLISHER"] == HOTLINE
    assert facts["ONWARD_ATTEMPT"] == "2"


def test_an_answer_that_is_none_leaves_the_delivery_received(
    hotline: Desk, ohio: Desk, program: Program
) -> None:
    ohio.does("receive", "--drain")
    referral_id = published(hotline)
    says = {"acknowledge": {"role": "x"}}
    result = ohio.types("receive", "--once", "--exec", program.that("", says))
    assert result.exit_code == 2
    assert kinds(hotline, referral_id)[-1] == "received"


def test_a_retraction_reaches_the_program_and_is_answered(
    hotline: Desk, ohio: Desk, program: Program
) -> None:
    ohio.does("receive", "--drain")
    referral_id = published(hotline)
    ohio.does("receive", "--once")
    hotline.does("retract", referral_id, "--reason", "CONSENT_WITHDRAWN")
    says = {"reply": {"action": "RETAINED_LEGAL_DUTY", "citation": "Ohio code 1.2"}}
    ohio.does("receive", "--drain", "--exec", program.that("", says))
    (given,) = program.given()
    assert given["tip"] == ""
    assert given["facts"]["ONWARD_EVENT"] == "retraction"
    assert given["facts"]["ONWARD_REASON"] == "CONSENT_WITHDRAWN"
    assert "RETAINED_LEGAL_DUTY" in hotline.does("show", referral_id)
    ohio.does("reply", referral_id, "--action", "DESTROYED")
    hotline.does("erase", referral_id)
    assert "retracted, content erased" in hotline.does("show", referral_id)


def test_tips_are_written_for_their_owner_only(
    hotline: Desk, ohio: Desk, tmp_path: Path
) -> None:
    ohio.does("receive", "--drain")
    referral_id = published(hotline)
    (told,) = ohio.asks("receive", "--once", "--out", tmp_path / "tips")
    assert "tip" not in told
    (file,) = (tmp_path / "tips").iterdir()
    assert file.name == f"{referral_id}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["reference"] == "NH-0004"


def test_as_many_programs_run_as_may_be_outstanding(
    hotline: Desk, ohio: Desk, program: Program, tmp_path: Path
) -> None:
    ohio.does("receive", "--drain")
    ids = {published(hotline) for _ in range(4)}
    os.mkfifo(tmp_path / "fifo")
    # Each waits for another one that runs at the same time.
    meet = (
        f"place = pathlib.Path({str(tmp_path)!r})\n"
        "try:\n"
        "    (place / 'first').mkdir()\n"
        "except FileExistsError:\n"
        "    (place / 'first').rmdir()\n"
        "    (place / 'fifo').write_text('met')\n"
        "else:\n"
        "    (place / 'fifo').read_text()"
    )
    told = ohio.asks(
        *("receive", "--drain", "--exec", program.that(meet), "--max-outstanding", "2")
    )
    assert {line["referral_id"] for line in told} == ids


def test_being_stopped_ends_the_program_and_loses_nothing(
    hotline: Desk, ohio: Desk, program: Program, tmp_path: Path
) -> None:
    ohio.does("receive", "--drain")
    referral_id = published(hotline)
    os.mkfifo(tmp_path / "fifo")
    fifo = tmp_path / "fifo"
    slow = f"pathlib.Path({str(fifo)!r}).write_text(str(os.getpid()))\ntime.sleep(60)"
    receiving = ohio.starts("receive", "--exec", program.that(slow))
    pid = int(fifo.read_text())
    receiving.terminate()
    _, said = receiving.communicate(timeout=30)
    assert receiving.returncode == 143
    assert said == ""
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    (told,) = ohio.asks("receive", "--once")
    assert told["referral_id"] == referral_id


# --- news -----------------------------------------------------------------------------


def test_watching_goes_on_where_it_ended(hotline: Desk) -> None:
    def watched(*words: str) -> dict[str, Any]:
        """Returns the first thing that comes."""
        watching = hotline.starts("watch", "--json", *words)
        assert watching.stdout
        line: dict[str, Any] = json.loads(watching.stdout.readline())
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=30)
        assert watching.returncode == 130
        assert "Traceback" not in said
        return line

    published(hotline)
    first = watched()
    second = watched("--resume", first["resume_token"])
    assert second["log_index"] > first["log_index"]
    assert first["kind"] == "referral"
