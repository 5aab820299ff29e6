"""Paths of tiles have one spelling, and bundles of entries one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.core.errors import MalformedError
from onward.core.tiles import (
    TILE_WIDTH,
    TilePath,
    format_entries,
    parse_entries,
    tile_paths,
)


@pytest.mark.parametrize(
    ("path", "parsed"),
    [
        ("tile/0/000", TilePath((0, 0))),
        ("tile/0/x001/x234/067", TilePath((0, 1234067))),
        ("tile/1/001.p/17", TilePath((1, 1), 17)),
        ("tile/entries/273.p/112", TilePath((0, 273), 112, entries=True)),
        ("tile/7/000.p/1", TilePath((7, 0), 1)),
    ],
)
def test_a_path_is_read(path: str, parsed: TilePath) -> None:
    assert TilePath.parse(path) == parsed
    assert parsed.format() == path


@pytest.mark.parametrize("size", [1, 255, 256, 257, 70_000])
def test_every_path_of_a_tree_is_read(size: int) -> None:
    for path in tile_paths(size):
        assert TilePath.parse(path).format() == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/000\n",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/1000",
        "tile/0/x000",
        "tile/0/x000/000",
        "tile/0/x000/001.p/1",
        "tile/0/001/000",
        "tile/0/X001/000",
        "tile/00/000",
        "tile/01/000",
        "tile/100/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/entry/000",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/1000",
        "tile/0/000.p/1.p/1",
        "tile/0/\u0660\u0660\u0660",
        "tile/\u00b2/000",
        "tile/0/" + "x999/" * 20 + "999",
    ],
)
def test_any_other_spelling_is_refused(path: str) -> None:
    with pytest.raises(MalformedError):
        TilePath.parse(path)


@given(st.text(alphabet="tile/0123456789xp.entries", max_size=40))
def test_what_is_read_is_written_the_same(path: str) -> None:
    try:
        parsed = TilePath.parse(path)
    except MalformedError:
        return
    assert parsed.format() == path


@given(
    st.integers(0, 7),
    st.integers(0, 2**55 - 1),
    st.integers(1, TILE_WIDTH),
)
def test_every_tile_of_every_log_has_a_path(level: int, index: int, width: int) -> None:
    for path in (
        TilePath((level, index), width),
        TilePath((0, index), width, entries=True),
    ):
        assert TilePath.parse(path.format()) == path


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_holds_its_entries(entries: list[bytes]) -> None:
    data = format_entries(entries)
    assert parse_entries(data) == entries
    if data:
        ends = {len(format_entries(entries[:count])) for count in range(len(entries))}
        for cut in range(len(data)):
            if cut not in ends:
                with pytest.raises(MalformedError):
                    parse_entries(data[:cut])


def test_the_form_of_a_bundle() -> None:
    assert format_entries([b"ab", b"", bytes(256)]) == (
        b"\0\2ab" + b"\0\0" + b"\1\0" + bytes(256)
    )
    with pytest.raises(OverflowError):
        format_entries([bytes(65536)])
