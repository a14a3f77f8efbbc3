"""Every Milvus index type, as frozen data: the one place that definitions, command help and errors derive from.

Ranges and defaults are those of zilliztech/knowhere (August 2026) where the code and the Milvus documentation (2.6)
disagree. Memory formulas are the documentation's, checked against a server's process where it says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from imgvec.errors import DefinitionError
from imgvec.indexes import memory
from imgvec.indexes.index_type import MAX_LIMIT, IndexType, Parameter, Version

MAX_DIM = 32_768

FLOAT_METRICS = ("COSINE", "IP", "L2")
BINARY_METRICS = ("HAMMING", "JACCARD")

#: Bytes an element of each vector type takes, and the first Milvus version that has it.
VECTOR_TYPES: Mapping[str, tuple[float, Version]] = MappingProxyType(
    {
        "FLOAT_VECTOR": (4, (2, 0)),
        "FLOAT16_VECTOR": (2, (2, 4)),
        "BFLOAT16_VECTOR": (2, (2, 4)),
        "INT8_VECTOR": (1, (2, 6)),
        "BINARY_VECTOR": (1 / 8, (2, 0)),
    }
)
_FLOATS = ("FLOAT_VECTOR", "FLOAT16_VECTOR", "BFLOAT16_VECTOR")
_FLOATS_AND_INT8 = (*_FLOATS, "INT8_VECTOR")
_GPU_FLOATS = ("FLOAT_VECTOR", "FLOAT16_VECTOR")


NLIST = Parameter("nlist", "clusters the rows are divided into", low=1, high=65_536, default=128)
NPROBE = Parameter("nprobe", "clusters searched", low=1, high=65_536, default=8)
_M = Parameter("M", "links a node has in the graph", low=2, high=2048, default=30)
_EF_CONSTRUCTION = Parameter(
    "efConstruction", "candidates looked at while a node is linked", low=1, high=2**31 - 1, default=360
)
_EF = Parameter("ef", "candidates kept while searching", low=1, high=2**31 - 1, default=64, at_least_limit=True)
_NBITS = Parameter("nbits", "bits a code has", low=1, high=24, default=8)
_REFINE = Parameter("refine", "keep finer vectors to order the candidates again", kind="bool", default=False)
_REFINE_TYPE = Parameter(
    "refine_type", "precision of those finer vectors", kind="choice", choices=("SQ6", "SQ8", "FP16", "BF16", "FP32")
)
_RABITQ_REFINE_TYPE = Parameter(
    "refine_type",
    "precision of those finer vectors",
    kind="choice",
    choices=("SQ6", "SQ8", "FP16", "BF16", "FP32", "FLAT"),
)
_REFINE_K = Parameter(
    "refine_k", "times `limit` candidates ordered again", kind="float", low=1, high=float(MAX_LIMIT), default=1
)
_CACHE_ON_DEVICE = Parameter(
    "cache_dataset_on_device", "keep the raw vectors in GPU memory", kind="bool", default=False
)

_GPU_CANNOT = ("range search", "group-by", "iterators", "mmap")


_SQ_TYPE = Parameter("sq_type", "bits of a quantized element", kind="choice", choices=("SQ4", "SQ6", "SQ8"))
_HNSW_SQ_TYPE = Parameter(
    "sq_type",
    "bits of a quantized element",
    kind="choice",
    choices=("SQ4U", "SQ6", "SQ8", "BF16", "FP16"),
    default="SQ8",
)
_DOCS = "Milvus documentation 2.6, index pages"

_TYPES = (
    IndexType(
        "FLAT",
        "exact: compares with every row",
        "cpu",
        "exact",
        (2, 0),
        _FLOATS_AND_INT8,
        FLOAT_METRICS,
        memory.raw,
        _DOCS + ": the raw vectors",
        lite=True,
    ),
    IndexType(
        "IVF_FLAT",
        "clusters of whole vectors",
        "cpu",
        "ivf",
        (2, 0),
        _FLOATS,
        FLOAT_METRICS,
        memory.raw,
        _DOCS + ": about the raw vectors",
        build=(NLIST,),
        search=(NPROBE,),
        lite=True,
    ),
    IndexType(
        "IVF_SQ8",
        "clusters of vectors with one byte an element",
        "cpu",
        "ivf",
        (2, 0),
        _FLOATS,
        FLOAT_METRICS,
        memory.scalar_quantized,
        _DOCS + ": a quarter of float32",
        build=(NLIST, _SQ_TYPE, _REFINE, _REFINE_TYPE),
        search=(NPROBE, _REFINE_K),
        lite=True,
    ),
    IndexType(
        "IVF_PQ",
        "clusters of product-quantized vectors",
        "cpu",
        "ivf",
        (2, 0),
        _FLOATS,
        FLOAT_METRICS,
        memory.product_quantized,
        _DOCS + ": rows * m * nbits / 8",
        build=(
            NLIST,
            Parameter("m", "pieces a vector is cut into; divides its dimension", low=1, high=MAX_DIM, required=True),
            _NBITS,
            _REFINE,
            _REFINE_TYPE,
        ),
        search=(NPROBE, _REFINE_K),
    ),
    IndexType(
        "IVF_RABITQ",
        "clusters of vectors with one bit an element",
        "cpu",
        "ivf",
        (2, 6),
        _FLOATS,
        FLOAT_METRICS,
        lambda rows, dim, width, params: rows * (dim / 8 + 8) + memory.refined(rows, dim, width, params),
        "RaBitQ (SIGMOD 2024): a bit an element and two floats a row, and the finer vectors where refine",
        build=(NLIST, _REFINE, _RABITQ_REFINE_TYPE),
        search=(
            NPROBE,
            Parameter("rbq_bits_query", "bits a query element is quantized to; 0 for none", low=0, high=8, default=0),
            _REFINE_K,
        ),
    ),
    IndexType(
        "SCANN",
        "clusters of 4-bit codes, ordered again by the raw vectors",
        "cpu",
        "ivf",
        (2, 3),
        _FLOATS,
        FLOAT_METRICS,
        memory.scann,
        _DOCS + ": 4 bits a piece, and the raw vectors where with_raw_data",
        build=(
            NLIST,
            Parameter("with_raw_data", "keep the raw vectors in the index", kind="bool", default=True),
            Parameter("sub_dim", "elements a code stands for; divides the dimension", low=1, high=MAX_DIM, default=2),
        ),
        search=(
            NPROBE,
            Parameter(
                "reorder_k", "candidates ordered again by the raw vectors", low=1, high=2**31 - 1, at_least_limit=True
            ),
        ),
        needs="AVX2",
    ),
    IndexType(
        "HNSW",
        "a layered graph over whole vectors",
        "cpu",
        "graph",
        (2, 0),
        _FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, params: rows * dim * width + memory.links(rows, params),
        _DOCS + ": raw + rows * 2M * 4 for the base layer's links",
        build=(_M, _EF_CONSTRUCTION),
        search=(_EF,),
        lite=True,
    ),
    IndexType(
        "HNSW_SQ",
        "a graph over vectors with few bits an element",
        "cpu",
        "graph",
        (2, 5),
        _FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, params: memory.scalar_quantized(rows, dim, width, params) + memory.links(rows, params),
        _DOCS + ": codes + rows * 2M * 4",
        build=(_M, _EF_CONSTRUCTION, _HNSW_SQ_TYPE, _REFINE, _REFINE_TYPE),
        search=(_EF, _REFINE_K),
        lite=True,
    ),
    IndexType(
        "HNSW_PQ",
        "a graph over product-quantized vectors",
        "cpu",
        "graph",
        (2, 5),
        _FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, params: (
            memory.product_quantized(rows, dim, width, {"m": 32, **params}) + memory.links(rows, params)
        ),
        _DOCS + ": rows * m * nbits / 8 + rows * 2M * 4",
        build=(
            _M,
            _EF_CONSTRUCTION,
            Parameter("m", "pieces a vector is cut into; divides its dimension", low=1, high=MAX_DIM, default=32),
            _NBITS,
            _REFINE,
            _REFINE_TYPE,
        ),
        search=(_EF, _REFINE_K),
    ),
    IndexType(
        "HNSW_PRQ",
        "a graph over residual product-quantized vectors",
        "cpu",
        "graph",
        (2, 5),
        _FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, params: (
            memory.product_quantized(rows, dim, width, {"m": 2, "nrq": 2, **params}) + memory.links(rows, params)
        ),
        _DOCS + ": rows * m * nrq * nbits / 8 + rows * 2M * 4",
        build=(
            _M,
            _EF_CONSTRUCTION,
            Parameter("m", "pieces a vector is cut into; divides its dimension", low=1, high=MAX_DIM, default=2),
            Parameter("nrq", "residual rounds", low=1, high=16, default=2),
            _NBITS,
            _REFINE,
            _REFINE_TYPE,
        ),
        search=(_EF, _REFINE_K),
    ),
    IndexType(
        "DISKANN",
        "a graph on disk, with codes in memory",
        "disk",
        "graph",
        (2, 2),
        _FLOATS,
        FLOAT_METRICS,
        lambda rows, dim, width, _params: rows * dim * width / 4,
        _DOCS + ": about a quarter of the raw vectors in memory, the rest on NVMe",
        search=(Parameter("search_list", "candidates kept while searching", low=1, high=65_535, at_least_limit=True),),
        needs="a fast local disk and queryNode.enableDisk; max_degree and search_list_size stand in the server's yaml",
        cannot=("mmap",),
    ),
    IndexType(
        "AISAQ",
        "DISKANN with its codes on disk as well",
        "disk",
        "graph",
        (2, 6, 4),
        _FLOATS,
        FLOAT_METRICS,
        lambda rows, dim, width, _params: rows * dim * width / 100,
        "knowhere: codes stay on disk; entry points and caches remain, below a hundredth of the raw vectors",
        build=(
            Parameter("inline_pq", "codes kept beside each node on disk", low=0, high=65_535),
            Parameter("num_entry_points", "places a search can start from", low=0, high=1000, default=100),
        ),
        search=(
            Parameter("search_list", "candidates kept while searching", low=1, high=65_535, default=16),
            Parameter("vectors_beamwidth", "vectors read from disk at once", low=1, high=4, default=1),
        ),
        needs="a fast local disk and queryNode.enableDisk",
        cannot=("mmap",),
    ),
    IndexType(
        "GPU_BRUTE_FORCE",
        "exact, on the GPU",
        "gpu",
        "exact",
        (2, 4),
        _GPU_FLOATS,
        FLOAT_METRICS,
        memory.raw,
        _DOCS + ": the raw vectors, in GPU memory",
        cannot=_GPU_CANNOT,
    ),
    IndexType(
        "GPU_IVF_FLAT",
        "clusters of whole vectors, on the GPU",
        "gpu",
        "ivf",
        (2, 3),
        _GPU_FLOATS,
        FLOAT_METRICS,
        memory.raw,
        _DOCS + ": about the raw vectors, in GPU memory",
        build=(NLIST, _CACHE_ON_DEVICE),
        search=(NPROBE,),
        max_limit=2048,
        cannot=_GPU_CANNOT,
    ),
    IndexType(
        "GPU_IVF_PQ",
        "clusters of product-quantized vectors, on the GPU",
        "gpu",
        "ivf",
        (2, 3),
        _GPU_FLOATS,
        FLOAT_METRICS,
        memory.product_quantized,
        _DOCS + ": rows * m * nbits / 8, in GPU memory",
        build=(
            NLIST,
            Parameter("m", "pieces a vector is cut into; 0 chooses", low=0, high=MAX_DIM, default=0),
            Parameter("nbits", "bits a code has", low=4, high=8, default=8),
            _CACHE_ON_DEVICE,
        ),
        search=(NPROBE,),
        max_limit=1024,
        cannot=_GPU_CANNOT,
    ),
    IndexType(
        "GPU_CAGRA",
        "a graph built and searched on the GPU",
        "gpu",
        "graph",
        (2, 4),
        _GPU_FLOATS,
        FLOAT_METRICS,
        memory.cagra,
        _DOCS + ": raw + rows * graph_degree * 4; the documentation advises 1.8 times raw on the device",
        build=(
            Parameter("intermediate_graph_degree", "links before pruning", low=1, high=4096, default=128),
            Parameter("graph_degree", "links after pruning", low=1, high=4096, default=64),
            Parameter(
                "build_algo",
                "how the first graph is made",
                kind="choice",
                choices=("IVF_PQ", "NN_DESCENT", "ITERATIVE"),
            ),
            _CACHE_ON_DEVICE,
            Parameter("adapt_for_cpu", "built on the GPU, searched as HNSW on the CPU", kind="bool", default=False),
        ),
        search=(
            Parameter(
                "itopk_size", "candidates kept while searching", low=32, high=1024, multiple_of=32, at_least_limit=True
            ),
            Parameter("search_width", "entry points looked at in a step", low=1, high=1024),
            Parameter("min_iterations", "steps at least", low=0, high=2**31 - 1),
            Parameter("max_iterations", "steps at most; 0 chooses", low=0, high=2**31 - 1),
            Parameter("team_size", "GPU threads for a distance", kind="choice", choices=("4", "8", "16", "32")),
            Parameter(
                "ef", "candidates, where adapt_for_cpu searches on the CPU", low=1, high=2**31 - 1, at_least_limit=True
            ),
        ),
        max_limit=1024,
        cannot=_GPU_CANNOT,
    ),
    IndexType(
        "AUTOINDEX",
        "what the server chooses",
        "cpu",
        "auto",
        (2, 2),
        _FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, _params: rows * dim * width + rows * 2 * 18 * 4,
        "HNSW with M 18, what an open-source server makes of it",
        lite=True,
    ),
    IndexType(
        "BIN_FLAT",
        "exact, over binary vectors",
        "cpu",
        "exact",
        (2, 0),
        ("BINARY_VECTOR",),
        BINARY_METRICS,
        memory.raw,
        _DOCS + ": the raw vectors",
    ),
    IndexType(
        "BIN_IVF_FLAT",
        "clusters of binary vectors",
        "cpu",
        "ivf",
        (2, 0),
        ("BINARY_VECTOR",),
        BINARY_METRICS,
        memory.raw,
        _DOCS + ": about the raw vectors",
        build=(NLIST,),
        search=(NPROBE,),
    ),
)

INDEX_TYPES: Mapping[str, IndexType] = MappingProxyType({index.name: index for index in _TYPES})


@dataclass(frozen=True, slots=True)
class ScalarIndex:
    """One scalar index type: what filters on a field can use."""

    name: str
    about: str
    since: Version
    field_types: tuple[str, ...]
    params: tuple[Parameter, ...] = ()


_INTEGERS = ("INT8", "INT16", "INT32", "INT64")
_NUMBERS = (*_INTEGERS, "FLOAT", "DOUBLE")

_SCALARS = (
    ScalarIndex("INVERTED", "general", (2, 4), ("BOOL", *_NUMBERS, "VARCHAR", "JSON", "ARRAY")),
    ScalarIndex("BITMAP", "few distinct values (below about 500)", (2, 5), ("BOOL", *_INTEGERS, "VARCHAR", "ARRAY")),
    ScalarIndex("STL_SORT", "numbers, sorted", (2, 0), _NUMBERS),
    ScalarIndex("Trie", "strings by prefix", (2, 0), ("VARCHAR",)),
    ScalarIndex(
        "NGRAM",
        "LIKE on strings",
        (2, 6, 2),
        ("VARCHAR",),
        params=(
            Parameter("min_gram", "shortest piece", low=1, high=65_535, default=2),
            Parameter("max_gram", "longest piece", low=1, high=65_535, default=3),
        ),
    ),
)

SCALAR_INDEXES: Mapping[str, ScalarIndex] = MappingProxyType({index.name: index for index in _SCALARS})


def index_type(name: str) -> IndexType:
    """The index type of that name; raises `DefinitionError` that names those there are."""
    try:
        return INDEX_TYPES[name]
    except KeyError:
        said = f"{name!r} is not an index type (known: {', '.join(INDEX_TYPES)})"
        raise DefinitionError(said, where="type") from None
