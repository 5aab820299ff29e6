import pytest

from onward.core.errors import MalformedError
from onward.core.tiles import (
    bundle_path,
    edge_tiles,
    proof_tiles,
    tile_path,
    tile_paths,
    tile_width,
    tiles,
)


@pytest.mark.parametrize(
    ("index", "path"),
    [
        (0, "tile/0/000"),
        (7, "tile/0/007"),
        (999, "tile/0/999"),
        (1000, "tile/0/x001/000"),
        (1234067, "tile/0/x001/x234/067"),
        (10**9, "tile/0/x001/x000/x000/000"),
    ],
)
def test_an_index_is_written_in_groups_of_three(index: int, path: str) -> None:
    assert tile_path((0, index)) == path


def test_a_partial_tile_says_how_wide_it_is() -> None:
    assert tile_path((1, 1), 17) == "tile/1/001.p/17"
    assert tile_path((0, 1234067), 255) == "tile/0/x001/x234/067.p/255"
    assert bundle_path(273, 112) == "tile/entries/273.p/112"
    assert bundle_path(273) == "tile/entries/273"


@pytest.mark.parametrize("width", [0, -1, 257])
def test_no_tile_is_empty_or_wider_than_full(width: int) -> None:
    with pytest.raises(MalformedError):
        tile_path((0, 0), width)


@pytest.mark.parametrize(
    ("size", "paths"),
    [
        (0, []),
        (1, ["tile/0/000.p/1", "tile/entries/000.p/1"]),
        (255, ["tile/0/000.p/255", "tile/entries/000.p/255"]),
        (256, ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]),
        (
            257,
            [
                "tile/0/000",
                "tile/0/001.p/1",
                "tile/1/000.p/1",
                "tile/entries/000",
                "tile/entries/001.p/1",
            ],
        ),
    ],
)
def test_paths_of_a_small_log(size: int, paths: list[str]) -> None:
    assert tile_paths(size) == paths


def test_paths_of_the_example_of_c2sp_tlog_tiles() -> None:
    paths = tile_paths(70000)
    numbers = [f"{number:03}" for number in range(273)]
    assert paths == sorted(
        [
            *(f"tile/0/{number}" for number in numbers),
            "tile/0/273.p/112",
            "tile/1/000",
            "tile/1/001.p/17",
            "tile/2/000.p/1",
            *(f"tile/entries/{number}" for number in numbers),
            "tile/entries/273.p/112",
        ]
    )


def test_paths_are_sorted_as_text() -> None:
    # Tile 1000 is x001/000 and still stands after 999.
    paths = tile_paths(300_000)
    assert paths == sorted(paths)
    assert len(paths) == len(set(paths)) == 2 * 1172 + 5 + 1


def test_width_of_a_tile() -> None:
    assert tile_width((0, 272), 70000) == 256
    assert tile_width((0, 273), 70000) == 112
    assert tile_width((0, 274), 70000) == 0
    assert tile_width((1, 1), 70000) == 17
    assert tile_width((2, 0), 70000) == 1
    assert tile_width((3, 0), 70000) == 0


def test_tiles_to_write_when_a_log_grows() -> None:
    assert list(tiles(0)) == []
    assert list(tiles(5, 5)) == []
    assert list(tiles(6, 5)) == [(0, 0)]
    assert list(tiles(256, 255)) == [(0, 0), (1, 0)]
    assert list(tiles(257, 256)) == [(0, 1)]
    assert list(tiles(70000, 69999)) == [(0, 273)]
    assert list(tiles(65536, 65535)) == [(0, 255), (1, 0), (2, 0)]
    assert list(tiles(1000, 300)) == [(0, 1), (0, 2), (0, 3), (1, 0)]


def test_the_edge_is_the_partial_tiles() -> None:
    assert edge_tiles(0) == set()
    assert edge_tiles(255) == {(0, 0)}
    assert edge_tiles(256) == {(1, 0)}
    assert edge_tiles(65536) == {(2, 0)}
    assert edge_tiles(70000) == {(0, 273), (1, 1), (2, 0)}


def test_a_proof_needs_the_tiles_above_its_entry_and_the_edge() -> None:
    edge = edge_tiles(70000)
    assert proof_tiles(69999, 70000) == edge
    assert proof_tiles(0, 70000) == edge | {(0, 0), (1, 0)}
    assert proof_tiles(65535, 70000) == edge | {(0, 255), (1, 0)}
    assert proof_tiles(0, 1) == {(0, 0)}
    # Tile 1/1 has no hash yet: a tile is never empty.
    assert proof_tiles(65540, 65546) == {(0, 256), (2, 0)}


def test_the_tiles_of_a_huge_log_are_not_enumerated() -> None:
    size = 2**62 + 1
    assert edge_tiles(size) == {(0, 2**54), (7, 0)}
    assert len(proof_tiles(12345, size)) <= 16
    assert next(tiles(size)) == (0, 0)
