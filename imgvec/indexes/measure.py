"""Measures recall and latency of one search setting, on queries whose true neighbours are known."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from imgvec.errors import FilterError, QueryError
from imgvec.indexes import pictures
from imgvec.indexes.neighbours import Neighbours
from imgvec.indexes.recall import Estimate, estimate, recalls
from imgvec.indexes.scores import WHOLE, tolerance
from imgvec.progress import Telling
from imgvec.store import Searches
from imgvec.stored import Found
from imgvec.vectors import Vectors, has_direction, norms
from imgvec.views import rows_to_ask

Half = Literal["choice", "held out"]
HALVES: tuple[Half, Half] = ("choice", "held out")

_BATCH = 64
"""Queries in a call that measures recall: a slow setting's call must still end before the client gives up."""
_TURN, _WARM_CALLS = 20, 3
"""Timed calls in a row with one setting, and those before them that are not timed."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Of calls with one query each, one after the other, client and network included."""

    p50_ms: float
    p99_ms: float
    qps: float


@dataclass(frozen=True, slots=True)
class Queries:
    """(n, dim) query vectors in random order; the first half is to choose by, the rest is held out."""

    vectors: Vectors
    own: Sequence[str] | None
    """Where the queries are stored rows: their ids, or of views their pictures' ids. These are not among the hits."""
    rows: Sequence[str] = ()
    """The ids of the stored rows."""

    def half(self, which: Half) -> slice:
        middle = len(self.vectors) // 2
        return slice(0, middle) if which == "choice" else slice(middle, None)


class Asked(Protocol):
    """Queries under one filter, whose true neighbours are known: what tuning measures a setting by."""

    @property
    def filter(self) -> str: ...
    @property
    def rows(self) -> int:
        """That match the filter."""

    @property
    def limit(self) -> int: ...
    @property
    def asked(self) -> int:
        """Rows that a search has to ask for."""

    def size(self, which: Half) -> int:
        """How many queries that half has."""

    def measured(self, params: Mapping[str, Any], which: Half, confidence: float) -> Estimate:
        """The recall of one half, as `bounded` bounds it."""

    def latencies(self, store: Searches, settings: Sequence[Mapping[str, Any]], calls: int) -> list[Latency]:
        """Times of searches of one query each, with each of the settings."""


@dataclass(frozen=True, slots=True)
class Questions:
    """The queries with their true neighbours in one store, under one filter."""

    store: Searches
    queries: Queries
    filter: str
    rows: int
    """That match."""
    limit: int
    exact: Neighbours

    @property
    def asked(self) -> int:
        return rows_to_ask(self._wanted, self.store.most_views)

    @property
    def _wanted(self) -> int:
        """Hits to ask for, so that `limit` are left without the query's own."""
        return self.limit if self.queries.own is None else self.limit + 1

    def size(self, which: Half) -> int:
        return len(self.queries.vectors[self.queries.half(which)])

    def measured(self, params: Mapping[str, Any], which: Half, confidence: float) -> Estimate:
        return bounded(self.recall(params, which), confidence)

    def recall(self, params: Mapping[str, Any], which: Half) -> NDArray[np.float64]:
        """The recall of each query of one half."""
        half = self.queries.half(which)
        vectors = self.queries.vectors[half]
        found: list[Sequence[Found]] = []
        for start in range(0, len(vectors), _BATCH):
            part = vectors[start : start + _BATCH]
            found += pictures.found(self.store, part, limit=self._wanted, filter=self.filter, params=params)
        if self.queries.own is not None:
            pairs = zip(found, self.queries.own[half], strict=True)
            found = [[hit for hit in hits if hit.id != own][: self.limit] for hits, own in pairs]
        exact = Neighbours(self.exact.ids[half], self.exact.scores[half])
        # more copies of one image than `exact` knows of: their scores tell, where the index scores whole vectors
        return recalls(found, exact, self.limit, exact_scores=tolerance(self.store.index) == WHOLE)

    def latencies(self, store: Searches, settings: Sequence[Mapping[str, Any]], calls: int) -> list[Latency]:
        return latencies(store, self.queries.vectors, settings, calls, limit=self.limit, filter=self.filter)


