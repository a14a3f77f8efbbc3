"""Rules for and against an index, as data: points, the case, a sentence, and its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imgvec.indexes.candidates import SEEDED_ONCE_ROWS, Candidate
from imgvec.indexes.workload import Workload

CHOICE = "Milvus documentation 2.6, Index Explained (milvus.io/docs/index-explained.md)"
GPU_DOCS = "Milvus documentation 2.6, GPU Index (milvus.io/docs/gpu-index-overview.md)"
FAISS = "Faiss wiki, Guidelines to choose an index"
HNSW = "Malkov and Yashunin, HNSW (arXiv:1603.09320)"
DISKANN = "Subramanya and others, DiskANN (NeurIPS 2019)"
CAGRA = "Ootomo and others, CAGRA (arXiv:2308.15136)"
CAGRA_SEEDS = "github.com/milvus-io/milvus/issues/49864, measured in github.com/NVIDIA/cuvs/issues/2102"
RABITQ = "Gao and Long, RaBitQ (arXiv:2405.12497)"
ROUNDED = "measured: exhaustive search over 50,000 DINOv2 vectors of that type"
SCAN = "one core reads 10 GB/s"

SMALL_BYTES = 32 * 2**20
"""What one core reads in some 3 ms."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence for or against an index, and its source."""

    says: str
    source: str


@dataclass(frozen=True, slots=True)
class Rule:
    """`points` for every candidate in whose case it `holds`; `says` is formatted with the workload `w`."""

    points: int
    holds: Callable[[Candidate], bool]
    says: str
    source: str


def _many(w: Workload) -> bool:
    """Asked for more hits than a graph's search is made for; of a few rows alone, any limit is a large share."""
    return w.limit > 2000 or w.limit >= 0.01 * w.rows


RULES = (
    # what each kind of index is
    Rule(
        80,
        lambda c: c.exact and c.workload.raw <= SMALL_BYTES,
        "exact, with nothing to build or tune, and comparing {w.rows:,} rows takes only milliseconds",
        SCAN,
    ),
    Rule(
        -30,
        lambda c: c.exact and c.workload.raw > SMALL_BYTES,
        "exact, but each query is compared with all {w.rows:,} rows",
        FAISS,
    ),
    Rule(
        30,
        lambda c: c.graph and c.kind.device != "disk",
        "a graph reaches a recall with the fewest comparisons, if it fits in memory",
        FAISS,
    ),
    Rule(
        18,
        lambda c: c.kind.device == "disk",
        "a quarter of the vectors' memory or less: graph and whole vectors are on NVMe, for a few ms more per query",
        DISKANN,
    ),
    Rule(15, lambda c: c.ivf, "clusters are cheap to build, but compare with more rows than a graph", CHOICE),
    # how vectors are held
    Rule(1, lambda c: c.kind.name == "SCANN", "4-bit codes are scanned first, whole vectors rerank the best", CHOICE),
    Rule(
        -2,
        lambda c: c.kind.name == "IVF_SQ8",
        "one byte per element: a quarter of the memory, at some cost in recall",
        CHOICE,
    ),
    Rule(-5, lambda c: c.kind.name == "HNSW_SQ", "one byte per element plus the links, at some cost in recall", CHOICE),
    Rule(-3, lambda c: c.kind.name == "IVF_RABITQ", "one bit per element, with bounded error", RABITQ),
    Rule(-9, lambda c: c.kind.name in ("HNSW_PQ", "HNSW_PRQ"), "product codes cost a graph a lot of recall", CHOICE),
    Rule(-6, lambda c: c.kind.name.endswith("IVF_PQ"), "product codes are the smallest, but cost recall", FAISS),
    Rule(-4, lambda c: c.kind.name == "AISAQ", "its codes are on disk too: little memory, more reads", CHOICE),
    Rule(
        -2,
        lambda c: _smaller(c, "FLOAT16_VECTOR"),
        "two bytes per element cost almost no recall (0.996); needs a new collection",
        ROUNDED,
    ),
    Rule(
        -3,
        lambda c: _smaller(c, "BFLOAT16_VECTOR"),
        "two bytes per element with 8 bits of precision (0.958); needs a new collection",
        ROUNDED,
    ),
    Rule(
        -12,
        lambda c: _smaller(c, "INT8_VECTOR"),
        "one byte per element, scaled by 127, costs recall (0.80); needs a new collection",
        ROUNDED,
    ),
    # filters: the share of the rows that they take away
    Rule(
        40,
        lambda c: c.ivf and 0.85 <= c.workload.filtered < 0.95,
        "clusters suit filters that exclude 85 to 95 % of the rows",
        CHOICE,
    ),
    Rule(
        -20,
        lambda c: c.graph and 0.85 <= c.workload.filtered < 0.95,
        "a graph loses its paths if 85 to 95 % of it is filtered out",
        CHOICE,
    ),
    Rule(
        100,
        lambda c: c.exact and c.workload.filtered >= 0.95,
        "the 5 % or less that filters leave is best compared directly",
        CHOICE,
    ),
    Rule(
        -40,
        lambda c: c.graph and c.workload.filtered >= 0.95,
        "a graph loses recall first if 95 % or more of it is filtered out",
        CHOICE,
    ),
    # many hits
    Rule(
        40,
        lambda c: c.ivf and _many(c.workload),
        "clusters suit a limit of more than 2,000 hits or 1 % of the rows",
        CHOICE,
    ),
    Rule(
        -20,
        lambda c: c.graph and _many(c.workload),
        "a graph slows down with the {w.limit:,} hits it has to keep",
        CHOICE,
    ),
    # recall
    Rule(
        70,
        lambda c: c.exact and c.on_gpu and c.workload.recall > 0.99,
        "for a recall above 0.99, compare exactly on the GPU",
        CHOICE,
    ),
    # updates
    Rule(
        -25,
        lambda c: c.graph and c.kind.device != "gpu" and c.workload.updates == "always",
        "every sealed or compacted segment has its graph rebuilt, row by row",
        HNSW,
    ),
    Rule(
        5,
        lambda c: c.ivf and c.workload.updates == "always",
        "segments that come with each update are clustered in seconds",
        CHOICE,
    ),
    # the GPU
    Rule(20, lambda c: c.on_gpu, "the GPU answers many queries at once", CAGRA),
    Rule(
        10,
        lambda c: c.gpu_built,
        "built on the GPU 2.2 to 27 times as fast as HNSW, searched by CPU nodes; the GPU holds a segment at a time",
        CAGRA,
    ),
    Rule(
        0,
        lambda c: "num_random_samplings" in c.search and c.workload.segment_rows > SEEDED_ONCE_ROWS,
        "needs num_random_samplings, from Milvus 2.6.20: from one entry point it would find about 60 % of such "
        "segments; 8 cost 16 to 27 % of the queries per second",
        CAGRA_SEEDS,
    ),
    Rule(
        -60,
        lambda c: c.kind.device == "gpu" and c.workload.raw <= SMALL_BYTES,
        "too few rows to be worth sending to the GPU",
        SCAN,
    ),
)


def _smaller(c: Candidate, vector_type: str) -> bool:
    return c.vector_type == vector_type != c.workload.vector_type


def judged(candidate: Candidate) -> tuple[int, tuple[Reason, ...]]:
    """The points of the rules that hold, and their reasons, the weightiest first."""
    held = [rule for rule in RULES if rule.holds(candidate)]
    held.sort(key=lambda rule: -abs(rule.points))
    return sum(rule.points for rule in held), tuple(
        Reason(rule.says.format(w=candidate.workload), rule.source) for rule in held
    )
