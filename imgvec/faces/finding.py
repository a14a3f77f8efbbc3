"""The faces of a picture: found at a bounded size, aligned at the size that it has, largest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from imgvec.errors import DefinitionError
from imgvec.faces.model import Aligned, Detected, FaceModel
from imgvec.ingest import View
from imgvec.rows import FACE_FIELDS, PERSON

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder

ALIGNED = "imgvec_face"
"""In the `info` of a PIL image that is an aligned face: the name of the model whose chip it is."""

MOST_ENLARGED = 2.0
"""A small picture is enlarged by no more than that before it is looked at: there is nothing more in it."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a picture."""

    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in pixels of the upright picture, inside it."""
    score: float
    """The detector's."""
    aligned: Aligned

    @property
    def width(self) -> int:
        return self.box[2] - self.box[0]

    def image(self, model: FaceModel) -> PIL.Image.Image:
        """The aligned face, marked as such."""
        made = PIL.Image.fromarray(self.aligned.chip)
        made.info[ALIGNED] = model.name
        return made


def find(model: FaceModel, image: PIL.Image.Image, width: int, height: int, most: int) -> list[Face]:
    """The `most` largest faces of an upright RGB image, of a picture of `width` x `height` pixels; largest first.

    They are looked for where the longer side has `model.seen` pixels, and aligned in the image as it is.
    """
    scale = min(model.seen / max(image.size), MOST_ENLARGED)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image if size == image.size else image.resize(size, PIL.Image.Resampling.BILINEAR, reducing_gap=3.0)
    found = model.detect(_pixels(small))
    whole = _pixels(image)
    there = np.array([image.width / size[0], image.height / size[1]])
    here = np.array([width / image.width, height / image.height])
    # equal pictures have equal faces in equal order: a row's id is made of its place among them
    largest = sorted(found, key=lambda face: (-_area(face), face.box))[:most]
    faces = []
    for face in largest:
        x0, y0, x1, y1 = np.array(face.box) * np.tile(there, 2)
        scaled = Detected((x0, y0, x1, y1), face.score, face.points * there)
        box = np.rint(np.array(scaled.box) * np.tile(here, 2)).clip(0, [width, height, width, height]).astype(int)
        if box[0] < box[2] and box[1] < box[3]:
            faces.append(Face((*box.tolist(),), float(face.score), model.align(whole, scaled)))
    return faces


@dataclass(frozen=True, slots=True)
class Finder:
    """The views of a picture that are its faces. Implements `ingest.Expander`."""

    model: FaceModel
    most: int
    """The largest ones, where there are more."""

    own_fields = frozenset(FACE_FIELDS)

    def least_side(self, side: int) -> int:  # noqa: ARG002  what the whole picture is seen at does not depend on it
        """As `ingest.Expander`."""
        return self.model.seen

    def __call__(self, image: PIL.Image.Image, width: int, height: int) -> Sequence[View]:
        """As `ingest.Expander`."""
        own: dict[str, Any] = {PERSON: ""}
        return [
            View("face", face.box, face.image(self.model), fields=own)
            for face in find(self.model, image, width, height, self.most)
        ]


def model_of(encoder: Encoder) -> FaceModel | None:
    """What finds the faces that it encodes; None for an encoder of other pictures."""
    found: FaceModel | None = getattr(getattr(encoder, "inner", encoder), "faces", None)
    return found


def check_encoder(of_faces: bool, encoder: Encoder) -> None:
    """Raise `DefinitionError` where rows are to be faces and the encoder is not one of faces, or the reverse."""
    if of_faces == (model_of(encoder) is not None):
        return
    model = encoder.binding.model
    if of_faces:
        raise DefinitionError(
            f"{model} does not find faces, which views.faces asks for: use an encoder that does, like faces:dlib",
            where="encoder.model",
        )
    raise DefinitionError(f"{model} makes vectors of faces: it needs views: {{faces: N}}", where="views")


def finder_of(encoder: Encoder, most: int) -> Finder:
    """The views of a collection of faces; raises as `check_encoder`."""
    check_encoder(True, encoder)
    model = model_of(encoder)
    assert model is not None
    return Finder(model, most)


def _pixels(image: PIL.Image.Image) -> Any:
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _area(face: Detected) -> float:
    x0, y0, x1, y1 = face.box
    return (x1 - x0) * (y1 - y0)
