"""Recall by the epsilon rule, and whether its interval holds the truth as often as it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from imgvec.indexes.neighbours import Neighbours
from imgvec.indexes.recall import estimate, recalls


@dataclass
class Hit:
    id: str
    score: float
    distance: float = 0.0


def hits(ids: str, *scores: float) -> list[Hit]:
    return [Hit(id_, score) for id_, score in zip(ids, scores or [0.5] * len(ids), strict=True)]


EXACT = Neighbours([list("abcdef")], np.array([[0.9, 0.8, 0.7, 0.7, 0.6, 0.5]], np.float32))


@pytest.mark.parametrize(
    ("found", "limit", "share"),
    [
        ("abc", 3, 1),
        ("cba", 3, 1),  # the order is not asked for
        ("abd", 3, 1),  # d is as near as c
        ("abe", 3, 2 / 3),
        ("cd", 3, 2 / 3),
        ("xyz", 3, 0),
        ("aaa", 3, 1 / 3),  # a hit counts once
        ("xyzabc", 3, 0),  # only the first three were asked for
        ("", 3, 0),
    ],
)
def test_recall(found: str, limit: int, share: float) -> None:
    assert recalls([hits(found)], EXACT, limit).tolist() == [share]


def test_copies_beyond_what_exact_search_listed_count_by_their_true_scores() -> None:
    exact = Neighbours([["a", "b"]], np.array([[0.9, 0.9]], np.float32))
    found = [hits("xy", 0.9, 0.9 - 1e-7)]
    assert recalls(found, exact, 2, exact_scores=True).tolist() == [1]
    # a quantized index's scores prove nothing
    assert recalls(found, exact, 2).tolist() == [0]


def test_a_row_that_exact_search_knows_counts_by_its_own_score() -> None:
    assert recalls([hits("e", 0.9)], EXACT, 1, exact_scores=True).tolist() == [0]


def test_fewer_rows_than_the_limit() -> None:
    exact = Neighbours([["a", "b"], []], np.array([[0.9, 0.8, np.nan], [np.nan] * 3], np.float32))
    assert recalls([hits("ab"), hits("")], exact, 3).tolist() == [1, 1]
    assert recalls([hits("a"), hits("x")], exact, 3).tolist() == [0.5, 1]


def bernoulli(p: float, random: np.random.Generator) -> Callable[[int], np.ndarray]:
    return lambda n: (random.random(n) < p).astype(float)


def ten(p: float, random: np.random.Generator) -> Callable[[int], np.ndarray]:
    return lambda n: random.binomial(10, p, n) / 10


def ten_alike(p: float, random: np.random.Generator) -> Callable[[int], np.ndarray]:
    return lambda n: random.binomial(10, random.beta(p, 1 - p, n)) / 10


def ten_or_lost(p: float, random: np.random.Generator) -> Callable[[int], np.ndarray]:
    return lambda n: np.where(random.random(n) < 1 - p, 0, 1.0)


@pytest.mark.parametrize("kind", [bernoulli, ten, ten_alike, ten_or_lost])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [50, 200, 1000])
def test_the_interval_holds_the_truth(kind: Callable, p: float, n: int) -> None:
    draw = kind(p, np.random.default_rng(0))
    samples = [draw(n) for _ in range(600)]
    two = np.mean([(e := estimate(s)).low <= p <= e.high for s in samples])
    one = np.mean([estimate(s, sides=1).low <= p for s in samples])
    # 0.95, less three standard errors of 600 samples
    assert two >= 0.923
    assert one >= 0.923


def test_the_interval_is_no_wider_than_yes_or_no_answers_would_make_it() -> None:
    random = np.random.default_rng(1)
    alike, apart = random.random(1000) < 0.9, random.binomial(10, 0.9, 1000) / 10
    assert estimate(apart).high - estimate(apart).low < 0.5 * (estimate(alike).high - estimate(alike).low)


@pytest.mark.parametrize("n", [1, 10, 200, 10_000])
def test_without_misses_there_is_still_doubt(n: int) -> None:
    sure = estimate(np.ones(n))
    assert (sure.mean, sure.high, sure.queries) == (1, 1, n)
    # the rule of three: none in n is fewer than 3 / n with 95 % confidence
    assert sure.low < 1 - min(3, n) / (n + 3)
    assert sure.low > 1 - 6 / n
    assert estimate(np.zeros(n)).low == 0
    assert estimate(np.zeros(n)).high == pytest.approx(1 - sure.low)


def test_a_miss_makes_it_no_surer() -> None:
    values = np.ones(200)
    lows = []
    for missed in range(20):
        lows.append(estimate(values).low)
        values[missed] = 0.9
    assert max(lows[1:]) < lows[0]


def test_a_census_has_no_error() -> None:
    values = [1, 1, 0.5, 1]
    assert (estimate(values, population=4).low, estimate(values, population=4).high) == (0.875, 0.875)
    assert estimate(values, population=8).low > estimate(values).low


def test_no_queries() -> None:
    with pytest.raises(ValueError, match="needs at least one query"):
        estimate([])
