"""The root at every size, from all entries at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onward.core.audit.prefixes import Prefixes, tree_root
from onward.core.merkle import leaf_hash
from onward.core.tree import Tree

ENTRIES = st.lists(st.binary(min_size=32, max_size=32), max_size=70)


@given(ENTRIES)
def test_each_root_is_the_one_that_the_log_had(entries: list[bytes]) -> None:
    prefixes = Prefixes(b"".join(entries))
    for size in range(len(entries) + 1):
        tree = Tree().extend([leaf_hash(entry) for entry in entries[:size]])
        assert prefixes.root(size) == tree.root
    assert prefixes.root(len(entries) + 1) is None
    assert prefixes.root(-1) is None
    assert tree_root(b"".join(entries)) == prefixes.root(len(entries))
