"""Views of what stands out in a picture: crops at the places that stand best for all of its parts, things first.

What stands out is what the picture's border does not have (Wei et al., "Geodesic Saliency Using Background Priors",
ECCV 2012), by the tokens that the encoder has for each patch, or by colours where it has none. The crops are then those
that queries for parts of the picture come nearest to: of every part of three sizes, the overlap with the nearest crop
is added up, weighted by how much of it stands out, and crops are taken one after another that raise the sum the most.
It has diminishing returns, so that this comes within 1 - 1/e of the best choice (Nemhauser et al. 1978).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from imgvec.ingest.expand import LEAST_CROP, Box, View, cut

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Tokens
    from imgvec.images.squares import Seen

Array = NDArray[np.float64]

SIDES = (0.36, 0.4, 0.5)
"""Of the crops, as shares of the picture's. These numbers were chosen on the validation half of the clothing photos."""
PARTS = (0.25, 0.35, 0.45)
"""Of the parts that are asked for, likewise."""
STEPS = 6
"""Places of a crop or part along each side of its own length."""
EVENLY = 0.6
"""The share of the weight that all of the picture has alike; the rest is where something stands out, so that a small
thing before a plain ground has many of the crops."""
CELLS = 16
"""Rows and columns of the map of what stands out."""
PIXELS = 8
"""On a side of a cell whose colours are looked at."""
BORDER = 0.2
"""The share of the border's patches that has to be like a patch which does not stand out."""


@dataclass(frozen=True, slots=True)
class Regions:
    """The whole picture, and `number` crops of it. Implements `ingest.Expander` and `ingest.Looks`.

    Where crops of one of the `SIDES` would be smaller than `LEAST_CROP` pixels there are none of that.
    """

    number: int

    own_fields = frozenset[str]()

    @property
    def most(self) -> int:
        """As `Expander.most`."""
        return 1 + self.number

    def least_side(self, side: int) -> int:
        """As `Expander.least_side`."""
        return math.ceil(side / min(SIDES))

    def __call__(self, image: PIL.Image.Image, width: int, height: int) -> list[View]:
        """As `Expander`: by colours."""
        return self._views(image, width, height, by_colours(image))

    def of_tokens(
        self, image: PIL.Image.Image, width: int, height: int, tokens: Tokens, seen: Seen | None
    ) -> list[View]:
        """As `Looks`."""
        return self._views(image, width, height, by_tokens(tokens, image.size, seen))

    def _views(self, image: PIL.Image.Image, width: int, height: int, standing_out: Array) -> list[View]:
        sides = tuple(side for side in SIDES if side * min(width, height) >= LEAST_CROP)
        views = [View("whole", (0, 0, width, height), image)]
        for box in _boxes(standing_out, self.number, sides, width, height):
            views.append(View("region", box, cut(image, box, width, height)))
        return views


def by_tokens(tokens: Tokens, size: tuple[int, int], seen: Seen | None) -> Array:
    """(CELLS, CELLS), how much each cell of the picture stands out, by the last layer's tokens.

    `seen` is the part of the image of that width and height that the encoder saw; None for the whole. Beyond it stands
    what is at its edge.
    """
    patches = tokens.patches[-1].astype(np.float64)
    patches /= np.maximum(np.linalg.norm(patches, axis=1, keepdims=True), 1e-12)
    rows, columns = tokens.grid
    found = _unlike_the_border(1 - patches @ patches.T, rows, columns).reshape(rows, columns)
    left, top, right, bottom = seen or (0.0, 0.0, float(size[0]), float(size[1]))
    middle = (np.arange(CELLS) + 0.5) / CELLS
    across = ((middle * size[0] - left) / (right - left) * columns).astype(int).clip(0, columns - 1)
    down = ((middle * size[1] - top) / (bottom - top) * rows).astype(int).clip(0, rows - 1)
    placed: Array = found[np.ix_(down, across)]
    return placed


