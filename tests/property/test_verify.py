"""No byte of the evidence can be changed, and no input makes verification raise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onward.core.conformance import answer
from onward.core.verify import Report, verify_bundle
from tests.support.chain_builder import (
    ACKNOWLEDGE,
    HOTLINE,
    NEVADA,
    OHIO,
    UTAH,
    established,
)


def _evidence() -> tuple[bytes, str]:
    """Returns a bundle with a transfer, a rotation and an erasure, and a trust file."""
    exchange = established()
    referral = exchange.publish(HOTLINE, NEVADA, OHIO)
    read = exchange.acknowledge(exchange.receive(referral, NEVADA))
    exchange.rotate(NEVADA)
    child = exchange.transfer(referral, exchange.decline(read), UTAH)
    exchange.receive(child, UTAH)
    exchange.link(NEVADA, referral, child)
    exchange.warn(child, exchange.due(child, UTAH, ACKNOWLEDGE))
    exchange.wait(hours=13)
    exchange.breach(child, exchange.due(child, UTAH, ACKNOWLEDGE))
    exchange.erase(referral)
    return exchange.bundle(referral, child), exchange.trust()


BUNDLE, TRUST = _evidence()
MEMBERS = json.loads(BUNDLE)

# Each text of the bundle that proves something, by its path in the JSON.
PATHS: list[tuple[Any, ...]] = [
    ("checkpoint",),
    ("referral_id",),
    *(
        (name, place, part)
        for name in ("statements", "directory")
        for place in range(len(MEMBERS[name]))
        for part in ("statement", "receipt")
    ),
    *(("consistency", place, "root") for place in range(len(MEMBERS["consistency"]))),
    *(
        ("consistency", place, "path", step)
        for place, proof in enumerate(MEMBERS["consistency"])
        for step in range(len(proof["path"]))
    ),
]


OTHERS = st.one_of(st.characters(), st.sampled_from("AQgw=+/-_.\n 01"), st.just(""))
"""What to put in the place of one character; nothing, too."""


def verified(members: Any) -> Report:
    return verify_bundle(json.dumps(members, ensure_ascii=False).encode(), TRUST)


def text_at(members: Any, path: tuple[Any, ...]) -> str:
    for step in path:
        members = members[step]
    assert isinstance(members, str)
    return members


def changed(path: tuple[Any, ...], text: str) -> Any:
    """Returns the bundle with another text at a path."""
    members = json.loads(BUNDLE)
    place = members
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = text
    return members


def test_the_bundle_holds_before_it_is_changed() -> None:
    assert verified(MEMBERS).exit_code == 0


@settings(max_examples=300)
@given(st.data())
def test_no_character_of_the_evidence_can_be_another(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(PATHS))
    text = text_at(MEMBERS, path)
    place, other = data.draw(st.integers(0, len(text) - 1)), data.draw(OTHERS)
    if other != text[place]:
        forged = text[:place] + other + text[place + 1 :]
        assert verified(changed(path, forged)).exit_code != 0


@settings(max_examples=100)
@given(st.data())
def test_no_character_of_a_needed_cosignature_can_be_another(
    data: st.DataObject,
) -> None:
    # Of a cosignature that the quorum can do without, one may be: a garbled one counts
    # as none, like that of a witness whom the trust file does not list.
    exchange = established(witnesses=("w1.example", "w2.example"))
    referral = exchange.publish(HOTLINE, OHIO)
    note = exchange.checkpoint()
    assert not verify_bundle(exchange.bundle(referral), exchange.trust()).exit_code
    place, other = data.draw(st.integers(0, len(note) - 1)), data.draw(OTHERS)
    if other != note[place]:
        members = json.loads(exchange.bundle(referral))
        members["checkpoint"] = note[:place] + other + note[place + 1 :]
        forged = json.dumps(members).encode()
        assert verify_bundle(forged, exchange.trust()).exit_code != 0


@settings(max_examples=100)
@given(st.data())
def test_no_two_texts_of_the_evidence_can_change_places(data: st.DataObject) -> None:
    first, second = data.draw(st.sampled_from(PATHS)), data.draw(st.sampled_from(PATHS))
    mine, other = text_at(MEMBERS, first), text_at(MEMBERS, second)
    if mine != other:
        assert verified(changed(first, other)).exit_code != 0


@pytest.mark.parametrize(
    ("name", "spared"),
    [
        # The link, the warning, the breach and the erasure: nothing that is there
        # speaks of them.
        ("statements", {11, 12, 13, 14}),
        # The entry of a recipient that has not said anything yet.
        ("directory", {2}),
        ("consistency", set()),
        ("view", set()),
    ],
)
def test_nothing_that_is_spoken_of_can_be_left_out(name: str, spared: set[int]) -> None:
    for place in range(len(MEMBERS[name])):
        members = json.loads(BUNDLE)
        del members[name][place]
        if name == "statements":
            del members["view"][place]
        assert (verified(members).exit_code == 0) is (place in spared), place


@settings(max_examples=200)
@given(st.data())
def test_no_flipped_byte_makes_verification_raise(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(BUNDLE) - 1))
    flipped = bytearray(BUNDLE)
    flipped[place] ^= data.draw(st.integers(1, 255))
    verify_bundle(bytes(flipped), TRUST)


@given(st.binary(max_size=300), st.text(max_size=100))
def test_no_garbage_makes_verification_raise(data: bytes, trust: str) -> None:
    assert verify_bundle(data, trust).exit_code == 2
    verify_bundle(data, TRUST)
    verify_bundle(BUNDLE, trust)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(
    st.sampled_from(sorted(MEMBERS)),
    st.one_of(JSON, st.lists(JSON, max_size=3)),
)
def test_no_member_of_any_type_makes_verification_raise(name: str, value: Any) -> None:
    report = verified(MEMBERS | {name: value})
    assert report.exit_code != 0 or value == MEMBERS[name]


OPERATIONS = {
    "inclusion": ("leaf_hash", "index", "size", "proof", "root"),
    "consistency": ("size1", "size2", "root1", "root2", "proof"),
    "note": ("note", "vkeys"),
    "tlog_proof": ("proof", "entry", "policy"),
    "tile_paths": ("size",),
    "statement": ("jws", "jwk"),
    "body": ("jws",),
    "commitment": ("salt", "content"),
    "open": ("sealed", "private_key", "info"),
    "bundle": ("bundle", "trust"),
}
VALUES = JSON | st.sampled_from(["", "AAAA", 1, 255, {}, [], ["AAAA"], TRUST])


@given(st.sampled_from(sorted(OPERATIONS)), st.data())
def test_every_request_has_an_answer(op: str, data: st.DataObject) -> None:
    request = {name: data.draw(VALUES) for name in OPERATIONS[op]}
    answered = json.loads(answer(json.dumps({"op": op} | request)))
    assert answered["ok"] is True or answered["error"]


@given(st.text())
def test_every_line_has_an_answer(line: str) -> None:
    assert json.loads(answer(line)) == {"ok": False, "error": "REQUEST"}
