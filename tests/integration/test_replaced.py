"""A handle whose collection was dropped, and made again under its name, while it was open."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from pictures import picture

import imgvec
from imgvec import ImageCollection, field
from imgvec.errors import CollectionNotFound, CollectionReplaced, EncoderMismatch, ImgvecError
from imgvec.exchange import export_vectors, import_vectors, open_source
from imgvec.milvus import paging
from imgvec.opening import opened_store

DEFINITION = {
    "encoder": {"model": "fake"},
    "fields": {"album": {"type": "VARCHAR", "max_length": 64, "default": ""}},
}
OTHER_DEFINITION = {**DEFINITION, "fields": {"shelf": {"type": "INT64", "default": 0}}}
OTHER = {
    "encoder": (DEFINITION, FakeEncoder(seed=7), EncoderMismatch),
    "definition": (OTHER_DEFINITION, FakeEncoder(), CollectionReplaced),
    "dimension": (DEFINITION, FakeEncoder(dim=24), EncoderMismatch),
    "nothing": (DEFINITION, FakeEncoder(), CollectionReplaced),
}


def made(uri: str, encoder: FakeEncoder, definition: dict[str, Any] = DEFINITION) -> ImageCollection:
    return ImageCollection.create("trip", definition=definition, uri=uri, encoder=encoder)


def dropped(uri: str, name: str = "trip") -> None:
    with ImageCollection.open(name, uri=uri) as photos:
        photos.drop()


def contents(photos: ImageCollection) -> dict[str, list[float]]:
    return {row["id"]: row["vector"].tolist() for rows in photos.store.scan(["id", "vector"]) for row in rows}


@pytest.fixture
def old(backend_uri: str, pictures: Path, encoder: FakeEncoder) -> Iterator[ImageCollection]:
    """A handle with every picture but two, whose collection the test replaces."""
    with made(backend_uri, encoder) as photos:
        photos.ingest(pictures / "album0")
        yield photos


def writes(pictures: Path, tmp_path: Path, ids: list[str]) -> dict[str, Callable[[ImageCollection], object]]:
    """Every way in which a handle writes, deletes, or asks its encoder."""
    archive = tmp_path / "vectors.npy"
    row = {"id": "x", "uri": "x", "content_hash": "", "width": 1, "height": 1, "media_type": "", "ingested_at": 1}
    row["album"] = ""

    def imported(photos: ImageCollection) -> object:
        np.save(archive, np.eye(photos.store.dim, dtype=np.float32))
        return import_vectors(photos, open_source(archive))

    return {
        "ingest": lambda photos: photos.ingest(pictures),
        "ingest via parquet": lambda photos: photos.ingest(pictures, via=tmp_path / "via"),
        "upsert": lambda photos: photos.store.upsert([row], np.eye(1, photos.store.dim, dtype=np.float32)),
        "import": imported,
        "delete": lambda photos: photos.delete(ids),
        "delete where": lambda photos: photos.delete_where(field("width") > 0),
        "search defaults": lambda photos: imgvec.set_search_defaults(photos, {"ef": 99}),
        "build": lambda photos: photos.store.build_index("FLAT", {}),
        "search by image": lambda photos: photos.search(picture(1)),
        "search by path": lambda photos: photos.search_many([pictures / "album0" / "00.jpg"]),
        "vectors": lambda photos: photos.vectors([picture(1)]),
        "export": lambda photos: export_vectors(photos, tmp_path / "out.parquet"),
        "drop": lambda photos: photos.drop(),
    }


@pytest.mark.parametrize("by", OTHER)
def test_nothing_reaches_the_collection_that_took_the_name(
    backend_uri: str,
    old: ImageCollection,
    pictures: Path,
    tmp_path: Path,
    by: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def waited(seconds: float) -> None:
        raise AssertionError("the members of another collection are waited for")

    definition, encoder, error = OTHER[by]
    dropped(backend_uri)
    with made(backend_uri, encoder, definition) as new:
        new.ingest(pictures / "album0")
        before = contents(new)
        for way, write in writes(pictures, tmp_path, list(before)).items():
            with monkeypatch.context() as patched:
                patched.setattr(paging, "abandoned", SimpleNamespace(pause=waited))
                with pytest.raises(error, match="recreated since it was opened: open it again"):
                    write(old)
            assert contents(new) == before, way
        with ImageCollection.open("trip", uri=backend_uri) as again:
            assert again.search_defaults.source != "chosen"
            assert again.store.index == new.store.index
        assert list((tmp_path / "via").glob("*.parquet")) == [] if (tmp_path / "via").exists() else True

        # opened again it is as any other
        with ImageCollection.open("trip", uri=backend_uri, encoder=encoder) as again:
            assert (again.ingest(pictures).written, again.count()) == (10, 20)
            assert again.search(pictures / "album1" / "01.jpg", limit=1)[0].score == pytest.approx(1, abs=1e-3)


def test_a_collection_that_went_away_is_not_found(
    backend_uri: str, old: ImageCollection, pictures: Path, encoder: FakeEncoder
) -> None:
    with ImageCollection.open("trip", uri=backend_uri) as other:
        other.store.link.client.rename_collection("trip", "moved")
        for write in (lambda: old.ingest(pictures), lambda: old.delete(["x"]), lambda: old.search(picture(1))):
            with pytest.raises(CollectionNotFound):
                write()
        with made(backend_uri, FakeEncoder(seed=7)) as new:
            with pytest.raises(EncoderMismatch, match="open it again"):
                old.ingest(pictures)
            assert new.count() == 0
        # a renamed collection is the same one: back under its name, the handle goes on
        dropped(backend_uri)
        other.store.link.client.rename_collection("moved", "trip")
    assert old.ingest(pictures).written == 10


def test_an_ingest_under_way_stops(backend_uri: str, old: ImageCollection, pictures: Path) -> None:
    for i in range(20, 120):
        picture(i).save(pictures / f"{i:03}.jpg")
    files, swapped = sorted(pictures.rglob("*.jpg")), threading.Event()

    def some() -> Iterator[Path]:
        for path in files:
            # as soon as the first of them are written
            if not swapped.is_set() and old.count() > 10:
                dropped(backend_uri)
                made(backend_uri, FakeEncoder(seed=7)).close()
                swapped.set()
            time.sleep(0.05)
            yield path

    with pytest.raises(EncoderMismatch, match="open it again"):
        old.ingest(some())
    assert swapped.is_set()
    with ImageCollection.open("trip", uri=backend_uri) as new:
        assert new.count() == 0


def test_a_search_by_vector_looks_nothing_up(old: ImageCollection, encoder: FakeEncoder) -> None:
    calls: list[str] = []
    client = old.store.link.client
    ask = client.describe_collection

    def counted(name: str, **options: Any) -> Any:
        calls.append(name)
        return ask(name, **options)

    client.describe_collection = counted
    vector = encoder.encode_images([picture(0)])[0]
    [stored] = old.search(vector, limit=1)
    old.search(f"id:{stored.id}")
    old.count()
    assert calls == []
    old.search(picture(0))
    assert calls == ["trip"]


def test_collections_of_an_earlier_version(backend_uri: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their descriptions hold no random bits."""

    def as_before(*given: Any, **options: Any) -> str:
        data = json.loads(write(*given, **options))
        del data["incarnation"]
        return json.dumps(data)

    from imgvec.definition import description

    write = description.write
    monkeypatch.setattr(description, "write", as_before)
    with made(backend_uri, FakeEncoder()) as old:
        assert (old.ingest(pictures).written, old.ingest(pictures).unchanged) == (20, 20)
        dropped(backend_uri)
        with made(backend_uri, FakeEncoder(seed=7)), pytest.raises(EncoderMismatch, match="open it again"):
            old.ingest(pictures)
        dropped(backend_uri)
        with made(backend_uri, FakeEncoder()) as new:
            if new.store.capabilities.kind == "server":
                with pytest.raises(CollectionReplaced):
                    old.ingest(pictures)
            else:  # the very same in all that Milvus Lite tells: the vectors are right there
                assert (old.ingest(pictures).written, new.count()) == (20, 20)
        monkeypatch.undo()
        dropped(backend_uri)
        with made(backend_uri, FakeEncoder()), pytest.raises(CollectionReplaced):
            old.ingest(pictures)


