"""A store as one of its vectors sees it, so that what knows of `vector` alone works on each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from typing_extensions import Unpack

from imgvec.filters import Dialect, FieldType
from imgvec.progress import OnProgress
from imgvec.rows import VECTOR
from imgvec.store import Indexes, NearestOf, Searches
from imgvec.stored import Found, IndexInfo, IndexState, VectorField, vector_named
from imgvec.vectors import Vectors


def searches_by(store: Searches, vector: str) -> Searches:
    """The store, whose `vector` is the one of that name; raises `QueryError` where it has none."""
    vector_named(vector, store.vectors, store.name)
    return store if vector == VECTOR else _Searches(store, vector)


def indexes_by(store: Indexes, vector: str) -> Indexes:
    """`searches_by`, with the index of that vector."""
    vector_named(vector, store.vectors, store.name)
    return store if vector == VECTOR else _Indexes(store, vector)


class _Searches(Searches):
    """Has one vector, called `vector`: another one of the store's."""

    def __init__(self, store: Searches, vector: str) -> None:
        self._store, self._vector = store, vector

    def __repr__(self) -> str:
        return f"<{self._vector!r} of {self._store!r}>"

    @property
    def _field(self) -> VectorField:
        return self._store.vectors[self._vector]  # each time, since its index may be another one

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def description(self) -> str:
        return self._store.description

    @property
    def dim(self) -> int:
        return self._field.dim

    @property
    def vector_type(self) -> str:
        return self._field.vector_type

    @property
    def metric_type(self) -> str:
        return self._field.metric_type

    @property
    def index(self) -> IndexInfo:
        return self._field.index

    @property
    def vectors(self) -> Mapping[str, VectorField]:
        return {VECTOR: self._field}

    @property
    def fields(self) -> Mapping[str, FieldType]:
        return self._store.fields

    @property
    def most_views(self) -> int | None:
        return self._store.most_views

    @property
    def dialect(self) -> Dialect:
        return self._store.dialect

    @property
    def dynamic(self) -> bool:
        return self._store.dynamic

    def check_same(self) -> None:
        self._store.check_same()

    def count(self, filter: str = "") -> int:
        return self._store.count(filter)

    def get(
        self, ids: Sequence[str], *, output_fields: Sequence[str] = (), with_vector: bool = False
    ) -> Mapping[str, Mapping[str, Any]]:
        asked = [*self._inner(output_fields), *([self._vector] if with_vector else [])]
        return {id_: self._outer(row) for id_, row in self._store.get(ids, output_fields=asked).items()}

    def scan(
        self, output_fields: Sequence[str], filter: str = "", batch_size: int = 1000
    ) -> Iterator[list[dict[str, Any]]]:
        for rows in self._store.scan(self._inner(output_fields), filter, batch_size):
            yield [self._outer(row) for row in rows]

    def search(self, vectors: Vectors, **asked: Unpack[NearestOf]) -> Sequence[Sequence[Found]]:
        vector_named(asked.get("vector", VECTOR), self.vectors, self.name)
        fields = asked.get("output_fields", ())
        inner: NearestOf = {**asked, "vector": self._vector, "output_fields": self._inner(fields)}
        found = self._store.search(vectors, **inner)
        if VECTOR not in fields:
            return found
        return [[replace(hit, fields=self._outer(hit.fields)) for hit in hits] for hits in found]

    def _inner(self, names: Sequence[str]) -> list[str]:
        return [self._vector if name == VECTOR else name for name in names]

    def _outer(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {VECTOR if name == self._vector else name: value for name, value in row.items()}


class _Indexes(_Searches, Indexes):
    def __init__(self, store: Indexes, vector: str) -> None:
        super().__init__(store, vector)
        self._indexes = store

    def build_index(
        self,
        type: str,
        params: Mapping[str, Any],
        *,
        timeout: float = 3600.0,
        on_progress: OnProgress | None = None,
        vector: str = VECTOR,
    ) -> float:
        vector_named(vector, self.vectors, self.name)
        return self._indexes.build_index(type, params, timeout=timeout, on_progress=on_progress, vector=self._vector)

    def index_state(self, vector: str = VECTOR) -> IndexState:
        vector_named(vector, self.vectors, self.name)
        return self._indexes.index_state(self._vector)
