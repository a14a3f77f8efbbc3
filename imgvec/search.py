"""Similar images: every form of a query to a vector, and vectors to hits.

Forms of a query, in the order in which they are recognised:

- `bytes`: an encoded image; `PIL.Image.Image`: an image;
- an array of one dimension, or a sequence of numbers: a vector of the collection's dimension;
- an array of two or three dimensions: an image, (H, W), (H, W, 3) or (H, W, 4), uint8 or floats in [0, 1];
- a `Path`: an image file; a `str`: `id:HEX`, a stored row; else the path of an existing file; else a text, where the
  encoder has a text side. A URL is refused: queries are not fetched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgvec.errors import QueryError, UnreadableImage
from imgvec.filters import FieldType, Filter, render
from imgvec.images import DecodePolicy, FileReader, as_image, decode
from imgvec.images.fetch import without_userinfo
from imgvec.sources import IMAGE_SUFFIXES, present
from imgvec.vectors import Vectors

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder

Query = str | Path | bytes | Image.Image | NDArray[Any] | Sequence[float]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
STORED = "id:"
"""What a text query begins with that names a stored row."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One result of a search."""

    id: str
    score: float
    """Similarity, higher is better whatever the metric: the cosine for unit vectors."""
    uri: str
    fields: Mapping[str, Any]
    """The other output fields, by name."""
    distance: float
    """What Milvus answered: for COSINE and IP the similarity, for L2 the squared Euclidean distance."""


class Found(Protocol):
    """One hit as the store answers it."""

    @property
    def id(self) -> str: ...
    @property
    def distance(self) -> float: ...
    @property
    def score(self) -> float: ...
    @property
    def fields(self) -> Mapping[str, Any]: ...


class SearchStore(Protocol):
    """What searching needs of a store."""

    @property
    def dim(self) -> int: ...
    @property
    def fields(self) -> Mapping[str, FieldType]: ...
    @property
    def dynamic(self) -> bool: ...
    def check_same(self) -> None: ...
    def search(
        self,
        vectors: Vectors,
        *,
        limit: int,
        filter: str = "",
        output_fields: Sequence[str] = (),
        params: Mapping[str, Any] | None = None,
        consistency_level: str | None = None,
    ) -> Sequence[Sequence[Found]]: ...
    def get(
        self, ids: Sequence[str], *, output_fields: Sequence[str] = (), with_vector: bool = False
    ) -> Mapping[str, Mapping[str, Any]]: ...


