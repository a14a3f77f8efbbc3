"""Ranks every index type for a workload, with memory, build cost, parameters and reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from typing_extensions import Unpack

from imgvec.indexes.candidates import SEEDED_ONCE_REACH, Candidate, candidates
from imgvec.indexes.rules import CAGRA_SEEDS, GPU_DOCS, Reason, judged
from imgvec.indexes.workload import SEGMENT_BYTES, PlanOptions, workload
from imgvec.options import documented

USABLE = 0.9
"""The share of a query node's memory that Milvus fills (`queryNode.overloadedMemoryThresholdPercentage`, 90)."""
SHARD_BYTES = 100 * 10**9
"""One shard more for each 100 GB to insert (Milvus documentation, Create Collection, set shard number)."""
_MOST_SHARDS = 16
_MIB = 2**20

_LOADING = "Milvus configuration: queryNode.overloadedMemoryThresholdPercentage"


@dataclass(frozen=True, slots=True)
class Proposal:
    """One index for the workload; sizes in bytes, for one replica, of the vector field alone."""

    type: str
    vector_type: str
    build: Mapping[str, Any]
    search: Mapping[str, Any]
    """Where tuning may start."""
    fits: bool
    """One query node, and the GPU where it takes one, hold it."""
    reaches: bool
    """Whether some search parameters reach the requested recall."""
    why_not: str | None
    """Why the backend lacks this index or vector type; None if it has them, or if no backend is known."""
    memory: int
    """`index_bytes` + `growing_bytes`. Scalar fields, and copies while segments are compacted, come on top."""
    index_bytes: int
    growing_bytes: int
    """Raw vectors not yet in an indexed segment: a segment a shard, unless rows are written rarely."""
    disk: int
    """On the query nodes: a disk index, or the raw vectors that an index without them answers with, cached there."""
    gpu: int
    build_cost: float
    """Distance computations, those in matrix products divided by `candidates.BATCHED`."""
    build_formula: str
    expected: str
    reasons: tuple[Reason, ...]
    nodes: int
    """Query nodes of that memory, for all replicas."""
    shards: int
    settings: Mapping[str, int | bool]
    """What the server's configuration must say."""
    since: tuple[int, ...]
    """The first Milvus version that has it."""
    points: int


@documented(PlanOptions)
def plan(
    rows: int,
    dim: int,
    *,
    vector_type: str = "FLOAT_VECTOR",
    lacks: Mapping[str, str] = MappingProxyType({}),
    **options: Unpack[PlanOptions],
) -> list[Proposal]:
    """Indexes for `rows` vectors of `dim` elements, best first.

    `lacks` maps the index types, vector types and search parameters that the backend lacks to the reason; such types
    come last. Order: first what fits on one node and reaches the recall, by the rules' points; then what needs several
    nodes, smallest first; then what cannot reach the recall. So less memory never puts a bigger index first. Raises
    `DefinitionError` where a number cannot be.
    """
    w = workload(rows, dim, vector_type, **options)
    found = [(each, _proposal(each, lacks)) for each in (_without(c, lacks) for c in candidates(w))]
    found.sort(key=lambda pair: _rank(*pair))
    return [proposal for _, proposal in found]


def _without(c: Candidate, lacks: Mapping[str, str]) -> Candidate:
    """The candidate as the backend has it: without search parameters that it lacks, and what that costs."""
    c = replace(c, search={name: value for name, value in c.search.items() if name not in lacks})
    return replace(c, reach=min(c.reach, SEEDED_ONCE_REACH)) if c.seeded_once else c


def _rank(c: Candidate, p: Proposal) -> tuple[float, ...]:
    order = (-p.points, p.memory) if p.fits or c.impossible else (p.memory, -p.points)
    return p.why_not is not None, c.impossible is not None, not p.reaches, not p.fits, *order


def _proposal(c: Candidate, lacks: Mapping[str, str]) -> Proposal:
    w = c.workload
    points, reasons = judged(c)
    shards = min(_MOST_SHARDS, 1 + int(w.raw / SHARD_BYTES))
    growing = 0 if w.updates == "rarely" else math.ceil(min(w.raw, shards * SEGMENT_BYTES))
    index = 0 if c.on_gpu else c.size
    a_replica = max(1, math.ceil((index + growing) / (USABLE * w.memory))) if w.memory else 1
    reaches = w.recall <= c.reach
    problems = []
    if c.impossible:
        problems.append(Reason(c.impossible, GPU_DOCS))
    if a_replica > 1:
        many = f"more than {USABLE:.0%} of a node's {size(w.memory or 0)}"
        problems.append(Reason(f"{many}: segments spread over {a_replica} query nodes per replica", _LOADING))
    if not reaches:
        said = f"recall {w.recall:g} is out of reach: at most {c.reach:g}"
        measured = "measured: exhaustive search over 50,000 DINOv2 vectors"
        problems.append(Reason(said, CAGRA_SEEDS if c.seeded_once else measured))
    cost, formula = c.building
    return Proposal(
        type=c.kind.name,
        vector_type=c.vector_type,
        build=c.build,
        search=c.search,
        fits=a_replica == 1 and c.impossible is None,
        reaches=reaches,
        why_not=lacks.get(c.kind.name) or lacks.get(c.vector_type),
        memory=index + growing,
        index_bytes=index,
        growing_bytes=growing,
        disk=c.disk,
        gpu=c.gpu,
        build_cost=cost,
        build_formula=formula,
        expected=_expected(c, reaches),
        reasons=(*problems, *reasons),
        nodes=a_replica * w.replicas,
        shards=shards,
        settings=_settings(c),
        since=c.since,
        points=points,
    )


def _expected(c: Candidate, reaches: bool) -> str:
    w = c.workload
    over = f" over {w.segments:,} segments" if w.segments > 1 else ""
    work = f"about {c.comparisons:,} comparisons per query{over}"
    if c.reach == 1:
        return f"exact: {work}"
    if c.exact:
        return f"recall {c.reach:g}, exact except for the rounded vectors: {work}"
    start = ", ".join(f"{name} {value}" for name, value in c.search.items())
    about = f"about {min(w.recall, c.reach):g}" if reaches else f"at most {c.reach:g}"
    return f"recall {about} from {start}: {work}"


def _settings(c: Candidate) -> dict[str, int | bool]:
    if c.kind.device == "disk":
        return {"queryNode.enableDisk": True}
    if c.kind.device == "gpu":
        needed = math.ceil(c.gpu / _MIB)
        # Milvus takes the first at once and grows to the second, once; both in MB
        return {"gpu.initMemSize": max(2048, needed), "gpu.maxMemSize": max(4096, math.ceil(1.25 * needed))}
    return {}


def size(count: float) -> str:
    """Bytes in readable form: 7.2 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
