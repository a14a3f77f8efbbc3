"""NumPy's .npy: an (n, dim) array, memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imgvec.errors import SourceError
from imgvec.exchange.source import Chunk, Row, VectorSource, numbered
from imgvec.vectors import Vectors

MAGIC = b"\x93NUMPY"


def open_npy(path: Path) -> VectorSource:
    """Raises `SourceError` for anything but a two-dimensional array of numbers."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        raise SourceError(f"{path} cannot be read as .npy: {exc}") from exc
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.shape[1]:
        raise SourceError(
            f"{path} contains {array.dtype} {array.shape}, but vectors must be an (n, dim) array of numbers"
        )
    rows, dim = array.shape

    def read(start: int, stop: int) -> tuple[Vectors, list[Row]]:
        with np.errstate(over="ignore"):  # a float64 too large for float32 becomes infinite, and is refused as such
            return array[start:stop].astype(np.float32), [{} for _ in range(start, stop)]

    def chunks(size: int) -> Iterator[Chunk]:
        return numbered(rows, size, read)

    return VectorSource(path, rows, dim, chunks)
