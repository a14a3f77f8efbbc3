"""Metadata on its way into Milvus and back, on every backend: where a date came from, and what one row may cost."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from pictures import picture
from PIL import Image

import imgvec
from imgvec import ImageCollection
from imgvec.exchange import export_vectors, import_vectors, open_source

SCAN = 173_404_800_000  # 1975-07-01
EXIF = 1_614_852_000_000  # 2021-03-04T10:00:00
TAKEN_AT = {"type": "INT64", "format": "unix_ms", "from_image": "taken_at", "default": 0}


def definition(dynamic: bool) -> dict[str, Any]:
    return {"encoder": {"model": "fake"}, "fields": {"taken_at": TAKEN_AT}, "dynamic": dynamic}


@contextmanager
def made(uri: str, name: str, what: Any) -> Iterator[ImageCollection]:
    with ImageCollection.create(name, definition=what, uri=uri, encoder=FakeEncoder()) as collection:
        yield collection


def saved(path: Path, seed: int, taken: str | None = None) -> Path:
    exif = Image.Exif()
    if taken is not None:
        exif.get_ifd(0x8769)[36867] = taken
    path.parent.mkdir(exist_ok=True)
    picture(seed).save(path, exif=exif)
    return path


def taken(collection: ImageCollection) -> dict[str, int]:
    rows = [row for page in collection.store.scan(["uri", "taken_at"]) for row in page]
    return {Path(row["uri"]).stem: row["taken_at"] for row in rows}


@pytest.mark.parametrize("dynamic", [True, False])
def test_dates_of_metadata_stay_and_dates_of_pictures_follow(backend_uri: str, tmp_path: Path, dynamic: bool) -> None:
    a, b = (saved(tmp_path / "s" / f"{name}.jpg", seed, "2021:03:04 10:00:00") for seed, name in enumerate("ab"))
    with made(backend_uri, "dated", definition(dynamic)) as collection:
        collection.ingest(a.parent, metadata={str(a): {"taken_at": "1975-07-01"}})
        assert taken(collection) == {"a": SCAN, "b": EXIF}
        saved(a, 2, "2022:03:04 10:00:00")
        saved(b, 3)
        assert collection.ingest(a.parent).written == 2
        assert taken(collection) == {"a": SCAN, "b": 0}
        assert collection.ingest(a.parent).unchanged == 2
        saved(b, 4, "2021:03:04 10:00:00")
        collection.ingest(a.parent)
        # a copy for trying indexes, an export and what it becomes know it too
        with imgvec.scratch_copy(collection) as copy:
            pages = [row for page in copy.scan(["taken_at", "imgvec_from_image"]) for row in page]
            assert sorted((row["taken_at"], row.get("imgvec_from_image") or "") for row in pages) == [
                (SCAN, ""),
                (EXIF, "taken_at"),
            ]
        # and nobody sees it
        hit = collection.search(b)[0]
        row = collection.get([hit.id])[hit.id]
        assert hit.fields["taken_at"] == row["taken_at"] == EXIF
        assert "imgvec_from_image" not in {*hit.fields, *row, *collection.describe()["fields"]}


def test_dates_travel_with_an_export(backend_uri: str, tmp_path: Path) -> None:
    a, b = (saved(tmp_path / "s" / f"{name}.jpg", seed, "2021:03:04 10:00:00") for seed, name in enumerate("ab"))
    with made(backend_uri, "first", definition(dynamic=True)) as first:
        first.ingest(a.parent, metadata={str(a): {"taken_at": "1975-07-01"}})
        export_vectors(first, tmp_path / "out.parquet")
    with made(backend_uri, "second", definition(dynamic=True)) as second:
        import_vectors(second, open_source(tmp_path / "out.parquet"))
        saved(a, 2)
        saved(b, 3)
        second.ingest(a.parent)
        assert taken(second) == {"a": SCAN, "b": 0}


def test_dates_travel_with_vectors_and_a_csv(lite_uri: str, tmp_path: Path) -> None:
    a, _ = (saved(tmp_path / "s" / f"{name}.jpg", seed) for seed, name in enumerate("ab"))
    with made(lite_uri, "first", definition(dynamic=False)) as first:
        first.ingest(a.parent, metadata={str(a): {"taken_at": "1970-01-10T12:00:00.5"}})
        export_vectors(first, tmp_path / "out.npy")
        assert "1970-01-10T12:00:00.500Z" in (tmp_path / "out.ids.csv").read_text()
    with made(lite_uri, "second", definition(dynamic=False)) as second:
        assert import_vectors(second, open_source(tmp_path / "out.npy")).written == 2
        assert taken(second) == {"a": 9 * 86_400_000 + 43_200_500, "b": 0}


@pytest.mark.parametrize("dynamic", [True, False])
def test_dates_in_a_folder_of_bulk_files(lite_uri: str, tmp_path: Path, dynamic: bool) -> None:
    pytest.importorskip("minio", reason="the extra `bulk` is not installed")
    a, b = (saved(tmp_path / "s" / f"{name}.jpg", seed, "2021:03:04 10:00:00") for seed, name in enumerate("ab"))
    with made(lite_uri, "dated", definition(dynamic)) as collection:
        collection.ingest(a.parent, metadata={str(a): {"taken_at": "1975-07-01"}}, via=tmp_path / "staged")
        saved(a, 2)
        saved(b, 3, "2020:03:04 10:00:00")
        assert collection.ingest(a.parent, via=tmp_path / "staged").written == 2
        assert collection.ingest(a.parent, via=tmp_path / "staged").unchanged == 2
        imgvec.import_vectors(collection, tmp_path / "staged")
        assert taken(collection) == {"a": SCAN, "b": EXIF - 365 * 86_400_000}
        saved(b, 4)
        collection.ingest(a.parent)
        assert taken(collection) == {"a": SCAN, "b": 0}


BAD: Mapping[str, Any] = {
    "hash": 2**64,
    "below": -(2**63) - 1,
    "nested": {"a": [1, {"b": 2**63}]},
    "number": float("inf"),
    "text": "\ud800",
    "raw": b"bytes",
    "taken_at": 1_717_200_000,
}


def test_one_bad_value_costs_its_image_alone(backend_uri: str, tmp_path: Path) -> None:
    paths = [saved(tmp_path / "s" / f"{i:02}.jpg", i) for i in range(len(BAD) + 3)]
    given = {str(path): {name: value} for path, (name, value) in zip(paths, BAD.items(), strict=False)}
    with made(backend_uri, "numbers", "photos") as collection:
        report = collection.ingest(tmp_path / "s", metadata=given, errors=tmp_path / "errors.jsonl")
        assert (report.written, report.refused) == (3, {"metadata refused": len(BAD)})
        lines = (tmp_path / "errors.jsonl").read_text().splitlines()
        assert all(name in line for name, line in zip(BAD, lines, strict=True))
        assert collection.count() == 3


def test_values_of_every_library_read_back_equal(backend_uri: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "s" / "a.jpg", 1)
    values = {
        "i": np.int64(2**63 - 1), "least": -(2**63), "f": np.float32(0.1), "t": (1, [2, "x"]), "s": {3, 1},
        "nul": "a\0b", "o": {"nul\0": {"": [1.5, None, True]}}, "day": dt.date(2024, 6, 1),
        "tiny": 5e-324, "large": 1e308, "e": 1e22,
    }  # fmt: skip
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    with made(backend_uri, "values", "photos") as collection:
        given = {str(path): {**values, "deep": deep, "missing": float("nan")}}
        assert collection.ingest(path, metadata=given).written == 1
        [row] = collection.get([row["id"] for page in collection.store.scan([]) for row in page]).values()
        assert (row["s"], row["day"], row["i"]) == ([1, 3], 1_717_200_000_000, 2**63 - 1)
        assert "missing" not in row
        # the row compares equal to what gave it: nothing is written again
        assert collection.ingest(path, metadata=given).unchanged == 1
