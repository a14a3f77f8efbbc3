"""Annoy files: memory-mapped trees that hold each item's vector, and say neither its length nor their metric."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from imgvec.errors import MissingExtra, SourceError, UsageError
from imgvec.exchange.source import Chunk, Row, VectorSource, numbered
from imgvec.vectors import Vectors

SUFFIXES = (".ann", ".annoy", ".tree")
METRICS = {"angular": "COSINE", "dot": "IP", "euclidean": "L2"}
"""Annoy's metrics, and Milvus's that order neighbours alike: angular is sqrt(2 - 2 cos)."""
_NODE_BYTES = 12
"""The least that a node takes beside its vector."""


def open_annoy(path: Path, dim: int, metric: str) -> VectorSource:
    """An Annoy file of `dim` elements and one of `METRICS`; each row's id is its item's number.

    Annoy fills numbers that were never added with zeros; an import refuses those. Raises `SourceError`.
    """
    if metric not in METRICS:
        raise UsageError(f"{path}: the metric of an Annoy file must be one of {', '.join(METRICS)}, not {metric}")
    try:
        import annoy
    except ImportError as exc:
        raise MissingExtra("annoy", f"{path}: an Annoy file needs annoy") from exc
    made: Any = annoy.AnnoyIndex
    index = made(dim, metric)
    try:
        index.load(str(path))
    except (OSError, ValueError) as exc:
        raise SourceError(f"{path} is not an Annoy file of dimension {dim} and metric {metric}: {exc}") from exc
    rows = index.get_n_items()
    # Annoy checks hardly more than the length of the file, and reads on behind its end
    if not 0 < rows * (_NODE_BYTES + 4 * dim) <= path.stat().st_size:
        raise SourceError(f"{path} is not an Annoy file of dimension {dim} and metric {metric}")

    def read(start: int, stop: int) -> tuple[Vectors, list[Row]]:
        numbers = range(start, stop)
        vectors = np.array([index.get_item_vector(number) for number in numbers], np.float32)
        return vectors, [{"id": number} for number in numbers]

    def chunks(size: int) -> Iterator[Chunk]:
        return numbered(rows, size, read)

    return VectorSource(path, rows, dim, chunks, METRICS[metric])
