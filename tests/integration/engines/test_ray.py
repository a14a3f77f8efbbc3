"""Ingest on a Ray cluster of two nodes gives what the local engine gives."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import SERVER_BY_NIGHT
from fakes import FakeEncoder, FakeStore
from pictures import picture
from ray_nodes import ray_nodes

import imgvec
from imgvec import ImageCollection
from imgvec.definition import Definition
from imgvec.engines import RayEngine
from imgvec.errors import EngineFailed, MissingExtra, SourceError, UnreadableImage, WriteFailed
from imgvec.ingest import Job, Resources
from imgvec.sources import Source

pytest.importorskip("ray", reason="the extra `ray` is not installed")

DEFINITION = {
    "encoder": {"model": "fake"},
    "fields": {
        "album": {"type": "VARCHAR", "max_length": 64, "default": ""},
        "rating": {"type": "INT8", "default": -1},
    },
}
ENGINE = RayEngine(workers=2, encoder_factory=FakeEncoder)
RESOURCES = Resources(threads=2, max_pixels=10**7, max_bytes=10**7)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two nodes on this machine."""
    with ray_nodes(2, Path(__file__).parent):
        yield


@pytest.fixture
def source(pictures: Path) -> Path:
    (pictures / "broken.jpg").write_bytes(b"no image")
    (pictures / "empty.png").touch()
    return pictures


def metadata(source: Path) -> dict[str, dict[str, object]]:
    return {
        str(path): {"album": path.parent.name, "rating": i, "place": f"p{i}"}
        for i, path in enumerate(sorted(source.rglob("*.jpg")))
    }


def content(collection: ImageCollection) -> dict[str, dict[str, Any]]:
    """Every row with its vector, as it is compared."""
    ids = [row["id"] for rows in collection.store.scan(["id"]) for row in rows]
    rows = collection.get(ids, with_vector=True)
    return {
        id_: {k: v.tolist() if k == "vector" else v for k, v in row.items() if k != "ingested_at"}
        for id_, row in rows.items()
    }


def refused(file: Path) -> list[str]:
    return sorted(file.read_text().splitlines())


def test_rows_and_refused_images_are_the_local_ones(
    cluster: None, backend_uri: str, source: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    known = metadata(source)
    with ImageCollection.create("here", definition=DEFINITION, uri=backend_uri, encoder=encoder) as local:
        report = local.ingest(source, metadata=known, errors=tmp_path / "local.jsonl")
        wanted = content(local)
    with ImageCollection.create("there", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder()) as remote:
        seen: list[int] = []
        first = remote.ingest(
            source,
            metadata=known,
            errors=tmp_path / "ray.jsonl",
            engine=ENGINE,
            on_progress=lambda r: seen.append(r.counts["seen"]),
        )
        assert content(remote) == wanted
        assert len(wanted) == 20
        assert refused(tmp_path / "ray.jsonl") == refused(tmp_path / "local.jsonl")
        assert len(refused(tmp_path / "ray.jsonl")) == 2
        for name in ("seen", "written", "updated", "unchanged", "duplicates", "refused", "bytes_read"):
            assert getattr(first, name) == getattr(report, name), name
        assert seen[-1] == first.seen == 22
        assert first.stage_seconds["encode"] > 0

        known[str(source / "album0" / "00.jpg")]["album"] = "renamed"
        picture(99).save(source / "album1" / "01.jpg")
        again = remote.ingest(source, metadata=known, engine=ENGINE)
        assert (again.written, again.updated, again.unchanged) == (1, 1, 18)
        third = remote.ingest(source, metadata=known, engine=ENGINE)
        assert (third.written, third.updated, third.unchanged) == (0, 0, 20)


@SERVER_BY_NIGHT
def test_views_are_the_local_ones(cluster: None, backend_uri: str, source: Path) -> None:
    """On Milvus Lite the driver makes the workers' calls, those to the journal too."""
    definition = {**DEFINITION, "views": {"grid": 2}}
    made = []
    for name, engine in (("here", None), ("there", ENGINE)):
        with ImageCollection.create(name, definition=definition, uri=backend_uri, encoder=FakeEncoder()) as photos:
            report = photos.ingest(source, engine=engine)
            assert (report.written, report.refused.total()) == (20, 2)
            again = photos.ingest(source, engine=engine)
            assert (again.unchanged, again.written) == (20, 0)
            journal = photos.handle.target.journal
            assert journal is not None
            noted = [entry for some in journal.scan(["uri", "content_hash", "views"]) for entry in some]
            made.append((content(photos), noted))
    assert made[0] == made[1]
    assert (len(made[0][0]), len(made[0][1])) == (100, 20)


def test_both_nodes_work_and_a_duplicate_is_one(cluster: None, tmp_path: Path, store: FakeStore) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    picture(0).save(folder / "0.jpg")
    for i in range(1, 1200):
        shutil.copy(folder / "0.jpg", folder / f"{i}.jpg")
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    engine = RayEngine(workers=2, encoder_factory=partial(encoder_that_notes_its_node, nodes))
    report = engine.ingest(job(TwiceTheFirst(str(folder)), store))
    assert len(list(nodes.iterdir())) == 2
    assert (report.seen, report.written, report.duplicates) == (1201, 1200, 1)
    assert len(store.rows) == 1200
    assert sum(store.upserts) == 1200


def test_what_a_worker_raises_is_raised_here(cluster: None, source: Path, store: FakeStore, tmp_path: Path) -> None:
    read = Reading(str(source))
    with pytest.raises(UnreadableImage, match=r"broken\.jpg|empty\.png"):
        ENGINE.ingest(job(read, store), strict=True, errors=tmp_path / "e")
    assert json.loads((tmp_path / "e").read_text().splitlines()[0])["reason"] in ("not an image", "empty")
    with pytest.raises(SourceError, match="nowhere"):
        ENGINE.ingest(job(Reading(str(tmp_path / "nowhere")), store))
    with pytest.raises(WriteFailed, match="full") as caught:
        ENGINE.ingest(job(read, FullStore()))
    assert (caught.value.written, caught.value.pending) == (3, 4)
    with pytest.raises(EngineFailed, match="0 GPUs"):
        RayEngine(gpus_per_worker=1).ingest(job(read, store))


def test_a_worker_that_dies_is_replaced_and_its_chunk_done_again(
    cluster: None, source: Path, store: FakeStore, tmp_path: Path
) -> None:
    engine = RayEngine(workers=1, encoder_factory=partial(EncoderThatDiesOnce, tmp_path / "died"))
    report = engine.ingest(job(Reading(str(source)), store))
    assert (tmp_path / "died").exists()
    assert (len(store.rows), report.seen, report.refused.total()) == (20, 22, 2)


def test_a_stopped_run_goes_on_from_there(cluster: None, tmp_path: Path, store: FakeStore) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    picture(0).save(folder / "0.jpg")
    for i in range(1, 1500):
        os.link(folder / "0.jpg", folder / f"{i}.jpg")
    stop = threading.Event()
    engine = RayEngine(workers=1, encoder_factory=FakeEncoder)
    read = Reading(str(folder))
    first = engine.ingest(job(read, store), stop=stop, on_progress=lambda _: stop.set())
    assert first.interrupted
    assert 0 < first.written < 1500
    second = engine.ingest(job(read, store))
    assert not second.interrupted
    assert second.unchanged >= first.written
    assert second.unchanged + second.written == len(store.rows) == 1500


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, store: FakeStore) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'imgvec\[ray\]'"):
        ENGINE.ingest(job(Reading("."), store))


