"""What each region of a picture adds to the score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imgvec.encoders.protocol import Encoder, Pixels
from imgvec.vectors import Vectors

Array = NDArray[np.float32]

REGIONS = 7
"""Rows and columns of the regions that are left out, one at a time."""


def added(parts: Array, grid: tuple[int, int], other: Array, *, unit: bool) -> Array:
    """(rows, columns) that add up to the score exactly: what each patch adds to the product with the vector `other`.

    The picture's vector is the mean of `parts`, of unit length afterwards if `unit`: v = sum p / |sum p|, so that the
    score v · other is the sum of p · other / |sum p|.
    """
    total = parts.sum(axis=0, dtype=np.float64)
    scale = np.linalg.norm(total) if unit else len(parts)
    found: Array = (parts.astype(np.float64) @ other / scale).reshape(grid).astype(np.float32)
    return found


def lost(encoder: Encoder, pixels: Pixels, other: Vectors, score: float) -> Array:
    """(REGIONS, REGIONS): what the score loses where a region takes the picture's mean colour.

    `pixels` are (3, side, side) as `prepare` gives them, `other` is the (dim,) vector of the other picture. Occlusion
    (Zeiler and Fergus 2014, arXiv:1311.2901); the parts need not add up to anything.
    """
    side = pixels.shape[-1]
    edges = np.linspace(0, side, REGIONS + 1).round().astype(int)
    mean = pixels.mean(axis=(1, 2), keepdims=True).round().astype(np.uint8)
    without = np.repeat(pixels[None], REGIONS * REGIONS, axis=0)
    for number in range(REGIONS * REGIONS):
        row, column = divmod(number, REGIONS)
        without[number, :, edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = mean
    vectors = encoder.encode(without)
    found: Array = (score - vectors @ other).reshape(REGIONS, REGIONS).astype(np.float32)
    return found
