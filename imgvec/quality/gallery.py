"""The rows that queries are ranked against, and the queries themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from typing_extensions import Unpack

from imgvec.images import content_hash
from imgvec.quality.labels import Labels, LabelSets, labels_of
from imgvec.search.answer import Hit
from imgvec.search.forms import Form
from imgvec.search.request import SearchOptions
from imgvec.store import Searches
from imgvec.vectors import Vectors


class Searched(Protocol):
    """What an evaluation needs from a collection; `imgvec.ImageCollection` provides it."""

    @property
    def name(self) -> str: ...
    @property
    def store(self) -> Searches: ...
    def vectors(self, queries: Iterable[Form]) -> Vectors: ...
    def search_many(self, queries: Iterable[Form], **options: Unpack[SearchOptions]) -> Sequence[Sequence[Hit]]: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """One query, without its vector."""

    name: str
    """The uri of a row, or an image's path."""
    labels: Labels
    own: tuple[int, ...]
    """The positions of the rows that are this very image, which are not hits of it."""


class Gallery:
    """The rows that a query is ranked against: ids, uris and labels, and for an exact ranking the vectors."""

    def __init__(
        self, store: Searches, label: str, expression: str, *, hashes: bool = False, vectors_to: IO[bytes] | None = None
    ) -> None:
        """Read the rows that match `expression`; their vectors are written to the file, and mapped from there.

        With `hashes` the hashes of the images' bytes are read too, which `images_as_queries` wants.
        """
        self.ids: list[str] = []
        self.uris: list[str] = []
        self.labels = LabelSets()
        self._hashes: list[str] = []
        wanted = ["id", "uri", label, *(["content_hash"] if hashes else []), *(["vector"] if vectors_to else [])]
        for batch in store.scan(wanted, expression):
            for row in batch:
                self.ids.append(row["id"])
                self.uris.append(row["uri"])
                self.labels.add(labels_of(row.get(label)))
                if hashes:
                    self._hashes.append(row.get("content_hash", ""))
                if vectors_to:
                    vectors_to.write(np.asarray(row["vector"], np.float32).tobytes())
        self.vectors: Vectors = np.empty((0, store.dim), np.float32)
        if vectors_to and self.ids:
            vectors_to.flush()
            self.vectors = np.memmap(vectors_to, np.float32, "r", shape=(len(self.ids), store.dim))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def unlabelled(self) -> int:
        return sum(not self.labels[row] for row in range(len(self)))

    def rows_as_queries(self) -> list[Asked]:
        """Each labelled row; of rows with the same uri the first, so that a uri names one query."""
        first = {self.uris[row]: row for row in reversed(range(len(self))) if self.labels[row]}
        return [Asked(self.uris[row], self.labels[row], (row,)) for row in sorted(first.values())]

    def images_as_queries(self, images: Mapping[str, Labels]) -> list[Asked]:
        """Images by path. A row of the same uri, or of the same bytes, is the image itself."""
        found = {name: _content_hash(name) for name in images}
        own: dict[str, list[int]] = {key: [] for pair in found.items() for key in pair if key}
        for row, keys in enumerate(zip(self.uris, self._hashes, strict=True)):
            for key in keys:
                if key in own:
                    own[key].append(row)
        return [Asked(name, labels, tuple({*own[name], *own.get(found[name], ())})) for name, labels in images.items()]

    def relevant(self, query: Asked) -> int:
        """How many rows are relevant to the query, its own not counted."""
        own = sum(not self.labels[row].isdisjoint(query.labels) for row in query.own)
        return self.labels.count(query.labels) - own


def _content_hash(path: str) -> str:
    """Empty where the file cannot be read: encoding it will say so."""
    try:
        return content_hash(Path(path).read_bytes())
    except (OSError, ValueError):
        return ""
