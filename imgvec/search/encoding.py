"""Forms to vectors: pictures and texts through the encoder in its batches, stored rows from Milvus."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgvec.errors import QueryError, UnreadableImage
from imgvec.images import DecodePolicy, FileReader, as_image, decode
from imgvec.images.readers import path_trouble
from imgvec.rows import BOX, VECTOR, VIEW
from imgvec.search.batches import encoded
from imgvec.search.failing import Failed, Noting
from imgvec.search.forms import Crop, Form, ImageBytes, ImageFile, Like, Pixels, StoredId, Text, VectorQuery
from imgvec.search.paths import as_present, is_url, no_url
from imgvec.search.stages import Stages
from imgvec.store import Reads
from imgvec.vectors import MIN_NORM, Vectors, problem

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder

Picture: TypeAlias = ImageFile | ImageBytes | Pixels | Crop
_PICTURES = (ImageFile, ImageBytes, Pixels, Crop)
Leaf: TypeAlias = Picture | Text | StoredId | VectorQuery
"""A form that has a vector of its own."""

VANISHES = 1e-3
"""A mix is refused whose length is below this share of its weights': an encoder in bfloat16 is no more exact than that,
so what is left is noise."""


class Reopen(Protocol):
    """Opens a stored picture again."""

    def __call__(self, uri: str, *, hashed: str | None) -> bytes:
        """The bytes of the image file that is stored under `uri`; raises `SourceError` or `UnreadableImage`.

        With `hashed`, its row's `content_hash`, another picture that bears the name by now is refused.
        """
        ...


class FormEncoder:
    """Makes the vectors of forms; `encoder` gives that of a vector's name, and is called when the first form needs it,
    since loading one takes seconds.

    Pictures are read so large as the encoder that looks at the most pixels, of `least_side`, wants them: as an ingest
    reads them. Files are decoded in so many `threads`.
    """

    def __init__(
        self,
        store: Reads,
        encoder: Callable[[str], Encoder],
        *,
        max_pixels: int,
        max_bytes: int,
        decoding: DecodePolicy | None = None,
        reopen: Reopen | None = None,
        least_side: int = 0,
        threads: int = 1,
    ) -> None:
        self._store, self._reopen, self._least_side, self._threads = store, reopen, least_side, threads
        self._encoder = encoder
        self._max_pixels, self._max_bytes, self._decoding = max_pixels, max_bytes, decoding

    def vectors(
        self, forms: Sequence[Form], stages: Stages, vector: str = VECTOR, failed: Failed | None = None
    ) -> tuple[Vectors, bool]:
        """(n, dim) float32 vectors in the order of the forms, and whether the encoder made any of them.

        They are of the kind of the stored `vector` of that name: its encoder's, its stored rows', its length.

        Every picture goes through the encoder in its batches, whatever form it is part of, and so does every text.
        Raises `QueryError` and `UnreadableImage`. Where `failed` is given, that is told of the forms that cannot be
        asked; they have no row, and what remains is what Milvus takes.
        """
        owners = [number for number, form in enumerate(forms) for _ in _leaves(form)]
        leaves = [leaf for form in forms for leaf in _leaves(form)]
        noting = Noting(failed, owners)
        found = self._leaf_vectors(leaves, stages, vector, noting)
        if failed is not None or any(isinstance(form, Like) for form in forms):
            rows, dim = iter(found), found.shape[1]
            mixed = np.zeros((len(forms), dim), np.float32)
            for number, form in enumerate(forms):
                own = [next(rows) for _ in _leaves(form)]
                with noting.of(number):
                    if failed is None or number not in failed:
                        mixed[number] = _mixed(form, iter(own))
                        if failed is not None and (wrong := problem(mixed[number : number + 1], dim, unit=False)):
                            raise QueryError(wrong.replace("vector 0", "the vector"))
            found = mixed if not failed else np.delete(mixed, list(failed), axis=0)
        return found, needs_encoder(forms)

    def stored_picture(self, row: Mapping[str, Any], min_side: int | None) -> Image.Image:
        """The picture of a row, upright and RGB; where `min_side` is given, perhaps smaller, its short side at least
        twice that. Raises `QueryError`, `SourceError` and `UnreadableImage` if it cannot be opened.
        """
        if self._reopen is None:
            raise QueryError(f"{row['uri']} cannot be reopened here")
        data = self._reopen(row["uri"], hashed=row.get("content_hash") or None)
        return self._decoded(data, row["uri"], min_side)

    def picture(self, form: Picture | StoredId) -> Image.Image:
        """Upright, RGB and in its own size; of a row that is a view, that part of it.

        Raises `QueryError`, `SourceError` and `UnreadableImage`.
        """
        return self._image(form, None)

    def _leaf_vectors(self, leaves: Sequence[Leaf], stages: Stages, vector: str, noting: Noting) -> Vectors:
        """(leaves, dim); the rows of what failed hold anything."""
        dim = self._store.vectors[vector].dim
        vectors = np.zeros((len(leaves), dim), np.float32)
        pictures = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, _PICTURES)}
        texts = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, Text)}
        stored = {i: leaf.id for i, leaf in enumerate(leaves) if isinstance(leaf, StoredId)}
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, VectorQuery):
                with noting(i):
                    vectors[i] = _checked(leaf, dim)
        if stored:
            with stages("lookup"):
                rows = self._store.get(list(stored.values()), output_fields=[vector])
            for i, id_ in stored.items():
                with noting(i):
                    if id_ not in rows:
                        raise _no_row(id_)
                    vectors[i] = rows[id_][vector]
        if not pictures and not texts:
            return vectors
        with stages("load"):
            encoder = self._encoder(vector)
        if not encoder.supports_text:
            for i, leaf in texts.items():
                with noting(i):
                    raise _without_text(leaf, encoder.binding.model)
            texts = {}
        # an encoder of faces has to find them first, in a picture far larger than what it makes vectors of
        side = max(self._least_side, getattr(encoder, "least_side", encoder.binding.image_size))
        opened = partial(self._image, min_side=side)
        for some, found in encoded(pictures, opened, encoder, stages, noting, threads=self._threads):
            vectors[some] = found
        if texts:
            with stages("encode"):
                vectors[list(texts)] = encoder.encode_texts([leaf.words for leaf in texts.values()])
        return vectors

    def _image(self, form: Picture | StoredId, min_side: int | None) -> Image.Image:
        """Upright and RGB; whole, whatever its size, where `min_side` is None."""
        if isinstance(form, Crop):
            return self._cropped(form)
        if isinstance(form, Pixels):
            return as_image(form.image, max_pixels=self._max_pixels, policy=self._decoding).image
        if isinstance(form, ImageBytes):
            return self._decoded(form.data, form.name or "<bytes>", min_side)
        if isinstance(form, ImageFile):
            return self._file(form, min_side)
        place = [] if self._store.most_views is None else [VIEW, BOX]
        row = self._store.get([form.id], output_fields=["uri", "content_hash", *place]).get(form.id)
        if row is None:
            raise _no_row(form.id)
        if place and row[VIEW] != "whole":
            return self.stored_picture(row, None).crop(tuple(row[BOX]))
        return self.stored_picture(row, min_side)

    def _cropped(self, form: Crop) -> Image.Image:
        image = self._image(form.form, None)
        if form.box[2] > image.width or form.box[3] > image.height:
            raise QueryError(f"the box {form.box} is not inside the picture, which is {image.width} x {image.height}")
        return image.crop(form.box)

    def _file(self, form: ImageFile, min_side: int | None) -> Image.Image:
        shown = str(form.path)
        try:
            path = as_present(Path(form.path))
            if is_url(shown) and not os.path.lexists(path):
                raise no_url(shown)
            # a link that somebody names is meant; a reader itself follows none
            real = os.path.realpath(path)
        except RuntimeError as exc:  # ~nobody
            raise UnreadableImage(shown, "missing", str(exc)) from exc
        except ValueError as exc:
            raise UnreadableImage(shown, *path_trouble(exc)) from exc
        return self._decoded(FileReader(real, str(path)).read(self._max_bytes), str(path), min_side)

    def _decoded(self, data: bytes, uri: str, min_side: int | None) -> Image.Image:
        return decode(data, uri=uri, max_pixels=self._max_pixels, min_side=min_side, policy=self._decoding).image


def needs_encoder(forms: Sequence[Form]) -> bool:
    """Whether any of them is a picture or a text, or a mix with one."""
    return any(not isinstance(leaf, StoredId | VectorQuery) for form in forms for leaf in _leaves(form))


def dims(forms: Sequence[Form]) -> set[int]:
    """The lengths of the vectors among them."""
    return {len(leaf.array) for form in forms for leaf in _leaves(form) if isinstance(leaf, VectorQuery)}


def _leaves(form: Form) -> Iterator[Leaf]:
    if isinstance(form, Like):
        for part, _ in form.parts:
            yield from _leaves(part)
    else:
        yield form


def _mixed(form: Form, rows: Iterator[Vectors]) -> Vectors:
    """The vector of a form, from the rows of its leaves in their order."""
    if not isinstance(form, Like):
        return next(rows)
    weighted = [
        weight * _unit(_mixed(part, rows), "a vector of length 0 cannot be part of a mix")
        for part, weight in form.parts
    ]
    least = VANISHES * sum(abs(weight) for _, weight in form.parts)
    mix = _unit(np.sum(weighted, axis=0), "the mix cancels out: change its weights", least)
    return mix.astype(np.float32)


def _unit(vector: NDArray[Any], problem: str, least: float = MIN_NORM) -> NDArray[np.float64]:
    wide = vector.astype(np.float64)
    length = float(np.linalg.norm(wide))
    if not length > least:  # NaN too
        raise QueryError(problem)
    return wide / length


def _checked(query: VectorQuery, dim: int) -> Vectors:
    if len(query.array) != dim:
        raise QueryError(f"the vector has dim {len(query.array)}, but the collection has dim {dim}")
    return query.array


def _without_text(form: Text, model: str) -> QueryError:
    if form.guessed:
        return QueryError(
            f"{form.words!r} is not a file, and {model} has no text side: search by an image, or use CLIP"
        )
    return QueryError(f"{model} has no text side: search by an image, or use CLIP")


def _no_row(id: str) -> QueryError:
    return QueryError(f"no row with id {id!r}")
