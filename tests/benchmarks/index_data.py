"""Vectors for the index benchmarks, and a collection of them."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))  # rows.py and milvus_server.py lie beside this folder

from rows import numbered

from imgvec.exchange import NoEncoder, unbound_binding

if TYPE_CHECKING:
    from imgvec.milvus import Store

Vectors = NDArray[np.float32]
DIM = 384


def no_encoder(dim: int) -> NoEncoder:
    """Only a binding: the vectors are here already."""
    return NoEncoder(unbound_binding(dim))


def real() -> tuple[Vectors, Vectors] | None:
    """CIFAR-10 as (50,000, 384) rows and (10,000, 384) queries, unit vectors; None without IMGVEC_TEST_DATA.

    The queries are in random order: in the file they are sorted by class, and some classes are easier than others.
    """
    data = os.environ.get("IMGVEC_TEST_DATA")
    if not data or not (Path(data) / "vectors_cifar10.npy").exists():
        return None
    made = unit(np.load(Path(data) / "vectors_cifar10.npy").astype(np.float32))
    with gzip.open(Path(data) / "vectors_cifar10.tsv.gz", "rt", encoding="utf-8") as lines:
        train = np.array([line.rstrip("\n").split("\t")[1] == "train" for line in lines])
    return made[train], np.random.default_rng(2).permutation(made[~train])


def vectors(rows: int) -> Vectors:
    """(rows, 384) unit vectors: the real ones, then noisy copies of them; random ones where there are none."""
    found, rng = real(), np.random.default_rng(0)
    base = found[0] if found else unit(rng.standard_normal((50_000, DIM)).astype(np.float32))
    if rows <= len(base):
        return base[:rows]
    more = base[rng.integers(0, len(base), rows - len(base))]
    noise = rng.standard_normal(more.shape).astype(np.float32) * np.float32(0.5 / np.sqrt(base.shape[1]))
    return np.concatenate([base, unit(more + noise)])


def unit(made: Vectors) -> Vectors:
    return np.ascontiguousarray(made / np.linalg.norm(made, axis=1, keepdims=True))


def fill(store: Store, made: Vectors, **columns: NDArray[np.int64]) -> None:
    """Upsert a row a vector, with short fields, and wait until they are sealed."""
    for start in range(0, len(made), 5000):
        part = made[start : start + 5000]
        rows = [
            numbered(start + i, **{name: int(values[start + i]) for name, values in columns.items()})
            for i in range(len(part))
        ]
        store.upsert(rows, part)
    store.flush()
