"""Milvus Lite, standalone, a container and a cluster give the same answers to the same searches: those of NumPy.

On the cluster the rows are in two shards, and in two replicas that answer in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from replicated import ON_A_CLUSTER
from rows import id_of, numbered

from imgvec import Answer, ImageCollection, Like, StoredId, Text, VectorQuery, dynamic, field
from imgvec.filters import Filter

ROWS, DIM, K = 700, 16, 12
DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {
        "album": {"type": "VARCHAR", "max_length": 64, "default": "", "index": "AUTO"},
        "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_capacity": 8, "max_length": 16, "default": []},
        "rating": {"type": "INT8", "default": -1},
        "price": {"type": "DOUBLE", "default": 0.0},
    },
    "index": {"cpu": {"type": "FLAT"}},
}
_RANDOM = np.random.default_rng(4)


def _unit(vectors: Any) -> Any:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


VECTORS = _unit(_RANDOM.standard_normal((ROWS, DIM)))
QUERIES = _unit(_RANDOM.standard_normal((9, DIM)))
FIELDS: list[dict[str, Any]] = [
    {
        "album": f"album{i % 5}",
        "tags": [f"t{i % 3}", f"u{i % 11}"],
        "rating": i % 100,
        "price": i / 8,
        "place": {"town": f"town{i % 4}"},
    }
    for i in range(ROWS)
]

Row = dict[str, Any]
FILTERS: list[tuple[Filter | str, Callable[[Row], bool]]] = [
    (field("album") == "album3", lambda row: row["album"] == "album3"),
    (field("rating").between(20, 29), lambda row: 20 <= row["rating"] <= 29),
    (field("album").in_(["album0", "album4"]), lambda row: row["album"] in ("album0", "album4")),
    (field("tags").contains("u7"), lambda row: "u7" in row["tags"]),
    (
        ~(field("tags").contains("t0") | (field("price") > 30.5)),
        lambda row: "t0" not in row["tags"] and row["price"] <= 30.5,
    ),
    (dynamic("place")["town"] == "town2", lambda row: row["place"]["town"] == "town2"),
    ('album like "album%" and rating >= 40 and rating < 60', lambda row: 40 <= row["rating"] < 60),
    (field("rating") > 99, lambda row: False),
]


def nearest(query: Any, metric: str, limit: int, among: Any = None) -> list[tuple[str, float]]:
    """Ids and scores; with L2 the score is 1 - d²/2."""
    exact, rows = np.asarray(query, np.float64), VECTORS.astype(np.float64)
    scores = 1 - ((rows - exact) ** 2).sum(axis=1) / 2 if metric == "L2" else rows @ exact
    order = np.argsort(-scores, kind="stable")
    chosen = order if among is None else [i for i in order if among[i]]
    return [(id_of(i), scores[i]) for i in chosen[:limit]]


def same(answer: Answer, wanted: list[tuple[str, float]]) -> None:
    assert [hit.id for hit in answer] == [id_ for id_, _ in wanted]
    np.testing.assert_allclose([hit.score for hit in answer], [score for _, score in wanted], atol=1e-5)


@pytest.mark.parametrize("metric", ["COSINE", "IP", "L2"])
def test_the_same_search_answers(any_backend_uri: str, request: pytest.FixtureRequest, metric: str) -> None:
    definition = DEFINITION | {"vector": {"metric_type": metric}}
    if request.node.get_closest_marker("cluster"):
        definition |= ON_A_CLUSTER
    encoder = FakeEncoder(dim=DIM, text=True)
    with ImageCollection.create("answers", definition=definition, uri=any_backend_uri, encoder=encoder) as photos:
        photos.store.upsert([numbered(i, **fields) for i, fields in enumerate(FIELDS)], VECTORS)
        queries = [VectorQuery(query) for query in QUERIES]

        for _ in range(2):  # by one replica, then the other
            for query, answer in zip(QUERIES, photos.search_many(queries, limit=K), strict=True):
                same(answer, nearest(query, metric, K))
                assert {hit.id: hit.fields["rating"] for hit in answer} == {
                    hit.id: FIELDS[int(hit.id, 16)]["rating"] for hit in answer
                }
        same(photos.search(queries[0], limit=ROWS + 50), nearest(QUERIES[0], metric, ROWS))
        same(photos.search(queries[1], limit=5, offset=30), nearest(QUERIES[1], metric, 35)[30:])
        same(photos.search(StoredId(id_of(7)), limit=K), nearest(VECTORS[7], metric, K))
        [text] = encoder.encode_texts(["a red shoe"])
        same(photos.search(Text("a red shoe"), limit=K), nearest(text, metric, K))
        mix = _unit(VECTORS[3] - 0.5 * VECTORS[4].astype(np.float64))
        liked = Like([(StoredId(id_of(3)), 1), (StoredId(id_of(4)), -0.5)])
        same(photos.search(liked, limit=K), nearest(mix, metric, K))
        sixth = nearest(QUERIES[2], metric, 6)[-1][1]
        close = [each for each in nearest(QUERIES[2], metric, K) if each[1] >= sixth - 1e-4]
        same(photos.search(queries[2], limit=K, min_score=sixth - 1e-4), close)

        for where, matches in FILTERS:
            among = [matches(row) for row in FIELDS]
            for query, answer in zip(QUERIES, photos.search_many(queries, limit=K, where=where), strict=True):
                same(answer, nearest(query, metric, K, among))
            assert photos.count(where) == sum(among), where

        gone = [id_ for id_, _ in nearest(QUERIES[0], metric, 3)]
        assert photos.delete(gone) == 3
        same(photos.search(queries[0], limit=K), nearest(QUERIES[0], metric, K + 3)[3:])
        assert photos.count() == ROWS - 3
