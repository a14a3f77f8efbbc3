"""A linear map from the vectors of one encoder to those of another, so that old rows answer new queries meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from imgvec.errors import UsageError
from imgvec.options import Option, python_only
from imgvec.options.vector import VectorOptions
from imgvec.progress import OnProgress
from imgvec.vectors import Vectors

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of which the one is taken that is best on vectors left out; shares of the mean variance of the old vectors."""
_HELD_OUT = 0.2


class BridgeOptions(VectorOptions, total=False):
    """What a bridge is fitted to."""

    sample: Annotated[int, Option(10_000, at_least=20, metavar="N", help="Fit it to this many pictures at most.")]
    seed: Annotated[int, Option(0, at_least=0, help="Seed for what is left out to choose the ridge by.")]
    on_progress: Annotated[OnProgress | None, python_only(help="Receives a `Progress`.")]


@dataclass(frozen=True, eq=False)
class Bridge:
    """x becomes (x - mean) · matrix + offset, near what the new encoder makes of the picture that x is of.

    Least squares with a ridge (Hoerl and Kennard, Technometrics 1970): matrix = (XᵀX + λI)⁻¹XᵀY of centred vectors,
    offset the mean of the new ones.
    """

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]
    ridge: float
    """λ as a share of the mean variance of the old vectors."""
    pairs: int
    """Pictures that it was fitted to."""
    cosine: float
    """Mean cosine of a new vector and what the bridge made of the old one, of pictures that were left out."""

    def __call__(self, vectors: Vectors) -> Vectors:
        """(n, dim) old vectors to (n, dim) new ones, of unit length."""
        found = np.matmul(vectors - self.mean, self.matrix, dtype=np.float32) + self.offset
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        made: Vectors = (found / np.maximum(lengths, 1e-12)).astype(np.float32)
        return made

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without the map."""
        return {
            "from_dim": len(self.mean),
            "to_dim": len(self.offset),
            "ridge": self.ridge,
            "pairs": self.pairs,
            "cosine": self.cosine,
        }


def fit(old: Vectors, new: Vectors, *, seed: int = 0) -> Bridge:
    """The bridge between (n, dim) vectors of the same n pictures; a fifth of them chooses the ridge.

    Raises `UsageError` for fewer than 20.
    """
    if len(old) != len(new) or len(old) < 20:
        raise UsageError(f"a bridge is fitted to 20 pictures or more that both have, not {len(old):,}")
    order = np.random.default_rng(seed).permutation(len(old))
    held = order[: max(4, int(len(old) * _HELD_OUT))]
    rest = order[len(held) :]
    found = [(_cosine(_fitted(old[rest], new[rest], ridge), old[held], new[held]), ridge) for ridge in RIDGES]
    cosine, ridge = max(found)
    mean, matrix, offset = _fitted(old, new, ridge)
    return Bridge(mean, matrix, offset, ridge, len(old), cosine)


_Map = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def _fitted(old: Vectors, new: Vectors, ridge: float) -> _Map:
    x, y = old.astype(np.float64), new.astype(np.float64)
    mean, offset = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean, y - offset
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += ridge * max(float(np.trace(gram)) / len(gram), 1e-12)
    matrix = np.linalg.solve(gram, x.T @ y)
    return mean.astype(np.float32), matrix.astype(np.float32), offset.astype(np.float32)


def _cosine(fitted: _Map, old: Vectors, new: Vectors) -> float:
    made = Bridge(*fitted, 0.0, 0, 0.0)(old)
    unit = new / np.maximum(np.linalg.norm(new, axis=1, keepdims=True), 1e-12)
    return float(np.mean(np.sum(made * unit, axis=1)))
