"""Vectors of ``inclusion`` and ``consistency``; the trees come from a naive oracle."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.case import Case, base64
from tests.naive_merkle import NaiveTree, entries

_TREE = NaiveTree(entries(70))


def cases() -> Iterator[Case]:
    """Yields the vectors."""
    yield from _inclusion()
    yield from _inclusion_fails()
    yield from _consistency()
    yield from _consistency_fails()


def _included(index: int, size: int, /, **changes: object) -> dict[str, object]:
    """Returns a request with a right proof, but for the changes."""
    return {
        "leaf_hash": base64(_TREE.leaf_hashes[index]),
        "index": index,
        "size": size,
        "proof": [base64(node) for node in _TREE.inclusion(index, size)],
        "root": base64(_TREE.root(size)),
    } | changes


def _grown(size1: int, size2: int, /, **changes: object) -> dict[str, object]:
    """Returns a request with a right proof, but for the changes."""
    return {
        "size1": size1,
        "size2": size2,
        "root1": base64(_TREE.root(size1)),
        "root2": base64(_TREE.root(size2)),
        "proof": [base64(node) for node in _TREE.consistency(size1, size2)],
    } | changes


def _inclusion() -> Iterator[Case]:
    for name, index, size, why in (
        ("one-entry", 0, 1, "A tree of one entry: the proof is empty."),
        ("power-of-two", 5, 8, "A full tree: every hash has a sibling."),
        ("ragged-tree", 3, 7, "A tree of 7, whose right side is lower."),
        ("last-of-ragged-tree", 6, 7, "The last entry has no sibling at two heights."),
        ("last-of-odd-tree", 68, 69, "The last entry climbs six heights as it is."),
        ("middle", 33, 70, "An entry in the middle of a tree of 70."),
    ):
        yield Case("inclusion", name, why, _included(index, size))


def _inclusion_fails() -> Iterator[Case]:
    def case(name: str, why: str, request: dict[str, object]) -> Case:
        return Case("inclusion", name, why, request, "PROOF_INVALID")

    right = [base64(node) for node in _TREE.inclusion(3, 7)]
    yield case(
        "truncated-proof",
        "The last hash of the proof is missing.",
        _included(3, 7, proof=right[:-1]),
    )
    yield case(
        "extended-proof",
        "The proof has one hash more than the way to the root.",
        _included(3, 7, proof=[*right, right[-1]]),
    )
    yield case(
        "swapped-hashes",
        "Two hashes of the proof have changed places.",
        _included(3, 7, proof=[right[1], right[0], *right[2:]]),
    )
    yield case(
        "wrong-size-tree",
        "The proof and root are those of a tree of 8, and the request says 7.",
        _included(6, 8, size=7),
    )
    yield case(
        "wrong-index",
        "The proof is the one of entry 3, and the request says entry 2.",
        _included(3, 7, index=2),
    )
    yield case(
        "index-is-size",
        "A tree of 7 has entries 0 to 6.",
        _included(6, 7, index=7),
    )
    yield case(
        "empty-tree",
        "A tree of no entries includes nothing, whatever the root.",
        _included(0, 1, size=0),
    )
    yield case(
        "other-leaf",
        "The leaf hash is that of another entry.",
        _included(3, 7, leaf_hash=base64(_TREE.leaf_hashes[4])),
    )
    yield case(
        "entry-in-place-of-leaf-hash",
        "The entry itself is given where its leaf hash belongs: the prefix byte that "
        "keeps leaves and nodes apart is missing.",
        _included(3, 7, leaf_hash=base64(_TREE.entries[3])),
    )
    yield case(
        "leaf-hash-of-31-bytes",
        "A hash has 32 bytes.",
        _included(0, 1, leaf_hash=base64(_TREE.leaf_hashes[0][:31])),
    )
    short = [base64(_TREE.inclusion(3, 7)[0][:31]), *right[1:]]
    yield case(
        "proof-hash-of-31-bytes",
        "A hash of the proof has 31 bytes.",
        _included(3, 7, proof=short),
    )
    yield case(
        "inner-node-as-leaf",
        "An inner node is passed off as a leaf of a smaller tree. The hashes fit; the "
        "path is too short for the size.",
        _included(
            3,
            8,
            leaf_hash=base64(_TREE.hash(2, 4)),
            index=1,
            proof=[base64(_TREE.hash(0, 2)), base64(_TREE.hash(4, 8))],
        ),
    )


def _consistency() -> Iterator[Case]:
    for name, size1, size2, why in (
        ("from-one", 1, 2, "A tree of one entry grew to two."),
        (
            "power-of-two",
            4,
            7,
            "The older tree is a complete node: the proof omits it.",
        ),
        ("ragged-tree", 6, 7, "The older tree is not complete."),
        ("across-tiles", 33, 70, "A tree of 33 grew to 70."),
        ("same-size", 7, 7, "Equal sizes need equal roots and an empty proof."),
    ):
        yield Case("consistency", name, why, _grown(size1, size2))


def _consistency_fails() -> Iterator[Case]:
    def case(name: str, why: str, request: dict[str, object]) -> Case:
        return Case("consistency", name, why, request, "PROOF_INVALID")

    right = [base64(node) for node in _TREE.consistency(6, 7)]
    yield case(
        "truncated-proof",
        "The last hash of the proof is missing.",
        _grown(6, 7, proof=right[:-1]),
    )
    yield case(
        "extended-proof",
        "The proof has one hash more than the way to the root.",
        _grown(6, 7, proof=[*right, right[-1]]),
    )
    yield case(
        "empty-proof",
        "Only equal sizes need no proof.",
        _grown(6, 7, proof=[]),
    )
    yield case(
        "from-size-zero",
        "Every tree grew from the empty one, so that proves nothing and is refused.",
        _grown(1, 7, size1=0, root1=base64(_TREE.root(0)), proof=[]),
    )
    yield case(
        "shrunk",
        "The older size is larger: a log only grows.",
        _grown(6, 7, size1=7, size2=6),
    )
    yield case(
        "same-size-other-root",
        "Equal sizes with different roots: a fork.",
        _grown(7, 7, root2=base64(_TREE.root(6))),
    )
    yield case(
        "same-size-with-proof",
        "Equal sizes take an empty proof only.",
        _grown(7, 7, proof=right),
    )
    yield case(
        "other-older-root",
        "The older root is the one of another size: the proof leads to the newer root "
        "alone.",
        _grown(6, 7, root1=base64(_TREE.root(5))),
    )
    yield case(
        "other-newer-root",
        "The newer root is the one of another size: the proof leads to the older root "
        "alone.",
        _grown(6, 7, root2=base64(_TREE.root(8))),
    )
    yield case(
        "wrong-size-tree",
        "The proof is the one from size 6, and the request says 5.",
        _grown(6, 7, size1=5),
    )
    yield case(
        "root-of-31-bytes",
        "A hash has 32 bytes.",
        _grown(
            7, 7, root1=base64(_TREE.root(7)[:31]), root2=base64(_TREE.root(7)[:31])
        ),
    )
