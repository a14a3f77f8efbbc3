"""What a library of faces has to do to be used here.

    class MyFaces:  # a frozen dataclass, say: it is pickled for processes that decode
        name, version, side, dim, unit, distance, seen = "my:faces", "1", 112, 512, True, 1.1, 640
        def detect(self, pixels): ...
        def align(self, pixels, face): ...
        def encode(self, chips): ...

    ImageCollection.create("people", definition="faces", encoder=FaceEncoder(MyFaces()))

A package that registers a kind of encoder whose `load` gives such a `FaceEncoder` (`imgvec/encoders/registry.py`) lets
definitions name it, and collections open by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imgvec.vectors import Vectors

Image: TypeAlias = NDArray[np.uint8]
"""(height, width, 3), RGB, C-contiguous."""
Points: TypeAlias = NDArray[np.float64]
"""(n, 2): x, y in pixels."""


@dataclass(frozen=True, slots=True)
class Detected:
    """A face that a detector found."""

    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the image that it was given; may reach beyond it."""
    score: float
    """Higher is more certain; of the detector's own scale."""
    points: Points = field(default_factory=lambda: np.empty((0, 2)))
    """Where the detector finds such: what `align` needs of them."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """A face turned upright and cut out."""

    chip: Image
    """(side, side, 3)"""
    turned: float
    """How far the nose is from the middle of the eyes, along their line, in distances between the eyes: 0 from the
    front, and about 0.5 and more where one eye begins to hide behind the nose."""


class FaceModel(Protocol):
    """Finds, aligns and encodes faces. Any number of threads may call it, and it can be pickled."""

    @property
    def name(self) -> str:
        """The model's name, with a prefix: what a collection remembers, and can be loaded by where it is registered."""
        ...

    @property
    def version(self) -> str:
        """Another one where the same picture would get another vector: digest of weights and options."""
        ...

    @property
    def side(self) -> int:
        """Pixels of a chip's side."""
        ...

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        ...

    @property
    def unit(self) -> bool:
        """Whether vectors are scaled to unit length; where not, the collection's metric is L2."""
        ...

    @property
    def distance(self) -> float:
        """The published Euclidean distance up to which two faces are taken for one person's."""
        ...

    @property
    def seen(self) -> int:
        """The longer side, in pixels, that pictures are brought to before `detect` sees them."""
        ...

    def detect(self, pixels: Image) -> Sequence[Detected]:
        """The faces in an upright picture, in any order, but the same for the same pixels."""
        ...

    def align(self, pixels: Image, face: Detected) -> Aligned:
        """One of them, cut out; `pixels` may be larger than what `detect` saw, and `face` is then scaled with it."""
        ...

    def encode(self, chips: NDArray[np.uint8]) -> Vectors:
        """(n, side, side, 3) chips to (n, dim) float32; one thread calls at a time."""
        ...
