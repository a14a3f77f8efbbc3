"""What a bridge is worth, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from test_bridge import unit

from imgvec.migration import worth_of
from imgvec.migration.worth import crossed
from imgvec.vectors import Vectors


def classes(number: int, noise: float, seed: int = 0) -> tuple[Vectors, Vectors, list[frozenset[str]]]:
    """Pictures of five classes, whose new vectors tell these apart, and the old ones as far as they are not noise."""
    random = np.random.default_rng(seed)
    of = random.integers(0, 5, number)
    true = np.eye(5)[of] + 0.05 * random.standard_normal((number, 5))
    new = unit(true @ random.standard_normal((5, 24)))
    old = unit(true @ random.standard_normal((5, 16)) + noise * random.standard_normal((number, 16)))
    return old, new, [frozenset([str(each)]) for each in of]


def test_a_map_that_is_exact_is_worth_all() -> None:
    old, new, labels = classes(300, noise=0.0)
    found = worth_of(old, new, labels)
    assert found is not None
    assert (found.measure, found.queries, found.pictures) == ("map@10", 300, 300)
    assert found.share == pytest.approx(1, abs=0.02)
    assert found.new == pytest.approx(
        np.mean([10 / (sum(each == one for each in labels) - 1) for one in labels]), abs=1e-6
    )
    assert found.to_dict()["share"] == found.share


def test_noise_costs_what_was_left_out_and_not_what_was_fitted() -> None:
    """Vectors that say nothing are fitted well with as many dimensions, and are worth what chance is."""
    old, new, labels = classes(120, noise=0.0)
    nothing = unit(np.random.default_rng(3).standard_normal((120, 100)).astype(np.float32))
    exact, chance = worth_of(old, new, labels), worth_of(nothing, new, labels)
    assert exact is not None
    assert chance is not None
    assert chance.bridged < 0.4 * exact.bridged
    assert chance.new == exact.new
    assert np.abs(crossed(nothing, new) - new).mean() > 5 * np.abs(crossed(old, new) - new).mean()


def test_without_labels_it_is_what_the_new_model_finds() -> None:
    old, new, _ = classes(200, noise=0.0)
    found = worth_of(old, new)
    assert found is not None
    assert (found.measure, found.new) == ("recall@10", 1.0)
    # one vector by hand: the ten nearest of the new ones among the ten nearest of the bridged ones
    bridged = crossed(old, new)
    shares = []
    for place in range(200):
        nearest = []
        for rows in (new, bridged):
            scores = rows @ new[place]
            scores[place] = -np.inf
            nearest.append({*np.argsort(-scores, kind="stable")[:10].tolist()})
        shares.append(len(nearest[0] & nearest[1]) / 10)
    assert found.bridged == pytest.approx(np.mean(shares))


def test_what_cannot_be_said_is_not() -> None:
    old, new, labels = classes(24, noise=0.0)
    assert worth_of(old, new, labels) is None
    old, new, _ = classes(30, noise=0.0)
    assert worth_of(old, new, [frozenset([str(place)]) for place in range(30)]) is None
    some = [frozenset(["pair"] if place < 2 else []) for place in range(30)]
    found = worth_of(old, new, some)
    assert found is not None
    assert (found.queries, found.pictures) == (2, 30)
