from __future__ import annotations

from typing import Any

import pytest

from imgvec.catalog import INDEX_TYPES, LATER_PARAMETERS, SCALAR_INDEXES, Parameter, index_type
from imgvec.errors import DefinitionError

EXPECTED = (
    "FLAT IVF_FLAT IVF_SQ8 IVF_PQ IVF_RABITQ SCANN HNSW HNSW_SQ HNSW_PQ HNSW_PRQ DISKANN AISAQ GPU_BRUTE_FORCE "
    "GPU_IVF_FLAT GPU_IVF_PQ GPU_CAGRA AUTOINDEX BIN_FLAT BIN_IVF_FLAT"
).split()


def test_every_index_type_is_there() -> None:
    assert sorted(INDEX_TYPES) == sorted(EXPECTED)
    assert sorted(SCALAR_INDEXES) == ["BITMAP", "INVERTED", "NGRAM", "RTREE", "STL_SORT", "Trie"]
    assert sorted(name for name, kind in INDEX_TYPES.items() if kind.lite) == sorted(
        ["FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX"]
    )


def test_what_has_no_default_is_asked_for() -> None:
    with pytest.raises(DefinitionError, match="IVF_PQ needs m: give an integer from 1 to 32768"):
        INDEX_TYPES["IVF_PQ"].check_build({"nlist": 8})


@pytest.mark.parametrize("name", EXPECTED)
def test_its_own_defaults_are_accepted(name: str) -> None:
    kind = INDEX_TYPES[name]
    dim = 384
    kind.check_build(kind.defaults("build") | {p.name: 1 for p in kind.build if p.required}, dim=dim)
    kind.check_search(kind.search_params(kind.defaults("search"), limit=10), limit=10)
    assert kind.about
    assert kind.memory_source
    assert kind.memory(1_000_000, dim, 4, kind.defaults("build")) > 0
    for parameter in (*kind.build, *kind.search):
        assert parameter.meaning


@pytest.mark.parametrize(
    ("name", "which", "params", "problem"),
    [
        ("HNSW", "build", {"M": 1}, "M must be an integer from 2 to 2048, not 1"),
        ("HNSW", "build", {"M": 2049}, "from 2 to 2048"),
        ("HNSW", "build", {"M": True}, "from 2 to 2048"),
        ("HNSW", "build", {"M": 16.0}, "from 2 to 2048"),
        ("HNSW", "build", {"m": 16}, "m is not a build parameter of HNSW (valid: M, efConstruction)"),
        ("HNSW", "search", {"ef": 0}, "ef must be an integer from 1"),
        ("IVF_FLAT", "build", {"nlist": 65_537}, "from 1 to 65536"),
        ("IVF_PQ", "build", {"m": 7}, "must divide the vectors' 384 dimensions"),
        ("SCANN", "build", {"with_raw_data": "yes"}, "true or false"),
        ("HNSW_SQ", "build", {"sq_type": "SQ9"}, "SQ4U, SQ6, SQ8, BF16, FP16"),
        ("GPU_CAGRA", "search", {"itopk_size": 100}, "a multiple of 32"),
        ("GPU_CAGRA", "search", {"num_random_samplings": 0}, "num_random_samplings must be an integer from 1"),
        ("AISAQ", "build", {"inline_pq": -2}, "inline_pq must be an integer from -1 to 2048"),
        ("AISAQ", "build", {"inline_pq": 2049}, "inline_pq must be an integer from -1 to 2048"),
        ("AISAQ", "build", {"rearrange": 1}, "true or false"),
        ("AISAQ", "build", {"num_entry_points": 1001}, "from 0 to 1000"),
        ("AISAQ", "search", {"vectors_beamwidth": 5}, "from 1 to 4"),
        ("IVF_RABITQ", "search", {"rbq_bits_query": 9}, "from 0 to 8"),
        ("HNSW_PRQ", "build", {"nrq": 17}, "from 1 to 16"),
        ("HNSW_PQ", "build", {"nbits": 25}, "from 1 to 24"),
        (
            "GPU_CAGRA",
            "build",
            {"graph_degree": 64, "intermediate_graph_degree": 32},
            "must be at most intermediate_graph_degree",
        ),
        ("GPU_IVF_PQ", "build", {"nbits": 9}, "from 4 to 8"),
        ("FLAT", "search", {"ef": 3}, "(valid: none)"),
    ],
)
def test_out_of_range(name: str, which: str, params: dict[str, Any], problem: str) -> None:
    kind = index_type(name)
    with pytest.raises(DefinitionError) as caught:
        kind.check_build(params, dim=384) if which == "build" else kind.check_search(params)
    assert problem in str(caught.value)


def test_limits() -> None:
    with pytest.raises(DefinitionError, match="at most 1024"):
        index_type("GPU_CAGRA").check_search({}, limit=1025)
    for name, parameter in (
        ("HNSW", "ef"),
        ("DISKANN", "search_list"),
        ("AISAQ", "search_list"),
        ("SCANN", "reorder_k"),
    ):
        with pytest.raises(DefinitionError, match="at least the limit, 100"):
            index_type(name).check_search({parameter: 64}, limit=100)


def test_search_params_grow_with_the_limit() -> None:
    assert index_type("HNSW").search_params({"ef": 64}, limit=100) == {"ef": 100}
    assert index_type("HNSW").search_params({"ef": 64}, limit=10) == {"ef": 64}
    assert index_type("GPU_CAGRA").search_params({"itopk_size": 64}, limit=100) == {"itopk_size": 128}
    assert index_type("IVF_FLAT").search_params({"nprobe": 8}, limit=100) == {"nprobe": 8}


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("FLAT", {}, 1000 * 128 * 4),
        ("HNSW", {"M": 16}, 1000 * 128 * 4 + 1000 * 32 * 4),
        ("IVF_SQ8", {}, 1000 * 128),
        ("IVF_PQ", {"m": 16, "nbits": 8}, 1000 * 16),
        ("GPU_CAGRA", {"graph_degree": 32}, 1000 * 128 * 4 + 1000 * 32 * 4),
    ],
)
def test_memory_formulas(name: str, params: dict[str, Any], expected: float) -> None:
    assert index_type(name).memory(1000, 128, 4, params) == expected


def test_what_came_later_than_its_index_type() -> None:
    assert dict(LATER_PARAMETERS) == {"num_random_samplings": (2, 6, 20)}


def test_a_parameter_counts_with_what_the_index_was_built_with() -> None:
    on_gpu, on_cpu = {}, {"adapt_for_cpu": True}
    by_name = {each.name: each for each in index_type("GPU_CAGRA").search}
    assert [by_name["ef"].counts(build) for build in (on_gpu, on_cpu)] == [False, True]
    assert [by_name["num_random_samplings"].counts(build) for build in (on_gpu, on_cpu)] == [True, False]
    assert [by_name["itopk_size"].counts(build) for build in (on_gpu, on_cpu)] == [True, True]


def test_a_wrong_name_says_what_is_known() -> None:
    with pytest.raises(DefinitionError, match=r"'HNWS' is not an index type, did you mean 'HNSW'\? \(known: FLAT, "):
        index_type("HNWS")


def test_what_a_parameter_accepts() -> None:
    assert Parameter("x", "m", low=1, high=9).accepts() == "an integer from 1 to 9"
    assert Parameter("x", "m", kind="float", low=1).accepts() == "a number of at least 1"
    assert Parameter("x", "m", kind="bool").accepts() == "true or false"
