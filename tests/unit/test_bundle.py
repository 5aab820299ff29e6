"""Reading and writing bundles: one form, bounded, and nothing believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from onward.core import bundle as module
from onward.core.bundle import Bundle, build_bundle, needed_sizes, view_of
from onward.core.errors import MalformedError, TooLargeError
from onward.core.statements import parse_statement
from onward.v1 import statement_pb2
from tests.support.chain_builder import CONTENT, HOTLINE, OHIO, Logged, established


@pytest.fixture(scope="module")
def data() -> bytes:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    exchange.receive(referral, OHIO)
    return exchange.bundle(referral)


def edited(data: bytes, edit: Callable[[dict[str, Any]], object]) -> bytes:
    members = json.loads(data)
    edit(members)
    return json.dumps(members, ensure_ascii=False).encode()


def test_what_is_read_is_written_again_byte_for_byte(data: bytes) -> None:
    assert Bundle.parse(data).format() == data


def test_content_and_recipient_survive(data: bytes) -> None:
    bundle = Bundle.parse(edited(data, lambda members: members.update(recipient=OHIO)))
    again = Bundle.parse(bundle.with_content(CONTENT).format())
    assert (again.recipient, again.content) == (OHIO, CONTENT)


def test_members_of_later_versions_are_ignored(data: bytes) -> None:
    later = edited(data, lambda members: members.update(notarizations=[{"x": [1.5]}]))
    assert Bundle.parse(later) == Bundle.parse(data)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"bundle",
        b"[]",
        b"null",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"format":"onward-bundle/v1","format":"onward-bundle/v1"}',
        b"[" * 100_000,
        b'{"format":"onward-bundle/v2"}',
        b'{"format":"onward-bundle/v1"}',
        b'{"format":' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_bundle_is_refused(wrong: bytes) -> None:
    with pytest.raises(MalformedError):
        Bundle.parse(wrong)


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.update(referral_id=7),
        lambda m: m.update(checkpoint=None),
        lambda m: m.update(statements={}),
        lambda m: m.update(directory=None),
        lambda m: m.pop("consistency"),
        lambda m: m.update(view="none"),
        lambda m: m.update(content=None),
        lambda m: m.update(content="not base64"),
        lambda m: m.update(recipient=None),
        lambda m: m["statements"].append("jws"),
        lambda m: m["statements"][0].pop("receipt"),
        lambda m: m["statements"][0].update(note="unsigned"),
        lambda m: m["directory"][0].update(statement=1),
        lambda m: m["consistency"][0].pop("root"),
        lambda m: m["consistency"][0].update(size=0),
        lambda m: m["consistency"][0].update(size=True),
        lambda m: m["consistency"][0].update(size=5.0),
        lambda m: m["consistency"][0].update(size=2**63),
        lambda m: m["consistency"][0].update(size="5"),
        lambda m: m["consistency"][0].update(root=""),
        lambda m: m["consistency"][0]["path"].append("AAAA"),
        lambda m: m["consistency"][0]["path"].append(7),
        lambda m: m["consistency"][0].update(path=m["consistency"][0]["path"][:1] * 64),
    ],
)
def test_a_member_of_another_shape_is_refused(
    data: bytes, edit: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(MalformedError):
        Bundle.parse(edited(data, edit))


def test_a_bundle_has_at_most_sixteen_mebibytes(data: bytes) -> None:
    padded = data + b" " * (16 * 1024 * 1024 - len(data))
    assert Bundle.parse(padded) == Bundle.parse(data)
    with pytest.raises(TooLargeError):
        Bundle.parse(padded + b" ")


def test_no_bundle_is_made_that_nobody_would_read(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BUNDLE_SIZE", 1000)
    read = json.loads(data)
    with pytest.raises(TooLargeError):
        build_bundle(
            read["referral_id"],
            read["checkpoint"],
            [module.LoggedStatement(**item) for item in read["statements"]],
            [module.LoggedStatement(**item) for item in read["directory"]],
            [],
        )


# --- which consistency proofs are needed


def test_each_older_tree_that_is_named_needs_a_proof() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    received = exchange.receive(referral, OHIO)
    size = len(exchange.log)
    needed = needed_sizes(exchange.checkpoint(), [received.bundled()])
    # Its receipt is up to the newest tree; what its issuer had seen is one smaller.
    assert needed == {size - 1: exchange.consistency(size - 1).root}


def test_nothing_is_needed_for_the_newest_tree_or_another_log() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    seen = statement_pb2.Seen(origin="fl.example/log", size=3, root=bytes(32))
    handover = exchange.hand_over(referral, OHIO)
    other = exchange.answer(
        exchange.exchange,
        exchange.log[referral.index + 1],
        handover=handover.statement.message.handover,
        seen=seen,
    )
    assert needed_sizes(exchange.checkpoint(), [other.bundled()]) == {}


# --- the view


def shown(logged: Logged) -> dict[str, Any]:
    parsed = parse_statement(logged.statement.jws)
    return view_of(parsed, logged.index)


def test_the_view_shows_names_and_times_as_people_read_them() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    view = shown(referral)
    assert view["kind"] == "referral"
    assert view["issuer"] == HOTLINE
    assert view["log_index"] == referral.index
    assert view["made_time"] == "2026-11-02T02:14:06Z"
    assert view["body"]["urgency"] == "URGENCY_TIME_SENSITIVE"
    assert view["body"]["recipients"] == [OHIO]
    assert view["body"]["content_size"] == str(len(CONTENT))


def test_a_value_without_a_json_form_does_not_break_the_view() -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    body = statement_pb2.Acceptance()
    body.deadlines.add().deliver_by_time.seconds = 2**62
    acceptance = exchange.answer(exchange.exchange, referral, acceptance=body)
    assert shown(acceptance)["body"] is None
    assert exchange.bundle(referral)
