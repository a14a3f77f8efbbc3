"""Formats of photo libraries through the whole of it, on Milvus Lite: a bad file costs itself alone."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from pictures import picture
from tiffs import TiffWriter, dng

from imgvec import ImageCollection
from imgvec.settings import Settings


def twelve_bits(seed: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """A TIFF of 16 bits a channel of which twelve are used."""
    values = (np.asarray(picture(seed, size)).astype("<u2") << 4).tobytes()
    out = TiffWriter()
    tags = {256: (4, size[0]), 257: (4, size[1]), 258: (3, [16] * 3), 259: (3, 1), 262: (3, 2), 277: (3, 3)}
    return out.file(out.directory({**tags, 273: (4, out.put(values)), 278: (4, size[1]), 279: (4, len(values))}))


def test_each_bad_file_costs_itself_alone(lite_uri: str, encoder: FakeEncoder, tmp_path: Path) -> None:
    if find_spec("rawpy") is None:
        pytest.skip("rawpy (extra `raw`) is missing")
    folder = tmp_path / "photos"
    folder.mkdir()
    picture(1).save(folder / "a.jpg")
    picture(2).save(folder / "b.tga")
    (folder / "c.dng").write_bytes(dng(picture(3, (640, 480))))
    (folder / "d.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "e.dng").write_bytes(dng(picture(4, (640, 480)))[:-2000])
    picture(5).save(folder / "f.gif")
    settings = Settings.load(uri=lite_uri, formats="+tga,-gif")
    with ImageCollection.create("c", definition="photos", encoder=encoder, settings=settings) as photos:
        report = photos.ingest(folder, errors=tmp_path / "errors.jsonl")
        assert (report.written, report.refused.total()) == (3, 3)
        refused = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
        assert {Path(one["uri"]).name: one["reason"] for one in refused if not one["uri"].endswith("e.dng")} == {
            "d.svg": "format not allowed",
            "f.gif": "format not allowed",
        }
        [hit] = photos.search(folder / "c.dng", limit=1)
        assert Path(hit.uri).name == "c.dng"
        assert (hit.fields["width"], hit.fields["height"]) == (640, 480)
        assert hit.fields["media_type"] == "image/x-adobe-dng"
        assert hit.fields["taken_at"] == 1_714_551_072_000
        [hit] = photos.search(folder / "b.tga", limit=1)
        assert Path(hit.uri).name == "b.tga"


@pytest.mark.parametrize("images", [{}, {"sixteen_bit": 12}, {"sixteen_bit": "full"}])
def test_queries_are_read_as_the_rows_were(
    lite_uri: str, encoder: FakeEncoder, tmp_path: Path, images: dict[str, Any]
) -> None:
    path = tmp_path / "scan.tif"
    path.write_bytes(twelve_bits(1))
    picture(1).save(tmp_path / "seen.png")
    definition = {"encoder": {"model": "fake"}, "images": images}
    with ImageCollection.create("c", definition=definition, uri=lite_uri, encoder=encoder) as made:
        assert made.ingest(path).written == 1
    with ImageCollection.open("c", uri=lite_uri, encoder=encoder) as opened:
        assert opened.definition.images.sixteen_bit == images.get("sixteen_bit", "auto")
        assert opened.search(path)[0].score == pytest.approx(1, abs=1e-5)
        as_seen = opened.search(tmp_path / "seen.png")[0].score
        assert (as_seen == pytest.approx(1, abs=1e-5)) == (images.get("sixteen_bit") != "full")
