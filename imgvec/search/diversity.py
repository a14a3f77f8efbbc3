"""Hits that differ from each other: near-duplicates left out, and maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from imgvec.vectors import Vectors

ROUNDING = 1e-6
"""How far a similarity in float32 may be below the true one: copies of one picture reach a threshold of 1."""


class Likeness:
    """How alike (n, dim) vectors are to each other, as the scores of a search are by that metric.

    The cosine for COSINE, the inner product for IP, 1 - d²/2 for L2; for unit vectors all three are the cosine.
    """

    def __init__(self, metric_type: str, vectors: Vectors) -> None:
        self._l2 = metric_type == "L2"
        if metric_type == "COSINE":  # float16 is only about as long as 1
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self._vectors = vectors

    @cached_property
    def matrix(self) -> NDArray[np.float32]:
        """(n, n)"""
        products: NDArray[np.float32] = self._vectors @ self._vectors.T
        if self._l2:
            half: NDArray[np.float32] = np.diagonal(products) / np.float32(2)
            products = 1 - half[:, None] - half[None, :] + products
        return products

    def __len__(self) -> int:
        return len(self._vectors)


def distinct(likeness: Likeness, threshold: float) -> list[int]:
    """The places of what is left when near-duplicates are collapsed, in order.

    From the first on, each that is left takes away those after it that are at least `threshold` alike to it.
    """
    close = likeness.matrix >= threshold - ROUNDING
    gone = np.zeros(len(likeness), bool)
    left = []
    for place in range(len(likeness)):
        if not gone[place]:
            left.append(place)
            gone |= close[place]
    return left


def marginal(
    likeness: Likeness, scores: Sequence[float], places: Sequence[int], diversity: float, count: int
) -> list[int]:
    """The first `count` of `places` by maximal marginal relevance, in the order in which they are chosen.

    Each next one, of those that are left, is that with the greatest

        MMR = λ · score - (1 - λ) · (its greatest likeness to any chosen one),    λ = 1 - diversity

    and the first of `places` where several are equal; for the first choice the second term is 0. J. Carbonell and
    J. Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing summaries", SIGIR
    1998, pages 335-336. `scores` are in the order of `places`, best first; `diversity` is from 0, their order, to 1.
    """
    here = np.asarray(places, np.intp)
    relevance = (1 - diversity) * np.asarray(scores, np.float64)
    matrix = likeness.matrix
    nearest = np.zeros(len(here))
    left = np.zeros(len(here))  # minus infinity once it is chosen
    chosen: list[int] = []
    for turn in range(min(count, len(here))):
        best = int(np.argmax(relevance - diversity * nearest + left))
        chosen.append(int(here[best]))
        left[best] = -np.inf
        likes = matrix[here[best], here]
        nearest = likes.astype(np.float64) if turn == 0 else np.maximum(nearest, likes)
    return chosen
