"""What an opening proves, and what makes it prove nothing."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onward.core.bundle import needed_sizes
from onward.core.encoding import encode_base64
from onward.core.errors import MalformedError
from onward.core.intakes import commitment
from onward.core.opening import Opening, build_opening, verify_opening
from onward.core.verify import ExitCode, Report, Verdict
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.support.chain_builder import (
    HOTLINE,
    OHIO,
    ChainBuilder,
    Logged,
    established,
    private_key,
    timestamp,
)

SALT = bytes(range(32))
CONTENT = b"Motel clerk says a guest asked for help."


def intake(builder: ChainBuilder, **changes: Any) -> statement_pb2.Intake:
    """Returns an intake that commits to the content."""
    fields: dict[str, Any] = {
        "number": 7,
        "number_in_jurisdiction": 3,
        "urgency": vocabulary_pb2.URGENCY_ROUTINE,
        "channel": vocabulary_pb2.CHANNEL_CALL,
        "reporter_type": vocabulary_pb2.REPORTER_TYPE_INDUSTRY_WORKER,
        "subject_age_group": vocabulary_pb2.AGE_GROUP_ADULT,
        "trafficking_type": vocabulary_pb2.TRAFFICKING_TYPE_SEX,
        "jurisdiction": statement_pb2.Jurisdiction(code="US-OH"),
        "received_time": timestamp(builder.now),
        "content_commitment": commitment(SALT, CONTENT),
    }
    return statement_pb2.Intake(**(fields | changes))


def opening(builder: ChainBuilder, logged: Logged) -> bytes:
    """Returns the opening of an intake, as an honest hotline makes it."""
    names = {builder.exchange, HOTLINE}
    directory = [
        item.bundled()
        for item in builder.directory()
        if (item.statement.message.directory_change.member.name or builder.exchange)
        in names
    ]
    note = builder.checkpoint()
    proofs = [
        builder.consistency(size)
        for size in needed_sizes(note, [logged.bundled(), *directory])
    ]
    return build_opening(SALT, note, logged.bundled(), directory, proofs)


@pytest.fixture
def builder() -> ChainBuilder:
    return established()


@pytest.fixture
def revealed(builder: ChainBuilder) -> bytes:
    logged = builder.say(HOTLINE, intake=intake(builder))
    builder.publish(HOTLINE, OHIO)  # the log goes on
    return opening(builder, logged)


def wrong(report: Report) -> list[str]:
    """Returns the names of the steps that are not proven."""
    return [
        step.name for step in report.summary() if step.verdict is Verdict.NOT_PROVEN
    ]


def changed(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    members = json.loads(data)
    change(members)
    return json.dumps(members).encode()


def test_the_content_is_proven_to_be_that_of_the_intake(
    builder: ChainBuilder, revealed: bytes
) -> None:
    report = verify_opening(revealed, CONTENT, builder.trust())
    assert report.exit_code == ExitCode.PROVEN
    (shown,) = report.statements
    assert (shown.kind, shown.issuer) == ("intake", HOTLINE)
    (form,) = [step for step in report.steps if step.number == 1]
    assert form.why == f"it is of {HOTLINE}, intake 7"


@pytest.mark.parametrize("content", [CONTENT + b" ", CONTENT.lower(), b""])
def test_any_other_content_is_not(
    builder: ChainBuilder, revealed: bytes, content: bytes
) -> None:
    report = verify_opening(revealed, content, builder.trust())
    assert report.exit_code == ExitCode.NOT_PROVEN
    assert wrong(report) == ["content"]


def test_another_salt_opens_nothing(builder: ChainBuilder, revealed: bytes) -> None:
    for salt in (bytes(32), b"short"):
        text = encode_base64(salt)
        data = changed(revealed, lambda members: members.update(salt=text))  # noqa: B023
        assert wrong(verify_opening(data, CONTENT, builder.trust())) == ["content"]


def test_the_exchange_cannot_say_it_for_the_hotline(builder: ChainBuilder) -> None:
    key = private_key("somebody else")
    logged = builder.say(HOTLINE, key=key, intake=intake(builder))
    report = verify_opening(opening(builder, logged), CONTENT, builder.trust())
    assert wrong(report) == ["signatures"]


def test_an_intake_that_is_not_in_the_log_proves_nothing(
    builder: ChainBuilder, revealed: bytes
) -> None:
    other = builder.sign(HOTLINE, intake=intake(builder, number=8))

    def replace(members: dict[str, Any]) -> None:
        members["proof"]["statements"][0]["statement"] = other.jws

    report = verify_opening(changed(revealed, replace), CONTENT, builder.trust())
    assert set(wrong(report)) >= {"inclusion", "view"}


def test_the_keys_must_lead_back_to_the_first_entry(
    builder: ChainBuilder, revealed: bytes
) -> None:
    data = changed(revealed, lambda members: members["proof"]["directory"].pop(0))
    assert "keys" in wrong(verify_opening(data, CONTENT, builder.trust()))


def test_each_tree_that_is_named_must_be_proven(
    builder: ChainBuilder, revealed: bytes
) -> None:
    data = changed(revealed, lambda members: members["proof"]["consistency"].clear())
    assert wrong(verify_opening(data, CONTENT, builder.trust())) == ["consistency"]


def test_the_view_must_be_what_was_signed(
    builder: ChainBuilder, revealed: bytes
) -> None:
    def lie(members: dict[str, Any]) -> None:
        members["proof"]["view"][0]["body"]["received_time"] = "2020-01-01T00:00:00Z"

    report = verify_opening(changed(revealed, lie), CONTENT, builder.trust())
    assert wrong(report) == ["view"]


def test_another_statement_is_no_intake(builder: ChainBuilder) -> None:
    hold = statement_pb2.Hold(intake_number=7, approver_role="x", reason="y")
    intake_of = builder.say(HOTLINE, intake=intake(builder))
    logged = builder.say(HOTLINE, previous=intake_of, hold=hold)
    report = verify_opening(opening(builder, logged), CONTENT, builder.trust())
    assert {"format", "content"} <= set(wrong(report))


def test_who_does_not_trust_the_log_is_shown_nothing(
    revealed: bytes,
) -> None:
    stranger = ChainBuilder("elsewhere.example")
    stranger.found()
    report = verify_opening(revealed, CONTENT, stranger.trust())
    assert report.exit_code == ExitCode.NOT_PROVEN


def test_witnesses_are_asked_for_where_the_trust_file_does() -> None:
    builder = established()
    builder.witnesses = ("one", "two")
    logged = builder.say(HOTLINE, intake=intake(builder))
    report = verify_opening(opening(builder, logged), CONTENT, builder.trust())
    assert report.exit_code == ExitCode.PROVEN
    (witnesses,) = [step for step in report.steps if step.number == 6]
    assert witnesses.verdict is Verdict.PROVEN
    assert report.statements[0].interval.not_after is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"format": "onward-bundle/v1"}',
        b'{"format": "onward-opening/v1", "salt": 3, "proof": {}}',
        b'{"format": "onward-opening/v1", "salt": "", "proof": {"format": 1}}',
    ],
)
def test_what_is_no_opening_is_not_checked(builder: ChainBuilder, data: bytes) -> None:
    report = verify_opening(data, CONTENT, builder.trust())
    assert report.exit_code == ExitCode.NOT_CHECKED
    with pytest.raises(MalformedError):
        Opening.parse(data)


def test_a_trust_file_that_is_none_checks_nothing(revealed: bytes) -> None:
    assert verify_opening(revealed, CONTENT, "x").exit_code == ExitCode.NOT_CHECKED


def test_the_page_shows_how_to_check_the_commitment_with_nothing_of_ours(
    tmp_path: Path,
) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/opening.md").read_text("utf-8")
    (recipe,) = re.findall(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "salt").write_bytes(SALT)
    (tmp_path / "tip.json").write_bytes(CONTENT)
    printed = subprocess.check_output(["bash", "-c", recipe], cwd=tmp_path, text=True)
    assert printed.split()[0] == commitment(SALT, CONTENT).hex()
