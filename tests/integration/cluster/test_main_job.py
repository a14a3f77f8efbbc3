"""The main job on a Milvus cluster, in two shards and two replicas, gives what it gives on Milvus Lite and standalone.

Every answer is held against exact search by NumPy over the vectors that went in, so that one backend's answers are the
others' too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeEncoder
from replicated import ON_A_CLUSTER, check_replicas

import imgvec
from imgvec import ImageCollection, StoredId, VectorQuery, field
from imgvec.vectors import Vectors

ROWS, DIM, K = 3000, 16, 10
"""More than the 1024 rows in each of two shards without which Milvus leaves a segment without an index."""
DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "vector": {"metric_type": "COSINE"},
    "fields": {
        "album": {"type": "VARCHAR", "max_length": 64, "default": "", "index": "AUTO"},
        "rating": {"type": "INT8", "default": -1},
    },
    "index": {"cpu": {"type": "FLAT"}},
}
_RANDOM = np.random.default_rng(12)


def _drawn(number: int) -> Vectors:
    vectors = _RANDOM.standard_normal((number, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS, QUERIES = _drawn(ROWS), _drawn(20)
ALBUMS = [f"album{i % 7}" for i in range(ROWS)]
RATINGS = [i % 100 for i in range(ROWS)]


class Exact:
    """What is in the collection, and what is nearest in it."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.vectors: dict[str, Any] = {}

    def add(self, id_: str, vector: Any, **fields: Any) -> None:
        self.rows[id_], self.vectors[id_] = fields, vector

    def remove(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            del self.rows[id_], self.vectors[id_]

    def nearest(
        self, query: Any, limit: int, where: Callable[[dict[str, Any]], bool] = lambda row: True
    ) -> list[tuple[str, float]]:
        ids = [id_ for id_, row in self.rows.items() if where(row)]
        scores = np.stack([self.vectors[id_] for id_ in ids]).astype(np.float64) @ np.asarray(query, np.float64)
        return [(ids[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")[:limit]]


@pytest.fixture(
    params=[
        "lite",
        pytest.param("server", marks=pytest.mark.server),
        pytest.param("cluster", marks=pytest.mark.cluster),
    ]
)
def photos(request: pytest.FixtureRequest) -> Iterator[ImageCollection]:
    """An empty collection; on the cluster in two shards and two replicas."""
    name = request.param
    uri = request.getfixturevalue(f"{name}_uri")
    wanted = DEFINITION | (ON_A_CLUSTER if name == "cluster" else {})
    with ImageCollection.create("main_job", definition=wanted, uri=uri, encoder=FakeEncoder(dim=DIM)) as made:
        yield made
        made.drop()


def check_answers(photos: ImageCollection, exact: Exact) -> None:
    """Searches, filters and counts are exact."""

    def same(answer: imgvec.Answer, wanted: list[tuple[str, float]]) -> None:
        assert [hit.id for hit in answer] == [id_ for id_, _ in wanted]
        np.testing.assert_allclose([hit.score for hit in answer], [score for _, score in wanted], atol=1e-5)

    forms = [VectorQuery(query) for query in QUERIES]
    for _ in range(2):  # two replicas take turns
        for query, answer in zip(QUERIES, photos.search_many(forms, limit=K), strict=True):
            same(answer, exact.nearest(query, K))
    same(photos.search(forms[0], limit=K, offset=K), exact.nearest(QUERIES[0], 2 * K)[K:])
    some = next(iter(exact.rows))
    same(photos.search(StoredId(some), limit=K), exact.nearest(exact.vectors[some], K))

    few = (field("album") == "album3") & (field("rating") >= 60)

    def is_one(row: Any) -> bool:
        return bool(row["album"] == "album3" and row["rating"] >= 60)

    for query, answer in zip(QUERIES, photos.search_many(forms, limit=K, where=few), strict=True):
        same(answer, exact.nearest(query, K, is_one))
    assert photos.count(few) == sum(map(is_one, exact.rows.values()))
    assert photos.count() == len(exact.rows)
    assert {row["id"] for page in photos.store.scan(["id"]) for row in page} == exact.rows.keys()


def test_the_main_job(photos: ImageCollection, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = Exact()
    np.save(tmp_path / "v.npy", VECTORS)
    pq.write_table(
        pa.table({"id": [f"v{i:05}" for i in range(ROWS)], "album": ALBUMS, "rating": RATINGS}),
        tmp_path / "rows.parquet",
    )
    report = imgvec.import_vectors(photos, tmp_path / "v.npy", ids="id", metadata=tmp_path / "rows.parquet")
    assert report.written == ROWS
    for i in range(ROWS):
        exact.add(f"v{i:05}", VECTORS[i], album=ALBUMS[i], rating=RATINGS[i])
    files = sorted(pictures.rglob("*.jpg"))
    known = {str(path): {"album": path.parent.name, "rating": i} for i, path in enumerate(files)}
    assert photos.ingest(pictures, metadata=known).written == len(files)
    rows = {row["uri"]: row for page in photos.store.scan(["id", "uri", "vector"]) for row in page}
    for path in files:
        exact.add(rows[str(path)]["id"], rows[str(path)]["vector"], **known[str(path)])
        np.testing.assert_allclose(rows[str(path)]["vector"], photos.vectors([path])[0], atol=1e-6)
    check_answers(photos, exact)

    imgvec.build_index(photos, "IVF_FLAT", {"nlist": 16})
    assert imgvec.index_status(photos)["indexed_rows"] >= ROWS
    imgvec.set_search_defaults(photos, {"nprobe": 16})
    check_answers(photos, exact)

    found = imgvec.verify(photos, queries=60, probes=200)
    assert found.findings == ()
    assert found.recall is not None
    assert found.recall.mean == 1

    monkeypatch.setattr("imgvec.indexes.tune.CALLS", 20)  # no test here is about times
    # stored rows stand for queries on a copy without them, which takes a server 20 s to fill
    tuned = imgvec.tune(photos, recall=0.9, queries=200 if photos.definition.num_shards > 1 else _drawn(200))
    assert tuned.params is not None
    assert 1 < tuned.params["nprobe"] <= 16
    imgvec.apply_tuning(photos, tuned)
    answers = photos.search_many([VectorQuery(query) for query in QUERIES], limit=K)
    hits = sum(
        len({hit.id for hit in answer} & {id_ for id_, _ in exact.nearest(query, K)})
        for query, answer in zip(QUERIES, answers, strict=True)
    )
    assert hits / (K * len(QUERIES)) > 0.8
    imgvec.set_search_defaults(photos, {"nprobe": 16})

    imgvec.export_vectors(photos, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert len(table) == len(exact.rows)
    for row in table:
        np.testing.assert_allclose(row["vector"], exact.vectors[row["id"]], atol=1e-6)
        assert (row["album"], row["rating"]) == (exact.rows[row["id"]]["album"], exact.rows[row["id"]]["rating"])

    gone = [path for path in files if path.parent.name == "album0"][:6]
    for path in gone:
        path.unlink()
    assert photos.prune(pictures) == len(gone)
    exact.remove([rows[str(path)]["id"] for path in gone])
    nearest = [exact.nearest(query, 1)[0][0] for query in QUERIES[:5]]
    assert photos.delete(nearest) == len(set(nearest))
    exact.remove(sorted(set(nearest)))
    check_answers(photos, exact)
    if photos.definition.num_shards > 1:
        check_replicas(photos)
