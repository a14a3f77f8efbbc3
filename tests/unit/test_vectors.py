"""The checks of shape, finiteness and length, which every way in shares."""

from __future__ import annotations

import numpy as np
import pytest

from imgvec import vectors


def unit(rows: int, dim: int) -> vectors.Vectors:
    made = np.random.default_rng(7).standard_normal((rows, dim)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ([[1.0, 0.0]], "float32 array, not list"),
        (np.ones((1, 2)), "float32 array, not float64"),
        (np.ones(2, np.float32), "float32 array, not float32 (2,)"),
        (np.ones((1, 3), np.float32), "the vectors have dim 3, but the collection has dim 2"),
        (np.array([[1, 0], [np.nan, 0]], np.float32), "vector 1 is not finite"),
        (np.array([[np.inf, 0]], np.float32), "not finite"),
        (np.array([[0, 1], [0, 0]], np.float32), "vector 1 has length zero"),
        (np.array([[1e-13, 0]], np.float32), "length zero"),
        (np.array([[0, 1], [0, 1.01]], np.float32), "vector 1 has length 1.01"),
    ],
)
def test_what_milvus_would_lose_or_choke_on_is_named(wrong: object, why: str) -> None:
    assert why in str(vectors.problem(wrong, 2, unit=True))


def test_good_vectors_have_no_problem() -> None:
    assert vectors.problem(unit(5, 8), 8, unit=True) is None
    assert vectors.problem(unit(5, 8) * 1000, 8, unit=False) is None
    assert vectors.problem(np.empty((0, 8), np.float32), 8, unit=True) is None


def test_a_vector_whose_square_overflows_is_refused() -> None:
    made = np.array([[1, 0], [6e18, 7e18], [6e18, 8e18], [8e18, 9e18]], np.float32)
    assert vectors.problem(made[:3], 2, unit=False) is None
    assert "vector 3 has length 1.204e+19, which Milvus cannot square" in str(vectors.problem(made, 2, unit=False))
    assert "vector 0 has length zero" in str(vectors.problem(made * 0, 2, unit=False))
    assert vectors.flaw(1.204e19, unit=False) == "too long"


def test_of_several_flaws_the_first_is_named() -> None:
    made = np.array([[0, 1], [0, 2], [0, 0], [np.nan, 0]], np.float32)
    assert "vector 1 has length 2" in str(vectors.problem(made, 2, unit=True))
    assert "vector 2 has length zero" in str(vectors.problem(made, 2, unit=False))


def test_norms_do_not_overflow() -> None:
    made = np.array([[3e30, 4e30], [3, 4], [0, 0], [np.nan, 1], [np.inf, 1]], np.float32)
    lengths = vectors.norms(made)
    assert lengths.dtype == np.float64
    np.testing.assert_allclose(lengths[:3], [5e30, 5, 0], rtol=1e-6)
    assert vectors.has_direction(lengths).tolist() == [True, True, False, False, False]
    assert [vectors.flaw(float(each), unit=True) for each in lengths] == [
        "not of unit length", "not of unit length", "zero length", "not finite", "not finite",
    ]  # fmt: skip
    assert vectors.flaw(1.0009, unit=True) is None
    assert vectors.flaw(5.0, unit=False) is None
