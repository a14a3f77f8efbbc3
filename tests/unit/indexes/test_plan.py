"""The plan: what it proposes is accepted, its order follows from what was asked, and every rule has its case."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgvec.catalog import INDEX_TYPES, MAX_LIMIT, VECTOR_TYPES
from imgvec.errors import DefinitionError
from imgvec.indexes.candidates import candidates
from imgvec.indexes.plan import Proposal, plan, size
from imgvec.indexes.rules import RULES, judged
from imgvec.indexes.workload import SEGMENT_BYTES, workload

GIB = 2**30

workloads = st.fixed_dictionaries(
    {
        "rows": st.integers(1, 10**10),
        "dim": st.integers(1, 2048),
        "recall": st.floats(0.01, 1.0),
        "filtered": st.floats(0, 0.999),
        "updates": st.sampled_from(["rarely", "daily", "always"]),
        "limit": st.integers(1, MAX_LIMIT),
        "replicas": st.integers(1, 8),
        "vector_type": st.sampled_from(sorted(VECTOR_TYPES)),
        "gpu_memory": st.none() | st.integers(1, 2**40),
    }
)
memories = st.integers(2**20, 2**44)


def key(proposal: Proposal) -> tuple[Any, ...]:
    """What tells proposals of one plan apart."""
    told = ("adapt_for_cpu", "refine")
    return proposal.type, proposal.vector_type, proposal.build.get("m"), *(proposal.build.get(name) for name in told)


@given(asked=workloads, memory=st.none() | memories)
def test_what_is_proposed_is_accepted(asked: dict[str, Any], memory: int | None) -> None:
    proposals = plan(**asked, memory=memory)
    assert proposals
    for proposal in proposals:
        kind = INDEX_TYPES[proposal.type]
        assert proposal.vector_type in kind.vector_types
        kind.check_build(proposal.build, dim=asked["dim"])
        kind.check_search(proposal.search, limit=min(asked["limit"], kind.max_limit))
        assert proposal.reasons
        assert proposal.memory == proposal.index_bytes + proposal.growing_bytes
        assert proposal.nodes >= asked["replicas"]
        assert 1 <= proposal.shards <= 16
        if proposal.fits:
            assert memory is None or proposal.memory <= memory
            assert proposal.gpu <= (asked["gpu_memory"] or 0)
            assert proposal.nodes == asked["replicas"]
            assert asked["limit"] <= kind.max_limit


@pytest.mark.slow
@given(asked=workloads, more=st.integers(1, 10**10))
def test_more_rows_never_take_less(asked: dict[str, Any], more: int) -> None:
    few = {key(proposal): proposal for proposal in plan(**asked)}
    for proposal in plan(**{**asked, "rows": asked["rows"] + more}):
        before = few[key(proposal)]
        assert proposal.memory >= before.memory
        assert proposal.disk >= before.disk
        assert proposal.index_bytes >= before.index_bytes


@pytest.mark.slow
@given(asked=workloads, memory=memories, less=st.floats(0.01, 0.99))
def test_less_memory_never_puts_a_bigger_index_first(asked: dict[str, Any], memory: int, less: float) -> None:
    assert plan(**asked, memory=math.ceil(memory * less))[0].memory <= plan(**asked, memory=memory)[0].memory


@pytest.mark.slow
@given(asked=workloads, memory=memories)
def test_what_does_not_fit_or_reach_comes_after_what_does(asked: dict[str, Any], memory: int) -> None:
    good = [proposal.fits and proposal.reaches for proposal in plan(**asked, memory=memory)]
    assert good == sorted(good, reverse=True)


@given(asked=workloads, gone=st.sets(st.sampled_from([*INDEX_TYPES, "FLOAT16_VECTOR"])))
def test_what_the_backend_lacks_comes_last_and_says_why(asked: dict[str, Any], gone: set[str]) -> None:
    proposals = plan(**asked, lacks=dict.fromkeys(gone, "needs Milvus 9"))
    missing = [proposal.why_not is not None for proposal in proposals]
    assert missing == sorted(missing)
    assert {key(p) for p in proposals} == {key(p) for p in plan(**asked)}
    for proposal in proposals:
        assert (proposal.why_not == "needs Milvus 9") == bool({proposal.type, proposal.vector_type} & gone)


SCENARIOS: list[tuple[dict[str, Any], str, str]] = [
    ({"rows": 1000}, "FLAT", "nothing to build or tune"),
    ({"rows": 50_000}, "HNSW", "fewest comparisons"),
    ({"rows": 50_000, "recall": 1.0}, "FLAT", "exact"),
    ({"rows": 1_000_000, "filtered": 0.84}, "HNSW", "fewest comparisons"),
    ({"rows": 1_000_000, "filtered": 0.9}, "SCANN", "85 to 95 %"),
    ({"rows": 1_000_000, "filtered": 0.95}, "FLAT", "5 % or less that filters leave"),
    ({"rows": 1_000_000, "limit": 2001}, "SCANN", "more than 2,000 hits"),
    ({"rows": 90_000, "limit": 900}, "SCANN", "1 % of the rows"),
    ({"rows": 1_000_000, "updates": "always"}, "SCANN", "clustered in seconds"),
    ({"rows": 1_000_000, "updates": "daily"}, "HNSW", "fewest comparisons"),
    ({"rows": 10_000_000, "memory": 16 * GIB}, "HNSW", "fewest comparisons"),  # of two bytes an element
    ({"rows": 10_000_000, "memory": 6 * GIB}, "HNSW_SQ", "one byte per element"),
    ({"rows": 10_000_000, "memory": 4 * GIB}, "DISKANN", "quarter of the vectors' memory"),
    ({"rows": 10_000_000, "memory": 4 * GIB, "filtered": 0.9}, "IVF_SQ8", "85 to 95 %"),
    ({"rows": 10_000_000, "memory": 2 * GIB}, "AISAQ", "little memory"),
    ({"rows": 10_000_000, "gpu_memory": 40 * GIB}, "GPU_CAGRA", "many queries at once"),
    ({"rows": 10_000_000, "gpu_memory": 40 * GIB, "recall": 0.995}, "GPU_BRUTE_FORCE", "exactly"),
    ({"rows": 10_000_000, "gpu_memory": 40 * GIB, "filtered": 0.9}, "GPU_IVF_FLAT", "85 to 95 %"),
    ({"rows": 1000, "gpu_memory": 40 * GIB}, "FLAT", "nothing to build or tune"),
    ({"rows": 1_000_000, "vector_type": "BINARY_VECTOR"}, "BIN_IVF_FLAT", "clusters"),
    ({"rows": 1_000_000, "vector_type": "INT8_VECTOR"}, "HNSW", "fewest comparisons"),
]


@pytest.mark.parametrize(("asked", "winner", "because"), SCENARIOS, ids=lambda value: str(value))
def test_the_winner_and_why(asked: dict[str, Any], winner: str, because: str) -> None:
    best = plan(**{"dim": 384, **asked})[0]
    assert best.type == winner
    assert because in " ".join(reason.says for reason in best.reasons)


def test_every_rule_has_its_case_and_its_source() -> None:
    asked = [{"dim": 384, **scenario} for scenario, _, _ in SCENARIOS] + [
        {"rows": 10**7, "dim": 384, "filtered": 0.9, "limit": 3000, "updates": "always", "gpu_memory": GIB}
    ]
    held = {rule for scenario in asked for c in candidates(workload(**scenario)) for rule in RULES if rule.holds(c)}
    assert held == set(RULES)
    assert all(rule.source and rule.says for rule in RULES)


def test_cagra_starts_from_eight_draws_and_says_what_they_cost() -> None:
    best = plan(10_000_000, 384, gpu_memory=40 * GIB)[0]
    assert (best.type, best.search["num_random_samplings"]) == ("GPU_CAGRA", 8)
    assert "16 to 27 % of the queries per second" in " ".join(reason.says for reason in best.reasons)
    small = next(p for p in plan(50_000, 384, gpu_memory=40 * GIB) if p.type == "GPU_CAGRA")
    assert "num_random_samplings" not in " ".join(reason.says for reason in small.reasons)


def test_a_server_without_the_draws_finds_too_little_with_cagra() -> None:
    lacks = {"num_random_samplings": "needs Milvus 2.6.20, this is 2.6.4"}
    by_device = {
        bool(p.build.get("adapt_for_cpu")): p
        for p in reversed(plan(10_000_000, 384, gpu_memory=40 * GIB, lacks=lacks))
        if p.type == "GPU_CAGRA" and p.vector_type == "FLOAT_VECTOR"
    }
    on_gpu, on_cpu = by_device[False], by_device[True]
    assert (on_gpu.reaches, on_gpu.why_not, dict(on_gpu.search)) == (False, None, {"itopk_size": 128})
    assert on_gpu.reasons[0].says == "recall 0.95 is out of reach: at most 0.6"
    assert "49864" in on_gpu.reasons[0].source
    assert (on_cpu.reaches, on_cpu.why_not) == (True, None)  # searched as HNSW
    small = next(p for p in plan(50_000, 384, gpu_memory=40 * GIB, lacks=lacks) if p.type == "GPU_CAGRA")
    assert small.reaches


def test_a_gpu_too_small_to_serve_still_builds() -> None:
    best = plan(100_000_000, 384, gpu_memory=8 * GIB)[0]
    assert (best.type, best.build["adapt_for_cpu"]) == ("GPU_CAGRA", True)
    assert best.gpu < GIB < best.memory
    assert best.settings == {"gpu.initMemSize": 2048, "gpu.maxMemSize": 4096}
    assert "ef" in best.search


def test_a_gpu_index_names_the_memory_that_the_server_must_give_it() -> None:
    best = plan(10_000_000, 384, gpu_memory=40 * GIB)[0]
    assert best.gpu == math.ceil(1.8 * 10_000_000 * 384 * 4)
    assert best.settings["gpu.initMemSize"] == math.ceil(best.gpu / 2**20)
    assert best.settings["gpu.maxMemSize"] > best.settings["gpu.initMemSize"]
    assert best.memory == 0


def test_without_a_gpu_every_gpu_index_says_so() -> None:
    for proposal in plan(10_000_000, 384):
        if proposal.type.startswith("GPU_"):
            assert not proposal.fits
            assert proposal.reasons[0].says == "needs a GPU, but none is given"


def test_more_than_one_node_holds() -> None:
    proposals = plan(1_000_000_000, 768, memory=64 * GIB, replicas=2, lacks={"AISAQ": "needs Milvus 2.6.4"})
    best = proposals[0]
    assert best.type == "DISKANN"
    assert not best.fits
    # 768 GB in nodes of which Milvus fills 90 %, twice
    assert best.nodes == 2 * math.ceil(1_000_000_000 * 768 / (0.9 * 64 * GIB))
    assert "query nodes per replica" in best.reasons[0].says
    assert best.shards == 16
    assert proposals[-1].why_not or proposals[-1].reasons[0].says == "needs a GPU, but none is given"


def test_a_recall_that_codes_cannot_reach_is_said() -> None:
    [pq, *_] = [p for p in plan(1_000_000, 384, recall=0.99) if p.type == "IVF_PQ"]
    assert not pq.reaches
    assert pq.reasons[0].says.startswith("recall 0.99 is out of reach")
    assert "at most" in pq.expected


def test_clusters_are_counted_for_a_segment() -> None:
    def nlist(rows: int, dim: int = 384) -> int:
        return int(next(p for p in plan(rows, dim) if p.type == "IVF_FLAT").build["nlist"])

    assert nlist(50_000) == round(4 * math.sqrt(50_000))
    assert nlist(10_000) == 10_000 // 39  # fewer clusters than k-means wants points for
    assert nlist(10) == 1
    assert nlist(10**9) == round(4 * math.sqrt(SEGMENT_BYTES // (384 * 4)))


def test_what_updates_keep_unindexed_is_counted() -> None:
    calm, busy = (plan(10_000_000, 384, updates=updates)[0] for updates in ("rarely", "always"))
    assert calm.growing_bytes == 0
    assert busy.growing_bytes == busy.shards * SEGMENT_BYTES


def test_a_disk_index_pads_its_nodes_to_pages() -> None:
    [disk] = [p for p in plan(1001, 384) if p.type == "DISKANN"]
    assert disk.disk == 501 * 4096  # 1536 + 57 * 4 bytes, two to a page
    [wide] = [p for p in plan(1000, 1536) if p.type == "DISKANN"]
    assert wide.disk == 1000 * 2 * 4096


def test_a_reason_comes_with_its_weight_first() -> None:
    [flat] = [c for c in candidates(workload(10**6, 384, filtered=0.97)) if c.kind.name == "FLAT" and c.reach == 1]
    points, reasons = judged(flat)
    assert points == 70
    assert [reason.says[:4] for reason in reasons] == ["the ", "exac"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rows": 0}, "rows must be at least 1, not 0"),
        ({"dim": 40_000}, "dim must be from 1 to 32768, not 40000"),
        ({"recall": 1.1}, "recall must be a number, more than 0 and at most 1, not 1.1"),
        ({"filtered": 1.0}, "filtered must be a number, at least 0 and less than 1, not 1.0"),
        ({"updates": "hourly"}, "updates must be .*rarely.*, not 'hourly'"),
        ({"limit": 20_000}, "limit must be a whole number, at least 1 and at most 16384, not 20000"),
        ({"memory": 0}, "memory must be .*, more than 0, not 0"),
        ({"vector_type": "FLOAT"}, "vector_type must be .*, not 'FLOAT'"),
    ],
)
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        plan(**{"rows": 10, "dim": 8, **wrong})


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (200 * 2**20, "200 MiB"),
        (GIB, "1.0 GiB"),
        (2**51, "2,048.0 TiB"),
    ],
)
def test_sizes_for_a_person(count: int, text: str) -> None:
    assert size(count) == text
