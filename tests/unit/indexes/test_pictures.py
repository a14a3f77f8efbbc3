"""Recall of pictures, whose rows are views: what a search finds and what exact search does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fakes import FakeStore

from imgvec.errors import QueryError
from imgvec.indexes import pictures, unseen
from imgvec.indexes.measure import sampled
from imgvec.indexes.neighbours import Neighbours
from imgvec.indexes.verify import verify
from imgvec.stored import Found
from imgvec.vectors import Vectors
from imgvec.views import best_views, rows_to_ask

N, VIEWS, DIM = 30, 4, 16
_RNG = np.random.default_rng(3)
_MADE = _RNG.standard_normal((N, 1, DIM)) + 0.8 * _RNG.standard_normal((N, VIEWS, DIM))
STORED: Vectors = (_MADE / np.linalg.norm(_MADE, axis=2, keepdims=True)).astype(np.float32)
_ASKED = _RNG.standard_normal((12, DIM))
QUERIES: Vectors = (_ASKED / np.linalg.norm(_ASKED, axis=1, keepdims=True)).astype(np.float32)


class Forgetful(FakeStore):
    """Finds no row whose number leaves 2 when it is divided by 5."""

    def search(self, vectors: Vectors, **asked: Any) -> list[list[Found]]:
        limit = asked["limit"]
        found = super().search(vectors, **{**asked, "limit": len(self.rows)})
        return [[hit for hit in hits if not forgotten(hit.id)][:limit] for hits in found]


def forgotten(id_: str) -> bool:
    return int(id_.split("-")[1]) % 5 == 2


@pytest.fixture
def store() -> FakeStore:
    store = Forgetful(dim=DIM)
    store.most_views = VIEWS
    rows = [
        {"id": f"r-{VIEWS * n + view:03}", "image_id": f"p{n:02}", "uri": "", "content_hash": "", "view": "region"}
        for n in range(N)
        for view in range(VIEWS)
    ]
    store.upsert(rows, STORED.reshape(-1, DIM))
    return store


def nearest(queries: Vectors, *, there: bool = False) -> list[list[str]]:
    """The pictures by their best views, by NumPy; `there`: by those views that are found."""
    scores = np.einsum("qd,pvd->qpv", queries, STORED)
    if there:
        rows = np.arange(N * VIEWS).reshape(N, VIEWS)
        scores[:, rows % 5 == 2] = -2
    return [[f"p{n:02}" for n in row] for row in np.argsort(-scores.max(axis=2), axis=1)]


def test_what_is_found_are_the_pictures_of_the_rows(store: FakeStore) -> None:
    found = pictures.found(store, QUERIES, limit=5, filter="", params={})
    assert [[hit.id for hit in hits][:5] for hits in found] == [names[:5] for names in nearest(QUERIES, there=True)]
    assert pictures.ranked(store) == "pictures"


def test_the_true_neighbours_are_pictures_by_their_best_views(store: FakeStore) -> None:
    exact = pictures.neighbours(store, QUERIES, limit=5, filter="", device="cpu", on_rows=lambda _: None)
    assert [ids[:5] for ids in exact.ids] == [names[:5] for names in nearest(QUERIES)]
    best = np.sort(np.einsum("qd,pvd->qpv", QUERIES, STORED).max(axis=2), axis=1)[:, ::-1][:, :5]
    np.testing.assert_allclose(exact.scores[:, :5], best, atol=1e-5)


def test_an_id_stands_once_by_its_best_row() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.5, 0.4, 0.3, np.nan]], np.float32)
    once = Neighbours([["a", "a", "b", "a"], ["c", "b", "c"]], scores).once()
    assert once.ids == [["a", "b"], ["c", "b"]]
    np.testing.assert_array_equal(once.scores[:, :2], np.array([[0.9, 0.7], [0.5, 0.4]], np.float32))
    assert np.isnan(once.scores[:, 2:]).all()


def test_stored_rows_are_no_neighbours_of_their_own_picture(store: FakeStore) -> None:
    queries = sampled(store, ["r-005", "r-090"])
    assert (queries.rows, queries.own) == (["r-005", "r-090"], ["p01", "p22"])


def test_verifying_every_row_gives_the_recall_of_pictures(store: FakeStore) -> None:
    rows = STORED.reshape(-1, DIM)
    owners = np.repeat([f"p{n:02}" for n in range(N)], VIEWS).tolist()
    shares = []
    for own, true, seen in zip(owners, nearest(rows), nearest(rows, there=True), strict=True):
        wanted = [name for name in true if name != own][:5]
        shares.append(len(set(wanted) & set([name for name in seen if name != own][:5])) / 5)
    found = verify(store, limit=5, queries=len(rows), probes=0, recall=None, device="cpu")
    assert found.recall is not None
    assert 0.5 < found.recall.mean < 1
    assert found.recall.mean == pytest.approx(np.mean(shares))
    assert found.ranked == "pictures"
    low = verify(store, limit=5, queries=50, probes=0, recall=0.99, device="cpu").findings
    assert "picture recall@5 is 0." in next(str(each) for each in low if each.name == "low recall")


def test_more_pictures_than_milvus_gives_rows_for_are_refused(store: FakeStore) -> None:
    assert (rows_to_ask(7, None), rows_to_ask(7, 4), rows_to_ask(4096, 4)) == (7, 28, 16_384)
    with pytest.raises(QueryError, match=r"4,097 pictures of up to 4 views each are 16,388 rows.*at most 4,096"):
        rows_to_ask(4097, 4)
    with pytest.raises(QueryError, match="ask for at most 4,096"):
        verify(store, limit=4097)
    found = verify(store, limit=4096, queries=5, probes=0, recall=None, device="cpu")
    assert found.recall is not None
    assert found.recall.mean > 0.9


def test_the_best_view_stands_for_a_picture() -> None:
    rows = [Found("r1", 0.9, 0.9, {"image_id": "b"}), Found("r2", 0.9, 0.9, {"image_id": "a"}),
            Found("r3", 0.8, 0.8, {"image_id": "b"})]  # fmt: skip
    assert [row.id for row in best_views(rows)] == ["r2", "r1"]
    assert [(each.id, each.score) for each in pictures.as_pictures(rows)] == [("a", 0.9), ("b", 0.9)]


def test_a_picture_that_is_stored_twice_is_told_from_one_of_several_views(store: FakeStore) -> None:
    one, other = ["r-000", "r-001", "r-002", "r-003"], ["r-004", "r-005", "r-006", "r-007"]
    twice = ["r-008", "r-009", "r-012", "r-010", "r-013"]
    assert list(unseen._stored(store, [one, twice, other])) == [
        [one], [["r-008", "r-009", "r-010"], ["r-012", "r-013"]], [other]
    ]  # fmt: skip
    store.most_views = None
    assert list(unseen._stored(store, [["r-000", "r-001"], ["r-002"]])) == [[["r-000"], ["r-001"]], [["r-002"]]]


def test_a_copy_takes_as_many_whole_pictures_as_it_holds_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unseen, "COPIED", 7)
    many = iter([[["a1", "a2", "a3"], ["b1"]], [["c1", "c2", "c3"]], [["d1", "d2"]], [["e1"]]])
    assert unseen._as_many(many) == [["a1", "a2", "a3"], ["c1", "c2", "c3"]]
