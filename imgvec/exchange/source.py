"""What a file of vectors is to an import, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgvec.vectors import Vectors

Row = dict[str, Any]

CHUNK_ROWS = 1000
CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that follow each other in a source."""

    first: int
    """The number of the first one, from 0."""
    vectors: Vectors
    """(n, dim) float32, unchecked; any values where `problems` has the row."""
    rows: list[Row]
    """What the source knows of each: `id`, `uri` and other fields, or nothing."""
    problems: Mapping[int, str] = field(default_factory=dict)
    """Rows, counted within the chunk, that have no vector of (dim,), and why."""
    more: Mapping[str, Vectors] = field(default_factory=dict)
    """Further vectors, (n, dim) float32 each, by name."""


@dataclass(frozen=True, slots=True)
class VectorSource:
    """A file or folder of `rows` vectors of `dim` elements; nothing but its head is read before `read` is called."""

    path: Path
    rows: int
    dim: int
    read: Callable[[int], Iterator[Chunk]]
    """All rows in order, at most so many in a chunk."""
    metric_type: str | None = None
    """COSINE, IP or L2 where the file has a metric that is one of these; another one by its own name."""
    notes: tuple[str, ...] = ()
    """What a person should know of the vectors."""
    description: str | None = None
    """Of an export of imgvec's own: what the collection remembered of itself."""
    projections: Mapping[str, bytes] = field(default_factory=dict)
    """Those that the collection of such an export kept, as .safetensors, by the names that bindings call them."""
    calibrations: Mapping[str, bytes] = field(default_factory=dict)
    """Those of that collection, where all of its rows were exported, as .npz, by the names of their vectors."""
    further: Mapping[str, int] = field(default_factory=dict)
    """The dims of the vectors beside the one, by name: an export of imgvec's own has them."""
    copied: bool = False
    """The rows are those of such an export, and nothing else."""

    def chunks(self) -> Iterator[Chunk]:
        """All rows in order, a few megabytes at once."""
        return self.read(max(1, min(CHUNK_ROWS, CHUNK_BYTES // (4 * sum((self.dim, *self.further.values()))))))


def numbered(rows: int, size: int, read: Callable[[int, int], tuple[Vectors, list[Row]]]) -> Iterator[Chunk]:
    """Chunks by row number, of what `read(start, stop)` gives."""
    for start in range(0, rows, size):
        yield Chunk(start, *read(start, min(start + size, rows)))
