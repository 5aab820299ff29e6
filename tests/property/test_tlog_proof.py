import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given
from hypothesis import strategies as st

from onward.core.checkpoints import Checkpoint
from onward.core.errors import MalformedError, OnwardError
from onward.core.notes import NoteSigner
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.core.tree import Tree
from tests.naive_merkle import NaiveTree, entries

NAIVE = NaiveTree(entries(300))
SIGNER = NoteSigner("national.example", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
POLICY = Policy.for_log(SIGNER.vkey)


@st.composite
def receipts(draw: st.DrawFn) -> TlogProof:
    size = draw(st.integers(1, 300))
    index = draw(st.integers(0, size - 1))
    tree = Tree().extend(NAIVE.leaf_hashes[:size])
    note = Checkpoint("national.example", size, tree.root).sign(SIGNER)
    extra = draw(st.none() | st.binary(min_size=1, max_size=100))
    return TlogProof(index, tuple(tree.inclusion_proof(index)), note, extra)


@given(receipts())
def test_a_receipt_survives_its_text_and_verifies(receipt: TlogProof) -> None:
    parsed = TlogProof.parse(receipt.format())
    assert parsed == receipt
    witnessed = parsed.verify(NAIVE.entries[receipt.index], POLICY)
    assert witnessed.checkpoint.root == NAIVE.root(witnessed.checkpoint.size)


@given(receipts(), st.data())
def test_a_receipt_with_a_changed_character_does_not_verify(
    receipt: TlogProof, data: st.DataObject
) -> None:
    entry = NAIVE.entries[receipt.index]
    # The extra data is not authenticated, by definition.
    text = TlogProof(receipt.index, receipt.path, receipt.checkpoint_note).format()
    position = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters(max_codepoint=0x2100))
    assume(character != text[position])
    changed = text[:position] + character + text[position + 1 :]
    with pytest.raises(OnwardError):
        TlogProof.parse(changed).verify(entry, POLICY)


@given(receipts(), st.integers(0, 299))
def test_a_receipt_proves_no_other_entry(receipt: TlogProof, other: int) -> None:
    assume(other != receipt.index)
    with pytest.raises(OnwardError):
        receipt.verify(NAIVE.entries[other], POLICY)


@given(receipts(), st.data())
def test_a_truncated_receipt_is_refused(
    receipt: TlogProof, data: st.DataObject
) -> None:
    text = receipt.format()
    end = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(MalformedError):
        TlogProof.parse(text[:end])
