"""Bundles whose times others vouch for, and exchanges whose clocks lie."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from onward.core.bundle import Bundle, StampedCheckpoint, Vouchers
from onward.core.notes import parse_note
from onward.core.timing import Interval, Judgement, Source
from onward.core.verify import Report, Verdict, verify_bundle
from tests.support.chain_builder import (
    HOTLINE,
    OHIO,
    ChainBuilder,
    Logged,
    established,
)
from tests.support.tsa import TimestampAuthority

ROUNDING = timedelta(seconds=2)
"""A token's accuracy, and what its genTime leaves out."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TimestampAuthority:
    return TimestampAuthority(tmp_path_factory.mktemp("tsa"))


@pytest.fixture
def exchange() -> ChainBuilder:
    return established()


def stamped(
    authority: TimestampAuthority, exchange: ChainBuilder, time: datetime
) -> StampedCheckpoint:
    """Has the present checkpoint stamped."""
    note = exchange.checkpoint()
    return StampedCheckpoint(note, authority.stamp(parse_note(note).text, time))


def judged(
    exchange: ChainBuilder,
    referral: Logged,
    *stamps: StampedCheckpoint,
    checkpoints: tuple[str, ...] = (),
    authorities: str = "",
) -> Report:
    vouchers = Vouchers(checkpoints, stamps)
    data = exchange.bundle(referral, vouchers=vouchers)
    assert Bundle.parse(data).vouchers == vouchers
    return verify_bundle(data, exchange.trust(), authorities)


def times(report: Report) -> dict[str, Interval]:
    return {item.kind: item.interval for item in report.statements}


def failing(report: Report) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for step in report.steps:
        if step.verdict is Verdict.NOT_PROVEN:
            found.setdefault(step.number, []).append(step.subject)
    return found


def why(report: Report, number: int) -> str:
    return next(step.why for step in report.steps if step.number == number)


def deadlines(report: Report) -> dict[str, Judgement]:
    (delivery,) = report.deliveries
    return {item.name: item.judgement for item in delivery.deadlines}


# --- bounds


def test_a_token_bounds_all_below_its_checkpoint(
    exchange: ChainBuilder, authority: TimestampAuthority
) -> None:
    referral = exchange.publish(HOTLINE, OHIO)
    first = stamped(authority, exchange, exchange.now + timedelta(seconds=30))
    stamp_time = exchange.now + timedelta(seconds=30) + ROUNDING
    exchange.wait(minutes=2)
    exchange.acknowledge(exchange.receive(referral, OHIO))
    later = stamped(authority, exchange, exchange.now)
    report = judged(exchange, referral, first, later, authorities=authority.root)
    assert not failing(report)
    found = times(report)
    assert found["referral"].not_after == found["acceptance"].not_after == stamp_time
    assert found["received"].not_after == exchange.now + ROUNDING
    for interval in found.values():
        assert (interval.source, interval.by) == (Source.TIMESTAMPS, "Public Time")
    assert why(report, 9).startswith("timestamped; ")
    assert report.steps[8].verdict is Verdict.PROVEN


def test_the_report_names_who_bounds_a_time(
    exchange: ChainBuilder, authority: TimestampAuthority
) -> None:
    referral = exchange.publish(HOTLINE, OHIO)
    stamp = stamped(authority, exchange, exchange.now)
    report = judged(exchange, referral, stamp, authorities=authority.root)
    shown = report.to_dict()["statements"]
    assert isinstance(shown, list)
    assert shown[0]["source"] == "timestamped"
    assert shown[0]["by"] == "Public Time"
    claimed = judged(exchange, referral, stamp).to_dict()["statements"]
    assert isinstance(claimed, list)
    assert (claimed[0]["source"], claimed[0]["by"]) == (
        "claimed only",
        exchange.exchange,
    )


def test_without_certificates_a_token_says_nothing(
    exchange: ChainBuilder, authority: TimestampAuthority
) -> None:
    referral = exchange.publish(HOTLINE, OHIO)
    stamp = stamped(authority, exchange, exchange.now)
    report = judged(exchange, referral, stamp)
    assert not failing(report)
    assert times(report)["referral"].source is Source.CLAIMS
    assert why(report, 9).endswith("authorities not trusted here: 1")


