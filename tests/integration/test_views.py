"""Collections of views on Milvus Lite and on a server, with an encoder that needs no weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from pictures import picture

import imgvec
from imgvec import Crop, ImageCollection, ImageFile, Source, StoredId, VectorQuery, field
from imgvec.errors import DefinitionError, QueryError, UsageError
from imgvec.rows import CONTENT_HASH, view_id, view_ids
from imgvec.search.shown import page as html_of
from imgvec.sources import record_id

DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {"album": {"type": "VARCHAR", "max_length": 64, "default": "", "index": "AUTO"}},
    "views": {"grid": [2, 3]},
    "index": {"cpu": {"type": "FLAT"}},
}


@pytest.fixture
def photos(backend_uri: str, encoder: FakeEncoder) -> Iterator[ImageCollection]:
    with ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=encoder) as made:
        yield made


def rows_of(photos: ImageCollection) -> dict[str, dict[str, Any]]:
    names = ["uri", "content_hash", "album", "image_id", "view", "box", "at_ms", "vector"]
    return {row["id"]: row for rows in photos.store.scan(names) for row in rows}


def sound(photos: ImageCollection) -> None:
    """Every row is a view of a picture in the journal, and every view of those is a row of that very picture."""
    assert photos.handle.target.journal is not None
    wanted = {}
    for entries in photos.handle.target.journal.scan(["uri", "content_hash", "views"]):
        for entry in entries:
            assert entry[CONTENT_HASH]
            for row_id in view_ids(entry["id"], entry["views"]):
                wanted[row_id] = (entry["id"], entry["uri"], entry["content_hash"])
    rows = rows_of(photos)
    assert {id_: (row["image_id"], row["uri"], row["content_hash"]) for id_, row in rows.items()} == wanted
    assert photos.count() == len(rows)


def test_the_whole_life_of_pictures_with_views(
    photos: ImageCollection, pictures: Path, encoder: FakeEncoder, backend_uri: str
) -> None:
    first, second, third = (pictures / "album0" / f"{n:02}.jpg" for n in (0, 2, 4))
    report = photos.ingest(pictures, metadata={str(first): {"album": "cats"}})
    assert (report.written, photos.count(), photos.count_pictures(), encoder.encoded) == (20, 280, 20, 280)
    sound(photos)
    assert photos.count_pictures(field("album") == "cats") == 1
    assert photos.count(field("album") == "cats") == 14
    assert photos.count_pictures(field("view") == "region") == 20
    description = photos.describe()
    assert (description["rows"], description["pictures"], description["fields"]["box"]) == (280, 20, "ARRAY<INT32>")

    # unchanged, by another client
    with ImageCollection.open("trip", uri=backend_uri, encoder=encoder) as again:
        report = again.ingest(pictures)
        assert (report.unchanged, encoder.encoded) == (20, 280)
    # other metadata, with the stored vectors
    before = rows_of(photos)
    report = photos.ingest(pictures, metadata={str(first): {"album": "dogs"}})
    assert (report.updated, report.unchanged, encoder.encoded) == (1, 19, 280)
    after = rows_of(photos)
    assert {row["album"] for row in after.values() if row["uri"] == str(first)} == {"dogs"}
    assert all((row["vector"] == before[id_]["vector"]).all() for id_, row in after.items())
    sound(photos)
    # another picture, too small for some of the views
    picture(900, (28, 40)).save(first, quality=95)
    report = photos.ingest(pictures)
    assert (report.written, photos.count(), photos.count_pictures()) == (1, 271, 20)
    sound(photos)
    assert photos.get([record_id(str(first))])[record_id(str(first))]["album"] == "dogs"

    # deleted by the id of a view, and by a filter
    assert photos.delete([view_id(record_id(str(second)), "region", 5), record_id(str(second)), "nobody"]) == 1
    assert (photos.count(), photos.count_pictures()) == (257, 19)
    assert photos.delete_where((field("uri") == str(first)) & (field("view") == "region")) == 1
    assert (photos.count(), photos.count_pictures()) == (252, 18)
    sound(photos)
    # pruned, and brought back
    third.unlink()
    asked: list[tuple[int, int]] = []
    assert photos.prune(pictures, confirm=lambda *numbers: asked.append(numbers) is None) == 1
    assert (asked, photos.count(), photos.count_pictures()) == ([(1, 18)], 238, 17)
    assert photos.ingest(pictures).written == 2
    assert photos.count_pictures() == 19
    sound(photos)
    photos.drop()


def test_hits_are_pictures_as_numpy_ranks_them(photos: ImageCollection, pictures: Path) -> None:
    photos.ingest(pictures)
    rows = list(rows_of(photos).values())
    matrix = np.stack([row["vector"] for row in rows])
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((10, 16)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    answers = photos.search_many([VectorQuery(each) for each in queries], limit=20)
    for query, answer in zip(queries, answers, strict=True):
        best: dict[str, tuple[float, str]] = {}
        for row, score in zip(rows, matrix @ query, strict=True):
            best[row["image_id"]] = max(best.get(row["image_id"], (-2.0, "")), (float(score), row["id"]))
        wanted = sorted(best.items(), key=lambda item: -item[1][0])
        assert [hit.image_id for hit in answer] == [image_id for image_id, _ in wanted]
        assert [hit.id for hit in answer] == [row_id for _, (_, row_id) in wanted]
        assert [hit.score for hit in answer] == pytest.approx([score for _, (score, _) in wanted], abs=1e-5)
        assert [hit.id for hit in photos.search(VectorQuery(query), limit=5, offset=3)] == [
            hit.id for hit in answer[3:8]
        ]
    path = pictures / "album1" / "07.jpg"
    box = (16, 12, 48, 36)
    [found] = photos.search(Crop(ImageFile(path), box), limit=1)
    assert (found.uri, found.view, found.box, found.at_ms) == (str(path), "region", box, None)
    same = photos.search(StoredId(found.id), limit=30, views=True)
    assert len(same) == 30
    assert len({hit.image_id for hit in same}) < 30
    assert "data:image/jpeg;base64," in photos.search(StoredId(found.id), limit=2)._repr_html_()
    short = photos.search(StoredId(found.image_id), limit=100).shortfall
    assert short is not None
    assert (short.missing, short.reason) == (80, "rows")
    with pytest.raises(QueryError, match="for at most 1,170, or for views"):
        photos.search(StoredId(found.image_id), limit=1171)


def test_regions_of_pictures(backend_uri: str, pictures: Path, encoder: FakeEncoder) -> None:
    definition = {**DEFINITION, "views": {"regions": 6}}
    with ImageCollection.create("parts", definition=definition, uri=backend_uri, encoder=encoder) as photos:
        report = photos.ingest(pictures)
        assert (report.written, photos.count(), photos.count_pictures(), encoder.encoded) == (20, 140, 20, 140)
        sound(photos)
        assert (photos.ingest(pictures).unchanged, encoder.encoded) == (20, 140)
        regions = [row for row in rows_of(photos).values() if row["view"] == "region"]
        assert len({tuple(row["box"]) for row in regions if row["uri"] == regions[0]["uri"]}) == 6
        for row in regions[::17]:
            x0, y0, x1, y1 = row["box"]
            [found] = photos.search(Crop(ImageFile(row["uri"]), (x0, y0, x1, y1)), limit=1, consistency_level="Strong")
            assert (found.uri, found.box, found.id) == (row["uri"], (x0, y0, x1, y1), row["id"])
            assert found.score == pytest.approx(1, abs=1e-4)
        page = html_of(photos.search(StoredId(regions[3]["id"]), limit=3, consistency_level="Strong"))
        assert page.startswith("<!doctype html>")
        assert page.count("data:image/jpeg;base64,") == 3
        # a picture that changed has other regions, under the same ids
        changed = Path(regions[0]["uri"])
        picture(901, (200, 160)).save(changed, quality=95)
        assert photos.ingest(pictures).written == 1
        sound(photos)
        assert photos.count() == 140
        planned = [each.memory for each in imgvec.plan_index(photos, pictures=20) if each.type == "FLAT"]
        assert planned == [each.memory for each in imgvec.plan_index(photos, rows=140) if each.type == "FLAT"]
        with pytest.raises(UsageError, match="not both"):
            imgvec.plan_index(photos, pictures=20, rows=140)
        photos.drop()


def test_evaluating_counts_pictures(photos: ImageCollection, pictures: Path) -> None:
    labels = {str(path): {"album": path.parent.name} for path in pictures.rglob("*.jpg")}
    photos.ingest(pictures, metadata=labels)
    rows = list(rows_of(photos).values())
    whole = {row["image_id"]: row for row in rows if row["view"] == "whole"}
    wanted = []
    for id_, query in whole.items():
        scores: dict[str, float] = {}
        for row in rows:
            if row["image_id"] != id_:
                score = float(row["vector"] @ query["vector"])
                scores[row["image_id"]] = max(scores.get(row["image_id"], -2.0), score)
        nearest = sorted(scores, key=lambda other: -scores[other])[:5]
        wanted.append(np.mean([whole[other]["album"] == query["album"] for other in nearest]))
    for exact in (False, True):
        found = imgvec.evaluate(photos, label="album", k=(5,), exact=exact)
        assert (found.rows, len(found.names), found.ranked) == (20, 20, "pictures")
        assert found.micro["precision@5"] == pytest.approx(float(np.mean(wanted)))
    # the very images as queries, whose own pictures are left out
    given = imgvec.evaluate(photos, label="album", k=(5,), queries={uri: row["album"] for uri, row in labels.items()})
    assert given.micro["precision@5"] == pytest.approx(float(np.mean(wanted)))


def test_index_work_is_about_rows(photos: ImageCollection, pictures: Path) -> None:
    photos.ingest(pictures)
    status = imgvec.index_status(photos)
    assert (status["rows"], status["pictures"]) == (280, 20)
    verified = imgvec.verify(photos, queries=20, probes=50, recall=None)
    assert verified.rows == 280
    assert not [each for each in verified.findings if each.severity == "error"]  # a server may still be indexing


def test_what_a_collection_of_views_refuses(
    photos: ImageCollection, pictures: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    with pytest.raises(UsageError, match="leave via out"):
        photos.ingest(pictures, via=tmp_path / "bulk")
    photos.ingest(pictures)
    exported = tmp_path / "rows.parquet"
    assert imgvec.export_vectors(photos, exported).rows == 280
    with pytest.raises(UsageError, match="ingest its pictures"):
        imgvec.import_vectors(photos, exported)
    with pytest.raises(UsageError, match="ingest its pictures"):
        imgvec.create_for_vectors("other", exported, settings=photos.settings)
    assert "other" not in [each.name for each in imgvec.database.list_collections(photos.settings)]
    with pytest.raises(DefinitionError, match="another definition"):
        ImageCollection.create(
            "trip", definition={**DEFINITION, "views": {"grid": 3}}, settings=photos.settings, exist_ok=True
        )
    # a number is a list of one, and the order does not matter
    same = {**DEFINITION, "views": {"grid": [3, 2]}}
    with ImageCollection.create("trip", definition=same, settings=photos.settings, exist_ok=True) as again:
        assert again.count_pictures() == 20


def test_in_parts_and_from_a_table(photos: ImageCollection, pictures: Path, tmp_path: Path) -> None:
    for rank in range(3):
        photos.ingest(pictures, part=(rank, 3))
    assert (photos.count_pictures(), photos.count()) == (20, 280)
    sound(photos)
    # columns called like imgvec's own fields are left out, aloud; without views they are metadata like any other
    table = tmp_path / "more.jsonl"
    lines = [{"path": str(pictures / "album0" / "00.jpg"), "view": "front", "box": [1, 2], "album": "cats"}]
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    said: list[str] = []
    report = photos.ingest(Source(table), on_notice=said.append)
    assert (report.updated, report.refused.total()) == (1, 0)
    assert any("view" in each and "filled in by imgvec" in each for each in said)
    sound(photos)
