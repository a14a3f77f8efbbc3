"""The indexes that a plan chooses from: each type with parameters for the workload, what it reaches and costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from imgvec.catalog import INDEX_TYPES, VECTOR_TYPES, IndexType
from imgvec.indexes.workload import Workload

Params = dict[str, Any]

POINTS_A_CLUSTER = 39
"""With fewer rows a cluster Faiss's k-means warns, and Milvus takes fewer clusters."""
BATCHED = 12
"""k-means compares in matrix products, a graph's builder one pair at a time: so many times dearer (Faiss 1.15, one
core, 20,000 x 384: 0.17 us against 0.0136 us)."""
DISKANN_DEGREE, DISKANN_SEARCH_LIST = 56, 100
"""Milvus's defaults of `max_degree` and `search_list_size`, which stand in the server's yaml."""

SEEDED_ONCE_ROWS, SEEDED_ONCE_REACH = 100_000, 0.6
"""From one random entry point CAGRA finds so little in segments of more rows than that (milvus#49864, cuvs#2102)."""

# recall@10 of exhaustive search over the rounded vectors, 50,000 of DINOv2 (384 elements, unit length), 500 queries
_ROUNDED = {"FLOAT16_VECTOR": 0.996, "BFLOAT16_VECTOR": 0.958, "INT8_VECTOR": 0.80}


