"""At which distance faces are taken for one person's, and how often that is wrong: by faces whose people are known.

The limit is the largest distance at which no more than the wanted share of wrong comparisons would pass, but never more
than the model's published one: a few people who happen to look different do not make it safe to accept more.

The share is of pairs of people, each of which counts alike however many faces it has. Pairs that have a person in
common are not independent; the mean over all pairs of P people varies no more than one over P // 2 pairs that have none
in common (Hoeffding, Probability Inequalities for Sums of Bounded Random Variables, 1963, section 5a). So the interval
is that of P // 2 comparisons: wide with few people, as it should be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imgvec.intervals import share_interval
from imgvec.vectors import Vectors

Wrong = Literal["pair", "person", "anybody"]
"""What a wrong comparison is: of two faces, of a face with the nearest of somebody's, or with the nearest of all."""
Source = Literal["given", "published", "enrolled people", "labelled faces"]

MOST_COMPARED = 2000
"""Faces: their distances are 32 MB."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The distance up to which faces are taken for one person's."""

    distance: float
    """Euclidean."""
    source: Source
    """Where `distance` comes from; `published` also where the known faces would allow more."""
    calibrated_by: Source | None = None
    """Whose faces the rates were counted on; None where these are too few: fewer than two people."""
    people: int = 0
    comparisons: int = 0
    """Distances of different people's faces that were looked at."""
    wrong_rate: float | None = None
    """The share of them that pass; None where there are none."""
    low: float | None = None
    high: float | None = None
    """Its 95 % interval."""
    same_comparisons: int = 0
    """Distances of two faces of one person."""
    right_rate: float | None = None
    """The share of them that pass; None where there are none."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        said = f"limit {self.distance:.3f} ({self.source})"
        if self.wrong_rate is None or self.low is None or self.high is None:
            return f"{said}; how often it is wrong is not known: enrol at least two people, or name a label"
        return (
            f"{said}; {self.wrong_rate:.2%} wrong of {self.comparisons:,} comparisons of {self.people:,} "
            f"{self.calibrated_by}, 95 % interval {self.low:.2%} to {self.high:.2%}"
        ).replace("enrolled people people", "enrolled people")


def limit(
    vectors: Vectors,
    people: Sequence[str],
    *,
    rate: float,
    published: float,
    wrong: Wrong,
    by: Source,
    given: float | None = None,
) -> Limit:
    """The limit by (n, dim) vectors of faces and the names of their people; `given` is taken as it is.

    Of more than `MOST_COMPARED` faces so many are compared, always the same ones.
    """
    if len(vectors) > MOST_COMPARED:
        chosen = np.sort(np.random.default_rng(0).permutation(len(vectors))[:MOST_COMPARED])
        vectors, people = vectors[chosen], [people[i] for i in chosen]
    names, who = np.unique(np.array(people, dtype=object).astype(str), return_inverse=True)
    if len(names) < 2:
        return Limit(*((given, "given") if given is not None else (published, "published")))
    distances = pairwise(vectors)
    different, weights = _wrong(distances, who, len(names), wrong)
    found: Source = by
    if given is not None:
        distance, found = given, "given"
    else:
        distance = _largest(different, weights, rate)
        if distance >= published:
            distance, found = published, "published"
    share = float(weights[different <= distance].sum() / weights.sum())
    low, high = share_interval(share, len(names) // 2)
    upper = np.triu_indices(len(vectors), 1)
    same = distances[upper][who[upper[0]] == who[upper[1]]]
    right = float((same <= distance).mean()) if len(same) else None
    return Limit(distance, found, by, len(names), len(different), share, low, high, len(same), right)


def pairwise(vectors: Vectors) -> NDArray[np.float64]:
    """(n, n) Euclidean distances."""
    wide = np.asarray(vectors, np.float64)
    squares = (wide**2).sum(1)
    found: NDArray[np.float64] = np.sqrt(np.maximum(squares[:, None] + squares - 2 * wide @ wide.T, 0))
    return found


def _wrong(
    distances: NDArray[np.float64], who: NDArray[np.intp], people: int, wrong: Wrong
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The distances of wrong comparisons, and how much each counts."""
    faces = 1 / np.bincount(who, minlength=people)
    if wrong == "pair":
        upper = np.triu_indices(len(who), 1)
        others = who[upper[0]] != who[upper[1]]
        first, second = upper[0][others], upper[1][others]
        return distances[first, second], faces[who[first]] * faces[who[second]]
    nearest = np.stack([distances[:, who == person].min(1) for person in range(people)], axis=1)
    nearest[np.arange(len(who)), who] = np.inf
    if wrong == "anybody":
        return nearest.min(1), faces[who]
    rows, columns = np.nonzero(np.isfinite(nearest))
    return nearest[rows, columns], faces[who[rows]]


def _largest(distances: NDArray[np.float64], weights: NDArray[np.float64], rate: float) -> float:
    """The largest distance at which no more than that share of the weight passes."""
    order = np.argsort(distances, kind="stable")
    passed = np.cumsum(weights[order]) / weights.sum()
    first = int(np.searchsorted(passed, rate + 1e-12, side="right"))
    return float(np.nextafter(distances[order[first]], -np.inf)) if first < len(order) else math.inf