def test_a_worker_opens_no_other_collection(backend_uri: str, old: ImageCollection) -> None:
    same = opened_store("trip", old.settings, old.store.incarnation)
    assert same.count() == 10
    dropped(backend_uri)
    with made(backend_uri, FakeEncoder(seed=7)), pytest.raises(EncoderMismatch):
        opened_store("trip", old.settings, old.store.incarnation)


@pytest.mark.server
def test_a_write_that_was_on_its_way_is_taken_back(server_uri: str, pictures: Path, encoder: FakeEncoder) -> None:
    """A server takes a write by the collection's name: the look before it does not see what comes between."""
    with made(server_uri, encoder) as old:
        client = old.store.link.client
        send, others = client.upsert, FakeEncoder(seed=7)
        new: list[ImageCollection] = []

        def late(name: str, data: Any, **options: Any) -> Any:
            dropped(server_uri)
            new.append(made(server_uri, others))
            new[0].ingest(sorted(pictures.rglob("*.jpg"))[5:])
            return send(name, data, **options)

        client.upsert = late
        with pytest.raises(EncoderMismatch, match="open it again"):
            old.ingest(sorted(pictures.rglob("*.jpg"))[:10])
        [replaced] = new
        with replaced:
            # five of its own were written over, and are brought again
            assert replaced.count() == 10
            assert (replaced.ingest(pictures).written, replaced.count()) == (10, 20)
            for path in pictures.rglob("*.jpg"):
                assert replaced.search(path, limit=1)[0].score == pytest.approx(1, abs=1e-3)
            replaced.drop()


