"""Measures of retrieval, from the places that the relevant rows take in a ranking.

Of one query, `ranks` are the places, counted from 1 and rising, of the relevant rows in its ranking, and `relevant` (R)
is how many relevant rows there are, ranked or not. Relevance is yes or no. A ranking that ends early counts as one that
goes on with rows that are not relevant, as in trec_eval.

    precision@k   relevant rows among the first k, over k, even where the ranking is shorter than k
    recall@k      relevant rows among the first k, over R
    map           the mean over queries of average precision: the precision at the place of each relevant row, summed
                  and divided by R; over the whole ranking, in which each relevant row has its place
    map@k         the same of a ranking that ends after k rows, still over R: a relevant row after the k-th adds 0.
                  With R > k it stays below 1. (Some write mAP@k and divide by min(R, k); this one does not.)
    ndcg@k        the sum of 1 / log2(1 + rank) over the relevant rows among the first k, over what the best ranking
                  would reach: the same sum over the ranks 1 … min(R, k)

Sources: Manning, Raghavan and Schütze, Introduction to Information Retrieval (2008), section 8.4: precision at k,
average precision (8.1); Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, TOIS 20 (2002), in
the form with log2(1 + rank) that trec_eval and scikit-learn compute. trec_eval's names are P_k, recall_k, map,
map_cut_k and ndcg_cut_k; scikit-learn's average_precision_score is the average precision where no scores are equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.int64]


def precision_at(ranks: Ranks, k: int) -> float:
    return np.count_nonzero(ranks <= k) / k


def recall_at(ranks: Ranks, relevant: int, k: int) -> float:
    return np.count_nonzero(ranks <= k) / relevant


def average_precision(ranks: Ranks, relevant: int, k: int | None = None) -> float:
    """Over the first k rows, or over the whole ranking."""
    found = ranks if k is None else ranks[ranks <= k]
    return float((np.arange(1, len(found) + 1) / found).sum()) / relevant


def ndcg_at(ranks: Ranks, relevant: int, k: int) -> float:
    best = np.arange(1, min(relevant, k) + 1)
    return float((1 / np.log2(1 + ranks[ranks <= k])).sum() / (1 / np.log2(1 + best)).sum())


def names(ks: Sequence[int], *, whole: bool) -> tuple[str, ...]:
    """The measures that `measured` gives, in its order."""
    return (
        *(f"{measure}@{k}" for measure in ("precision", "recall", "map", "ndcg") for k in ks),
        *(["map"] if whole else []),
    )


def measured(ranks: Ranks, relevant: int, ks: Sequence[int], *, whole: bool) -> list[float]:
    """Each measure of one query that has `relevant` > 0 rows to find; `whole`: the ranking holds every row."""
    return [
        *(precision_at(ranks, k) for k in ks),
        *(recall_at(ranks, relevant, k) for k in ks),
        *(average_precision(ranks, relevant, k) for k in ks),
        *(ndcg_at(ranks, relevant, k) for k in ks),
        *([average_precision(ranks, relevant)] if whole else []),
    ]
