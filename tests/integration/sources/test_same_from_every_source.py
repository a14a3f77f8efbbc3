"""The same images from a folder, a tar, a zip, Parquet and HTTP give the same rows; so do the same broken ones."""

from __future__ import annotations

import json
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeEncoder
from pictures import picture
from records import read_source

from imgvec import ImageCollection
from imgvec.errors import SourceError, UsageError
from imgvec.report import IngestReport
from imgvec.settings import Settings
from imgvec.sources import Record, Source

DEFINITION = {
    "about": "The same everywhere.",
    "encoder": {"model": "fake"},
    "fields": {"album": {"type": "VARCHAR", "max_length": 64, "default": ""}},
}

Rows = dict[str, dict[str, Any]]
"""By content, which is the same wherever the image came from; its uri is not."""


@pytest.fixture
def made(tmp_path: Path, encoder: FakeEncoder) -> Iterator[Callable[[str], ImageCollection]]:
    """Makes collections in a Milvus Lite file of the test's own."""
    collections: list[ImageCollection] = []

    def make(name: str) -> ImageCollection:
        settings = Settings.load(uri=str(tmp_path / "lite.db"), allowed_networks=("127.0.0.0/8",), decode_threads=4)
        collections.append(
            ImageCollection.create(name, definition=DEFINITION, encoder=FakeEncoder(batch_size=32), settings=settings)
        )
        return collections[-1]

    yield make
    for one in collections:
        one.close()


def rows(collection: ImageCollection) -> Rows:
    ids = [row["id"] for batch in collection.store.scan(["id"]) for row in batch]
    stored = collection.get(ids, with_vector=True)
    return {row["content_hash"]: row for row in stored.values()}


def assert_same(found: Rows, expected: Rows) -> None:
    assert found.keys() == expected.keys()
    for key, row in found.items():
        other = expected[key]
        for name in ("width", "height", "media_type", "album"):
            assert row[name] == other[name], (row["uri"], name)
        np.testing.assert_array_equal(row["vector"], other["vector"])


def pack_tar(files: dict[str, Path], path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, file in files.items():
            archive.add(file, name)
    return path


def pack_zip(files: dict[str, Path], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in files.items():
            archive.write(file, name)
    return path


def pack_parquet(files: dict[str, Path], path: Path, **columns: list[Any]) -> Path:
    images = [{"bytes": file.read_bytes(), "path": name} for name, file in files.items()]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(images, kind), **columns}), path, row_group_size=50)
    return path


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing to say."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def clothing(test_data: Path, number: int | None) -> tuple[dict[str, Path], dict[str, str]]:
    """Path in the archive to file, and to album; photos with equal bytes only once."""
    lines = (test_data / "clothing" / "labels.tsv").read_text().splitlines()[1:]
    step = 1 if number is None else len(lines) // number
    albums = dict(line.split("\t")[:2] for line in lines[::step][:number])
    contents = {(test_data / "clothing" / name).read_bytes(): name for name in reversed(albums)}
    names = sorted(contents.values())
    return {name: test_data / "clothing" / name for name in names}, {name: albums[name] for name in names}


