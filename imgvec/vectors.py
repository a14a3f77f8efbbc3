"""Vectors: what they are everywhere in imgvec, and the checks of shape, finiteness and length."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
"""(n, dim) float32, a vector a row; a single one is (dim,)."""

MIN_NORM = 1e-12
"""A shorter vector has no direction."""
MAX_NORM = 1e19
"""The square of a longer one is not a float32, so neither are its products."""
UNIT_TOLERANCE = 1e-3
"""How far the L2 norm of a unit vector may be from 1."""

Flaw = Literal["not finite", "zero length", "too long", "not of unit length"]


def norms(vectors: Vectors) -> NDArray[np.float64]:
    """(n,) L2 norms of (n, dim) vectors, in float64: squares of large float32 elements overflow.

    NaN or infinite where an element is.
    """
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    return lengths


def has_direction(lengths: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Which of these norms are of vectors with a direction: finite, and not of length zero."""
    found: NDArray[np.bool_] = np.isfinite(lengths) & (lengths >= MIN_NORM)
    return found


def flaw(length: float, *, unit: bool) -> Flaw | None:
    """What is wrong with a vector of that L2 norm; `unit` asks for one within `UNIT_TOLERANCE` of 1."""
    if not np.isfinite(length):
        return "not finite"
    if length < MIN_NORM:
        return "zero length"
    if unit:
        return "not of unit length" if abs(length - 1) > UNIT_TOLERANCE else None
    return "too long" if length > MAX_NORM else None


def problem(vectors: Any, dim: int, *, unit: bool) -> str | None:
    """Why these are not (n, dim) float32 vectors that Milvus can take, or None.

    A server panics or stores nonsense on wrong lengths, and both backends take a vector of length zero and lose it;
    Milvus Lite stores NaN. Both square lengths in float32: where that overflows, a row is never found, and a query has
    cosine 0, or an infinite distance, to every row. `unit` asks for vectors of unit length.
    """
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != 2:
        got = f"{vectors.dtype} {vectors.shape}" if isinstance(vectors, np.ndarray) else type(vectors).__name__
        return f"vectors must be an (n, {dim}) float32 array, not {got}"
    if vectors.shape[1] != dim:
        return f"the vectors have dim {vectors.shape[1]}, but the collection has dim {dim}"
    lengths = norms(vectors)
    if not len(lengths):
        return None
    # first the two ends, since a search by one vector would pay more for the rest; where one is NaN, both are
    least, most = lengths.min(), lengths.max()
    if (max(1 - least, most - 1) <= UNIT_TOLERANCE) if unit else (least >= MIN_NORM and most <= MAX_NORM):
        return None
    sound = has_direction(lengths)
    sound &= np.abs(lengths - 1) <= UNIT_TOLERANCE if unit else lengths <= MAX_NORM
    first = int(np.flatnonzero(~sound)[0])
    found = flaw(lengths[first], unit=unit)
    if found == "not finite":
        return f"vector {first} is not finite"
    if found == "zero length":
        return f"vector {first} has length zero"
    if found == "too long":
        return f"vector {first} has length {lengths[first]:.4g}, which Milvus cannot square: scale it down"
    return f"vector {first} has length {lengths[first]:.4g}, but this collection takes unit vectors"
