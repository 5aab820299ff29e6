import pytest

from onward.core.errors import Reason, VerificationError
from onward.core.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    node_hash,
    root_from_inclusion,
    verify_consistency,
    verify_inclusion,
)

# The reference tree of the Certificate Transparency log code (RFC 6962): eight
# entries, the root at each size, and some proofs.
ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    bytes.fromhex(root)
    for root in (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
INCLUSION = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CONSISTENCY = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]


def decoded(hashes: list[str]) -> list[bytes]:
    return [bytes.fromhex(digest) for digest in hashes]


def assert_invalid(error: pytest.ExceptionInfo[VerificationError]) -> None:
    assert error.value.reason == Reason.ERROR_REASON_PROOF_INVALID


def test_hashes_are_those_of_rfc_6962() -> None:
    assert ROOTS[0] == EMPTY_ROOT
    assert leaf_hash(ENTRIES[0]) == ROOTS[1]
    assert node_hash(leaf_hash(ENTRIES[0]), leaf_hash(ENTRIES[1])) == ROOTS[2]


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSION)
def test_known_inclusion_proofs_verify(index: int, size: int, proof: list[str]) -> None:
    leaf = leaf_hash(ENTRIES[index])
    verify_inclusion(leaf, index, size, decoded(proof), ROOTS[size])
    assert root_from_inclusion(leaf, index, size, decoded(proof)) == ROOTS[size]


@pytest.mark.parametrize(("size1", "size2", "proof"), CONSISTENCY)
def test_known_consistency_proofs_verify(
    size1: int, size2: int, proof: list[str]
) -> None:
    verify_consistency(size1, size2, ROOTS[size1], ROOTS[size2], decoded(proof))


@pytest.mark.parametrize(
    ("index", "size"),
    [(8, 8), (9, 8), (-1, 8), (0, 0), (0, -1), (2**63, 2**63 + 1), (2, 8), (4, 8)],
)
def test_an_entry_of_another_place_is_refused(index: int, size: int) -> None:
    proof = decoded(INCLUSION[2][2])
    with pytest.raises(VerificationError) as error:
        verify_inclusion(leaf_hash(ENTRIES[5]), index, size, proof, ROOTS[8])
    assert_invalid(error)


@pytest.mark.parametrize(
    "proof",
    [
        pytest.param([], id="empty"),
        pytest.param(INCLUSION[2][2][:-1], id="truncated"),
        pytest.param(INCLUSION[2][2][1:], id="without-first"),
        pytest.param([*INCLUSION[2][2], "00" * 32], id="extended"),
        pytest.param(INCLUSION[2][2][::-1], id="reversed"),
        pytest.param([INCLUSION[2][2][0][2:], *INCLUSION[2][2][1:]], id="31-bytes"),
        pytest.param([INCLUSION[2][2][0] + "00", *INCLUSION[2][2][1:]], id="33-bytes"),
    ],
)
def test_a_misshapen_inclusion_proof_is_refused(proof: list[str]) -> None:
    with pytest.raises(VerificationError) as error:
        verify_inclusion(leaf_hash(ENTRIES[5]), 5, 8, decoded(proof), ROOTS[8])
    assert_invalid(error)


def test_leaf_and_root_have_32_bytes() -> None:
    leaf, root = leaf_hash(ENTRIES[0]), ROOTS[1]
    for wrong_leaf, wrong_root in [(leaf[1:], root), (leaf, root[1:]), (b"", b"")]:
        with pytest.raises(VerificationError) as error:
            verify_inclusion(wrong_leaf, 0, 1, [], wrong_root)
        assert_invalid(error)
    # A short root must not pass for being equal to a short leaf.
    with pytest.raises(VerificationError):
        verify_inclusion(leaf[1:], 0, 1, [], leaf[1:])


OTHER = b"\x07" * 32


def climbed(leaf: bytes, length: int) -> bytes:
    """Return the root over a leaf at index 0 whose siblings are all ``OTHER``."""
    return leaf if length == 0 else climbed(node_hash(leaf, OTHER), length - 1)