@dataclass(frozen=True)
class Candidate:
    """One index with its parameters, for one workload."""

    workload: Workload
    kind: IndexType
    vector_type: str
    build: Mapping[str, Any]
    search: Mapping[str, Any]
    reach: float
    """The recall@10 that no search parameters get it beyond."""

    @property
    def since(self) -> tuple[int, ...]:
        """The first Milvus version that has the index and the vector type."""
        return max(self.kind.since, VECTOR_TYPES[self.vector_type][1])

    @property
    def impossible(self) -> str | None:
        """Why it is impossible on any number of query nodes of that kind."""
        w = self.workload
        if w.limit > self.kind.max_limit:
            return f"returns at most {self.kind.max_limit:,} hits, but {w.limit:,} are wanted"
        if self.gpu and w.gpu_memory is None:
            return "needs a GPU, but none is given"
        if self.gpu > (w.gpu_memory or 0):
            return "needs more memory than the GPU has"
        return None

    @property
    def exact(self) -> bool:
        return self.kind.family == "exact"

    @property
    def ivf(self) -> bool:
        return self.kind.family == "ivf"

    @property
    def graph(self) -> bool:
        return self.kind.family == "graph"

    @property
    def on_gpu(self) -> bool:
        """Searched on the GPU."""
        return self.kind.device == "gpu" and not self.gpu_built

    @property
    def gpu_built(self) -> bool:
        """Built on the GPU, searched on the CPU."""
        return bool(self.build.get("adapt_for_cpu"))

    @property
    def seeded_once(self) -> bool:
        """CAGRA that starts from one random entry point, in segments where that finds little."""
        return (
            self.kind.name == "GPU_CAGRA"
            and self.on_gpu
            and "num_random_samplings" not in self.search
            and self.workload.segment_rows > SEEDED_ONCE_ROWS
        )

    @property
    def width(self) -> float:
        """Bytes of an element."""
        return VECTOR_TYPES[self.vector_type][0]

    @property
    def raw(self) -> float:
        """Bytes of the vectors as they are stored."""
        return self.workload.rows * self.workload.dim * self.width

    @cached_property
    def size(self) -> int:
        """Bytes of the whole index where it is searched."""
        return math.ceil(self.kind.memory(self.workload.rows, self.workload.dim, self.width, self.build))

    @property
    def gpu(self) -> int:
        """Bytes on one GPU."""
        if self.gpu_built:  # a segment after the other
            return math.ceil(1.8 * self.raw / self.workload.segments)
        if self.kind.name == "GPU_CAGRA":
            return math.ceil(1.8 * self.raw)
        return self.size if self.on_gpu else 0

    @property
    def disk(self) -> int:
        """Bytes on a query node's local disk: a disk index; or the raw vectors, cached to be answered with."""
        w = self.workload
        if self.kind.device == "disk":
            # a node is its vector, a count and its links, and does not cross a page of 4096 bytes unless it must
            node = w.dim * self.width + 4 * (DISKANN_DEGREE + 1)
            pages = math.ceil(w.rows / (4096 // node)) if node <= 4096 else w.rows * math.ceil(node / 4096)
            return 4096 * pages
        return math.ceil(self.raw) if self.kind.name in _WITHOUT_RAW else 0

    @property
    def building(self) -> tuple[float, str]:
        """Distance computations to build it, those of matrix products divided by `BATCHED`, and their formula."""
        w = self.workload
        if self.exact:
            return 0.0, "none"
        if self.kind.name == "GPU_CAGRA":
            return w.rows * 360 * 30 / 2.2, "HNSW's (M 30, efConstruction 360) / 2.2, on the GPU"
        total, formula = 0.0, ""
        if self.ivf:
            nlist = self.build["nlist"]
            trained = min(w.segment_rows, 256 * nlist)  # Faiss's most points a centroid; 10 rounds
            total = w.segments * nlist * (10 * trained + w.segment_rows) / BATCHED
            formula = f"segments * nlist * (10 * min(n, 256 * nlist) + n) / {BATCHED}, n rows per segment"
        elif self.kind.device == "disk":
            total = float(w.rows * DISKANN_SEARCH_LIST * DISKANN_DEGREE)
            formula = "rows * search_list_size * max_degree"
        else:
            total = float(w.rows * self.build["efConstruction"] * self.build["M"])
            formula = "rows * efConstruction * M"
        if self.kind.name in _PRODUCT_QUANTIZED:
            codes = 2 ** self.build.get("nbits", 8) * self.build.get("nrq", 1)
            total += codes * (25 * w.segments * min(w.segment_rows, 65_536) + w.rows) / BATCHED
            formula += f" + {codes} * (25 * segments * min(n, 65536) + rows) / {BATCHED}"
        return total, formula + (", on the GPU" if self.kind.device == "gpu" else "")

    @property
    def comparisons(self) -> int:
        """About how many distances a query computes with `search`; filters not counted."""
        w = self.workload
        if self.exact:
            return w.rows
        if self.ivf:
            nlist = int(self.build["nlist"])
            return round(w.segments * (nlist + w.segment_rows * int(self.search["nprobe"]) / nlist))
        if self.on_gpu:
            each = self.search["itopk_size"] * self.build["graph_degree"]
        elif self.kind.device == "disk":
            each = self.search["search_list"] * DISKANN_DEGREE // 2
        else:  # half of a node's 2M links lead where the search has been; Faiss counted 0.45 to 1.2 times this
            each = self.search["ef"] * self.build.get("M", self.build.get("graph_degree", 0) // 2)
        return w.segments * min(int(each), w.segment_rows)


_PRODUCT_QUANTIZED = ("IVF_PQ", "HNSW_PQ", "HNSW_PRQ", "GPU_IVF_PQ")
_WITHOUT_RAW = ("IVF_SQ8", "IVF_RABITQ", "HNSW_SQ", *_PRODUCT_QUANTIZED)


def _nlist(w: Workload) -> int:
    """4 * sqrt(n), n rows per segment (Milvus performance FAQ), bounded by what k-means and Milvus take."""
    return max(1, min(round(4 * math.sqrt(w.segment_rows)), w.segment_rows // POINTS_A_CLUSTER, 65_536))


def _clusters(w: Workload) -> Params:
    return {"nlist": _nlist(w)}


def _probes(w: Workload) -> Params:
    """A share of the clusters to start from, enough to hold twice the limit.

    3, 5, 12 and 30 % of 894 clusters found 0.92, 0.96, 0.99 and all of the 10 nearest of 50,000 DINOv2 vectors.
    """
    nlist = _nlist(w)
    share = w.by_recall(3, 5, 12, 30) / 100
    holding = 2 * w.limit * nlist / (w.segment_rows * (1 - w.filtered))
    return {"nprobe": max(1, min(nlist, math.ceil(max(share * nlist, holding))))}


def _graph(w: Workload) -> Params:
    """More links where more recall is wanted: M 5 to 48 (HNSW paper, section 4.1)."""
    return {"M": w.by_recall(16, 16, 24, 32), "efConstruction": w.by_recall(200, 200, 300, 400)}


def _ef(w: Workload) -> Params:
    """With M 16, ef 32, 64 and 128 found 0.947, 0.984 and 0.996 of the vectors above; larger segments want more."""
    return {"ef": w.by_recall(32, 64, 128, 256)}


def _pieces(w: Workload, elements: int, name: str = "m") -> Params:
    """About `elements` to a piece: the count of pieces nearest to it that divides the dimension."""
    divisors = (d for d in range(1, w.dim + 1) if w.dim % d == 0)
    return {name: min(divisors, key=lambda d: abs(math.log(d * elements / w.dim)))}


def _scann(w: Workload) -> Params:
    smallest = next((d for d in range(2, w.dim + 1) if w.dim % d == 0), 1)
    return {**_clusters(w), **({} if smallest == 2 else {"sub_dim": smallest})}


def _cagra(w: Workload) -> Params:
    degree = w.by_recall(32, 32, 64, 64)
    return {"intermediate_graph_degree": 2 * degree, "graph_degree": degree}


def _nothing(_: Workload) -> Params:
    return {}


@dataclass(frozen=True, slots=True)
class _Variant:
    type: str
    build: Callable[[Workload], Params] = _nothing
    search: Callable[[Workload], Params] = _nothing
    reach: float = 0.999
    whole: bool = False
    """It keeps whole vectors in memory, so that a smaller vector type makes it smaller."""


# `reach` of quantized types: recall@10 with the codes that Faiss 1.15 makes of the vectors named above (`_ROUNDED`),
# all compared, or those of 20 to 40 % of 894 clusters; the best 100 ordered again by 8-bit codes where it refines;
# HNSW_PRQ is taken for as good as a PQ of as many bytes
_VARIANTS = (
    _Variant("FLAT", reach=1.0, whole=True),
    _Variant("IVF_FLAT", _clusters, _probes, whole=True),
    _Variant("IVF_SQ8", _clusters, _probes, 0.984),
    _Variant("IVF_PQ", lambda w: _clusters(w) | _pieces(w, 2), _probes, 0.86),
    _Variant("IVF_PQ", lambda w: _clusters(w) | _pieces(w, 4), _probes, 0.67),
    _Variant(
        "IVF_RABITQ",
        lambda w: _clusters(w) | {"refine": True, "refine_type": "SQ8"},
        lambda w: _probes(w) | {"refine_k": w.by_recall(3, 5, 10, 10)},
        0.976,
    ),
    _Variant("IVF_RABITQ", _clusters, _probes, 0.72),
    _Variant("SCANN", _scann, lambda w: _probes(w) | {"reorder_k": w.limit * w.by_recall(10, 20, 50, 100)}),
    _Variant("HNSW", _graph, _ef, whole=True),
    _Variant("HNSW_SQ", lambda w: _graph(w) | {"sq_type": "SQ8"}, _ef, 0.978),
    _Variant("HNSW_PQ", lambda w: _graph(w) | _pieces(w, 2), _ef, 0.83),
    _Variant("HNSW_PRQ", lambda w: _graph(w) | _pieces(w, 4) | {"nrq": 2}, _ef, 0.83),
    _Variant("DISKANN", search=lambda w: {"search_list": w.by_recall(20, 50, 100, 200)}),
    _Variant("AISAQ", search=lambda w: {"search_list": max(w.limit, w.by_recall(20, 50, 100, 200))}),
    _Variant("GPU_BRUTE_FORCE", reach=1.0, whole=True),
    _Variant("GPU_IVF_FLAT", _clusters, _probes, whole=True),
    _Variant("GPU_IVF_PQ", lambda w: _clusters(w) | _pieces(w, 2), _probes, 0.86),
    _Variant(
        "GPU_CAGRA",
        _cagra,
        lambda w: {"itopk_size": w.by_recall(64, 128, 256, 512), "num_random_samplings": 8},
        whole=True,
    ),
    _Variant("GPU_CAGRA", lambda w: _cagra(w) | {"adapt_for_cpu": True}, _ef, whole=True),
    _Variant("BIN_FLAT", reach=1.0, whole=True),
    _Variant("BIN_IVF_FLAT", _clusters, _probes, whole=True),
)


def candidates(workload: Workload) -> Iterator[Candidate]:
    """Every index that holds such vectors, each with its parameters; AUTOINDEX is left out, the server's own choice.

    Search parameters are where tuning may start. Types that keep whole vectors come with each smaller vector type too.
    """
    for variant in _VARIANTS:
        kind = INDEX_TYPES[variant.type]
        rounded = _ROUNDED if variant.whole and workload.vector_type == "FLOAT_VECTOR" else {}
        for vector_type, reach in {workload.vector_type: 1.0, **rounded}.items():
            if vector_type in kind.vector_types:
                yield Candidate(
                    workload,
                    kind,
                    vector_type,
                    variant.build(workload),
                    kind.search_params(variant.search(workload), limit=min(workload.limit, kind.max_limit)),
                    min(variant.reach, reach),
                )
