"""The true scores of stored vectors, and how far Milvus's scores may differ from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imgvec.stored import IndexInfo
from imgvec.vectors import Vectors

WHOLE = 1e-3
"""How far scores of whole vectors may be from the true ones."""


def true_scores(metric_type: str, query: Vectors, vectors: Vectors) -> NDArray[np.float64]:
    """(n,) cosines, inner products, or 1 - d²/2 for L2, of one (dim,) query with (n, dim) vectors, in float64.

    NaN where a vector has no score: not finite, or of length zero under COSINE.
    """
    wide, others = query.astype(np.float64), vectors.astype(np.float64)
    scores: NDArray[np.float64]
    with np.errstate(all="ignore"):
        if metric_type == "L2":
            scores = 1 - np.square(others - wide).sum(1) / 2
        else:
            scores = others @ wide
            if metric_type == "COSINE":
                scores = scores / (np.linalg.norm(others, axis=1) * np.linalg.norm(wide))
    return scores


def size(metric_type: str, query: Vectors) -> float:
    """How large scores of this query are, to measure differences by: 1 for cosines and for vectors of unit length."""
    return 1.0 if metric_type == "COSINE" else max(1.0, float(np.square(query, dtype=np.float64).sum()))


def tolerance(index: IndexInfo) -> float | None:
    """How far a score of that index may be from the true one, of `size`; None if it has only product codes."""
    if any(code in index.type for code in ("PQ", "PRQ", "RABITQ")):
        return None
    if index.type == "SCANN" and index.params.get("with_raw_data") is False:
        return None
    if "SQ" in index.type or index.type == "AUTOINDEX":
        return 0.1  # an element is one of 16 to 256 steps between its least and largest value
    return WHOLE
