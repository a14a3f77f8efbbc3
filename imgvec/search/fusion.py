"""Ranked lists to one: by reciprocal ranks, or by weighted scores.

A list is a mapping of keys to scores, best first. The sums are rounded once (`math.fsum`), so that what stands equally
well in other lists has exactly the same score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum


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
