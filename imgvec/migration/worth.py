"""What a bridge is worth: how well the new model's queries find bridged rows, against the new model's own rows.

Of pictures that have both vectors each is bridged by a map that was fitted to others (five-fold cross-fitting), and
asks all others, once among the bridged vectors and once among the new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgvec.migration.bridge import fit
from imgvec.quality.labels import Labels
from imgvec.quality.metrics import average_precision, recall_at
from imgvec.vectors import Vectors

DEPTH = 10
_FOLDS = 5
_AT_ONCE = 1024

Ranked = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Worth:
    """The quality of bridged rows, estimated on a sample; the whole collection is a larger haystack."""

    measure: str
    """`map@10` by labels; without labels `recall@10`, of what the new model itself finds among its own rows."""
    queries: int
    """Pictures that asked."""
    pictures: int
    """That were asked, each but itself."""
    bridged: float
    """Of the new model's queries among bridged rows."""
    new: float
    """Of the same among the new model's own rows: what there will be in the end."""
    old: float
    """Of the old model's queries among its own rows: what there is."""

    @property
    def share(self) -> float:
        """Of the final quality."""
        return self.bridged / self.new if self.new else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "share": self.share}


def crossed(old: Vectors, new: Vectors, *, seed: int = 0) -> Vectors:
    """(n, dim) vectors of n pictures, each made of the old one by a map that was fitted to four fifths without it."""
    made = np.empty_like(new)
    for held in np.array_split(np.random.default_rng(seed).permutation(len(old)), _FOLDS):
        rest = np.setdiff1d(np.arange(len(old)), held)
        made[held] = fit(old[rest], new[rest], seed=seed)(old[held])
    return made


def worth_of(old: Vectors, new: Vectors, labels: Sequence[Labels] | None = None, *, seed: int = 0) -> Worth | None:
    """Of (n, dim) vectors of the same n pictures, with the labels of each; None where no picture has another's label,
    or there are fewer than 25, of which four fifths are too few for a bridge.
    """
    if len(old) < 25:
        return None
    asking = list(range(len(old)))
    if labels is None:
        found = _ranked(new, new)
        relevant: list[NDArray[np.int64]] = list(found)
        measure, of = f"recall@{DEPTH}", recall_at
    else:
        bearing: dict[str, list[int]] = {}
        for place, each in enumerate(labels):
            for label in each:
                bearing.setdefault(label, []).append(place)
        relevant = [
            np.array(sorted({other for label in each for other in bearing[label]} - {place}), np.int64)
            for place, each in enumerate(labels)
        ]
        asking = [place for place in asking if len(relevant[place])]
        measure, of = f"map@{DEPTH}", average_precision
    if not asking:
        return None

    def mean(ranked: Ranked) -> float:
        return _mean(ranked, relevant, asking, of)

    return Worth(
        measure,
        len(asking),
        len(old),
        mean(_ranked(new, crossed(old, new, seed=seed))),
        mean(_ranked(new, new)),
        mean(_ranked(old, old)),
    )


def _mean(
    ranked: Ranked, relevant: Sequence[Ranked], asking: Sequence[int], of: Callable[[Ranked, int, int], float]
) -> float:
    found = []
    for place in asking:
        ranks = np.flatnonzero(np.isin(ranked[place], relevant[place])) + 1
        found.append(of(ranks, len(relevant[place]), DEPTH))
    return float(np.mean(found))


def _ranked(queries: Vectors, rows: Vectors) -> Ranked:
    """(n, DEPTH): the rows with the highest cosine to each query, best first, without the one at its own place."""
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    found = np.empty((len(queries), min(DEPTH, len(rows) - 1)), np.int64)
    for start in range(0, len(queries), _AT_ONCE):
        scores = queries[start : start + _AT_ONCE] @ rows.T
        own = np.arange(len(scores))
        scores[own, start + own] = -np.inf
        found[start : start + len(scores)] = np.argsort(-scores, axis=1, kind="stable")[:, : found.shape[1]]
    return found
