"""Projections made from what vectors are like: PCA with a power and shrinkage, random orthogonal, truncation."""

from __future__ import annotations

import math

from typing_extensions import Unpack

from imgvec.encoders.moments import Moments
from imgvec.encoders.options import POWER, FitOptions
from imgvec.encoders.projection import Projection
from imgvec.errors import UsageError
from imgvec.options import documented, settled
from imgvec.plurals import counted

UNEVENNESS = 2.5
"""By how much noise alone may scale two directions differently that are alike; see `least_rows`."""


def least_rows(width: int, dim: int, power: float) -> int:
    """How many vectors of `width` dimensions a PCA of `dim` with that power needs.

    The sample variances of n vectors without any structure lie between (1 - s)² and (1 + s)² times the true one, with
    s = √(width / n) (Marchenko and Pastur, "Distribution of eigenvalues for some sets of random matrices", 1967). So
    the map scales directions that are alike by up to ((1 + s) / (1 - s))^(2 · power) differently. That is to be at most
    `UNEVENNESS`; without a power nothing is scaled, and `dim` directions need dim + 1 vectors.
    """
    ratio = UNEVENNESS ** (1 / (2 * power)) if power > 1e-3 else math.inf
    s = 1.0 if math.isinf(ratio) else (ratio - 1) / (ratio + 1)
    return max(dim + 1, math.ceil(width / s**2) if power else 0)


def width_kept(width: int, dim: int | None) -> int:
    """The dimensions that are kept of `width`: `dim`, or two thirds; raises `UsageError` for more than there are."""
    if dim is None:
        return max(1, round(width * 2 / 3))
    if dim > width:
        raise UsageError(f"vectors of {width} dimensions cannot be projected to {dim}")
    return dim


@documented(FitOptions)
def fit(moments: Moments, **options: Unpack[FitOptions]) -> Projection:
    """The projection of vectors with those moments; that of `orthogonal` and `truncate` looks at their width alone.

    Raises `UsageError` for more dimensions than there are, and, with the number needed, for too few vectors.
    """
    asked = settled(FitOptions, options)
    width = moments.width
    dim, power = width_kept(width, asked["dim"]), asked["power"]
    if asked["method"] == "truncate":
        return Projection.truncation(width, dim)
    if asked["method"] == "orthogonal":
        return Projection.orthogonal(width, dim, seed=asked["seed"])
    power = POWER if power is None else power
    if moments.rows < (least := least_rows(width, dim, power)):
        raise UsageError(
            f"{counted(moments.rows, 'vector')} of {width} dimensions are too few to fit from: a PCA with power "
            f"{power:g} needs {least:,}; fit from more, take a smaller power, or method truncate or orthogonal"
        )
    return Projection.pca(moments.mean, moments.covariance, dim, power=power, shrinkage=asked["shrinkage"])
