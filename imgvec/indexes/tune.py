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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from imgvec import catalog
from imgvec.errors import QueryError, UsageError
from imgvec.indexes.ladder import Cell, climb, grid, staircase, text
from imgvec.indexes.measure import HALVES, Asked, Half, Latency, bounded, check_rows, questions, shuffled
from imgvec.indexes.recall import Estimate
from imgvec.indexes.unseen import Basis, Scratch, unseen
from imgvec.progress import OnProgress, Telling
from imgvec.store import IndexInfo, Searches
from imgvec.vectors import Vectors

CALLS = 100
"""Searches timed for each setting."""
_MOST_QUERIES = 1_000_000
_BASES: Mapping[Basis, str] = {
    "given": "queries",
    "stored": "stored rows",
    "left out": "rows that were left out of a copy",
    "carried over": "stored rows, less what a copy showed that they are easier",
}


@dataclass(frozen=True, slots=True)
class Point:
    """What one setting gave, under one filter."""

    params: Mapping[str, Any]
    recall: Estimate
    """Its `low` is what the target is compared with (`measure.bounded`)."""
    held_out: bool
    """Measured on the queries that nothing was chosen by."""
    p50_ms: float
    p99_ms: float
    qps: float
    """Of one client that waits for each answer."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was found under one filter."""

    filter: str
    rows: int
    """That match."""
    points: tuple[Point, ...]
    """Everything measured, the cheapest setting first."""
    chosen: Point | None
    """The cheapest setting that reaches the target under this filter, held out; None where none does."""
    best: Point
    """`chosen`, or the setting of the best recall that was seen."""
    applied: Point | None
    """What the setting that reaches the target under every filter gives under this one."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """The outcome of tuning one index."""

    collection: str
    type: str
    build: Mapping[str, Any]
    target: float
    limit: int
    confidence: float
    queries: tuple[int, int]
    """How many chose, and how many were held out."""
    basis: Basis
    choices: tuple[Choice, ...]
    params: Mapping[str, Any] | None
    """The cheapest setting that reaches the target under every filter; None where none does."""
    names: tuple[str, ...]
    """The search parameters that were tuned; none where the index has none."""
    least: bool
    """The least value there is will do: true of few rows, and where the index is not searched (yet). Milvus searches
    segments below 1024 rows, and for some seconds those just indexed, row by row."""
    searches: int
    """How often the recall of a setting was measured."""
    grid: int
    """How often it would have been, had every setting been tried under every filter."""
    seconds: float
    memory_bytes: float
    """Of the index, as the catalogue estimates it."""
    build_seconds: float | None = None

    @property
    def reached(self) -> bool:
        return self.params is not None

    def is_of(self, index: IndexInfo) -> bool:
        """Whether it was measured on an index like that one: of its type, built with its parameters."""
        return (self.type, dict(self.build)) == (index.type, dict(index.params))

    def chosen(self) -> Mapping[str, Any]:
        """The setting that was found; raises `UsageError` where none reached the recall."""
        if self.params is None:
            raise UsageError(f"no setting of {self.type} reaches the recall: there is none to apply")
        return self.params

    @property
    def p50_ms(self) -> float:
        """Under the slowest filter, of what was chosen or else was best."""
        return max((choice.applied or choice.best).p50_ms for choice in self.choices)

    def summary(self) -> str:
        """The outcome, in one sentence."""
        goal = f"recall@{self.limit} of {self.target:g}"
        if self.params is not None:
            setting = f" with {text(self.params)}" if self.params else ", and has nothing to tune"
            worst = min((c.applied for c in self.choices if c.applied), key=lambda point: point.recall.low)
            return (
                f"{self.type} reaches {goal}{setting}: {worst.recall.mean:.4f}, at least {worst.recall.low:.4f} "
                f"with {self.confidence:.0%} confidence, on {worst.recall.queries} held-out {_BASES[self.basis]}"
            )
        missed = [choice for choice in self.choices if choice.chosen is None] or self.choices
        worst = min((choice.best for choice in missed), key=lambda point: point.recall.low)
        where = next(f" under {c.filter}" if c.filter else "" for c in missed if c.best is worst)
        setting = f" with {text(worst.params)}" if worst.params else ", which has nothing to tune"
        # seen often enough to hope for, and too seldom to promise
        few = (
            "; more queries, or queries of your own, may show that it does" if worst.recall.mean >= self.target else ""
        )
        return (
            f"no setting of {self.type} reaches {goal}{where}: the best seen is {worst.recall.mean:.4f} (at least "
            f"{worst.recall.low:.4f}){setting}{few}"
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "reached": self.reached}


def tune(
    store: Searches,
    scratch: Scratch,
    *,
    recall: float = 0.95,
    limit: int = 10,
    queries: Vectors | int = 2000,
    filters: Sequence[str] = ("",),
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
    on_progress: OnProgress | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> Tuned:
    """Find the cheapest search parameters whose recall@`limit` is `recall`, with that one-sided confidence.

    `queries` is an (n, dim) float32 array, or how many stored rows to take as queries. Stored rows stand for pictures
    like them that are not stored: `scratch` (`ImageCollection.scratch`) makes a copy without them to measure on, and
    `on_notice` is told before that is filled (`imgvec.indexes.unseen` says why, and what is done with more than 100,000
    rows). Times are always the store's own. Each filter is measured against its own exact neighbours. `device` is where
    those are computed. Raises `QueryError` where there are too few queries to show it, `FilterError` for a filter that
    no row matches.
    """
    tell = Telling("tune", on_progress)
    check(recall, queries, confidence)
    check_rows(store, filters)
    ask = partial(questions, filters=filters, limit=limit, device=device, tell=tell)
    if not isinstance(queries, int):
        return Tuning(store, ask(store, shuffled(queries, seed)), recall, confidence, tell).tuned()
    enough(min(queries, store.count()), recall, confidence, store.count())
    with unseen(
        store,
        scratch,
        queries,
        ask,
        target=recall,
        confidence=confidence,
        seed=seed,
        tell=tell,
        notice=on_notice or (lambda _: None),
    ) as found:
        return Tuning(store, found.asked, recall, confidence, tell, basis=found.basis).tuned()


class Tuning:
    """One index, its grid of settings, and what was measured of them so far."""

    def __init__(
        self,
        store: Searches,
        asked: Sequence[Asked],
        target: float,
        confidence: float,
        tell: Telling,
        *,
        basis: Basis = "given",
        indexed: int | None = None,
    ) -> None:
        """`indexed` is how many rows the index is wanted for, where `store` is a copy that lacks some."""
        self._began, self._basis = time.perf_counter(), basis
        self._store, self._asked, self._target, self._confidence, self._tell = store, asked, target, confidence, tell
        self._kind = catalog.index_type(store.index.type)
        self._build = dict(store.index.params)
        self._rows, hits = indexed or store.count(), asked[0].asked
        self._kind.check_search({}, limit=hits)
        self._grid = grid(self._kind, self._build, rows=self._rows, limit=hits)
        self._recalls: dict[tuple[int, Half, Cell], Estimate] = {}
        self._latencies: dict[tuple[int, Cell], Latency] = {}
        enough(sum(asked[0].size(half) for half in HALVES), target, confidence, self._rows)

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
            target=self._target,
            limit=self._asked[0].limit,
            confidence=self._confidence,
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
        return lambda cell: all(self._recall(each, half, cell).low >= self._target for each in filters)

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
            measured = asked.measured(params, half, self._confidence)
            self._recalls[which, half, cell] = measured
            place = f" where {asked.filter}" if asked.filter else ""
            said = f"{self._kind.name} {text(params)}{place}: recall {measured.mean:.4f} ({half})"
            self._tell("measuring recall", len(self._recalls), message=said)
        return self._recalls[which, half, cell]

    def _time(self, which: int, cells: Sequence[Cell]) -> None:
        missing = [cell for cell in cells if (which, cell) not in self._latencies]
        self._tell(f"{self._kind.name}: timing {len(missing)} settings")
        timed = self._asked[which].latencies(self._store, [self._grid.setting(cell) for cell in missing], CALLS)
        self._latencies |= {(which, cell): latency for cell, latency in zip(missing, timed, strict=True)}


def check(recall: float, queries: Vectors | int, confidence: float) -> None:
    """Refuse what cannot be shown, before any work; raises `QueryError`."""
    if not 0 < recall < 1:
        raise QueryError(f"a recall of {recall:g} cannot be shown: give one above 0 and below 1")
    enough(queries if isinstance(queries, int) else len(queries), recall, confidence)


def enough(queries: int, target: float, confidence: float, rows: int = _MOST_QUERIES) -> None:
    """Refuse so few queries that even perfect answers would not show the target; a sample has `rows` at most."""

    def shown(half: int) -> bool:
        return half > 0 and bounded(np.ones(half), confidence).low >= target

    if not shown(queries // 2):
        wanted = 2 * bisect_left(range(_MOST_QUERIES), True, queries // 2 + 1, key=shown)
        more = "of your own, the collection has not so many rows" if wanted > rows else "at least"
        raise QueryError(
            f"{queries} queries are too few to show a recall of {target:g} with {confidence:.0%} confidence, even were "
            f"every answer right: give {wanted} {more}"
        )