@pytest.mark.server
@pytest.mark.parametrize("late", range(3))
def test_a_write_of_views_that_was_on_its_way_is_taken_back(
    server_uri: str, pictures: Path, encoder: FakeEncoder, late: int
) -> None:
    """To a collection of the same definition and encoder: the journal's first note, the rows, or its last note."""
    definition = {**DEFINITION, "views": {"grid": 2}}
    few = sorted(pictures.rglob("*.jpg"))
    with made(server_uri, encoder, definition) as old:
        old.ingest(few[:1])
        client = old.store.link.client
        send, new, calls = client.upsert, list[ImageCollection](), itertools.count()

        def delayed(name: str, data: Any, **options: Any) -> Any:
            if next(calls) == late:
                dropped(server_uri)
                new.append(made(server_uri, encoder, definition))
                new[0].ingest(few[8:10])
            return send(name, data, **options)

        client.upsert = delayed
        with pytest.raises(CollectionReplaced, match="open it again"):
            old.ingest(few[1:4])
        [replaced] = new
        with replaced:
            assert (replaced.count(), replaced.count_pictures()) == (10, 2)
            assert (replaced.ingest(few).written, replaced.count()) == (18, 100)
            replaced.drop()


def test_on_milvus_lite_nothing_comes_between_look_and_write(lite_uri: str, encoder: FakeEncoder) -> None:
    with made(lite_uri, encoder) as photos, ImageCollection.open("trip", uri=lite_uri) as other:
        writing, done = photos.handle.connection.link._lite, threading.Event()
        assert writing is not None
        dropping = threading.Thread(target=lambda: (other.drop(), done.set()))
        with writing.writing:
            dropping.start()
            assert not done.wait(0.5)
        assert done.wait(10)
        dropping.join()


@pytest.mark.parametrize("leave", ["drop", "rename"])
def test_what_milvus_lite_finds_while_a_collection_goes_is_not_given(
    lite_uri: str, pictures: Path, encoder: FakeEncoder, leave: str
) -> None:
    """It closes the collection under the search, which then finds fewer rows or none, and says nothing of it."""
    with made(lite_uri, encoder) as photos, ImageCollection.open("trip", uri=lite_uri) as other:
        photos.ingest(pictures)
        client = photos.store.link.client
        search, vector = client.search, encoder.encode_images([picture(1)])[0]

        def late(*given: Any, **options: Any) -> Any:
            found = search(*given, **options)
            other.drop() if leave == "drop" else imgvec.rename(other, "moved")
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(client, "search", late)
            with pytest.raises(CollectionNotFound, match="dropped or renamed since it was opened"):
                photos.search(vector)
        with pytest.raises(CollectionNotFound):
            photos.count()
        if leave == "rename":  # back under its name it is read as before
            imgvec.rename(other, "trip")
            assert (photos.count(), len(photos.search(vector, limit=20))) == (20, 20)


@pytest.mark.server
def test_what_another_process_made_is_written_by_its_own_schema(server_uri: str, pictures: Path) -> None:
    """pymilvus remembers a schema by the collection's name, and hears of other processes nothing."""
    with made(server_uri, FakeEncoder()) as old:
        old.ingest(pictures, metadata={str(pictures / "album0" / "00.jpg"): {"album": "x"}})
        code = (
            "import sys; from fakes import FakeEncoder; from test_replaced import *; dropped(sys.argv[1]); "
            "made(sys.argv[1], FakeEncoder(dim=24), OTHER_DEFINITION).close()"
        )
        here = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
        program = f"import sys; sys.path[:0] = {here!r}; {code}"
        subprocess.run([sys.executable, "-c", program, server_uri], check=True, timeout=120)
        with pytest.raises(ImgvecError, match="open it again"):
            old.ingest(pictures)
        with ImageCollection.open("trip", uri=server_uri, encoder=FakeEncoder(dim=24)) as new:
            given = {str(path): {"shelf": i} for i, path in enumerate(sorted(pictures.rglob("*.jpg")))}
            assert new.ingest(pictures, metadata=given).written == 20
            [hit] = new.search(sorted(pictures.rglob("*.jpg"))[7], limit=1)
            assert (hit.fields["shelf"], round(hit.score, 3)) == (7, 1.0)
            assert set(hit.fields) >= {"shelf"}
            assert "album" not in hit.fields
            new.drop()
