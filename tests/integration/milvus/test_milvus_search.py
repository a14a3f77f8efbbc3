"""Search, proved against exact NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from milvus_rows import Vectors, definition, unit_vectors
from rows import row

from imgvec.errors import OptionError, QueryError
from imgvec.milvus import Connection, Store
from imgvec.stored import Found

ROWS, DIM = 300, 16


@pytest.fixture(scope="module", params=["COSINE", "IP", "L2"])
def filled(request: pytest.FixtureRequest, make: Callable[..., Store]) -> tuple[Store, Vectors]:
    """A collection of 300 vectors under an exact index; for L2 they have different lengths."""
    store = make(definition(vector={"metric_type": request.param}), dim=DIM)
    vectors = unit_vectors(ROWS, DIM)
    if request.param == "L2":
        vectors *= np.random.default_rng(1).uniform(0.5, 2, (ROWS, 1)).astype(np.float32)
    store.upsert([row(f"{number:03}", rank=number) for number in range(ROWS)], vectors)
    return store, vectors


@pytest.fixture(scope="module")
def hnsw(make: Callable[..., Store]) -> Store:
    index = {"cpu": {"type": "HNSW", "params": {"M": 8, "efConstruction": 64}}}
    store = make(definition(index=index), dim=DIM)
    store.upsert([row(f"{number:03}") for number in range(ROWS)], unit_vectors(ROWS, DIM))
    return store


def exact(queries: Vectors, vectors: Vectors, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """(n, rows) distances as Milvus defines them, and scores, in float64."""
    q, v = queries.astype(np.float64), vectors.astype(np.float64)
    if metric == "L2":
        squared = ((q[:, None] - v[None]) ** 2).sum(axis=2)
        return squared, 1 - squared / 2
    if metric == "COSINE":
        q, v = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (q, v))
    similarity = q @ v.T
    return similarity, similarity


def test_hits_distances_and_scores_are_those_of_numpy(filled: tuple[Store, Vectors]) -> None:
    store, vectors = filled
    queries = unit_vectors(7, DIM, seed=5)
    distances, scores = exact(queries, vectors, store.metric_type)
    answers = store.search(queries, limit=20, output_fields=["rank"])
    assert len(answers) == 7
    for answer, distance, score in zip(answers, distances, scores, strict=True):
        best = np.argsort(-score, kind="stable")[:20]
        assert [each.id for each in answer] == [f"{number:03}" for number in best]
        np.testing.assert_allclose([each.distance for each in answer], distance[best], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose([each.score for each in answer], score[best], rtol=1e-5, atol=1e-5)
        assert [each.fields["rank"] for each in answer] == best.tolist()


def test_a_filter_and_a_limit_beyond_the_rows(filled: tuple[Store, Vectors]) -> None:
    store, _ = filled
    (answer,) = store.search(unit_vectors(1, DIM, seed=6), limit=1000, filter="rank >= 200")
    assert {each.id for each in answer} == {f"{number:03}" for number in range(200, ROWS)}
    assert [each.score for each in answer] == sorted((each.score for each in answer), reverse=True)


def test_many_queries_are_cut_into_calls(filled: tuple[Store, Vectors], monkeypatch: pytest.MonkeyPatch) -> None:
    store, vectors = filled
    whole = store.search(vectors[:50], limit=3)
    monkeypatch.setattr("imgvec.milvus.reading.ANSWER_BYTES", 5000)
    cut = store.search(vectors[:50], limit=3)
    # not the last bit of the scores: it depends on how many queries are multiplied at once
    assert [[each.id for each in answer] for answer in cut] == [[each.id for each in answer] for answer in whole]


def test_equal_scores_come_in_the_order_of_ids_every_time(hnsw: Store) -> None:
    twins = [f"twin{number}" for number in range(8)]
    vector = unit_vectors(1, DIM, seed=9)
    hnsw.upsert([row(each) for each in reversed(twins)], np.repeat(vector, 8, axis=0))
    try:
        for _ in range(5):
            (answer,) = hnsw.search(vector, limit=8)
            assert [each.id for each in answer] == twins
    finally:
        hnsw.delete(twins)


def test_more_hits_than_ef_raise_it(hnsw: Store) -> None:
    assert len(hnsw.search(unit_vectors(1, DIM), limit=200, params={"ef": 10})[0]) == 200
    assert len(hnsw.search(unit_vectors(1, DIM), limit=250)[0]) == 250


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0], ids=str)
def test_a_query_without_direction_is_refused(hnsw: Store, bad: float) -> None:
    with pytest.raises(QueryError):
        hnsw.search(np.full((1, DIM), bad, np.float32), limit=1)


def test_wrong_shapes_limits_and_parameters_are_refused(hnsw: Store) -> None:
    good = unit_vectors(1, DIM)
    with pytest.raises(QueryError, match="the vectors have dim 8, but the collection has dim 16"):
        hnsw.search(unit_vectors(1, 8), limit=1)
    for limit in (0, -1, 16_385):
        with pytest.raises(OptionError, match=f"limit must be from 1 to 16384, not {limit}") as refused:
            hnsw.search(good, limit=limit)
        assert isinstance(refused.value, QueryError)  # as 0.1.0 raised
    with pytest.raises(TypeError, match="search takes no filer"):
        hnsw.search(good, limit=1, filer="rank >= 200")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="search wants a limit"):
        hnsw.search(good)  # type: ignore[call-arg]
    with pytest.raises(QueryError, match="nprobe is not a search parameter of HNSW"):
        hnsw.search(good, limit=1, params={"nprobe": 8})
    with pytest.raises(QueryError, match="ef must be an integer from 1 to"):
        hnsw.search(good, limit=1, params={"ef": 0})


def test_a_hit_is_plain_data(hnsw: Store) -> None:
    hit = hnsw.search(unit_vectors(1, DIM), limit=1, output_fields=["width"])[0][0]
    assert isinstance(hit, Found)
    assert (hit.id, hit.fields) == ("000", {"width": 640})
    assert hit.score == pytest.approx(1, abs=1e-5)


BUILT = {
    "FLAT": {},
    "AUTOINDEX": {},
    "IVF_FLAT": {"nlist": 16},
    "IVF_SQ8": {"nlist": 4},
    "IVF_PQ": {"nlist": 4, "m": 8},
    "SCANN": {"nlist": 4},
    "HNSW": {"M": 8, "efConstruction": 64},
    "HNSW_SQ": {"M": 8, "efConstruction": 64, "sq_type": "SQ8"},
    "DISKANN": {},
}


@pytest.mark.parametrize(
    "index",
    # on a server each takes seconds, and the others are searched above
    [pytest.param(each, marks=() if each == "IVF_FLAT" else pytest.mark.nightly) for each in BUILT],
)
def test_every_index_type_that_a_backend_claims_is_built_and_searched(
    index: str, backend: Connection, make: Callable[..., Store]
) -> None:
    if index not in backend.capabilities.index_types:
        pytest.skip(f"{backend.capabilities.name} has no {index}")
    store = make(definition(index={"cpu": {"type": index, "params": BUILT[index]}}), dim=DIM)
    vectors = unit_vectors(2000, DIM)
    store.upsert([row(f"{number:04}") for number in range(2000)], vectors)
    store.wait_until_indexed(120)
    assert store.index.type == index
    assert store.index.params.items() >= BUILT[index].items()
    found = store.search(vectors[:100], limit=10)
    assert sum(f"{number:04}" == hits[0].id for number, hits in enumerate(found)) >= 90
    assert all(len(hits) == 10 for hits in found)
