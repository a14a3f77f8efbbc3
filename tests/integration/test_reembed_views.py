"""Another encoder for a collection of views: what comes of it is what an ingest by the new one makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import SERVER_BY_NIGHT
from changing_models import looking_encoder_of
from fakes import FakeEncoder
from pictures import picture
from viewed import DEFINITION, check_as_ingested, new, noted, old, rows_of, some_pictures

import imgvec
from imgvec import ImageCollection
from imgvec.errors import UsageError
from imgvec.ingest.journal import TORN
from imgvec.migration import Since
from imgvec.progress import Progress
from imgvec.rows import view_ids
from imgvec.verbs import reembedding
from imgvec.verbs.succeeding import Moving

KINDS = pytest.mark.parametrize("views", [{"grid": [2]}, {"regions": 3}], ids=["grid", "regions"])


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.loading.loaded_encoder", looking_encoder_of)
    monkeypatch.setattr(reembedding, "HOLD_SECONDS", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight pictures; one of them is too small for a part of the views."""
    return some_pictures(tmp_path / "views")


def created(uri: str, views: Mapping[str, Any], **options: Any) -> ImageCollection:
    return ImageCollection.create("parts", definition={**DEFINITION, "views": views}, uri=uri, encoder=old(), **options)


@pytest.fixture
def lite_parts(lite_uri: str, folder: Path) -> Iterator[ImageCollection]:
    with created(lite_uri, {"grid": [2]}) as parts:
        parts.ingest(folder)
        yield parts


@SERVER_BY_NIGHT
@KINDS
def test_views_are_those_of_an_ingest_by_the_new_model(
    backend_uri: str, folder: Path, views: Mapping[str, Any]
) -> None:
    with created(backend_uri, views) as parts:
        albums = {str(folder / f"{seed}.png"): {"album": f"a{seed % 2}"} for seed in range(6)}
        parts.ingest(folder, metadata=albums)
        gone, late = parts.pictures.of([next(iter(rows_of(parts)))]), list[int]()
        before = rows_of(parts)
        imgvec.set_alias(parts, "live")
        turns = []
        with ImageCollection.open("live", uri=backend_uri) as own, ImageCollection.open("live", uri=backend_uri) as by:

            def meanwhile(_: Progress) -> None:
                turns.append(1)
                if len(turns) == 1:
                    # one goes, one is another picture with fewer views, one is new, one has other metadata
                    uri = parts.get(gone)[gone[0]]["uri"]
                    Path(uri).unlink()
                    by.delete(gone)
                    changed = [path for path in sorted(folder.glob("*.png")) if str(path) != uri][:3]
                    picture(50, (24, 20)).save(changed[0])
                    picture(51, (96, 80)).save(folder / "new.png")
                    by.ingest(folder, metadata={str(changed[1]): {"album": "other"}})
                    late.append(len(changed))

            encoder = new()
            done = imgvec.reembed(own, encoder, on_progress=meanwhile)
            assert late == [3]
            assert done.swapped
            assert (own.count_pictures(), own.count()) == (8, done.rows)
            assert own.definition.views == parts.definition.views
            albums_now = {row["uri"]: row["album"] for row in rows_of(own).values()}
            assert sorted(albums_now.values()).count("other") == 1
            assert {uri: album for uri, album in albums_now.items() if album in ("a0", "a1")}.items() <= {
                row["uri"]: row["album"] for row in before.values()
            }.items()
            stamps = {row["id"]: row["ingested_at"] for rows in parts.store.scan(["ingested_at"]) for row in rows}
            for rows in own.store.scan(["ingested_at", "image_id"]):
                assert all(row["ingested_at"] == stamps[row["image_id"]] for row in rows)
            assert check_as_ingested(own, folder, encoder, backend_uri) == done.rows
            # an ingest finds nothing to do; and another model's regions lie elsewhere, its grid where it was
            assert own.ingest(folder).unchanged == 8
            boxes = [{id_: tuple(row["box"]) for id_, row in rows_of(each).items()} for each in (parts, own)]
            assert (boxes[0] == boxes[1]) is ("grid" in views)
            # and back, with what was written since
            picture(52, (96, 80)).save(folder / "newer.png")
            own.ingest(folder)
            back = imgvec.rollback_reembedding(own)
            assert (back.encoded, back.deleted, own.count_pictures()) == (1, 0, 9)
            check_as_ingested(own, folder, old(), backend_uri)
        parts.handle.connection.link.client.drop_alias("live")


