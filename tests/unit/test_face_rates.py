"""The limit of a face's distance, and how often it is wrong, against what counting says."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from imgvec.faces.rates import MOST_COMPARED, Limit, Wrong, limit, pairwise
from imgvec.intervals import share_interval
from imgvec.vectors import Vectors


def faces(people: int, each: int, seed: int = 0, spread: float = 0.05) -> tuple[Vectors, list[str]]:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((people, 8)) / 4
    names = [f"p{i}" for i in range(people) for _ in range(each)]
    vectors = np.repeat(centres, each, axis=0) + spread * rng.standard_normal((people * each, 8))
    return vectors.astype(np.float32), names


def counted(vectors: Vectors, names: list[str], wrong: Wrong, distance: float) -> float:
    """The share of wrong comparisons that pass, people by people, as slowly as it is said."""
    far = pairwise(vectors)
    people = sorted({*names})
    of = {person: [i for i, name in enumerate(names) if name == person] for person in people}
    shares = []
    if wrong == "anybody":
        for person in people:
            others = [i for i, name in enumerate(names) if name != person]
            shares.append(np.mean([far[i, others].min() <= distance for i in of[person]]))
    elif wrong == "person":
        for a, b in itertools.permutations(people, 2):
            shares.append(np.mean([far[i, of[b]].min() <= distance for i in of[a]]))
    else:
        for a, b in itertools.combinations(people, 2):
            shares.append(np.mean([far[i, j] <= distance for i in of[a] for j in of[b]]))
    return float(np.mean(shares))


@pytest.mark.parametrize("wrong", ["pair", "person", "anybody"])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.3])
def test_the_limit_is_the_largest_with_that_rate(wrong: Wrong, rate: float) -> None:
    vectors, names = faces(9, 3)
    vectors, names = vectors[:-2], names[:-2]  # so that one has fewer than the others
    found = limit(vectors, names, rate=rate, published=99, wrong=wrong, by="enrolled people")
    assert found.source == found.calibrated_by == "enrolled people"
    assert found.wrong_rate == pytest.approx(counted(vectors, names, wrong, found.distance))
    assert found.wrong_rate <= rate
    # a little more lets the next comparison pass, which is then too much
    above = float(np.nextafter(found.distance, 9)) + 1e-9
    assert counted(vectors, names, wrong, above) > rate
    assert found.people == 9


def test_the_published_limit_is_never_exceeded() -> None:
    vectors, names = faces(6, 2)
    far = limit(vectors, names, rate=0.01, published=99, wrong="pair", by="enrolled people").distance
    kept = limit(vectors, names, rate=0.01, published=far / 2, wrong="pair", by="enrolled people")
    assert (kept.distance, kept.source, kept.calibrated_by) == (far / 2, "published", "enrolled people")
    assert kept.wrong_rate == 0
    low, high = share_interval(0, 3)
    assert (kept.low, kept.high) == (low, high)
    assert high > 0.5  # six people say little


def test_a_given_distance_is_taken_and_its_rate_counted() -> None:
    vectors, names = faces(6, 2)
    found = limit(vectors, names, rate=0.01, published=0.1, wrong="pair", by="labelled faces", given=1.0)
    assert (found.distance, found.source, found.calibrated_by) == (1.0, "given", "labelled faces")
    assert found.wrong_rate == pytest.approx(counted(vectors, names, "pair", 1.0))
    assert found.same_comparisons == 6
    assert found.right_rate == 1


@pytest.mark.parametrize("people", [[], ["a"], ["a", "a"]])
def test_of_fewer_than_two_people_no_rate_is_known(people: list[str]) -> None:
    vectors = np.zeros((len(people), 4), np.float32)
    found = limit(vectors, people, rate=0.01, published=0.6, wrong="pair", by="enrolled people")
    assert found == Limit(0.6, "published")
    assert "how often it is wrong is not known" in str(found)
    given = limit(vectors, people, rate=0.01, published=0.6, wrong="pair", by="enrolled people", given=0.4)
    assert given == Limit(0.4, "given")


def test_equal_faces_of_two_people_leave_no_distance() -> None:
    """Twins, or one picture under two names: nothing can be told apart, and nothing passes."""
    vectors = np.ones((2, 4), np.float32)
    found = limit(vectors, ["a", "b"], rate=0.01, published=0.6, wrong="pair", by="enrolled people")
    assert found.distance < 0
    assert found.wrong_rate == 0


def test_so_many_faces_are_compared_and_always_the_same() -> None:
    vectors, names = faces(MOST_COMPARED // 2 + 50, 2)
    first, second = (
        limit(vectors, names, rate=0.01, published=99, wrong="anybody", by="labelled faces") for _ in range(2)
    )
    assert first == second
    assert first.comparisons == MOST_COMPARED


def test_the_interval_is_of_half_as_many_people() -> None:
    vectors, names = faces(10, 2)
    found = limit(vectors, names, rate=0, published=99, wrong="pair", by="enrolled people")
    assert (found.people, found.wrong_rate) == (10, 0)
    assert "95 % interval 0.00% to 52.18%" in str(found)  # the README's ten people


def test_distances_are_euclidean() -> None:
    vectors, _ = faces(3, 2)
    wanted = [[math.dist(a, b) for b in vectors.tolist()] for a in vectors.tolist()]
    assert np.allclose(pairwise(vectors), wanted, atol=1e-7)
