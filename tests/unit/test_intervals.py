"""The interval of a share, against its definition and published values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imgvec.intervals import rounded_up, share_interval


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    # R's binom.test; its one-sided rule of three for none
    [(0, 10, 0.0, 0.30849710781876083), (5, 10, 0.18708602844739855, 0.8129139715526015), (10, 10, 0.6915029, 1.0)],
)
def test_published_bounds(hits: int, of: int, low: float, high: float) -> None:
    assert share_interval(hits / of, of) == pytest.approx((low, high), abs=1e-7)


def test_one_sided_bounds() -> None:
    assert share_interval(0, 100, sides=1)[1] == pytest.approx(1 - 0.05 ** (1 / 100))
    assert share_interval(1, 100, sides=1)[0] == pytest.approx(0.05 ** (1 / 100))
    assert share_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("of", [1, 7, 200, 3000])
@pytest.mark.parametrize("share", [0.005, 0.3, 0.5, 0.93, 0.999])
@pytest.mark.parametrize(("confidence", "sides"), [(0.95, 2), (0.95, 1), (0.99, 2)])
def test_so_many_or_more_have_the_chance_that_is_left(of: int, share: float, confidence: float, sides: int) -> None:
    """By binomial sums, which is how the bounds are defined."""
    hits, left = round(share * of), (1 - confidence) / sides
    low, high = share_interval(hits / of, of, confidence=confidence, sides=sides)
    assert 0 <= low <= hits / of <= high <= 1
    if hits:
        assert 1 - _at_most(hits - 1, of, low) == pytest.approx(left, rel=1e-6)
    if hits < of:
        assert _at_most(hits, of, high) == pytest.approx(left, rel=1e-6)


def _at_most(hits: int, of: int, share: float) -> float:
    counts = np.arange(hits + 1)
    choose = np.array([math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) for k in counts.tolist()])
    return float(np.exp(choose + counts * math.log(share) + (of - counts) * math.log1p(-share)).sum())


def test_trials_need_not_be_whole_and_both_ends_are_alike() -> None:
    wider, between, narrower = (share_interval(0.9, trials) for trials in (20, 20.5, 21))
    assert wider[0] < between[0] < narrower[0]
    assert wider[1] > between[1] > narrower[1]
    for share in (0, 1e-7, 0.2, 0.97):
        low, high = share_interval(share, 1e6)
        assert share_interval(1 - share, 1e6) == pytest.approx((1 - high, 1 - low), abs=1e-12)
        assert high - low < 0.002


def test_the_least_rate_is_never_said_too_low() -> None:
    assert [rounded_up(rate) for rate in (0.2, 0.0025, 1 / 37, 1 / 39, 0.0996, 0.996, 1.0)] == [
        "0.2", "0.0025", "0.028", "0.026", "0.1", "1", "1",
    ]  # fmt: skip
    for number in range(1, 5000):
        assert 1 / number <= float(rounded_up(1 / number)) <= 1.1 / number or number < 2
