"""What an auditor notices, step by step, when something was done to the evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.scribe import EXCHANGE, Said, Scribe, milliseconds, timestamp
from bench.synthetic import BEGIN as FIRST_DAY
from bench.synthetic import tell_year
from onward._auditing import audit_folder
from onward._evidence import Folder
from onward.core.audit.policies import check_policy_name
from onward.core.errors import MalformedError, VerificationError
from onward.core.verify import ExitCode, Verdict
from onward.v1 import statement_pb2
from onward.v1 import vocabulary_pb2 as v
from tests.support.audits import (
    DAY,
    HOTLINE,
    HOUR,
    NEVADA,
    POLICE,
    WELFARE,
    Story,
    change_lines,
    whys,
    wrong,
)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story.begun(tmp_path / "evidence")


def told(story: Story) -> Folder:
    """Three tips: one passed on and read, one withheld, one open."""
    first = story.register(7)
    referred = story.refer(intake=first)
    referred.acknowledge(referred.receive())
    story.withhold(story.register(8))
    story.register(9, "US-FL")
    return story.end()


# --- what holds


def test_an_honest_story_is_proven_in_every_step(story: Story) -> None:
    told(story)
    audited = story.judged()
    assert [step.verdict for step in audited.steps] == [Verdict.PROVEN] * 13
    assert audited.exit_code is ExitCode.PROVEN


def test_a_year_is_proven_and_two_workers_find_the_same_as_none(tmp_path: Path) -> None:
    scribe = Scribe(Folder(tmp_path), milliseconds(FIRST_DAY) - DAY)
    tell_year(scribe, 600, seed=3)
    alone, together = (
        audit_folder(tmp_path, scribe.trust(), "US", lambda _: None, workers)
        for workers in (0, 2)
    )
    assert wrong(alone) == set()
    assert alone.steps == together.steps
    assert {n: r.state for n, r in alone.book.items()} == {
        n: r.state for n, r in together.book.items()
    }
    assert alone.referrals == together.referrals


def test_an_auditor_of_one_state_is_told_how_much_of_the_log_it_saw(
    tmp_path: Path,
) -> None:
    story = Story.begun(tmp_path, codes=["US-OH"])
    told(story)
    audited = story.judged("US-OH")
    coverage = audited.steps[-1]
    assert coverage.verdict is Verdict.NOT_CHECKED
    assert "of" in coverage.why
    assert audited.shown < audited.log_size


# --- what was done to the folder


def test_a_deleted_statement_is_missed(story: Story) -> None:
    folder = told(story)
    change_lines(folder, lambda lines: lines[:-1])
    audited = story.judged()
    assert wrong(audited) >= {"access", "coverage"}
    assert audited.exit_code is ExitCode.NOT_PROVEN
    assert "some were taken out" in whys(audited, "access")[0]


def test_a_deleted_statement_of_one_state_is_missed(tmp_path: Path) -> None:
    story = Story.begun(tmp_path, codes=["US-OH"])
    folder = told(story)
    change_lines(folder, lambda lines: lines[:-1])
    assert "access" in wrong(story.judged("US-OH"))


def test_a_changed_statement_does_not_stand_in_the_log(story: Story) -> None:
    folder = told(story)

    def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        jws = lines[-1]["statement"]
        lines[-1]["statement"] = jws[:-8] + ("B" if jws[-8] == "A" else "A") + jws[-7:]
        return lines

    change_lines(folder, change)
    audited = story.judged()
    assert wrong(audited) >= {"places", "coverage"}
    assert audited.exit_code is ExitCode.NOT_PROVEN


def test_two_statements_cannot_change_places(story: Story) -> None:
    folder = told(story)

    def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for name in ("statement", "chain"):
            lines[-1][name], lines[-2][name] = lines[-2][name], lines[-1][name]
        return lines

    change_lines(folder, change)
    assert "places" in wrong(story.judged())


def test_a_statement_cannot_be_listed_with_another_chain(story: Story) -> None:
    folder = told(story)

    def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        lines[-1]["chain"] = f"{HOTLINE}#8"
        return lines

    change_lines(folder, change)
    assert "evidence" in wrong(story.judged())


def test_a_changed_figure_of_the_exchange_is_noticed(story: Story) -> None:
    folder = told(story)
    header = json.loads(folder.header.read_text())
    header["intakes"][0]["count"] = "2"
    folder.header.write_text(json.dumps(header))
    audited = story.judged()
    assert wrong(audited) == {"figures"}
    assert "the exchange says 2, and the statements make 1" in str(
        whys(audited, "figures")
    )


def test_changed_entries_do_not_make_the_logs_tree(story: Story) -> None:
    folder = told(story)
    entries = bytearray(folder.entries.read_bytes())
    entries[40] ^= 1
    folder.entries.write_bytes(entries)
    assert wrong(story.judged()) >= {"entries", "places"}


def test_missing_entries_are_noticed(story: Story) -> None:
    folder = told(story)
    folder.entries.write_bytes(folder.entries.read_bytes()[:-32])
    assert "entries" in wrong(story.judged())


def test_another_logs_checkpoint_is_refused(story: Story) -> None:
    folder = told(story)
    note = folder.checkpoint.read_text()
    folder.checkpoint.write_text(note.replace("national", "notional", 1))
    with pytest.raises(VerificationError):
        story.judged()


@pytest.mark.parametrize(
    "text", ['{"access": {}}', '{"access":' * 100_000, "[" * 100_000, "1" * 9999]
)
def test_a_header_of_another_export_is_refused(story: Story, text: str) -> None:
    folder = told(story)
    folder.header.write_text(text)
    with pytest.raises(MalformedError):
        story.judged()


def test_a_line_that_is_no_json_is_refused(story: Story) -> None:
    folder = told(story)
    with folder.statements.open("a") as file:
        file.write("{not a line\n")
    with pytest.raises(MalformedError, match="line"):
        story.judged()


def test_an_audit_of_another_state_than_was_shown_is_not_proven(
    tmp_path: Path,
) -> None:
    story = Story.begun(tmp_path, codes=["US-OH"])
    told(story)
    assert "it is not about US-FL" in str(whys(story.judged("US-FL"), "access"))


# --- what the exchange hid


@pytest.mark.parametrize("codes", [["*"], ["US-OH"]])
def test_a_hidden_intake_leaves_a_gap(tmp_path: Path, codes: list[str]) -> None:
    story = Story.begun(tmp_path, codes, hides=[f"{HOTLINE}#8"])
    for number in (7, 8, 9):
        story.register(number)
    story.intakes[HOTLINE, v.URGENCY_ROUTINE, v.INTAKE_STATE_OPEN] -= 1
    story.end()
    audited = story.judged(codes[0])
    assert "intakes" in wrong(audited)
    assert "2 was next: an intake is missing" in str(whys(audited, "intakes"))
    assert ("coverage" in wrong(audited)) == (codes == ["*"])


def test_a_tip_that_was_never_logged_leaves_a_gap(story: Story) -> None:
    story.register(7)
    story._numbers["US-OH"] += 1
    story.register(9)
    story.end()
    assert wrong(story.judged()) == {"intakes"}


def test_an_intake_must_name_the_one_before_it(story: Story) -> None:
    story.register(7)
    story._last[HOTLINE] = bytes(32)
    story.register(8)
    story.end()
    assert "does not name the intake before" in str(whys(story.judged(), "intakes"))


def test_a_referral_that_answers_no_known_tip_is_noticed(story: Story) -> None:
    story.refer(intake_numbers=[3])
    story.end()
    assert "intake 3, which is missing" in str(whys(story.judged(), "intakes"))


def test_a_decision_that_was_not_possible_is_noticed(story: Story) -> None:
    intake = story.register(7)
    story.refer(intake=intake)
    story.withhold(intake)
    story.intakes[HOTLINE, v.URGENCY_ROUTINE, v.INTAKE_STATE_WITHHELD] -= 1
    story.intakes[HOTLINE, v.URGENCY_ROUTINE, v.INTAKE_STATE_OPEN] += 1
    story.end()
    assert "PASSED_ON" in str(whys(story.judged(), "intakes"))


def same(story: Story, intake: Said, other: Said, number: int) -> None:
    """The hotline says that a tip repeats one of its own."""
    body = statement_pb2.Link(
        intake_number=intake.statement.message.intake.number,
        same_as=other.digest,
        same_as_intake_number=number,
    )
    story.decide(intake, link=body)
    story.moved(intake, v.INTAKE_STATE_DUPLICATE)


def test_a_tip_about_a_minor_does_not_repeat_one_that_nobody_must_have(
    story: Story,
) -> None:
    other = story.register(7)
    story.withhold(other)
    minor = story.register(8, urgency=v.URGENCY_MINOR, age=v.AGE_GROUP_13_17)
    same(story, minor, other, 7)
    story.end()
    audited = story.judged()
    assert wrong(audited) == {"intakes"}
    assert "#8: it must go to law enforcement" in str(whys(audited, "intakes"))


def test_a_tip_may_repeat_one_that_has_reached_all_who_must_have_it(
    story: Story,
) -> None:
    other = story.register(7)
    story.refer(POLICE, WELFARE, intake=other)
    minor = story.register(8, urgency=v.URGENCY_MINOR, age=v.AGE_GROUP_13_17)
    same(story, minor, other, 7)
    story.end()
    assert wrong(story.judged()) == set()


@pytest.mark.parametrize("retracted", [False, True])
def test_a_tip_may_repeat_a_referral_unless_that_was_taken_back(
    story: Story, *, retracted: bool
) -> None:
    first = story.register(7)
    other = story.refer(POLICE, intake=first)
    if retracted:
        other.take_back()
        story.reopened(first)
    imminent = story.register(8, urgency=v.URGENCY_IMMINENT_DANGER)
    body = statement_pb2.Link(
        intake_number=8,
        same_as=other.referral.digest,
        same_as_referral_id=other.referral.id,
    )
    story.decide(imminent, link=body)
    story.moved(imminent, v.INTAKE_STATE_DUPLICATE)
    story.end()
    assert wrong(story.judged()) == ({"intakes"} if retracted else set())


def test_a_duplicate_of_nothing_is_noticed(story: Story) -> None:
    intake = story.register(7)
    same(story, intake, intake, 3)
    story.end()
    assert "it repeats is missing" in str(whys(story.judged(), "intakes"))


def test_nobody_else_withholds_a_hotlines_tip(story: Story) -> None:
    intake = story.register(7)
    body = statement_pb2.Withholding(
        intake_number=7,
        reason=v.WITHHOLD_REASON_SPAM_OR_ABUSE,
        approver_role="nobody",
    )
    said = story.scribe.sign(POLICE, previous=intake.digest, withholding=body)
    story.scribe.log(said, places=("US-OH",))
    story.end()
    # It is of the police's own book, in which there is no such intake.
    assert wrong(story.judged()) >= {"chains"}


def test_a_withholding_that_the_policy_refused_changes_nothing(story: Story) -> None:
    intake = story.register(7, urgency=v.URGENCY_MINOR, age=v.AGE_GROUP_13_17)
    withholding = story.withhold(intake, reason=v.WITHHOLD_REASON_VICTIM_DECLINED)
    body = statement_pb2.Rejection(rule="withholding-needs-reason", intake_number=7)
    story.say(EXCHANGE, places=("US-OH",), previous=withholding.digest, rejection=body)
    story.intakes[HOTLINE, v.URGENCY_MINOR, v.INTAKE_STATE_WITHHELD] -= 1
    story.intakes[HOTLINE, v.URGENCY_MINOR, v.INTAKE_STATE_OPEN] += 1
    story.end()
    audited = story.judged()
    assert wrong(audited) == set()
    assert audited.book[HOTLINE, 7].state == v.INTAKE_STATE_OPEN


@pytest.mark.parametrize("chain", ["", "the referral's"])
def test_a_rejection_of_nothing_belongs_to_no_chain(story: Story, chain: str) -> None:
    referred = story.refer(intake=story.register(7))
    story.say(EXCHANGE, rejection=statement_pb2.Rejection(rule="x"))
    folder = story.end()

    def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        lines[-1]["chain"] = referred.referral.id if chain else ""
        return lines

    change_lines(folder, change)
    assert wrong(story.judged()) & {"evidence", "signatures"}


# --- time


def test_a_backdated_acknowledgment_contradicts_what_its_reader_had_seen(
    story: Story,
) -> None:
    referred = story.refer(intake=story.register(7))
    received = referred.receive()
    story.wait(2 * HOUR)
    story.awake()
    early = timestamp(story.scribe.now_ms - HOUR)
    at = referred.acknowledge(received, made_time=early).index
    story.end()
    audited = story.judged()
    assert wrong(audited) == {"timing"}
    assert f"log entry {at}: it claims a time before" in whys(audited, "timing")[0]


def test_an_acknowledgment_after_its_breach_that_says_so_is_merely_late(
    story: Story,
) -> None:
    referred = story.refer(intake=story.register(7))
    received = referred.receive()
    due = story.scribe.now_ms + 72 * HOUR
    story.wait(72 * HOUR)
    referred.breach(v.DEADLINE_KIND_ACKNOWLEDGE, due)
    referred.acknowledge(received)
    story.end()
    assert wrong(story.judged()) == set()


def test_a_postdated_statement_is_noticed(story: Story) -> None:
    late = timestamp(story.scribe.now_ms + DAY)
    referred = story.refer(intake=story.register(7))
    referred.acknowledge(referred.receive(), made_time=late)
    story.awake()
    story.end()
    assert "postdated" in str(whys(story.judged(), "timing"))


def test_a_tree_that_the_log_never_had_is_a_fork(story: Story) -> None:
    story.register(7)
    other = statement_pb2.Seen(origin="national.example/log", size=3, root=bytes(32))
    story.say(EXCHANGE, audit_access=statement_pb2.AuditAccess(), seen=other)
    story.end()
    assert "another tree of size 3" in str(whys(story.judged(), "timing"))


# --- deadlines


def test_a_missed_deadline_without_its_breach_is_noticed(story: Story) -> None:
    referred = story.refer(intake=story.register(7))
    story.wait(5 * HOUR)
    story.awake()
    story.wait(HOUR)
    story.awake()
    referred.receive()
    story.end()
    audited = story.judged()
    assert wrong(audited) == {"deadlines"}
    assert "DELIVER" in whys(audited, "deadlines")[0]


def test_an_exchange_that_was_down_is_not_blamed_for_what_came_first_after(
    story: Story,
) -> None:
    """Nothing shows that it was there to say it."""
    referred = story.refer(intake=story.register(7))
    story.wait(6 * HOUR)
    referred.receive()
    story.end()
    assert wrong(story.judged()) == set()


def test_an_intake_that_was_left_open_needs_its_breach(story: Story) -> None:
    story.register(7)
    story.wait(25 * HOUR)
    story.awake()
    story.wait(HOUR)
    story.awake()
    story.end()
    assert "PASS_ON" in str(whys(story.judged(), "deadlines"))


def test_an_intake_with_its_breach_is_as_it_should_be(story: Story) -> None:
    intake = story.register(7)
    received = intake.statement.message.intake.received_time
    due = received.seconds * 1000 + 24 * HOUR
    story.wait(24 * HOUR)
    story.alarm(intake, due)
    story.wait(HOUR)
    story.withhold(intake)
    story.end()
    audited = story.judged()
    assert wrong(audited) == set()
    (duty,) = [duty for duty in audited.duties if duty.breach]
    assert (duty.subject, duty.holder) == (f"{HOTLINE}#7", HOTLINE)


@pytest.mark.parametrize(("hours", "honest"), [(72, False), (96, True)])
def test_a_hold_lasts_as_long_as_the_policy_at_the_hold_says(
    story: Story, hours: int, *, honest: bool
) -> None:
    intake = story.register(7)
    story.change_policy(lambda text: text.replace('to = "72 h"', 'to = "96 h"'))
    story.hold(intake)
    received = intake.statement.message.intake.received_time.seconds * 1000
    story.wait(hours * HOUR)
    story.alarm(intake, received + hours * HOUR)
    story.end()
    assert (wrong(story.judged()) == set()) == honest


def test_a_hold_after_a_missed_review_gives_more_time_as_well(story: Story) -> None:
    intake = story.register(7)
    received = intake.statement.message.intake.received_time.seconds * 1000
    review = story.scribe.now_ms + HOUR
    story.withhold(
        intake,
        reason=v.WITHHOLD_REASON_SAFETY_RISK,
        review_time=timestamp(review),
    )
    story.wait(HOUR)
    story.alarm(intake, review, v.DEADLINE_KIND_REVIEW)
    story.hold(intake)
    story.wait(71 * HOUR)
    story.alarm(intake, received + 72 * HOUR)
    story.moved(intake, v.INTAKE_STATE_OPEN)
    story.intakes[HOTLINE, v.URGENCY_ROUTINE, v.INTAKE_STATE_OPEN] += 1
    story.intakes[HOTLINE, v.URGENCY_ROUTINE, v.INTAKE_STATE_WITHHELD] -= 1
    story.end()
    assert wrong(story.judged()) == set()


def test_a_hold_after_the_time_was_over_gives_none(story: Story) -> None:
    intake = story.register(7)
    story.wait(25 * HOUR)
    story.awake()
    story.hold(intake)
    story.wait(HOUR)
    story.awake()
    story.end()
    assert "PASS_ON" in str(whys(story.judged(), "deadlines"))


def test_a_breach_before_its_time_is_false(story: Story) -> None:
    intake = story.register(7)
    story.wait(HOUR)
    story.alarm(intake, story.scribe.now_ms + 23 * HOUR)
    story.end()
    assert "from before it was due" in str(whys(story.judged(), "deadlines"))


def test_a_breach_of_what_was_decided_is_false(story: Story) -> None:
    intake = story.register(7)
    story.withhold(intake)
    story.wait(25 * HOUR)
    story.alarm(intake, story.scribe.now_ms - HOUR)
    story.end()
    assert "it was not due any more" in str(whys(story.judged(), "deadlines"))


def test_without_the_policy_sets_the_hotlines_deadlines_are_not_checked(
    story: Story,
) -> None:
    folder = told(story)
    for file in sorted(folder.policies.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    audited = story.judged()
    (step,) = [step for step in audited.steps if step.name == "deadlines"]
    assert step.verdict is Verdict.NOT_CHECKED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "default = 5",
        "[default]\nMINOR = 1",
        "[default.MINOR]\npass_on = 3",
        "[default.MINOR]\npass_on = '4 weeks'",
        "x = 1" + "0" * 150_000,
        "[\n" * 100_000,
        "a = " + "[\n" * 100_000,
        ".".join("a" * 120_000) + " = 1",
        "jurisdiction = []",
        "\0",
    ],
)
def test_deadlines_that_cannot_be_read_leave_the_hotlines_unchecked(
    story: Story, text: str
) -> None:
    story.change_policy(lambda _: text)
    told(story)
    audited = story.judged()
    steps = {step.name: step.verdict for step in audited.steps}
    assert steps["evidence"] is Verdict.NOT_PROVEN
    assert steps["deadlines"] is Verdict.NOT_CHECKED


@pytest.mark.parametrize("name", ["a" * 150, "a\nb", "x y", "\udcff"])
def test_a_policy_file_of_another_name_is_refused(story: Story, name: str) -> None:
    folder = told(story)
    (policies,) = folder.policies.iterdir()
    (policies / name).write_text("")
    assert "is no name of a policy set's file" in str(whys(story.judged(), "evidence"))


def test_a_policy_set_that_is_too_large_is_refused(story: Story) -> None:
    folder = told(story)
    (policies,) = folder.policies.iterdir()
    with (policies / "US-OH.cedar").open("wb") as file:
        file.truncate(1 << 40)
    (folder.policies / "a file").write_text("")
    assert "at most" in str(whys(story.judged(), "evidence"))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a" * 300, "\0"])
def test_no_policy_file_is_written_under_another_name(name: str) -> None:
    with pytest.raises(MalformedError):
        check_policy_name(name)


# --- states


@pytest.mark.parametrize(
    ("recipients", "state"),
    [
        ([POLICE], v.INTAKE_STATE_OPEN),
        ([WELFARE], v.INTAKE_STATE_OPEN),
        ([POLICE, WELFARE], v.INTAKE_STATE_PASSED_ON),
    ],
)
def test_a_tip_about_a_minor_is_open_until_police_and_child_welfare_have_it(
    story: Story, recipients: list[str], state: int
) -> None:
    intake = story.register(7, urgency=v.URGENCY_MINOR, age=v.AGE_GROUP_13_17)
    for name in recipients:
        story.refer(name, intake=intake)
    story.end()
    assert story.judged().book[HOTLINE, 7].state == state


def test_a_transfer_passes_nothing_on_whose_child_was_refused(story: Story) -> None:
    parent = story.refer(POLICE, intake=story.register(7))
    acknowledged = parent.acknowledge(parent.receive())
    body = statement_pb2.Referral()
    body.CopyFrom(parent.referral.statement.message.referral)
    body.ClearField("intake_numbers")
    body.recipients[:] = [NEVADA]
    body.links.add(
        kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF,
        referral_id=parent.referral.id,
        referral_digest=parent.referral.digest,
    )
    name = story.scribe.new_id()
    about: dict[str, Any] = {"places": ("US-OH",), "referral_id": name}
    child = story.say(POLICE, id=name, referral=body, **about)
    refusal = statement_pb2.Rejection(policy_digest=story.policy, rule="any")
    story.say(EXCHANGE, previous=child.digest, rejection=refusal, **about)
    transfer = statement_pb2.Transfer(child_referral_id=name, child_digest=child.digest)
    parent.answers(POLICE, acknowledged, transfer=transfer)
    parent.moved(POLICE, v.DELIVERY_STATE_TRANSFERRED)
    story.end()
    assert "was not accepted" in str(whys(story.judged(), "chains"))


def test_a_transfer_and_its_child_must_name_each_other(story: Story) -> None:
    parent = story.refer(POLICE, intake=story.register(7))
    acknowledged = parent.acknowledge(parent.receive())
    link = statement_pb2.ReferralLink(
        kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF,
        referral_id=parent.referral.id,
        referral_digest=bytes(32),
    )
    child = story.refer(NEVADA, publisher=POLICE, links=[link])
    body = statement_pb2.Transfer(
        child_referral_id=child.referral.id, child_digest=child.referral.digest
    )
    parent.answers(POLICE, acknowledged, transfer=body)
    parent.moved(POLICE, v.DELIVERY_STATE_TRANSFERRED)
    story.end()
    assert wrong(story.judged()) == {"chains"}
