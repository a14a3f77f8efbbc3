"""Tuning and verifying collections of views: recall is that of pictures, as a search by default finds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from rows import numbered

import imgvec
from imgvec import ImageCollection, VectorQuery, scratch_copy
from imgvec.errors import QueryError
from imgvec.indexes import unseen
from imgvec.indexes.exact import nearest
from imgvec.indexes.recall import Estimate, estimate, recalls
from imgvec.milvus import Store
from imgvec.rows import view_id
from imgvec.vectors import Vectors

PICTURES, VIEWS, DIM, LIMIT = 600, 5, 32, 10
_RNG = np.random.default_rng(5)
_CENTRES = _RNG.standard_normal((60, DIM))


def drawn(number: int, views: int) -> Vectors:
    """(number, views, DIM) unit vectors: overlapping clusters of pictures, whose views are near one another."""
    middles = _CENTRES[_RNG.integers(0, len(_CENTRES), number)] + _RNG.standard_normal((number, DIM))
    vectors = middles[:, None] + 0.7 * _RNG.standard_normal((number, views, DIM))
    return (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float32)


STORED = drawn(PICTURES, VIEWS)
OUTSIDE = drawn(800, 1)[:, 0]


def made(uri: str, type_: str, pictures: int = PICTURES, **params: Any) -> ImageCollection:
    """The collection `parts` of the first `pictures`, with that index."""
    definition = {
        "encoder": {"model": "fake"},
        "views": {"grid": 2},
        "index": {"cpu": {"type": type_, "params": params}},
    }
    collection = ImageCollection.create("parts", definition=definition, uri=uri, encoder=FakeEncoder(dim=DIM))
    rows = []
    for number in range(pictures):
        whole = numbered(number)
        for view in range(VIEWS):
            kind = "region" if view else "whole"
            place = {"image_id": whole["id"], "view": kind, "box": [0, 0, 640, 480], "at_ms": 0}
            rows.append({**whole, **place, "id": view_id(whole["id"], kind, max(0, view - 1))})
    collection.store.upsert(rows, STORED[:pictures].reshape(-1, DIM))
    collection.store.wait_until_indexed(120)
    # a server takes a new index for the rows that it has loaded some seconds later
    collection.store.release()
    collection.store.load()
    return collection


def of_pictures(photos: ImageCollection, queries: Vectors, params: Mapping[str, Any] | None = None) -> list[float]:
    """recall@10 of each query's answer, by NumPy over every row."""
    scores = np.einsum("qd,pvd->qpv", queries, STORED).max(axis=2)
    nearest = np.argsort(-scores, axis=1)[:, :LIMIT]
    answers = photos.search_many([VectorQuery(query) for query in queries], limit=LIMIT, params=params)
    found = [{int(hit.image_id, 16) for hit in answer} for answer in answers]
    assert all(len(answer) == LIMIT for answer in answers)
    return [len(set(true.tolist()) & there) / LIMIT for true, there in zip(nearest, found, strict=True)]


