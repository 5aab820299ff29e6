"""No small number of a published report follows from those that it shows."""

from __future__ import annotations

from itertools import product

from hypothesis import assume, given
from hypothesis import strategies as st

from onward.core.audit.publication import for_publication, hidden_counts
from onward.core.audit.tables import Answer, Count, Equation, Hidden, Table
from onward.core.verify import Verdict

CELLS = st.sampled_from([0, 0, 1, 2, 3, 4, 5])
GRIDS = st.one_of(
    st.lists(st.lists(CELLS, min_size=1, max_size=4), min_size=1, max_size=1),
    st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=2, max_size=2),
)


def sums_of(grid: list[list[int]]) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Returns the numbers of a table with its totals, and what adds up to each."""
    columns = range(len(grid[0]))
    cells = {
        f"{row}.{column}": grid[row][column]
        for row in range(len(grid))
        for column in columns
    }
    sums = {f"row{row}": [f"{row}.{c}" for c in columns] for row in range(len(grid))}
    if len(grid) > 1:
        for column in columns:
            sums[f"column{column}"] = [f"{row}.{column}" for row in range(len(grid))]
        sums["all"] = [f"row{row}" for row in range(len(grid))]
    for total, parts in sums.items():
        cells[total] = sum(cells[part] for part in parts)
    return cells, sums


def answer_of(cells: dict[str, int], sums: dict[str, list[str]]) -> Answer:
    equations = tuple(
        Equation(Count(total, cells[total]), tuple(Count(p, cells[p]) for p in parts))
        for total, parts in sums.items()
    )
    rows = tuple((name, Count(name, value)) for name, value in cells.items())
    table = Table("table", "A table", ("name", "number"), rows)
    single = Table("tips", "Tips", ("tip",), (("hotline#1",),), single=True)
    return Answer(1, "?", Verdict.PROVEN, False, "", {}, (table, single), (), equations)


@given(GRIDS)
def test_each_small_number_could_be_another_one(grid: list[list[int]]) -> None:
    cells, sums = sums_of(grid)
    hidden = hidden_counts([answer_of(cells, sums)])
    assume(len(hidden) <= 5)
    most = max(cells.values()) + 2
    ranges = [
        (1, 2) if kind is Hidden.SMALL else range(most) for kind in hidden.values()
    ]
    possible: dict[str, set[int]] = {key: set() for key in hidden}
    for values in product(*ranges):
        guess = cells | dict(zip(hidden, values, strict=True))
        if all(guess[t] == sum(guess[p] for p in parts) for t, parts in sums.items()):
            for key, value in zip(hidden, values, strict=True):
                possible[key].add(value)
    for key, values_of in possible.items():
        assert not 0 < cells[key] < 3 or len(values_of) > 1


@given(GRIDS)
def test_what_is_published_has_no_small_number_and_no_single_tip(
    grid: list[list[int]],
) -> None:
    (published,) = for_publication([answer_of(*sums_of(grid))])
    (table,) = published.tables
    assert table.name == "table"
    shown = [cell for _, cell in table.rows if isinstance(cell, Count)]
    assert all(cell.value not in {1, 2} for cell in shown)
