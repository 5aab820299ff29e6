from hypothesis import given
from hypothesis import strategies as st

from onward.core.merkle import verify_consistency, verify_inclusion
from onward.core.tiles import TileId, edge_tiles, proof_tiles, tiles
from onward.core.tree import Tree
from tests.naive_merkle import NaiveTree, entries

LARGEST = 1500
NAIVE = NaiveTree(entries(LARGEST))
LEAVES = NAIVE.leaf_hashes
BATCHES = st.lists(st.integers(0, 500), max_size=8)


def test_growing_one_by_one_matches_the_definition() -> None:
    tree = Tree()
    for size in range(1, 301):
        tree = tree.extend(LEAVES[size - 1 : size])
        assert tree.root == NAIVE.root(size)
        proof = tree.inclusion_proof(size - 1)
        verify_inclusion(LEAVES[size - 1], size - 1, size, proof, tree.root)


def test_all_proofs_of_small_trees_match_the_definition() -> None:
    for size in range(1, 301):
        tree = Tree().extend(LEAVES[:size])
        for index in range(size):
            assert tree.inclusion_proof(index) == NAIVE.inclusion(index, size)
            growth = tree.consistency_proof(index + 1)
            assert growth == NAIVE.consistency(index + 1, size)


@given(BATCHES)
def test_a_log_grown_in_batches_is_the_log_grown_at_once(batches: list[int]) -> None:
    tree, store = Tree(), dict[TileId, bytes]()
    for batch in batches:
        older = tree
        tree = older.extend(LEAVES[older.size : min(older.size + batch, LARGEST)])
        changed = tree.changed_tiles(older.size)
        assert set(changed) == set(tiles(tree.size, older.size))
        store |= {tile: grown.data for tile, grown in changed.items()}
        assert tree.root == NAIVE.root(tree.size)
        for index in range(older.size, tree.size):
            assert tree.holds(index)
    whole = Tree().extend(LEAVES[: tree.size])
    assert store == {tile: grown.data for tile, grown in whole.changed_tiles(0).items()}


@given(BATCHES, st.data())
def test_memory_and_storage_give_the_same_proofs(
    batches: list[int], data: st.DataObject
) -> None:
    tree, store = Tree(), dict[TileId, bytes]()
    for batch in [*batches, 1]:
        older = tree
        tree = older.extend(LEAVES[older.size : min(older.size + batch, LARGEST)])
        grown = tree.changed_tiles(older.size)
        store |= {tile: grown[tile].data for tile in grown}
    size = data.draw(st.integers(1, tree.size))
    index = data.draw(st.integers(0, size - 1))
    loaded = Tree.load(size, {tile: store[tile] for tile in proof_tiles(index, size)})
    inclusion, growth = (
        loaded.inclusion_proof(index),
        loaded.consistency_proof(index + 1),
    )
    verify_inclusion(LEAVES[index], index, size, inclusion, NAIVE.root(size))
    verify_consistency(index + 1, size, NAIVE.root(index + 1), NAIVE.root(size), growth)
    if size == tree.size and tree.holds(index):
        assert tree.inclusion_proof(index) == inclusion
        assert tree.consistency_proof(index + 1) == growth


@given(st.integers(0, LARGEST), st.data())
def test_a_reloaded_log_grows_on(size: int, data: st.DataObject) -> None:
    end = data.draw(st.integers(size, LARGEST))
    whole = Tree().extend(LEAVES[:size]).changed_tiles(0)
    edge = {tile: whole[tile].data for tile in edge_tiles(size)}
    assert Tree.load(size, edge).extend(LEAVES[size:end]).root == NAIVE.root(end)
