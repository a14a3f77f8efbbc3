"""A collection as a LangChain vector store."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from uuid import uuid4

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from typing_extensions import Unpack

from imgvec import (
    Hit,
    ImageBytes,
    ImageCollection,
    ImageFile,
    Pixels,
    SearchOptions,
    Source,
    StoredId,
    Text,
    VectorQuery,
    field,
)
from imgvec.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

Picture: TypeAlias = "str | Path | bytes | Image.Image"
"""A path, the bytes of an image file, or a PIL image."""

_log = logging.getLogger(__name__)

URI = "uri"
_OF_VIEWS = ("image_id", "view", "box", "at_ms")
_PATH, _ID = "path of the picture", "id of the picture"  # no field of metadata can have a name with spaces


class ImageVectorStore(VectorStore):
    """A collection as a LangChain vector store.

    `content` names the text field that is a document's `page_content`; by default that is the picture's uri. `fields`
    names those that are its `metadata`; by default all, with `uri`, and for views `image_id`, `view`, `box` and
    `at_ms`. `names` says under which field a key of the metadata is stored that cannot be one, as `{"id": "number"}`.
    `picture` opens the picture of a document for `add_documents` and `add_texts`: a path, the bytes of a file or a PIL
    image. Without it these are refused, since a text is not a picture; `add_images` takes pictures.

    Searches take the options of `ImageCollection.search` as keywords (`where`, `min_score`, `vector`, …), on top of
    those that the store was made with; `k` is its `limit`. Scores are similarities, higher is better. Raises as
    `ImageCollection` does.
    """

    def __init__(
        self,
        collection: ImageCollection,
        *,
        content: str = URI,
        fields: Sequence[str] | None = None,
        names: Mapping[str, str] | None = None,
        picture: Callable[[Document], Picture] | None = None,
        **options: Unpack[SearchOptions],
    ) -> None:
        self.collection = collection
        self._content, self._fields, self._picture, self._options = content, fields, picture, options
        self._names = dict(names or {})

    # what is stored

    def add_images(
        self,
        images: Iterable[Picture],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        keep: str | Path | None = None,
    ) -> list[str]:
        """Ingest pictures, and return their ids in order.

        A path's uri is the path, and its id is made from it unless one is given. Bytes and PIL images get the id that
        is given, or a random one; they can be reopened if `keep` names a folder for them. A picture with an id that is
        there replaces it; fields that its metadata does not name stay. Keys that cannot be fields are passed over, and
        logged. In a collection of views they are the ids of pictures. Raises `UnreadableImage` at the
        first picture that is not one, after those before it are written.
        """
        given = list(images)
        rows = [self._stored(each) for each in metadatas or repeat({}, len(given))]
        wanted = list(ids) if ids is not None else [None] * len(given)
        for what, found in (("metadatas", rows), ("ids", wanted)):
            if len(found) != len(given):
                raise UsageError(f"{len(given)} pictures with {len(found)} {what}: give one for each")
        made = [
            each or (None if isinstance(picture, str | Path) else uuid4().hex)
            for picture, each in zip(given, wanted, strict=True)
        ]
        listed = list(zip(made, given, rows, strict=True))
        paths = [(id_, _absolute(each), row) for id_, each, row in listed if isinstance(each, str | Path)]
        if len(paths) < len(listed):
            records = [each for each in listed if not isinstance(each[1], str | Path)]
            self._ingest(iter(records), keep=keep)
        self._ingest_named([each for each in paths if each[0]])
        if unnamed := [(uri, row) for id_, uri, row in paths if not id_]:
            self._ingest([uri for uri, _ in unnamed], metadata=dict(unnamed))
            known = self._ids_of([uri for uri, _ in unnamed])
            places = iter(known[uri] for uri, _ in unnamed)
            return [id_ or next(places) for id_ in made]
        return [id_ for id_ in made if id_]

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Ingest the pictures of documents with these texts, which `picture` opens; `kwargs` are `add_images`'s."""
        if self._picture is None:
            raise UsageError(
                "a collection stores pictures, and a text is none: call add_images, or make the store with picture=, a "
                "function that opens the picture of a document"
            )
        contents = list(texts)
        known: Iterable[Mapping[str, Any]] = metadatas if metadatas is not None else repeat({}, len(contents))
        documents = [
            Document(page_content=text, metadata=dict(each)) for text, each in zip(contents, known, strict=True)
        ]
        content = {} if self._content == URI else {self._content: None}
        rows = [{**each.metadata, **dict.fromkeys(content, each.page_content)} for each in documents]
        return self.add_images([self._picture(each) for each in documents], rows, ids=ids, **kwargs)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete pictures by id; unknown ids are passed over. Without ids it is refused: it would delete everything."""
        if ids is None or kwargs:
            raise UsageError("delete takes ids; ImageCollection.delete_where deletes by a filter, and drop everything")
        if ids:
            self.collection.delete(ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents with these ids, in order; unknown ones are left out."""
        if not ids:
            return []
        found = self.collection.get(list(dict.fromkeys(ids)))
        return [self._document(id_, row[URI], row) for id_ in ids if (row := found.get(id_)) is not None]

    # what is found

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The pictures most like some words, by an encoder with a text side (CLIP, SigLIP); raises `QueryError`."""
        return [each for each, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[Document, float]]:
        """With the score of each: the cosine for unit vectors, higher is better."""
        return self.found(Text(query), k, kwargs)

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """The pictures most like a vector of the collection's dimension."""
        return [each for each, _ in self.found(VectorQuery(embedding), k, kwargs)]

    def similarity_search_by_image(self, image: Picture, k: int = 4, **kwargs: Any) -> list[Document]:
        """The pictures most like one: a path, bytes or a PIL image. A str is a path: never pass on a stranger's."""
        return [each for each, _ in self.similarity_search_by_image_with_score(image, k, **kwargs)]

    def similarity_search_by_image_with_score(
        self, image: Picture, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """With the score of each."""
        return self.found(_form(image), k, kwargs)

    def similarity_search_by_id(self, id_: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The pictures most like a stored one, which is among them; needs no encoder."""
        return [each for each, _ in self.found(StoredId(id_), k, kwargs)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Like some words, and unlike each other: `diversity` is 1 - `lambda_mult`, `candidates` is `fetch_k`."""
        return [each for each, _ in self.found(Text(query), k, _diverse(kwargs, k, fetch_k, lambda_mult))]

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Like a vector, and unlike each other."""
        return [each for each, _ in self.found(VectorQuery(embedding), k, _diverse(kwargs, k, fetch_k, lambda_mult))]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """From 0 to 1, as LangChain wants it: (1 + score) / 2; 0 where L2 makes a score less than -1."""
        return lambda score: min(1.0, max(0.0, (1 + score) / 2))

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        collection: ImageCollection | None = None,
        **kwargs: Any,
    ) -> Self:
        """A store over `collection` with the pictures of these documents; `kwargs` are the class's.

        `embedding` must be None: a collection has its own encoder, of pictures.
        """
        if collection is None:
            raise UsageError("name the collection that takes the pictures: collection=ImageCollection.open(…)")
        if embedding is not None:
            raise UsageError("the collection has an encoder of its own: leave embedding at None")
        store = cls(collection, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def found(
        self, form: Text | ImageFile | ImageBytes | Pixels | StoredId | VectorQuery, k: int, options: dict[str, Any]
    ) -> list[tuple[Document, float]]:
        """What a form finds, with the score of each."""
        answer = self.collection.search(form, **{**self._read(), **self._options, **options, "limit": k})
        return [(self.document(hit), hit.score) for hit in answer]

    def _read(self) -> dict[str, Any]:
        """Which fields a search reads."""
        if self._fields is None:
            return {}
        wanted = [self._names.get(name, name) for name in (*self._fields, self._content)]
        return {"output_fields": list(dict.fromkeys(name for name in wanted if name != URI))}

    def document(self, hit: Hit) -> Document:
        """A hit as LangChain has it."""
        has_views = self.collection.definition.views is not None
        views = {name: getattr(hit, name) for name in _OF_VIEWS} if has_views else {}
        return self._document(hit.id, hit.uri, {**hit.fields, **views})

    def _document(self, id_: str, uri: str, row: Mapping[str, Any]) -> Document:
        own = {field: key for key, field in self._names.items()}
        known = {own.get(name, name): value for name, value in {**row, URI: uri}.items() if name != "id"}
        content = uri if self._content == URI else str(known.pop(self._content, None) or "")
        wanted = known if self._fields is None else [name for name in self._fields if name in known]
        return Document(page_content=content, metadata={name: known[name] for name in wanted}, id=id_)

    def _stored(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        return {self._names.get(key, key): value for key, value in metadata.items()}

    def _ingest_named(self, paths: list[tuple[str | None, str, dict[str, Any]]]) -> None:
        """Paths with ids of their own, by a manifest, which is what gives a path an id."""
        if not paths:
            return
        with tempfile.TemporaryDirectory() as folder:
            manifest = Path(folder) / "pictures.jsonl"
            lines = [json.dumps({**row, _PATH: path, _ID: id_}) for id_, path, row in paths]
            manifest.write_text("\n".join(lines), encoding="utf-8")
            self._ingest(Source(manifest, uri_column=_PATH, id_column=_ID))

    def _ingest(self, source: Any, **options: Any) -> None:
        self.collection.ingest(source, strict=True, on_notice=_log.warning, **options)

    def _ids_of(self, uris: Sequence[str]) -> dict[str, str]:
        """By uri, the ids of pictures that were just written."""
        store = self.collection.store
        id_ = "image_id" if "image_id" in store.fields else "id"
        wanted = store.rendered(field(URI).in_(sorted(set(uris))))
        return {row[URI]: row[id_] for rows in store.scan([URI, id_], wanted) for row in rows}


def _form(image: Picture) -> ImageFile | ImageBytes | Pixels:
    if isinstance(image, str | Path):
        return ImageFile(image)
    return ImageBytes(image) if isinstance(image, bytes) else Pixels(image)


def _absolute(path: str | Path) -> str:
    """The uri that an ingest gives a file: its absolute path, with no link resolved."""
    return os.path.abspath(Path(path).expanduser())  # noqa: PTH100 - resolve() would follow links


def _diverse(options: dict[str, Any], k: int, fetch_k: int, lambda_mult: float) -> dict[str, Any]:
    return {**options, "candidates": max(k, fetch_k), "diversity": 1 - lambda_mult}