@pytest.fixture(autouse=True)
def few_timed_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here is about times."""
    monkeypatch.setattr("imgvec.indexes.tune.CALLS", 20)


def fresh(photos: ImageCollection, params: Mapping[str, Any] | None = None) -> Estimate:
    return estimate(of_pictures(photos, OUTSIDE, params), sides=1)


def test_what_is_declared_holds_for_pictures_and_would_not_by_rows(
    lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unseen, "_MOST_COPIES", 3)
    with made(lite_uri, "IVF_FLAT", nlist=64) as photos:
        tuned = imgvec.tune(photos, recall=0.9, queries=400)
        assert (tuned.basis, tuned.ranked, tuned.limit) == ("left out", "pictures", LIMIT)
        assert "IVF_FLAT reaches picture recall@10 of 0.9 with nprobe" in tuned.summary()
        assert tuned.params is not None
        [choice] = tuned.choices
        assert choice.applied is not None
        imgvec.apply_tuning(photos, tuned)
        applied = fresh(photos)  # with the search defaults
        assert photos.search_defaults.params == tuned.params
        assert applied.high >= choice.applied.recall.low >= 0.9
        assert applied.mean >= 0.895
        # of the ten nearest rows a cheaper setting finds enough, and of the ten nearest pictures too few
        some = OUTSIDE[:500]
        truth = nearest(photos.store, some, limit=LIMIT)
        by_rows = next(
            nprobe
            for nprobe in range(2, 65, 2)
            if recalls(photos.store.search(some, limit=LIMIT, params={"nprobe": nprobe}), truth, LIMIT).mean() >= 0.9
        )
        assert by_rows < tuned.params["nprobe"]
        assert fresh(photos, {"nprobe": by_rows}).high < 0.9


def test_a_graph_is_tuned_at_the_depth_of_the_search_by_default(backend_uri: str) -> None:
    with made(backend_uri, "HNSW", M=4, efConstruction=16) as photos:
        tuned = imgvec.tune(photos, recall=0.9, queries=OUTSIDE[:500])
        assert tuned.params is not None
        [choice] = tuned.choices
        assert choice.applied is not None
        assert fresh(photos, tuned.params).high >= choice.applied.recall.low >= 0.9
        # a search for ten pictures is one for fifty rows: no smaller ef is sent, and none is measured
        assert min(point.params["ef"] for point in choice.points) >= LIMIT * VIEWS
        with pytest.raises(QueryError, match="ask for at most 3,276"):
            imgvec.tune(photos, limit=3277, queries=OUTSIDE[:500])


def test_what_a_copy_of_some_pictures_teaches_is_carried_over(lite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of collections with more rows than are copied: the copy holds all views of some of the pictures."""
    monkeypatch.setattr(unseen, "COPIED", 1500)
    copied: list[list[str]] = []

    @contextmanager
    def copying(*given: Any, only: Sequence[str], **options: Any) -> Iterator[Store]:
        copied.append(list(only))
        with scratch_copy(*given, only=only, **options) as copy:
            assert (copy.most_views, copy.count()) == (VIEWS, len(only))
            yield copy

    monkeypatch.setattr("imgvec.verbs.tuning.scratch_copy", copying)
    with made(lite_uri, "IVF_FLAT", nlist=16) as photos:
        tuned = imgvec.tune(photos, recall=0.8, queries=150)
        assert (tuned.basis, tuned.queries) == ("carried over", (75, 75))
        [choice] = tuned.choices
        assert choice.applied is not None
        assert fresh(photos, tuned.params).high >= choice.applied.recall.low >= 0.8
        owners = Counter(row["image_id"] for row in photos.get(copied[0]).values())
        assert set(owners.values()) == {VIEWS}
        assert len(owners) == 300


def test_verifying_tells_the_recall_of_pictures(lite_uri: str) -> None:
    """Every row is a query, whose own picture is left out."""
    pictures = STORED[:250]
    with made(lite_uri, "IVF_FLAT", len(pictures), nlist=32) as photos:
        params, rows = {"nprobe": 4}, pictures.reshape(-1, DIM)
        found = imgvec.verify(photos, queries=len(rows), probes=0, recall=None, params=params)
        assert (found.ranked, found.findings) == ("pictures", ())
        scores = np.einsum("qd,pvd->qpv", rows, pictures).max(axis=2)
        own = np.repeat(np.arange(len(pictures)), VIEWS)
        scores[np.arange(len(rows)), own] = -2
        nearest_pictures = np.argsort(-scores, axis=1)[:, :LIMIT]
        answers = photos.search_many([VectorQuery(row) for row in rows], limit=LIMIT + 1, params=params)
        hits = [[int(hit.image_id, 16) for hit in answer] for answer in answers]
        shares = [
            len({hit for hit in there if hit != mine} & set(true.tolist())) / LIMIT
            for there, mine, true in zip(hits, own.tolist(), nearest_pictures, strict=True)
        ]
        assert found.recall is not None
        assert 0.7 < found.recall.mean < 0.9
        assert found.recall.mean == pytest.approx(np.mean(shares), abs=5e-4)
        said = imgvec.verify(photos, queries=200, probes=0, params=params).findings
        assert str(said[0]).startswith("low recall: picture recall@10 is 0.")
