"""Exact search equals a float64 brute force, whatever the sizes of its blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgvec import forked
from imgvec.errors import OptionError, QueryError
from imgvec.indexes import exact
from imgvec.indexes.exact import ExactSearch, nearest
from imgvec.indexes.neighbours import Neighbours
from imgvec.vectors import Vectors

METRICS = ("COSINE", "IP", "L2")


def brute(metric: str, queries: Vectors, rows: Vectors) -> np.ndarray[Any, Any]:
    q, x = queries.astype(np.float64), rows.astype(np.float64)
    if metric == "L2":
        return 1 - np.square(q[:, None] - x[None]).sum(2) / 2
    if metric == "COSINE":
        q, x = q / np.linalg.norm(q, axis=1, keepdims=True), x / np.linalg.norm(x, axis=1, keepdims=True)
    return q @ x.T


def search(metric: str, queries: Vectors, rows: Vectors, limit: int, block: int) -> Neighbours:
    found = ExactSearch(queries, limit=limit, metric_type=metric, device="cpu")
    for start in range(0, len(rows), block):
        found.add([str(i) for i in range(start, min(start + block, len(rows)))], rows[start : start + block])
    return found.neighbours()


def check(metric: str, queries: Vectors, rows: Vectors, limit: int, found: Neighbours) -> None:
    """Scores are the best ones there are, and each is the score of the row that it stands beside."""
    true = brute(metric, queries, rows)
    there = min(limit, len(rows))
    best = -np.sort(-true, axis=1)[:, :there]
    assert found.scores.shape == (len(queries), limit)
    assert found.scores.dtype == np.float32
    np.testing.assert_allclose(found.scores[:, :there], best, atol=2e-5)
    assert np.isnan(found.scores[:, there:]).all()
    for query, ids in enumerate(found.ids):
        assert len(ids) == len(set(ids)) == there
        np.testing.assert_allclose(found.scores[query, :there], true[query, [int(i) for i in ids]], atol=2e-5)


@given(
    metric=st.sampled_from(METRICS),
    queries=st.integers(1, 5),
    rows=st.integers(1, 90),
    dim=st.integers(1, 6),
    limit=st.integers(1, 12),
    block=st.integers(1, 40),
    copies=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_equals_brute_force(
    metric: str, queries: int, rows: int, dim: int, limit: int, block: int, copies: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, dim)).astype(np.float32)
    if copies:  # a few vectors, each many times: ties everywhere
        x = x[random.integers(0, min(rows, 4), rows)]
    q = random.standard_normal((queries, dim)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exact, "_ROW_BLOCK", 16)
        patched.setattr(exact, "_QUERY_BLOCK", 2)
        patched.setattr(exact, "_GROUP", 3)
        check(metric, q, x, limit, search(metric, q, x, limit, block))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("order", ["random", "rising", "falling"])
@pytest.mark.parametrize("limit", [1, 10, 300])
def test_equals_brute_force_over_whole_blocks(metric: str, order: str, limit: int) -> None:
    random = np.random.default_rng(1)
    x = random.standard_normal((5000, 8)).astype(np.float32)
    q = random.standard_normal((6, 8)).astype(np.float32)
    if order != "random":  # every row beats all before it, or none does
        x = x[np.argsort(brute(metric, q[:1], x)[0] * (1 if order == "rising" else -1))]
    check(metric, q, x, limit, search(metric, q, x, limit, 1000))


def test_equal_scores_keep_the_first_rows() -> None:
    x = np.tile(np.array([[1, 0]], np.float32), (500, 1))
    found = search("COSINE", x[:1], x, 3, 7)
    assert set(found.ids[0]) <= {str(i) for i in range(500)}
    assert len(set(found.ids[0])) == 3
    np.testing.assert_array_equal(found.scores, [[1, 1, 1]])


@pytest.mark.parametrize("metric", METRICS)
def test_rows_without_a_score_are_never_found(metric: str) -> None:
    x = np.random.default_rng(2).standard_normal((60, 4)).astype(np.float32)
    x[3, 1], x[7, 0], x[11] = np.nan, np.inf, 3e38
    if metric == "COSINE":
        x[20] = 0
    found = search(metric, x[:2], x, 60, 9)
    lost = {"3", "7", "11", *(["20"] if metric == "COSINE" else [])}
    for ids in found.ids:
        assert set(ids) == {str(i) for i in range(60)} - lost
    assert np.isfinite(found.scores[:, : 60 - len(lost)]).all()


def test_without_rows_nothing_is_found() -> None:
    found = ExactSearch(np.ones((2, 3), np.float32), limit=4, metric_type="L2", device="cpu").neighbours()
    assert found.ids == [[], []]
    assert np.isnan(found.scores).all()
    none = ExactSearch(np.empty((0, 3), np.float32), limit=4, metric_type="L2", device="cpu")
    none.add(["a"], np.ones((1, 3), np.float32))
    assert none.neighbours().ids == []


def test_a_callers_array_may_be_used_again() -> None:
    search_ = ExactSearch(np.eye(2, dtype=np.float32), limit=1, metric_type="IP", device="cpu")
    block = np.zeros((1, 2), np.float32)
    for i in range(2):
        block[:] = np.eye(2)[i]
        search_.add([str(i)], block)
    assert search_.neighbours().ids == [["0"], ["1"]]


def test_far_from_the_origin_distances_keep_their_digits() -> None:
    random = np.random.default_rng(3)
    x = (random.standard_normal((500, 16)) + 300).astype(np.float32)
    check("L2", x[:5] + np.float32(0.5), x, 5, search("L2", x[:5] + np.float32(0.5), x, 5, 50))


def test_ids_of_rows_that_are_no_hits_are_forgotten() -> None:
    x = np.random.default_rng(4).standard_normal((50_000, 2)).astype(np.float32)
    found = ExactSearch(x[:1], limit=2, metric_type="IP", device="cpu")
    found.add([str(i) for i in range(len(x))], x)
    assert len(found._ids) <= 4


def test_neighbours_without_the_query_itself() -> None:
    scores = np.array([[1, 0.9, 0.8], [0.9, 0.8, 0.7], [1, np.nan, np.nan]], np.float32)
    rest = Neighbours([["a", "b", "c"], ["b", "c", "d"], ["x"]], scores).without(["a", "q", "x"])
    assert rest.ids == [["b", "c"], ["b", "c"], []]
    np.testing.assert_array_equal(rest.scores, np.array([[0.9, 0.8], [0.9, 0.8], [np.nan, np.nan]], np.float32))


@pytest.mark.parametrize(
    ("queries", "options", "says"),
    [
        (np.ones((1, 2), np.float64), {}, "float32"),
        (np.ones(2, np.float32), {}, "float32"),
        (np.array([[np.nan, 1]], np.float32), {}, "query 0"),
        (np.zeros((1, 2), np.float32), {}, "query 0"),
        (np.ones((1, 2), np.float32), {"limit": 0}, "limit must be at least 1, not 0"),
        (np.ones((1, 2), np.float32), {"metric_type": "HAMMING"}, "HAMMING"),
        (np.ones((1, 2), np.float32), {"device": "mps"}, "auto, cpu or cuda, not mps"),
    ],
)
def test_what_cannot_be_searched_is_refused(queries: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(QueryError, match=says):
        ExactSearch(queries, **{"limit": 1, "metric_type": "COSINE", "device": "cpu", **options})


def test_a_gpu_does_not_follow_into_a_forked_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(forked, "_child", True)
    monkeypatch.setattr(forked, "_gpu", True)
    queries = np.eye(2, dtype=np.float32)
    with pytest.raises(OptionError, match="forked from one that had used a GPU, so it cannot search on cuda"):
        ExactSearch(queries, limit=1, metric_type="IP", device="cuda")
    search_ = ExactSearch(queries, limit=1, metric_type="IP")
    search_.add(["a", "b"], queries)
    assert search_.neighbours().ids == [["a"], ["b"]]


def test_rows_of_another_shape_are_refused() -> None:
    search_ = ExactSearch(np.ones((1, 2), np.float32), limit=1, metric_type="IP", device="cpu")
    with pytest.raises(QueryError, match="1 ids"):
        search_.add(["a"], np.ones((2, 2), np.float32))
    with pytest.raises(QueryError, match=r"ids need a \(\d+, 2\) array of vectors"):
        search_.add(["a"], np.ones((1, 3), np.float32))


def test_nearest_streams_the_rows_of_a_store() -> None:
    class Rows:
        metric_type = "IP"

        def scan(self, output_fields: list[str], filter: str = "") -> Any:
            assert (output_fields, filter) == (["vector"], "x > 1")
            for start in (0, 2):
                yield [{"id": str(i), "vector": np.eye(4, dtype=np.float32)[i]} for i in (start, start + 1)]

    seen: list[int] = []
    query = np.array([[0, 0.1, 0.2, 0.9]], np.float32)
    found = nearest(Rows(), query, limit=2, filter="x > 1", device="cpu", on_rows=seen.append)  # type: ignore[arg-type]
    assert found.ids == [["3", "2"]]
    assert seen == [2, 4]


@pytest.mark.gpu
@pytest.mark.parametrize("metric", METRICS)
def test_cuda_equals_brute_force(metric: str) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    random = np.random.default_rng(5)
    x, q = (random.standard_normal((n, 96)).astype(np.float32) for n in (40_000, 300))
    found = ExactSearch(q, limit=20, metric_type=metric, device="cuda")
    found.add([str(i) for i in range(len(x))], x)
    true, got = -np.sort(-brute_blocks(metric, q, x), axis=1)[:, :20], found.neighbours()
    np.testing.assert_allclose(got.scores, true, atol=1e-4)


def brute_blocks(metric: str, queries: Vectors, rows: Vectors) -> np.ndarray[Any, Any]:
    """`brute` in pieces: L2 makes one array of all differences."""
    return np.concatenate([brute(metric, queries[i : i + 1], rows) for i in range(len(queries))])