def by_colours(image: PIL.Image.Image) -> Array:
    """(CELLS, CELLS), how much each cell of an RGB image stands out, by the mean and the spread of its colours."""
    small = image.resize((CELLS * PIXELS, CELLS * PIXELS), PIL.Image.Resampling.BOX)
    pixels = np.asarray(small.convert("RGB"), np.float64).reshape(CELLS, PIXELS, CELLS, PIXELS, 3) / 255
    cells = np.concatenate([pixels.mean(axis=(1, 3)), pixels.std(axis=(1, 3))], axis=-1).reshape(CELLS**2, -1)
    apart = np.sqrt(((cells[:, None] - cells[None]) ** 2).sum(axis=-1))
    return _unlike_the_border(apart, CELLS, CELLS).reshape(CELLS, CELLS)


def _unlike_the_border(apart: Array, rows: int, columns: int) -> Array:
    """(patches,): the mean distance to the nearest of the border's patches, of distances (patches, patches)."""
    border = np.ones((rows, columns), bool)
    border[1:-1, 1:-1] = False
    nearest = np.sort(apart[:, border.ravel()], axis=1)
    found: Array = nearest[:, : max(1, round(BORDER * nearest.shape[1]))].mean(axis=1)
    return found


def _boxes(standing_out: Array, number: int, sides: tuple[float, ...], width: int, height: int) -> list[Box]:
    """The places of at most `number` crops in a picture of that size, the most telling first."""
    crops = _squares(sides)
    parts, share, overlap = _design(sides)
    least, most = standing_out.min(), standing_out.max()
    cells = (standing_out.ravel() - least) / (most - least) if most > least else np.ones(standing_out.size)
    weights = share @ cells / parts
    weights = EVENLY / parts / (1 / parts).sum() + (1 - EVENLY) * weights / weights.sum()
    reached, chosen = np.zeros(len(weights)), list[int]()
    for _ in range(min(number, len(crops))):
        gains = np.maximum(overlap - reached, 0) @ weights
        gains[chosen] = -1.0
        chosen.append(int(np.argmax(gains)))
        reached = np.maximum(reached, overlap[chosen[-1]])
    scale = np.array([width, height, width, height])
    boxes = np.rint(crops[chosen] * scale).astype(int).tolist()
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes]


@cache
def _design(sides: tuple[float, ...]) -> tuple[Array, Array, Array]:
    """How many parts there are of each part's size; (parts, cells) each part's share in each cell, which add up to 1;
    and (crops, parts) the intersection of each crop with each part, over their union.
    """
    crops, parts = _squares(sides), _squares(PARTS)
    size = np.round(parts[:, 2] - parts[:, 0], 6)
    alike = (size[:, None] == size[None]).sum(axis=1).astype(np.float64)
    edges = np.arange(CELLS + 1) / CELLS
    across, down = (
        (np.minimum(parts[:, end, None], edges[1:]) - np.maximum(parts[:, start, None], edges[:-1])).clip(0)
        for start, end in ((0, 2), (1, 3))
    )
    share = (down[:, :, None] * across[:, None, :]).reshape(len(parts), -1)
    wide, high = (
        (
            np.minimum(crops[:, None, end], parts[None, :, end])
            - np.maximum(crops[:, None, start], parts[None, :, start])
        )
        for start, end in ((0, 2), (1, 3))
    )
    common = wide.clip(0) * high.clip(0)
    area, of_crop = size**2, (crops[:, 2] - crops[:, 0]) ** 2
    return alike, share / share.sum(axis=1, keepdims=True), common / (of_crop[:, None] + area[None] - common)


@cache
def _squares(sides: Sequence[float]) -> Array:
    """(n, 4): all places of squares of those sides in a picture whose sides are 1, as x0, y0, x1, y1."""
    found = []
    for side in sides:
        starts = np.linspace(0, 1 - side, math.ceil((1 - side) / (side / STEPS)) + 1)
        found += [(x, y, x + side, y + side) for y in starts for x in starts]
    return np.array(found).reshape(-1, 4)
