"""What a report says. What holds and what does not: see ``tests/conformance``."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.bundle import Bundle, LoggedStatement
from onward.core.statements import SignedStatement
from onward.core.verify import STEPS, ExitCode, Report, Verdict, verify_bundle
from onward.v1 import directory_pb2, statement_pb2
from tests.support.chain_builder import (
    CONTENT,
    HOTLINE,
    NEVADA,
    OHIO,
    UTAH,
    ChainBuilder,
    Logged,
    duration,
    established,
    statement_key,
)

NEVER = Timestamp(seconds=2**62)
"""A time that protobuf can hold and nothing else can."""


def verdicts(report: Report) -> dict[int, Verdict]:
    return {step.number: step.verdict for step in report.summary()}


def failing(report: Report) -> set[int]:
    return {n for n, verdict in verdicts(report).items() if verdict == "NOT_PROVEN"}


def why(report: Report, number: int) -> str:
    return next(step.why for step in report.summary() if step.number == number)


def transferred() -> tuple[ChainBuilder, Logged, Logged]:
    """Sample tip 6: Nevada declines, and passes it on to Utah."""
    exchange = established()
    referral = exchange.publish(HOTLINE, NEVADA)
    read = exchange.acknowledge(exchange.receive(referral, NEVADA))
    child = exchange.transfer(referral, exchange.decline(read, UTAH), UTAH)
    taken = exchange.take(exchange.acknowledge(exchange.receive(child, UTAH)))
    exchange.close(taken)
    return exchange, referral, child


# --- the report


def test_exit_codes_are_those_of_the_command_line() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "PROVEN": 0,
        "NOT_PROVEN": 1,
        "NOT_CHECKED": 2,
    }


def test_a_report_has_every_step_once_when_all_holds() -> None:
    exchange, referral, child = transferred()
    report = verify_bundle(exchange.bundle(referral, child), exchange.trust())
    assert [step.number for step in report.steps] == list(STEPS)
    assert report.verdict is Verdict.PROVEN
    assert report.exit_code is ExitCode.PROVEN
    assert report.reason == ""


def test_a_report_says_where_each_delivery_ended() -> None:
    exchange, referral, child = transferred()
    report = verify_bundle(exchange.bundle(referral, child), exchange.trust())
    ended = [
        (item.referral_id, item.recipient, item.state) for item in report.deliveries
    ]
    assert ended == [
        (referral.id, NEVADA, "TRANSFERRED"),
        (child.id, UTAH, "CLOSED"),
    ]
    assert "nevada-state-police TRANSFERRED" in why(report, 10)


def test_a_report_lists_the_statements_in_the_order_of_the_log() -> None:
    exchange, referral, child = transferred()
    report = verify_bundle(exchange.bundle(referral, child), exchange.trust())
    indexes = [statement.log_index for statement in report.statements]
    assert indexes == list(range(referral.index, len(exchange.log)))
    assert report.statements[0].kind == "referral"
    assert report.statements[-1].issuer == UTAH


def test_a_report_is_plain_json() -> None:
    exchange, referral, child = transferred()
    report = verify_bundle(exchange.bundle(referral, child), exchange.trust())
    read = json.loads(json.dumps(report.to_dict()))
    assert read["verdict"] == "PROVEN"
    assert read["exit_code"] == 0
    assert read["steps"][0] == {
        "step": 1,
        "name": "format",
        "subject": "bundle",
        "verdict": "PROVEN",
        "why": "19 statements can be read",
        "reason": "",
    }
    assert read["deliveries"][1]["deadlines"][0]["judgement"] == "met"
    assert read["statements"][0]["claimed"] == "2026-11-02T02:14:06.000Z"


def test_verification_goes_on_after_a_step_that_fails() -> None:
    exchange, referral, child = transferred()
    members = json.loads(exchange.bundle(referral, child))
    members["view"][0]["issuer"] = OHIO
    members["consistency"].pop()
    members["content"] = "AAAA"
    del members["directory"][0]
    report = verify_bundle(json.dumps(members).encode(), exchange.trust())
    assert failing(report) == {2, 3, 5, 11, 12}
    assert report.exit_code is ExitCode.NOT_PROVEN
    assert len(report.steps) > len(STEPS), "everything that is wrong is listed"


def test_a_finding_names_the_statement_and_the_reason() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    received = exchange.receive(referral, OHIO)
    old = exchange.rotate(OHIO)
    exchange.parties[OHIO].key = old
    exchange.acknowledge(received)
    report = verify_bundle(exchange.bundle(referral), exchange.trust())
    (step,) = (step for step in report.steps if step.verdict is Verdict.NOT_PROVEN)
    assert (step.number, step.name) == (3, "signatures")
    assert step.subject == "statements[4] acknowledgment"
    assert step.reason == report.reason == "KEY_NOT_VALID"
    assert "retired" in step.why


@pytest.mark.parametrize(
    ("data", "trust", "subject"),
    [
        (b"", "quorum none", "bundle"),
        (b"{}", "quorum none", "bundle"),
        (b"{}", "", "trust file"),
        (b"{}", "quorum\n", "trust file"),
        (b"{}", "\x00", "trust file"),
    ],
)
def test_what_cannot_be_read_ends_with_two(
    data: bytes, trust: str, subject: str
) -> None:
    report = verify_bundle(data, trust)
    assert report.exit_code is ExitCode.NOT_CHECKED
    assert [(step.number, step.subject) for step in report.steps] == [(1, subject)]


def test_a_bundle_of_nothing_proves_nothing_about_times() -> None:
    exchange = established(witnesses=("w1", "w2"))
    referral = exchange.publish(HOTLINE, OHIO)
    empty = exchange.bundle(referral, statements=[], directory=[])
    report = verify_bundle(empty, exchange.trust())
    assert failing(report) == {2, 10}
    assert verdicts(report)[9] is Verdict.NOT_CHECKED


# --- erasure, content, and bundles for one recipient


def test_erased_content_leaves_the_proofs_intact() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.receive(referral, OHIO)
    exchange.erase(referral)
    report = verify_bundle(exchange.bundle(referral), exchange.trust())
    assert report.exit_code == 0
    assert report.erased
    assert "content erased, timing intact" in why(report, 10)
    assert why(report, 11) == "content erased, timing intact"


def test_attached_content_is_compared_with_what_was_signed() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    bundle = Bundle.parse(exchange.bundle(referral))
    right = verify_bundle(bundle.with_content(CONTENT).format(), exchange.trust())
    wrong = verify_bundle(bundle.with_content(b"").format(), exchange.trust())
    assert verdicts(right)[11] is Verdict.PROVEN
    assert failing(wrong) == {11}


def two_deliveries() -> tuple[ChainBuilder, Logged]:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO, NEVADA)
    exchange.receive(referral, OHIO)
    exchange.wait(days=30)
    exchange.enrol("spiffe://national.example/agency/later")
    return exchange, referral


def test_a_bundle_for_one_recipient_says_nothing_of_the_other() -> None:
    exchange, referral = two_deliveries()
    report = verify_bundle(exchange.bundle(referral, recipient=OHIO), exchange.trust())
    assert [item.recipient for item in report.deliveries] == [OHIO]
    assert "no other recipient's delivery is shown" in why(report, 10)


def test_a_delivery_with_statements_cannot_be_hidden() -> None:
    exchange, referral = two_deliveries()
    exchange.hand_over(referral, NEVADA)
    report = verify_bundle(exchange.bundle(referral, recipient=OHIO), exchange.trust())
    assert [item.recipient for item in report.deliveries] == [OHIO, NEVADA]


def test_a_bundle_for_one_recipient_shows_what_it_passed_on() -> None:
    exchange, referral = two_deliveries()
    read = exchange.acknowledge(exchange.log[referral.index + 3])
    child = exchange.transfer(referral, read, UTAH)
    bundle = exchange.bundle(referral, child, recipient=OHIO)
    report = verify_bundle(bundle, exchange.trust())
    ended = [(item.recipient, item.state) for item in report.deliveries]
    assert ended == [(OHIO, "TRANSFERRED"), (UTAH, "ACCEPTED")]


def test_without_a_recipient_each_delivery_is_accounted_for() -> None:
    exchange, referral = two_deliveries()
    report = verify_bundle(exchange.bundle(referral), exchange.trust())
    ended = {item.recipient: item for item in report.deliveries}
    assert ended[NEVADA].state == "ACCEPTED"
    assert [item.judgement for item in ended[NEVADA].deadlines] == ["missed"]


def test_a_transfer_passes_nothing_on_whose_child_was_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refusal(builder: ChainBuilder, child: SignedStatement) -> SignedStatement:
        body = statement_pb2.Rejection(policy_digest=bytes(32), rule="any")
        return builder.sign(
            builder.exchange,
            referral_id=child.message.id,
            previous=child,
            rejection=body,
        )

    exchange = established()
    referral = exchange.publish(HOTLINE, NEVADA)
    read = exchange.acknowledge(exchange.receive(referral, NEVADA))
    monkeypatch.setattr(ChainBuilder, "acceptance", refusal)
    child = exchange.transfer(referral, read, UTAH)
    report = verify_bundle(exchange.bundle(referral, child), exchange.trust())
    assert "its child referral was refused" in str(report.to_dict())
    assert report.exit_code is ExitCode.NOT_PROVEN


# --- the log


def test_receipts_of_the_checkpoint_of_their_time_are_as_good_as_new_ones() -> None:
    exchange, referral, child = transferred()
    chain = [*exchange.chain(referral.id), *exchange.chain(child.id)]
    chain.sort(key=lambda item: item.index)

    def newest(item: Logged) -> LoggedStatement:
        return replace(item, receipt=exchange.receipt(item.index)).bundled()

    bundle = exchange.bundle(referral, statements=[newest(item) for item in chain])
    assert verify_bundle(bundle, exchange.trust()).exit_code == 0


def test_a_log_of_thousands_of_entries_proves_as_well() -> None:
    exchange = established()
    filler = [exchange.sign(OHIO, taking=statement_pb2.Taking()) for _ in range(20)]
    for _ in range(30):
        exchange.append(*filler)
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.receive(referral, OHIO)
    report = verify_bundle(exchange.bundle(referral), exchange.trust())
    assert report.exit_code == 0
    assert report.statements[0].log_index > 600


def test_a_trust_file_may_list_several_logs() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    other = ChainBuilder(domain="fl.example").signer.vkey.format()
    trust = f"# two exchanges\nlog {other}\n{exchange.trust()}"
    assert verify_bundle(exchange.bundle(referral), trust).exit_code == 0


def test_the_time_of_a_quorum_bounds_each_statement() -> None:
    exchange = established(witnesses=("w1", "w2", "w3"))
    referral = exchange.publish(HOTLINE, OHIO)
    report = verify_bundle(exchange.bundle(referral), exchange.trust())
    assert verdicts(report)[6] is Verdict.PROVEN
    assert verdicts(report)[9] is Verdict.PROVEN
    assert {item.interval.source for item in report.statements} == {"witnessed"}


def test_without_witnesses_times_are_called_claims() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    report = verify_bundle(exchange.bundle(referral), exchange.trust())
    assert verdicts(report)[9] is Verdict.NOT_CHECKED
    assert why(report, 9).startswith("claimed only")
    assert {item.interval.source for item in report.statements} == {"claimed only"}


# --- values that protobuf can hold and nobody can mean


def odd_deadlines(exchange: ChainBuilder) -> Logged:
    referral = exchange.referral(HOTLINE, OHIO)
    body = statement_pb2.Acceptance(
        deadlines=[
            statement_pb2.DeliveryDeadlines(
                recipient=OHIO,
                deliver_by_time=NEVER,
                acknowledge_within=duration(0),
                outcome_within=duration(0),
            )
        ]
    )
    body.deadlines[0].acknowledge_within.seconds = 2**62
    body.deadlines[0].outcome_within.seconds = -(2**62)
    acceptance = exchange.sign(
        exchange.exchange,
        referral_id=referral.message.id,
        previous=referral,
        acceptance=body,
    )
    first = exchange.append(referral, acceptance)
    exchange.receive(first, OHIO)
    return first


def odd_referral(exchange: ChainBuilder) -> Logged:
    return exchange.publish(
        HOTLINE,
        OHIO,
        expire_time=NEVER,
        tip_received_time=NEVER,
        urgency=99,
        consent=statement_pb2.Consent(expire_time=NEVER),
    )


def odd_recipients(exchange: ChainBuilder) -> Logged:
    return exchange.publish(HOTLINE, "nobody", "", exchange.exchange, HOTLINE, HOTLINE)


def odd_key_times(exchange: ChainBuilder) -> Logged:
    entry = exchange.parties[OHIO].entry
    entry.statement_keys[0].not_after_time.CopyFrom(NEVER)
    exchange.change(OHIO, statement_pb2.DIRECTORY_CHANGE_KIND_UPDATED)
    return exchange.publish(OHIO, NEVADA)


def odd_key_status(exchange: ChainBuilder) -> Logged:
    entry = exchange.parties[OHIO].entry
    entry.statement_keys[0].status = 99  # type: ignore[assignment]
    exchange.change(OHIO, statement_pb2.DIRECTORY_CHANGE_KIND_UPDATED)
    return exchange.publish(OHIO, NEVADA)


def odd_key(exchange: ChainBuilder) -> Logged:
    entry = exchange.parties[OHIO].entry
    entry.statement_keys.append(directory_pb2.StatementKey(jwk='{"kty":"OKP"}'))
    exchange.change(OHIO, statement_pb2.DIRECTORY_CHANGE_KIND_UPDATED)
    return exchange.publish(OHIO, NEVADA)


def odd_member(exchange: ChainBuilder) -> Logged:
    entry = exchange.parties[OHIO].entry
    entry.name = exchange.exchange
    exchange.change(OHIO, statement_pb2.DIRECTORY_CHANGE_KIND_UPDATED)
    return exchange.publish(HOTLINE, OHIO)


def odd_exchange_key(exchange: ChainBuilder) -> Logged:
    key = statement_key(exchange.parties[exchange.exchange].key)
    key.not_before_time.CopyFrom(NEVER)
    change = statement_pb2.KeyChange(keys=[key], log_vkey=exchange.signer.vkey.format())
    exchange.say(exchange.exchange, key_change=change, previous=exchange.log[0])
    return exchange.publish(HOTLINE, OHIO)


@pytest.mark.parametrize(
    ("odd", "steps"),
    [
        (odd_deadlines, set()),
        (odd_referral, {1}),
        (odd_recipients, {1}),
        (odd_key_times, {2}),
        (odd_key_status, {3}),
        (odd_key, {2}),
        (odd_member, {2}),
        (odd_exchange_key, {2}),
    ],
)
def test_odd_values_are_judged_and_never_raise(odd: Any, steps: set[int]) -> None:
    exchange = established()
    referral = odd(exchange)
    report = verify_bundle(exchange.bundle(referral), exchange.trust())
    assert failing(report) == steps


def test_a_deadline_without_a_valid_time_is_undetermined() -> None:
    exchange = established()
    referral = odd_deadlines(exchange)
    report = verify_bundle(exchange.bundle(referral), exchange.trust())
    (delivery,) = report.deliveries
    assert {item.judgement for item in delivery.deadlines} == {"undetermined"}
