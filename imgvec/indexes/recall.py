"""Recall against exact search, with confidence intervals for a sample of queries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imgvec.indexes.neighbours import Neighbours
from imgvec.intervals import share_interval
from imgvec.plurals import counted
from imgvec.stored import Found

MARGIN = 32
"""Neighbours to know beyond the limit, so that rows as near as the last one (copies of an image, say) are known too."""
TIE = 1e-5
"""Scores that differ by less are equal: float32 products of unit vectors differ by about 1e-6."""


def recalls(
    found: Sequence[Sequence[Found]], exact: Neighbours, limit: int, *, exact_scores: bool = False
) -> NDArray[np.float64]:
    """(q,) recall@limit: the share of the `limit` nearest rows that were found, for each query.

    A row as near as the `limit`-th counts like it, whichever of them exact search lists first (ann-benchmarks,
    `plotting/metrics.py`: distances up to the k-th one's plus an epsilon). How near a row is, is read from `exact`,
    which may hold more than `limit` neighbours for that (see `MARGIN`); with `exact_scores` also from `found`, whose
    scores are then true ones, not those of quantized vectors. Where there are fewer than `limit` rows, all of them are
    to be found; if there is none, recall is 1.
    """
    shares = np.ones(len(found))
    for query, (hits, ids, scores) in enumerate(zip(found, exact.ids, exact.scores.tolist(), strict=True)):
        wanted = min(limit, len(ids))
        if not wanted:
            continue
        bound = scores[wanted - 1] - TIE * max(1.0, abs(scores[wanted - 1]))
        known = dict(zip(ids, scores, strict=False))
        near = {hit.id for hit in hits[:limit] if known.get(hit.id, hit.score if exact_scores else -math.inf) >= bound}
        shares[query] = min(len(near), wanted) / wanted
    return shares


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over a sample of queries, with its confidence interval."""

    mean: float
    low: float
    high: float
    queries: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} ({self.low:.4f} to {self.high:.4f}, {counted(self.queries, 'query', 'queries')})"


def estimate(
    values: ArrayLike, *, confidence: float = 0.95, sides: Literal[1, 2] = 2, population: int | None = None
) -> Estimate:
    """The mean of one value in [0, 1] a query, such as recall, and an interval that holds the true mean.

    With one side, `low` and `high` each hold with that confidence. The interval is that of a share over the number of
    yes-or-no trials that would vary as the values do (Korn and Graubard 1998: n_eff = p (1 - p) / var(mean)): ten
    neighbours of one query say more than one, less than ten independent ones. The variance takes in one more query that
    finds nothing and one that finds all, so that a sample without misses does not claim certainty. `population` is how
    many queries there are in all, if the sample was drawn from so many without replacement: a full census has no error.
    Raises `ValueError` without values.
    """
    sample = np.asarray(values, np.float64)
    n = len(sample)
    if not n:
        raise ValueError("recall needs at least one query")
    mean = float(sample.mean())
    squares = float(np.square(sample - mean).sum()) + mean**2 + (1 - mean) ** 2
    trials = max(n, n * n * mean * (1 - mean) / squares)
    if population is not None:
        if n >= population:
            return Estimate(mean, mean, mean, n)
        trials /= 1 - n / population
    return Estimate(mean, *share_interval(mean, trials, confidence=confidence, sides=sides), n)
