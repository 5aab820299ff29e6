import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given
from hypothesis import strategies as st

from onward.core.errors import MalformedError, OnwardError
from onward.core.notes import (
    Cosigner,
    KeyType,
    NoteSigner,
    Vkey,
    open_note,
    parse_note,
    sign_note,
)

KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
SIGNER = NoteSigner("national.example", KEY)
COSIGNER = Cosigner("witness.example", KEY)

CHARACTERS = st.characters(
    exclude_categories=["Cs"], exclude_characters=[*map(chr, range(32))]
)
TEXTS = st.lists(st.text(CHARACTERS), min_size=1).map("\n".join).map("{}\n".format)
NAMES = st.text(CHARACTERS, min_size=1).filter(
    lambda name: "+" not in name and not any(map(str.isspace, name))
)
TIMES = st.integers(0, 2**63 - 1)


@given(TEXTS, NAMES, TIMES)
def test_what_was_signed_opens(text: str, name: str, time: int) -> None:
    signer, cosigner = NoteSigner(name, KEY), Cosigner(name, KEY)
    note = parse_note(sign_note(text, [signer]))
    note = note.with_signatures(cosigner.sign(text, time))
    assert parse_note(note.format()) == note
    opened = open_note(note.format(), [signer.vkey, cosigner.vkey])
    assert opened.text == text
    assert [signature.time for signature in opened.signatures] == [None, time]


@given(NAMES, st.sampled_from(KeyType), st.data())
def test_keys_are_read_as_written(
    name: str, key_type: KeyType, data: st.DataObject
) -> None:
    size = 1312 if key_type is KeyType.ML_DSA_44 else 32
    vkey = Vkey(name, key_type, data.draw(st.binary(min_size=size, max_size=size)))
    assert Vkey.parse(vkey.format()) == vkey


@given(st.data())
def test_a_changed_character_is_never_trusted(data: st.DataObject) -> None:
    note = parse_note(sign_note("national.example\n5\nroot\n", [SIGNER]))
    text = note.with_signatures(COSIGNER.sign(note.text, 1700000000)).format()
    position = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters(max_codepoint=0x2100))
    assume(character != text[position])
    changed = text[:position] + character + text[position + 1 :]
    try:
        opened = open_note(changed, [SIGNER.vkey, COSIGNER.vkey])
    except OnwardError:
        return
    # What still opens has the same text, and has lost the changed line.
    assert opened.text == note.text
    assert len(opened.signatures) == 1


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        note = parse_note(text)
    except MalformedError:
        return
    assert note.format() == text


@given(st.text())
def test_any_key_is_read_or_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        Vkey.parse(text)
