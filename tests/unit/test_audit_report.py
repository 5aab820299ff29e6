"""What a report says: the ten answers, and the files that they become."""

from __future__ import annotations

import csv
import json
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bench.scribe import Said, timestamp
from onward.core.audit.report import AuditReport
from onward.core.audit.sample import draw
from onward.core.audit.scope import Period
from onward.core.audit.tables import Answer, Count, Span, spread
from onward.core.verify import ExitCode, Verdict
from onward.report import report_dict, sentence_of, write_report
from onward.report._values import span_text
from onward.v1 import statement_pb2
from onward.v1 import vocabulary_pb2 as v
from tests.support.audits import (
    BEGIN,
    DAY,
    HOTLINE,
    HOUR,
    MINUTE,
    NEVADA,
    POLICE,
    SHELTER,
    WELFARE,
    Referred,
    Story,
    whys,
    wrong,
)

OPEN = v.INTAKE_STATE_OPEN
WITHHELD = v.INTAKE_STATE_WITHHELD


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story.begun(tmp_path / "evidence")


def answer(report: AuditReport, number: int) -> Answer:
    return report.answers[number - 1]


def count(report: AuditReport, number: int, name: str) -> int:
    figure = answer(report, number).figures[name]
    assert isinstance(figure, Count)
    return figure.value


def rows(report: AuditReport, number: int, name: str) -> list[list[Any]]:
    tables = report_dict(report)["answers"][number - 1]["tables"]  # type: ignore[index]
    return next(table["rows"] for table in tables if table["name"] == name)


def test_tests_count_nowhere(story: Story) -> None:
    story.register(1)
    story.register(2, test=True)
    story.end()
    report = story.reported()
    assert count(report, 1, "received") == 1
    assert count(report, 1, "tests") == 1
    assert [row[1] for row in rows(report, 1, "tests")] == [2]


def test_a_tip_belongs_to_the_period_in_which_it_came_in(story: Story) -> None:
    story.register(1)
    story.end()
    received = BEGIN - MINUTE
    for begin, end, expected in (
        (received, received + 1, 1),
        (received + 1, received + DAY, 0),
        (received - DAY, received, 0),
    ):
        report = story.reported(period=Period(begin, end))
        assert count(report, 1, "received") == expected


def test_a_late_referral_names_who_held_it(story: Story) -> None:
    """As sample tip 7: received, and delivered on day 41."""
    received = BEGIN - 41 * DAY
    intake = story.register(7, received_time=timestamp(received))
    due = received + 24 * HOUR
    story.alarm(intake, due)
    referred = story.refer(intake=intake)
    referred.receive()
    story.end()
    report = story.reported()
    assert report.exit_code is ExitCode.PROVEN
    (late,) = rows(report, 2, "breaches")
    assert late[0] == f"{HOTLINE}#7"
    assert late[1] == "pass on"
    assert late[3:5] == ["national-hotline", "publisher"]
    median = answer(report, 2).figures["median"]
    assert isinstance(median, Span)
    assert median.ms // DAY == 41
    assert answer(report, 2).attention


def test_a_tip_about_a_minor_that_was_withheld_calls_for_attention(
    story: Story,
) -> None:
    intake = story.register(1, urgency=v.URGENCY_MINOR, age=v.AGE_GROUP_13_17)
    story.withhold(intake)
    story.end()
    report = story.reported()
    assert count(report, 4, "mandated") == count(report, 4, "withheld") == 1
    assert answer(report, 4).attention


def imminent(story: Story, number: int = 1) -> Said:
    return story.register(number, urgency=v.URGENCY_IMMINENT_DANGER)