def encoder_that_notes_its_node(folder: Path) -> FakeEncoder:
    import ray

    (folder / ray.get_runtime_context().get_node_id()).touch()
    return FakeEncoder()


class EncoderThatDiesOnce(FakeEncoder):
    def __init__(self, died: Path) -> None:
        super().__init__()
        self.died = died

    def encode(self, pixels: Any) -> Any:
        if not self.died.exists():
            self.died.touch()
            os._exit(1)
        return super().encode(pixels)


class Reading:
    """A source that can be sent to the cluster."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __call__(self) -> Iterator[Any]:
        return iter(Source(self.source))


class TwiceTheFirst(Reading):
    def __call__(self) -> Iterator[Any]:
        records = super().__call__()
        first = next(records)
        yield first
        yield first
        yield from records


class FullStore(FakeStore):
    def upsert(self, rows: Any, vectors: Any, more: Any = None) -> int:
        raise WriteFailed("the disk is full", written=3, pending=4)


def job(records: Reading, store: FakeStore) -> Job:
    row_fields = Definition.load(DEFINITION).row_fields
    return Job(
        records, row_fields, RESOURCES, store, {"vector": FakeEncoder}, encoder_factories={"vector": FakeEncoder}
    )


@SERVER_BY_NIGHT
def test_another_model_for_a_collection_that_serves(cluster: None, backend_uri: str, pictures: Path) -> None:
    known, other = metadata(pictures), FakeEncoder(dim=24, seed=7)
    engine = RayEngine(workers=2, encoder_factory=partial(FakeEncoder, dim=24, seed=7))
    with ImageCollection.create("photos", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder()) as photos:
        photos.ingest(pictures, metadata=known)
        imgvec.set_alias(photos, "serving")
        before = content(photos)
        try:
            with ImageCollection.open("serving", uri=backend_uri) as serving:
                done = imgvec.reembed(serving, other, engine=engine)
            assert (done.encoded, done.rows, done.lost, done.swapped) == (20, 20, (), True)
            with ImageCollection.open("serving", uri=backend_uri, encoder=other) as serving:
                after = content(serving)
                for id_, row in after.items():
                    vector = serving.vectors([Path(row["uri"])])[0]
                    np.testing.assert_allclose(row.pop("vector"), vector, atol=1e-3)
                    before[id_].pop("vector")
            assert after == before
        finally:
            photos.handle.connection.link.client.drop_alias("serving")
