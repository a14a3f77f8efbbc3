"""Which patches of two pictures show the same thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from imgvec.encoders.protocol import Tokens

Array = NDArray[np.float32]
Grids: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

REACH = 2
"""Patches to each side that have to agree: two patches match as well as their surroundings do."""
APART = 3
"""Patches from the best counterpart within which the others do not count as rivals of it: they overlap it."""
HOT = 0.4
"""Of the greatest distinction: what has less is not hot."""
MIRROR = 1.2
"""How many times as distinct the best patches have to be for the mirror image to be taken: what is symmetrical fits
either way."""
# chosen on photos that no figure is reported on


@dataclass(frozen=True, eq=False, slots=True)
class Matches:
    """What two grids of patches have in common."""

    first: Array
    """(rows, columns) of the first picture: how distinctly each patch has a counterpart in the other; the sum is 1."""
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
    similar = _features(first, second)
    grids = first.grid, second.grid
    turned = np.arange(similar.shape[1]).reshape(second.grid)[:, ::-1].ravel()
    plain, mirror = (
        _Fit.of(consensus(similar, grids), grids),
        _Fit.of(consensus(similar[:, turned], grids)[:, turned], grids),
    )
    mirrored = mirror.distinction > MIRROR * plain.distinction
    fit = mirror if mirrored else plain
    pairs = _mutual(fit.alike, fit.first.ravel(), fit.second.ravel())
    return Matches(fit.first, fit.second, pairs, fit.alike[pairs[:, 0], pairs[:, 1]], mirrored)


@dataclass(frozen=True, eq=False, slots=True)
class _Fit:
    """How the second picture fits the first, as it is or as its mirror image."""

    alike: Array
    first: Array
    second: Array
    distinction: float

    @classmethod
    def of(cls, alike: Array, grids: Grids) -> _Fit:
        marks = distinct(alike, grids[0], grids[1]), distinct(alike.T, grids[1], grids[0])
        best = np.sort(marks[0].ravel())[-max(1, marks[0].size // 10) :]
        return cls(alike, heat(marks[0]), heat(marks[1]), float(best.mean()))


def _features(first: Tokens, second: Tokens) -> Array:
    """(patches, patches): the cosine of every patch of the one to every patch of the other, over all layers."""
    middle = (first.patches.mean(axis=1, keepdims=True) + second.patches.mean(axis=1, keepdims=True)) / 2
    a, b = (_unit(each.patches - middle) for each in (first, second))
    similar: Array = np.einsum("lnw,lmw->nm", a, b) / np.float32(len(a))
    return similar


def consensus(similar: Array, grids: Grids) -> Array:
    """The mean over offsets of up to `REACH` patches of how alike the two patches at that offset are."""
    (h, w), (m, n) = grids
    pairs = similar.reshape(h, w, m, n)
    total, count = np.zeros_like(pairs), np.zeros_like(pairs)
    for dy in range(-REACH, REACH + 1):
        for dx in range(-REACH, REACH + 1):
            to = _span(h, dy), _span(w, dx), _span(m, dy), _span(n, dx)
            of = _span(h, -dy), _span(w, -dx), _span(m, -dy), _span(n, -dx)
            total[to] += pairs[of]
            count[to] += 1
    found: Array = np.divide(total, np.maximum(count, 1)).reshape(similar.shape)
    return found


def distinct(alike: Array, grid: tuple[int, int], other: tuple[int, int]) -> Array:
    """(rows, columns): how much more each patch is like its best counterpart than like anything away from that.

    What Lowe's test (2004, section 7.1) divides is subtracted here: a patch of plain cloth is like all the cloth in the
    other picture, and says nothing; what is there once in each says that they show the same. A patch whose counterpart
    finds its own best counterpart elsewhere has 0.
    """
    best = alike.argmax(axis=1)
    rivals = np.where(_apart(other)[best], alike, -1).max(axis=1)
    own = np.arange(len(alike))
    returns = ~_apart(grid)[own, alike.argmax(axis=0)[best]]
    return _blurred(np.where(returns, alike.max(axis=1) - rivals, 0).reshape(grid))


def _apart(grid: tuple[int, int]) -> NDArray[np.bool_]:
    """(patches, patches): whether two patches of one picture lie further apart than `APART`."""
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    found: NDArray[np.bool_] = np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns)) > APART
    return found


def heat(marks: Array) -> Array:
    """(rows, columns) that add up to 1: the square of what is above a share of the greatest."""
    above = np.square(np.clip(marks - HOT * marks.max(), 0, None))
    total = float(above.sum())
    return np.asarray(above / total if total > 0 else np.full(marks.shape, 1 / marks.size), np.float32)


def _span(length: int, shift: int) -> slice:
    """The part of an axis that is still inside after a shift."""
    return slice(max(0, -shift), max(0, length - max(0, shift)))


def _blurred(grid: Array) -> Array:
    """By the binomial filter of three."""
    for axis in (0, 1):
        padded = np.pad(grid, [(1, 1) if each == axis else (0, 0) for each in (0, 1)], "edge")
        before, here, after = (np.take(padded, np.arange(grid.shape[axis]) + i, axis) for i in range(3))
        grid = ((before + 2 * here + after) / 4).astype(np.float32)
    return grid


def _mutual(alike: Array, first: Array, second: Array) -> NDArray[np.int64]:
    """(n, 2): the patches with heat that are each other's nearest, the hottest first."""
    there, back = alike.argmax(axis=1), alike.argmax(axis=0)
    own = np.flatnonzero((back[there] == np.arange(len(there))) & (first > 0) & (second[there] > 0))
    own = own[np.argsort(-first[own] * second[there[own]], kind="stable")]
    return np.stack([own, there[own]], axis=1)


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12), np.float32)