@pytest.mark.parametrize("end", ["take_back", "erase"])
def test_what_ended_before_it_was_received_was_not_sent_in_time(
    story: Story, end: str
) -> None:
    intake = imminent(story)
    referred = story.refer(intake=intake)
    getattr(referred, end)()
    story.reopened(intake)
    story.end()
    report = story.reported()
    assert wrong(story.judged()) == set()
    assert (count(report, 1, "passed_on"), count(report, 1, "open")) == (0, 1)
    assert count(report, 1, "taken_back") == 1
    assert [row[1] for row in rows(report, 1, "taken-back")] == [1]
    assert (count(report, 4, "in_time"), count(report, 4, "taken_back")) == (0, 1)
    assert [row[1] for row in rows(report, 4, "mandated-missed")] == [1]
    assert [row[0] for row in rows(report, 9, "no-owner")] == [referred.referral.id]
    assert all(answer(report, number).attention for number in (1, 4, 9))


@pytest.mark.parametrize("by_referral", [False, True])
@pytest.mark.parametrize("taken_back", [False, True])
def test_what_repeats_a_tip_that_was_taken_back_was_not_sent(
    story: Story, *, by_referral: bool, taken_back: bool
) -> None:
    """Or an urgent tip would vanish behind one that nobody must have."""
    first = story.register(1)
    referred = story.refer(intake=first)
    other = referred.referral
    link = (
        statement_pb2.Link(same_as=other.digest, same_as_referral_id=other.id)
        if by_referral
        else statement_pb2.Link(same_as=first.digest, same_as_intake_number=1)
    )
    link.intake_number = 2
    urgent = imminent(story, 2)
    story.decide(urgent, link=link)
    story.moved(urgent, v.INTAKE_STATE_DUPLICATE)
    if taken_back:
        referred.take_back()
        story.reopened(first)
    story.end()
    report = story.reported()
    assert wrong(story.judged()) == set()
    fates = [count(report, 4, fate) for fate in ("taken_back", "duplicates")]
    assert fates == [taken_back, not taken_back]
    missed = [row[1] for row in rows(report, 4, "mandated-missed")]
    assert missed == ([2] if taken_back else [])


def test_a_tip_about_a_minor_that_the_police_never_received_was_not_sent(
    story: Story,
) -> None:
    intake = story.register(1, urgency=v.URGENCY_MINOR, age=v.AGE_GROUP_13_17)
    story.refer(WELFARE, intake=intake).receive(WELFARE)
    story.intakes[HOTLINE, v.URGENCY_MINOR, v.INTAKE_STATE_OPEN] += 1
    story.intakes[HOTLINE, v.URGENCY_MINOR, v.INTAKE_STATE_PASSED_ON] -= 1
    story.refer(POLICE, intake=intake).take_back()
    story.reopened(intake)
    story.end()
    report = story.reported()
    assert wrong(story.judged()) == set()
    assert (count(report, 1, "open"), count(report, 4, "taken_back")) == (1, 1)


def test_what_one_of_two_received_before_it_was_taken_back_stays_passed_on(
    story: Story,
) -> None:
    intake = story.register(1, urgency=v.URGENCY_MINOR, age=v.AGE_GROUP_13_17)
    referred = story.refer(POLICE, WELFARE, intake=intake)
    referred.receive(WELFARE)
    body = statement_pb2.Retraction(reason=v.RETRACTION_REASON_SENT_IN_ERROR)
    referred.moved(WELFARE, v.DELIVERY_STATE_RETRACTION_PENDING)
    referred.moved(POLICE, v.DELIVERY_STATE_CANCELLED, v.DELIVERY_STATE_ACCEPTED)
    referred.answers(HOTLINE, referred.referral, retraction=body)
    story.end()
    report = story.reported()
    assert wrong(story.judged()) == set()
    assert (count(report, 1, "passed_on"), count(report, 4, "taken_back")) == (1, 1)


def taken_back_after(story: Story, ms: int) -> tuple[Said, int]:
    """A tip is passed on, and taken back before anybody had it; when it was due."""
    intake = story.register(1)
    due_ms = story.scribe.now_ms - 61_000 + DAY
    referred = story.refer(intake=intake)
    story.wait(ms)
    referred.take_back()
    story.reopened(intake)
    return intake, due_ms


