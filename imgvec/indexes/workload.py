"""The workload of an index."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from imgvec.catalog import MAX_DIM, MAX_LIMIT, VECTOR_TYPES
from imgvec.errors import DefinitionError

Updates = Literal["rarely", "daily", "always"]

SEGMENT_BYTES = 512 * 2**20
"""Milvus builds an index a sealed segment; `dataCoord.segment.maxSize` is 512 MB on 2.3, 1024 MB since 2.4."""


@dataclass(frozen=True)
class Workload:
    """The workload of an index; raises `DefinitionError` for an invalid number."""

    rows: int
    dim: int
    memory: int | None = None
    """Bytes of one query node; None for as much as it takes."""
    gpu_memory: int | None = None
    """Bytes of one GPU; None for no GPU."""
    recall: float = 0.95
    filtered: float = 0.0
    """The share of the rows that the filters take away."""
    updates: Updates = "rarely"
    limit: int = 10
    vector_type: str = "FLOAT_VECTOR"
    replicas: int = 1

    def __post_init__(self) -> None:
        for name, fits, accepted in (
            ("rows", self.rows >= 1, "at least 1"),
            ("dim", 1 <= self.dim <= MAX_DIM, f"from 1 to {MAX_DIM}"),
            ("memory", self.memory is None or self.memory > 0, "more than 0 bytes"),
            ("gpu_memory", self.gpu_memory is None or self.gpu_memory > 0, "more than 0 bytes"),
            ("recall", 0 < self.recall <= 1, "above 0 and at most 1"),
            ("filtered", 0 <= self.filtered < 1, "at least 0 and below 1"),
            ("updates", self.updates in get_args(Updates), "rarely, daily or always"),
            ("limit", 1 <= self.limit <= MAX_LIMIT, f"from 1 to {MAX_LIMIT}"),
            ("vector_type", self.vector_type in VECTOR_TYPES, f"one of {', '.join(VECTOR_TYPES)}"),
            ("replicas", self.replicas >= 1, "at least 1"),
        ):
            if not fits:
                raise DefinitionError(f"{name} must be {accepted}, not {getattr(self, name)!r}", where=name)

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
