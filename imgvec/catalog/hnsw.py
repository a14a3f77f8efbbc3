"""The index types that walk a layered graph in memory, and what a server chooses: one of them."""

from __future__ import annotations

from imgvec.catalog import memory
from imgvec.catalog.codes import NBITS, REFINE, REFINE_K, REFINE_TYPE
from imgvec.catalog.entries import DOCS, IndexType, Parameter
from imgvec.catalog.vector_types import FLOAT_METRICS, FLOATS_AND_INT8, MAX_DIM

_M = Parameter("M", "links per node in the graph", low=2, high=2048, default=30)
_EF_CONSTRUCTION = Parameter(
    "efConstruction", "candidates considered while linking a node", low=1, high=2**31 - 1, default=360
)
_EF = Parameter("ef", "candidates kept while searching", low=1, high=2**31 - 1, default=64, at_least_limit=True)
_SQ_TYPE = Parameter(
    "sq_type",
    "bits of a quantized element",
    kind="choice",
    choices=("SQ4U", "SQ6", "SQ8", "BF16", "FP16"),
    default="SQ8",
)

HNSW = (
    IndexType(
        "HNSW",
        "a layered graph over whole vectors",
        "cpu",
        "graph",
        (2, 0),
        FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, params: rows * dim * width + memory.links(rows, params),
        DOCS + ": raw + rows * 2M * 4 for the base layer's links",
        build=(_M, _EF_CONSTRUCTION),
        search=(_EF,),
        lite=True,
    ),
    IndexType(
        "HNSW_SQ",
        "a graph over vectors with few bits per element",
        "cpu",
        "graph",
        (2, 5),
        FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, params: memory.scalar_quantized(rows, dim, width, params) + memory.links(rows, params),
        DOCS + ": codes + rows * 2M * 4",
        build=(_M, _EF_CONSTRUCTION, _SQ_TYPE, REFINE, REFINE_TYPE),
        search=(_EF, REFINE_K),
        lite=True,
    ),
    IndexType(
        "HNSW_PQ",
        "a graph over product-quantized vectors",
        "cpu",
        "graph",
        (2, 5),
        FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, params: (
            memory.product_quantized(rows, dim, width, {"m": 32, **params}) + memory.links(rows, params)
        ),
        DOCS + ": rows * m * nbits / 8 + rows * 2M * 4",
        build=(
            _M,
            _EF_CONSTRUCTION,
            Parameter("m", "pieces a vector is cut into; divides its dimension", low=1, high=MAX_DIM, default=32),
            NBITS,
            REFINE,
            REFINE_TYPE,
        ),
        search=(_EF, REFINE_K),
    ),
    IndexType(
        "HNSW_PRQ",
        "a graph over residual product-quantized vectors",
        "cpu",
        "graph",
        (2, 5),
        FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, params: (
            memory.product_quantized(rows, dim, width, {"m": 2, "nrq": 2, **params}) + memory.links(rows, params)
        ),
        DOCS + ": rows * m * nrq * nbits / 8 + rows * 2M * 4",
        build=(
            _M,
            _EF_CONSTRUCTION,
            Parameter("m", "pieces a vector is cut into; divides its dimension", low=1, high=MAX_DIM, default=2),
            Parameter("nrq", "residual rounds", low=1, high=16, default=2),
            NBITS,
            REFINE,
            REFINE_TYPE,
        ),
        search=(_EF, REFINE_K),
    ),
)

AUTOINDEX = IndexType(
    "AUTOINDEX",
    "what the server chooses",
    "cpu",
    "auto",
    (2, 2),
    FLOATS_AND_INT8,
    FLOAT_METRICS,
    lambda rows, dim, width, _params: rows * dim * width + rows * 2 * 18 * 4,
    "HNSW with M 18 on an open-source server",
    lite=True,
)
