import pytest

from onward.core.errors import MalformedError, RangeError, Reason
from onward.core.merkle import EMPTY_ROOT, verify_consistency, verify_inclusion
from onward.core.tiles import TileId, edge_tiles, proof_tiles, tiles
from onward.core.tree import Tree, parse_tile
from tests.naive_merkle import NaiveTree, entries

# Just over one full tile of level 1, so that the tree has three levels of tiles.
NAIVE = NaiveTree(entries(66_000))
LEAVES = NAIVE.leaf_hashes


@pytest.fixture(scope="module")
def stored() -> dict[TileId, bytes]:
    """All tiles as a store has them after the last growth."""
    tree = Tree().extend(LEAVES)
    return {tile: grown.data for tile, grown in tree.changed_tiles(0).items()}


def assert_log_range(error: pytest.ExceptionInfo[RangeError]) -> None:
    assert error.value.reason == Reason.ERROR_REASON_LOG_RANGE


def test_an_empty_log() -> None:
    tree = Tree()
    assert tree.size == 0
    assert tree.root == EMPTY_ROOT
    assert tree.changed_tiles(0) == {}
    assert tree.extend([]).root == EMPTY_ROOT
    with pytest.raises(RangeError) as error:
        tree.inclusion_proof(0)
    assert_log_range(error)


def test_tiles_are_those_of_c2sp_tlog_tiles(stored: dict[TileId, bytes]) -> None:
    assert set(stored) == set(tiles(66_000))
    assert stored[0, 3] == b"".join(LEAVES[768:1024])
    assert stored[0, 257] == b"".join(LEAVES[65792:66000])
    assert stored[1, 0][32:64] == NAIVE.hash(256, 512)
    assert stored[1, 1] == NAIVE.hash(65536, 65792)
    assert stored[2, 0] == NAIVE.hash(0, 65536)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000, 65535, 65536, 65537, 66000])
def test_a_stored_log_proves_any_entry_at_any_size(
    size: int, stored: dict[TileId, bytes]
) -> None:
    # The tiles are wider than they were at that size: what came later must not show.
    for index in {0, size // 3, size // 2, max(size - 257, 0), size - 1}:
        needed = {tile: stored[tile] for tile in proof_tiles(index, size)}
        tree = Tree.load(size, needed)
        assert tree.holds(index)
        assert tree.root == NAIVE.root(size)
        assert tree.inclusion_proof(index) == NAIVE.inclusion(index, size)
        assert tree.consistency_proof(index + 1) == NAIVE.consistency(index + 1, size)


def test_full_tiles_serve_trees_in_which_they_were_partial(
    stored: dict[TileId, bytes],
) -> None:
    full = {tile: parse_tile(tile, stored[tile], 66_000) for tile in stored}
    tree = Tree(1000, full)
    assert tree.root == NAIVE.root(1000)
    assert tree.inclusion_proof(999) == NAIVE.inclusion(999, 1000)
    grown = tree.extend(LEAVES[1000:1003])
    assert grown.root == NAIVE.root(1003)
    assert grown.changed_tiles(1000)[0, 3].data == b"".join(LEAVES[768:1003])


def test_a_stored_log_grows_from_its_edge(stored: dict[TileId, bytes]) -> None:
    for size in (1, 256, 511, 65535, 65536, 65700):
        edge = {tile: stored[tile] for tile in edge_tiles(size)}
        tree = Tree.load(size, edge).extend(LEAVES[size:66_000])
        assert tree.root == NAIVE.root(66_000)
        changed = tree.changed_tiles(size)
        assert set(changed) == set(tiles(66_000, size))
        assert all(changed[tile].data == stored[tile] for tile in changed)
        assert all(changed[tile].width == len(stored[tile]) // 32 for tile in changed)


def test_proofs_of_a_commit_need_nothing_stored() -> None:
    tree = Tree().extend(LEAVES[:100])
    tree = tree.extend(LEAVES[100:700])
    for index in range(100, 700):
        assert tree.holds(index)
        proof = tree.inclusion_proof(index)
        verify_inclusion(LEAVES[index], index, 700, proof, tree.root)
    proof = tree.consistency_proof(100)
    verify_consistency(100, 700, NAIVE.root(100), tree.root, proof)


def test_a_dropped_growth_leaves_no_trace() -> None:
    tree = Tree().extend(LEAVES[:300])
    dropped = tree.extend([b"\x00" * 32] * 400)
    assert dropped.root != NAIVE.root(700)
    assert tree.size == 300
    assert tree.root == NAIVE.root(300)
    assert tree.inclusion_proof(299) == NAIVE.inclusion(299, 300)
    retried = tree.extend(LEAVES[300:700])
    assert retried.root == NAIVE.root(700)
    assert retried.changed_tiles(300)[0, 1].data == b"".join(LEAVES[256:512])


def test_memory_holds_the_edge_and_the_last_growth_only() -> None:
    tree = Tree().extend(LEAVES[:1000]).extend(LEAVES[1000:1001])
    assert tree.holds(1000)
    assert not tree.holds(0)
    with pytest.raises(RangeError, match="tile 0/0") as error:
        tree.inclusion_proof(0)
    assert_log_range(error)
    # What changed since an earlier tree than the last is not known any more.
    with pytest.raises(RangeError) as error:
        tree.changed_tiles(0)
    assert_log_range(error)


@pytest.mark.parametrize("index", [-1, 10, 11])
def test_an_entry_past_the_end_has_no_proof(index: int) -> None:
    with pytest.raises(RangeError, match="size 10") as error:
        Tree().extend(LEAVES[:10]).inclusion_proof(index)
    assert_log_range(error)


@pytest.mark.parametrize("size", [-1, 0, 11])
def test_growth_is_proven_from_sizes_that_were(size: int) -> None:
    with pytest.raises(RangeError) as error:
        Tree().extend(LEAVES[:10]).consistency_proof(size)
    assert_log_range(error)


def test_a_tree_is_consistent_with_itself_by_an_empty_proof() -> None:
    assert Tree().extend(LEAVES[:10]).consistency_proof(10) == []


@pytest.mark.parametrize("leaf", [b"", b"\x00" * 31, b"\x00" * 33])
def test_only_hashes_are_appended(leaf: bytes) -> None:
    with pytest.raises(MalformedError):
        Tree().extend([LEAVES[0], leaf])


def test_damaged_storage_is_noticed(stored: dict[TileId, bytes]) -> None:
    short = {**stored, (0, 3): stored[0, 3][:-1]}
    with pytest.raises(MalformedError, match="tile 0/3 has 8191 bytes"):
        Tree.load(66_000, short)
    edge = {tile: stored[tile] for tile in edge_tiles(66_000)}
    del edge[1, 1]
    with pytest.raises(RangeError, match="tile 1/1"):
        Tree.load(66_000, edge)
