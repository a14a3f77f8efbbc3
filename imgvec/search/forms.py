"""The kinds of query, as frozen values.

    photos.search(ImageFile("query.jpg"))
    photos.search(Text("a red dress"))
    photos.search(Crop(ImageFile("street.jpg"), (120, 40, 380, 300)))
    photos.search(Like([(StoredId(liked), 1.0), (Text("at night"), 0.5), (StoredId(disliked), -0.5)]))

A form says what it is, so nothing is guessed: a `Text` is always searched for as text, even if a file has that name.
Code that passes on untrusted input must build forms, and never an `ImageFile` from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imgvec.errors import QueryError

if TYPE_CHECKING:
    from PIL import Image

Box: TypeAlias = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the upright picture, from its top left corner; x1 and y1 are just outside."""

STORED = "id:"
"""What a query that is guessed begins with where it names a stored row."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file on this machine."""

    path: str | Path

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | Path) or not str(self.path):
            raise QueryError(f"ImageFile takes the path of an image, not {self.path!r}")

    def to_dict(self) -> dict[str, Any]:
        return {"image": str(self.path)}


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """The bytes of an image file."""

    data: bytes = field(repr=False)
    name: str = field(default="", compare=False)
    """What errors call it."""

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes | bytearray | memoryview):
            raise QueryError(f"ImageBytes takes bytes, not {type(self.data).__name__}")
        object.__setattr__(self, "data", bytes(self.data))

    def to_dict(self) -> dict[str, Any]:
        return {"bytes": len(self.data), **({"name": self.name} if self.name else {})}


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """An image in memory: a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4) of uint8 or of floats from 0 to 1.

    A PIL image is turned upright by its EXIF orientation; an array is taken to be upright. Two are equal only if they
    are one.
    """

    image: Image.Image | NDArray[Any] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        if isinstance(self.image, np.ndarray):
            return {"pixels": [*self.image.shape[1::-1]]}
        return {"pixels": [*self.image.size]}


@dataclass(frozen=True, slots=True)
class Text:
    """Words, for an encoder with a text side (CLIP, SigLIP)."""

    words: str
    guessed: bool = field(default=False, repr=False, compare=False)
    """Whether somebody gave a string that is neither a file nor an id: an error says so then."""

    def __post_init__(self) -> None:
        if not isinstance(self.words, str) or not self.words.strip():
            raise QueryError(f"Text takes a non-empty string, not {self.words!r}")
        if not _is_unicode(self.words):
            raise QueryError(f"Text takes Unicode text, not {self.words!r}")

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.words}


@dataclass(frozen=True, slots=True)
class StoredId:
    """A row of the collection, by its id: its stored vector is the query, and no encoder is loaded."""

    id: str

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id or not _is_unicode(self.id):
            raise QueryError(f"StoredId takes the id of a row, not {self.id!r}")

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id}


@dataclass(frozen=True, slots=True, eq=False)
class VectorQuery:
    """A vector of the collection's dimension, from anywhere, kept as (dim,) float32.

    Two are equal only if they are one.
    """

    vector: ArrayLike = field(repr=False)

    def __post_init__(self) -> None:
        array = as_array(self.vector, "vector")
        if array.ndim != 1 or array.dtype.kind not in "fiu":
            raise QueryError(f"an array of {array.dtype} and shape {array.shape} is not a vector: give (dim,) numbers")
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which no search takes
            object.__setattr__(self, "vector", array.astype(np.float32))

    @property
    def array(self) -> NDArray[np.float32]:
        """(dim,)"""
        return np.asarray(self.vector, np.float32)

    def to_dict(self) -> dict[str, Any]:
        return {"vector": len(self.array)}


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a picture: `box` of the upright picture of `form`, cut out before it is encoded.

    A crop of a stored id reopens the picture that its row was made from, if it is still available.
    """

    form: ImageFile | ImageBytes | Pixels | StoredId | Crop
    box: Box

    def __post_init__(self) -> None:
        if not isinstance(self.form, ImageFile | ImageBytes | Pixels | StoredId | Crop):
            raise QueryError(f"a {type(self.form).__name__} has no picture to crop")
        try:
            box: tuple[Any, ...] = tuple(self.box)
        except TypeError:
            raise QueryError(f"the box must be x0, y0, x1, y1 in whole pixels, not {self.box!r}") from None
        if len(box) != 4 or not all(isinstance(side, Integral) and not isinstance(side, bool) for side in box):
            raise QueryError(f"the box must be x0, y0, x1, y1 in whole pixels, not {box}")
        x0, y0, x1, y1 = (int(side) for side in box)
        if not (0 <= x0 < x1 and 0 <= y0 < y1):
            raise QueryError(f"the box must have 0 <= x0 < x1 and 0 <= y0 < y1, not {box}")
        object.__setattr__(self, "box", (x0, y0, x1, y1))

    def to_dict(self) -> dict[str, Any]:
        return {"crop": self.form.to_dict(), "box": [*self.box]}


@dataclass(frozen=True, slots=True)
class Like:
    """A weighted mix of forms: more like those of a positive weight, less like those of a negative one.

    The unit vectors of the forms are multiplied by their weights and added up, and the sum is scaled to unit length:
    the simplest form of relevance feedback (Rocchio 1971). A mix that cancels itself out has no direction and is
    refused when it is searched for.
    """

    parts: Sequence[tuple[Form, float]]

    def __post_init__(self) -> None:
        try:
            parts: tuple[tuple[Any, Any], ...] = tuple((form, weight) for form, weight in self.parts)
        except (TypeError, ValueError):
            raise QueryError(f"Like takes (form, weight) pairs, not {self.parts!r}") from None
        if not parts:
            raise QueryError("Like takes at least one (form, weight)")
        for form, weight in parts:
            if not isinstance(form, FORMS):
                raise QueryError(f"a {type(form).__name__} is not a query form: Like takes (form, weight) pairs")
            if isinstance(weight, bool) or not isinstance(weight, Real) or not _is_weight(weight):
                raise QueryError(f"the weight must be a number other than 0, not {weight!r}")
        object.__setattr__(self, "parts", tuple((form, float(weight)) for form, weight in parts))

    def to_dict(self) -> dict[str, Any]:
        return {"like": [{**form.to_dict(), "weight": weight} for form, weight in self.parts]}


def as_array(value: Any, what: str = "query") -> NDArray[Any]:
    """What NumPy makes of it, as it is; raises `QueryError` where it makes nothing of it."""
    try:
        return np.asarray(value)
    except Exception as exc:  # of its own kind: a tensor that wants gradients, or lies on a GPU
        raise QueryError(f"a {type(value).__name__} is not a {what}: {exc}") from exc


def _is_unicode(text: str) -> bool:
    """Bytes of a name or an argument that are not UTF-8 come as lone surrogates, which nothing can encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_weight(number: Any) -> bool:
    """Whether sums and squares of such weights are finite; NaN is none."""
    return bool(0 < abs(number) <= 1e100)


Form: TypeAlias = ImageFile | ImageBytes | Pixels | Text | StoredId | VectorQuery | Crop | Like
FORMS = (ImageFile, ImageBytes, Pixels, Text, StoredId, VectorQuery, Crop, Like)
