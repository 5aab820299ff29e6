import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.core.errors import VerificationError
from onward.core.merkle import verify_consistency, verify_inclusion
from tests.naive_merkle import NaiveTree, entries

LARGEST = 300
NAIVE = NaiveTree(entries(LARGEST))
SIZES = st.integers(1, LARGEST)


@st.composite
def places(draw: st.DrawFn) -> tuple[int, int]:
    """Draw an index and a size above it."""
    size = draw(SIZES)
    return draw(st.integers(0, size - 1)), size


@st.composite
def growths(draw: st.DrawFn) -> tuple[int, int]:
    """Draw a size and a larger one."""
    size2 = draw(st.integers(2, LARGEST))
    return draw(st.integers(1, size2 - 1)), size2


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_entry_of_every_tree_is_proven() -> None:
    for size in range(1, LARGEST + 1):
        for index in range(size):
            leaf, proof = NAIVE.leaf_hashes[index], NAIVE.inclusion(index, size)
            verify_inclusion(leaf, index, size, proof, NAIVE.root(size))


def test_every_growth_is_proven() -> None:
    for size2 in range(1, LARGEST + 1):
        for size1 in range(1, size2 + 1):
            proof = NAIVE.consistency(size1, size2)
            verify_consistency(
                size1, size2, NAIVE.root(size1), NAIVE.root(size2), proof
            )


@given(places(), st.data())
def test_one_flipped_bit_breaks_an_inclusion_proof(
    place: tuple[int, int], data: st.DataObject
) -> None:
    index, size = place
    parts = [NAIVE.leaf_hashes[index], NAIVE.root(size), *NAIVE.inclusion(index, size)]
    which = data.draw(st.integers(0, len(parts) - 1))
    parts[which] = flipped(parts[which], data.draw(st.integers(0, 255)))
    leaf, root, *proof = parts
    with pytest.raises(VerificationError):
        verify_inclusion(leaf, index, size, proof, root)


@given(growths(), st.data())
def test_one_flipped_bit_breaks_a_consistency_proof(
    growth: tuple[int, int], data: st.DataObject
) -> None:
    size1, size2 = growth
    parts = [NAIVE.root(size1), NAIVE.root(size2), *NAIVE.consistency(size1, size2)]
    which = data.draw(st.integers(0, len(parts) - 1))
    parts[which] = flipped(parts[which], data.draw(st.integers(0, 255)))
    root1, root2, *proof = parts
    with pytest.raises(VerificationError):
        verify_consistency(size1, size2, root1, root2, proof)


@given(places(), st.data())
def test_an_inclusion_proof_of_another_length_is_refused(
    place: tuple[int, int], data: st.DataObject
) -> None:
    index, size = place
    proof = NAIVE.inclusion(index, size)
    extra = st.sampled_from([*proof, NAIVE.leaf_hashes[index], NAIVE.root(size)])
    longer = st.lists(extra, min_size=1, max_size=70).map(lambda more: proof + more)
    shorter = st.integers(0, max(len(proof) - 1, 0)).map(lambda end: proof[:end])
    changed = data.draw(st.one_of(longer, shorter) if proof else longer)
    with pytest.raises(VerificationError):
        verify_inclusion(
            NAIVE.leaf_hashes[index], index, size, changed, NAIVE.root(size)
        )


@given(growths(), st.data())
def test_a_consistency_proof_of_another_length_is_refused(
    growth: tuple[int, int], data: st.DataObject
) -> None:
    size1, size2 = growth
    proof = NAIVE.consistency(size1, size2)
    extra = st.sampled_from([*proof, NAIVE.root(size1), NAIVE.root(size2)])
    longer = st.lists(extra, min_size=1, max_size=70).map(lambda more: proof + more)
    shorter = st.integers(0, len(proof) - 1).map(lambda end: proof[:end])
    changed = data.draw(st.one_of(longer, shorter))
    with pytest.raises(VerificationError):
        verify_consistency(size1, size2, NAIVE.root(size1), NAIVE.root(size2), changed)


@given(places(), st.integers(0, LARGEST))
def test_an_inclusion_proof_holds_for_one_index(
    place: tuple[int, int], other: int
) -> None:
    index, size = place
    leaf, proof = NAIVE.leaf_hashes[index], NAIVE.inclusion(index, size)
    if other == index:
        verify_inclusion(leaf, other, size, proof, NAIVE.root(size))
        return
    with pytest.raises(VerificationError):
        verify_inclusion(leaf, other, size, proof, NAIVE.root(size))


@given(growths())
def test_a_rewritten_history_is_not_consistent(growth: tuple[int, int]) -> None:
    size1, size2 = growth
    rewritten = NaiveTree([b"rewritten", *NAIVE.entries[1:]])
    proof = rewritten.consistency(size1, size2)
    with pytest.raises(VerificationError):
        verify_consistency(
            size1, size2, NAIVE.root(size1), rewritten.root(size2), proof
        )
