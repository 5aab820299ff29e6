"""What an auditor knows from those who had seen the log, and when they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.scribe import Said, timestamp
from onward.core.audit.prefixes import Prefixes
from onward.core.audit.report import AuditReport
from onward.core.audit.sightings import Sightings, Vouchers, milliseconds
from onward.core.audit.tables import Count, Moment
from onward.core.checkpoints import Checkpoint
from onward.core.errors import MalformedError
from onward.core.notes import parse_note
from onward.core.tlog_policy import Policy
from onward.core.verify import Verdict
from onward.v1 import vocabulary_pb2 as v
from tests.support.audits import (
    DAY,
    HOTLINE,
    HOUR,
    MINUTE,
    Story,
    whys,
    wrong,
)
from tests.support.tsa import TimestampAuthority
from tests.support.watched import Watched


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(Story.begun(tmp_path / "evidence"))


def told(watched: Watched, lies_by: int = 0) -> Said:
    """A tip is passed on and read; everybody's clocks but the witnesses' lie."""
    story = watched.story

    def see() -> None:
        watched.see(story.scribe.now_ms - lies_by)

    intake = story.register(7)
    see()
    referred = story.refer(intake=intake)
    see()
    received = referred.receive()
    see()
    story.wait(HOUR)
    referred.acknowledge(received)
    see()
    story.wait(DAY)
    story.awake()
    see()
    return intake


def figures(report: AuditReport, number: int) -> dict[str, int]:
    answer = report.answers[number - 1]
    kept, sources = ("met", "missed", "undetermined"), ("witnesses", "timestamps")
    names = ("judged", *kept, *sources, "claims")
    found = {name: answer.figures.get(name) for name in names}
    return {name: cell.value for name, cell in found.items() if isinstance(cell, Count)}


def test_what_was_done_in_time_is_met_on_the_word_of_witnesses(
    watched: Watched,
) -> None:
    told(watched)
    watched.end()
    report = watched.reported()
    assert {step.verdict for step in report.steps} == {Verdict.PROVEN}
    # The tip was passed on, it was delivered, and it was read.
    expected = {"judged": 3, "met": 3, "missed": 0, "undetermined": 0}
    sources = {"witnesses": 3, "timestamps": 0, "claims": 0}
    assert figures(report, 2) == expected | sources
    rows = report.answers[1].tables
    (table,) = (table for table in rows if table.name == "deadlines")
    assert [row[:2] for row in table.rows] == [
        ("routine", "met"),
        ("routine", "not due yet"),
        ("all", "met"),
        ("all", "not due yet"),
    ]


def test_an_old_folder_rests_on_claims_only(tmp_path: Path) -> None:
    story = Story.begun(tmp_path)
    told(Watched(story))
    folder = story.end()
    assert not folder.checkpoints.exists()
    report = story.reported()
    assert {step.verdict for step in report.steps} == {Verdict.PROVEN}
    found = figures(report, 2)
    assert (found["met"], found["claims"], found["witnesses"]) == (3, 3, 0)
    assert figures(report, 7)["claims"] == len(folder.statements.read_text().split())


def test_a_clock_that_is_ahead_is_flagged(watched: Watched) -> None:
    told(watched, lies_by=HOUR)
    watched.end()
    audited = watched.judged()
    assert wrong(audited) == {"timing"}
    found = whys(audited, "timing")
    assert "after g had seen it in the log (witnessed)" in found[0]
    report = watched.reported()
    assert report.answers[6].verdict is Verdict.NOT_PROVEN
    assert report.answers[6].attention


def test_a_clock_that_was_ahead_for_a_while_blames_only_those_that_lied(
    watched: Watched,
) -> None:
    story = watched.story
    told(watched)
    story.wait(HOUR)
    story.awake()
    liar = story.scribe.roots.size - 1
    watched.see(story.scribe.now_ms - HOUR)
    story.wait(-HOUR)
    story.register(8)
    watched.see()
    watched.end()
    audited = watched.judged()
    assert [why.partition(":")[0] for why in whys(audited, "timing")] == [
        f"log entry {liar}"
    ]


def test_what_a_clock_that_is_behind_says_was_in_time_is_undetermined(
    watched: Watched,
) -> None:
    told(watched, lies_by=-200 * DAY)
    watched.end()
    report = watched.reported()
    assert wrong_steps(report) == set()
    found = figures(report, 2)
    assert (found["met"], found["undetermined"], found["witnesses"]) == (0, 3, 3)
    assert figures(report, 4)["judged"] == 0  # about an adult, and routine


def test_a_mandated_tip_is_judged_on_the_word_of_witnesses(watched: Watched) -> None:
    story = watched.story
    intake = story.register(7, urgency=v.URGENCY_IMMINENT_DANGER)
    story.withhold(intake)
    watched.see()
    watched.end()
    found = figures(watched.reported(), 4)
    assert (found["judged"], found["met"], found["witnesses"]) == (1, 1, 1)


def wrong_steps(report: AuditReport) -> set[str]:
    return {step.name for step in report.steps if step.verdict is Verdict.NOT_PROVEN}


class Counted(list[str]):
    """Counts how often a note is read again, which is to verify it."""

    again = 0

    def __getitem__(self, at: Any) -> Any:
        self.again += 1
        return super().__getitem__(at)


def test_few_vouchers_are_verified(watched: Watched) -> None:
    """What was in time with hours to spare needs no close bound."""
    story, needs = watched.story, list[tuple[int, int]]()
    for number in range(1, 121):
        at = story.withhold(story.register(number)).index
        needs.append((at, story.scribe.now_ms + HOUR))
        watched.see()
        story.wait(MINUTE)
    watched.end()
    folder, notes = story.scribe.folder, Counted(watched.checkpoints)
    sightings = Sightings(
        Policy.parse(watched.trust),
        story.scribe.signer.name,
        Prefixes(folder.entries.read_bytes()),
        Vouchers(notes),
    )
    assert list(sightings.read()) == []
    assert sightings.bound(needs[0][0]) is None
    assert sightings.prove(needs) == []
    for at, time in needs:
        bound = sightings.bound(at)
        assert bound
        assert milliseconds(bound.time) <= time
    assert notes.again < 5


def test_a_single_tip_has_the_closest_bounds(watched: Watched) -> None:
    intake = told(watched)
    watched.end()
    report = watched.reported(tip=f"{HOTLINE}#7")
    (table,) = report.answers[4].tables
    first = table.rows[0]
    assert first[0] == intake.index
    claimed, after, who = first[1], first[6], first[7]
    assert who == "witnessed: g"
    assert isinstance(claimed, Moment)
    assert isinstance(after, Moment)
    assert -1000 <= after.ms - claimed.ms < 2000


def test_a_breach_is_not_what_was_due(watched: Watched) -> None:
    """What ends the time for a review is that it was missed."""
    story = watched.story
    intake = story.register(1)
    review = story.scribe.now_ms + DAY
    story.withhold(intake, review_time=timestamp(review))
    watched.see()
    story.wait(DAY)
    story.alarm(intake, review, kind=v.DEADLINE_KIND_REVIEW)
    watched.see()
    watched.end()
    report = watched.reported()
    found = figures(report, 2)
    assert (found["met"], found["missed"]) == (1, 1)


# --- vouchers that do not hold


def test_a_fork_is_found_in_a_cosigned_checkpoint(watched: Watched) -> None:
    told(watched)
    scribe = watched.story.scribe
    other = Checkpoint(scribe.signer.name, 5, b"\1" * 32).sign(scribe.signer)
    watched.checkpoints.append(watched.cosigned(other, scribe.now_ms // 1000))
    watched.end()
    audited = watched.judged()
    assert wrong(audited) == {"entries"}
    (why,) = whys(audited, "entries")
    assert f"cosigned checkpoint {len(watched.checkpoints)}" in why
    assert "forked" in why


def test_a_tree_that_the_log_never_signed_is_no_fork(watched: Watched) -> None:
    told(watched)
    signer = watched.story.scribe.signer
    other = Checkpoint(signer.name, 5, b"\1" * 32).sign(signer)
    watched.checkpoints.append(other[:-9] + "AAAAAAA=\n")
    watched.end()
    assert wrong(watched.judged()) == {"timing"}


def test_a_cosignature_that_does_not_hold_bounds_nothing(watched: Watched) -> None:
    """It would refute what is true, and make in time what was not."""
    told(watched)
    note = watched.note()
    text = parse_note(note).text
    forged = watched.cosigned(note, 1_700_000_000)
    assert text in forged
    lines = forged.splitlines()
    genuine = watched.cosigned(note, 1_800_000_000).splitlines()
    # The times of one, with the signatures of the other.
    mixed = [
        one[:40] + other[40:]
        for one, other in zip(lines[-3:], genuine[-3:], strict=True)
    ]
    watched.checkpoints.append("\n".join([*lines[:-3], *mixed]) + "\n")
    watched.end()
    audited = watched.judged()
    assert wrong(audited) == {"timing"}
    (why,) = whys(audited, "timing")
    assert "does not verify" in why
    found = figures(watched.reported(), 2)
    assert (found["met"], found["witnesses"]) == (3, 3)


def test_without_the_quorum_nobody_has_seen_it(watched: Watched) -> None:
    watched.story.withhold(watched.story.register(1))
    watched.see(names="a")
    watched.end()
    found = figures(watched.reported(), 2)
    # The checkpoint of the export itself has the quorum, but half a year later.
    assert (found["met"], found["undetermined"]) == (0, 1)


def test_a_line_that_is_not_one_is_named(watched: Watched) -> None:
    told(watched)
    watched.end()
    file = watched.story.scribe.folder.checkpoints
    file.write_text(file.read_text() + "{}\n")
    with pytest.raises(MalformedError, match=r"line 6 of checkpoints.jsonl"):
        watched.judged()


# --- timestamps


def stamped(tmp_path: Path, lies_by: int = 0) -> Watched:
    watched = Watched(
        Story.begun(tmp_path / "evidence"),
        authority=TimestampAuthority(tmp_path / "tsa"),
    )
    watched.story.withhold(watched.story.register(1))
    watched.stamp(watched.story.scribe.now_ms - lies_by)
    watched.end()
    return watched


def test_an_authority_bounds_as_witnesses_do(tmp_path: Path) -> None:
    watched = stamped(tmp_path)
    found = figures(watched.reported(), 2)
    assert (found["met"], found["timestamps"]) == (1, 1)
    alone = watched.judged(trusts_authority=False)
    assert wrong(alone) == set()
    assert "0 timestamped" in alone.steps[9].why


def test_an_authority_refutes_a_clock_that_is_ahead(tmp_path: Path) -> None:
    audited = stamped(tmp_path, lies_by=HOUR).judged()
    assert wrong(audited) == {"timing"}
    assert (
        "Public Time had seen it in the log (timestamped)"
        in (whys(audited, "timing")[0])
    )


def test_a_token_over_something_else_bounds_nothing(tmp_path: Path) -> None:
    watched = stamped(tmp_path)
    ((_, token),) = watched.timestamps
    # What is stamped is another checkpoint than the one that it is listed with.
    watched.timestamps = [(watched.note(), token)]
    watched.write()
    audited = watched.judged()
    assert wrong(audited) == {"timing"}
    assert "it stamps something else" in whys(audited, "timing")[0]
