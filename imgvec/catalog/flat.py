"""The index types that compare with every row."""

from __future__ import annotations

from imgvec.catalog import memory
from imgvec.catalog.entries import DOCS, IndexType
from imgvec.catalog.vector_types import BINARY_METRICS, FLOAT_METRICS, FLOATS_AND_INT8

FLAT = IndexType(
    "FLAT",
    "exact: compares with every row",
    "cpu",
    "exact",
    (2, 0),
    FLOATS_AND_INT8,
    FLOAT_METRICS,
    memory.raw,
    DOCS + ": the raw vectors",
    lite=True,
)

BIN_FLAT = IndexType(
    "BIN_FLAT",
    "exact, over binary vectors",
    "cpu",
    "exact",
    (2, 0),
    ("BINARY_VECTOR",),
    BINARY_METRICS,
    memory.raw,
    DOCS + ": the raw vectors",
)