def test_the_time_of_what_was_taken_back_runs_from_when_it_was_received(
    story: Story,
) -> None:
    intake, due_ms = taken_back_after(story, 3 * HOUR)
    story.wait(DAY - 3 * HOUR)
    story.alarm(intake, due_ms)
    story.end()
    assert wrong(story.judged()) == set()


def test_what_was_taken_back_when_its_time_was_over_is_late_at_once(
    story: Story,
) -> None:
    taken_back_after(story, 3 * HOUR)
    for _ in range(2):
        story.wait(DAY)
        story.awake()
    story.end()
    assert whys(story.judged(), "deadlines") == [
        f"{HOTLINE}#1: PASS_ON by national-hotline: was missed, and no breach says so"
    ]


def test_what_was_taken_back_and_sent_anew_was_sent_in_time_and_has_an_owner(
    story: Story,
) -> None:
    intake = imminent(story)
    story.refer(NEVADA, intake=intake).take_back(NEVADA)
    story.reopened(intake)
    again = story.refer(POLICE, intake=intake)
    again.receive()
    story.end()
    report = story.reported()
    assert wrong(story.judged()) == set()
    assert (count(report, 4, "in_time"), count(report, 4, "taken_back")) == (1, 0)
    assert count(report, 9, "orphans") == 0
    assert not any(answer(report, number).attention for number in (1, 4, 9))


def test_what_was_received_and_then_taken_back_had_been_sent(story: Story) -> None:
    referred = story.refer(intake=imminent(story))
    referred.receive()
    body = statement_pb2.Retraction(reason=v.RETRACTION_REASON_SENT_IN_ERROR)
    referred.moved(POLICE, v.DELIVERY_STATE_RETRACTION_PENDING)
    referred.answers(HOTLINE, referred.referral, retraction=body)
    story.end()
    report = story.reported()
    assert wrong(story.judged()) == set()
    assert (count(report, 4, "in_time"), count(report, 9, "orphans")) == (1, 0)


def provisional(story: Story, intake: Said, ms: int) -> None:
    """Withholds a tip until a review, which is missed."""
    at = story.scribe.now_ms + ms
    story.withhold(
        intake,
        reason=v.WITHHOLD_REASON_SAFETY_RISK,
        review_time=timestamp(at),
    )
    story.wait(ms)
    story.alarm(intake, at, v.DEADLINE_KIND_REVIEW)
    story.moved(intake, v.INTAKE_STATE_OPEN)
    story.intakes[HOTLINE, intake.statement.message.intake.urgency, OPEN] += 1
    story.intakes[HOTLINE, intake.statement.message.intake.urgency, WITHHELD] -= 1


@pytest.mark.parametrize(
    ("hours", "fate"), [(1, "in_time"), (23, "in_time"), (25, "late")]
)
def test_withholding_a_tip_in_between_gives_no_more_time_to_send_it(
    story: Story, hours: int, fate: str
) -> None:
    intake = story.register(1, urgency=v.URGENCY_MINOR, age=v.AGE_GROUP_13_17)
    provisional(story, intake, hours * HOUR)
    story.refer(POLICE, WELFARE, intake=intake)
    story.end()
    report = story.reported()
    assert wrong(story.judged()) == set()
    assert (count(report, 4, fate), count(report, 4, "mandated")) == (1, 1)
    assert answer(report, 4).attention == (fate == "late")


@pytest.mark.parametrize(("hours", "fate"), [(71, "in_time"), (73, "late")])
def test_a_hold_gives_the_time_that_the_policy_at_the_hold_allows(
    story: Story, hours: int, fate: str
) -> None:
    intake = story.register(1, age=v.AGE_GROUP_13_17)
    story.hold(intake)
    received = intake.statement.message.intake.received_time.seconds * 1000
    story.wait(hours * HOUR)
    if fate == "late":
        story.alarm(intake, received + 72 * HOUR)
    story.refer(POLICE, WELFARE, intake=intake)
    story.end()
    assert wrong(story.judged()) == set()
    assert count(story.reported(), 4, fate) == 1


