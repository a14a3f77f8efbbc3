"""The workload of an index, and what can be told of it: each option stated once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import TypedDict, Unpack

from imgvec.catalog import MAX_DIM, MAX_LIMIT, VECTOR_TYPES
from imgvec.errors import DefinitionError, OptionError
from imgvec.options import Option, settled

Updates = Literal["rarely", "daily", "always"]

SEGMENT_BYTES = 512 * 2**20
"""Milvus builds an index a sealed segment; `dataCoord.segment.maxSize` is 512 MB on 2.3, 1024 MB since 2.4."""


class PlanOptions(TypedDict, total=False):
    """What ranking the index types can be told of the use to come."""

    memory: Annotated[
        # the command reads sizes such as 8GiB
        int | None, Option(above=0, shell=False, help="Bytes of one query node; None for as much as it takes.")
    ]
    gpu_memory: Annotated[int | None, Option(above=0, shell=False, help="Bytes of one GPU; None for no GPU.")]
    recall: Annotated[
        float, Option(0.95, above=0, at_most=1, help="Recall to reach: the share of the true nearest rows found.")
    ]
    filtered: Annotated[float, Option(0.0, at_least=0, below=1, help="Share of the rows that filters exclude.")]
    updates: Annotated[Updates, Option("rarely", help="How often rows are added or changed.")]
    limit: Annotated[int, Option(10, at_least=1, at_most=MAX_LIMIT, flags=("-k", "--limit"), help="Hits per search.")]
    replicas: Annotated[int, Option(1, at_least=1, help="Copies of the collection to search in parallel.")]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The workload of an index; made by `workload`, which checks it."""

    rows: int
    dim: int
    vector_type: str
    memory: int | None
    gpu_memory: int | None
    recall: float
    filtered: float
    updates: Updates
    limit: int
    replicas: int

    @property
    def raw(self) -> float:
        """Bytes of the vectors as they are."""
        return self.rows * self.dim * VECTOR_TYPES[self.vector_type][0]

    @property
    def segment_rows(self) -> int:
        """Rows that share one index."""
        return max(1, min(self.rows, int(SEGMENT_BYTES / self.raw * self.rows)))

    @property
    def segments(self) -> int:
        return math.ceil(self.rows / self.segment_rows)

    def by_recall(self, *values: float) -> int:
        """The first, second, third or fourth value, for a recall up to 0.90, 0.95, 0.99, and above."""
        return int(values[sum(self.recall > bound for bound in (0.90, 0.95, 0.99))])


def workload(rows: int, dim: int, vector_type: str = "FLOAT_VECTOR", **options: Unpack[PlanOptions]) -> Workload:
    """So many vectors of that length and type, in that use; raises `DefinitionError` for what cannot be."""
    for name, value, fits, accepted in (
        ("rows", rows, rows >= 1, "at least 1"),
        ("dim", dim, 1 <= dim <= MAX_DIM, f"from 1 to {MAX_DIM}"),
        ("vector_type", vector_type, vector_type in VECTOR_TYPES, f"one of {', '.join(VECTOR_TYPES)}"),
    ):
        if not fits:
            raise DefinitionError(f"{name} must be {accepted}, not {value!r}", where=name)
    try:
        asked = settled(PlanOptions, options)
    except OptionError as exc:
        raise DefinitionError(str(exc), where=exc.name) from exc
    return Workload(rows=rows, dim=dim, vector_type=vector_type, **asked)
