"""Merkle tree hashes over SHA-256, and the verification of proofs (RFC 6962, RFC 9162).

The functions decide from their arguments alone. Whoever grows a log and computes the
proofs uses ``onward.core.tree``.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from onward.core.errors import Reason, VerificationError

HASH_SIZE: Final = 32
"""Bytes of a SHA-256 hash."""

EMPTY_ROOT: Final = sha256().digest()
"""The root of a tree without entries (RFC 9162 2.1.1)."""

MAX_SIZE: Final = 2**63 - 1
"""The largest tree: sizes and indexes fit a signed 64-bit integer in any language."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a log entry (RFC 9162 2.1.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node from those of its children (RFC 9162 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


def root_from_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes]
) -> bytes:
    """Return the root to which an inclusion proof leads (RFC 9162 2.1.3.2).

    Args:
        leaf: the entry's leaf hash.
        index: the entry's index in the log, from 0.
        size: the number of entries in the tree.
        proof: the sibling hashes, the leaf's own sibling first.

    Raises:
        VerificationError: a hash is not 32 bytes, the index is not below the size, or
            the proof does not have the length that both require (``PROOF_INVALID``).
    """
    _require_hashes(leaf, *proof)
    if not 0 <= index < size <= MAX_SIZE:
        raise _invalid(f"a tree of size {size} cannot have an entry {index}")
    node = leaf
    sides = _left_siblings(index, size - 1, len(proof))
    for sibling, is_left in zip(proof, sides, strict=True):
        node = node_hash(sibling, node) if is_left else node_hash(node, sibling)
    return node


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Verify that the tree with this root has this entry (RFC 9162 2.1.3.2).

    Args:
        leaf: the entry's leaf hash.
        index: the entry's index in the log, from 0.
        size: the number of entries in the tree.
        proof: the sibling hashes, the leaf's own sibling first.
        root: the tree's root.

    Raises:
        VerificationError: the proof does not lead from the leaf to the root, or has
            not the required shape (``PROOF_INVALID``).
    """
    if root_from_inclusion(leaf, index, size, proof) != root:
        raise _invalid(f"entry {index} does not lead to the root of size {size}")


def verify_consistency(
    size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]
) -> None:
    """Verify that a tree grew from an older one by appending (RFC 9162 2.1.4.2).

    Equal sizes need equal roots and an empty proof. Every tree grew from the empty
    one, which would prove nothing, so an older size of 0 is refused.

    Args:
        size1: the older tree's number of entries, at least 1.
        size2: the newer tree's number of entries, at least ``size1``.
        root1: the older tree's root.
        root2: the newer tree's root.
        proof: the hashes, in the order of RFC 9162 2.1.4.1.

    Raises:
        VerificationError: the proof does not lead to both roots, or has not the
            required shape (``PROOF_INVALID``).
    """
    _require_hashes(root1, root2, *proof)
    if not 0 < size1 <= size2 <= MAX_SIZE:
        raise _invalid(f"nothing can grow from size {size1} to {size2}")
    if size1 == size2:
        if proof or root1 != root2:
            raise _invalid(f"size {size1} needs one root and an empty proof")
        return
    if not proof:
        raise _invalid(f"growth from size {size1} to {size2} needs a proof")
    # The proof climbs from the last complete node of the older tree. Where that node
    # is the whole older tree the proof leaves it out: the verifier has it as root1.
    height = (size1 & -size1).bit_length() - 1
    start, *path = [root1, *proof] if size1 == 1 << height else proof
    sides = _left_siblings((size1 - 1) >> height, (size2 - 1) >> height, len(path))
    older = newer = start
    for sibling, is_left in zip(path, sides, strict=True):
        older = node_hash(sibling, older) if is_left else older
        newer = node_hash(sibling, newer) if is_left else node_hash(newer, sibling)
    if (older, newer) != (root1, root2):
        raise _invalid(f"the tree of size {size2} did not grow from size {size1}")


def _left_siblings(index: int, last: int, length: int) -> list[bool]:
    """Return for each hash of a path whether it is the left sibling.

    This is the walk that RFC 9162 2.1.3.2 and 2.1.4.2 share, with its ``fn``
    (``index``) and ``sn`` (``last``): from a node of one height to the root, over
    ``length`` siblings.

    Raises:
        VerificationError: the path is longer or shorter than the way to the root.
    """
    sides = []
    for _ in range(length):
        if last == 0:
            raise _invalid("the proof is too long")
        is_left = index & 1 == 1 or index == last
        # The last node of a height without a sibling moves up as it is.
        while is_left and index and index & 1 == 0:
            index, last = index >> 1, last >> 1
        index, last = index >> 1, last >> 1
        sides.append(is_left)
    if last:
        raise _invalid("the proof is too short")
    return sides


def _require_hashes(*hashes: bytes) -> None:
    for digest in hashes:
        if len(digest) != HASH_SIZE:
            raise _invalid(f"a hash has {len(digest)} bytes instead of {HASH_SIZE}")


def _invalid(why: str) -> VerificationError:
    return VerificationError(Reason.ERROR_REASON_PROOF_INVALID, why)