class Searcher:
    """Searches one collection; `encoder` is called when the first query needs it, since loading one takes seconds."""

    def __init__(
        self,
        store: SearchStore,
        encoder: Callable[[], Encoder],
        *,
        max_pixels: int,
        max_bytes: int,
        decoding: DecodePolicy | None = None,
    ) -> None:
        self._store, self._encoder = store, encoder
        self._max_pixels, self._max_bytes = max_pixels, max_bytes
        self._decoding = decoding

    def search_many(
        self,
        queries: Iterable[Query],
        *,
        limit: int = 10,
        offset: int = 0,
        where: Filter | str | None = None,
        min_score: float | None = None,
        output_fields: Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        consistency_level: str | None = None,
    ) -> list[list[Hit]]:
        """The hits of each query, best first, equal scores in the order of their ids.

        All images go through the encoder in its batches, and all vectors to Milvus in one call. `offset` skips that
        many hits: the hits before it are fetched too and cut off here, because Milvus's own offset is unstable over
        equal scores. `output_fields` None gives every scalar field. `params` are the index's search parameters.
        """
        if limit < 1:
            raise QueryError(f"limit = {limit} is refused: give at least 1")
        if offset < 0:
            raise QueryError(f"offset = {offset} is refused: give at least 0")
        vectors, encoded = self._vectors(queries)
        if not len(vectors):
            return []
        expression = render(where, self._store.fields, dynamic=self._store.dynamic)
        wanted = self._output_fields(output_fields)
        answers = self._store.search(
            vectors,
            limit=offset + limit,
            filter=expression,
            output_fields=wanted,
            params=params,
            consistency_level=consistency_level,
        )
        if encoded:
            # afterwards, so that nothing can come between: the answer was of the collection that the encoder is for
            self._store.check_same()
        hits = [[_hit(found) for found in answer[offset:]] for answer in answers]
        if min_score is not None:
            hits = [[hit for hit in answer if hit.score >= min_score] for answer in hits]
        return hits

    def vectors(self, queries: Iterable[Query]) -> Vectors:
        """(n, dim) float32 vectors of the queries, in their order; raises `QueryError` and `UnreadableImage`."""
        vectors, encoded = self._vectors(queries)
        if encoded:
            self._store.check_same()
        return vectors

    def _vectors(self, queries: Iterable[Query]) -> tuple[Vectors, bool]:
        """The vectors, and whether the encoder made any of them."""
        if isinstance(queries, str | bytes | Path | Image.Image):
            raise QueryError("search_many takes a sequence of queries; search takes one")
        forms = [self._form(query) for query in queries]
        vectors = np.empty((len(forms), self._store.dim), np.float32)
        # one batch for each kind, then each vector back to its query's place
        for kind, encode in (("image", self._images), ("text", self._texts), ("id", self._stored)):
            places = [i for i, form in enumerate(forms) if form[0] == kind]
            if places:
                vectors[places] = encode([forms[i][1] for i in places])
        for i, (kind, value) in enumerate(forms):
            if kind == "vector":
                vectors[i] = value
        return vectors, any(kind in ("image", "text") for kind, _ in forms)

    def _form(self, query: Query) -> tuple[str, Any]:
        if isinstance(query, bytes | bytearray | memoryview):
            return "image", self._decoded(bytes(query), "<bytes>")
        if isinstance(query, Image.Image):
            return "image", as_image(query, max_pixels=self._max_pixels, policy=self._decoding).image
        if isinstance(query, Path):
            return "image", self._file(query)
        if isinstance(query, str):
            return self._text_form(query)
        try:
            array = np.asarray(query)
        except ValueError as exc:
            raise QueryError(f"a {type(query).__name__} is no query: {exc}") from exc
        if array.ndim == 1 and array.dtype.kind in "fiu":
            if len(array) != self._store.dim:
                raise QueryError(f"the vector has {len(array)} dimensions, the collection's have {self._store.dim}")
            return "vector", array
        if array.ndim in (2, 3):
            return "image", as_image(array, max_pixels=self._max_pixels, policy=self._decoding).image
        raise QueryError(
            f"a {type(query).__name__} is no query: give a path, bytes, a PIL image, an array, a vector or a text"
        )

    def _text_form(self, query: str) -> tuple[str, Any]:
        if query.startswith(STORED):
            return "id", query.removeprefix(STORED)
        path = Path(query)
        try:
            path = _as_present(path)
            is_path = path.exists()
        except (OSError, ValueError, RuntimeError):  # too long a name, a NUL, nobody's home: some text
            is_path = False
        if is_path:
            return "image", self._file(path)
        if _URL.match(query):
            # fetching one for whoever asks would let him reach what only this machine can
            url = without_userinfo(query)
            raise QueryError(f"{url!r} is a URL, and queries are not fetched: give the image's path, or its bytes")
        # a mistyped path must not become a search for its own words
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise UnreadableImage(query, "missing", "no such file")
        if not self._encoder().supports_text:
            model = self._encoder().binding.model
            raise QueryError(f"{query!r} is no file, and {model} has no text side: search by an image, or use CLIP")
        return "text", query

    def _file(self, path: Path) -> Image.Image:
        # a link that somebody names is meant; a reader itself follows none
        path = _as_present(path)
        return self._decoded(FileReader(path.resolve(), str(path)).read(self._max_bytes), str(path))

    def _decoded(self, data: bytes, uri: str) -> Image.Image:
        size = self._encoder().binding.image_size
        return decode(data, uri=uri, max_pixels=self._max_pixels, min_side=size, policy=self._decoding).image

    def _images(self, images: list[Image.Image]) -> Vectors:
        return self._encoder().encode_images(images)

    def _texts(self, texts: list[str]) -> Vectors:
        return self._encoder().encode_texts(texts)

    def _stored(self, ids: list[str]) -> Vectors:
        rows = self._store.get(ids, with_vector=True)
        for id_ in ids:
            if id_ not in rows:
                raise QueryError(f"no row has the id {id_!r}")
        return np.stack([rows[id_]["vector"] for id_ in ids])

    def _output_fields(self, given: Sequence[str] | None) -> list[str]:
        known = self._store.fields
        if given is None:
            return [*(name for name in known if name != "id"), *(["$meta"] if self._store.dynamic else [])]
        if not self._store.dynamic:
            for name in given:
                if name not in known:
                    raise QueryError(f"no field {name!r} to output (fields: {', '.join(known)})")
        return list(dict.fromkeys([*given, "uri"]))


def _as_present(path: Path) -> Path:
    """The path of the file that is called so, however the accents of its name are composed."""
    path = path.expanduser()
    if os.path.exists(path):  # noqa: PTH110 - which knows no error, whatever the name
        return path
    there = absolute = str(path.absolute())
    try:
        there = present(absolute)
    except ValueError as exc:
        raise UnreadableImage(str(path), "unusable name", f"{exc}: name one exactly") from exc
    return path if there == absolute else Path(there)


def _hit(found: Found) -> Hit:
    fields = dict(found.fields)
    return Hit(found.id, found.score, fields.pop("uri", ""), fields, found.distance)
