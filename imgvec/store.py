"""The interface of a store of rows, implemented by `imgvec.milvus.Store` and by the fake in the tests.

    Reads      what is stored: its schema, counts, rows by id, all rows in a stream
    Searches   reads, and the nearest rows of vectors
    Indexes    searches, and a vector index that can be built and looked at
    Writes     takes rows: a collection, a folder of bulk files, a store in another process
    Notes      rows without vectors, in a small collection beside another
    Store      all of it

A room asks for no more than it uses. Vectors are (n, dim) float32 in the order of their rows. Failures are
`BackendError`s; those after which the same call may succeed later are `retryable`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, Required

from typing_extensions import TypedDict, Unpack

from imgvec.errors import QueryError
from imgvec.filters import Dialect, FieldType, Filter, render
from imgvec.progress import OnProgress
from imgvec.stored import Found, IndexInfo, IndexState, VectorField
from imgvec.vectors import Vectors


class Reads(Protocol):
    """What is stored."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str:
        """The collection's description of itself, as JSON."""
        ...

    @property
    def dim(self) -> int: ...
    @property
    def vector_type(self) -> str: ...
    @property
    def metric_type(self) -> str:
        """COSINE, IP or L2; a search always uses it."""
        ...

    @property
    def index(self) -> IndexInfo: ...
    @property
    def vectors(self) -> Mapping[str, VectorField]:
        """Every vector by name: `vector` first, of which `dim`, `vector_type`, `metric_type` and `index` tell too."""
        ...

    @property
    def fields(self) -> Mapping[str, FieldType]:
        """Every scalar field, `id` among them; vectors are not."""
        ...

    @property
    def most_views(self) -> int | None:
        """Rows that a picture has at most, of a collection of views; None where a row is a whole picture."""
        ...

    @property
    def dynamic(self) -> bool: ...

    @property
    def dialect(self) -> Dialect:
        """What the expressions of its filters can say."""
        ...

    def rendered(self, where: Filter | str | None) -> str:
        """The expression of a filter for `filter`, empty for all rows; calls nothing.

        Raises `FilterError`, and `UnsupportedByBackend` for what the backend does not read, or silently reads wrongly.
        """
        return render(where, self.fields, dynamic=self.dynamic, dialect=self.dialect)

    def check_same(self) -> None:
        """Raise if the opened collection no longer exists.

        `EncoderMismatch` or `CollectionReplaced` if a different one has its name, `CollectionNotFound` if none has.
        """
        ...

    def count(self, filter: str = "") -> int:
        """The number of rows, or of those that match; sees every write acknowledged before."""
        ...

    def get(
        self, ids: Sequence[str], *, output_fields: Sequence[str] = (), with_vector: bool = False
    ) -> Mapping[str, Mapping[str, Any]]:
        """The fields of the rows with those ids, by id, in the order requested; unknown ids are left out.

        `output_fields` may hold `*` for all scalar fields; with `with_vector` each has its `vector`, (dim,) float32. A
        further vector comes, in the same form, where it is named.
        """
        ...

    def scan(
        self, output_fields: Sequence[str], filter: str = "", batch_size: int = ...
    ) -> Iterator[list[dict[str, Any]]]:
        """All rows, or those that match, each once and with its `id`, in the order of their ids.

        Lists of at most `batch_size` rows; with `vector`, or a further vector, among the fields each has it, (dim,)
        float32.
        """
        ...


class NearestOf(TypedDict, total=False):
    """What a search asks for besides its vectors; what is left out is empty."""

    limit: Required[int]
    """Hits for each vector."""
    filter: str
    """A Milvus expression that rows must match."""
    output_fields: Sequence[str]
    """The fields of each hit; `*` and `$meta` for all, and `vector`."""
    params: Mapping[str, Any] | None
    """The search parameters of that vector's index, on top of its defaults."""
    consistency_level: str | None
    """None for the collection's."""
    min_score: float | None
    """Rows with a lower score are not wanted: they are left out where that is cheaper for the backend, and come where
    it is not."""
    max_score: float | None
    """Rows with a higher score are left out, but for what rounding does to those within a millionth of it."""
    vector: str
    """The name of the vector to compare by, whose `dim`, metric and index it is; the main one's if left out."""
    thorough: bool
    """Where few rows match `filter`, compare with each of them if that is cheap; and where fewer rows come than asked
    for although more match, search wider, once. `Nearest.reach` says what was done. Without it, `params` alone decide.
    """


