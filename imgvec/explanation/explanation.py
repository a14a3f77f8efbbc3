"""An explanation: the arrays, and the ways to look at them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgvec.errors import TargetError, UsageError
from imgvec.explanation import drawing, page
from imgvec.explanation.matching import Array
from imgvec.home import at_home
from imgvec.images.squares import Seen


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two pictures."""

    name: str
    picture: Image.Image = field(repr=False)
    """Upright and RGB."""
    seen: Seen
    """x0, y0, x1, y1 in its pixels: what the encoder looks at. The rest was cropped away, and has no part in the score.
    """
    heat: Array = field(repr=False)
    """(rows, columns) over `seen`, not negative, with the sum 1: where the other picture has the same thing."""
    shares: Array = field(repr=False)
    """(rows, columns) over `seen`: what each part adds to the score where the explanation is `additive`, and then the
    sum is the score; else what the score loses without it, which has no sum to speak of."""

    def box(self, row: int, column: int, grid: tuple[int, int] | None = None) -> Seen:
        """x0, y0, x1, y1 in pixels of the picture: a cell of `heat`, or of another grid over `seen`."""
        rows, columns = grid or self.heat.shape
        x0, y0, x1, y1 = self.seen
        width, height = (x1 - x0) / columns, (y1 - y0) / rows
        return x0 + column * width, y0 + row * height, x0 + (column + 1) * width, y0 + (row + 1) * height

    def share_of_heat(self, box: Seen) -> float:
        """How much of the heat lies in a box of pixels, from 0 to 1."""
        x0, y0, x1, y1 = self.seen
        rows, columns = self.heat.shape
        down = _covered(rows, (box[1] - y0) / (y1 - y0) * rows, (box[3] - y0) / (y1 - y0) * rows)
        across = _covered(columns, (box[0] - x0) / (x1 - x0) * columns, (box[2] - x0) / (x1 - x0) * columns)
        return float(down @ self.heat @ across)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "size": [*self.picture.size],
            "seen": [round(each, 2) for each in self.seen],
            "heat": self.heat.tolist(),
            "shares": self.shares.tolist(),
        }


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why two pictures are alike to an encoder. A notebook shows it."""

    query: Side
    hit: Side
    score: float
    """The product of the two pictures' vectors, as they were encoded for this: their cosine, for unit vectors."""
    method: Literal["tokens", "occlusion"]
    """By what the model says of each patch, or by what the score loses without each region."""
    additive: bool
    """Whether `shares` add up to the score: they do where the vector is the mean of the patches. A class token is not a
    sum over patches, so there `shares` say what the score loses without each region."""
    mirrored: bool
    """Whether the hit matches better as its mirror image."""
    pairs: NDArray[np.int64] = field(repr=False)
    """(n, 2): patches of the query and of the hit that are each other's nearest, counted row by row, the hottest
    first; none by occlusion."""
    similarities: Array = field(repr=False)
    """(n,): how alike each pair is, with the patches around it, from -1 to 1."""

    def pair_boxes(self) -> list[tuple[Seen, Seen]]:
        """The pairs as boxes in pixels of the two pictures."""
        return [
            (
                self.query.box(*divmod(int(first), self.query.heat.shape[1])),
                self.hit.box(*divmod(int(second), self.hit.heat.shape[1])),
            )
            for first, second in self.pairs
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: all but the pictures."""
        boxes = [
            {"query": [round(x, 2) for x in first], "hit": [round(x, 2) for x in second], "similarity": float(similar)}
            for (first, second), similar in zip(self.pair_boxes(), self.similarities, strict=True)
        ]
        return {
            "score": self.score,
            "method": self.method,
            "additive": self.additive,
            "mirrored": self.mirrored,
            "query": self.query.to_dict(),
            "hit": self.hit.to_dict(),
            "pairs": boxes,
        }

    def image(self) -> Image.Image:
        """Both pictures side by side with their heat, and numbers on the best pairs of patches."""
        return drawing.drawn(self)

    def html(self) -> str:
        """A page of its own, without anything from elsewhere."""
        return page.html(self)

    def save(self, path: str | Path) -> Path:
        """Write it as a picture (.png) or a page (.html); returns where it is.

        Raises `UsageError` for another suffix, `TargetError`.
        """
        file = at_home(path)
        kind = file.suffix.lower()
        if kind not in (".png", ".html"):
            raise UsageError(f"{path}: an explanation is written as .png or .html")
        try:
            if kind == ".png":
                self.image().save(file)
            else:
                file.write_text(self.html(), encoding="utf-8")
        except OSError as exc:
            raise TargetError(f"{file} cannot be written: {exc.strerror or exc}") from exc
        return file

    def _repr_html_(self) -> str:
        return page.figure(self)


def _covered(cells: int, start: float, end: float) -> NDArray[np.float64]:
    """How much of each of a row of cells lies between two places, from 0 to 1."""
    at = np.arange(cells)
    found: NDArray[np.float64] = np.clip(np.minimum(at + 1, end) - np.maximum(at, start), 0, 1)
    return found