@pytest.mark.parametrize("times", [2, 3])
def test_a_tip_that_is_withheld_again_and_again_is_listed(
    story: Story, times: int
) -> None:
    intake = story.register(1)
    for _ in range(times):
        provisional(story, intake, HOUR)
    story.end()
    report = story.reported()
    assert wrong(story.judged()) == set()
    assert len(rows(report, 1, "withheld-again")) == (times == 3)
    assert answer(report, 1).attention == (times == 3)


def test_a_tip_that_waits_half_a_year_for_a_decision_is_listed(story: Story) -> None:
    intake = story.register(1)
    story.withhold(story.register(2))
    for _ in range(2):
        provisional(story, intake, 91 * DAY)
    story.end()
    report = story.reported()
    assert wrong(story.judged()) == set()
    assert [row[1] for row in rows(report, 1, "withheld-again")] == [1]


def test_a_third_partys_tip_withheld_for_want_of_consent_calls_for_attention(
    story: Story,
) -> None:
    story.withhold(story.register(1), reason=v.WITHHOLD_REASON_VICTIM_DECLINED)
    story.withhold(story.register(2))
    story.end()
    report = story.reported()
    assert count(report, 3, "withheld") == 2
    assert count(report, 3, "consent") == 1
    assert answer(report, 3).attention
    assert ["victim declined", 1] in rows(report, 3, "third-party-reasons")
    assert ["shift supervisor", 2] in rows(report, 3, "third-party-approvers")


def test_third_parties_tips_are_split_by_whom_they_went_to(story: Story) -> None:
    story.refer(POLICE, intake=story.register(1))
    story.refer(WELFARE, intake=story.register(2))
    story.refer(POLICE, intake=story.register(3)).take_back()
    story.register(4)
    story.end()
    report = story.reported()
    assert rows(report, 3, "third-party-reached") == [
        ["nobody", 2],
        ["law enforcement", 1],
        ["others only", 1],
        ["all", 4],
    ]


def test_a_referral_that_is_slower_or_of_another_state_than_its_tip_is_listed(
    story: Story,
) -> None:
    slower = story.refer(intake=imminent(story, 1), urgency=v.URGENCY_INFORMATIONAL)
    elsewhere = story.refer(
        intake=story.register(2),
        jurisdiction=statement_pb2.Jurisdiction(code="US-NV"),
    )
    story.refer(intake=story.register(3), urgency=v.URGENCY_MINOR)
    story.end()
    report = story.reported()
    found = rows(report, 8, "differences")
    assert [(row[0], row[2]) for row in found] == [
        (slower.referral.id, f"{HOTLINE}#1"),
        (elsewhere.referral.id, f"{HOTLINE}#2"),
    ]
    assert count(report, 8, "differing") == 2
    assert answer(report, 8).attention


def pass_on(
    story: Story, parent: Referred, to: str, by: str = POLICE, **changes: Any
) -> Referred:
    """A recipient transfers a referral that it has read."""
    acknowledged = parent.acknowledge(parent.receive(by))
    link = statement_pb2.ReferralLink(
        kind=statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF,
        referral_id=parent.referral.id,
        referral_digest=parent.referral.digest,
    )
    values: dict[str, Any] = {"basis": v.DISCLOSURE_BASIS_AGENCY_TO_AGENCY}
    child = story.refer(to, publisher=by, links=[link], **(values | changes))
    body = statement_pb2.Transfer(
        child_referral_id=child.referral.id, child_digest=child.referral.digest
    )
    parent.answers(by, acknowledged, transfer=body)
    parent.moved(by, v.DELIVERY_STATE_TRANSFERRED)
    return child


def test_a_referral_passed_on_as_a_slower_one_is_listed(story: Story) -> None:
    parent = story.refer(POLICE, intake=story.register(1))
    child = pass_on(story, parent, NEVADA, urgency=v.URGENCY_INFORMATIONAL)
    story.end()
    (row,) = rows(story.reported(), 8, "differences")
    assert (row[0], row[2]) == (child.referral.id, parent.referral.id)


RELEASED = v.DISCLOSURE_BASIS_VICTIM_WRITTEN_RELEASE


