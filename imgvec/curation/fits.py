"""Whether one picture shows what another one does: a transform between them, and what is left when it is undone.

Transforms come from keypoints that match (ratio test, each target once; a similarity by RANSAC), straight and against
the mirror image, and from laying one whole picture over the other, which needs no keypoints. Each is held against the
grey copies: one is drawn into the frame of the other, both are made coarse, and correlation in blocks says how far
they agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgvec.curation.looks import Grey, Look, opencv

Matrix = NDArray[np.float64]

RATIO = 0.8
LEAST_INLIERS, LEAST_SHARE = 8, 0.3
"""Matches that a transform must explain, and of all: of edited copies one in a hundred has fewer than 19, and of two
photos that differ one in a hundred more than 12."""
_SAME_ASPECT = 0.04
"""Difference of the logarithms of width / height, up to which one whole picture may lie over another."""
_TINY, _TINY_AGREEMENT = 24, 0.9
"""Pixels of a side, and correlation there, below which whole pictures need not be held against each other."""
_NEAR = 4.0
"""Pixels of the grey copy by which a keypoint may miss its match."""
_FRAME = 96
"""Pixels of the longer side of the frame in which pictures are compared."""
_GRID = 8
_BENT_FROM = 0.85
"""The agreement from which it is asked whether perspective would fit better."""
_TEXTURE = 4.0
"""Standard deviation, in grey levels, of a block that shows something."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How the first picture lies in the second, and how well."""

    matrix: NDArray[np.float64]
    """(2, 3): pixels of the first one's grey copy, mirrored where `mirrored`, to those of the second's."""
    mirrored: bool
    inliers: int
    matches: int
    agreement: float
    """Correlation over what both show, from -1 to 1."""
    blocks: float
    """Of the blocks in which either shows something, the share that agrees."""
    lowest: float
    """The tenth part of the blocks agrees less than this."""
    first_share: float
    """Of the first picture, the share that lies in the second."""
    second_share: float
    scale: float
    """Pixels of the second picture per pixel of the first, in what both show."""
    miss: float
    """Root mean square of the inliers' miss, in pixels of the grey copy."""
    bend: float
    """How far the corners move, in percent of the diagonal, when perspective is allowed; 0 without keypoints."""


def fits(first: Look, second: Look) -> Iterator[Fit]:
    """Each transform that there is a reason to try, the cheapest first; pictures that differ may have some."""
    if abs(np.log(_aspect(first) / _aspect(second))) < _SAME_ASPECT:
        ours, theirs = _tiny(first.grey), _tiny(second.grey)
        across = second.grey.shape[1] / first.grey.shape[1]
        down = second.grey.shape[0] / first.grey.shape[0]
        whole = np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2]])
        for mirrored in (False, True):
            if _correlation(ours[:, ::-1] if mirrored else ours, theirs) > _TINY_AGREEMENT:
                fit = _held(first, second, whole, mirrored)
                if fit is not None:
                    yield fit
    for mirrored in (False, True):
        points, descriptors = first.mirrored() if mirrored else (first.points, first.unit())
        here, there = _matches(points, descriptors, second)
        if len(here) < LEAST_INLIERS:
            continue
        cv2 = opencv()
        matrix, kept = cv2.estimateAffinePartial2D(
            here, there, method=cv2.RANSAC, ransacReprojThreshold=_NEAR, maxIters=500, confidence=0.995
        )
        if matrix is None:
            continue
        inside = kept.ravel().astype(bool)
        if inside.sum() < max(LEAST_INLIERS, LEAST_SHARE * len(here)):
            continue
        fit = _held(first, second, matrix, mirrored, (here, there, inside))
        if fit is not None:
            yield fit


def _tiny(grey: Grey) -> NDArray[np.float32]:
    cv2 = opencv()
    small: NDArray[np.float32] = cv2.resize(grey, (_TINY, _TINY), interpolation=cv2.INTER_AREA).astype(np.float32)
    return small


def _aspect(look: Look) -> float:
    return look.width / look.height


