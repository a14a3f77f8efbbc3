"""The grid of search settings to try, and how to find the worthwhile ones."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgvec.catalog import IndexType, Parameter

Cell = tuple[int, int]
"""A place in the grid: the position of the first parameter's value, and of the second one's."""
Passes = Callable[[Cell], bool]

_FIRST = ("nprobe", "ef", "search_list", "itopk_size")
"""What recall hangs on; the other search parameters are for speed, or have a default that is good throughout."""
_FINE = 32
"""Values below twice this come one by one, higher ones in steps of about 3 %."""
_MOST_CANDIDATES = 32_768
"""Milvus's own bound on `ef` before 2.4: beyond it a graph costs about as much as comparing with every row."""
_MOST_REORDERED = 64
"""Times `limit`."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Every setting to try: all values of one parameter with each of a few values of a second one.

    `names` are the parameters that there are, none for an index that has nothing to set. Recall and cost grow with
    both values, which both ascend.
    """

    names: tuple[str, ...]
    first: Sequence[int]
    second: Sequence[int]

    def __len__(self) -> int:
        return len(self.first) * len(self.second)

    def setting(self, cell: Cell) -> dict[str, Any]:
        """The search parameters to send."""
        return dict(zip(self.names, (self.first[cell[0]], self.second[cell[1]]), strict=False))


def text(params: Mapping[str, Any]) -> str:
    """Parameters in readable form: `nprobe 20, reorder_k 80`."""
    return ", ".join(f"{name} {value}" for name, value in params.items())


def grid(kind: IndexType, build: Mapping[str, Any], *, rows: int, limit: int) -> Grid:
    """The grid of an index of that type, built with `build` over so many rows, for searches of `limit` hits."""
    parameters = {parameter.name: parameter for parameter in kind.search}
    order = ("ef",) if build.get("adapt_for_cpu") else tuple(n for n in _FIRST if n != "ef" or kind.name != "GPU_CAGRA")
    name = next((n for n in order if n in parameters), None)
    if name is None:
        return Grid((), (0,), (0,))
    most = int({**kind.defaults("build"), **build}["nlist"]) if name == "nprobe" else min(rows, _MOST_CANDIDATES)
    first = ladder(parameters[name], most, limit)
    times = [2**power for power in range(_MOST_REORDERED.bit_length())]
    times = [t for t in times if t == 1 or t * limit <= rows]
    if "reorder_k" in parameters and build.get("with_raw_data", True):
        return Grid((name, "reorder_k"), first, [t * limit for t in times])
    if "refine_k" in parameters and build.get("refine"):
        return Grid((name, "refine_k"), first, times)
    return Grid((name,), first, (0,))


def ladder(parameter: Parameter, most: int, limit: int) -> list[int]:
    """The values of one parameter up to `most`, or the nearest that it takes: dense where they are small."""
    unit = parameter.multiple_of or 1
    low = max(int(parameter.low or 1), limit if parameter.at_least_limit else 1)
    high = most if parameter.high is None else min(most, int(parameter.high))
    at, last = -(-low // unit), max(-(-low // unit), high // unit)
    values = []
    while at < last:
        values.append(at * unit)
        at += max(1, at // _FINE)
    return [*values, last * unit]


def staircase(cells: Grid, passes: Passes) -> list[Cell]:
    """The cells that pass and of which none passes with one value smaller and the other no greater.

    The cheapest cell of the grid is one of them, since cost grows with both values. `passes` grows with both too, so
    each row of the grid is bisected, below what the row before it needed.
    """
    found: list[Cell] = []
    bound, several = len(cells.first), len(cells.second) > 1
    for j in range(len(cells.second)):
        # a row's last cell alone tells whether it has anything to bisect for
        if bound == 0 or (several and not passes((bound - 1, j))):
            continue
        at = bisect_left(range(bound - several), True, key=_in_row(passes, j))
        if at < bound:
            found.append((at, j))
            bound = at
    return found


def climb(start: Sequence[Cell], cells: Grid, passes: Passes) -> list[Cell]:
    """The staircase of the cells that pass and lie on the staircase `start` or above it.

    Each row is climbed from where `start` has it, in steps that double, since it is seldom far.
    """
    found: list[Cell] = []
    bound = len(cells.first)
    for j in range(len(cells.second)):
        low, step = min((i for i, row in start if row <= j), default=bound), 1
        while low < bound:
            probe = min(low + step, bound) - 1
            if passes((probe, j)):
                bound = bisect_left(range(probe), True, low, probe, key=_in_row(passes, j))
                found.append((bound, j))
            low, step = probe + 1, step * 2
    return found


def _in_row(passes: Passes, row: int) -> Callable[[int], bool]:
    return lambda column: passes((column, row))