def release(*names: str, end_ms: int = 0, state: int = 0) -> statement_pb2.Consent:
    return statement_pb2.Consent(
        state=v.ConsentState.ValueType(state or v.CONSENT_STATE_GRANTED),
        recipients=names,
        expire_time=timestamp(end_ms) if end_ms else None,
    )


@pytest.mark.parametrize(
    ("given", "to", "child", "verdict"),
    [
        (release(), NEVADA, {}, "within the consent"),
        (release(POLICE, NEVADA), NEVADA, {}, "within the consent"),
        (release(NEVADA, end_ms=BEGIN + DAY), NEVADA, {}, "within the consent"),
        (release(POLICE), NEVADA, {}, "the consent does not name the recipient"),
        (release(NEVADA, end_ms=BEGIN), NEVADA, {}, "the consent was over"),
        (release(NEVADA, end_ms=-1000), NEVADA, {}, "the consent was over"),
        (
            release(state=v.CONSENT_STATE_DECLINED),
            NEVADA,
            {},
            "no consent was given",
        ),
        (
            release(POLICE),
            NEVADA,
            {"basis": RELEASED, "consent": release(NEVADA)},
            "a release of its own",
        ),
        (
            release(POLICE),
            NEVADA,
            {"basis": RELEASED, "consent": release(POLICE)},
            "the consent does not name the recipient",
        ),
        (
            release(POLICE, NEVADA, end_ms=BEGIN + DAY),
            NEVADA,
            {"basis": RELEASED, "consent": release(NEVADA, end_ms=BEGIN + DAY)},
            "within the consent",
        ),
        (
            release(POLICE, NEVADA),
            NEVADA,
            {"basis": RELEASED, "consent": release()},
            "a release of its own",
        ),
        (
            release(NEVADA, end_ms=BEGIN + DAY),
            NEVADA,
            {"basis": RELEASED, "consent": release(NEVADA)},
            "a release of its own",
        ),
        (
            release(POLICE),
            SHELTER,
            {"basis": v.DISCLOSURE_BASIS_COURT_ORDER, "basis_citation": "stated"},
            "wanted by law",
        ),
        (
            release(POLICE),
            WELFARE,
            {"subject_age_group": v.AGE_GROUP_13_17},
            "wanted by law",
        ),
        (
            release(POLICE),
            SHELTER,
            {"subject_age_group": v.AGE_GROUP_13_17},
            "the consent does not name the recipient",
        ),
    ],
)
def test_how_a_transfer_stands_to_the_consent(
    story: Story,
    given: statement_pb2.Consent,
    to: str,
    child: dict[str, Any],
    verdict: str,
) -> None:
    parent = story.refer(intake=story.register(1), basis=RELEASED, consent=given)
    passed_on = pass_on(story, parent, to, **child)
    story.end()
    report = story.reported()
    assert wrong(story.judged()) == set()
    counts = dict(rows(report, 8, "transfers-by-consent"))
    assert counts == {verdict: 1, "all": 1}
    listed = [(row[0], row[5]) for row in rows(report, 8, "transfers")]
    within = verdict == "within the consent"
    assert listed == ([] if within else [(passed_on.referral.id, verdict)])
    beyond = verdict.startswith(("no consent", "the consent"))
    assert count(report, 8, "beyond") == beyond
    assert answer(report, 8).attention is beyond


def test_a_consent_binds_what_is_transferred_twice(story: Story) -> None:
    parent = story.refer(
        intake=story.register(1), basis=RELEASED, consent=release(POLICE, WELFARE)
    )
    child = pass_on(story, parent, WELFARE)
    pass_on(story, child, NEVADA, by=WELFARE)
    story.end()
    report = story.reported()
    assert (count(report, 8, "transfers"), count(report, 8, "beyond")) == (2, 1)


