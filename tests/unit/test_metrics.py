"""The measures against values worked out by hand, scikit-learn and trec_eval."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from imgvec.quality import metrics

KS = (1, 3, 5, 10, 30)


def ranking(seed: int, rows: int, relevant: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Distinct falling scores, and which of the ranked rows are relevant."""
    rng = np.random.default_rng(seed)
    shares = np.zeros(rows, bool)
    shares[rng.choice(rows, relevant, replace=False)] = True
    return np.sort(rng.random(rows))[::-1], shares


RANKINGS = [
    ranking(seed, rows, relevant) for seed, (rows, relevant) in enumerate([(40, 1), (40, 7), (40, 40), (12, 5)])
]


def test_values_by_hand() -> None:
    # relevant at the places 1, 3 and 6 of ten; a fourth relevant row was not found
    ranks = np.array([1, 3, 6])
    assert metrics.precision_at(ranks, 5) == pytest.approx(2 / 5)
    assert metrics.precision_at(ranks, 20) == pytest.approx(3 / 20)
    assert metrics.recall_at(ranks, 4, 5) == pytest.approx(2 / 4)
    assert metrics.average_precision(ranks, 4) == pytest.approx((1 / 1 + 2 / 3 + 3 / 6) / 4)
    assert metrics.average_precision(ranks, 4, 3) == pytest.approx((1 / 1 + 2 / 3) / 4)
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert metrics.ndcg_at(ranks, 4, 3) == pytest.approx((1 + 1 / math.log2(4)) / best)
    assert metrics.ndcg_at(ranks, 1, 3) == pytest.approx(1 + 1 / math.log2(4))
    nothing = np.array([], np.int64)
    assert metrics.measured(nothing, 3, (1, 5), whole=True) == [0.0] * 9


def test_average_precision_of_the_textbook() -> None:
    # Manning et al., figure 8.2's kind: precision at the places 1, 2, 5 and 10 of five relevant rows, one never found
    assert metrics.average_precision(np.array([1, 2, 5, 10]), 5) == pytest.approx((1 + 1 + 0.6 + 0.4) / 5)


@pytest.mark.parametrize(("scores", "shares"), RANKINGS)
@pytest.mark.slow
def test_as_scikit_learn(scores: np.ndarray[Any, Any], shares: np.ndarray[Any, Any]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", exc_type=ImportError)
    ranks = np.flatnonzero(shares) + 1
    relevant = int(shares.sum())
    expected = sklearn.average_precision_score(shares, scores)
    assert metrics.average_precision(ranks, relevant) == pytest.approx(expected, abs=1e-12)
    for k in KS:
        expected = sklearn.ndcg_score(shares[None].astype(float), scores[None], k=k)
        assert metrics.ndcg_at(ranks, relevant, k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("scores", "shares"), RANKINGS)
def test_as_trec_eval(scores: np.ndarray[Any, Any], shares: np.ndarray[Any, Any]) -> None:
    trec = pytest.importorskip("pytrec_eval")
    unranked = 3  # relevant rows that the ranking does not hold
    judged = {f"d{i}": int(share) for i, share in enumerate(shares)} | {f"missed{i}": 1 for i in range(unranked)}
    of_ks = {f"{name}.{','.join(map(str, KS))}" for name in ("P", "recall", "map_cut", "ndcg_cut")}
    # trec_eval keeps scores as 32-bit floats: whole numbers stay apart
    run = {f"d{i}": float(len(scores) - i) for i in range(len(scores))}
    expected = trec.RelevanceEvaluator({"q": judged}, {*of_ks, "map"}).evaluate({"q": run})["q"]
    ranks = np.flatnonzero(shares) + 1
    relevant = int(shares.sum()) + unranked
    names = metrics.names(KS, whole=True)
    found = dict(zip(names, metrics.measured(ranks, relevant, KS, whole=True), strict=True))
    theirs = {"precision": "P", "recall": "recall", "map": "map_cut", "ndcg": "ndcg_cut"}
    for name in names:
        measure, at, k = name.partition("@")
        assert found[name] == pytest.approx(expected[f"{theirs[measure]}_{k}" if at else "map"], abs=1e-6), name
