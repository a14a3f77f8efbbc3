"""What each backend can do, from what it calls itself."""

from __future__ import annotations

import pytest

from imgvec import catalog
from imgvec.definition import Definition
from imgvec.errors import BackendError, DefinitionError, UnsupportedByBackend
from imgvec.milvus import schema
from imgvec.milvus.capabilities import Capabilities, capabilities

LITE = capabilities("milvus_lite-3.2.2")
OLD = capabilities("v2.3.5-lite")
NEW = capabilities("v2.6.4")
GPU = capabilities("v2.6.1-gpu")


def definition(**parts: object) -> Definition:
    return Definition.load({"encoder": {"model": "m"}, **parts})


def test_versions_are_read_and_named() -> None:
    assert (LITE.kind, LITE.version, LITE.name) == ("lite", (3, 2, 2), "Milvus Lite 3.2.2")
    assert (OLD.kind, OLD.version, OLD.name) == ("server", (2, 3, 5), "Milvus 2.3.5")
    with pytest.raises(BackendError, match="'unknown'"):
        capabilities("unknown")


def test_lite_has_what_the_catalogue_marks_and_no_more() -> None:
    assert LITE.index_types == {"FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX"}
    assert LITE.vector_types == {"FLOAT_VECTOR"}
    assert LITE.scalar_indexes == {"INVERTED"}


def test_a_server_has_what_came_with_its_version() -> None:
    assert not {"HNSW_SQ", "IVF_RABITQ", "AISAQ", "GPU_CAGRA"} & OLD.index_types
    assert NEW.index_types == set(catalog.INDEX_TYPES)
    assert "DISKANN" not in OLD.index_types  # the wheel's build never finishes it
    assert "DISKANN" in capabilities("v2.3.5").index_types
    assert OLD.scalar_indexes == {"STL_SORT", "Trie"}
    assert {"FLOAT16_VECTOR", "BFLOAT16_VECTOR"} <= NEW.vector_types
    assert "FLOAT16_VECTOR" not in OLD.vector_types  # 2.3.5 takes it without a word, and searches it in freed memory
    assert (OLD.nullable, NEW.nullable) == (False, True)


@pytest.mark.parametrize(
    ("backend", "name", "why"),
    [
        (LITE, "HNSW", None),
        (LITE, "INVERTED", None),
        (LITE, "SCANN", "accepts the name, but searches by brute force"),
        (LITE, "Trie", "Milvus Lite has no Trie"),
        (LITE, "FLOAT16_VECTOR", "Milvus Lite has no FLOAT16_VECTOR"),
        (OLD, "SCANN", None),
        (OLD, "HNSW_SQ", "needs Milvus 2.5, this is 2.3.5"),
        (OLD, "BITMAP", "needs Milvus 2.5, this is 2.3.5"),
        (OLD, "INT8_VECTOR", "needs Milvus 2.6, this is 2.3.5"),
        (OLD, "GPU_IVF_FLAT", "this build has no GPU indexes"),
        (NEW, "GPU_CAGRA", None),
        (NEW, "num_random_samplings", "needs Milvus 2.6.20, this is 2.6.4"),
        (capabilities("v2.6.20"), "num_random_samplings", None),
    ],
)
def test_what_is_lacking_says_why(backend: Capabilities, name: str, why: str | None) -> None:
    assert backend.why_not(name) == why


def test_whatever_is_not_available_has_a_reason() -> None:
    for backend in (LITE, OLD, NEW, GPU):
        for name in (*catalog.INDEX_TYPES, *catalog.SCALAR_INDEXES, *catalog.VECTOR_TYPES):
            there = name in backend.index_types | backend.scalar_indexes | backend.vector_types
            assert (backend.why_not(name) is None) == there


@pytest.mark.parametrize(
    ("version", "gpu"),
    [("v2.6.1-gpu", True), ("v2.3.5-lite", False), ("v2.2.16", False), ("v2.6.1", None), ("milvus_lite-3.2.2", False)],
)
def test_a_gpu_is_known_from_the_build_or_not_at_all(version: str, gpu: bool | None) -> None:
    assert capabilities(version).gpu is gpu


