"""A filter that keeps few rows hides none of them from an approximate index; proved against exact NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from milvus_rows import Vectors, definition, unit_vectors
from rows import row

from imgvec.milvus import Store
from imgvec.search.answer import Answer
from imgvec.search.forms import VectorQuery
from imgvec.search.searcher import Searcher

ROWS, DIM, KEPT, CLUSTERS = 3000, 16, 20, 128
INDEXES: dict[str, dict[str, Any]] = {"IVF_FLAT": {"nlist": CLUSTERS}, "HNSW": {"M": 8, "efConstruction": 40}}


class Filled:
    def __init__(self, store: Store, vectors: Vectors) -> None:
        self.store, self.vectors = store, vectors

    def ask(self, query: Vectors, **options: Any) -> Answer:
        searcher = Searcher(self.store, lambda _: None, max_pixels=1, max_bytes=1)  # type: ignore[arg-type,return-value]
        return searcher.search([VectorQuery(query)], output_fields=["rank"], **options)[0]

    def exact(self, query: Vectors, places: range, limit: int) -> list[tuple[str, Any]]:
        scores = self.vectors[[*places]].astype(np.float64) @ query.astype(np.float64)
        best = np.argsort(-scores, kind="stable")[:limit]
        return [(f"{places[place]:04}", pytest.approx(scores[place], abs=1e-5)) for place in best]


@pytest.fixture(scope="module", params=INDEXES)
def filled(request: pytest.FixtureRequest, make: Callable[..., Store]) -> Filled:
    """3,000 rows under an approximate index; `rank` is a row's number."""
    fields = {"rank": {"type": "INT64", "default": 0}}
    index = {"cpu": {"type": request.param, "params": INDEXES[request.param]}}
    store = make(definition(fields=fields, index=index), dim=DIM)
    vectors = unit_vectors(ROWS, DIM)
    store.upsert([row(f"{number:04}", rank=number) for number in range(ROWS)], vectors)
    store.flush()
    store.build_index(request.param, INDEXES[request.param])
    return Filled(store, vectors)


def test_few_rows_come_as_from_an_exact_search(filled: Filled) -> None:
    for query in unit_vectors(5, DIM, seed=3):
        answer = filled.ask(query, where=f"rank < {KEPT}", params=least(filled))
        assert [(hit.id, hit.score) for hit in answer] == filled.exact(query, range(KEPT), 10)
        assert [hit.fields for hit in answer] == [{"rank": int(hit.id)} for hit in answer]
        every = filled.ask(query, where=f"rank < {KEPT}", limit=KEPT + 5)
        assert [(hit.id, hit.score) for hit in every] == filled.exact(query, range(KEPT), KEPT)
        assert str(every.shortfall) == "5 fewer than asked for: no more rows match"


def test_the_profile_says_what_was_looked_at(filled: Filled) -> None:
    reach = filled.ask(filled.vectors[0], where=f"rank < {KEPT}").profile.reach
    lite = filled.store.capabilities.kind == "lite"
    if filled.store.index.type == "IVF_FLAT":
        assert (reach.by, reach.params, reach.matched) == ("every row", {"nprobe": CLUSTERS}, None if lite else KEPT)
    elif lite:
        assert (reach.by, reach.matched) == ("every row, here", KEPT)
    else:
        assert (reach.by, reach.params) == ("index", {"ef": 256})  # a server compares with all that few rows itself


def test_fewer_than_there_are_are_searched_for_wider(filled: Filled) -> None:
    """Among rows that a filter leaves, and among all."""
    query = filled.vectors[5]
    for where, places in (("", range(ROWS)), ("rank >= 0", range(ROWS))):
        answer = filled.ask(query, where=where or None, limit=1200, params=least(filled))
        assert len(answer) == 1200
        if filled.store.index.type == "IVF_FLAT":
            assert [hit.id for hit in answer] == [id_ for id_, _ in filled.exact(query, places, 1200)]
            if not where:
                assert answer.profile.reach.before is not None
                assert answer.profile.reach.before < 1200
                assert "so it was searched wider" in str(answer.profile)


def test_the_plain_search_misses_them(filled: Filled) -> None:
    """Or the others would prove nothing."""
    if filled.store.index.type == "HNSW" and filled.store.capabilities.kind == "server":
        pytest.skip("a server compares with all rows where few match")
    query = unit_vectors(1, DIM, seed=3)
    [found] = filled.store.search(query, limit=10, filter=f"rank < {KEPT}", params=least(filled, 10))
    assert len(found) < 10


def test_deleted_and_replaced_rows_are_as_they_are_now(make: Callable[..., Store]) -> None:
    index = {"cpu": {"type": "HNSW", "params": INDEXES["HNSW"]}}
    store = make(definition(fields={"rank": {"type": "INT64", "default": 0}}, index=index), dim=DIM)
    vectors = unit_vectors(40, DIM)
    store.upsert([row(f"{number:04}", rank=number) for number in range(40)], vectors)
    store.upsert([row("0003", rank=300)], vectors[:1])
    store.upsert([row("0005", rank=5)], vectors[7:8])
    store.delete(["0004"])
    [found] = store.search(vectors[7:8], limit=9, filter="rank < 10", thorough=True, consistency_level="Strong")
    assert {each.id for each in found} == {f"{number:04}" for number in (0, 1, 2, 5, 6, 7, 8, 9)}
    assert [each.id for each in found[:2]] == ["0005", "0007"]  # equal scores in the order of their ids


def least(filled: Filled, ef: int = 1) -> dict[str, int]:
    """The parameters by which the index looks at the fewest rows."""
    return {"nprobe": 1} if filled.store.index.type == "IVF_FLAT" else {"ef": ef}