@pytest.mark.parametrize(
    ("size", "length", "root"),
    [
        pytest.param(2, 0, ROOTS[1], id="too-short"),
        pytest.param(8, 2, climbed(ROOTS[1], 2), id="one-too-short"),
        pytest.param(1, 1, node_hash(OTHER, ROOTS[1]), id="too-long"),
        pytest.param(1, 1, climbed(ROOTS[1], 1), id="too-long-to-the-right"),
        pytest.param(2**63, 63, climbed(ROOTS[1], 63), id="too-large"),
    ],
)
def test_a_forged_root_does_not_make_up_for_the_length(
    size: int, length: int, root: bytes
) -> None:
    leaf, proof = ROOTS[1], [OTHER] * length
    with pytest.raises(VerificationError) as error:
        verify_inclusion(leaf, 0, size, proof, root)
    assert_invalid(error)
    with pytest.raises(VerificationError) as error:
        verify_consistency(1, size, leaf, root, proof)
    assert_invalid(error)


def test_the_largest_tree_can_be_proven() -> None:
    leaf, proof = ROOTS[1], [OTHER] * 63
    verify_inclusion(leaf, 0, 2**63 - 1, proof, climbed(leaf, 63))
    verify_consistency(1, 2**63 - 1, leaf, climbed(leaf, 63), proof)


def test_an_inner_node_does_not_pass_for_an_entry() -> None:
    left, right = leaf_hash(ENTRIES[0]), leaf_hash(ENTRIES[1])
    forged = leaf_hash(left + right)
    with pytest.raises(VerificationError):
        verify_inclusion(forged, 0, 1, [], ROOTS[2])


@pytest.mark.parametrize(
    ("size1", "size2", "root1", "root2", "proof"),
    [
        pytest.param(0, 8, ROOTS[0], ROOTS[8], [], id="from-zero"),
        pytest.param(0, 0, ROOTS[0], ROOTS[0], [], id="zero-to-zero"),
        pytest.param(8, 6, ROOTS[8], ROOTS[6], CONSISTENCY[2][2], id="shrinking"),
        pytest.param(-1, 8, ROOTS[1], ROOTS[8], [], id="negative"),
        pytest.param(8, 8, ROOTS[8], ROOTS[7], [], id="same-size-other-root"),
        pytest.param(8, 8, ROOTS[8], ROOTS[8], ["00" * 32], id="same-size-with-proof"),
        pytest.param(8, 8, ROOTS[8][1:], ROOTS[8][1:], [], id="short-equal-roots"),
        pytest.param(6, 8, ROOTS[6], ROOTS[8], [], id="empty"),
        pytest.param(4, 8, ROOTS[4], ROOTS[8], [], id="empty-from-power-of-two"),
        pytest.param(6, 8, ROOTS[6], ROOTS[8], CONSISTENCY[2][2][:-1], id="truncated"),
        pytest.param(
            6, 8, ROOTS[6], ROOTS[8], [*CONSISTENCY[2][2], "00" * 32], id="extended"
        ),
        pytest.param(6, 8, ROOTS[5], ROOTS[8], CONSISTENCY[2][2], id="other-old-root"),
        pytest.param(6, 8, ROOTS[6], ROOTS[7], CONSISTENCY[2][2], id="other-new-root"),
        pytest.param(5, 8, ROOTS[6], ROOTS[8], CONSISTENCY[2][2], id="other-old-size"),
        pytest.param(
            6,
            8,
            ROOTS[6],
            ROOTS[8],
            [CONSISTENCY[2][2][0][2:], *CONSISTENCY[2][2][1:]],
            id="31-bytes",
        ),
        pytest.param(
            6, 2**63, ROOTS[6], ROOTS[8], CONSISTENCY[2][2], id="size-out-of-range"
        ),
    ],
)
def test_a_false_consistency_claim_is_refused(
    size1: int, size2: int, root1: bytes, root2: bytes, proof: list[str]
) -> None:
    with pytest.raises(VerificationError) as error:
        verify_consistency(size1, size2, root1, root2, decoded(proof))
    assert_invalid(error)