@pytest.mark.parametrize(
    ("backend", "field_type", "best"),
    [
        (LITE, "VARCHAR", "INVERTED"),
        (LITE, "INT64", "INVERTED"),
        (LITE, "BOOL", "INVERTED"),
        (LITE, "ARRAY", None),
        (LITE, "JSON", None),
        (OLD, "VARCHAR", "Trie"),
        (OLD, "DOUBLE", "STL_SORT"),
        (OLD, "BOOL", None),
        (OLD, "ARRAY", None),
        (NEW, "VARCHAR", "INVERTED"),
        (NEW, "ARRAY", "INVERTED"),
        (LITE, "TIMESTAMPTZ", "INVERTED"),
        (LITE, "GEOMETRY", None),
        (capabilities("v2.6.6"), "TIMESTAMPTZ", "STL_SORT"),
        (NEW, "GEOMETRY", "RTREE"),
    ],
)
def test_auto_is_the_best_scalar_index_there_is(backend: Capabilities, field_type: str, best: str | None) -> None:
    assert backend.scalar_index("AUTO", "f", field_type) == best


SHAPE, TIME = {"type": "GEOMETRY", "nullable": True}, {"type": "TIMESTAMPTZ", "required": True}


@pytest.mark.parametrize("version", ["milvus_lite-3.2.2", "v2.6.6"])
def test_times_and_shapes_are_there_on_lite_and_from_2_6_6(version: str) -> None:
    fields = {"f": {**SHAPE, "index": "AUTO"}, "g": {**TIME, "index": "AUTO"}}
    schema.check(definition(fields=fields), capabilities(version))


REFUSED = [
    (LITE, {"vector": {"type": "FLOAT16_VECTOR"}}, "no FLOAT16_VECTOR: it accepts FLOAT_VECTOR"),
    (LITE, {"index": {"cpu": {"type": "IVF_PQ", "params": {"m": 4}}}}, "no index type IVF_PQ: it accepts AUTOINDEX"),
    (
        OLD,
        {"vector": {"type": "FLOAT16_VECTOR"}, "index": {"cpu": {"type": "FLAT"}}},
        "2.3.5 has no FLOAT16_VECTOR: it accepts FLOAT_VECTOR$",
    ),
    (OLD, {"vector": {"type": "BFLOAT16_VECTOR"}}, "no BFLOAT16_VECTOR: it accepts FLOAT_VECTOR$"),
    (OLD, {"vector": {"type": "INT8_VECTOR"}}, "no INT8_VECTOR: it accepts FLOAT_VECTOR$"),
    (OLD, {"index": {"cpu": {"type": "HNSW_SQ"}}}, "no index type HNSW_SQ: it accepts .*SCANN"),
    (OLD, {"fields": {"f": {"type": "INT64", "nullable": True}}}, "no nullable fields: give f a default"),
    (
        OLD,
        {"fields": {"f": {"type": "INT64", "default": 0, "index": "INVERTED"}}},
        r"no INVERTED index on f \(INT64\): it accepts AUTO, STL_SORT",
    ),
    (LITE, {"fields": {"f": {"type": "VARCHAR", "default": "", "index": "Trie"}}}, "it accepts AUTO, INVERTED"),
    (OLD, {"fields": {"f": SHAPE}}, "no fields of type GEOMETRY, which Milvus has from 2.6.4: leave out f"),
    (capabilities("v2.6.3"), {"fields": {"f": SHAPE}}, "2.6.3 has no fields of type GEOMETRY"),
    (OLD, {"fields": {"f": TIME}}, "no fields of type TIMESTAMPTZ, which Milvus has from 2.6.6: leave out f"),
    (NEW, {"fields": {"f": TIME}}, "2.6.4 has no fields of type TIMESTAMPTZ, which Milvus has from 2.6.6"),
    (LITE, {"fields": {"f": {**SHAPE, "index": "RTREE"}}}, r"no RTREE index on f \(GEOMETRY\)"),
]


@pytest.mark.parametrize(("backend", "parts", "says"), REFUSED)
def test_what_cannot_be_had_is_refused_with_what_can(
    backend: Capabilities, parts: dict[str, object], says: str
) -> None:
    with pytest.raises(UnsupportedByBackend, match=says):
        schema.check(definition(**parts), backend)