def photos_from_everywhere(
    made: Callable[[str], ImageCollection], files: dict[str, Path], albums: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    for name, file in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(file)
    table = tmp_path / "albums.csv"
    table.write_text("path,album\n" + "".join(f"{name},{album}\n" for name, album in albums.items()))
    parquet = pack_parquet(files, tmp_path / "photos.parquet", label=list(albums.values()))

    by_path = made("folder")
    assert by_path.ingest([folder / name for name in files], metadata=by_name(folder, albums)).written == len(files)
    expected = rows(by_path)
    assert len(expected) == len(files)
    assert {row["album"] for row in expected.values()} == set(albums.values())

    for kind, path in (
        ("tar", pack_tar(files, tmp_path / "photos.tar")),
        ("zip", pack_zip(files, tmp_path / "photos.zip")),
    ):
        collection = made(kind)
        assert collection.ingest(path, metadata=table).written == len(files)
        assert_same(rows(collection), expected)
        assert collection.ingest(path, metadata=table).unchanged == len(files)

    collection = made("parquet")
    assert collection.ingest(Source(parquet, mapping={"label": "album"})).written == len(files)
    assert_same(rows(collection), expected)
    assert collection.ingest(Source(parquet, mapping={"label": "album"})).unchanged == len(files)

    collection = made("http")
    with served(folder) as url:
        manifest = tmp_path / "urls.csv"
        manifest.write_text("url,album\n" + "".join(f"{url}/{quote(name)},{albums[name]}\n" for name in files))
        assert collection.ingest(manifest).written == len(files)
        assert_same(rows(collection), expected)
        assert collection.ingest(manifest).unchanged == len(files)


def by_name(folder: Path, albums: dict[str, str]) -> dict[str, dict[str, str]]:
    return {str(folder / name): {"album": album} for name, album in albums.items()}


def test_the_same_photos_from_every_source(
    made: Callable[[str], ImageCollection], test_data: Path, tmp_path: Path
) -> None:
    photos_from_everywhere(made, *clothing(test_data, 120), tmp_path)


@pytest.mark.nightly
def test_all_the_photos_from_every_source(
    made: Callable[[str], ImageCollection], test_data: Path, tmp_path: Path
) -> None:
    photos_from_everywhere(made, *clothing(test_data, None), tmp_path)


def outcome(collection: ImageCollection, source: Path, log: Path) -> tuple[IngestReport, Counter[str], Rows]:
    report = collection.ingest(source, errors=log)
    return report, report.refused, rows(collection)


def test_the_same_refusals_from_every_source(
    made: Callable[[str], ImageCollection], test_data: Path, tmp_path: Path
) -> None:
    folder = test_data / "hostile"
    found = [Path(one.uri) for one in read_source(folder) if isinstance(one, Record)]
    files = {str(path.relative_to(folder)): path for path in found}
    assert len(files) > 600
    report, refused, written = outcome(made("folder"), folder, tmp_path / "folder.jsonl")
    assert report.seen == len(files)
    assert refused.total() > 100
    assert len(written) > 50
    for kind, path in (
        ("tar", pack_tar(files, tmp_path / "hostile.tar")),
        ("zip", pack_zip(files, tmp_path / "hostile.zip")),
        ("parquet", pack_parquet(files, tmp_path / "hostile.parquet")),
    ):
        other, also_refused, also_written = outcome(made(kind), path, tmp_path / f"{kind}.jsonl")
        assert other.seen == report.seen
        assert also_refused == refused
        assert reasons(tmp_path / f"{kind}.jsonl") == reasons(tmp_path / "folder.jsonl")
        assert_same(also_written, written)


def reasons(log: Path) -> dict[str, str]:
    """Reason by path within the source."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return {line["uri"].rpartition("!")[2].rpartition("/hostile/")[2]: line["reason"] for line in lines}


def test_a_broken_archive_goes_on_where_it_broke(made: Callable[[str], ImageCollection], tmp_path: Path) -> None:
    files = {}
    for n in range(30):
        files[f"{n:02}.png"] = tmp_path / f"{n:02}.png"
        picture(n).save(files[f"{n:02}.png"])
    path = pack_tar(files, tmp_path / "photos.tar")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    collection = made("broken")
    with pytest.raises(SourceError, match=r"damaged or truncated after \d+ images"):
        collection.ingest(path, prune=True)
    before = collection.count()
    assert 5 < before < 30
    path.write_bytes(whole)
    report = collection.ingest(path)
    assert (report.unchanged, report.written) == (before, 30 - before)
    undisturbed = made("undisturbed")
    undisturbed.ingest(path)
    assert_same(rows(collection), rows(undisturbed))


def test_parts_ids_and_pruning(made: Callable[[str], ImageCollection], tmp_path: Path) -> None:
    files = {}
    for n in range(40):  # by chance, two or fewer in a part are as good as impossible
        files[f"{n:02}.png"] = tmp_path / f"{n:02}.png"
        picture(n).save(files[f"{n:02}.png"])
    path = pack_tar(files, tmp_path / "photos.tar")
    collection = made("parts")
    written = [collection.ingest(path, part=(rank, 2)).written for rank in range(2)]
    assert (sum(written), collection.count()) == (40, 40)
    assert min(written) > 2
    assert collection.ingest(path).unchanged == 40
    with pytest.raises(UsageError, match="prune"):
        collection.ingest(path, part=(0, 2), prune=True)
    del files["07.png"], files["11.png"]
    pack_tar(files, path)
    assert collection.ingest(path, prune=True).pruned == 2
    assert collection.count() == 38

    manifest = tmp_path / "m.csv"
    manifest.write_text("file_name,sku,shelf\n00.png,s-0,cats\n01.png,s-1,dogs\n02.png,s-1,dogs\n")
    keyed = made("keyed")
    report = keyed.ingest(Source(manifest, id_column="sku", mapping={"shelf": "album"}))
    assert (report.written, report.refused) == (2, {"given twice": 1})
    assert {id_: row["album"] for id_, row in keyed.get(["s-0", "s-1"]).items()} == {"s-0": "cats", "s-1": "dogs"}


def test_metadata_is_checked_before_anything_is_encoded(made: Callable[[str], ImageCollection], tmp_path: Path) -> None:
    picture(0).save(tmp_path / "a.png")
    (tmp_path / "m.jsonl").write_text('{"path": "a.png", "album": {"of": "cats"}}\n')
    collection = made("checked")
    report = collection.ingest(tmp_path / "m.jsonl")
    assert report.refused == Counter({"metadata refused": 1})
    assert isinstance(collection.encoder, FakeEncoder)
    assert collection.encoder.encoded == 0
