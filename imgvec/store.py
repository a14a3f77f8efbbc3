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

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Required, Self

from typing_extensions import TypedDict, Unpack

from imgvec.errors import QueryError
from imgvec.filters import Dialect, FieldType, Filter, render
from imgvec.progress import OnProgress
from imgvec.vectors import Vectors

MOST_HITS = 16_384
"""That Milvus gives to one query; by some indexes it gives fewer."""


@dataclass(frozen=True, slots=True)
class Found:
    """One row that a search found."""

    id: str
    distance: float
    """What Milvus gave: a similarity for COSINE and IP, the squared Euclidean distance for L2."""
    score: float
    """Higher is better: the distance for COSINE and IP; 1 - distance / 2 for L2, the cosine of unit vectors."""
    fields: Mapping[str, Any] = field(default_factory=dict)


class Nearest(list[Found]):
    """What a search found for one vector, best first."""

    def __init__(self, found: Iterable[Found] = (), *, complete: bool = True, cut: bool = False) -> None:
        super().__init__(found)
        self.cut = cut
        """Whether rows below the `min_score` that was asked for were left out."""
        self.complete = complete
        """False if rows may be missing, as some of those who answer may not have all of theirs yet."""


def is_complete(found: Sequence[Found]) -> bool:
    """Whether nobody knows of a reason why rows should be missing."""
    return getattr(found, "complete", True)


def is_cut(found: Sequence[Found]) -> bool:
    """Whether rows that score less than asked for were left out, so that nobody knows whether there are any."""
    return getattr(found, "cut", False)


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """A vector index as it is: its type, a name of the catalogue, and the parameters it was built with."""

    type: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VectorField:
    """A vector of every row, as it is stored."""

    dim: int
    vector_type: str
    metric_type: str
    """COSINE, IP or L2; a search always uses it."""
    index: IndexInfo
    most_hits: int = MOST_HITS
    """That one search by that index gives."""

    @property
    def unit(self) -> bool:
        """Whether its vectors are of unit length."""
        return self.metric_type != "L2"


def vector_named(name: str, vectors: Mapping[str, VectorField], collection: str) -> VectorField:
    """The vector of that name, of those that the collection has; raises `QueryError`."""
    if name not in vectors:
        raise QueryError(f"{collection!r} has no vector {name!r} (vectors: {', '.join(vectors)})")
    return vectors[name]


@dataclass(frozen=True, slots=True)
class IndexState:
    """The state of a vector index. A server says "Finished" too early, so look at the rows."""

    state: str
    """Milvus's word for it."""
    indexed_rows: int
    pending_rows: int
    """Of `total_rows`, that the index does not cover."""
    total_rows: int
    """Rows of sealed segments, deleted ones among them until a server compacts; it lags behind what was written."""
    loaded: bool
    reason: str = ""
    """Why it failed."""
    rewritten_rows: int = 0
    """That a server has compacted into new segments, whose index it is building; until then it searches the former
    segments by theirs. Milvus's own statistic counts them as pending beside the indexed ones."""

    @classmethod
    def counted(cls, state: str, indexed: int, pending: int, total: int, *, loaded: bool, reason: str = "") -> Self:
        """From Milvus's own counts, in which rows can be indexed and pending at once, or indexed and gone."""
        missing = max(0, total - indexed)
        return cls(state, min(indexed, total), missing, total, loaded, reason, max(0, pending - missing))

    def covers(self, rows: int) -> bool:
        """Whether the index is built over that many rows: while the statistic tells of fewer, it does not tell all."""
        return self.total_rows >= rows and not self.pending_rows and not self.rewritten_rows


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
