"""Near-duplicates and maximal marginal relevance, against their definitions written as loops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from imgvec.filters import FieldType
from imgvec.search.afterwork import Order
from imgvec.search.diversity import Likeness, distinct, marginal
from imgvec.stored import Found
from imgvec.vectors import Vectors


def vectors(count: int, seed: int = 0, *, unit: bool = True) -> Vectors:
    made = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True) if unit else made


def alike(metric_type: str, one: Vectors, other: Vectors) -> float:
    one, other = one.astype(np.float64), other.astype(np.float64)
    if metric_type == "L2":
        return float(1 - np.square(one - other).sum() / 2)
    scale = np.linalg.norm(one) * np.linalg.norm(other) if metric_type == "COSINE" else 1
    return float(one @ other / scale)


@pytest.mark.parametrize("metric_type", ["COSINE", "IP", "L2"])
@pytest.mark.parametrize("unit", [True, False])
def test_likeness_is_the_score_of_the_metric(metric_type: str, unit: bool) -> None:
    made = vectors(20, unit=unit)
    wanted = [[alike(metric_type, one, other) for other in made] for one in made]
    np.testing.assert_allclose(Likeness(metric_type, made).matrix, wanted, atol=1e-5)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_what_is_left_is_less_alike_than_the_threshold_and_the_rest_is_not(threshold: float) -> None:
    made = vectors(60)
    left = distinct(Likeness("COSINE", made), threshold)
    assert left == sorted(left)
    assert left[0] == 0
    for place in range(60):
        before = [alike("COSINE", made[place], made[other]) for other in left if other < place]
        assert (place in left) == (max(before, default=-2) < threshold)


def test_copies_reach_a_threshold_of_1() -> None:
    made = vectors(50)[np.repeat(np.arange(50), 3)]
    assert distinct(Likeness("COSINE", made), 1.0) == list(range(0, 150, 3))


@pytest.mark.parametrize("diversity", [0.1, 0.5, 0.9])
def test_marginal_relevance_is_that_of_its_formula(diversity: float) -> None:
    made, places = vectors(40, 3), list(range(1, 40, 2))
    scores = sorted(np.random.default_rng(4).uniform(-1, 1, len(places)), reverse=True)
    chosen: list[int] = []
    for _ in range(8):
        left = [place for place in places if place not in chosen]
        gain = {
            place: (1 - diversity) * scores[places.index(place)]
            - diversity * max((alike("COSINE", made[place], made[other]) for other in chosen), default=0)
            for place in left
        }
        chosen.append(max(left, key=lambda place: gain[place]))
    assert marginal(Likeness("COSINE", made), scores, places, diversity, 8) == chosen


def test_without_diversity_it_is_the_order_of_the_scores_and_with_it_alone_that_of_novelty() -> None:
    made = np.eye(8, dtype=np.float32)[[0, 0, 0, 1, 1, 2]]
    likeness, scores = Likeness("IP", made), [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert marginal(likeness, scores, range(6), 0.0, 6) == [0, 1, 2, 3, 4, 5]
    assert marginal(likeness, scores, range(6), 1.0, 4) == [0, 3, 5, 1]
    assert marginal(likeness, scores, range(6), 0.0, 99) == [0, 1, 2, 3, 4, 5]


def fields(unit: tuple[None, list[Found]]) -> Mapping[str, Any]:
    return unit[1][0].fields


def test_an_unknown_date_comes_last_in_either_order() -> None:
    types = {"taken_at": FieldType("INT64", format="unix_ms", unknown=0)}
    units = [(None, [Found(str(when), 0, 0, {"taken_at": when})]) for when in (5, 0, 7, None, 6, 5)]

    def order(by: str) -> list[str]:
        return [members[0].id for _, members in Order.of(by, types).sorted(units, fields)]

    assert order("taken_at") == ["5", "5", "6", "7", "0", "None"]
    assert order("-taken_at") == ["7", "6", "5", "5", "0", "None"]


def test_what_is_no_number_comes_last_and_orders_nothing_else() -> None:
    units = [(None, [Found(str(price), 0, 0, {"price": price})]) for price in (5.0, math.nan, 1.0, math.inf, 3.0)]
    for by, expected in (("price", ["1.0", "3.0", "5.0", "inf"]), ("-price", ["inf", "5.0", "3.0", "1.0"])):
        order = Order.of(by, {"price": FieldType("DOUBLE")})
        assert [members[0].id for _, members in order.sorted(units, fields)] == [*expected, "nan"]
