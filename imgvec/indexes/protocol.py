"""What the index rooms need of a store; `imgvec.milvus.Store` has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from imgvec.progress import OnProgress
from imgvec.vectors import Vectors


class Index(Protocol):
    """A built index: its type, a name of `catalog.INDEX_TYPES`, and the parameters it was built with."""

    @property
    def type(self) -> str: ...
    @property
    def params(self) -> Mapping[str, Any]: ...


class Found(Protocol):
    """One row that a search found."""

    @property
    def id(self) -> str: ...
    @property
    def distance(self) -> float:
        """What Milvus gave: a similarity for COSINE and IP, the squared Euclidean distance for L2."""

    @property
    def score(self) -> float:
        """Higher is better, whatever the metric."""


class SearchStore(Protocol):
    """A loaded collection that is read and searched."""

    @property
    def name(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def vector_type(self) -> str: ...
    @property
    def metric_type(self) -> str: ...
    @property
    def index(self) -> Index: ...

    def count(self, filter: str = "") -> int: ...
    def scan(
        self, output_fields: Sequence[str], filter: str = "", batch_size: int = ...
    ) -> Iterator[list[dict[str, Any]]]:
        """All rows in the order of their ids; with `vector` among the fields each has it, (dim,) float32."""

    def get(
        self, ids: Sequence[str], *, output_fields: Sequence[str] = (), with_vector: bool = False
    ) -> Mapping[str, Mapping[str, Any]]: ...
    def search(
        self, vectors: Vectors, *, limit: int, filter: str = "", params: Mapping[str, Any] | None = None
    ) -> Sequence[Sequence[Found]]:
        """The nearest rows to each of (n, dim) queries, best first."""


class BuildStore(SearchStore, Protocol):
    """A store whose vector index can be built anew."""

    def build_index(
        self,
        type: str,
        params: Mapping[str, Any],
        *,
        timeout: float = ...,
        on_progress: OnProgress | None = None,
    ) -> float:
        """Replace the vector index and load; returns the seconds from the request to the true end of building.

        Raises `BackendError`, and then the former index is back.
        """
