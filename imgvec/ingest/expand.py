"""The stage that makes views of a picture: each becomes a row with a vector of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from imgvec.ingest.items import Row
from imgvec.rows import AT_MS, BOX, ID, IMAGE_ID, VIEW, ViewKind, view_id

if TYPE_CHECKING:
    import PIL.Image

    from imgvec.encoders.protocol import Tokens
    from imgvec.images.squares import Seen

Box = tuple[int, int, int, int]

LEAST_CROP = 16
"""Pixels of a crop's shorter side: of anything smaller an encoder sees nothing but its enlargement."""


@dataclass(frozen=True, slots=True)
class View:
    """One view of a picture."""

    kind: ViewKind
    box: Box
    """x0, y0, x1, y1 in pixels of the upright picture."""
    image: PIL.Image.Image
    """What is to encode."""
    at_ms: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What its row has of its own besides."""


class Expander(Protocol):
    """Makes a picture's views; picklable, so that it can run in another process.

    Equal pictures have equal views, in equal order: a row's id is made of its view's kind and its place among those of
    its kind.
    """

    @property
    def most(self) -> int:
        """Views that a picture has at most."""
        ...

    @property
    def own_fields(self) -> frozenset[str]:
        """What rows have beside the fields of every view: filled in here, and by no metadata."""
        ...

    def least_side(self, side: int) -> int:
        """The side that the whole picture is needed at, for views that are made small to `side` pixels."""
        ...

    def __call__(self, image: PIL.Image.Image, width: int, height: int) -> Sequence[View]:
        """The views of an upright RGB image, which may be smaller than the picture of `width` x `height` pixels."""
        ...


@runtime_checkable
class Looks(Protocol):
    """An `Expander` whose views depend on what the encoder says of the picture's patches, where it can say that."""

    def of_tokens(
        self, image: PIL.Image.Image, width: int, height: int, tokens: Tokens, seen: Seen | None
    ) -> Sequence[View]:
        """As `Expander.__call__`, by the tokens of `image`, of which the encoder saw `seen`; None for all of it."""
        ...


@dataclass(frozen=True, slots=True)
class Grid:
    """The whole picture and, for each n of `sizes`, n x n crops that half overlap.

    A crop is 2/(n + 1) of the sides, the next one 1/(n + 1) further: rows from the top, each from the left. Where crops
    would be smaller than `LEAST_CROP` pixels there are none of that n.
    """

    sizes: tuple[int, ...]
    """Ascending, so that what a small picture lacks is the end of the list: the others keep their ids."""

    own_fields = frozenset[str]()

    @property
    def most(self) -> int:
        """As `Expander.most`."""
        return 1 + sum(n * n for n in self.sizes)

    def least_side(self, side: int) -> int:
        """As `Expander.least_side`."""
        return math.ceil(side * (max(self.sizes) + 1) / 2)

    def boxes(self, width: int, height: int) -> list[Box]:
        """The places of the crops in a picture of that size."""
        found = []
        for n in self.sizes:
            if 2 * min(width, height) < LEAST_CROP * (n + 1):
                break
            across = [round(i * width / (n + 1)) for i in range(n + 2)]
            down = [round(i * height / (n + 1)) for i in range(n + 2)]
            found += [(across[x], down[y], across[x + 2], down[y + 2]) for y in range(n) for x in range(n)]
        return found

    def __call__(self, image: PIL.Image.Image, width: int, height: int) -> list[View]:
        """As `Expander`."""
        views = [View("whole", (0, 0, width, height), image)]
        for box in self.boxes(width, height):
            views.append(View("region", box, cut(image, box, width, height)))
        return views


def rows_of(row: Row, views: Sequence[View]) -> list[Row]:
    """A row for each view of the picture whose rows have `row` in common."""
    ordinals = Counter[str]()
    rows = []
    for view in views:
        place = {IMAGE_ID: row[ID], VIEW: view.kind, BOX: list(view.box), AT_MS: view.at_ms}
        rows.append({**row, **place, **view.fields, ID: view_id(row[ID], view.kind, ordinals[view.kind])})
        ordinals[view.kind] += 1
    return rows


def cut(image: PIL.Image.Image, box: Box, width: int, height: int) -> PIL.Image.Image:
    """The part of an image that is `box` in the picture of that size; at least a pixel."""
    across, down = image.width / width, image.height / height
    left, top = math.floor(box[0] * across), math.floor(box[1] * down)
    right, bottom = max(left + 1, math.ceil(box[2] * across)), max(top + 1, math.ceil(box[3] * down))
    return image.crop((left, top, min(right, image.width), min(bottom, image.height)))
