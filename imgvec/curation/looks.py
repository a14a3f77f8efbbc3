"""What the second look sees of a picture: a small grey copy, and keypoints with their descriptors.

Keypoints are SIFT's (Lowe, 2004; OpenCV), compared as RootSIFT (Arandjelović and Zisserman, 2012). Those of the mirror
image are made of them, not of a mirrored picture: across a keypoint's own direction the rows of the grid of histograms
change places, and each histogram's directions run backwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgvec.errors import MissingExtra

SIDE = 288
"""Pixels of the longer side of the grey copy."""
KEYPOINTS = 500
"""At most, the strongest."""
EXTRA = "duplicates"

_UNIT = 500
"""The length of a descriptor: no number of one is half as long, and a byte holds half of this."""

Grey = NDArray[np.uint8]

_MIRRORED = (
    np.arange(128).reshape(4, 4, 8)[::-1, :, [(-direction) % 8 for direction in range(8)]].reshape(128)
)  # of the numbers of a descriptor: (row, column, direction)


def opencv() -> ModuleType:
    """The `cv2` module; raises `MissingExtra`."""
    try:
        import cv2
    except ImportError as exc:
        raise MissingExtra(
            EXTRA,
            "comparing pictures by their keypoints needs OpenCV",
            otherwise="find only the same files and the same pixels with --exact (exact=True in Python)",
        ) from exc
    cv2.setNumThreads(1)  # pictures go side by side in threads already
    found: ModuleType = cv2
    return found


@dataclass(frozen=True, slots=True)
class Look:
    """One picture, as far as comparing needs it; some 200 kB."""

    width: int
    height: int
    """Of the whole upright picture, in pixels."""
    grey: Grey
    """(height, width) of the copy, whose longer side is `SIDE`."""
    points: NDArray[np.float32]
    """(n, 2) x and y of the keypoints, in pixels of the copy."""
    descriptors: NDArray[np.uint8]
    """(n, 128) of length `_UNIT`."""
    sharpness: float
    """Variance of the Laplacian over the copy: how much fine detail there is."""
    colour: bool
    """False for a grey picture."""

    def unit(self) -> NDArray[np.float32]:
        """The descriptors with length 1."""
        return self.descriptors.astype(np.float32) / np.float32(_UNIT)

    def mirrored(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points and descriptors of its mirror image."""
        points = self.points.copy()
        points[:, 0] = self.grey.shape[1] - 1 - points[:, 0]
        return points, self.unit()[:, _MIRRORED]


def look(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Look:
    """The look of (height, width, 3) RGB pixels, of a picture that is `size` (width, height) where it lies."""
    cv2 = opencv()
    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    to = max(8, round(width * scale)), max(8, round(height * scale))
    small: NDArray[Any] = cv2.resize(pixels, to, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    keypoints, found = cv2.SIFT_create(nfeatures=KEYPOINTS, contrastThreshold=0.02).detectAndCompute(grey, None)
    keypoints = keypoints[:KEYPOINTS]  # of equal strength all come
    points = np.array([each.pt for each in keypoints], np.float32).reshape(-1, 2)
    descriptors = np.zeros((0, 128), np.float32) if found is None else found[:KEYPOINTS]
    sums = descriptors.sum(axis=1, keepdims=True)
    spread = small.astype(np.int16)
    colour = float(np.abs(spread[..., 0] - spread[..., 2]).mean() + np.abs(spread[..., 0] - spread[..., 1]).mean())
    return Look(
        width=size[0],
        height=size[1],
        grey=grey,
        points=points,
        descriptors=np.rint(_UNIT * np.sqrt(descriptors / np.maximum(sums, 1e-12))).clip(0, 255).astype(np.uint8),
        sharpness=float(cv2.Laplacian(grey, cv2.CV_32F).var()),
        colour=colour > 2,
    )
