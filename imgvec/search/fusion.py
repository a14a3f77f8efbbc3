"""Ranked lists to one: by reciprocal ranks, by weighted scores, or by weighted scores brought to one scale.

A list is a mapping of keys to scores, best first. The sums are rounded once (`math.fsum`), so that what stands equally
well in other lists has exactly the same score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum
from typing import Literal, TypeAlias, get_args

Fusion: TypeAlias = Literal["rrf", "weights", "calibrated"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)

ALIKE = 1e-5
"""Scores that differ by less, relative to the largest, are equal: they are sums of 32-bit floats."""


def ranks(scores: Mapping[str, float]) -> dict[str, int]:
    """The rank of each key from 1; equal scores share that of the first of them, as in sports: 1, 2, 2, 4."""
    found: dict[str, int] = {}
    last, rank = None, 0
    for place, (key, score) in enumerate(scores.items(), 1):
        if score != last:
            last, rank = score, place
        found[key] = rank
    return found


def reciprocal_ranks(lists: Sequence[Mapping[str, float]], weights: Sequence[float], k: float) -> dict[str, float]:
    """The score of each key that stands in any list: the sum of weight / (k + rank) over those in which it does.

    Reciprocal rank fusion: G. V. Cormack, C. L. A. Clarke and S. Büttcher, "Reciprocal rank fusion outperforms
    Condorcet and individual rank learning methods", SIGIR 2009, pages 758-759, who have no weights, and k = 60.
    """
    terms: dict[str, list[float]] = {}
    for one, weight in zip(lists, weights, strict=True):
        for key, rank in ranks(one).items():
            terms.setdefault(key, []).append(weight / (k + rank))
    return {key: fsum(each) for key, each in terms.items()}


def weighted_sums(lists: Sequence[Mapping[str, float]], weights: Sequence[float]) -> dict[str, float]:
    """The sum of weight · score of each key over all lists; every key stands in each.

    The linear combination of E. A. Fox and J. A. Shaw, "Combination of multiple searches", TREC-2, 1994 (CombSUM), with
    weights.
    """
    return {
        key: fsum(weight * one[key] for one, weight in zip(lists, weights, strict=True))
        for key in (lists[0] if lists else ())
    }


def calibrated_sums(
    lists: Sequence[Mapping[str, float]], weights: Sequence[float], floors: Sequence[float | None]
) -> dict[str, float]:
    """The sum of weight · scaled score of each key over all lists; every key stands in each.

    A list is scaled to (score - least) / (greatest - least), so that its best key counts its whole weight. The least is
    the list's floor, which no score can be below, or where it has none (None) its least score. This is the convex
    combination of S. Bruch, S. Gai and A. Ingber, "An analysis of fusion functions for hybrid retrieval", ACM TOIS 42
    (1), 2023: words from their theoretical minimum, a BM25 of 0 (theirs is TM2C2), vectors from the least score
    (min-max). A cosine's theoretical minimum is -1, and similarities of pictures fill a small part of what lies above,
    another one with each encoder. Scaling by mean and deviation (DBSF) has no bound: where few rows have the words,
    these stand tens of deviations above the others, whatever the weights. Where all scores are equal, all are the best,
    or none if they are the floor.
    """
    scaled = [_scaled(one, floor) for one, floor in zip(lists, floors, strict=True)]
    return weighted_sums(scaled, weights)


def _scaled(scores: Mapping[str, float], floor: float | None) -> dict[str, float]:
    greatest = max(scores.values(), default=0.0)
    least = min(scores.values(), default=0.0) if floor is None else floor
    reach = greatest - least
    if reach <= ALIKE * max(abs(greatest), abs(least)):
        return dict.fromkeys(scores, 0.0 if floor is not None else 1.0)
    return {key: (score - least) / reach for key, score in scores.items()}
