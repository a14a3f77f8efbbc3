"""The faces of query pictures, with their vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from PIL import Image

from imgvec.errors import QueryError, SourceError, UnreadableImage
from imgvec.faces.encoder import MANY_FACES, NO_FACE
from imgvec.faces.finding import Face, find, model_of
from imgvec.rows import BOX, VECTOR
from imgvec.search.forms import Crop, ImageBytes, ImageFile, Pixels, StoredId
from imgvec.store import Reads
from imgvec.vectors import Vectors

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder

Asked: TypeAlias = ImageFile | ImageBytes | Pixels | Crop | StoredId
"""A picture, or a stored face by its row's id."""
Refusal: TypeAlias = QueryError | UnreadableImage | SourceError

MOST_TURNED = 0.35
"""Of an enrolled face: the base of the nose is about as far before the eyes as that times the tangent of the angle, in
distances between the eyes, so this is some 45 degrees."""
LEAST_WIDTH = 40
"""Pixels of an enrolled face: a smaller one is enlarged fourfold for the network."""
_AT_ONCE = 32


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A face with its vector."""

    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in pixels of the upright picture."""
    score: float | None
    """The detector's; None for a stored face."""
    turned: float
    vector: Vectors
    """(dim,)"""


class Opens(Protocol):
    """`Searcher.picture`."""

    def __call__(self, form: ImageFile | ImageBytes | Pixels | Crop, /) -> Image.Image: ...


class Looker:
    """Finds and encodes the faces of pictures, several at once."""

    def __init__(self, store: Reads, encoder: Encoder, opens: Opens, threads: int) -> None:
        model = model_of(encoder)
        if model is None:
            raise QueryError(f"{store.name!r} is not a collection of faces: create one with `--definition faces`")
        self._store, self._encoder, self._opens, self._threads, self._model = store, encoder, opens, threads, model

    def faces(self, asked: Sequence[Asked], most: int) -> Iterator[tuple[Asked, list[Seen] | Refusal]]:
        """Each with its faces, the `most` largest, or with why it cannot be had."""
        for start in range(0, len(asked), _AT_ONCE):
            some = asked[start : start + _AT_ONCE]
            stored = self._stored([each for each in some if isinstance(each, StoredId)])
            pictures = [each for each in some if not isinstance(each, StoredId)]
            found = iter(self._found(pictures, most))
            for each in some:
                yield each, stored[each.id] if isinstance(each, StoredId) else next(found)

    def one(self, asked: Sequence[Asked]) -> Iterator[tuple[Asked, Seen | Refusal]]:
        """Each with the one face in it, or with why there is not one."""
        for each, faces in self.faces(asked, 2):
            if not isinstance(faces, list):
                yield each, faces
            elif len(faces) != 1:
                yield each, QueryError(f"{called(each)}: {MANY_FACES if faces else NO_FACE}")
            else:
                yield each, faces[0]

    def _found(
        self, pictures: Sequence[ImageFile | ImageBytes | Pixels | Crop], most: int
    ) -> list[list[Seen] | Refusal]:
        # an image in memory is its caller's, who may have given it twice: no two threads may open it
        alone = not all(isinstance(each, ImageFile | ImageBytes) for each in pictures)
        with ThreadPoolExecutor(1 if alone else self._threads, "imgvec-faces") as pool:
            faces = list(pool.map(partial(self._of_picture, most=most), pictures))
        chips = [face.aligned.chip.transpose(2, 0, 1) for each in faces if isinstance(each, list) for face in each]
        vectors = iter(self._encoder.encode(np.ascontiguousarray(np.stack(chips))) if chips else ())
        return [
            [Seen(face.box, face.score, face.aligned.turned, next(vectors)) for face in each]
            if isinstance(each, list)
            else each
            for each in faces
        ]

    def _of_picture(self, picture: ImageFile | ImageBytes | Pixels | Crop, most: int) -> list[Face] | Refusal:
        try:
            image = self._opens(picture)
        except (QueryError, UnreadableImage, SourceError) as exc:
            return exc
        return find(self._model, image, *image.size, most)

    def _stored(self, asked: Sequence[StoredId]) -> dict[str, list[Seen] | Refusal]:
        rows = self._store.get([each.id for each in asked], output_fields=[BOX], with_vector=True) if asked else {}
        found: dict[str, list[Seen] | Refusal] = {}
        for each in asked:
            if (row := rows.get(each.id)) is None:
                found[each.id] = QueryError(f"no row with id {each.id!r}")
            else:
                x0, y0, x1, y1 = row[BOX]
                found[each.id] = [Seen((x0, y0, x1, y1), None, 0.0, row[VECTOR])]
        return found


def fit_to_enrol(each: Asked, face: Seen) -> QueryError | None:
    """Why a face is not one to know somebody by; None where it is."""
    if face.score is None:
        return None
    if face.turned > MOST_TURNED:
        return QueryError(f"{called(each)}: the face is turned to the side: take one that is seen from the front")
    if (width := face.box[2] - face.box[0]) < LEAST_WIDTH:
        return QueryError(f"{called(each)}: the face is {width} pixels wide: take one of at least {LEAST_WIDTH}")
    return None


def called(each: Asked) -> str:
    """What a picture is called in a message."""
    if isinstance(each, ImageFile):
        return str(each.path)
    if isinstance(each, StoredId):
        return f"id:{each.id}"
    if isinstance(each, ImageBytes):
        return each.name or "<bytes>"
    return f"a part of {called(each.form)}" if isinstance(each, Crop) else "<pixels>"
