"""What is asked for, and how answers are read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes import FakeStore
from pymilvus.exceptions import MilvusException

from imgvec.errors import QueryError
from imgvec.filters import FieldType
from imgvec.milvus import answers, by_id, reading
from imgvec.milvus.capabilities import capabilities
from imgvec.milvus.described import Schema
from imgvec.milvus.search_params import SearchParams
from imgvec.stored import IndexInfo, Nearest, Reach


def schema(**changes: Any) -> Schema:
    given: dict[str, Any] = {
        "name": "c",
        "description": "",
        "dim": 4,
        "vector_type": "FLOAT_VECTOR",
        "metric_type": "COSINE",
        "index": IndexInfo("HNSW", {}),
        "fields": {"id": FieldType("VARCHAR"), "uri": FieldType("VARCHAR", max_length=4096)},
        "dynamic": True,
        "consistency_level": "Bounded",
    }
    return Schema(**given | changes)


class Hits(list[dict[str, Any]]):
    """Hits as pymilvus gives them."""

    def __init__(self, pairs: list[tuple[str, float]]) -> None:
        super().__init__({"id": id_, "distance": distance, "entity": {}} for id_, distance in pairs)
        self.ids, self.distances = [id_ for id_, _ in pairs], [distance for _, distance in pairs]


@pytest.mark.parametrize(
    ("metric", "vector_type", "distance", "score"),
    [
        ("COSINE", "FLOAT_VECTOR", 0.25, 0.25),
        ("IP", "FLOAT_VECTOR", 0.25, 0.25),
        ("L2", "FLOAT_VECTOR", 1.5, 0.25),  # |a - b|^2 = 2 - 2 cos
        ("COSINE", "INT8_VECTOR", 0.25, 0.25),
        ("IP", "INT8_VECTOR", 0.25 * 127 * 127, 0.25),
        ("L2", "INT8_VECTOR", 1.5 * 127 * 127, 0.25),
    ],
)
def test_for_unit_vectors_every_metric_and_type_scores_the_cosine(
    metric: str, vector_type: str, distance: float, score: float
) -> None:
    made = schema(metric_type=metric, vector_type=vector_type)
    (found,) = answers.Scoring(made.vector()).found(Hits([("a", distance)]), answers.Columns([], made))
    assert (found.distance, found.score) == (distance, pytest.approx(score))


def test_equal_scores_come_in_the_order_of_their_ids() -> None:
    hits = Hits([("d", 0.9), ("c", 0.5), ("a", 0.5), ("b", 0.5), ("e", 0.1)])
    found = answers.Scoring(schema().vector()).found(hits, answers.Columns([], schema()))
    assert [each.id for each in found] == ["d", "a", "b", "c", "e"]
    nearest = answers.Scoring(schema(metric_type="L2").vector()).found(
        Hits([("b", 0.0), ("a", 0.0), ("c", 2.0)]), answers.Columns([], schema())
    )
    assert [each.id for each in nearest] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ([], ["id"]),  # for no names Milvus Lite sends everything
        (["uri", "uri"], ["uri"]),
        (["*"], ["id", "uri", "$meta"]),
        (["*", "vector"], ["id", "uri", "$meta", "vector"]),
    ],
)
def test_output_fields_as_both_backends_take_them(asked: list[str], sent: list[str]) -> None:
    assert answers.Columns(asked, schema()).names == sent


def test_search_parameters_start_from_the_catalogue() -> None:
    def sent(index: str, given: dict[str, Any] | None = None, limit: int = 10, **built: Any) -> dict[str, Any]:
        return SearchParams(IndexInfo(index, built), capabilities("v2.6.24")).checked(given, limit)

    assert sent("HNSW") == {"ef": 64}
    assert sent("HNSW", limit=100) == {"ef": 100}
    assert sent("HNSW", {"ef": 300}, limit=100) == {"ef": 300}
    assert sent("IVF_FLAT", nlist=4) == {"nprobe": 4}
    assert sent("HNSW_SQ") == {"ef": 64}
    assert sent("FLAT") == {}
    assert sent("NOT_IN_THE_CATALOGUE", {"x": 1}) == {"x": 1}
    for index, given, limit in (("HNSW", {"ef": 0}, 1), ("FLAT", {"ef": 1}, 1), ("GPU_IVF_PQ", {}, 1025)):
        with pytest.raises(QueryError, match=r"must be an integer|must be at most 1024|not a search parameter"):
            sent(index, given, limit)


@pytest.mark.parametrize(
    ("version", "built", "given", "sent"),
    [
        ("v2.6.20-gpu", {}, {}, {"num_random_samplings": 8}),
        (
            "v2.6.20-gpu",
            {},
            {"num_random_samplings": 1, "itopk_size": 64},
            {"num_random_samplings": 1, "itopk_size": 64},
        ),
        ("v3.0.1-gpu", {}, {}, {"num_random_samplings": 8}),
        ("v2.6.19-gpu", {}, {}, {}),
        # on the CPU it is HNSW, which fails before 2.6.20 where nobody names an ef
        ("v2.6.20-gpu", {"adapt_for_cpu": True}, {}, {"ef": 64}),
        ("v2.6.19", {"adapt_for_cpu": True}, {}, {"ef": 64}),
    ],
)
def test_cagra_is_sent_what_its_server_knows(
    version: str, built: dict[str, Any], given: dict[str, Any], sent: dict[str, Any]
) -> None:
    params = SearchParams(IndexInfo("GPU_CAGRA", built), capabilities(version))
    assert params.checked(given, 10) == sent


def test_a_parameter_that_the_server_would_ignore_is_refused() -> None:
    params = SearchParams(IndexInfo("GPU_CAGRA", {}), capabilities("v2.6.19-gpu"))
    with pytest.raises(QueryError, match=r"^num_random_samplings needs Milvus 2\.6\.20, this is 2\.6\.19$"):
        params.checked({"num_random_samplings": 8}, 10)


def test_pages_go_on_after_the_last_id() -> None:
    assert by_id.after(None, "") == 'id >= ""'
    assert by_id.after('a"b', "x == 1") == '(x == 1) and id > "a\\"b"'
    assert by_id.among(["a", "b\\"]) == 'id in ["a", "b\\\\"]'


@pytest.mark.parametrize("dynamic", [True, False])
def test_what_the_picture_filled_is_shown_to_who_asks_for_it_alone(dynamic: bool) -> None:
    note = "imgvec_from_image"
    row = {"id": "1", "uri": "u", note: "taken_at"}
    kept = schema(dynamic=dynamic, noted=not dynamic)
    assert answers.Columns(["*"], kept).of(row) == {"id": "1", "uri": "u"}
    assert not answers.Columns(["*"], kept).plain or not dynamic
    assert answers.Columns(["*", note], kept).of(row) == row
    # the dynamic field as a whole brings it along, a column is asked for
    assert (note in answers.Columns(["*", note], kept).names) is not dynamic
    assert note in answers.Columns(["uri", note], kept).names
    nowhere = schema(dynamic=False, noted=False)
    assert answers.Columns([note], nowhere).names == ["id"]


def test_a_misspelt_keyword_of_a_search_is_a_type_error() -> None:
    """What is asked goes down as one value: a `filter` that nobody looks at would find every row."""
    link: Any = SimpleNamespace(schema=schema(), capabilities=SimpleNamespace(max_limit=100), is_lite=True)
    vectors = np.eye(4, dtype=np.float32)
    for store in (
        reading.Reader(link, lambda: None).search,
        lambda vectors, asked: FakeStore(dim=4).search(vectors, **asked),
    ):
        with pytest.raises(TypeError, match=r"^search takes no filer, zeal$"):
            store(vectors, {"limit": 1, "zeal": 1, "filer": "x > 1"})  # type: ignore[typeddict-unknown-key]
        with pytest.raises(TypeError, match=r"^search wants a limit$"):
            store(vectors, {"filter": "x > 1"})  # type: ignore[typeddict-item]


@pytest.mark.parametrize(("answers", "loads"), [(["not loaded"], 1), (["not loaded", "not loaded"], 1)])
def test_what_was_just_loaded_and_is_called_not_loaded_is_asked_again(answers: list[str], loads: int) -> None:
    """A query coordinator that has just begun does not know yet what is loaded."""
    given, loaded = iter(answers), []

    def query(_name: str, **_options: Any) -> list[dict[str, Any]]:
        if next(given, "rows") == "not loaded":
            raise MilvusException(code=101, message="collection not loaded[collection=1]")
        return [{"count(*)": 7}]

    link = SimpleNamespace(
        is_lite=False, name="c", schema=schema(), timeout=1.0, level=str, check_there=lambda: None,
        client=SimpleNamespace(query=query, describe_replica=lambda *_, **__: []),
        database=SimpleNamespace(retry_seconds=5.0),
    )  # fmt: skip
    reader = reading.Reader(link, load=lambda: loaded.append(1))  # type: ignore[arg-type]  # what of it a count uses
    assert reader.count() == 7
    assert len(loaded) == loads


@pytest.mark.parametrize(("version", "key"), [("v2.6.24", "owner"), ("v2.6.24", None), ("milvus_lite-3.2.2", "owner")])
def test_a_search_says_what_milvus_keeps_partitions_by(
    version: str, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = schema(partition_key=key, index=IndexInfo("FLAT", {}))
    lite = "lite" in version
    link: Any = SimpleNamespace(schema=made, capabilities=capabilities(version), is_lite=lite, client=None, name="c")
    reader = reading.Reader(link, lambda: None)
    monkeypatch.setattr(reader, "plain", lambda vectors, asked: [Nearest() for _ in vectors])
    [found] = reader.search(np.ones((1, 4), np.float32), {"limit": 1, "thorough": True})
    assert found.reach == Reach(partitioned_by=None if lite else key)
