"""Captions out of what files say and what they are called: from every kind of source, searched by words."""

from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as pa_ipc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from fakes import FakeEncoder
from pictures import picture
from PIL import Image

from imgvec import Hybrid, ImageCollection, Source, Words
from imgvec.cli import main

DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {
        "caption": {
            "type": "VARCHAR",
            "max_length": 40,
            "default": "",
            "bm25": True,
            "from_image": ["caption", "file_name"],
        },
        "title": {"type": "VARCHAR", "default": "", "from_image": "file_name"},
    },
    "index": {"cpu": {"type": "FLAT"}},
}


@pytest.fixture
def photos(tmp_path: Path) -> Iterator[ImageCollection]:
    uri = str(tmp_path / "photos.db")
    with ImageCollection.create("photos", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as made:
        yield made


def saved(path: Path, seed: int, caption: str = "") -> Path:
    exif = Image.Exif()
    if caption:
        exif[0x010E] = caption
    path.parent.mkdir(exist_ok=True)
    picture(seed).save(path, exif=exif)
    return path


def captions(collection: ImageCollection) -> dict[str, str]:
    """By title, which is the name's words."""
    return {row["title"]: row["caption"] for page in collection.store.scan(["title", "caption"]) for row in page}


def test_metadata_then_the_file_then_its_name(photos: ImageCollection, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    for seed, (name, caption) in enumerate((("redDress", ""), ("P1", "A blue dress"), ("P2", "of a camera"))):
        saved(folder / f"{name}.jpg", seed, caption)
    given = {str(folder / "P2.jpg"): {"caption": "a green coat"}}
    assert photos.ingest(folder, metadata=given).written == 3
    assert captions(photos) == {"red Dress": "red Dress", "P1": "A blue dress", "P2": "a green coat"}
    assert photos.ingest(folder).unchanged == photos.ingest(folder, metadata=given).unchanged == 3
    found = photos.search(Hybrid([Words("dress", "caption")]), limit=2)
    assert sorted(Path(hit.uri).stem for hit in found) == ["P1", "redDress"]

    # what came from the picture follows it, what was given stays, and what is given from now on wins
    saved(folder / "P1.jpg", 5)
    saved(folder / "P2.jpg", 6, "another caption, which nobody asked for")
    saved(folder / "redDress.jpg", 7, "a caption of more than forty bytes, which is cut")
    assert photos.ingest(folder).written == 3
    assert captions(photos)["P1"] == "P1"
    assert captions(photos)["P2"] == "a green coat"
    assert captions(photos)["red Dress"] == "a caption of more than forty bytes,"
    assert photos.ingest(folder, metadata={str(folder / "P1.jpg"): {"caption": "silk"}}).updated == 1
    assert photos.ingest(folder).unchanged == 3
    assert captions(photos)["P1"] == "silk"


def test_every_kind_of_source(photos: ImageCollection, tmp_path: Path) -> None:
    data = saved(tmp_path / "one" / "seaAtNight.jpg", 1, "said").read_bytes()
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name in ("sub/tar-picture.jpg", "other.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        text = b"of the sidecar"
        info = tarfile.TarInfo("other.txt")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("zip_picture.jpg", data)
    table = pa.table({"uri": ["parquet_row"], "image": [data]})
    pq.write_table(table, tmp_path / "p.parquet")
    with pa_ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(pa.table({"uri": ["arrow_row"], "image": [data]}))
    (tmp_path / "m.csv").write_text("uri\none/seaAtNight.jpg\n")
    for source in ("t.tar", "z.zip", "m.csv"):
        assert not photos.ingest(tmp_path / source).refused
    assert not photos.ingest(Source(tmp_path / "p.parquet", image_column="image", uri_column="uri")).refused
    assert not photos.ingest(Source(tmp_path / "a.arrow", image_column="image", uri_column="uri")).refused
    assert not photos.ingest([("a given_one", picture(3), {})]).refused
    assert captions(photos) == {
        "tar picture": "said",
        "other": "of the sidecar",
        "zip picture": "said",
        "sea At Night": "said",
        "parquet row": "said",
        "arrow row": "said",
        "a given one": "a given one",
    }


def test_a_name_follows_a_picture_that_is_moved_and_keeps_its_id(photos: ImageCollection, tmp_path: Path) -> None:
    saved(tmp_path / "old_name.jpg", 1)
    manifest = tmp_path / "m.csv"

    def ingest(name: str) -> tuple[int, int]:
        with manifest.open("w", newline="") as file:
            csv.writer(file).writerows([["uri", "id"], [name, "seven"]])
        report = photos.ingest(Source(manifest, id_column="id"))
        return report.written, report.unchanged

    assert (ingest("old_name.jpg"), ingest("old_name.jpg")) == ((1, 0), (0, 1))
    (tmp_path / "old_name.jpg").rename(tmp_path / "new_name.jpg")
    assert (ingest("new_name.jpg"), ingest("new_name.jpg")) == ((1, 0), (0, 1))
    assert captions(photos) == {"new name": "new name"}


def test_a_name_is_followed_whatever_the_default(tmp_path: Path) -> None:
    title = {"type": "VARCHAR", "default": "any", "from_image": "file_name"}
    definition = {"encoder": {"model": "fake"}, "fields": {"title": title}, "index": {"cpu": {"type": "FLAT"}}}
    saved(tmp_path / "old.jpg", 1)
    uri = str(tmp_path / "photos.db")
    with ImageCollection.create("photos", definition=definition, uri=uri, encoder=FakeEncoder()) as photos:
        for name in ("old", "new"):
            (tmp_path / "old.jpg").rename(tmp_path / f"{name}.jpg")
            (tmp_path / "m.csv").write_text(f"uri,id\n{name}.jpg,one\n")
            photos.ingest(Source(tmp_path / "m.csv", id_column="id"))
        assert photos.get(["one"])["one"]["title"] == "new"


def test_each_view_has_the_caption_of_its_picture(tmp_path: Path) -> None:
    saved(tmp_path / "s" / "seaAtNight.jpg", 1)
    made = ImageCollection.create(
        "photos",
        definition={**DEFINITION, "views": {"grid": [2]}},
        uri=str(tmp_path / "photos.db"),
        encoder=FakeEncoder(),
    )
    with made as photos:
        assert (photos.ingest(tmp_path / "s").written, photos.ingest(tmp_path / "s").unchanged) == (1, 1)
        rows = [row for page in photos.store.scan(["caption"]) for row in page]
        assert [row["caption"] for row in rows] == ["sea At Night"] * 5
        assert len(photos.search(Hybrid([Words("night", "caption")]))) == 1


def test_the_command_shows_what_fills_a_field(photos: ImageCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.cli.collections.opened", lambda *_: nullcontext(photos))
    shown = CliRunner().invoke(main, ["collections", "show", "photos"]).stdout
    assert "from the image: caption, else file_name\n" in shown
    assert "from the image: file_name\n" in shown
