"""What two pictures are to each other, by their best fit and their dates.

The thresholds were chosen on the validation split of the clothing photos and judged on the test split
(tests/benchmarks/duplicating.py). Edited copies agree by .99 and more in all blocks; the most alike of different
photos there, two T-shirts laid alike on one cloth, by .98 and in the tenth part of the blocks by less than .85.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from imgvec.curation.fits import Fit, Matrix, fits
from imgvec.curation.looks import Look, opencv

Kind: TypeAlias = Literal["file", "pixels", "copy", "burst", "vector"]
"""The same bytes, the same pixels, an edited copy, the same scene at another moment, or near vectors alone."""

COPY_AGREEMENT, COPY_BLOCKS, COPY_LOWEST = 0.985, 0.95, 0.88
BURST_AGREEMENT, BURST_BLOCKS, BURST_INLIERS, BURST_SHARE = 0.9, 0.6, 25, 0.5
_BEYOND = 0.985
"""Where each of two shows more than the other by this much, neither was cut from the other: the camera moved."""
_BEND = 0.6
"""Percent of the diagonal by which perspective moves a corner; of a copy it is what keypoints miss."""
_BEND_INLIERS, _MISS = 50, 0.8
"""So many keypoints tell of it, which a similarity misses by so many pixels on average; of copies, one in a hundred."""
_FRAMED = 0.7
"""Of what surrounds a picture, the share that is flat, from which it is a frame: a border is flat all over, the window
of a screenshot to .9, and what a crop has cut off to .4 at most."""


@dataclass(frozen=True, slots=True)
class Relation:
    """What the second picture is to the first."""

    kind: Kind
    mirrored: bool = False
    agreement: float = 1.0
    """Correlation of what both show."""
    scale: float = 1.0
    """Pixels of the second per pixel of the first, in what both show."""
    first_share: float = 1.0
    """Of the first, the share that lies in the second."""
    second_share: float = 1.0
    framed: Literal["", "first", "second"] = ""
    """Which has a frame around what both show."""
    sharper: float = 1.0
    """Sharpness of the second per that of the first."""
    colours: tuple[bool, bool] = (True, True)

    def turned(self) -> Relation:
        """What the first is to the second."""
        other: dict[str, Literal["", "first", "second"]] = {"": "", "first": "second", "second": "first"}
        return Relation(
            self.kind,
            self.mirrored,
            self.agreement,
            1 / self.scale,
            self.second_share,
            self.first_share,
            other[self.framed],
            1 / self.sharper,
            self.colours[::-1],
        )


def judged(
    first: Look, second: Look, *, taken: tuple[int | None, int | None] = (None, None), burst_seconds: float = 60.0
) -> Relation | None:
    """What the second is to the first; None where they are different pictures, or nothing says that they are not.

    `taken` are their dates in Unix milliseconds, None where they are not known: pictures that were taken at different
    moments are not copies of each other, and those taken within the same second may be either.
    """
    seconds = None if taken[0] is None or taken[1] is None else abs(taken[0] - taken[1]) / 1000
    scene: Fit | None = None
    for fit in fits(first, second):
        if is_exact(fit):
            if seconds is not None and seconds > burst_seconds:
                return None
            moved = (seconds or 0) >= 1 or _moved(fit)
            return _relation("burst" if moved else "copy", fit, first, second)
        if scene is None and is_same_scene(fit):
            scene = fit
    if scene is None or (seconds is not None and seconds > burst_seconds):
        return None
    return _relation("burst", scene, first, second)


def is_exact(fit: Fit) -> bool:
    """Whether what both show is the same picture."""
    return fit.agreement >= COPY_AGREEMENT and fit.blocks >= COPY_BLOCKS and fit.lowest >= COPY_LOWEST


def is_same_scene(fit: Fit) -> bool:
    return (
        fit.inliers >= BURST_INLIERS
        and fit.inliers >= BURST_SHARE * fit.matches
        and fit.agreement >= BURST_AGREEMENT
        and fit.blocks >= BURST_BLOCKS
        and not fit.mirrored
    )


def _moved(fit: Fit) -> bool:
    """Whether the camera has moved between the two, rather than somebody cut or framed one of them."""
    return (fit.first_share < _BEYOND and fit.second_share < _BEYOND) or _bent(fit)


def _bent(fit: Fit) -> bool:
    return fit.bend > _BEND and fit.miss > _MISS and fit.inliers >= _BEND_INLIERS


def _relation(kind: Kind, fit: Fit, first: Look, second: Look) -> Relation:
    framed: Literal["", "first", "second"] = ""
    if kind == "copy" and fit.second_share < 0.97 and fit.first_share > 0.95:
        framed = "second" if _flat_around(first, second, fit.matrix) >= _FRAMED else ""
    elif kind == "copy" and fit.first_share < 0.97 and fit.second_share > 0.95:
        turned = _inverse(fit.matrix)
        framed = "first" if _flat_around(second, first, turned, mirrored=fit.mirrored) >= _FRAMED else ""
    return Relation(
        kind,
        fit.mirrored,
        round(fit.agreement, 4),
        fit.scale,
        fit.first_share,
        fit.second_share,
        framed,
        max(second.sharpness, 1e-6) / max(first.sharpness, 1e-6),
        (first.colour, second.colour),
    )


def _inverse(matrix: Matrix) -> Matrix:
    whole: Matrix = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    return whole[:2]


def _flat_around(inner: Look, outer: Look, matrix: Matrix, *, mirrored: bool = False) -> float:
    """Of what the outer picture shows around the inner one, the share that is flat."""
    cv2 = opencv()
    grey = outer.grey.astype(np.float32)
    if mirrored:
        grey = np.ascontiguousarray(grey[:, ::-1])
    covered = cv2.warpAffine(np.ones(inner.grey.shape, np.uint8), matrix, grey.shape[::-1], flags=cv2.INTER_NEAREST)
    around = cv2.dilate(covered, np.ones((7, 7), np.uint8)) == 0
    if not around.any():
        return 0.0
    mean, square = cv2.boxFilter(grey, -1, (5, 5)), cv2.boxFilter(grey**2, -1, (5, 5))
    return float((square - mean**2 < 1.0)[around].mean())
