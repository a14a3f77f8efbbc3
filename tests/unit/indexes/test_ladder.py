"""The settings to try, and the search among them against a look at every one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgvec.catalog import INDEX_TYPES
from imgvec.indexes.ladder import Cell, Grid, climb, grid, staircase


def test_small_values_come_one_by_one_and_great_ones_in_small_steps() -> None:
    cells = grid(INDEX_TYPES["IVF_FLAT"], {"nlist": 1024}, rows=50_000, limit=10)
    assert cells.names == ("nprobe",)
    assert list(cells.first[:64]) == list(range(1, 65))
    assert cells.first[-1] == 1024
    steps = [(b - a) / a for a, b in zip(cells.first[63:], cells.first[64:], strict=False)]
    assert max(steps) <= 0.05
    assert len(cells) < 200


@pytest.mark.parametrize(
    ("name", "build", "names", "first", "second"),
    [
        ("FLAT", {}, (), (0, 0), (0,)),
        ("AUTOINDEX", {}, (), (0, 0), (0,)),
        ("IVF_FLAT", {}, ("nprobe",), (1, 128), (0,)),
        ("IVF_SQ8", {"nlist": 64}, ("nprobe",), (1, 64), (0,)),
        ("IVF_SQ8", {"nlist": 64, "refine": True}, ("nprobe", "refine_k"), (1, 64), (1, 2, 4, 8, 16, 32, 64)),
        ("SCANN", {"nlist": 64}, ("nprobe", "reorder_k"), (1, 64), (10, 20, 40, 80, 160, 320, 640)),
        ("SCANN", {"nlist": 64, "with_raw_data": False}, ("nprobe",), (1, 64), (0,)),
        ("HNSW", {"M": 16}, ("ef",), (10, 1000), (0,)),
        ("DISKANN", {}, ("search_list",), (10, 1000), (0,)),
        ("GPU_CAGRA", {}, ("itopk_size",), (32, 992), (0,)),
        ("GPU_CAGRA", {"adapt_for_cpu": True}, ("ef",), (10, 1000), (0,)),
        ("BIN_IVF_FLAT", {"nlist": 16}, ("nprobe",), (1, 16), (0,)),
    ],
)
def test_every_family_has_its_grid(
    name: str, build: dict[str, object], names: tuple[str, ...], first: tuple[int, int], second: tuple[int, ...]
) -> None:
    cells = grid(INDEX_TYPES[name], build, rows=1000, limit=10)
    assert cells.names == names
    assert (cells.first[0], cells.first[-1]) == first
    assert tuple(cells.second) == second


@pytest.mark.slow
@given(
    st.sampled_from(sorted(INDEX_TYPES)),
    st.booleans(),
    st.integers(1, 10**8),
    st.integers(1, 1024),
    st.integers(1, 65536),
)
def test_the_catalogue_accepts_every_setting(name: str, refine: bool, rows: int, limit: int, nlist: int) -> None:
    kind = INDEX_TYPES[name]
    cells = grid(kind, {"nlist": nlist, "refine": refine}, rows=rows, limit=limit)
    assert list(cells.first) == sorted(set(cells.first))
    assert list(cells.second) == sorted(set(cells.second))
    for i in {0, len(cells.first) // 2, len(cells.first) - 1}:
        for j in range(len(cells.second)):
            kind.check_search(cells.setting((i, j)), limit=limit)


@st.composite
def monotone(draw: st.DrawFn) -> tuple[Grid, set[Cell]]:
    """A grid, and the cells that pass: with a cell, all of greater values."""
    width = draw(st.integers(1, 60))
    needed = sorted(draw(st.lists(st.integers(0, width), min_size=1, max_size=6)), reverse=True)
    cells = Grid(("a", "b"), range(width), range(len(needed)))
    return cells, {(i, j) for j, low in enumerate(needed) for i in range(low, width)}


@given(monotone())
def test_the_staircase_is_that_of_the_whole_grid(case: tuple[Grid, set[Cell]]) -> None:
    cells, good = case
    asked: set[Cell] = set()

    def passes(cell: Cell) -> bool:
        asked.add(cell)
        return cell in good

    def needed(cell: Cell) -> bool:
        i, j = cell
        return not any(other != cell and other[0] <= i and other[1] <= j for other in good)

    assert staircase(cells, passes) == sorted(filter(needed, good), key=lambda cell: cell[1])
    assert len(asked) <= len(cells.second) * (len(cells.first).bit_length() + 1)


@pytest.mark.slow
@given(monotone(), st.data())
def test_climbing_finds_the_staircase_of_what_passes_twice(case: tuple[Grid, set[Cell]], data: st.DataObject) -> None:
    cells, good = case
    needed = sorted(data.draw(st.lists(st.integers(0, len(cells.first)), min_size=6, max_size=6)), reverse=True)
    again = {(i, j) for j in range(len(cells.second)) for i in range(needed[j], len(cells.first))}
    start = staircase(cells, lambda cell: cell in again)
    asked: set[Cell] = set()

    def passes(cell: Cell) -> bool:
        asked.add(cell)
        return cell in good

    assert climb(start, cells, passes) == staircase(cells, lambda cell: cell in good and cell in again)
    assert asked <= again
