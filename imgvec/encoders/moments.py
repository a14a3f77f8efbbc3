"""Mean and covariance of vectors that come in batches, in memory that does not grow with their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imgvec.vectors import Vectors


class Moments:
    """Of (n, width) vectors, added batch by batch, in float64: width² numbers, whatever n is.

    A batch is joined to those before it as in Chan, Golub and LeVeque, "Algorithms for computing the sample variance"
    (The American Statistician 37, 1983): no sum of squares is taken off another one, so that a mean far from the origin
    costs no digits.
    """

    def __init__(self, width: int) -> None:
        self.rows = 0
        self.mean: NDArray[np.float64] = np.zeros(width)
        self._scatter: NDArray[np.float64] = np.zeros((width, width))

    @property
    def width(self) -> int:
        return len(self.mean)

    def add(self, vectors: Vectors) -> None:
        """Take in (n, width) finite vectors."""
        if not len(vectors):
            return
        batch = vectors.astype(np.float64)
        mean = batch.mean(axis=0)
        batch -= mean
        rows, apart = self.rows + len(batch), mean - self.mean
        self._scatter += batch.T @ batch + np.outer(apart, apart) * (self.rows * len(batch) / rows)
        self.mean += apart * (len(batch) / rows)
        self.rows = rows

    @property
    def covariance(self) -> NDArray[np.float64]:
        """(width, width), over n - 1; zeros for fewer than two vectors."""
        found: NDArray[np.float64] = self._scatter / max(1, self.rows - 1)
        return found
