"""The rows whose best match among several examples is the highest.

Qdrant's strategy `best_score` (https://qdrant.tech/documentation/concepts/explore, `RecoBestScoreQuery` in its
`reco_query.rs`): with the highest similarities of a row x to a positive and to a negative example,

    p = max s(x, positive)        n = max s(x, negative)        sigmoid(t) = (1 + t / (1 + |t|)) / 2
    score = sigmoid(p) if p > n else -sigmoid(n)

Milvus has no such score, but its own searches bound it. Each positive example is searched for, all in one call, `depth`
rows deep. A row in none of the lists is at most as similar to an example as the last row of that one's list, so with
the highest of these last scores as t, every row with p > t is in a list, and is seen; this is the stopping rule of
the threshold algorithm (Fagin, Lotem and Naor, Optimal aggregation algorithms for middleware, 2003). Rows are compared
with all examples by their stored vectors, in float64. If `limit` rows with p > t and p > n were seen, no other row has
a higher score: the answer is certain, so far as the index finds the nearest rows. If not, the lists are made four times
as long, up to `MOST_CANDIDATES` rows in all, or until they hold all rows that match. Where that is not enough, the best
rows among the candidates are given, and the answer says that it is not certain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from imgvec.rows import VECTOR
from imgvec.store import NearestOf, Searches, check_keywords
from imgvec.stored import Found, Nearest, is_complete
from imgvec.vectors import Vectors

MOST_CANDIDATES = 10_000
"""Rows of all lists together; an answer of more rows looks at as many as it has, for each example."""
FIRST_DEPTH = 100
_DEEPER = 4


def sigmoid(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Qdrant's, from 0 to 1."""
    found: NDArray[np.float64] = 0.5 * (1 + similarity / (1 + np.abs(similarity)))
    return found


def similarities(metric_type: str, rows: NDArray[Any], examples: NDArray[Any]) -> NDArray[np.float64]:
    """(rows, examples) scores as searches give them: the cosine, or 1 - distance² / 2 for L2."""
    a, b = rows.astype(np.float64), examples.astype(np.float64)
    if metric_type == "L2":
        squares = np.square(a).sum(1)[:, None] - 2 * a @ b.T + np.square(b).sum(1)
        return np.asarray(1 - np.maximum(squares, 0) / 2)
    return np.asarray((a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T)


class ByBest:
    """A store whose nearest rows are those of the highest `best_score`, whatever vector is asked for."""

    def __init__(self, store: Searches, positive: Vectors, negative: Vectors) -> None:
        """(p, dim) and (n, dim), p at least 1."""
        self._store, self._positive, self._negative = store, positive, negative
        self.certain = True
        """Whether no row that was not looked at can belong into what searches gave."""
        self._seen = set[str]()

    @property
    def compared(self) -> int:
        """Rows that were compared with all examples."""
        return len(self._seen)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def as_store(self) -> Searches:
        """Itself: what a search does not need to know otherwise it has from its store."""
        return cast(Searches, self)

    def search(self, vectors: Vectors, **asked: Unpack[NearestOf]) -> Sequence[Sequence[Found]]:
        """`Searches.search`, whose vectors are not looked at; scores are as above."""
        check_keywords(asked)
        found = self._nearest(asked)
        return [found for _ in vectors]

    def _nearest(self, asked: NearestOf) -> Nearest:
        limit = asked["limit"]
        most = max(limit, min(self._most_hits(asked), MOST_CANDIDATES // len(self._positive)))
        depth = min(most, max(FIRST_DEPTH, 2 * limit))
        known = _Compared(self._store, self._positive, self._negative, asked)
        while True:
            lists = self._store.search(self._positive, **_inner(asked, depth))
            complete = all(map(is_complete, lists))
            best: dict[str, float] = {}
            for found in lists:
                for row in found:
                    best[row.id] = max(row.score, best.get(row.id, row.score))
            unseen = max((found[-1].score for found in lists if len(found) >= depth), default=-np.inf)
            ordered = sorted(best, key=lambda id_: (-best[id_], id_))
            certain = [id_ for id_ in ordered if best[id_] > unseen]
            wanted = known.wanted(certain, limit)
            is_certain = len(wanted) >= limit or unseen == -np.inf
            if is_certain or depth >= most:
                break
            depth = min(most, _DEEPER * depth)
        rows = wanted if len(wanted) >= limit else known.ranked(ordered)
        self.certain = self.certain and is_certain
        self._seen |= known.ids
        return Nearest(rows[:limit], complete=complete)

    def _most_hits(self, asked: NearestOf) -> int:
        return self._store.vectors[asked.get("vector", VECTOR)].most_hits


class _Compared:
    """Rows that were compared with the examples."""

    def __init__(self, store: Searches, positive: Vectors, negative: Vectors, asked: NearestOf) -> None:
        self._store, self._negative = store, negative
        self._examples = np.concatenate([positive, negative])
        self._positives = len(positive)
        self._vector = asked.get("vector", VECTOR)
        self._metric = store.vectors[self._vector].metric_type
        self._fields = list(asked.get("output_fields", ()))
        self._found: dict[str, Found | None] = {}
        """None for a row that has gone meanwhile."""

    @property
    def ids(self) -> set[str]:
        """Of all of them."""
        return set(self._found)

    def wanted(self, ids: Sequence[str], limit: int) -> list[Found]:
        """Of the rows in the order of their best match the first `limit`, or some more, that are on the positive
        side."""
        rows = list[Found]()
        for start in range(0, len(ids), step := max(limit, FIRST_DEPTH)):
            rows += [row for row in self._looked_at(ids[start : start + step]) if row.score > 0]
            if len(rows) >= limit:
                break
        return sorted(rows, key=_order)

    def ranked(self, ids: Sequence[str]) -> list[Found]:
        """All of these rows, best first."""
        return sorted(self._looked_at(ids), key=_order)

    def _looked_at(self, ids: Sequence[str]) -> Iterator[Found]:
        if new := [id_ for id_ in ids if id_ not in self._found]:
            rows = self._store.get(new, output_fields=list(dict.fromkeys([*self._fields, self._vector])))
            self._found |= dict.fromkeys(new) | self._compared(rows)
        return (row for id_ in ids if (row := self._found[id_]) is not None)

    def _compared(self, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Found]:
        if not rows:
            return {}
        scores = similarities(self._metric, np.stack([row[self._vector] for row in rows.values()]), self._examples)
        best = scores[:, : self._positives].max(1)
        worst = scores[:, self._positives :].max(1, initial=-np.inf)
        wanted = best > worst
        nearest = np.where(wanted, best, worst)
        signed = np.where(wanted, sigmoid(nearest), -sigmoid(nearest))
        distances = 2 * (1 - nearest) if self._metric == "L2" else nearest
        kept = [name for name in self._fields if name == self._vector]
        found = {}
        for (id_, row), score, distance in zip(rows.items(), signed.tolist(), distances.tolist(), strict=True):
            fields = {name: value for name, value in row.items() if name != self._vector or kept}
            found[id_] = Found(id_, distance, score, fields)
        return found


def _inner(asked: NearestOf, limit: int) -> NearestOf:
    """What the lists are asked for with: no more than their ids and scores."""
    return {
        "limit": limit,
        "filter": asked.get("filter", ""),
        "params": asked.get("params"),
        "consistency_level": asked.get("consistency_level"),
        "vector": asked.get("vector", VECTOR),
        "thorough": asked.get("thorough", False),
    }


def _order(row: Found) -> tuple[float, str]:
    return -row.score, row.id