def _matches(
    points: NDArray[np.float32], descriptors: NDArray[np.float32], second: Look
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    none = np.zeros((0, 2), np.float32)
    if len(descriptors) < 2 or len(second.descriptors) < 2:
        return none, none
    products = descriptors @ second.unit().T
    best = products.argmax(axis=1)
    rows = np.arange(len(best))
    top = products[rows, best]
    products[rows, best] = -2.0
    # squared distances of unit vectors
    kept = (1 - top) < RATIO**2 * (1 - products.max(axis=1))
    # each target once, by the best of those that chose it
    order = rows[kept][np.argsort(-top[kept], kind="stable")]
    _, firsts = np.unique(best[order], return_index=True)
    chosen = np.sort(order[firsts])
    return points[chosen], second.points[best[chosen]]


def _bend(first: Look, here: NDArray[np.float32], there: NDArray[np.float32], matrix: NDArray[np.float64]) -> float:
    cv2 = opencv()
    if len(here) < 12:
        return 0.0
    full, kept = cv2.findHomography(here, there, cv2.RANSAC, _NEAR / 2, maxIters=1000)
    if full is None or kept.sum() < 12:
        return 0.0
    height, width = first.grey.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    plain = corners @ matrix[:, :2].T + matrix[:, 2]
    bent = np.c_[corners, np.ones(4)] @ full.T
    if (np.abs(bent[:, 2]) < 1e-6).any():
        return 100.0
    away = np.linalg.norm(bent[:, :2] / bent[:, 2:] - plain, axis=1).max()
    return float(100 * away / max(1e-6, float(np.linalg.norm(plain[2] - plain[0]))))


def _held(
    first: Look,
    second: Look,
    matrix: NDArray[np.float64],
    mirrored: bool,
    matched: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]] | None = None,
) -> Fit | None:
    """The transform, held against the grey copies; None where next to nothing of one lies in the other."""
    cv2 = opencv()
    (height, width), (tall, wide) = first.grey.shape, second.grey.shape
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if not 0.08 < scale < 12:
        return None
    grey, other = first.grey.astype(np.float32), second.grey.astype(np.float32)
    if mirrored:
        grey = np.ascontiguousarray(grey[:, ::-1])
    # in a frame in which what both show is about _FRAME pixels wide
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    there = corners @ matrix[:, :2].T + matrix[:, 2]
    low = np.maximum(there.min(axis=0), 0)
    high = np.minimum(there.max(axis=0), (wide, tall))
    across, down = high - low
    if across < 0.1 * wide or down < 0.1 * tall:
        return None
    shrink = _FRAME / max(across, down)
    size = max(8, round(across * shrink)), max(8, round(down * shrink))
    to_frame = np.array([[shrink, 0, -low[0] * shrink], [0, shrink, -low[1] * shrink], [0, 0, 1]])
    ours = to_frame @ np.vstack([matrix, [0, 0, 1]])
    a = _drawn(grey, ours[:2], size)
    b = _drawn(other, to_frame[:2], size)
    inside = cv2.warpAffine(np.ones_like(grey), ours[:2], size, flags=cv2.INTER_NEAREST) > 0
    inside &= cv2.warpAffine(np.ones_like(other), to_frame[:2], size, flags=cv2.INTER_NEAREST) > 0
    shared = inside.sum() / shrink**2
    inside = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0).astype(bool)
    if inside.sum() < 64:
        return None
    agreement = _correlation(a[inside], b[inside])
    miss = bend = 0.0
    if matched is not None and agreement >= _BENT_FROM:
        points, targets, kept = matched
        away = points[kept] @ matrix[:, :2].T + matrix[:, 2] - targets[kept]
        miss = float(np.sqrt((away**2).sum(axis=1).mean()))
        bend = _bend(first, points, targets, matrix)
    each = _by_block(a, b, inside)
    return Fit(
        matrix=matrix,
        mirrored=mirrored,
        inliers=0 if matched is None else int(matched[2].sum()),
        matches=0 if matched is None else len(matched[0]),
        agreement=agreement,
        blocks=float((each > 0.7).mean()) if len(each) else 0.0,
        lowest=float(np.quantile(each, 0.1)) if len(each) else 0.0,
        first_share=min(1.0, float(shared / (width * height * scale**2))),
        second_share=min(1.0, float(shared / (wide * tall))),
        scale=scale * (second.width / wide) / (first.width / width),
        miss=miss,
        bend=bend,
    )


def _drawn(grey: NDArray[np.float32], matrix: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """In the frame, and coarse: what finer copies lost does not count."""
    cv2 = opencv()
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 1:  # no aliases
        grey = cv2.GaussianBlur(grey, (0, 0), 0.5 / scale)
    drawn = cv2.warpAffine(grey, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    coarse: NDArray[np.float32] = cv2.GaussianBlur(drawn, (0, 0), 1.2)
    return coarse


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / spread if spread > 1e-3 * a.size else 0.0


def _by_block(a: NDArray[np.float32], b: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The correlation in each block of a grid in which either shows something."""
    found = []
    tall, wide = a.shape
    for rows in np.array_split(np.arange(tall), _GRID):
        for columns in np.array_split(np.arange(wide), _GRID):
            block = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            mask = inside[block]
            if mask.mean() < 0.5:
                continue
            x, y = a[block][mask], b[block][mask]
            if max(x.std(), y.std()) >= _TEXTURE:
                found.append(_correlation(x, y))
    return np.array(found)
