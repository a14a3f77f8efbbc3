"""What vectors Milvus stores, and what it compares them by."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from imgvec.catalog.entries import Version

MAX_DIM = 32_768
MAX_VECTORS = 4
"""Vector fields of one collection: the servers' `proxy.maxVectorFieldNum` unless it is set otherwise."""

FLOAT_METRICS = ("COSINE", "IP", "L2")
BM25 = "BM25"
"""The metric of words, which Milvus keeps as sparse vectors."""
BINARY_METRICS = ("HAMMING", "JACCARD")

#: Bytes an element of each vector type takes, and the first Milvus version that has it. 2.3 accepts FLOAT16_VECTOR too,
#: but all that it searches these by is brute force, over converted copies that it has freed (`BruteForceSearch`,
#: milvus#25852): on 2.3.5 some 3 to 6 % of searches among 2,000 vectors of 256 had wrong hits or none.
VECTOR_TYPES: Mapping[str, tuple[float, Version]] = MappingProxyType(
    {
        "FLOAT_VECTOR": (4, (2, 0)),
        "FLOAT16_VECTOR": (2, (2, 4)),
        "BFLOAT16_VECTOR": (2, (2, 4)),
        "INT8_VECTOR": (1, (2, 6)),
        "BINARY_VECTOR": (1 / 8, (2, 0)),
    }
)
FLOATS = ("FLOAT_VECTOR", "FLOAT16_VECTOR", "BFLOAT16_VECTOR")
FLOATS_AND_INT8 = (*FLOATS, "INT8_VECTOR")