def test_what_an_agency_says_of_consent_binds_nothing(story: Story) -> None:
    """Or two transfers could go where the release that the person gave does not."""
    given = {"basis": RELEASED, "consent": release(POLICE, NEVADA)}
    parent = story.refer(POLICE, intake=story.register(1), **given)
    victim = v.REPORTER_TYPE_POTENTIAL_VICTIM
    between = pass_on(story, parent, NEVADA, reporter_type=victim, consent=release())
    pass_on(story, between, SHELTER, by=NEVADA)
    story.end()
    report = story.reported()
    assert (count(report, 8, "transfers"), count(report, 8, "beyond")) == (2, 1)


def test_what_rests_on_no_consent_binds_no_transfer(story: Story) -> None:
    parent = story.refer(intake=story.register(1), consent=release(POLICE))
    pass_on(story, parent, NEVADA)
    story.end()
    assert count(story.reported(), 8, "transfers") == 0


def test_a_declined_referral_that_nobody_took_over_has_no_owner(story: Story) -> None:
    referred = story.refer(intake=story.register(1))
    acknowledged = referred.acknowledge(referred.receive())
    body = statement_pb2.Decline(reason=v.DECLINE_REASON_NO_CAPACITY)
    referred.answers(POLICE, acknowledged, decline=body)
    referred.moved(POLICE, v.DELIVERY_STATE_DECLINED)
    story.end()
    report = story.reported()
    assert count(report, 9, "orphans") == 1
    assert answer(report, 9).attention


def test_a_referral_judged_by_no_policy_in_force_is_not_proven(story: Story) -> None:
    story.policy = bytes(32)
    story.refer(intake=story.register(1))
    story.end()
    report = story.reported()
    assert answer(report, 8).verdict is Verdict.NOT_PROVEN
    assert report.exit_code is ExitCode.NOT_PROVEN


def test_a_hotlines_referral_without_a_tip_is_listed(story: Story) -> None:
    referred = story.refer()
    story.end()
    report = story.reported()
    (row,) = rows(report, 1, "referrals-without-intake")
    assert row[0] == referred.referral.id
    assert answer(report, 1).attention


def test_what_waits_for_a_reader_names_its_holder(story: Story) -> None:
    first = story.refer(POLICE, intake=story.register(1))
    first.receive()
    story.refer(NEVADA, intake=story.register(2))
    story.end()
    report = story.reported()
    assert count(report, 6, "unread") == 2
    assert ["exchange", 1] in rows(report, 6, "unread-by-holder")
    assert ["recipient", 1] in rows(report, 6, "unread-by-holder")


