"""Fusion against exact NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgvec.search.fusion import calibrated_sums, ranks, reciprocal_ranks, weighted_sums

KEYS = [f"r{i:02}" for i in range(30)]


def as_list(scores: dict[str, float]) -> dict[str, float]:
    """Best first, equal scores in the order of their keys, as lists come."""
    return dict(sorted(scores.items(), key=lambda each: (-each[1], each[0])))


# few different scores, so that many are equal
SCORES = st.dictionaries(st.sampled_from(KEYS), st.integers(-3, 3).map(lambda n: n / 4), max_size=len(KEYS))
WEIGHTS = st.floats(1e-3, 1e3)


def dense(lists: list[dict[str, float]], missing: float) -> tuple[list[str], Any]:
    """The keys that stand in any list, and (lists, keys) scores."""
    keys = sorted({key for one in lists for key in one})
    return keys, np.array([[one.get(key, missing) for key in keys] for one in lists])


def numpy_ranks(scores: Any) -> Any:
    """(keys,) one more than the number of greater scores."""
    return 1 + (scores[None, :] > scores[:, None]).sum(1)


def test_equal_scores_share_the_rank_of_the_first_of_them() -> None:
    assert ranks({"a": 0.9, "b": 0.5, "c": 0.5, "d": 0.1}) == {"a": 1, "b": 2, "c": 2, "d": 4}
    assert ranks({}) == {}


@given(st.lists(st.tuples(SCORES, WEIGHTS), min_size=1, max_size=4), st.floats(1e-3, 1e3))
def test_reciprocal_ranks(given_lists: list[tuple[dict[str, float], float]], k: float) -> None:
    lists = [as_list(scores) for scores, _ in given_lists]
    weights = [weight for _, weight in given_lists]
    keys, scores = dense(lists, -np.inf)
    terms = np.array([[weight] for weight in weights]) / (k + np.array([numpy_ranks(each) for each in scores]))
    expected = np.where(np.isfinite(scores), terms, 0).sum(0)
    found = reciprocal_ranks(lists, weights, k)
    assert sorted(found) == keys
    np.testing.assert_allclose([found[key] for key in keys], expected, rtol=1e-12)


@given(st.lists(st.tuples(st.lists(st.floats(-2, 2), min_size=5, max_size=5), WEIGHTS), min_size=1, max_size=4))
def test_weighted_sums(given_lists: list[tuple[list[float], float]]) -> None:
    lists = [as_list(dict(zip(KEYS, scores, strict=False))) for scores, _ in given_lists]
    weights = [weight for _, weight in given_lists]
    keys, scores = dense(lists, np.nan)
    found = weighted_sums(lists, weights)
    np.testing.assert_allclose([found[key] for key in keys], weights @ scores, rtol=1e-12, atol=1e-9)


# whole numbers, so that what is nearly equal is equal
SCALED = st.tuples(
    st.lists(st.integers(-40, 40).map(lambda n: n / 16), min_size=6, max_size=6), WEIGHTS, st.sampled_from([None, -3.0])
)


@given(st.lists(SCALED, min_size=1, max_size=4))
def test_calibrated_sums(given_lists: list[tuple[list[float], float, float | None]]) -> None:
    lists = [as_list(dict(zip(KEYS, scores, strict=False))) for scores, _, _ in given_lists]
    weights, floors = [weight for _, weight, _ in given_lists], [floor for _, _, floor in given_lists]
    keys, scores = dense(lists, np.nan)
    least = np.array([each.min() if floor is None else floor for each, floor in zip(scores, floors, strict=True)])
    reach = scores.max(1) - least
    scaled = np.where(reach[:, None] > 0, (scores - least[:, None]) / np.where(reach > 0, reach, 1)[:, None], 1)
    found = calibrated_sums(lists, weights, floors)
    np.testing.assert_allclose([found[key] for key in keys], weights @ scaled, rtol=1e-12)


@given(st.lists(st.integers(-40, 40), min_size=2, max_size=6), st.integers(-9, 9), st.integers(1, 9))
def test_another_unit_or_origin_of_a_part_changes_nothing(scores: list[int], origin: int, unit: int) -> None:
    one = as_list(dict(zip(KEYS, map(float, scores), strict=False)))
    other = {key: float(place) for place, key in enumerate(one)}
    moved = {key: unit * score + origin for key, score in one.items()}
    found = [calibrated_sums([each, other], [2.0, 1.0], [None, None]) for each in (one, moved)]
    assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_equal_scores_are_all_the_best_and_a_floor_is_none() -> None:
    nearly = {"a": 0.7000001, "b": 0.7}  # the same number, computed in two ways
    assert calibrated_sums([nearly], [3.0], [None]) == {"a": 3.0, "b": 3.0}
    assert calibrated_sums([{"a": 0.0, "b": 0.0}], [3.0], [0.0]) == {"a": 0.0, "b": 0.0}
    assert calibrated_sums([{"a": 8.0, "b": 6.0, "c": 0.0}], [1.0], [0.0]) == {"a": 1.0, "b": 0.75, "c": 0.0}
    assert calibrated_sums([], [], []) == {}


def test_what_stands_equally_well_in_other_lists_has_exactly_the_same_score() -> None:
    """Added up one by one, the sum depends on the order."""
    orders = [("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b")]
    lists = [{key: -float(place) for place, key in enumerate(order)} for order in orders]
    assert len(set(reciprocal_ranks(lists, [1.0, 1.0, 1.0], 2.0).values())) == 1
    assert len({(1 / 3 + 1 / 4) + 1 / 5, (1 / 4 + 1 / 5) + 1 / 3, (1 / 5 + 1 / 3) + 1 / 4}) > 1


def test_the_example_of_two_lists() -> None:
    found = reciprocal_ranks([{"a": 0.9, "b": 0.8}, {"b": 7.0, "c": 5.0}], [1.0, 0.5], 60.0)
    assert found == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 0.5 / 61, "c": 0.5 / 62})
    assert weighted_sums([], []) == {}
