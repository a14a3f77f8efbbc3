"""The index types that divide the rows into clusters, and search the nearest of them."""

from __future__ import annotations

from imgvec.catalog import memory
from imgvec.catalog.codes import NBITS, REFINE, REFINE_K, REFINE_TYPE
from imgvec.catalog.entries import DOCS, IndexType, Parameter
from imgvec.catalog.vector_types import BINARY_METRICS, FLOAT_METRICS, FLOATS, MAX_DIM

NLIST = Parameter("nlist", "clusters the rows are divided into", low=1, high=65_536, default=128)
NPROBE = Parameter("nprobe", "clusters searched", low=1, high=65_536, default=8)
_SQ_TYPE = Parameter("sq_type", "bits of a quantized element", kind="choice", choices=("SQ4", "SQ6", "SQ8"))
_RABITQ_REFINE_TYPE = Parameter(
    "refine_type",
    "precision of those finer vectors",
    kind="choice",
    choices=("SQ6", "SQ8", "FP16", "BF16", "FP32", "FLAT"),
)

IVF = (
    IndexType(
        "IVF_FLAT",
        "clusters of whole vectors",
        "cpu",
        "ivf",
        (2, 0),
        FLOATS,
        FLOAT_METRICS,
        memory.raw,
        DOCS + ": about the raw vectors",
        build=(NLIST,),
        search=(NPROBE,),
        lite=True,
    ),
    IndexType(
        "IVF_SQ8",
        "clusters of vectors with one byte per element",
        "cpu",
        "ivf",
        (2, 0),
        FLOATS,
        FLOAT_METRICS,
        memory.scalar_quantized,
        DOCS + ": a quarter of float32",
        build=(NLIST, _SQ_TYPE, REFINE, REFINE_TYPE),
        search=(NPROBE, REFINE_K),
        lite=True,
    ),
    IndexType(
        "IVF_PQ",
        "clusters of product-quantized vectors",
        "cpu",
        "ivf",
        (2, 0),
        FLOATS,
        FLOAT_METRICS,
        memory.product_quantized,
        DOCS + ": rows * m * nbits / 8",
        build=(
            NLIST,
            Parameter("m", "pieces a vector is cut into; divides its dimension", low=1, high=MAX_DIM, required=True),
            NBITS,
            REFINE,
            REFINE_TYPE,
        ),
        search=(NPROBE, REFINE_K),
    ),
    IndexType(
        "IVF_RABITQ",
        "clusters of vectors with one bit per element",
        "cpu",
        "ivf",
        (2, 6),
        FLOATS,
        FLOAT_METRICS,
        lambda rows, dim, width, params: rows * (dim / 8 + 8) + memory.refined(rows, dim, width, params),
        "RaBitQ (SIGMOD 2024): one bit per element and two floats per row, plus the finer vectors with refine",
        build=(NLIST, REFINE, _RABITQ_REFINE_TYPE),
        search=(
            NPROBE,
            Parameter("rbq_bits_query", "bits a query element is quantized to; 0 for none", low=0, high=8, default=0),
            REFINE_K,
        ),
    ),
    IndexType(
        "SCANN",
        "clusters of 4-bit codes, reranked by the raw vectors",
        "cpu",
        "ivf",
        (2, 3),
        FLOATS,
        FLOAT_METRICS,
        memory.scann,
        DOCS + ": 4 bits per piece, plus the raw vectors with with_raw_data",
        build=(
            NLIST,
            Parameter("with_raw_data", "keep the raw vectors in the index", kind="bool", default=True),
            Parameter("sub_dim", "elements a code stands for; divides the dimension", low=1, high=MAX_DIM, default=2),
        ),
        search=(
            NPROBE,
            Parameter(
                "reorder_k", "candidates to rerank by the raw vectors", low=1, high=2**31 - 1, at_least_limit=True
            ),
        ),
        needs="AVX2",
    ),
)

BIN_IVF_FLAT = IndexType(
    "BIN_IVF_FLAT",
    "clusters of binary vectors",
    "cpu",
    "ivf",
    (2, 0),
    ("BINARY_VECTOR",),
    BINARY_METRICS,
    memory.raw,
    DOCS + ": about the raw vectors",
    build=(NLIST,),
    search=(NPROBE,),
)