_NEAREST = frozenset(NearestOf.__annotations__)


def check_keywords(asked: NearestOf) -> None:
    """Raise `TypeError` as Python does for a keyword that is not there: a misspelt `filter` would find every row."""
    if "limit" not in asked or not _NEAREST.issuperset(asked):
        unknown = ", ".join(sorted(asked.keys() - _NEAREST))
        raise TypeError(f"search takes no {unknown}" if unknown else "search wants a limit")


class Searches(Reads, Protocol):
    """What is stored, and what is near."""

    def search(self, vectors: Vectors, **asked: Unpack[NearestOf]) -> Sequence[Sequence[Found]]:
        """The nearest rows to each of (n, dim) queries: best first, equal scores in the order of their ids.

        Those that are `Nearest` say whether they are complete. Raises `QueryError`.
        """
        ...

    @property
    def words(self) -> frozenset[str]:
        """The fields that `search_words` takes."""
        return frozenset()

    def search_words(
        self,
        words: Sequence[str],  # noqa: ARG002
        field: str,
        **asked: Unpack[NearestOf],  # noqa: ARG002
    ) -> Sequence[Sequence[Found]]:
        """The rows that have any of the words of each text in that field, best first by BM25, as `search` gives them.

        The score is BM25's, above 0, and does not depend on `filter`; `params` and `vector` are not looked at. Raises
        `QueryError`.
        """
        raise QueryError(f"{self.name!r} has no words of {field!r} to search by: declare the field with bm25: true")


class Indexes(Searches, Protocol):
    """A store whose vector indexes can be built and looked at."""

    def build_index(
        self,
        type: str,
        params: Mapping[str, Any],
        *,
        timeout: float = ...,
        on_progress: OnProgress | None = None,
        vector: str = ...,
    ) -> float:
        """Replace the index of `vector` and load; returns the seconds from the request to the true end of building.

        Raises `BackendError`, and then the former index is back.
        """
        ...

    def index_state(self, vector: str = ...) -> IndexState:
        """How far the index of `vector` is, and whether it is loaded."""
        ...


class Writes(Protocol):
    """Takes rows, and tells which are there."""

    def get(
        self, ids: Sequence[str], *, output_fields: Sequence[str] = (), with_vector: bool = False
    ) -> Mapping[str, Mapping[str, Any]]:
        """As `Reads.get`."""
        ...

    def upsert(
        self, rows: Sequence[Mapping[str, Any]], vectors: Vectors, more: Mapping[str, Vectors] | None = None
    ) -> int:
        """Write rows, each replacing any row with the same id; returns how many were written.

        `more` are the further vectors, (n, dim) each, by name: all that the collection has. Of rows with equal ids the
        last is written. Raises `WriteFailed`, and as `Reads.check_same`.
        """
        ...

    def discard(self, ids: Sequence[str]) -> None:
        """Delete the rows with those ids, as far as there are any; nothing is looked up. Raises as `upsert`."""
        ...


class Observer(Protocol):
    """Is told of what a store writes and deletes, where the collection says that it is watched."""

    def writing(
        self, watched: Mapping[str, str], ids: Sequence[str], vectors: Mapping[str, Vectors]
    ) -> AbstractContextManager[None]:
        """Rows are written while the block runs, each with its vectors, by name, as they will be stored.

        `watched` is what the collection says of it. What is raised before the block stands for the write's own failure.
        """
        ...

    def deleting(self, watched: Mapping[str, str], ids: Sequence[str]) -> None:
        """Rows are about to be deleted."""
        ...


class Notes(Protocol):
    """Rows by `id`, without vectors."""

    def get(self, ids: Sequence[str], *, output_fields: Sequence[str] = ...) -> Mapping[str, Mapping[str, Any]]:
        """As `Reads.get`."""
        ...

    def upsert(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """As `Writes.upsert`."""
        ...

    def delete(self, ids: Sequence[str]) -> int:
        """As `Store.delete`."""
        ...

    def count(self, filter: str = "") -> int:
        """As `Reads.count`."""
        ...

    def scan(
        self, output_fields: Sequence[str], filter: str = "", batch_size: int = ...
    ) -> Iterator[list[dict[str, Any]]]:
        """As `Reads.scan`."""
        ...


class Store(Indexes, Writes, Protocol):
    """A collection of rows: all of it."""

    def delete(self, ids: Sequence[str]) -> int:
        """Delete the rows with those ids; returns how many there were."""
        ...
