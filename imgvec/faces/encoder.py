"""A model of faces as the encoder of a collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image

from imgvec.encoders.callables import CallableEncoder
from imgvec.encoders.protocol import Pixels
from imgvec.errors import QueryError
from imgvec.faces.finding import ALIGNED, find
from imgvec.faces.model import FaceModel
from imgvec.vectors import Vectors


class FaceEncoder(CallableEncoder):
    """The vectors of faces. Implements `encoders.protocol.Encoder`.

    An ingest gives it faces that are aligned already; of any other picture it takes the one face in it, and raises
    `QueryError` where there is none, or more than one.
    """

    def __init__(self, model: FaceModel, *, batch_size: int = 16) -> None:
        super().__init__(
            model.encode,
            name=model.name,
            version=model.version,
            dim=model.dim,
            image_size=model.side,
            fit="squash",
            normalize=model.unit,
            batch_size=batch_size,
        )
        self.faces = model
        self.least_side = model.seen
        """What a query's shorter side is needed at."""

    @property
    def prepare(self) -> Callable[[Image.Image], Pixels]:
        """An aligned face, or a picture with one face, to (3, side, side) uint8."""
        return partial(_chip, self.faces)

    def encode_prepared(self, prepared: Sequence[Pixels]) -> Vectors:
        """As `protocol.TakesPrepared`: a picture without the one face is then refused alone, and not its batch."""
        starts = range(0, len(prepared), self.batch_size)
        batches = [prepared[start : start + starts.step] for start in starts]
        return self._joined([self._turns.shared(batch, self._pictures, self.batch_size) for batch in batches])


def _chip(model: FaceModel, image: Image.Image) -> Pixels:
    """(3, side, side) uint8"""
    if image.info.get(ALIGNED) == model.name:
        chip = np.asarray(image)
    else:
        faces = find(model, image, *image.size, most=2)
        if len(faces) != 1:
            raise QueryError(NO_FACE if not faces else MANY_FACES)
        chip = faces[0].aligned.chip
    return np.ascontiguousarray(chip.transpose(2, 0, 1))


NO_FACE = (
    "no face was found in the picture: it should be seen from the front, and not be much smaller than the model looks "
    "for"
)
MANY_FACES = "several faces are in the picture: crop it to the one that is meant"
