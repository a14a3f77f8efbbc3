"""A store as one of its vectors sees it."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeStore

from imgvec.by_vector import indexes_by, searches_by
from imgvec.errors import QueryError
from imgvec.stored import IndexInfo, VectorField
from imgvec.vectors import Vectors

N = 40


def unit(seed: int, dim: int) -> Vectors:
    made = np.random.default_rng(seed).standard_normal((N, dim))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


VECTORS = {"vector": unit(0, 16), "texture": unit(1, 24)}


@pytest.fixture
def store() -> FakeStore:
    texture = VectorField(24, "FLOAT16_VECTOR", "L2", IndexInfo("HNSW", {"M": 8}))
    store = FakeStore(further={"texture": texture})
    rows = [{"id": f"{n:02}", "uri": f"/{n}", "album": "sea"} for n in range(N)]
    store.upsert(rows, VECTORS["vector"], {"texture": VECTORS["texture"]})
    return store


def test_the_first_vector_needs_no_other_store(store: FakeStore) -> None:
    assert searches_by(store, "vector") is store
    assert indexes_by(store, "vector") is store


def test_it_is_what_the_vectors_field_is(store: FakeStore) -> None:
    by = indexes_by(store, "texture")
    assert (by.name, by.dim, by.vector_type, by.metric_type) == ("fake", 24, "FLOAT16_VECTOR", "L2")
    assert by.index == IndexInfo("HNSW", {"M": 8})
    assert list(by.vectors) == ["vector"]
    assert by.vectors["vector"] == store.vectors["texture"]
    assert (by.fields, by.dynamic, by.most_views, by.count()) == (store.fields, store.dynamic, None, N)


def test_rows_have_it_as_their_vector(store: FakeStore) -> None:
    by = searches_by(store, "texture")
    scanned = [row for rows in by.scan(["vector", "album"]) for row in rows]
    assert scanned[0].keys() == {"id", "vector", "album"}
    np.testing.assert_array_equal(np.stack([row["vector"] for row in scanned]), VECTORS["texture"])
    assert next(iter(by.scan(["album"])))[0] == {"id": "00", "album": "sea"}
    got = by.get(["07", "none", "03"], with_vector=True, output_fields=["uri"])
    assert list(got) == ["07", "03"]
    assert got["07"].keys() == {"uri", "vector"}
    np.testing.assert_array_equal(got["03"]["vector"], VECTORS["texture"][3])


def test_searches_are_by_it(store: FakeStore) -> None:
    by, query = searches_by(store, "texture"), VECTORS["texture"][:3]
    scores = query @ VECTORS["texture"].T
    best = [[f"{n:02}" for n in row[:5]] for row in np.argsort(-scores, axis=1)]
    found = by.search(query, limit=5, output_fields=["vector", "album"])
    assert [[hit.id for hit in hits] for hits in found] == best
    np.testing.assert_array_equal(found[0][0].fields["vector"], VECTORS["texture"][0])
    assert [hit.id for hit in by.search(query, limit=5)[2]] == best[2]
    with pytest.raises(QueryError, match=r"'fake' has no vector 'texture' \(vectors: vector\)"):
        by.search(query, limit=5, vector="texture")


def test_its_index_is_built_and_no_other(store: FakeStore) -> None:
    by = indexes_by(store, "texture")
    by.build_index("IVF_FLAT", {"nlist": 16})
    assert by.index == store.vectors["texture"].index == IndexInfo("IVF_FLAT", {"nlist": 16})
    assert store.index == IndexInfo("FLAT", {})
    assert by.index_state().total_rows == N


def test_an_unknown_one_is_named_with_those_that_are_there(store: FakeStore) -> None:
    for by in (searches_by, indexes_by):
        with pytest.raises(QueryError, match=r"'fake' has no vector 'shape' \(vectors: vector, texture\)"):
            by(store, "shape")
