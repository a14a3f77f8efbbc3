"""The index of a collection that is empty when a large import begins is built once, at the end, also after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder

import imgvec
from imgvec import ImageCollection
from imgvec.errors import BackendError
from imgvec.milvus import compaction, deferred
from imgvec.milvus.vector_index import VectorIndex
from imgvec.progress import Progress
from imgvec.stored import IndexInfo

ROWS, DIM = 2400, 16  # a segment below 1024 rows stays without an index
HNSW = IndexInfo("HNSW", {"M": 8, "efConstruction": 80})
DEFINITION = {"encoder": {"model": "fake"}, "index": {"cpu": {"type": HNSW.type, "params": dict(HNSW.params)}}}
_random = np.random.default_rng(3)
VECTORS = _random.standard_normal((ROWS, DIM)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)


@pytest.fixture
def photos(backend_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageCollection]:
    monkeypatch.setattr(compaction, "FROM_ROWS", ROWS)
    np.save(tmp_path / "v.npy", VECTORS)
    with ImageCollection.create(
        "later", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder(dim=DIM)
    ) as collection:
        yield collection
        collection.drop()


def nearest(photos: ImageCollection) -> list[str]:
    return [hit.id for hit in photos.search(imgvec.VectorQuery(VECTORS[7]), limit=5, params={"ef": 500})]


def exact(photos: ImageCollection) -> list[str]:
    rows = [row for some in photos.store.scan(["id", "vector"]) for row in some]
    scores = np.stack([row["vector"] for row in rows]) @ VECTORS[7]
    return [rows[i]["id"] for i in np.argsort(-scores)[:5]]


@pytest.mark.server
@pytest.mark.parametrize("backend_uri", ["server"], indirect=True)
def test_an_index_waits_for_the_end_and_after_a_kill_for_the_next_import(
    photos: ImageCollection, backend_uri: str, tmp_path: Path
) -> None:
    notes: list[str] = []

    def killed(event: Progress) -> None:
        if event.counts.get("written", 0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        imgvec.import_vectors(photos, tmp_path / "v.npy", on_progress=killed, on_notice=notes.append)
    assert "HNSW will be built once all rows are in; until then 'later' is searched exactly" in notes
    with ImageCollection.open("later", uri=backend_uri) as other:
        assert other.store.index == IndexInfo("FLAT", {})
        status = imgvec.index_status(other)
        assert status["waiting"] == {"type": HNSW.type, "params": dict(HNSW.params)}
        [hit] = other.search(imgvec.VectorQuery(VECTORS[0]), limit=1, consistency_level="Strong")
        assert hit.score == pytest.approx(1, abs=1e-3)

        # not empty any more, and of any size: it ends what the first began
        stages: dict[str, None] = {}

        def noted(event: Progress) -> None:
            stages[event.work] = None
            # nothing is built while rows are written
            assert (other.store.index.type == "FLAT") or event.work == "build"

        report = imgvec.import_vectors(other, tmp_path / "v.npy", on_progress=noted)
        assert list(stages) == ["import", "build"]
        assert (report.written, report.seen, other.count()) == (ROWS, ROWS, ROWS)
        assert report.build_seconds > 0
        assert report.to_dict()["build_seconds"] == pytest.approx(report.build_seconds, abs=1e-3)
        assert other.store.index == HNSW
        status = imgvec.index_status(other)
        assert (status["waiting"], status["pending_rows"], status["rewritten_rows"]) == ({}, 0, 0)
        assert nearest(other) == exact(other)
    with ImageCollection.open("later", uri=backend_uri) as again:
        assert (again.store.index, imgvec.index_status(again)["waiting"]) == (HNSW, {})
        assert imgvec.import_vectors(again, tmp_path / "v.npy").build_seconds == 0


@pytest.mark.server
@pytest.mark.parametrize("backend_uri", ["server"], indirect=True)
def test_rows_whose_index_is_not_built_are_in_and_index_build_builds_it(
    photos: ImageCollection, backend_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = VectorIndex.wait

    def too_long(self: VectorIndex, rows: int, timeout: float, *more: Any) -> None:
        if timeout == deferred._LONGEST:
            raise BackendError("the index covers only 0 rows", retryable=True)
        wait(self, rows, timeout, *more)

    monkeypatch.setattr(VectorIndex, "wait", too_long)
    with pytest.raises(BackendError, match=r"the rows are in, but their index is not built: .* `imgvec index build"):
        imgvec.import_vectors(photos, tmp_path / "v.npy")
    assert (photos.count(), photos.store.index.type) == (ROWS, "FLAT")
    with ImageCollection.open("later", uri=backend_uri) as other:
        assert imgvec.index_status(other)["waiting"]["type"] == "HNSW"
        imgvec.build_index(other)
        assert (other.store.index, imgvec.index_status(other)["waiting"]) == (HNSW, {})


def test_no_index_waits_for_few_rows_or_where_rows_are(
    photos: ImageCollection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_args: Any, **_options: Any) -> float:
        raise AssertionError("an index is replaced")

    monkeypatch.setattr(type(photos.store), "build_index", never)
    monkeypatch.setattr(compaction, "FROM_ROWS", ROWS + 1)
    report = imgvec.import_vectors(photos, tmp_path / "v.npy")
    assert (report.written, report.build_seconds, photos.store.index) == (ROWS, 0, HNSW)
    monkeypatch.setattr(compaction, "FROM_ROWS", 1)
    assert imgvec.import_vectors(photos, tmp_path / "v.npy").build_seconds == 0


@pytest.mark.parametrize("backend_uri", ["lite"], indirect=True)
def test_milvus_lite_which_builds_when_it_loads_keeps_its_index(photos: ImageCollection, tmp_path: Path) -> None:
    report = imgvec.import_vectors(photos, tmp_path / "v.npy")
    assert (report.written, report.build_seconds, photos.store.index) == (ROWS, 0, HNSW)
    assert imgvec.index_status(photos)["waiting"] == {}
    waits = {"type": HNSW.type, "params": {}}
    photos.store.remember(deferred.WAITING, {"vector": waits, "texture": waits})
    imgvec.build_index(photos, "FLAT")
    assert photos.store.remembered[deferred.WAITING] == {"texture": waits}  # each vector for itself
