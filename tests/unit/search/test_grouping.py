"""Hits of a collection of views, against exact scores by NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeNotes, FakeStore
from pictures import picture
from records import read_source

from imgvec.definition import Definition
from imgvec.errors import QueryError
from imgvec.filters import FieldType
from imgvec.images import FileReader, decode
from imgvec.ingest import Grid, Resources, Views, ingest
from imgvec.rows import view_id
from imgvec.search.answer import Hit
from imgvec.search.forms import Crop, ImageFile, StoredId, VectorQuery
from imgvec.search.searcher import Searcher
from imgvec.sources import record_id

FIELDS = {name: FieldType("VARCHAR") for name in ("id", "uri", "content_hash", "album", "image_id", "view", "at_ms")}
MOST = 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(12):
        picture(seed, (96, 64)).save(folder / f"{seed:02}.png")
    picture(3, (96, 64)).save(folder / "twin.png")
    picture(20, (20, 20)).save(folder / "tiny.png")
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> FakeStore:
    filled = FakeStore(fields={**FIELDS, "box": FieldType("ARRAY", "INT32")})
    filled.most_views = MOST
    row_fields = Definition.load("photos").row_fields
    resources = Resources(threads=2, max_pixels=10**7, max_bytes=10**7)
    ingest(
        read_source(folder), filled, {"vector": FakeEncoder()}, row_fields, resources, Views(Grid((2, 3)), FakeNotes())
    )
    return filled


@pytest.fixture(scope="module")
def searcher(store: FakeStore) -> Searcher:
    def reopen(uri: str, *, hashed: str | None) -> bytes:
        return FileReader(Path(uri), uri).read(10**7)

    return Searcher(store, lambda _: FakeEncoder(), max_pixels=10**7, max_bytes=10**7, reopen=reopen)


def exact(store: FakeStore, vector: Any) -> list[tuple[str, str, float]]:
    """(picture, its best view, score), best first, equal scores by the ids."""
    best: dict[str, tuple[float, str]] = {}
    for row in store.rows.values():
        score = float(np.float64(row["vector"]) @ np.float64(vector))
        # the scores of the store are rounded: what is equal there is equal here
        entry = (-round(score, 5), row["id"])
        best[row["image_id"]] = min(best.get(row["image_id"], entry), entry)
    ranked = sorted((score, image_id, row_id) for image_id, (score, row_id) in best.items())
    return [(image_id, row_id, -score) for score, image_id, row_id in ranked]


def key(hit: Hit) -> tuple[str, str, float]:
    return hit.image_id, hit.id, round(hit.score, 5)


@pytest.mark.parametrize("seed", range(20))
def test_hits_are_pictures_each_with_its_best_view(store: FakeStore, searcher: Searcher, seed: int) -> None:
    vector = np.random.default_rng(seed).standard_normal(16).astype(np.float32)
    vector /= np.linalg.norm(vector)
    wanted = exact(store, vector)
    assert len(wanted) == 14
    answer = searcher.search([VectorQuery(vector)], limit=14)[0]
    assert [(image, score) for image, _, score in map(key, answer)] == [
        (image, pytest.approx(score, abs=2e-5)) for image, _, score in wanted
    ]
    for hit, (_, row_id, _) in zip(answer, wanted, strict=True):
        row = store.rows[row_id]
        assert (hit.id, hit.image_id, hit.view, hit.uri) == (row_id, row["image_id"], row["view"], row["uri"])
        assert hit.box == (None if hit.view == "whole" else tuple(row["box"]))
        assert not {"box", "view", "image_id", "at_ms"} & hit.fields.keys()
    # pages are slices of the same order
    pages = [searcher.search([VectorQuery(vector)], limit=3, offset=offset)[0] for offset in range(0, 14, 3)]
    assert [hit.id for page in pages for hit in page] == [hit.id for hit in answer]


def test_a_crop_finds_its_picture_and_its_place(store: FakeStore, searcher: Searcher, folder: Path) -> None:
    box = (24, 16, 72, 48)  # the middle one of the nine
    answer = searcher.search([Crop(ImageFile(folder / "05.png"), box)], limit=1)[0]
    assert (Path(answer[0].uri).name, answer[0].view, answer[0].box) == ("05.png", "region", box)
    assert answer[0].score == pytest.approx(1, abs=1e-5)


def test_views_are_hits_where_they_are_asked_for(store: FakeStore, searcher: Searcher, folder: Path) -> None:
    own = record_id(str(folder / "04.png"))
    answer = searcher.search([StoredId(own)], limit=30, views=True)[0]
    vector = store.rows[own]["vector"]
    wanted = sorted(store.rows.values(), key=lambda row: -float(row["vector"] @ vector))[:30]
    assert [hit.score for hit in answer] == pytest.approx([float(row["vector"] @ vector) for row in wanted], abs=1e-5)
    assert len({hit.image_id for hit in answer}) < 30
    assert answer[0].id == own


def test_a_stored_id_is_a_picture_or_a_view(store: FakeStore, searcher: Searcher, folder: Path) -> None:
    own = record_id(str(folder / "06.png"))
    view = view_id(own, "region", 4)
    [of_picture, of_view] = searcher.vectors([StoredId(own), StoredId(view)])
    np.testing.assert_array_equal(of_picture, store.rows[own]["vector"])
    np.testing.assert_array_equal(of_view, store.rows[view]["vector"])
    # a part of a view is a part of that part of the picture
    left, top, _, _ = store.rows[view]["box"]
    image = decode((folder / "06.png").read_bytes(), uri="").image.crop((left + 4, top + 2, left + 30, top + 20))
    [part] = searcher.vectors([Crop(StoredId(view), (4, 2, 30, 20))])
    np.testing.assert_allclose(part, FakeEncoder().encode_images([image])[0], atol=1e-6)


def test_more_than_milvus_gives_to_one_query_is_refused(searcher: Searcher) -> None:
    query = VectorQuery(np.ones(16, np.float32))
    assert len(searcher.search([query], limit=1170)[0]) == 14
    with pytest.raises(QueryError, match=r"1,171 pictures of up to 14 views each are 16,394 rows.*at most 1,170"):
        searcher.search([query], limit=1000, offset=171)
    assert len(searcher.search([query], limit=1171, views=True)[0]) == 13 * MOST + 1


def test_why_there_are_fewer_pictures_than_asked_for(
    store: FakeStore, searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = VectorQuery(np.ones(16, np.float32))
    answer = searcher.search([query], limit=20)[0]
    assert (len(answer), answer.shortfall and answer.shortfall.to_dict()) == (
        14,
        {"missing": 6, "reason": "rows", "wider": False},
    )
    search = store.search

    def blind(*args: Any, **options: Any) -> Any:
        return [found[:40] for found in search(*args, **options)]

    monkeypatch.setattr(store, "search", blind)
    short = searcher.search([query], limit=20)[0].shortfall
    assert short is not None
    assert short.reason == "index"
    monkeypatch.setattr(store, "count", lambda _: 10**6)  # too many to list
    monkeypatch.setattr(store, "scan", lambda *_: pytest.fail("rows were listed"))
    short = searcher.search([query], limit=20)[0].shortfall
    assert short is not None
    assert short.reason == "index"
