"""What a store holds and gives: its vectors and their indexes, and the rows that a search found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from imgvec.errors import QueryError
from imgvec.vectors import Vectors, norms

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


@dataclass(frozen=True, slots=True)
class Reach:
    """How a search saw to it that a filter, or few candidates, hid no rows from it."""

    matched: int | None = None
    """Rows that match, where they were counted."""
    by: Literal["index", "every row", "every row, here"] = "index"
    """What was looked at: what the index leads to, or each row that matches, by Milvus or in this process."""
    params: Mapping[str, Any] | None = None
    """What was searched with instead of what was asked for; None where that was enough."""
    before: int | None = None
    """Rows that had come at first, fewer than asked for and than match, so that it was searched wider, once; None where
    it was not."""
    partitioned_by: str | None = None
    """The field by which Milvus keeps rows in partitions, to look only at those of the values that a filter fixes."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        params = None if self.params is None else {**self.params}
        return {"matched": self.matched, "by": self.by, "params": params, "before": self.before}


class Nearest(list[Found]):
    """What a search found for one vector, best first."""

    def __init__(
        self, found: Iterable[Found] = (), *, complete: bool = True, cut: bool = False, reach: Reach | None = None
    ) -> None:
        super().__init__(found)
        self.reach = reach or Reach()
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


def reach_of(found: Sequence[Found]) -> Reach:
    """How far the search for these looked."""
    return getattr(found, "reach", None) or Reach()


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


def taken_out(rows: Sequence[dict[str, Any]], name: str, field: VectorField) -> Vectors:
    """(n, dim) vectors called `name`, as they were written, out of rows that were read."""
    vectors: Vectors = np.stack([row.pop(name) for row in rows])
    if field.vector_type == "INT8_VECTOR" and field.unit:
        # rounded to steps they are not unit vectors as they are read back
        vectors /= norms(vectors)[:, None].astype(np.float32)
    return vectors


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
