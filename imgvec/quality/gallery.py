"""The pictures that queries are ranked against, and the queries.

In a collection of whole pictures each is a row. In one of views it has several, and is as near to a query as the best
of them: positions count pictures, and a stored picture asks by its whole view.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from imgvec.images import content_hash
from imgvec.quality.labels import Labels, LabelSets, labels_of
from imgvec.rows import IMAGE_ID
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
    def vectors(self, queries: Iterable[Form], *, vector: str = ...) -> Vectors: ...
    def search_many(self, queries: Iterable[Form], **options: Unpack[SearchOptions]) -> Sequence[Sequence[Hit]]: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """One query, without its vector."""

    name: str
    """The uri of a row, or an image's path."""
    labels: Labels
    own: tuple[int, ...]
    """The positions of the pictures that are this very image, which are not hits of it."""


class Gallery:
    """The pictures that a query is ranked against: ids, uris and labels, and for an exact ranking their vectors."""

    def __init__(
        self, store: Searches, label: str, expression: str, *, hashes: bool = False, vectors_to: IO[bytes] | None = None
    ) -> None:
        """Read the rows that match `expression`; their vectors are written to the file, and mapped from there.

        Of a collection of views a picture is there where one of its views matches.

        With `hashes` the hashes of the images' bytes are read too, which `images_as_queries` wants.
        """
        self.ids: list[str] = []
        """Of the pictures."""
        self.uris: list[str] = []
        self.labels = LabelSets()
        self._hashes: list[str] = []
        self.views = store.most_views is not None
        positions: dict[str, int] = {}
        owners = array("q")
        wanted = ["id", "uri", label, *([IMAGE_ID] if self.views else [])]
        wanted += [*(["content_hash"] if hashes else []), *(["vector"] if vectors_to else [])]
        self._asks: dict[int, int] = {}
        """By picture, the number of the row that it asks by; empty where each has one row, of its own number."""
        for row in (row for batch in store.scan(wanted, expression) for row in batch):
            picture = row[IMAGE_ID] if self.views else row["id"]
            if (position := positions.get(picture) if self.views else None) is None:
                position = len(self.ids)
                if self.views:
                    positions[picture] = position
                self.ids.append(picture)
                self.uris.append(row["uri"])
                self.labels.add(labels_of(row.get(label)))
                if hashes:
                    self._hashes.append(row.get("content_hash", ""))
            if self.views and row["id"] == picture:
                self._asks[position] = len(owners)
            owners.append(position)
            if vectors_to:
                vectors_to.write(np.asarray(row["vector"], np.float32).tobytes())
        self.owners: NDArray[np.int64] = np.array(owners, np.int64)
        """(rows,) the picture that each row is of."""
        self.vectors: Vectors = np.empty((0, store.dim), np.float32)
        """(rows, dim), in the order of `owners`; none but for an exact ranking."""
        if vectors_to and owners:
            vectors_to.flush()
            self.vectors = np.memmap(vectors_to, np.float32, "r", shape=(len(owners), store.dim))

    def __len__(self) -> int:
        return len(self.ids)

    def query_vectors(self, positions: Sequence[int]) -> Vectors:
        """(n, dim) vectors that the pictures at these positions ask by."""
        return self.vectors[[self._asks[position] for position in positions] if self.views else list(positions)]

    @property
    def unlabelled(self) -> int:
        return sum(not self.labels[row] for row in range(len(self)))

    def rows_as_queries(self) -> list[Asked]:
        """Each labelled picture with a whole view; of those with the same uri the first, so that it names one query."""
        asking = self._asks if self.views else range(len(self))
        first = {self.uris[row]: row for row in reversed(range(len(self))) if self.labels[row] and row in asking}
        return [Asked(self.uris[row], self.labels[row], (row,)) for row in sorted(first.values())]

    def images_as_queries(self, images: Mapping[str, Labels]) -> list[Asked]:
        """Images by path. A picture of the same uri, or of the same bytes, is the image itself."""
        found = {name: _content_hash(name) for name in images}
        own: dict[str, list[int]] = {key: [] for pair in found.items() for key in pair if key}
        for row, keys in enumerate(zip(self.uris, self._hashes, strict=True)):
            for key in keys:
                if key in own:
                    own[key].append(row)
        return [Asked(name, labels, tuple({*own[name], *own.get(found[name], ())})) for name, labels in images.items()]

    def relevant(self, query: Asked) -> int:
        """How many pictures are relevant to the query, its own not counted."""
        own = sum(not self.labels[row].isdisjoint(query.labels) for row in query.own)
        return self.labels.count(query.labels) - own


def _content_hash(path: str) -> str:
    """Empty where the file cannot be read: encoding it will say so."""
    try:
        return content_hash(Path(path).read_bytes())
    except (OSError, ValueError):
        return ""