def test_what_comes_late_is_brought_once_more(
    lite_parts: ImageCollection, lite_uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last comparison and the swap; and what clients do in the new collection stays."""
    imgvec.set_alias(lite_parts, "live")
    ids = sorted(noted(lite_parts))
    swap, bring = Moving.swap, Moving.bring
    uris = {id_: Path(row["uri"]) for id_, row in rows_of(lite_parts).items() if row["view"] == "whole"}

    def late(moving: Moving) -> None:
        lite_parts.delete(ids[:1])
        uris[ids[0]].unlink()
        picture(60, (96, 80)).save(uris[ids[1]])
        lite_parts.ingest(folder)
        swap(moving)

    def clients(moving: Moving, judge: Any, kept: Any = ()) -> bool:
        if isinstance(judge, Since):
            moving.target.delete(ids[2:3])
            uris[ids[2]].unlink(missing_ok=True)
            picture(61, (96, 80)).save(folder / "clients.png")
            moving.target.ingest(folder)
        return bring(moving, judge, kept)

    monkeypatch.setattr(Moving, "swap", late)
    monkeypatch.setattr(Moving, "bring", clients)
    with ImageCollection.open("live", uri=lite_uri) as own:
        done = imgvec.reembed(own, new())
        assert (done.swapped, own.count_pictures()) == (True, 7)
        assert done.late >= 1
        assert ids[0] not in noted(own)
        assert ids[2] not in noted(own)
        check_as_ingested(own, folder, new(), lite_uri)


def test_a_picture_that_a_kill_has_cut_short_is_made_whole(lite_parts: ImageCollection, lite_uri: str) -> None:
    with ImageCollection.open("parts", uri=lite_uri) as own:
        filled = imgvec.reembed(own, new(), swap=False)
        assert (filled.encoded, filled.swapped) == (8, False)
        with ImageCollection.open(filled.target, uri=lite_uri) as target:
            journal = target.handle.target.journal
            assert journal is not None
            first, second, third, fourth = sorted(noted(target))[:4]
            # before its rows were written; after the first of them; one lost later; one that nobody knows any more
            entries = {each["id"]: each for some in journal.scan(["uri", "views"]) for each in some}
            journal.upsert([{**entries[id_], "content_hash": TORN} for id_ in (first, second)])
            target.store.discard(list(view_ids(first, entries[first]["views"])))
            target.store.discard(list(view_ids(second, entries[second]["views"]))[1:])
            journal.delete([third])
            journal.upsert([{"id": "0" * 32, "uri": "nowhere", "content_hash": TORN, "views": {"whole": 1}}])
            target.store.discard(list(view_ids(fourth, entries[fourth]["views"]))[-1:])
            own.ingest(Path(entries[fourth]["uri"]), metadata={entries[fourth]["uri"]: {"album": "later"}})
        done = imgvec.reembed(own, new())
        assert (done.encoded, done.deleted, done.swapped) == (4, 1, True)
        check_as_ingested(own, Path(entries[first]["uri"]).parent, new(), lite_uri)
        assert own.count_pictures(imgvec.field("album") == "later") == 1


def test_pictures_of_views_that_cannot_be_read_again(lite_parts: ImageCollection, lite_uri: str, folder: Path) -> None:
    (folder / "3.png").unlink()
    picture(99, (96, 80)).save(folder / "4.png")
    with ImageCollection.open("parts", uri=lite_uri) as own:
        done = imgvec.reembed(own, new(), allow_missing=True)
        assert sorted(Path(each.uri).name for each in done.lost) == ["3.png", "4.png"]
        assert (done.encoded, own.count_pictures()) == (6, 6)
        assert imgvec.rollback_reembedding(own).deleted == 0
        assert own.count_pictures() == 8


@pytest.mark.parametrize(
    ("views", "vector"), [({"grid": [2]}, "texture"), ({"regions": 3}, "vector")], ids=["grid", "regions"]
)
def test_further_vectors_are_made_of_the_same_views(
    lite_uri: str, folder: Path, views: Mapping[str, Any], vector: str
) -> None:
    definition = {**DEFINITION, "views": views, "vectors": {"texture": {"encoder": {"model": "fake"}}}}
    encoders = {"vector": old(), "texture": FakeEncoder(dim=8, image_size=48, seed=2)}
    with ImageCollection.create("parts", definition=definition, uri=lite_uri, encoders=encoders) as parts:
        parts.ingest(folder)
        done = imgvec.reembed(parts, new(), vector=vector)
        assert (done.encoded, parts.count_pictures()) == (8, 8)
        now = {**encoders, vector: new()}
        with ImageCollection.create("afresh", definition=definition, uri=lite_uri, encoders=now) as afresh:
            afresh.ingest(folder)
            expected, found = rows_of(afresh, "texture"), rows_of(parts, "texture")
        assert found.keys() == expected.keys()
        for id_, row in found.items():
            for name in encoders:
                np.testing.assert_allclose(row.pop(name), expected[id_].pop(name), atol=1e-5)
            assert row == expected[id_]


def test_views_are_compared_by_labels(lite_parts: ImageCollection, lite_uri: str, folder: Path) -> None:
    lite_parts.ingest(folder, metadata={str(path): {"album": "a"} for path in folder.glob("*.png")})
    with ImageCollection.open("parts", uri=lite_uri) as own:
        done = imgvec.reembed(own, new(), label="album")
        assert done.to_dict()["comparison"]["queries"] == 8


def test_faces_are_refused(lite_parts: ImageCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(lite_parts.definition), "has_faces", True)
    with pytest.raises(UsageError, match="does not find the same ones: create a new collection"):
        imgvec.reembed(lite_parts, new())
    assert not any(name.startswith("parts_2") for name in lite_parts.handle.connection.collections())
