"""The index types that a GPU builds and searches."""

from __future__ import annotations

from imgvec.catalog import memory
from imgvec.catalog.entries import DOCS, IndexType, Parameter
from imgvec.catalog.ivf import NLIST, NPROBE
from imgvec.catalog.vector_types import FLOAT_METRICS, MAX_DIM

_FLOATS = ("FLOAT_VECTOR", "FLOAT16_VECTOR")
_CANNOT = ("range search", "group-by", "iterators", "mmap")
_CACHE_ON_DEVICE = Parameter(
    "cache_dataset_on_device", "keep the raw vectors in GPU memory", kind="bool", default=False
)

GPU = (
    IndexType(
        "GPU_BRUTE_FORCE",
        "exact, on the GPU",
        "gpu",
        "exact",
        (2, 4),
        _FLOATS,
        FLOAT_METRICS,
        memory.raw,
        DOCS + ": the raw vectors, in GPU memory",
        cannot=_CANNOT,
    ),
    IndexType(
        "GPU_IVF_FLAT",
        "clusters of whole vectors, on the GPU",
        "gpu",
        "ivf",
        (2, 3),
        _FLOATS,
        FLOAT_METRICS,
        memory.raw,
        DOCS + ": about the raw vectors, in GPU memory",
        build=(NLIST, _CACHE_ON_DEVICE),
        search=(NPROBE,),
        max_limit=2048,
        cannot=_CANNOT,
    ),
    IndexType(
        "GPU_IVF_PQ",
        "clusters of product-quantized vectors, on the GPU",
        "gpu",
        "ivf",
        (2, 3),
        _FLOATS,
        FLOAT_METRICS,
        memory.product_quantized,
        DOCS + ": rows * m * nbits / 8, in GPU memory",
        build=(
            NLIST,
            Parameter("m", "pieces a vector is cut into; 0 is automatic", low=0, high=MAX_DIM, default=0),
            Parameter("nbits", "bits a code has", low=4, high=8, default=8),
            _CACHE_ON_DEVICE,
        ),
        search=(NPROBE,),
        max_limit=1024,
        cannot=_CANNOT,
    ),
    IndexType(
        "GPU_CAGRA",
        "a graph built and searched on the GPU",
        "gpu",
        "graph",
        (2, 4),
        _FLOATS,
        FLOAT_METRICS,
        memory.cagra,
        DOCS + ": raw + rows * graph_degree * 4; the documentation advises 1.8 times raw on the device",
        build=(
            Parameter("intermediate_graph_degree", "links before pruning", low=1, high=4096, default=128),
            Parameter("graph_degree", "links after pruning", low=1, high=4096, default=64),
            Parameter(
                "build_algo",
                "how the initial graph is built",
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
            Parameter("search_width", "entry points tried per step", low=1, high=1024),
            Parameter("min_iterations", "minimum number of steps", low=0, high=2**31 - 1),
            Parameter("max_iterations", "maximum number of steps; 0 is automatic", low=0, high=2**31 - 1),
            Parameter("team_size", "GPU threads per distance", kind="choice", choices=("4", "8", "16", "32")),
            Parameter(
                "num_random_samplings",
                "draws of random entry points; with 1, Milvus's own, large segments find about 60 %; 8 cost 16 to 27 % "
                "of the queries a second",
                low=1,
                high=2**31 - 1,
                default=8,
                since=(2, 6, 20),
                when=("adapt_for_cpu", False),
            ),
            # Milvus before 2.6.20 fails every search on the CPU that names no ef (knowhere#1510)
            Parameter(
                "ef",
                "candidates if adapt_for_cpu searches on the CPU",
                low=1,
                high=2**31 - 1,
                default=64,
                at_least_limit=True,
                when=("adapt_for_cpu", True),
            ),
        ),
        max_limit=1024,
        cannot=_CANNOT,
    ),
)