def test_a_gpu_index_needs_one_in_the_definition_and_a_gpu() -> None:
    with pytest.raises(DefinitionError, match=r"index\.gpu"):
        schema.check(definition(), GPU, device="gpu")
    both = definition(index={"gpu": {"type": "GPU_CAGRA"}}, vector={"metric_type": "IP"})
    schema.check(both, GPU, device="gpu")
    schema.check(both, LITE, device="cpu")
    with pytest.raises(UnsupportedByBackend, match="no GPU, required by GPU_CAGRA"):
        schema.check(both, LITE, device="gpu")


def test_a_search_parameter_that_the_server_would_ignore_is_refused_with_the_index_it_is_for() -> None:
    both = definition(index={"gpu": {"type": "GPU_CAGRA", "search": {"num_random_samplings": 8}}})
    with pytest.raises(
        UnsupportedByBackend, match=r"^Milvus 2\.6\.1 has no num_random_samplings for searches of GPU_CAGRA$"
    ):
        schema.check(both, GPU, device="gpu")
    schema.check(both, GPU)
    schema.check(both, capabilities("v2.6.20-gpu"), device="gpu")


def test_the_dimension_is_checked_with_the_index() -> None:
    pq = definition(index={"cpu": {"type": "IVF_PQ", "params": {"m": 7}}})
    with pytest.raises(DefinitionError, match="must divide the vectors' 384"):
        schema.check(pq, NEW, dim=384)
    with pytest.raises(DefinitionError, match="1 to 32768"):
        schema.check(definition(), NEW, dim=32_769)


def test_the_wheel_s_server_loses_vectors_that_an_index_lacks() -> None:
    said = OLD.danger("IVF_SQ8")
    assert said is not None
    assert "LOCALSTORAGE_PATH=data" in said
    assert OLD.danger("HNSW") is None
    assert [other.danger("IVF_SQ8") for other in (LITE, NEW, GPU, capabilities("v2.3.5"))] == [None] * 4


def test_several_vectors_need_milvus_2_4_or_lite() -> None:
    both = definition(vectors={"texture": {"encoder": {"model": "t"}}})
    for backend in (LITE, NEW, GPU, capabilities("v2.4.0")):
        schema.check(both, backend)
    with pytest.raises(
        UnsupportedByBackend,
        match=r"^Milvus 2\.3\.5 has 1 vector field in a collection, and the definition has vector, texture$",
    ):
        schema.check(both, OLD)
    schema.check(definition(), OLD)


def test_a_further_vector_is_checked_as_the_first_is() -> None:
    def further(**parts: object) -> Definition:
        return definition(vectors={"texture": {"encoder": {"model": "t"}, **parts}})

    with pytest.raises(UnsupportedByBackend, match="no index type SCANN"):
        schema.check(further(index={"cpu": {"type": "SCANN"}}), LITE)
    with pytest.raises(UnsupportedByBackend, match="no FLOAT16_VECTOR"):
        schema.check(further(vector={"type": "FLOAT16_VECTOR"}), LITE)
    with pytest.raises(DefinitionError, match="dim = 40000"):
        schema.check(further(), LITE, dim=8, dims={"texture": 40_000})
    with pytest.raises(DefinitionError, match="m must divide the vectors' 12 dimensions"):
        schema.check(further(index={"cpu": {"type": "IVF_PQ", "params": {"m": 5}}}), NEW, dim=10, dims={"texture": 12})


def test_a_gpu_for_one_vector_is_not_one_for_all() -> None:
    gpu = {"cpu": {"type": "FLAT"}, "gpu": {"type": "GPU_CAGRA"}}
    first = definition(index=gpu, vectors={"texture": {"encoder": {"model": "t"}}})
    plan = schema.plan(first, GPU, dim=8, dims={"texture": 4}, description="{}", device="gpu")
    assert [(index.field, index.type) for index in plan.vector_indexes] == [
        ("vector", "GPU_CAGRA"),
        ("texture", "HNSW"),
    ]
    second = definition(vectors={"texture": {"encoder": {"model": "t"}, "index": gpu}})
    with pytest.raises(DefinitionError, match=r"index\.gpu"):
        schema.plan(second, GPU, dim=8, dims={"texture": 4}, description="{}", device="gpu")