def test_hostile_text_stays_text(story: Story, tmp_path: Path) -> None:
    story.withhold(story.register(1), approver_role="=HYPERLINK(1) <script>x</script>")
    story.end()
    write_report(story.reported(), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    with (tmp_path / "intakes.csv").open(newline="") as file:
        (_, row) = csv.reader(file)
    assert any(cell.startswith("'=HYPERLINK") for cell in row)


def test_hostile_names_stay_text_in_lists_and_charts(tmp_path: Path) -> None:
    hostile = "</svg><script>x</script>{0.__class__}&amp;\"'"
    story = Story.begun(tmp_path / "evidence", names={POLICE: hostile})
    story.refer(POLICE, intake=story.register(1)).receive()
    story.end()
    write_report(story.reported(), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert page.count("</svg>") == page.count("<svg ")
    assert "&lt;script&gt;" in page
    assert "{0.__class__}" in page


def test_numbers_agree_with_their_nouns(story: Story) -> None:
    story.withhold(story.register(1))
    story.refer(intake=story.register(2))
    story.refer().take_back()
    story.end()
    sentences = [sentence_of(item) for item in story.reported().answers]
    assert sentences[0].startswith(
        "2 tips were received: 1 was passed on, 1 was withheld for a stated reason, "
        "0 were duplicates, and 0 are still open."
    )
    assert "1 delivery was taken back" in sentences[7]


def test_the_page_of_everything_says_so(story: Story, tmp_path: Path) -> None:
    story.end()
    write_report(story.reported(jurisdiction="*"), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "What became of the tips: the whole exchange" in page
    assert "<title>Tips received: the whole exchange," in page


def test_a_withheld_tip_names_the_services_that_were_arranged(story: Story) -> None:
    intake = story.register(1)
    story.withhold(intake)
    referred = story.refer(SHELTER, intake=intake)
    story.intakes[HOTLINE, v.URGENCY_ROUTINE, OPEN] += 1
    story.intakes[HOTLINE, v.URGENCY_ROUTINE, v.INTAKE_STATE_PASSED_ON] -= 1
    story.withhold(story.register(2))
    story.end()
    report = story.reported()
    assert wrong(story.judged()) == set()
    assert (count(report, 1, "withheld"), count(report, 1, "served")) == (2, 1)
    assert rows(report, 1, "intakes")[0][11] == referred.referral.id


def test_the_page_needs_nothing_from_elsewhere_and_allows_nothing(
    story: Story, tmp_path: Path
) -> None:
    story.register(1)
    story.end()
    write_report(story.reported(), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "default-src &#39;none&#39;" in page
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = sha256(style.encode()).digest()
    assert b64encode(digest).decode() in page
    assert " src=" not in page
    assert " style=" not in page
    assert page.count("<h2") == 12
    data = json.loads((tmp_path / "report.json").read_text())
    assert [item["question"] for item in data["answers"]] == list(range(1, 11))
    assert data["verdict"] == "PROVEN"


def test_each_sentence_has_its_figures(story: Story) -> None:
    story.end()
    sentences = [sentence_of(item) for item in story.reported().answers]
    assert all("{" not in sentence for sentence in sentences)
    assert sentences[0].startswith("0 tips were received")


def test_a_sample_can_be_drawn_again_and_a_larger_one_begins_with_it() -> None:
    names = [f"{number:04}" for number in range(1000)]
    first = draw(names, 5, "seed")
    assert first == draw(reversed(names), 5, "seed")
    assert draw(names, 20, "seed")[:5] == first
    assert draw(names, 5, "another seed") != first
    lots = sorted(names, key=lambda name: sha256(f"seed\0{name}".encode()).digest())
    assert first == lots[:5]


@pytest.mark.parametrize(
    ("times", "median", "ninetieth"),
    [([5], 5, 5), ([1, 2], 1, 2), (list(range(1, 11)), 5, 9), ([3, 1, 2], 2, 3)],
)
def test_percentiles_are_of_the_nearest_rank(
    times: list[int], median: int, ninetieth: int
) -> None:
    _, middle, high, most = spread("x", times)
    assert [getattr(cell, "ms", None) for cell in (middle, high, most)] == [
        median,
        ninetieth,
        max(times),
    ]


def test_lengths_of_time_have_two_units() -> None:
    assert span_text(0) == "0 s"
    assert span_text(2 * HOUR + 14 * MINUTE + 3000) == "2 h 14 min"
    assert span_text(41 * DAY + 5000) == "41 d"


@pytest.mark.parametrize("told_late", [True, False])
def test_a_step_that_is_told_after_its_breach_as_made_in_time_is_disputed(
    story: Story, *, told_late: bool
) -> None:
    """With an old ``seen`` no order contradicts it; its time is a mere claim."""
    referred = story.refer(intake=story.register(1))
    received = referred.receive()
    seen = received.statement.message.seen
    made = story.scribe.now_ms + HOUR
    due = story.scribe.now_ms + 72 * HOUR
    story.awake()
    story.wait(73 * HOUR)
    referred.breach(v.DEADLINE_KIND_ACKNOWLEDGE, due)
    claim = {"made_time": timestamp(made), "seen": seen} if told_late else {}
    referred.acknowledge(received, **claim)
    story.end()
    report = story.reported()
    assert wrong(story.judged()) == set()
    expected = (0, 1, 1) if told_late else (1, 0, 0)
    found = [count(report, 2, name) for name in ("missed", "undetermined", "disputed")]
    assert tuple(found) == expected
    (row,) = rows(report, 2, "breaches")
    assert row[6] == ("yes" if told_late else "no")
    assert answer(report, 2).attention
