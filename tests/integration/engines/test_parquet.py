"""Ingest into bulk-import Parquet files, and the import of such a folder: the same rows as a direct ingest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import FakeEncoder

import imgvec
from imgvec import ImageCollection
from imgvec.errors import CollectionNotFound, EncoderMismatch, SourceError, TargetError, WriteFailed
from imgvec.milvus import bulk

pytest.importorskip("minio", reason="the extra `bulk` is not installed")

FIELDS = {
    "album": {"type": "VARCHAR", "max_length": 64, "default": ""},
    "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_capacity": 8, "max_length": 16, "default": []},
    "rating": {"type": "INT8", "default": -1},
    "price": {"type": "FLOAT", "default": 0.0},
    "sold": {"type": "BOOL", "default": False},
    "more": {"type": "JSON", "default": {}},
}
DEFINITION = {"encoder": {"model": "fake"}, "fields": FIELDS}


def metadata(source: Path) -> dict[str, dict[str, object]]:
    return {
        str(path): {
            "album": f'{path.parent.name} "é☃"',
            "rating": i,
            "tags": ["a", "ü"][: i % 3],
            "price": i / 10,
            "sold": bool(i % 2),
            "more": {"list": [i, None], "text": "\\"},
            "place": f"p{i}",
            "$meta"[1:]: {"deep": i},
        }
        for i, path in enumerate(sorted(source.rglob("*.jpg")))
    }


def content(collection: ImageCollection) -> dict[str, dict[str, Any]]:
    ids = [row["id"] for rows in collection.store.scan(["id"]) for row in rows]
    return {
        id_: {k: v.tolist() if k == "vector" else v for k, v in row.items() if k != "ingested_at"}
        for id_, row in collection.get(ids, with_vector=True).items()
    }


def test_a_folder_imported_is_a_direct_ingest(backend_uri: str, pictures: Path, tmp_path: Path) -> None:
    known, folder = metadata(pictures), tmp_path / "files"
    (pictures / "broken.jpg").write_bytes(b"no image")
    with ImageCollection.create("direct", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder()) as direct:
        direct.ingest(pictures, metadata=known)
        wanted = content(direct)
    with ImageCollection.create("filed", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder()) as filed:
        report = filed.ingest(pictures, metadata=known, via=folder)
        assert (report.written, report.refused.total(), filed.count()) == (20, 1, 0)
        assert sorted(path.name for path in folder.iterdir()) == [".lock", "000001.parquet", "collection.json"]
        assert "$meta" in pq.read_schema(folder / "000001.parquet").names

        again = filed.ingest(pictures, metadata=known, via=folder)
        assert (again.written, again.unchanged) == (0, 20)
        assert len(bulk.files(folder)) == 1

        assert imgvec.import_vectors(filed, folder).written == 20
        assert content(filed) == wanted
        assert imgvec.import_vectors(filed, folder).written == 20
        assert content(filed) == wanted
        shutil.rmtree(folder)
        assert filed.ingest(pictures, metadata=known, via=folder).unchanged == 20, "the collection has them"


@pytest.fixture
def collection(lite_uri: str) -> ImageCollection:
    with ImageCollection.create("c", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder()) as made:
        yield made


def rows(start: int, stop: int, **given: Any) -> tuple[list[dict[str, Any]], Any]:
    made = [
        {
            "id": f"{i:032x}",
            "uri": f"/{i}.jpg",
            "content_hash": f"{i:032}",
            "width": 1,
            "height": 1,
            "media_type": "image/png",
            "ingested_at": i,
            **{name: declared["default"] for name, declared in FIELDS.items()},
            **given,
        }
        for i in range(start, stop)
    ]
    vectors = np.random.default_rng(start).standard_normal((len(made), 16)).astype(np.float32)
    return made, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_files_are_bounded_and_a_later_row_goes_before(collection: ImageCollection, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    with bulk.BulkFolder(folder, collection.store, file_bytes=4000) as writing:
        for start in range(0, 100, 10):
            writing.upsert(*rows(start, start + 10))
        assert list(folder.glob("*.parquet"))
        writing.upsert(*rows(5, 6, album="changed"))
        fives = writing.get([f"{5:032x}"], output_fields=["album", "uri"], with_vector=True)
        assert fives[f"{5:032x}"]["album"] == "changed"
    files = bulk.files(folder)
    assert len(files) > 3
    assert max(path.stat().st_size for path in files) < 40_000
    with bulk.BulkFolder(folder, collection.store) as writing:
        found = writing.get([f"{i:032x}" for i in (5, 99, 100)], output_fields=["*"])
        assert [row["album"] for row in found.values()] == ["changed", ""]
    assert imgvec.import_vectors(collection, folder).written == 101
    assert collection.count() == 100
    assert collection.get([f"{5:032x}"])[f"{5:032x}"]["album"] == "changed"


def test_a_stop_half_way_costs_the_file_in_hand(collection: ImageCollection, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    script = (
        "import os, sys; sys.path[:0] = [{tests!r}]\n"
        "from imgvec import ImageCollection; from imgvec.milvus import bulk; from fakes import FakeEncoder\n"
        "from engines.test_parquet import DEFINITION, rows\n"
        "c = ImageCollection.create('c', definition=DEFINITION, uri={uri!r}, encoder=FakeEncoder())\n"
        "folder = bulk.BulkFolder({folder!r}, c.store, file_bytes=1000).__enter__()\n"
        "folder.upsert(*rows(0, 50)); print(len(bulk.files({folder!r})), flush=True); os._exit(9)\n"
    ).format(tests=str(Path(__file__).parents[2]), uri=str(tmp_path / "killed.db"), folder=str(folder))
    script = script.replace("engines.test_parquet", "test_parquet").replace(
        "sys.path[:0] = [", f"sys.path[:0] = [{str(Path(__file__).parent)!r}, "
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 9, done.stderr
    assert len(bulk.files(folder)) == int(done.stdout) > 1
    (folder / ".partial" / "half.parquet").write_bytes(b"PAR1")
    with bulk.BulkFolder(folder, collection.store) as writing:
        kept = writing.get([f"{i:032x}" for i in range(50)], output_fields=["uri"])
        assert 40 < len(kept) < 50
        writing.upsert(*rows(0, 50))
    assert imgvec.import_vectors(collection, folder).written == 50 + len(kept)
    assert collection.count() == 50


def test_what_cannot_be_is_said(collection: ImageCollection, tmp_path: Path, pictures: Path, lite_uri: str) -> None:
    with pytest.raises(TargetError, match="contains other files"):
        collection.ingest(pictures, via=pictures)
    with pytest.raises(SourceError, match=r"contains no \*\.parquet files"):
        imgvec.import_vectors(collection, pictures)
    folder = tmp_path / "files"
    with bulk.BulkFolder(folder, collection.store) as writing:
        writing.upsert(*rows(0, 3))
        with pytest.raises(TargetError, match="another process"), bulk.BulkFolder(folder, collection.store):
            pass
        wrong, vectors = rows(3, 4)
        del wrong[0]["uri"]
        with pytest.raises(WriteFailed, match="uri missing"):
            writing.upsert(wrong, vectors)
        with pytest.raises(WriteFailed, match="length"):
            writing.upsert(rows(3, 4)[0], 2 * vectors)
    other = {**DEFINITION, "encoder": {"model": "other"}}
    with ImageCollection.create("o", definition=other, uri=lite_uri, encoder=FakeEncoder(seed=1)) as others:
        with pytest.raises(EncoderMismatch):
            imgvec.import_vectors(others, folder)
        with pytest.raises(EncoderMismatch):
            others.ingest(pictures, via=folder)
    (folder / "000002.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        imgvec.import_vectors(collection, folder)
    (folder / "collection.json").write_text("{}")
    with pytest.raises(CollectionNotFound):
        imgvec.import_vectors(collection, folder)


def test_a_full_disk_is_an_error(collection: ImageCollection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with (
        pytest.raises(WriteFailed, match="No space left") as caught,
        bulk.BulkFolder(tmp_path / "f", collection.store) as writing,
    ):
        writing.upsert(*rows(0, 7))
    assert caught.value.pending == 7


def test_the_hosts_logging_stays_as_it_is(lite_uri: str, pictures: Path, tmp_path: Path) -> None:
    """pymilvus's bulk writer calls `logging.basicConfig` when it is imported."""
    code = (
        "import logging, sys; from fakes import FakeEncoder; from imgvec import ImageCollection\n"
        "uri, pictures, folder = sys.argv[1:]\n"
        "with ImageCollection.create('trip', definition={'encoder': {'model': 'fake'}}, uri=uri,"
        " encoder=FakeEncoder()) as trip:\n"
        "    trip.ingest(pictures, via=folder)\n"
        "print(logging.getLogger().handlers, logging.getLogger().level, logging.getLogger('bulk_writer').level)"
    )
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code, lite_uri, str(pictures), str(tmp_path / "bulk")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[] 30 50"
    assert done.stderr == ""
