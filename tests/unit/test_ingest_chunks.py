"""How an ingest divides what it reads, and what it says of an image that it cannot decode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeStore
from pictures import picture
from PIL import Image
from records import read_source

from imgvec.definition import Definition
from imgvec.encoders.protocol import Pixels
from imgvec.errors import EncoderError
from imgvec.images.readers import BytesReader, FileReader, content_hash
from imgvec.ingest import Resources, ingest, reading
from imgvec.sources import Record
from imgvec.vectors import Vectors


class Watched(FakeStore):
    """Remembers how many ids each look-up asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def get(self, ids: Sequence[str], **options: Any) -> Any:
        self.asked.append(len(ids))
        return super().get(ids, **options)


def looked_up(number: int) -> list[int]:
    store = Watched()
    records = [Record(f"{i:032x}", f"/{i}.jpg", BytesReader(b"not an image", f"/{i}.jpg"), {}) for i in range(number)]
    rows = Definition.load("photos").row_fields
    report = ingest(iter(records), store, {"vector": FakeEncoder()}, rows, Resources(1, 10**6, 10**6))
    assert (report.seen, report.refused) == (number, {"not an image": number})
    return sorted(store.asked, reverse=True)


def test_a_look_up_asks_for_so_many_rows_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LOOKUP_SECONDS", 3600.0)
    monkeypatch.setattr(reading, "LOOKUP_ROWS", 8)
    assert looked_up(19) == [8, 8, 3]
    assert looked_up(16) == [8, 8]


def test_a_look_up_holds_so_many_bytes_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LOOKUP_SECONDS", 3600.0)
    monkeypatch.setattr(reading, "LOOKUP_BYTES", 3 * len(b"not an image"))
    assert looked_up(7) == [3, 3, 1]


def test_the_images_of_a_slow_source_are_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LOOKUP_SECONDS", 0.0)
    assert looked_up(4) == [1, 1, 1, 1]


def test_a_refusal_says_what_the_decoder_said(tmp_path: Path) -> None:
    picture(1, size=(40, 30)).save(tmp_path / "a.png")
    log = tmp_path / "refused.jsonl"
    rows = Definition.load("photos").row_fields
    source = read_source(tmp_path / "a.png")
    ingest(source, FakeStore(), {"vector": FakeEncoder()}, rows, Resources(1, 1000, 10**6), errors=log)
    [refusal] = map(json.loads, log.read_text().splitlines())
    assert (refusal["reason"], refusal["detail"]) == (
        "too many pixels",
        "40 x 30 = 1,200 pixels, the limit is 1,000; raise IMGVEC_MAX_PIXELS",
    )


def test_another_picture_under_an_id_is_described_by_nothing_of_the_former_one(tmp_path: Path) -> None:
    """All that an ingest fills in itself is the new picture's; what was said of the id stays."""
    store, rows = FakeStore(), Definition.load("photos").row_fields
    picture(1, size=(40, 30)).save(tmp_path / "a.png")
    picture(2, size=(50, 20)).save(tmp_path / "b.jpg")
    for name, metadata in (("a.png", {"album": "cats"}), ("b.jpg", {})):
        record = Record("key", str(tmp_path / name), FileReader(tmp_path / name, name), metadata)
        ingest(iter([record]), store, {"vector": FakeEncoder()}, rows, Resources(1, 10**6, 10**6))
    [row] = store.rows.values()
    data = (tmp_path / "b.jpg").read_bytes()
    assert (row["uri"], row["content_hash"]) == (str(tmp_path / "b.jpg"), content_hash(data))
    assert (row["width"], row["height"], row["media_type"], row["album"]) == (50, 20, "image/jpeg", "cats")
    [vector] = FakeEncoder().encode_images([Image.open(tmp_path / "b.jpg")])
    np.testing.assert_allclose(row["vector"], vector, atol=1e-5)


def test_an_image_without_a_vector_is_refused_with_a_reason(tmp_path: Path) -> None:
    class Picky(FakeEncoder):
        def encode(self, pixels: Pixels) -> Vectors:
            if len(pixels) > 1 or pixels.max() < 255:
                raise EncoderError("a vector without a direction")
            return super().encode(pixels)

    Image.new("RGB", (40, 30), (255, 255, 255)).save(tmp_path / "white.png")
    Image.new("RGB", (40, 30)).save(tmp_path / "black.png")
    log, store = tmp_path / "refused.jsonl", FakeStore()
    rows = Definition.load("photos").row_fields
    ingest(read_source(tmp_path), store, {"vector": Picky()}, rows, Resources(1, 10**6, 10**6), errors=log)
    assert [row["uri"] for row in store.rows.values()] == [str(tmp_path / "white.png")]
    [refusal] = map(json.loads, log.read_text().splitlines())
    assert (refusal["uri"], refusal["reason"]) == (str(tmp_path / "black.png"), "not encodable")
    assert refusal["detail"] == "the encoder returned no vector for it"


def test_the_seconds_of_each_stage_are_within_those_of_the_run(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    rows = Definition.load("photos").row_fields
    report = ingest(read_source(tmp_path), FakeStore(), {"vector": FakeEncoder()}, rows, Resources(1, 10**6, 10**6))
    assert all(0 <= seconds <= report.seconds for seconds in report.stage_seconds.values())
