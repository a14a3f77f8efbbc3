"""Which part of a picture an encoder sees, and where in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgvec.errors import QueryError

Seen: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the upright picture; beyond its edges where the encoder adds some."""

_STEPS = 255


def seen(size: tuple[int, int], prepare: Callable[[Image.Image], NDArray[np.uint8]]) -> Seen:
    """What becomes the encoder's square, of a picture of that width and height.

    Every kind of encoder has its own resize and crop, so that is asked of `prepare` itself: a picture whose red rises
    from left to right and whose green from top to bottom says of each pixel where it came from. Raises `QueryError`
    for one that does anything else with a picture.
    """
    width, height = size
    across = np.broadcast_to(np.linspace(0, _STEPS, width), (height, width))
    down = np.broadcast_to(np.linspace(0, _STEPS, height)[:, None], (height, width))
    ramp = np.stack([across, down, np.zeros((height, width))], axis=-1).round().astype(np.uint8)
    made = prepare(Image.fromarray(ramp)).astype(np.float64)
    left, right = _edges(made[0], width)
    top, bottom = _edges(made[1].T, height)
    return left, top, right, bottom


def _edges(made: NDArray[np.float64], length: int) -> tuple[float, float]:
    """Where the first and the last column of the square begin and end, on an axis of `length` pixels."""
    side = made.shape[1]
    line = np.median(made[side // 4 : side - side // 4], axis=0)
    # the ends of the ramp are flat or padded: the rest of it lies on a straight line
    inside = np.flatnonzero((line > 0.05 * _STEPS) & (line < 0.95 * _STEPS))
    if len(inside) < 2 or length < 2:
        return 0.0, float(length)
    slope, start = np.polyfit(inside + 0.5, line[inside] * (length - 1) / _STEPS + 0.5, 1)
    if not slope > 0 or np.abs(line[inside] - (slope * (inside + 0.5) + start - 0.5) * _STEPS / (length - 1)).max() > 8:
        raise QueryError("the encoder does more with a picture than to resize and crop it: where it looks is not known")
    return float(start), float(start + slope * side)
