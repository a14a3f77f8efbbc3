"""Which patches of two pictures show the same thing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgvec.encoders.protocol import Tokens

Array = NDArray[np.float32]

REACH = 2
"""Patches to each side that have to agree: two patches match as well as their surroundings do."""
CHANCE = 3.0
"""Standard deviations above the mean of all pairs of patches, where a similarity is more than chance."""
_ENDS = 25.0
"""Where none is, the best quarter of the patches is taken instead."""
MIRROR = 1.05
"""How many times as alike the best patches have to be for the mirror image to be taken: what is symmetrical fits either
way."""
# REACH, CHANCE, MIRROR and the power of the heat were chosen on photos that no figure is reported on


@dataclass(frozen=True, eq=False, slots=True)
class Matches:
    """What two grids of patches have in common."""

    first: Array
    """(rows, columns) of the first picture: how much the best counterpart of each patch is more than chance; the sum
    is 1."""
    second: Array
    pairs: NDArray[np.int64]
    """(n, 2): patches, counted row by row, that are each other's best counterparts; the hottest first."""
    similarities: Array
    """(n,) of the pairs, from -1 to 1."""
    mirrored: bool
    """Whether the second picture was matched as its mirror image, which fitted better."""


def matched(first: Tokens, second: Tokens) -> Matches:
    """The patches of two pictures of one encoder that show the same.

    Of each layer the mean of both pictures is taken off, which has the background of any picture in it. Two patches
    are as alike as they and the patches around them are in the mean, each beside its counterpart: neighbourhood
    consensus (Rocco et al. 2018, arXiv:1810.10510) with a box for a filter.
    """
    similar = features(first, second)
    grids = first.grid, second.grid
    turned = np.arange(similar.shape[1]).reshape(second.grid)[:, ::-1].ravel()
    plain, mirror = consensus(similar, grids), consensus(similar[:, turned], grids)[:, turned]
    best = [np.sort(each.max(axis=1))[-max(1, len(each) // 10) :].mean() for each in (plain, mirror)]
    mirrored = bool(best[1] > MIRROR * best[0])
    alike = mirror if mirrored else plain
    cut = float(alike.mean() + CHANCE * alike.std())
    heats = heat(alike.max(axis=1), first.grid, cut), heat(alike.max(axis=0), second.grid, cut)
    pairs = _mutual(alike, heats[0].ravel(), heats[1].ravel())
    return Matches(*heats, pairs, alike[pairs[:, 0], pairs[:, 1]], mirrored)


def features(first: Tokens, second: Tokens) -> Array:
    """(patches, patches): the cosine of every patch of the one to every patch of the other, over all layers."""
    middle = (first.patches.mean(axis=1, keepdims=True) + second.patches.mean(axis=1, keepdims=True)) / 2
    a, b = (_unit(each.patches - middle) for each in (first, second))
    similar: Array = np.einsum("lnw,lmw->nm", a, b) / np.float32(len(a))
    return similar


def consensus(similar: Array, grids: tuple[tuple[int, int], tuple[int, int]]) -> Array:
    """The mean over offsets of up to `REACH` patches of how alike the two patches at that offset are.

    What lies outside a picture agrees with nothing: a mean of fewer patches would vary more, and corners would win.
    """
    (h, w), (m, n) = grids
    pairs = similar.reshape(h, w, m, n)
    total = np.zeros_like(pairs)
    for dy in range(-REACH, REACH + 1):
        for dx in range(-REACH, REACH + 1):
            to = _span(h, dy), _span(w, dx), _span(m, dy), _span(n, dx)
            of = _span(h, -dy), _span(w, -dx), _span(m, -dy), _span(n, -dx)
            total[to] += pairs[of]
    found: Array = (total / np.float32((2 * REACH + 1) ** 2)).reshape(similar.shape)
    return found


def heat(best: Array, grid: tuple[int, int], cut: float) -> Array:
    """(rows, columns) that add up to 1: the square of what the best counterparts, a little blurred, are above `cut`."""
    smooth = _blurred(best.reshape(grid))
    above = np.clip(smooth - cut, 0, None)
    if not above.any():
        above = np.clip(smooth - np.percentile(smooth, 100 - _ENDS), 0, None)
    above = above**2
    total = above.sum()
    found: Array = (above / total if total > 0 else np.full(grid, 1 / above.size)).astype(np.float32)
    return found


def _span(length: int, shift: int) -> slice:
    """The part of an axis that is still inside after a shift."""
    return slice(max(0, -shift), max(0, length - max(0, shift)))


def _blurred(grid: Array) -> Array:
    """By the binomial filter of three."""
    smooth = grid
    for axis in (0, 1):
        padded = np.pad(smooth, [(1, 1) if each == axis else (0, 0) for each in (0, 1)], "edge")
        before, here, after = (np.take(padded, np.arange(grid.shape[axis]) + i, axis) for i in range(3))
        smooth = ((before + 2 * here + after) / 4).astype(np.float32)
    return smooth


def _mutual(alike: Array, first: Array, second: Array) -> NDArray[np.int64]:
    """(n, 2): the patches with heat that are each other's nearest, the hottest first."""
    there, back = alike.argmax(axis=1), alike.argmax(axis=0)
    own = np.flatnonzero((back[there] == np.arange(len(there))) & (first > 0) & (second[there] > 0))
    own = own[np.argsort(-first[own] * second[there[own]], kind="stable")]
    return np.stack([own, there[own]], axis=1)


def _unit(rows: Array) -> Array:
    found: Array = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), np.float32(1e-12))
    return found
