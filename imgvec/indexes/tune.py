"""The cheapest search parameters that reach a recall, on queries that the index does not hold (`unseen`).

One half of the queries chooses: the grid of settings is bisected, since recall and cost grow with every value. The
other half, which no choice was made by, confirms: the choice stands if the lower confidence bound of its recall there
reaches the target, and gives way to the next dearer setting that does otherwise. As the settings are tried along a
curve that rises, the first one that passes falls short of the target in truth with no more than the probability that
the bound allows: for that, the dearest setting that falls short must have passed.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from typing_extensions import Unpack

from imgvec import catalog
from imgvec.errors import OptionError
from imgvec.indexes.ladder import Cell, climb, grid, staircase, text
from imgvec.indexes.measure import HALVES, Asked, Half, Latency, bounded, check_rows, questions, shuffled
from imgvec.indexes.options import MeasureOptions, RecallOptions
from imgvec.indexes.pictures import ranked
from imgvec.indexes.recall import Estimate
from imgvec.indexes.tuned import Choice, Point, Tuned
from imgvec.indexes.unseen import Ask, Basis, Scratch, unseen
from imgvec.options import documented, settled
from imgvec.plurals import counted
from imgvec.progress import Telling
from imgvec.store import Searches

CALLS = 100
"""Searches timed for each setting."""
_MOST_QUERIES = 1_000_000


@documented(MeasureOptions)
def tune(store: Searches, scratch: Scratch, **options: Unpack[MeasureOptions]) -> Tuned:
    """Find the cheapest search parameters whose recall@`limit` is `recall`, with that one-sided confidence.

    `queries` is an (n, dim) float32 array, or how many stored rows to take as queries. Stored rows stand for pictures
    like them that are not stored: `scratch` (`imgvec.scratch_copy`) makes a copy without them to measure on, and
    `on_notice` is told before that is filled (`imgvec.indexes.unseen` says why, and what is done with more than 100,000
    rows). Times are always the store's own. Each filter is measured against its own exact neighbours. `device` is where
    those are computed. In a collection of views recall is that of pictures, as a search by default finds them
    (`imgvec.indexes.pictures`). Raises `OptionError`, also where there are too few queries to show it, `QueryError`
    where there are no rows, `FilterError` for a filter that no row matches.
    """
    wanted = settled(MeasureOptions, options)
    tell, queries = Telling("tune", wanted["on_progress"]), wanted["queries"]
    check(store, wanted)
    ask = asking(wanted, tell)
    if isinstance(queries, np.ndarray):
        return Tuning(store, ask(store, shuffled(queries, wanted["seed"])), wanted, tell).tuned()
    enough(min(queries, store.count()), wanted, store.count())
    with unseen(store, scratch, queries, ask, wanted, tell) as found:
        return Tuning(store, found.asked, wanted, tell, basis=found.basis).tuned()


class Tuning:
    """One index, its grid of settings, and what was measured of them so far."""

    def __init__(
        self,
        store: Searches,
        asked: Sequence[Asked],
        wanted: RecallOptions,
        tell: Telling,
        *,
        basis: Basis = "given",
        indexed: int | None = None,
    ) -> None:
        """`wanted` is settled. `indexed` is how many rows the index is for, where `store` is a copy that lacks some."""
        self._began, self._basis = time.perf_counter(), basis
        self._store, self._asked, self._wanted, self._tell = store, asked, wanted, tell
        self._kind = catalog.index_type(store.index.type)
        self._build = dict(store.index.params)
        self._rows, hits = indexed or store.count(), asked[0].asked
        self._kind.check_search({}, limit=hits)
        self._grid = grid(self._kind, self._build, rows=self._rows, limit=hits)
        self._recalls: dict[tuple[int, Half, Cell], Estimate] = {}
        self._latencies: dict[tuple[int, Cell], Latency] = {}
        enough(sum(asked[0].size(half) for half in HALVES), wanted, self._rows)

    def tuned(self) -> Tuned:
        every = range(len(self._asked))
        cells = [self._cheapest([each]) for each in every]
        overall = cells[0] if len(cells) == 1 else self._cheapest(list(every)) if None not in cells else None
        choices = tuple(self._choice(each, cells[each], overall) for each in every)
        width, _ = catalog.VECTOR_TYPES[self._store.vector_type]
        build = {**self._kind.defaults("build"), **self._build}
        chose, held_out = (self._asked[0].size(half) for half in HALVES)
        return Tuned(
            collection=self._store.name,
            type=self._kind.name,
            build=self._build,
            target=self._wanted["recall"],
            limit=self._asked[0].limit,
            confidence=self._wanted["confidence"],
            queries=(chose, held_out),
            basis=self._basis,
            choices=choices,
            params=None if overall is None else self._grid.setting(overall),
            names=self._grid.names,
            least=bool(self._grid.names) and overall is not None and overall[0] == 0,
            searches=len(self._recalls),
            grid=len(self._grid) * len(self._asked),
            seconds=time.perf_counter() - self._began,
            memory_bytes=self._kind.memory(self._rows, self._store.dim, width, build),
            ranked=ranked(self._store),
        )

    def _cheapest(self, filters: Sequence[int]) -> Cell | None:
        """The cheapest cell that reaches the target under each of the filters."""

        chosen = staircase(self._grid, self._passes(filters, "choice"))
        confirmed = climb(chosen, self._grid, self._passes(filters, "held out"))
        if len(confirmed) < 2:
            return confirmed[0] if confirmed else None
        for each in filters:
            self._time(each, confirmed)
        return min(confirmed, key=lambda cell: max(self._latencies[each, cell].p50_ms for each in filters))

    def _passes(self, filters: Sequence[int], half: Half) -> Callable[[Cell], bool]:
        return lambda cell: all(self._recall(each, half, cell).low >= self._wanted["recall"] for each in filters)

    def _choice(self, which: int, cell: Cell | None, overall: Cell | None) -> Choice:
        asked = self._asked[which]
        seen = sorted({key[2] for key in self._recalls if key[:2] == (which, "choice")})
        # of equal recalls the first is the cheapest
        best = cell or max(seen, key=lambda c: self._recall(which, "choice", c).mean)
        self._time(which, sorted({key[2] for key in self._recalls if key[0] == which}))
        held_out = {c: self._point(which, "held out", c) for c in (cell, overall, best) if c is not None}
        measured = sorted((key[2], key[1]) for key in self._recalls if key[0] == which)
        return Choice(
            filter=asked.filter,
            rows=asked.rows,
            points=tuple(self._point(which, half, c) for c, half in measured),
            chosen=None if cell is None else held_out[cell],
            best=held_out[best],
            applied=None if overall is None else held_out[overall],
        )

    def _point(self, which: int, half: Half, cell: Cell) -> Point:
        latency = self._latencies[which, cell]
        return Point(
            params=self._grid.setting(cell),
            recall=self._recall(which, half, cell),
            held_out=half == "held out",
            p50_ms=latency.p50_ms,
            p99_ms=latency.p99_ms,
            qps=latency.qps,
        )

    def _recall(self, which: int, half: Half, cell: Cell) -> Estimate:
        if (which, half, cell) not in self._recalls:
            asked, params = self._asked[which], self._grid.setting(cell)
            measured = asked.measured(params, half, self._wanted["confidence"])
            self._recalls[which, half, cell] = measured
            place = f" where {asked.filter}" if asked.filter else ""
            said = f"{self._kind.name} {text(params)}{place}: recall {measured.mean:.4f} ({half})"
            self._tell("measuring recall", len(self._recalls), message=said)
        return self._recalls[which, half, cell]

    def _time(self, which: int, cells: Sequence[Cell]) -> None:
        missing = [cell for cell in cells if (which, cell) not in self._latencies]
        self._tell(f"{self._kind.name}: timing {counted(len(missing), 'setting')}")
        timed = self._asked[which].latencies(self._store, [self._grid.setting(cell) for cell in missing], CALLS)
        self._latencies |= {(which, cell): latency for cell, latency in zip(missing, timed, strict=True)}


def check(store: Searches, wanted: MeasureOptions) -> None:
    """Refuse what cannot be shown, before any work; raises `OptionError`, `QueryError` and `FilterError`."""
    queries = wanted["queries"]
    enough(len(queries) if isinstance(queries, np.ndarray) else queries, wanted)
    check_rows(store, wanted["filters"])


def asking(wanted: MeasureOptions, tell: Telling) -> Ask:
    """Finds the true neighbours of queries, as is wanted."""
    return partial(questions, filters=wanted["filters"], limit=wanted["limit"], device=wanted["device"], tell=tell)


def enough(queries: int, wanted: RecallOptions, rows: int = _MOST_QUERIES) -> None:
    """Refuse so few queries that even perfect answers would not show the recall; a sample has `rows` at most."""
    target, confidence = wanted["recall"], wanted["confidence"]

    def shown(half: int) -> bool:
        return half > 0 and bounded(np.ones(half), confidence).low >= target

    if not shown(queries // 2):
        least = 2 * bisect_left(range(_MOST_QUERIES), True, queries // 2 + 1, key=shown)
        more = "of your own, since the collection has too few rows" if least > rows else "at least"
        raise OptionError(
            "queries",
            f"{counted(queries, 'query', 'queries')} cannot show a recall of {target:g} with {confidence:.0%} "
            f"confidence, even if every answer is right: use {least} {more}",
        )