def test_a_strangers_token_is_ignored(
    exchange: ChainBuilder,
    authority: TimestampAuthority,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    stranger = TimestampAuthority(tmp_path_factory.mktemp("stranger"), "Somebody Else")
    referral = exchange.publish(HOTLINE, OHIO)
    false = stamped(stranger, exchange, exchange.now - timedelta(days=30))
    true = stamped(authority, exchange, exchange.now)
    report = judged(exchange, referral, false, true, authorities=authority.root)
    assert not failing(report)
    assert times(report)["referral"].not_after == exchange.now + ROUNDING


def test_a_token_of_a_known_authority_must_hold(
    exchange: ChainBuilder,
    authority: TimestampAuthority,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    namesake = TimestampAuthority(tmp_path_factory.mktemp("namesake"))
    referral = exchange.publish(HOTLINE, OHIO)
    stamp = stamped(namesake, exchange, exchange.now)
    report = judged(exchange, referral, stamp, authorities=authority.root)
    assert failing(report) == {9: ["timestamps[0]"]}
    assert report.reason == "TIMESTAMP_UNTRUSTED"
    assert times(report)["referral"].source is Source.CLAIMS


def test_a_token_is_about_the_checkpoint_beside_it(
    exchange: ChainBuilder, authority: TimestampAuthority
) -> None:
    referral = exchange.publish(HOTLINE, OHIO)
    other = exchange.checkpoint(2)
    stamp = stamped(authority, exchange, exchange.now)
    moved = StampedCheckpoint(other, stamp.token)
    report = judged(exchange, referral, moved, authorities=authority.root)
    assert failing(report) == {1: ["timestamps[0]"]}


def test_bytes_that_are_no_token_are_no_token(
    exchange: ChainBuilder, authority: TimestampAuthority
) -> None:
    referral = exchange.publish(HOTLINE, OHIO)
    junk = StampedCheckpoint(exchange.checkpoint(), b"\x30\x00")
    for trusted in ("", authority.root):
        report = judged(exchange, referral, junk, authorities=trusted)
        assert failing(report) == {1: ["timestamps[0]"]}


def test_a_checkpoint_of_another_history_bounds_nothing(
    exchange: ChainBuilder, authority: TimestampAuthority
) -> None:
    fork = established(witnesses=["east"])
    fork.publish(HOTLINE, OHIO)
    exchange.witnesses = ["east"]
    exchange.wait(hours=1)
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.acknowledge(exchange.receive(referral, OHIO))
    false = stamped(authority, fork, fork.now)
    report = judged(
        exchange,
        referral,
        false,
        checkpoints=(fork.checkpoint(),),
        authorities=authority.root,
    )
    assert failing(report) == {5: ["checkpoints[0]", "timestamps[0]"]}
    assert report.reason == "LOG_FORKED"
    assert times(report)["referral"].not_after > fork.now + ROUNDING  # type: ignore[operator]


def test_a_checkpoint_of_another_log_bounds_nothing(
    exchange: ChainBuilder, authority: TimestampAuthority
) -> None:
    other = ChainBuilder(domain="fl.example")
    other.found()
    referral = exchange.publish(HOTLINE, OHIO)
    stamp = stamped(authority, other, exchange.now)
    trust = exchange.trust().replace(
        "quorum", f"log {other.signer.vkey.format()}\nquorum"
    )
    data = exchange.bundle(referral, vouchers=Vouchers((), (stamp,)))
    report = verify_bundle(data, trust, authority.root)
    assert failing(report) == {5: ["timestamps[0]"]}
    assert times(report)["referral"].source is Source.CLAIMS


def test_an_earlier_checkpoint_of_witnesses_bounds_closer_than_the_newest() -> None:
    exchange = established(witnesses=["east", "west", "south"])
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.wait(seconds=5)
    early, seen = exchange.checkpoint(), exchange.now
    # Receipts in a bundle lead to its own checkpoint, so they bound no closer.
    exchange.wait(hours=2)
    exchange.acknowledge(exchange.receive(referral, OHIO))
    size = len(exchange.log)
    logged = [
        replace(item, receipt=exchange.receipt(item.index, size)).bundled()
        for item in exchange.log
    ]
    statements = logged[referral.index :]
    directory = logged[: referral.index]
    for checkpoints, bound in (((), exchange.now), ((early,), seen)):
        data = exchange.bundle(
            referral,
            statements=statements,
            directory=directory,
            vouchers=Vouchers(checkpoints),
        )
        report = verify_bundle(data, exchange.trust())
        assert not failing(report)
        assert times(report)["referral"].not_after == bound
        assert times(report)["referral"].by == "all-of-them"


def test_the_earlier_of_witnesses_and_authorities_counts(
    authority: TimestampAuthority,
) -> None:
    exchange = established(witnesses=["east"])
    referral = exchange.publish(HOTLINE, OHIO)
    for offset, source in ((-60, Source.TIMESTAMPS), (60, Source.WITNESSES)):
        time = exchange.now + timedelta(seconds=offset)
        stamp = stamped(authority, exchange, time)
        report = judged(exchange, referral, stamp, authorities=authority.root)
        assert not failing(report)
        assert times(report)["acceptance"].source is source


def test_certificates_that_cannot_be_read_are_said(exchange: ChainBuilder) -> None:
    referral = exchange.publish(HOTLINE, OHIO)
    report = judged(exchange, referral, authorities="no PEM")
    assert report.exit_code == 2
    assert "authorities" in report.steps[0].why


@pytest.mark.parametrize(
    "change",
    [
        {"timestamps": {}},
        {"timestamps": [{"checkpoint": "x"}]},
        {"timestamps": [{"checkpoint": "x", "token": "AA==", "more": 1}]},
        {"timestamps": [{"checkpoint": "x", "token": "A"}]},
        {"timestamps": [{"checkpoint": 1, "token": "AA=="}]},
        {"checkpoints": "x"},
        {"checkpoints": [1]},
    ],
)
def test_vouchers_have_one_form(
    exchange: ChainBuilder, change: dict[str, object]
) -> None:
    referral = exchange.publish(HOTLINE, OHIO)
    members = json.loads(exchange.bundle(referral)) | change
    report = verify_bundle(json.dumps(members).encode(), exchange.trust())
    assert report.exit_code == 2


def test_a_checkpoint_that_is_no_note_is_refused(exchange: ChainBuilder) -> None:
    referral = exchange.publish(HOTLINE, OHIO)
    members = json.loads(exchange.bundle(referral)) | {"checkpoints": ["x"]}
    report = verify_bundle(json.dumps(members).encode(), exchange.trust())
    assert failing(report) == {5: ["checkpoints[0]"]}


# --- lying clocks of an exchange; authorities and members tell the true time


def test_a_clock_that_is_ahead_is_found_out(
    exchange: ChainBuilder, authority: TimestampAuthority
) -> None:
    ahead = timedelta(hours=3)
    exchange.wait(hours=3)
    referral = exchange.publish(HOTLINE, OHIO)
    honest = exchange.now - ahead
    stamp = stamped(authority, exchange, honest)
    report = judged(exchange, referral, stamp, authorities=authority.root)
    assert report.reason == "TIME_IMPLAUSIBLE"
    assert "statements[1] acceptance" in failing(report)[9]
    assert "postdated" in why(report, 9)


def test_who_saw_a_time_that_is_refuted_is_not_blamed(
    exchange: ChainBuilder, authority: TimestampAuthority
) -> None:
    referral = exchange.publish(HOTLINE, OHIO)
    truth = exchange.now
    exchange.now = truth + timedelta(days=1)
    handover = exchange.hand_over(referral, OHIO)
    exchange.now = truth + timedelta(seconds=10)
    honest = exchange.acknowledge(handover)
    stamp = stamped(authority, exchange, exchange.now)
    blamed = judged(exchange, referral)
    assert f"statements[3] {honest.statement.body_kind}" in failing(blamed)[9]
    report = judged(exchange, referral, stamp, authorities=authority.root)
    assert failing(report)[9] == ["statements[2] handover"]


def test_a_clock_that_jumps_back_is_found_out(
    exchange: ChainBuilder, authority: TimestampAuthority
) -> None:
    referral = exchange.publish(HOTLINE, OHIO)
    truth = exchange.now
    exchange.now = truth - timedelta(hours=1)
    exchange.hand_over(referral, OHIO)
    stamp = stamped(authority, exchange, truth + timedelta(seconds=5))
    report = judged(exchange, referral, stamp, authorities=authority.root)
    assert failing(report)[9] == ["statements[2] handover"]
    assert "backdated" in why(report, 9)


def test_a_clock_that_stays_behind_makes_no_deadline_met(
    exchange: ChainBuilder, authority: TimestampAuthority
) -> None:
    """Everybody's machines agree on a lie of two hours; the authority does not."""
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.receive(referral, OHIO)
    report = judged(exchange, referral)
    assert deadlines(report)["deliver"] is Judgement.MET
    stamp = stamped(authority, exchange, exchange.now + timedelta(hours=2))
    report = judged(exchange, referral, stamp, authorities=authority.root)
    assert not failing(report)
    assert deadlines(report)["deliver"] is Judgement.UNDETERMINED


def test_a_deadline_is_met_when_an_authority_had_seen_it(
    exchange: ChainBuilder, authority: TimestampAuthority
) -> None:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.acknowledge(exchange.receive(referral, OHIO))
    stamp = stamped(authority, exchange, exchange.now + timedelta(minutes=1))
    report = judged(exchange, referral, stamp, authorities=authority.root)
    assert not failing(report)
    assert deadlines(report)["deliver"] is Judgement.MET
    assert deadlines(report)["acknowledge"] is Judgement.MET


def test_a_deadline_is_missed_when_the_exchange_had_seen_later_things(
    exchange: ChainBuilder, authority: TimestampAuthority
) -> None:
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.wait(hours=2)
    exchange.receive(referral, OHIO)
    stamp = stamped(authority, exchange, exchange.now)
    report = judged(exchange, referral, stamp, authorities=authority.root)
    assert deadlines(report)["deliver"] is Judgement.MISSED
