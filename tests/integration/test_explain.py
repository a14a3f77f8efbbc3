"""Explaining the hits of a collection, from Python and by the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import FakeEncoder
from pictures import picture
from PIL import Image

import imgvec
from imgvec import ImageCollection, ImageFile, Settings, StoredId, Text, VectorQuery
from imgvec.cli import main
from imgvec.errors import QueryError, SourceError, UnreadableImage


@pytest.fixture
def photos(tmp_path: Path) -> Iterator[ImageCollection]:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        picture(number, (80, 60)).save(folder / f"{number}.png")
    definition = {"encoder": {"model": "fake"}}
    with ImageCollection.create(
        "trip", definition=definition, encoder=FakeEncoder(), settings=Settings.load(uri=str(tmp_path / "trip.db"))
    ) as collection:
        collection.ingest(folder)
        yield collection


def test_a_hit_an_id_and_every_form_of_one_picture(photos: ImageCollection, tmp_path: Path) -> None:
    query = tmp_path / "photos" / "1.png"
    hit = photos.search(query, limit=2)[1]
    first = imgvec.explain(photos, query, hit)
    assert first.score == pytest.approx(hit.score, abs=1e-5)
    assert first.query.name == str(query)
    assert first.hit.name == hit.uri
    assert first.query.picture.size == (80, 60)
    row = photos.search(query, limit=1)[0].id
    with Image.open(query) as opened:
        image = opened.convert("RGB")
    for form in (ImageFile(query), query.read_bytes(), image, StoredId(row), f"id:{row}"):
        for named in (hit.id, f"id:{hit.id}", StoredId(hit.id)):
            found = imgvec.explain(photos, form, named)
            np.testing.assert_allclose(found.query.shares, first.query.shares, atol=1e-6)
            np.testing.assert_allclose(found.hit.shares, first.hit.shares, atol=1e-6)


def test_what_is_not_one_picture_or_is_not_there(photos: ImageCollection, tmp_path: Path) -> None:
    hit = photos.search(tmp_path / "photos" / "1.png", limit=1)[0]
    for form in (Text("a dress"), VectorQuery(np.ones(16))):
        with pytest.raises(QueryError, match="is not one picture"):
            imgvec.explain(photos, form, hit)
    with pytest.raises(QueryError, match="no row with id 'nothing'"):
        imgvec.explain(photos, tmp_path / "photos" / "1.png", "nothing")
    with pytest.raises(QueryError, match="no vector"):
        imgvec.explain(photos, tmp_path / "photos" / "1.png", hit, vector="other")
    (tmp_path / "photos" / "1.png").unlink()
    with pytest.raises((UnreadableImage, SourceError)):
        imgvec.explain(photos, tmp_path / "photos" / "2.png", hit)


def test_a_view_is_explained_by_its_part_of_the_picture(tmp_path: Path) -> None:
    picture(5, (200, 100)).save(tmp_path / "wide.png")
    definition = {"encoder": {"model": "fake"}, "views": {"grid": 2}}
    with ImageCollection.create(
        "parts", definition=definition, encoder=FakeEncoder(), settings=Settings.load(uri=str(tmp_path / "parts.db"))
    ) as parts:
        parts.ingest(tmp_path / "wide.png")
        hits = parts.search(tmp_path / "wide.png", limit=5, views=True)
        part = next(hit for hit in hits if hit.box)
        found = imgvec.explain(parts, tmp_path / "wide.png", part)
        assert part.box is not None
        assert found.hit.picture.size == (part.box[2] - part.box[0], part.box[3] - part.box[1])
        assert found.score == pytest.approx(part.score, abs=1e-4)


def test_the_command(photos: ImageCollection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = str(tmp_path / "photos" / "1.png")
    hit = photos.search(query, limit=2)[1]
    monkeypatch.setattr("imgvec.cli.explain.opened", lambda _context, _name: photos.pinned())
    monkeypatch.setattr(ImageCollection, "close", lambda _self: None)
    out = tmp_path / "why.png"
    done = CliRunner().invoke(main, ["explain", query, hit.id, "-c", "trip", "-o", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["score"] == pytest.approx(hit.score, abs=1e-5)
    with Image.open(out) as drawn:
        assert drawn.format == "PNG"
    bare = CliRunner().invoke(main, ["explain", query, hit.id, "-c", "trip"])
    assert bare.exit_code == 2
    assert "-o FILE.png" in bare.output
