"""The rows that queries are ranked against, and the queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imgvec.evaluate.labels import Labels, LabelSets, labels_of
from imgvec.filters import FieldType, Filter

Vectors = NDArray[np.float32]


class Hit(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, Any]: ...


class Store(Protocol):
    """What evaluating needs of a store."""

    @property
    def metric_type(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def fields(self) -> Mapping[str, FieldType]: ...
    @property
    def dynamic(self) -> bool: ...
    def scan(self, output_fields: Sequence[str], filter: str = "") -> Iterator[list[dict[str, Any]]]: ...
    def get(
        self, ids: Sequence[str], *, output_fields: Sequence[str] = (), with_vector: bool = False
    ) -> Mapping[str, Mapping[str, Any]]: ...


class Searched(Protocol):
    """What evaluating needs of a collection; `imgvec.ImageCollection` has it."""

    @property
    def name(self) -> str: ...
    @property
    def store(self) -> Store: ...
    def vectors(self, queries: Iterable[Any]) -> Vectors: ...
    def search_many(
        self,
        queries: Iterable[Any],
        *,
        limit: int,
        where: Filter | str | None,
        output_fields: Sequence[str],
        params: Mapping[str, Any] | None,
    ) -> Sequence[Sequence[Hit]]: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """One query, without its vector."""

    name: str
    """The uri of a row, or an image's path."""
    labels: Labels
    row: int | None
    """The position of its own row, which is no hit of it."""


class Gallery:
    """The rows that a query is ranked against: ids, uris and labels, and for an exact ranking the vectors."""

    def __init__(self, store: Store, label: str, expression: str, *, vectors_to: IO[bytes] | None = None) -> None:
        """Read the rows that match `expression`; their vectors are written to the file, and mapped from there."""
        self.ids: list[str] = []
        self.uris: list[str] = []
        self.labels = LabelSets()
        wanted = ["id", "uri", label, *(["vector"] if vectors_to else [])]
        for batch in store.scan(wanted, expression):
            for row in batch:
                self.ids.append(row["id"])
                self.uris.append(row["uri"])
                self.labels.add(labels_of(row.get(label)))
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
        return len(self) - self.labelled

    @property
    def labelled(self) -> int:
        return sum(1 for row in range(len(self)) if self.labels[row])

    def rows_as_queries(self) -> list[Asked]:
        """Each labelled row; of rows with the same uri the first, so that a uri names one query."""
        first = {self.uris[row]: row for row in reversed(range(len(self))) if self.labels[row]}
        return [Asked(self.uris[row], self.labels[row], row) for row in sorted(first.values())]

    def images_as_queries(self, images: Mapping[str, Labels]) -> list[Asked]:
        own = {uri: row for row, uri in enumerate(self.uris) if uri in images}
        return [Asked(name, labels, own.get(name)) for name, labels in images.items()]

    def relevant(self, query: Asked) -> int:
        """How many rows are relevant to the query, its own row not counted."""
        own = query.row is not None and not self.labels[query.row].isdisjoint(query.labels)
        return self.labels.count(query.labels) - own