def bounded(shares: NDArray[np.float64], confidence: float) -> Estimate:
    """The mean recall of some queries; it is at least `low` with more than that confidence.

    The interval has two sides, of which only the lower one is looked at, so half of the doubt is in reserve. It is for
    what a sample does not tell: the setting that passes first is a lucky one, and two builds of one index differ (by
    0.001 in recall, where an HNSW or an IVF_FLAT over 40,000 vectors was built three times).
    """
    return estimate(shares, confidence=confidence, sides=2)


def latencies(
    store: Searches, vectors: Vectors, settings: Sequence[Mapping[str, Any]], calls: int, *, limit: int, filter: str
) -> list[Latency]:
    """Time at least `calls` searches of one of the (n, dim) vectors with each of the settings, for `limit` hits.

    They take turns, so that whatever else the machine does slows all of them alike.
    """
    seconds: list[list[float]] = [[] for _ in settings]
    for start in range(0, calls, _TURN):
        for params, timed in zip(settings, seconds, strict=True):
            for number in range(start - _WARM_CALLS, start + _TURN):
                query = vectors[number % len(vectors)][None]
                began = time.perf_counter()
                pictures.found(store, query, limit=limit, filter=filter, params=params)
                if number >= start:
                    timed.append(time.perf_counter() - began)
    return [_latency(timed) for timed in seconds]


def _latency(seconds: Sequence[float]) -> Latency:
    p50, p99 = np.percentile(seconds, [50, 99])
    return Latency(float(p50) * 1e3, float(p99) * 1e3, len(seconds) / sum(seconds))


def questions(
    store: Searches,
    queries: Queries,
    filters: Sequence[str],
    *,
    limit: int,
    device: str,
    tell: Telling,
) -> list[Questions]:
    """The queries with their true neighbours in `store` under each filter."""
    prepared = []
    for filter_ in dict.fromkeys(filters):
        rows = store.count(filter_)
        among = f"the {rows:,} rows that match {filter_}" if filter_ else f"{rows:,} rows"
        stage = f"exact neighbours of {len(queries.vectors):,} queries among {among}"
        tell(stage, 0, rows)
        own = queries.own
        exact = pictures.neighbours(
            store,
            queries.vectors,
            limit=limit + (own is not None),
            filter=filter_,
            device=device,
            on_rows=partial(_streamed, tell, stage, rows),
        )
        prepared.append(Questions(store, queries, filter_, rows, limit, exact if own is None else exact.without(own)))
    return prepared


def _streamed(tell: Telling, stage: str, rows: int, seen: int) -> None:
    tell(stage, seen, max(seen, rows))


def check_rows(store: Searches, filters: Sequence[str]) -> None:
    """Raise `QueryError` if there is no row, `FilterError` for a filter that no row matches."""
    if not store.count():
        raise QueryError(f"{store.name!r} has no rows: there is nothing to tune")
    for filter_ in filters:
        if filter_ and not store.count(filter_):
            raise FilterError(f"no row of {store.name!r} matches {filter_}: there is nothing to tune for it")


def sampled(store: Searches, ids: Sequence[str]) -> Queries:
    """Stored rows as queries; those that no search can be made with are left out."""
    name = pictures.key(store)
    rows = store.get(ids, output_fields=[] if name == "id" else [name], with_vector=True)
    usable = {id_: row for id_, row in rows.items() if _usable(row["vector"])}
    vectors = np.array([row["vector"] for row in usable.values()], np.float32).reshape(len(usable), store.dim)
    return Queries(vectors, [row.get(name, id_) for id_, row in usable.items()], list(usable))


def shuffled(vectors: Vectors, seed: int) -> Queries:
    """The queries in random order: files of one kind stand side by side in a folder, and both halves want of each."""
    order = np.random.default_rng(seed).permutation(len(vectors))
    return Queries(np.ascontiguousarray(vectors[order], np.float32), None)


def _usable(vector: Vectors) -> bool:
    return bool(has_direction(norms(vector[None]))[0])
